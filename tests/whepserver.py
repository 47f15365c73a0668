"""A WHEP server (aiortc) that plays the beacon in real time; a program, so that it can be killed.

    python whepserver.py PORT ZERO [TOKEN]      ZERO: the monotonic time at which the beacon began

Writes `ready` when it listens. POST /live answers an offer; /gone is no stream; closing standard input ends it in good order.
"""

from __future__ import annotations

import asyncio
import fractions
import http.server
import sys
import threading
import time
from typing import Any

import aioice.ice
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame

from beacon import beacon

RATE, STEP_S = 48_000, 0.02
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [
    "127.0.0.1"
]  # it leaves loopback out, and a test needs no network


class Beacon(MediaStreamTrack):
    """The beacon as it is now."""

    kind = "audio"

    def __init__(self, zero: float) -> None:
        super().__init__()
        self._zero = zero
        self._step = int((time.monotonic() - zero) / STEP_S)
        self._first = self._step

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(max(0.0, self._zero + self._step * STEP_S - time.monotonic()))
        samples = (beacon(self._step * STEP_S, STEP_S, RATE) * 32767).astype("<i2")
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = RATE, fractions.Fraction(1, RATE)
        frame.pts = round((self._step - self._first) * STEP_S * RATE)
        self._step += 1
        return frame


def main(port: int, zero: float, token: str) -> None:
    loop = asyncio.new_event_loop()
    connections: list[RTCPeerConnection] = []

    async def answer(offer: str) -> str:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connections.append(connection)
        connection.addTrack(Beacon(zero))
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        return str(connection.localDescription.sdp)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            offer = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path != "/live":
                self.send_error(404)
            elif token and self.headers.get("Authorization") != f"Bearer {token}":
                self.send_error(401)
            else:
                sdp = asyncio.run_coroutine_threadsafe(answer(offer), loop).result(10).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/sdp")
                self.send_header("Location", f"/live/{len(connections)}")
                self.send_header("Content-Length", str(len(sdp)))
                self.end_headers()
                self.wfile.write(sdp)

        def do_DELETE(self) -> None:
            print("deleted", self.path, flush=True)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:  # `bye`: the source says goodbye, its connection stays
        if line.strip() == "bye":
            for connection in connections:
                for sender in connection.getSenders():
                    asyncio.run_coroutine_threadsafe(sender.stop(), loop).result(5)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
