"""One WebRTC connection whose audio is received: aiortc behind a `Feed`.

aiortc decodes what it receives, so the packets are PCM. It lives in an asyncio loop, which runs in a thread of its own;
frames go to the reader's thread through a queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DataError, Unavailable
from ..records import AudioStream, Packet, VideoStream
from .feeds import Break, Lost

if TYPE_CHECKING:
    from aiortc import MediaStreamTrack, RTCPeerConnection
    from av.audio.frame import AudioFrame

T = TypeVar("T")
_STALL_S = 2.0
"""Audio comes every 20 ms, in silence too, or at least every 400 ms; one that pauses longer is gone. ICE itself takes 30 s."""
_SETTLE_S = 0.3
"""Between the goodbye of a source and that of its server's whole connection."""
_LOOP_S = 5.0


def check(name: str) -> None:
    """Raises Unavailable where aiortc is not installed."""
    try:
        import aiortc  # noqa: F401 - whether it is there
    except ImportError as error:
        raise Unavailable(f"{name}: WebRTC needs the extra webrtc: pip install 'streamlation[webrtc]'") from error


class Loop:
    """An asyncio loop in a thread, until `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name="webrtc", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises; raises Lost where it takes too long."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(_LOOP_S)
        except FutureTimeout:
            raise Lost("the connection could not be set up in time") from None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Lets the coroutine run."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()


@dataclass(frozen=True)
class Frame:
    """Decoded audio: packed signed 16-bit samples."""

    pts: int
    samples: int
    rate: int
    channels: int
    data: bytes


@dataclass(frozen=True)
class End:
    """Nothing more comes; without a reason the source itself said goodbye."""

    reason: str = ""


class Peer:
    """A peer connection that only receives audio, and no public server is asked where it is."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.frames: queue.SimpleQueue[Frame | End] = queue.SimpleQueue()
        self._connection: RTCPeerConnection = loop.run(self._make())

    async def _make(self) -> RTCPeerConnection:
        from aiortc import RTCConfiguration, RTCPeerConnection

        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

        def on_track(track: MediaStreamTrack) -> None:
            if track.kind == "audio":
                self._loop.start(self._pump(track))

        def on_state() -> None:
            if connection.connectionState in ("failed", "closed"):
                self.frames.put(End("the other side hung up or is gone"))

        connection.on("track", on_track)
        connection.on("connectionstatechange", on_state)
        return connection

    def offer(self) -> str:
        """What is to be sent to the server, an SDP."""

        async def make() -> str:
            self._connection.addTransceiver("audio", direction="recvonly")
            await self._connection.setLocalDescription(await self._connection.createOffer())
            return self._connection.localDescription.sdp

        return self._loop.run(make())

    def answered(self, sdp: str) -> None:
        """Takes the server's answer; raises Lost where it is none."""
        self._loop.run(self._take(sdp, "answer"))

    def answer(self, sdp: str) -> str:
        """The answer to an offer; raises Lost where it is none, DataError where it offers no audio."""

        async def make() -> str:
            await self._take(sdp, "offer")
            kinds = {}
            for transceiver in self._connection.getTransceivers():
                kinds[transceiver.kind] = True
                # What is not read is not to be sent, and above all not to be decoded.
                transceiver.direction = "recvonly" if transceiver.kind == "audio" else "inactive"
            if "audio" not in kinds:
                raise DataError("no audio is offered")
            await self._connection.setLocalDescription(await self._connection.createAnswer())
            return self._connection.localDescription.sdp

        return self._loop.run(make())

    def feed(self, timeout_s: float, hung_up: Callable[[], None]) -> PeerFeed:
        """The audio, once it comes; `hung_up` is called when it is closed. Raises Lost where none comes in time."""
        until_s = time.monotonic() + timeout_s
        while True:
            try:
                first = self.frames.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                raise Lost("connected, but no audio comes") from None
            if isinstance(first, End):
                raise Lost(first.reason or "it ended before any audio came")
            return PeerFeed(self, first, min(timeout_s, _STALL_S), hung_up)

    def end(self, reason: str) -> None:
        """From any thread: nothing more is to be read."""
        self.frames.put(End(reason))

    def close(self) -> None:
        """From any thread, any number of times."""
        self.end("cancelled")
        self._loop.start(self._connection.close())

    async def _take(self, sdp: str, kind: str) -> None:
        from aiortc import InvalidStateError, RTCSessionDescription

        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp, kind))
        except (ValueError, KeyError, IndexError, AttributeError, InvalidStateError) as error:  # what its parser raises
            raise Lost(f"the other side's {kind} makes no sense: {error}") from error

    async def _pump(self, track: MediaStreamTrack) -> None:
        from aiortc.mediastreams import MediaStreamError

        try:
            while True:
                self.frames.put(_frame(await track.recv()))  # type: ignore[arg-type]
        except MediaStreamError:
            await asyncio.sleep(_SETTLE_S)
            self.frames.put(End("" if self._connection.connectionState == "connected" else "the other side hung up"))


class PeerFeed:
    """The audio of one connection, as PCM."""

    video: VideoStream | None = None
    counted = False

    def __init__(self, peer: Peer, first: Frame, stall_s: float, hung_up: Callable[[], None]) -> None:
        self._peer = peer
        self._first = first
        self._stall_s = stall_s
        self._hung_up = hung_up
        self._closed = False
        self.audio = _stream(first)

    def packets(self) -> Iterator[Packet | Break]:
        """As `Feed` says."""
        frame: Frame | End = self._first
        audio = self.audio
        while True:
            if isinstance(frame, End):
                if frame.reason and not self._closed:
                    raise Lost(frame.reason)
                return
            if (now := _stream(frame)) != audio:
                audio = now
                yield Break(reason="format", gap_s=0.0, audio=audio)
            yield Packet(
                "", seq=0, stream="audio", pts=frame.pts, dts=frame.pts, duration=frame.samples,
                time_base=audio.time_base, data=frame.data, keyframe=True,
            )  # fmt: skip
            try:
                frame = self._peer.frames.get(timeout=self._stall_s)
            except queue.Empty:
                raise Lost("nothing came in time") from None

    def close(self) -> None:
        """As `Feed` says."""
        if not self._closed:
            self._closed = True
            self._peer.close()
            with contextlib.suppress(OSError):
                self._hung_up()


def _frame(frame: AudioFrame) -> Frame:
    channels = frame.layout.nb_channels
    data = bytes(frame.planes[0])[: frame.samples * channels * 2]
    return Frame(frame.pts or 0, frame.samples, frame.sample_rate, channels, data)


def _stream(frame: Frame) -> AudioStream:
    return AudioStream(
        codec="pcm_s16le",
        sample_rate_hz=frame.rate,
        channels=frame.channels,
        layout="stereo" if frame.channels == 2 else "mono",
        sample_format="s16",
        time_base=(1, frame.rate),
    )
