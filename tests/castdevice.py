"""A stand-in for a Chromecast: TLS and protobuf as a real one has them, and a player that really fetches and decodes.

with cast_device() as device:
    run("streamlation", "cast", "talk.mp4", "--to", f"127.0.0.1:{device.port}")
assert device.loads[0].frames["video"] == 100

It refuses what the Default Media Receiver refuses: playlists, segments and text tracks without CORS, types and codecs that it
does not know, tracks that are no WebVTT. Playback runs `speed` times as fast as on a television.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import zeroconf
from pychromecast.generated import cast_channel_pb2

from ports import free_port

CONNECTION = "urn:x-cast:com.google.cast.tp.connection"
HEARTBEAT = "urn:x-cast:com.google.cast.tp.heartbeat"
RECEIVER = "urn:x-cast:com.google.cast.receiver"
MEDIA = "urn:x-cast:com.google.cast.media"
PLAYER_APP = "CC1AD845"
ORIGIN = "https://www.gstatic.com"

TYPES = {
    "video/mp4", "audio/mp4", "video/webm", "audio/webm", "audio/mpeg", "audio/wav", "audio/flac", "audio/ogg", "audio/aac",
    "application/vnd.apple.mpegurl", "application/x-mpegurl", "application/dash+xml",
}  # fmt: skip
CODECS = {"h264", "vp8", "aac", "mp3", "opus", "vorbis", "flac", "pcm_s16le"}


@dataclass
class Load:
    """One LOAD and what became of it."""

    message: dict[str, Any]
    fetched: list[tuple[str, str, str]] = field(default_factory=list)
    """Address, content type and CORS header of all that was fetched before playback."""
    texts: list[str] = field(default_factory=list)
    """What the text tracks held."""
    refused: str = ""
    frames: dict[str, int] = field(default_factory=lambda: {"video": 0, "audio": 0})
    audio_languages: list[str] = field(default_factory=list)


class Refusal(Exception):
    """The device will not play this."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class _Player(threading.Thread):
    """Fetches and decodes media at `speed` times their own pace."""

    def __init__(self, load: Load, speed: float, changed: Any) -> None:
        super().__init__(name="player", daemon=True)
        self.load = load
        self.information = load.message["media"]
        self.state = "BUFFERING"
        self.idle_reason = ""
        self.position_s = float(load.message.get("currentTime") or 0)
        self.duration_s: float | None = None
        self.tracks = load.message.get("activeTrackIds") or []
        self.session = 1
        self._speed = speed
        self._changed = changed
        self._wake = threading.Condition()
        self._seek_to: float | None = None
        self._ended = False

    def check(self) -> None:
        """Fetches what a receiver looks at before it says yes; raises Refusal."""
        information = self.information
        kind = information["contentType"].partition(";")[0].lower()
        if kind not in TYPES:
            raise Refusal(f"type {kind}", 104)
        is_playlist = "mpegurl" in kind
        self._fetch(information["contentId"], needs_cors=is_playlist, expects=kind)
        for track in information.get("tracks") or []:
            if track["trackContentType"] != "text/vtt":
                raise Refusal(f"text track of type {track['trackContentType']}", 104)
            text = self._fetch(track["trackContentId"], needs_cors=True, expects="text/vtt", whole=True)
            if not text.startswith(b"WEBVTT"):
                raise Refusal("text track that is no WebVTT", 104)
            self.load.texts.append(text.decode())
        try:
            with av.open(information["contentId"], timeout=10) as container:
                for stream in (*container.streams.video[:1], *container.streams.audio[:1]):
                    codec = stream.codec_context.codec.canonical_name
                    if codec not in CODECS:
                        raise Refusal(f"codec {codec}", 104)
                self.load.audio_languages = [stream.metadata.get("language", "") for stream in container.streams.audio]
                self.duration_s = None if container.duration is None else container.duration / 1e6
        except av.error.FFmpegError as error:
            raise Refusal(str(error), 104) from error

    def _fetch(self, address: str, *, needs_cors: bool, expects: str, whole: bool = False) -> bytes:
        request = urllib.request.Request(address, headers={"Origin": ORIGIN})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                cors = response.headers.get("Access-Control-Allow-Origin") or ""
                kind = response.headers.get("Content-Type", "")
                body = response.read() if whole else response.read(64)
        except OSError as error:
            raise Refusal(f"{address}: {error}", 301) from error
        self.load.fetched.append((address, kind, cors))
        if needs_cors and cors not in ("*", ORIGIN):
            raise Refusal(f"{address}: no CORS", 311)
        if kind.partition(";")[0].lower() != expects:
            raise Refusal(f"{address}: served as {kind}, not {expects}", 104)
        return bytes(body)

    def run(self) -> None:
        try:
            with av.open(self.information["contentId"], timeout=10) as container:
                self._play(container)
        except av.error.FFmpegError:
            self._end("ERROR")
            return
        if not self._ended:
            self._end("FINISHED")

    def _play(self, container: Any) -> None:
        streams = [*container.streams.video[:1], *container.streams.audio[:1]]
        if self.position_s:
            container.seek(int(self.position_s * 1e6))
        self._become("PLAYING")
        clock, base = time.monotonic(), self.position_s
        while not self._ended:
            for frame in container.decode(streams):
                kind = "video" if isinstance(frame, av.VideoFrame) else "audio"
                if frame.time is None or frame.time < base - 0.05:
                    continue
                self.load.frames[kind] += 1
                due = clock + (frame.time - base) / self._speed
                with self._wake:
                    if self.state == "PLAYING" and self._seek_to is None and not self._ended:
                        self._wake.wait(max(0.0, due - time.monotonic()))
                    waited = time.monotonic()
                    while self.state == "PAUSED" and self._seek_to is None and not self._ended:
                        self._wake.wait()
                    clock += time.monotonic() - waited
                    if self._seek_to is not None or self._ended:
                        break
                self.position_s = max(self.position_s, frame.time)
            with self._wake:
                if self._seek_to is None:
                    return
                self.position_s, self._seek_to = self._seek_to, None
                clock, base = time.monotonic(), self.position_s
            container.seek(int(self.position_s * 1e6))
            self._changed()

    def pause(self) -> None:
        self._become("PAUSED")

    def resume(self) -> None:
        self._become("PLAYING")

    def seek(self, position_s: float) -> None:
        with self._wake:
            self._seek_to = position_s
            self.position_s = position_s
            if self.state == "PAUSED":
                self.state = "PLAYING"
            self._wake.notify_all()

    def _become(self, state: str) -> None:
        with self._wake:
            self.state = state
            self._wake.notify_all()
        self._changed()

    def end(self, reason: str) -> None:
        """From outside: stopped, or replaced."""
        if self.state != "IDLE":
            self._end(reason)

    def _end(self, reason: str) -> None:
        with self._wake:
            self._ended = True
            self.state, self.idle_reason = "IDLE", reason
            self._wake.notify_all()
        self._changed()

    def status(self) -> dict[str, Any]:
        return {
            "mediaSessionId": self.session, "playbackRate": self._speed, "playerState": self.state, "currentTime": self.position_s,
            "supportedMediaCommands": 12303, "volume": {"level": 1, "muted": False}, "activeTrackIds": self.tracks,
            "media": {**self.information, "duration": self.duration_s}, "currentItemId": 1, "repeatMode": "REPEAT_OFF",
            **({"idleReason": self.idle_reason} if self.idle_reason else {}),
        }  # fmt: skip


