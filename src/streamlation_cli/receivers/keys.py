"""Single keys on a terminal: pause, seek, volume, subtitles, stop."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import Unavailable

if TYPE_CHECKING:
    from . import Media, Playback, Receiver

HELP = "space pause · ←/→ seek 10 s · ↑/↓ volume · s subtitles · q stop"
_SEEK_MS = 10_000
_STEP = 0.05


class Keys:
    """What keys ask for; `commands` returns what was pressed since it was last called."""

    def __init__(self, media: Media, stop: Callable[[], None], say: Callable[[str], None]) -> None:
        self._media = media
        self._stop = stop
        self._say = say
        self._subtitle = media.subtitle

    def commands(self) -> list[Callable[[Receiver, Playback], None]]:
        """See the class."""
        if not select.select([0], [], [], 0)[0]:
            return []
        pressed = os.read(0, 64).decode("ascii", "ignore")
        return [self._guarded(action) for key in _split(pressed) if (action := self._actions().get(key)) is not None]

    def _actions(self) -> dict[str, Callable[[Receiver, Playback], None]]:
        return {
            " ": self._toggle,
            "p": self._toggle,
            "\x1b[C": lambda receiver, playback: self._seek(receiver, playback, _SEEK_MS),
            "\x1b[D": lambda receiver, playback: self._seek(receiver, playback, -_SEEK_MS),
            "\x1b[A": lambda receiver, playback: self._louder(receiver, playback, _STEP),
            "\x1b[B": lambda receiver, playback: self._louder(receiver, playback, -_STEP),
            "+": lambda receiver, playback: self._louder(receiver, playback, _STEP),
            "-": lambda receiver, playback: self._louder(receiver, playback, -_STEP),
            "s": self._next_subtitle,
            "q": lambda _receiver, _playback: self._stop(),
        }

    def _guarded(self, action: Callable[[Receiver, Playback], None]) -> Callable[[Receiver, Playback], None]:
        """A key that the device does not follow is said and forgotten: playback goes on."""

        def run(receiver: Receiver, playback: Playback) -> None:
            try:
                action(receiver, playback)
            except Unavailable as error:
                self._say(error.message)

        return run

    def _toggle(self, receiver: Receiver, playback: Playback) -> None:
        if playback.state == "paused":
            receiver.resume()
        else:
            receiver.pause()

    def _seek(self, receiver: Receiver, playback: Playback, by_ms: int) -> None:
        if self._media.live:
            self._say("a live stream cannot be sought in")
            return
        last_ms = playback.duration_ms or self._media.duration_ms
        wanted = max(0, (playback.position_ms or 0) + by_ms)
        receiver.seek(wanted if last_ms is None else min(wanted, last_ms))

    def _louder(self, receiver: Receiver, playback: Playback, by: float) -> None:
        receiver.set_volume(min(1.0, max(0.0, (0.5 if playback.volume is None else playback.volume) + by)))

    def _next_subtitle(self, receiver: Receiver, _playback: Playback) -> None:
        count = len(self._media.subtitles)
        if not count:
            self._say("there are no subtitles to choose from")
            return
        following = 0 if self._subtitle is None else self._subtitle + 1
        self._subtitle = following if following < count else None
        receiver.show_subtitle(self._subtitle)
        self._say(
            "subtitles off" if self._subtitle is None else f"subtitles: {self._media.subtitles[self._subtitle].name}"
        )


def _split(pressed: str) -> Iterator[str]:
    r"""The keys in what a terminal sent: an arrow is three characters.

    >>> list(_split(" \x1b[Cq"))
    [' ', '\x1b[C', 'q']
    """
    while pressed:
        length = 3 if pressed.startswith("\x1b[") else 1
        yield pressed[:length]
        pressed = pressed[length:]


@contextlib.contextmanager
def single_keys() -> Iterator[bool]:
    """Whether standard input is a terminal; it then sends each key as it is pressed, unseen, until the block ends."""
    if not (os.isatty(0) and sys.stderr.isatty()):
        yield False
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    try:
        tty.setcbreak(0)
        yield True
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
