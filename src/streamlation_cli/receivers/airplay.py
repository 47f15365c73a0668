"""AirPlay loudspeakers and televisions: the sound, sent by this process over RAOP.

    file or HLS ─► FFmpeg ─► 44.1 kHz stereo ─► `_Sound`, a WAV without an end ─► pyatv ─► the device

The device cannot be asked to pause or seek: that is done here, before the sound is sent, and heard when what the device has
buffered is over. A device that wants a password or a PIN is refused: pairing is not done here.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyatv
from pyatv.conf import AppleTV, ManualService
from pyatv.const import Protocol
from pyatv.exceptions import AuthenticationError, ConnectionFailedError, NotSupportedError
from pyatv.interface import MediaMetadata

from ..errors import Unavailable
from . import Device, Media, Playback, Refused, State
from .loop import Loop

DEFAULT_PORT = 7000
RATE = 44_100
_FRAME_BYTES = 4
LATENCY_MS = 2250
"""Between sending and hearing: the two seconds that RAOP devices buffer (88 200 frames) and pyatv's own."""
_STARTED_S = 20.0
_ALIVE_EVERY_S = 3.0
_ALIVE_S = 2.0
_OPEN_S = (10.0, 10.0)

_PLAIN = {"et": "0,1", "cn": "0,1", "sr": "44100", "ss": "16", "ch": "2", "md": "0,1,2", "tp": "UDP", "vn": "65537"}
"""What a device is taken to be that announced nothing, for it was named by its address: as simple as they come."""


def discover(timeout_s: float, found: Callable[[Device], None]) -> None:
    """Calls `found` with what answers within `timeout_s`; raises OSError where multicast is not possible."""
    for config in asyncio.run(_scan(timeout_s)):
        service = config.get_service(Protocol.RAOP)
        if service is None:
            continue
        found(
            Device(
                kind="airplay", name=config.name, host=str(config.address), port=service.port,
                model=config.device_info.raw_model or "", identifier=config.identifier or "",
                properties=tuple(service.properties.items()),
            )
        )  # fmt: skip


async def _scan(timeout_s: float) -> list[Any]:
    return list(await pyatv.scan(asyncio.get_running_loop(), timeout=int(timeout_s) or 1, protocol={Protocol.RAOP}))


def connect(device: Device, timeout_s: float) -> AirPlay:
    """Connects; raises Unavailable where nothing answers there."""
    return AirPlay(device, timeout_s)


