"""A device that is not there: takes what it is told and plays it in no time. For dry runs and tests of what is around it."""

from __future__ import annotations

from . import Device, Media, Playback


def connect(device: Device, timeout_s: float) -> Stub:
    """A stub."""
    return Stub(device)


class Stub:
    """See `Receiver`."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._media: Media | None = None
        self._state = Playback(state="idle")

    def load(self, media: Media, volume: float | None) -> None:
        """Has played it when this returns."""
        self._media = media
        self._state = Playback(
            state="ended", position_ms=media.duration_ms, duration_ms=media.duration_ms, volume=volume
        )

    def playback(self) -> Playback:
        """See `Receiver`."""
        return self._state

    def pause(self) -> None:
        """See `Receiver`."""

    def resume(self) -> None:
        """See `Receiver`."""

    def seek(self, position_ms: int) -> None:
        """See `Receiver`."""

    def set_volume(self, volume: float) -> None:
        """See `Receiver`."""

    def show_subtitle(self, index: int | None) -> None:
        """See `Receiver`."""

    def stop(self) -> None:
        """See `Receiver`."""
        self._state = Playback(state="idle")

    def close(self) -> None:
        """See `Receiver`."""
