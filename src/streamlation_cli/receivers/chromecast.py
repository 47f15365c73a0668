"""Chromecast and televisions with Google Cast: the Default Media Receiver, spoken to over TLS (CASTv2).

The device fetches what it plays. Playlists, segments and text tracks need CORS; text tracks are fixed when media are loaded.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pychromecast
import zeroconf
from pychromecast.config import APP_MEDIA_RECEIVER
from pychromecast.controllers.media import MEDIA_PLAYER_ERROR_CODES, MediaStatus, MediaStatusListener
from pychromecast.controllers.receiver import CastStatus, CastStatusListener
from pychromecast.discovery import CastBrowser, SimpleCastListener
from pychromecast.error import PyChromecastError, RequestFailed
from pychromecast.models import CastInfo, HostServiceInfo
from pychromecast.socket_client import ConnectionStatus, ConnectionStatusListener

from .. import stdio
from ..errors import Unavailable
from . import Device, Media, Playback, Refused, State
from .castsocket import Turns

T = TypeVar("T")

DEFAULT_PORT = 8009
_LOAD_S = 30.0
"""A device that has to wake up, start its receiver and fetch the first segments takes some seconds."""
_REQUEST_S = 10.0
_RETRY_S = 2.0
_ASK_EVERY_S = 5.0
"""It tells by itself when something changes, and between two answers the position is known."""
_SAYS_S = 5.0
"""How long after connecting a device may take to say what it plays."""
_STYLE = {
    "backgroundColor": "#000000AA",
    "foregroundColor": "#FFFFFFFF",
    "edgeType": "OUTLINE",
    "edgeColor": "#000000FF",
}
_STATES: dict[str, State] = {"PLAYING": "playing", "PAUSED": "paused", "BUFFERING": "buffering", "LOADING": "loading"}


def discover(timeout_s: float, found: Callable[[Device], None]) -> None:
    """Calls `found` with what answers within `timeout_s`; raises OSError where multicast is not possible."""
    try:
        network = zeroconf.Zeroconf()
    except RuntimeError as error:  # the library's word for a machine without any network
        raise OSError(str(error)) from error
    browser = CastBrowser(SimpleCastListener(lambda identity, _: found(_device(browser.devices[identity]))), network)
    try:
        browser.start_discovery()
        time.sleep(timeout_s)
    finally:
        browser.stop_discovery()
        network.close()


def _device(info: CastInfo) -> Device:
    return Device(
        kind="chromecast", name=info.friendly_name or info.host, host=info.host, port=info.port, model=info.model_name or "",
        identifier=str(info.uuid),
    )  # fmt: skip


def connect(device: Device, timeout_s: float) -> Chromecast:
    """Connects; raises Unavailable where nothing answers there, or not as a Chromecast does."""
    return Chromecast(device, timeout_s)


class Chromecast(ConnectionStatusListener, CastStatusListener, MediaStatusListener):
    """See `Receiver`."""

    def __init__(self, device: Device, timeout_s: float) -> None:
        self.device = device
        self._url = ""
        self._media: Media | None = None
        self._lost_since: float | None = None
        self._connections = 0
        self._asked_at = 0.0
        self._heard_receiver = threading.Event()
        self._heard_media = threading.Event()
        """What it runs, what it plays: said since it was last connected to."""
        self._connected_s = 0.0
        identity = uuid.UUID(device.identifier) if device.identifier else uuid.uuid5(uuid.NAMESPACE_URL, device.uri)
        info = CastInfo(
            {HostServiceInfo(device.host, device.port or DEFAULT_PORT)}, identity, device.model or None, device.name, device.host,
            device.port or DEFAULT_PORT, "cast", None,
        )  # fmt: skip
        # Tries for ever: that a device is lost is seen in `playback`, and who gives up when is not decided here.
        self._cast = pychromecast.Chromecast(cast_info=info, tries=None, timeout=timeout_s, retry_wait=_RETRY_S)
        self._turns = Turns(self._cast.socket_client)
        self._cast.register_connection_listener(self)
        self._cast.register_status_listener(self)
        self._controller.register_status_listener(self)
        try:
            self._cast.wait(timeout=timeout_s)
        except PyChromecastError as error:
            self.close()
            raise Unavailable(
                f"{device.name}: no Chromecast answers at {device.host}:{device.port or DEFAULT_PORT}; is it on, and on this network?"
            ) from error
        if self._running:
            self._heard_media.wait(_SAYS_S)

    def new_connection_status(self, status: ConnectionStatus) -> None:
        """Called by the library's thread."""
        if status.status == "CONNECTED":
            self._turns.take_turns()
            self._connections += 1
            self._connected_s = time.monotonic()
            self._heard_receiver.clear()
            self._heard_media.clear()
            self._lost_since = None
        elif status.status in ("LOST", "FAILED", "DISCONNECTED") and self._lost_since is None:
            self._lost_since = time.monotonic()

    def new_cast_status(self, status: CastStatus) -> None:
        """Called by the library's thread."""
        self._heard_receiver.set()

    def new_media_status(self, status: MediaStatus) -> None:
        """Called by the library's thread."""
        self._heard_media.set()

    def load_media_failed(self, queue_item_id: int, error_code: int) -> None:
        """Called by the library's thread; the answer to what was asked says it too."""

    @property
    def _controller(self) -> Any:
        return self._cast.media_controller

    def load(self, media: Media, volume: float | None) -> None:
        """See `Receiver`."""
        with self._talking("playing"):
            data = self._again(lambda: self._loaded(media, volume))
        if data is None:
            raise Unavailable(f"{self.device.name} did not answer to what it was to play within {_LOAD_S:.0f} s")
        kind = data.get("type")
        if kind != "MEDIA_STATUS":
            raise Refused(f"{self.device.name} refuses to play this{_reason(data)}")
        self._media = media
        self._url = media.address

    def _loaded(self, media: Media, volume: float | None) -> dict[str, Any] | None:
        """The device's answer; None where none comes."""
        if volume is not None:
            self._cast.set_volume(volume, timeout=_REQUEST_S)
        # In an app that somebody else started, our session could be theirs to end.
        self._cast.start_app(APP_MEDIA_RECEIVER, timeout=_REQUEST_S)
        answer = _Answer()
        self._controller.send_message(_load_message(media), inc_session_id=True, callback_function=answer)
        with stdio.woken_by_signals():
            return answer.wait(_LOAD_S)

    def _again(self, request: Callable[[], T]) -> T:
        """Its result; it is made once more where it failed because the connection broke off and is there again."""
        connections = self._connections
        try:
            return request()
        except (PyChromecastError, OSError):
            until_s = time.monotonic() + _SAYS_S
            while self._connections == connections or not self._heard_receiver.wait(0.1):
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.1)
        return request()

    def playback(self) -> Playback:
        """See `Receiver`."""
        counters = (("reconnects", max(0, self._connections - 1)),)
        if self._lost_since is not None or not self._cast.socket_client.is_connected:
            return Playback(state="lost", position_ms=self._position_ms(), counters=counters)
        if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            self._asked_at = time.monotonic()
            with contextlib.suppress(PyChromecastError):  # then it is being lost, which the next call says
                if self._running:
                    self._controller.update_status()
        status: MediaStatus = self._controller.status
        cast: CastStatus | None = self._cast.status
        state, detail = self._state(status, cast)
        return Playback(
            state=state,
            position_ms=self._position_ms(),
            duration_ms=round(status.duration * 1000) if status.duration else None,
            volume=cast.volume_level if cast else None,
            title=status.title or "",
            detail=detail,
            counters=counters,
        )

    @property
    def _running(self) -> bool:
        """Whether an app runs that plays media."""
        return bool(self._controller.is_active)

    def _state(self, status: MediaStatus, cast: CastStatus | None) -> tuple[State, str]:
        if cast is None or not self._heard_receiver.is_set():
            return "lost", ""
        if self._running and not self._heard_media.is_set() and time.monotonic() - self._connected_s < _SAYS_S:
            return "lost", ""
        if not self._running:
            return ("stopped" if self._url and cast.app_id in (None, pychromecast.IDLE_APP_ID) else
                    "replaced" if self._url else "idle"), cast.display_name or ""  # fmt: skip
        if self._url and status.content_id not in (None, self._url):
            return "replaced", status.title or status.content_id or ""
        if status.player_state == "IDLE":
            ended: dict[str, State] = {
                "FINISHED": "ended",
                "ERROR": "failed",
                "CANCELLED": "stopped",
                "INTERRUPTED": "replaced",
            }
            return ended.get(status.idle_reason or "", "idle"), ""
        return _STATES.get(status.player_state, "idle"), ""

    def _position_ms(self) -> int | None:
        position = self._controller.status.adjusted_current_time
        return None if position is None else max(0, round(position * 1000))

    def pause(self) -> None:
        """See `Receiver`."""
        with self._talking("pausing"):
            self._again(lambda: self._controller.pause(timeout=_REQUEST_S))

    def resume(self) -> None:
        """See `Receiver`."""
        with self._talking("going on"):
            self._again(lambda: self._controller.play(timeout=_REQUEST_S))

    def seek(self, position_ms: int) -> None:
        """See `Receiver`."""
        with self._talking("seeking"):
            paused = self._controller.status.player_is_paused
            self._again(lambda: self._controller.seek(position_ms / 1000, timeout=_REQUEST_S))
            if paused:
                self._controller.pause(timeout=_REQUEST_S)

    def set_volume(self, volume: float) -> None:
        """See `Receiver`."""
        with self._talking("setting the volume"):
            self._again(lambda: self._cast.set_volume(volume, timeout=_REQUEST_S))

    def show_subtitle(self, index: int | None) -> None:
        """See `Receiver`."""
        with self._talking("choosing subtitles"):
            if index is None:
                self._again(lambda: self._controller.disable_subtitle(timeout=_REQUEST_S))
            else:
                self._again(lambda: self._controller.enable_subtitle(index + 1, timeout=_REQUEST_S))

    def stop(self) -> None:
        """See `Receiver`."""
        with self._talking("stopping"):
            self._url = ""
            self._again(lambda: self._cast.quit_app(timeout=_REQUEST_S))

    def close(self) -> None:
        """See `Receiver`."""
        with contextlib.suppress(TimeoutError):  # its thread is a daemon that sleeps between two tries
            self._cast.disconnect(timeout=1.0)

    @contextlib.contextmanager
    def _talking(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (PyChromecastError, OSError) as error:
            raise Unavailable(
                f"{self.device.name} does not answer ({doing}): {error or type(error).__name__}"
            ) from error


class _Answer:
    """What the device answers to a request; its own thread calls this."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._sent = True
        self._data: dict[str, Any] | None = None

    def __call__(self, sent: bool, data: dict[str, Any] | None) -> None:
        self._sent = sent
        self._data = data
        self._came.set()

    def wait(self, timeout_s: float) -> dict[str, Any] | None:
        """None where it did not answer in time; raises RequestFailed where it could not be asked."""
        if not self._came.wait(timeout_s):
            return None
        if not self._sent:
            raise RequestFailed("load")
        return self._data


def _load_message(media: Media) -> dict[str, Any]:
    tracks = [
        {
            "trackId": number, "type": "TEXT", "subtype": "SUBTITLES", "trackContentId": subtitle.address,
            "trackContentType": "text/vtt", "language": subtitle.language or "und", "name": subtitle.name,
        }
        for number, subtitle in enumerate(media.subtitles, 1)
    ]  # fmt: skip
    information: dict[str, Any] = {
        "contentId": media.address,
        "contentUrl": media.address,
        "contentType": media.content_type,
        "streamType": "LIVE" if media.live else "BUFFERED",
        "metadata": {"metadataType": 0, "title": media.title},
    }
    if tracks:
        information |= {"tracks": tracks, "textTrackStyle": _STYLE}
    if media.is_hls:
        information |= {"hlsSegmentFormat": "fmp4", "hlsVideoSegmentFormat": "fmp4"}
    if media.duration_ms is not None and not media.live:
        information["duration"] = media.duration_ms / 1000
    message: dict[str, Any] = {"type": "LOAD", "media": information, "autoplay": True, "customData": {}}
    if tracks and media.subtitle is not None:
        message["activeTrackIds"] = [media.subtitle + 1]
    if media.start_ms:
        message["currentTime"] = media.start_ms / 1000
    return message


def _reason(data: dict[str, Any]) -> str:
    """What a refusal says of why, for a person."""
    code = data.get("detailedErrorCode")
    words = {
        "LOAD_FAILED": "", "LOAD_CANCELLED": ": something else was loaded meanwhile", "INVALID_PLAYER_STATE": "",
        "INVALID_REQUEST": f": invalid request {data.get('reason', '')}",
    }  # fmt: skip
    said = words.get(str(data.get("type")), f": {data.get('type')}")
    return f"{said} ({MEDIA_PLAYER_ERROR_CODES.get(code, code)})" if code is not None else said
