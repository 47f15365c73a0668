"""DLNA televisions and renderers: UPnP AVTransport and RenderingControl.

The device fetches what it plays. Which of a file's sounds it plays is its own choice, so a chosen one is made the only one;
subtitles are announced in the ways that televisions look for (a second resource, and Samsung's own element).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape, quoteattr

from async_upnp_client.aiohttp import AiohttpRequester
from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.exceptions import UpnpActionError, UpnpError
from async_upnp_client.profiles.dlna import DmrDevice, TransportState
from async_upnp_client.search import async_search

from ..errors import Unavailable
from . import Device, Media, Playback, Refused, State
from .loop import Loop

RENDERER = "urn:schemas-upnp-org:device:MediaRenderer:1"
_LOAD_S = 15.0
_FLAGS = "DLNA.ORG_OP=01;DLNA.ORG_CI=0;DLNA.ORG_FLAGS=01700000000000000000000000000000"
"""Seeking by bytes, not converted, streaming and background transfer."""
_LIVE_FLAGS = "DLNA.ORG_OP=00;DLNA.ORG_CI=0;DLNA.ORG_FLAGS=8D700000000000000000000000000000"
_STATES: dict[TransportState, State] = {
    TransportState.PLAYING: "playing", TransportState.PAUSED_PLAYBACK: "paused", TransportState.TRANSITIONING: "buffering",
    TransportState.STOPPED: "stopped", TransportState.NO_MEDIA_PRESENT: "idle",
}  # fmt: skip


def discover(timeout_s: float, found: Callable[[Device], None], target: str = "") -> None:
    """Calls `found` with what answers within `timeout_s`, on `target` alone where it is given.

    Raises OSError where multicast is not possible.
    """
    asyncio.run(_discover(timeout_s, found, target))


async def _discover(timeout_s: float, found: Callable[[Device], None], target: str) -> None:
    # A description is small, but a sleeping device is slow: some of the time is for that.
    search_s = max(1, int(timeout_s * 0.75))
    describing: dict[str, asyncio.Task[None]] = {}

    async def describe(location: str) -> None:
        device = await _described(location, timeout_s - search_s + 1)
        if device is not None:
            found(device)

    async def answered(headers: Any) -> None:
        location = headers["location"]
        if location not in describing:
            describing[location] = asyncio.create_task(describe(location))

    where = (target, 1900) if target else None
    await async_search(answered, timeout=search_s, search_target=RENDERER, target=where)
    await asyncio.gather(*describing.values())


async def _described(location: str, timeout_s: float) -> Device | None:
    """The device, or None where its description cannot be had or is none of a renderer."""
    try:
        factory = UpnpFactory(AiohttpRequester(timeout=max(1, int(timeout_s))), non_strict=True)
        device = await factory.async_create_device(location)
    except (UpnpError, OSError, ValueError):
        return None
    if not DmrDevice.is_profile_device(device):
        return None
    parts = urlsplit(location)
    return Device(
        kind="dlna", name=device.friendly_name, host=parts.hostname or "", port=parts.port or 80, location=location,
        model=device.model_name or "", identifier=device.udn,
    )  # fmt: skip


def describes_renderer(location: str, timeout_s: float) -> bool:
    """Whether a renderer is described at that address."""
    return asyncio.run(_described(location, timeout_s)) is not None


def connect(device: Device, timeout_s: float) -> Dlna:
    """Connects; raises Unavailable where nothing answers there."""
    return Dlna(device, timeout_s)


class Dlna:
    """See `Receiver`."""

    def __init__(self, device: Device, timeout_s: float) -> None:
        self.device = device
        self._timeout_s = timeout_s
        self._media: Media | None = None
        self._renderer: DmrDevice | None = None
        self._asked_at = 0.0
        self._last = Playback(state="idle")
        self._ever_played = False
        self._loop = Loop("dlna")
        try:
            with self._talking():
                self._renderer = self._loop.run(
                    self._made(), timeout_s, f"{device.name} did not answer at {device.location}"
                )
        except BaseException:
            self._loop.close()
            raise

    async def _made(self) -> DmrDevice:
        requester = AiohttpRequester(timeout=max(1, int(self._timeout_s)))
        described = await UpnpFactory(requester, non_strict=True).async_create_device(self.device.location)
        if not DmrDevice.is_profile_device(described):
            raise Unavailable(f"{self.device.location}: that device is no renderer")
        # No events: a firewall here would keep them out, and asking once a second tells the same.
        renderer = DmrDevice(described, None)
        await renderer.async_update(do_ping=False)
        self.device = replace(self.device, name=renderer.name or self.device.name, model=described.model_name or "")
        return renderer

    @property
    def _device(self) -> DmrDevice:
        assert self._renderer is not None
        return self._renderer

    def load(self, media: Media, volume: float | None) -> None:
        """See `Receiver`."""
        self._media = media
        self._ever_played = False
        try:
            with self._talking():
                self._loop.run(
                    self._load(media, volume), self._timeout_s + _LOAD_S, f"{self.device.name} did not start"
                )
        except Unavailable as error:
            cause = error.__cause__
            if isinstance(cause, UpnpActionError):
                raise Refused(f"{self.device.name} refuses to play this: {_told(cause)}{self._doubt(media)}") from error
            raise
        self._asked_at = 0.0

    def _doubt(self, media: Media) -> str:
        """What to add to a failure where the device does not name the media's type among those that it takes.

        It is no reason not to try: many play more than they name.
        """
        types = {
            fields[2].lower() for sink in self._device.sink_protocol_info or [] if len(fields := sink.split(":")) > 2
        }
        kind = media.content_type.partition(";")[0].lower()
        if not types or {"*", kind, kind.replace("vnd.apple.mpegurl", "x-mpegurl")} & types:
            return ""
        known = ", ".join(sorted(one for one in types if one.startswith(f"{kind.partition('/')[0]}/"))[:8])
        return f"; it does not name {kind} among what it plays (it names {known or 'nothing like it'})"

    async def _load(self, media: Media, volume: float | None) -> None:
        device = self._device
        if volume is not None and device.has_volume_level:
            await device.async_set_volume_level(volume)
        if device.transport_state in (
            TransportState.PLAYING,
            TransportState.PAUSED_PLAYBACK,
            TransportState.TRANSITIONING,
        ):
            await device.async_stop()
        await device.async_set_transport_uri(media.address, media.title, _didl(media))
        await device.async_wait_for_can_play(int(_LOAD_S) // 2)
        await device.async_play()
        if media.start_ms:
            await self._until_playing()
            await self._seek(media.start_ms)

    async def _until_playing(self) -> None:
        """Renderers seek only in what plays."""
        until_s = time.monotonic() + _LOAD_S / 2
        while time.monotonic() < until_s:
            await self._device.async_update(do_ping=False)
            if self._device.transport_state == TransportState.PLAYING:
                return
            await asyncio.sleep(0.2)

    async def _seek(self, position_ms: int) -> None:
        device = self._device
        if device.has_seek_rel_time:
            await device.async_seek_rel_time(timedelta(milliseconds=position_ms))
        elif device.has_seek_abs_time:
            await device.async_seek_abs_time(timedelta(milliseconds=position_ms))
        else:
            raise Unavailable(f"{self.device.name} cannot seek")

    def playback(self) -> Playback:
        """See `Receiver`."""
        if time.monotonic() - self._asked_at < 1.0:
            return self._last
        self._asked_at = time.monotonic()
        try:
            with self._talking():
                self._loop.run(
                    self._device.async_update(do_ping=False), self._timeout_s, f"{self.device.name} did not answer"
                )
        except Unavailable:
            self._last = Playback(state="lost", position_ms=self._last.position_ms, duration_ms=self._last.duration_ms)
            return self._last
        self._last = self._now()
        return self._last

    def _now(self) -> Playback:
        device = self._device
        state = _STATES.get(device.transport_state or TransportState.VENDOR_DEFINED, "idle")
        position_ms = None if device.media_position is None else device.media_position * 1000
        duration_ms = device.media_duration * 1000 if device.media_duration else None
        detail = ""
        self._ever_played |= state in ("playing", "paused") and bool(position_ms)
        playing = device.current_track_uri or device.av_transport_uri
        if self._media is None:
            state = "idle" if state == "stopped" else state
        elif playing and playing != self._media.address and state != "stopped":
            state = "replaced"
        elif state == "stopped":
            state, detail = self._why_stopped(duration_ms)
        return Playback(
            state=state,
            position_ms=position_ms if state in ("playing", "paused", "buffering") else self._last.position_ms,
            duration_ms=duration_ms or self._last.duration_ms,
            volume=device.volume_level,
            title=device.media_title or "",
            detail=detail,
        )

    def _why_stopped(self, duration_ms: int | None) -> tuple[State, str]:
        """A renderer that stops says no reason: at the end it has played, before the start it could not."""
        status = self._transport_status()
        if status == "ERROR_OCCURRED":
            return "failed", f"it says that an error occurred{self._doubt(self._media) if self._media else ''}"
        if not self._ever_played and not (self._last.position_ms or 0):
            return "idle", ""
        length_ms = duration_ms or self._last.duration_ms or (self._media.duration_ms if self._media else None)
        reached_ms = self._last.position_ms or 0
        near = length_ms is None or reached_ms >= length_ms - 2500  # asked once a second, told in whole seconds
        return ("ended" if near else "stopped"), ""

    def _transport_status(self) -> str:
        service = self._device.device.find_service("urn:schemas-upnp-org:service:AVTransport:1")
        if service is None or "TransportStatus" not in service.state_variables:
            return ""
        return str(service.state_variables["TransportStatus"].value or "")

    def pause(self) -> None:
        """See `Receiver`."""
        if not self._device.has_pause:
            raise Unavailable(f"{self.device.name} cannot pause")
        self._do(self._device.async_pause())

    def resume(self) -> None:
        """See `Receiver`."""
        self._do(self._device.async_play())

    def seek(self, position_ms: int) -> None:
        """See `Receiver`."""
        self._do(self._seek(position_ms))

    def set_volume(self, volume: float) -> None:
        """See `Receiver`."""
        if not self._device.has_volume_level:
            raise Unavailable(f"the volume of {self.device.name} cannot be set")
        self._do(self._device.async_set_volume_level(volume))

    def show_subtitle(self, index: int | None) -> None:
        """See `Receiver`."""
        raise Unavailable(f"{self.device.name}: which subtitles a DLNA device shows is chosen on the device")

    def stop(self) -> None:
        """See `Receiver`."""
        self._media = None
        self._do(self._device.async_stop())

    def close(self) -> None:
        """See `Receiver`."""
        self._loop.close()

    def _do(self, work: Any) -> None:
        with self._talking():
            self._loop.run(work, self._timeout_s, f"{self.device.name} did not answer")
        self._asked_at = 0.0

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except UpnpActionError as error:
            raise Unavailable(f"{self.device.name} cannot do that: {_told(error)}") from error
        except (UpnpError, OSError) as error:
            where = f"{self.device.host}:{self.device.port}"
            raise Unavailable(f"{self.device.name} does not answer at {where}: {_words(error)}") from error


def _told(error: UpnpActionError) -> str:
    """The device's own words on why not."""
    return f"{error.error_desc or 'no reason given'} (UPnP error {error.error_code})"