class CastDevice:
    """The stand-in; what it was told and what it did are in its fields."""

    def __init__(self, host: str, folder: Path, speed: float) -> None:
        self.host = host
        self.port = free_port()
        self.loads: list[Load] = []
        self.commands: list[str] = []
        self.volume = 0.5
        self.app: dict[str, Any] | None = None
        self.player: _Player | None = None
        self._folder = folder
        self._speed = speed
        self._senders: dict[asyncio.StreamWriter, set[tuple[str, str]]] = {}
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="cast device", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._call(self._listen())

    def close(self) -> None:
        if self.player is not None:
            self.player.end("CANCELLED")
        self.vanish()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def vanish(self) -> None:
        """Off the network: connections break, nobody listens."""
        self._call(self._hang_up())

    def forget(self) -> None:
        """As after a restart: nothing runs."""
        if self.player is not None:
            self.player.end("CANCELLED")
        self.app = self.player = None

    def come_back(self) -> None:
        """On the network again, at the same address."""
        self._call(self._listen())

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "cert.pem", self._folder / "key.pem")
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=context)

    async def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._senders):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._senders[writer] = set()
        try:
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                message = cast_channel_pb2.CastMessage()
                message.ParseFromString(await reader.readexactly(length))
                await self._take(writer, message)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._senders.pop(writer, None)
            writer.close()

    async def _take(self, writer: asyncio.StreamWriter, message: Any) -> None:
        data = json.loads(message.payload_utf8)
        kind, request = data.get("type"), data.get("requestId", 0)
        source, destination = message.source_id, message.destination_id

        def answer(namespace: str, **fields: Any) -> None:
            self._send(writer, namespace, {"requestId": request, **fields}, destination, source)

        if message.namespace == HEARTBEAT:
            if kind == "PING":
                self._send(writer, HEARTBEAT, {"type": "PONG"}, destination, source)
        elif message.namespace == CONNECTION:
            if kind == "CONNECT":
                self._senders[writer].add((source, destination))
            else:
                self._senders[writer].discard((source, destination))
        elif message.namespace == RECEIVER:
            await self._receiver(kind, data, answer)
        elif message.namespace == MEDIA:
            await self._media(kind, data, answer)

    async def _receiver(self, kind: str, data: dict[str, Any], answer: Any) -> None:
        if kind != "GET_STATUS":
            self.commands.append(kind)
        if kind == "LAUNCH":
            if data["appId"] != PLAYER_APP:
                answer(RECEIVER, type="LAUNCH_ERROR", reason="NOT_FOUND")
                return
            transport = str(uuid.uuid4())
            self.app = {
                "appId": PLAYER_APP, "displayName": "Default Media Receiver", "isIdleScreen": False, "sessionId": transport,
                "namespaces": [{"name": MEDIA}], "statusText": "", "transportId": transport,
            }  # fmt: skip
        elif kind == "STOP":
            if self.player is not None:
                self.player.end("CANCELLED")
            self.app = self.player = None
        elif kind == "SET_VOLUME":
            self.volume = data["volume"].get("level", self.volume)
        status = self._receiver_status()
        answer(RECEIVER, type="RECEIVER_STATUS", status=status)
        self._broadcast(RECEIVER, {"type": "RECEIVER_STATUS", "requestId": 0, "status": status})

    def _receiver_status(self) -> dict[str, Any]:
        volume = {"level": self.volume, "muted": False, "controlType": "attenuation", "stepInterval": 0.05}
        return {
            "applications": [self.app] if self.app else [],
            "isActiveInput": True,
            "isStandBy": False,
            "volume": volume,
        }

    async def _media(self, kind: str, data: dict[str, Any], answer: Any) -> None:
        if kind != "GET_STATUS":
            self.commands.append(kind)
        player = self.player
        if kind == "LOAD":
            load = Load(data)
            self.loads.append(load)
            if player is not None:
                player.end("INTERRUPTED")
            made = _Player(load, self._speed, self._changed)
            try:
                await asyncio.to_thread(made.check)
            except Refusal as refusal:
                load.refused = str(refusal)
                answer(MEDIA, type="LOAD_FAILED", detailedErrorCode=refusal.code, itemId=1)
                return
            made.session = player.session + 1 if player is not None else 1
            self.player = player = made
            made.start()
        elif player is not None and kind == "PAUSE":
            player.pause()
        elif player is not None and kind == "PLAY":
            player.resume()
        elif player is not None and kind == "SEEK":
            player.seek(float(data["currentTime"]))
        elif player is not None and kind == "EDIT_TRACKS_INFO":
            player.tracks = data.get("activeTrackIds", player.tracks)
        elif player is not None and kind == "STOP":
            player.end("CANCELLED")
        elif kind != "GET_STATUS":
            answer(MEDIA, type="INVALID_PLAYER_STATE")
            return
        answer(MEDIA, type="MEDIA_STATUS", status=[player.status()] if player is not None else [])

    def _changed(self) -> None:
        """A player's thread says that its state is another."""
        player = self.player
        if player is not None:
            message = {"type": "MEDIA_STATUS", "requestId": 0, "status": [player.status()]}
            self._loop.call_soon_threadsafe(self._broadcast, MEDIA, message)

    def _broadcast(self, namespace: str, data: dict[str, Any]) -> None:
        for writer, connections in self._senders.items():
            for source, destination in connections:
                if (destination == "receiver-0") == (namespace == RECEIVER):
                    self._send(writer, namespace, data, destination, source)

    def _send(self, writer: asyncio.StreamWriter, namespace: str, data: dict[str, Any], source: str, to: str) -> None:
        message = cast_channel_pb2.CastMessage()
        message.protocol_version = 0
        message.source_id, message.destination_id, message.namespace = source, to, namespace
        message.payload_type = 0
        message.payload_utf8 = json.dumps(data)
        encoded = message.SerializeToString()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write(struct.pack(">I", len(encoded)) + encoded)


