"""AirPlay loudspeakers and televisions: the sound, sent by this process over RAOP.

    file or HLS ─► `airsound`: 44.1 kHz stereo, a WAV without an end ─► pyatv ─► the device

The device cannot be asked to pause or seek: that is done here, before the sound is sent, and heard when what the device has
buffered is over. A device that wants a password or a PIN is refused: pairing is not done here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
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
from .airsound import LATENCY_MS, Sound
from .loop import Loop

DEFAULT_PORT = 7000
_STARTED_S = 20.0
_ALIVE_EVERY_S = 3.0
_ALIVE_S = 2.0

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
        self._sound: Sound | None = None
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
        sound = Sound(media)
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

    async def _send(self, sound: Sound, title: str, volume: float | None) -> None:
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

    def _needed(self) -> Sound:
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