def _words(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(getattr(cause, "strerror", None) or cause) or type(cause).__name__


def _didl(media: Media) -> str:
    """What the device is told of the media, as DIDL-Lite."""
    upnp_class = "object.item.videoItem" if media.has_video else "object.item.audioItem.musicTrack"
    duration = f" duration={quoteattr(_clock(media.duration_ms))}" if media.duration_ms and not media.live else ""
    flags = _LIVE_FLAGS if media.live else _FLAGS
    resources = [
        f'<res protocolInfo="http-get:*:{escape(media.content_type)}:{flags}"{duration}>{escape(media.address)}</res>'
    ]
    if media.subtitle is not None:
        address = escape(media.subtitles[media.subtitle].srt_address)
        resources.append(f'<res protocolInfo="http-get:*:text/srt:*">{address}</res>')
        resources.append(f'<sec:CaptionInfoEx sec:type="srt">{address}</sec:CaptionInfoEx>')
    return (
        '<DIDL-Lite xmlns="urn:schemas-upnp-org:metadata-1-0/DIDL-Lite/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:upnp="urn:schemas-upnp-org:metadata-1-0/upnp/" xmlns:sec="http://www.sec.co.kr/">'
        f'<item id="0" parentID="-1" restricted="1"><dc:title>{escape(media.title)}</dc:title>'
        f"<upnp:class>{upnp_class}</upnp:class>{''.join(resources)}</item></DIDL-Lite>"
    )


def _clock(milliseconds: int) -> str:
    """
    >>> _clock(3_723_400)
    '1:02:03.400'
    """
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"