class AirPlay:
    """See `Receiver`."""

    def __init__(self, device: Device, timeout_s: float) -> None:
        self.device = device
        self._timeout_s = timeout_s
        self._loop = Loop("airplay")
        self._sound: _Sound | None = None
        self._sending: Any = None
        self._media: Media | None = None
        self._volume: float | None = None
        self._alive = True
        self._asked_at = 0.0
        self._atv: Any = None
        try:
            self._atv = self._connected()
        except BaseException:
            self._loop.close()
            raise

    def _connected(self) -> Any:
        device = self.device
        if not self._answers():
            raise Unavailable(
                f"{device.name}: nothing answers at {device.host}:{device.port}; is it on, and on this network?"
            )
        properties = dict(device.properties) or _PLAIN
        config = AppleTV(ipaddress.ip_address(socket.gethostbyname(device.host)), device.name)  # type: ignore[arg-type]
        service = ManualService(device.identifier or device.uri, Protocol.RAOP, device.port or DEFAULT_PORT, properties)
        if properties.get("pw", "false").lower() == "true":
            raise Unavailable(
                f"{device.name} wants a password, which cannot be given here; switch it off in its AirPlay settings"
            )
        config.add_service(service)
        with self._talking():
            return self._loop.run(self._connect(config), self._timeout_s, f"{device.name} did not answer")

    async def _connect(self, config: Any) -> Any:
        return await pyatv.connect(config, asyncio.get_running_loop())

    def load(self, media: Media, volume: float | None) -> None:
        """See `Receiver`."""
        self._end()
        self._media = media
        if volume is not None:
            self._volume = volume
        if self._atv is None:
            self._atv = self._connected()
        sound = _Sound(media)
        self._sound = sound
        self._alive = True
        self._sending = self._loop.start(self._send(sound, media.title, self._volume))
        # The device has taken it when it takes sound; a refusal comes before that.
        until_s = time.monotonic() + _STARTED_S
        while not sound.taken.wait(0.05):
            if self._sending.done() or time.monotonic() > until_s:
                break
        if self._sending.done() and self._sending.exception() is not None:
            raise self._refusal(self._sending.exception())
        if not sound.taken.is_set() and not self._sending.done():
            self._end()
            raise Unavailable(f"{self.device.name} took no sound within {_STARTED_S:.0f} s")

    async def _send(self, sound: _Sound, title: str, volume: float | None) -> None:
        if volume is not None:
            await self._atv.audio.set_volume(volume * 100)
        await self._atv.stream.stream_file(sound, MediaMetadata(title=title))

    def _refusal(self, error: BaseException) -> Unavailable:
        if isinstance(error, AuthenticationError):
            return Refused(
                f"{self.device.name} wants to be paired first, which cannot be done here; in its AirPlay settings let everyone "
                "on the network play"
            )
        if isinstance(error, NotSupportedError):
            return Refused(f"{self.device.name} takes no sound this way: {error}")
        return Refused(f"{self.device.name} refuses to play this: {error.__cause__ or error}")

    def playback(self) -> Playback:
        """See `Receiver`."""
        sound = self._sound
        if sound is None:
            return Playback(state="idle", volume=self._volume)
        if sound.failure is not None:
            return Playback(state="failed", detail=str(sound.failure), position_ms=sound.position_ms)
        counters = (("underruns", sound.underruns), ("device_latency_ms", LATENCY_MS))
        duration_ms = self._media.duration_ms if self._media else None
        heard_ms = max(sound.begin_ms, sound.heard_ms)
        self._mind_life()
        if not self._alive:
            return Playback(state="lost", position_ms=heard_ms, duration_ms=duration_ms, counters=counters)
        if self._sound is None:  # back, and all forgotten there
            return Playback(state="idle", duration_ms=duration_ms, volume=self._volume)
        if self._sending.done():
            return Playback(state="ended", position_ms=sound.position_ms, duration_ms=duration_ms, counters=counters)
        state: State = "paused" if sound.paused else "buffering" if sound.starved else "playing"
        return Playback(
            state=state,
            position_ms=heard_ms, duration_ms=duration_ms, volume=self._volume, counters=counters,
        )  # fmt: skip

    def _mind_life(self) -> None:
        """RAOP sends sound by UDP and asks nothing: whether somebody still listens, only a connection tells."""
        failed = self._sending.done() and (self._sending.cancelled() or self._sending.exception() is not None)
        if not failed and time.monotonic() - self._asked_at < _ALIVE_EVERY_S:
            return
        if failed and self._alive:
            self._alive = False  # for as long as it takes to be asked: what broke off has to begin anew
            return
        self._asked_at = time.monotonic()
        was_alive, self._alive = self._alive, self._answers()
        if self._alive and not was_alive:
            self._end()
            self._sound = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.device.host, self.device.port or DEFAULT_PORT), timeout=_ALIVE_S):
                return True
        except OSError:
            return False

    def pause(self) -> None:
        """See `Receiver`."""
        self._needed().paused = True

    def resume(self) -> None:
        """See `Receiver`."""
        self._needed().paused = False

    def seek(self, position_ms: int) -> None:
        """See `Receiver`."""
        self._needed().seek_media(position_ms)

    def set_volume(self, volume: float) -> None:
        """See `Receiver`."""
        self._needed()
        self._volume = volume
        with self._talking():
            self._loop.run(
                self._atv.audio.set_volume(volume * 100), self._timeout_s, f"{self.device.name} did not answer"
            )

    def show_subtitle(self, index: int | None) -> None:
        """See `Receiver`."""
        raise Unavailable(f"{self.device.name} gets the sound alone; subtitles cannot be shown there")

    def _needed(self) -> _Sound:
        if self._sound is None:
            raise Unavailable(
                f"{self.device.name}: AirPlay sound is controlled by the process that sends it; use the keys in its terminal"
            )
        return self._sound

    def stop(self) -> None:
        """See `Receiver`."""
        if self._sound is None:
            self._needed()
        self._end()
        self._sound = None

    def close(self) -> None:
        """See `Receiver`."""
        self._end()
        self._loop.close()

    def _end(self) -> None:
        if self._sound is not None:
            self._sound.close()
        if self._atv is None:
            return
        atv, self._atv = self._atv, None

        async def closed() -> None:
            await asyncio.gather(*atv.close(), return_exceptions=True)

        with contextlib.suppress(Unavailable):  # a device that is gone cannot be taken leave of
            self._loop.run(closed(), self._timeout_s, "")
        if self._sending is not None:
            self._sending.cancel()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except (ConnectionFailedError, OSError) as error:
            raise Unavailable(
                f"{self.device.name} does not answer at {self.device.host}:{self.device.port}: {error}"
            ) from error
        except AuthenticationError as error:
            raise self._refusal(error) from error


