"""A WHIP publisher (aiortc) of the beacon; a program, so that it can be killed.

    python whippublisher.py ADDRESS ZERO TOKEN      ZERO: the monotonic time at which the beacon began

Writes `ready` when it is accepted; when standard input is closed it ends its session in good order.
"""

from __future__ import annotations

import asyncio
import sys
import urllib.request

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack

from whepserver import Beacon


async def main(address: str, zero: float, token: str) -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTrack(Beacon(zero))
    connection.addTrack(VideoStreamTrack())
    await connection.setLocalDescription(await connection.createOffer())
    authorization = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(
        address, connection.localDescription.sdp.encode(), authorization | {"Content-Type": "application/sdp"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        session, answer = reply.headers["Location"], reply.read().decode()
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    origin = address.rpartition("/")[0]
    urllib.request.urlopen(
        urllib.request.Request(origin + session, headers=authorization, method="DELETE"), timeout=10
    ).close()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