@contextlib.contextmanager
def cast_device(folder: Path, host: str = "127.0.0.1", speed: float = 4.0) -> Iterator[CastDevice]:
    """A device that listens until the block ends; `folder` gets its certificate."""
    certificate = folder / "cert.pem"
    if not certificate.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=stand-in", "-keyout", str(folder / "key.pem"), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
    device = CastDevice(host, folder, speed)
    device.start()
    try:
        yield device
    finally:
        device.close()


def _announced(name: str, device: CastDevice) -> Any:
    """Announces the device by multicast; returns what ends that."""
    network = zeroconf.Zeroconf(interfaces=[device.host])
    identifier = uuid.uuid4().hex
    network.register_service(
        zeroconf.ServiceInfo(
            "_googlecast._tcp.local.", f"Chromecast-{identifier}._googlecast._tcp.local.", port=device.port,
            addresses=[socket.inet_aton(device.host)], server=f"{identifier}.local.",
            properties={"id": identifier, "md": "Chromecast", "fn": name, "ca": "201221", "st": "0", "ve": "05", "rs": ""},
        )
    )  # fmt: skip
    return network


def main(host: str, folder: str, name: str) -> None:
    """A device of that name until standard input ends; then what it was told to play is in `FOLDER/loads.json`."""
    with cast_device(Path(folder), host) as device:
        network = _announced(name, device)
        print("ready", flush=True)
        sys.stdin.read()
        network.close()
        loads = [{"frames": load.frames, "refused": load.refused, "texts": load.texts} for load in device.loads]
        (Path(folder) / "loads.json").write_text(json.dumps(loads))


if __name__ == "__main__":
    main(*sys.argv[1:])