class _Sound(io.BufferedIOBase):
    """The sound of media as a WAV file that ends when they end, decoded on a thread of its own as it is read.

    Read by pyatv's threads. Silence while paused, and while a live source has nothing; `read` never raises, for pyatv would
    ask again for ever: it ends, and `failure` says why.
    """

    def __init__(self, media: Media) -> None:
        self.paused = False
        self.starved = False
        self.underruns = 0
        self.ended = False
        self.failure: Exception | None = None
        self.taken = threading.Event()
        """Sound has been taken, and not the header alone."""
        self.begin_ms = media.start_ms
        self._media = media
        self._head = _wav_header()
        self._at = 0
        """Bytes read so far, header included."""
        self._from_ms = float(media.start_ms)
        """Media time of the first byte in `_waiting`."""
        self._waiting = bytearray()
        self._seek_to: int | None = media.start_ms or None
        self._read_s = 0.0
        """When something was last read."""
        self._closed = False
        self._condition = threading.Condition()
        self._decoder = threading.Thread(target=self._decode, name="airplay sound", daemon=True)
        self._decoder.start()

    @property
    def position_ms(self) -> int:
        """Media time of what is sent next."""
        return round(self._from_ms)

    @property
    def heard_ms(self) -> int:
        """Media time of what is heard now."""
        behind_ms = LATENCY_MS - (time.monotonic() - self._read_s) * 1000 if self._over else LATENCY_MS
        return round(self._from_ms - max(0.0, behind_ms))

    def readable(self) -> bool:
        """See `io`."""
        return True

    def seekable(self) -> bool:
        """Within the header, which is all that is sought in."""
        return True

    def tell(self) -> int:
        """See `io`."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place in the header; -1 tells pyatv, which looks for tags, that there is nothing to be found."""
        target = self._at + offset if whence == io.SEEK_CUR else offset
        if whence != io.SEEK_END and 0 <= target <= len(self._head) and self._at <= len(self._head):
            self._at = target
        return -1

    def seek_media(self, position_ms: int) -> None:
        """Goes on from there."""
        with self._condition:
            self._seek_to = position_ms
            self._waiting.clear()
            self._condition.notify_all()

    def read(self, size: int | None = -1) -> bytes:
        """See `io`."""
        wanted = 4096 if size is None or size < 0 else size
        if self._at < len(self._head):
            data = self._head[self._at : self._at + wanted]
            self._at += len(data)
            return data
        with self._condition:
            if not self._waiting and not self._over and not self.paused:
                self.starved = self.taken.is_set()
                self.underruns += self.starved
                # A file is decoded much faster than it is heard, once there is a start; a live stream may have nothing: then
                # silence is sent.
                enough = 1 if self.starved else RATE * _FRAME_BYTES // 2
                self._condition.wait_for(
                    lambda: len(self._waiting) >= enough or self.ended or self._over,
                    timeout=0.5 if self.starved else None,
                )
            if self._waiting and not self.paused:
                self.starved = False
                data = bytes(self._waiting[:wanted])
                del self._waiting[: len(data)]
                self._from_ms += len(data) * 1000 / (RATE * _FRAME_BYTES)
                self._read_s = time.monotonic()
                self._condition.notify_all()
            elif self._over and not self.paused:
                return b""
            else:
                data = bytes(wanted)
        self._at += len(data)
        self.taken.set()
        return data

    @property
    def _over(self) -> bool:
        return self._closed or ((self.ended or self.failure is not None) and not self._waiting)

    def close(self) -> None:
        """See `io`: nothing more is to be sent."""
        with self._condition:
            self._closed = True
            self.paused = False
            self._waiting.clear()
            self._condition.notify_all()

    def _decode(self) -> None:
        import av

        try:
            with av.open(self._media.address, timeout=_OPEN_S) as container:
                self._decode_from(container)
        except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
            with self._condition:
                self.failure = error
                self._condition.notify_all()

    def _decode_from(self, container: Any) -> None:
        import av

        from .. import languages

        streams = container.streams.audio
        stream = streams[0]
        for candidate in streams:
            if languages.same(candidate.metadata.get("language", ""), self._media.audio_language):
                stream = candidate
                break
        while not self._closed:
            resampler = av.AudioResampler("s16", "stereo", RATE)
            with self._condition:
                wanted_ms, self._seek_to = self._seek_to, None
                if wanted_ms is not None:
                    self._from_ms, self.ended = float(wanted_ms), False
            if wanted_ms is not None:
                container.seek(wanted_ms * 1000)
            for frame in container.decode(stream):
                if (
                    wanted_ms is not None
                    and frame.time is not None
                    and (frame.time + frame.samples / frame.sample_rate) * 1000 < wanted_ms
                ):
                    continue
                frame.pts = None
                if not self._put(
                    b"".join(
                        bytes(piece.planes[0])[: piece.samples * _FRAME_BYTES] for piece in resampler.resample(frame)
                    )
                ):
                    break
            else:
                self._put(
                    b"".join(
                        bytes(piece.planes[0])[: piece.samples * _FRAME_BYTES] for piece in resampler.resample(None)
                    )
                )
                with self._condition:
                    self.ended = self._seek_to is None
                    self._condition.notify_all()
                    # It may be sought in until the last of it is sent.
                    self._condition.wait_for(lambda: self._closed or self._seek_to is not None or not self._waiting)
                    if self._seek_to is None:
                        return

    def _put(self, data: bytes) -> bool:
        """Appends; waits while there is a second of it. False where it is wanted no more."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._closed or self._seek_to is not None or len(self._waiting) < RATE * _FRAME_BYTES
            )
            if self._closed or self._seek_to is not None:
                return False
            self._waiting += data
            self._condition.notify_all()
            return True


def _wav_header() -> bytes:
    """Of 44.1 kHz stereo s16 without a known end."""
    most = 0x7FFFFF00
    return (
        struct.pack("<4sI4s", b"RIFF", most + 36, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE, RATE * _FRAME_BYTES, _FRAME_BYTES, 16)
        + struct.pack("<4sI", b"data", most)
    )
