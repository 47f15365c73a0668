"""What the user wants heard and shown, and which of what there is that means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import languages
from ..delivery.tracks import Track
from ..errors import UsageError
from ..render import clock
from . import Kind
from .contents import Contents, Text
from .playlists import OFF


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user wants of what is in a file."""

    audio_language: str = ""
    """Empty for the track that plays by default."""
    subtitle_language: str = ""
    """Of those shown from the start; empty for the default ones, `off` for none."""
    subtitles: tuple[Text, ...] = ()
    """Given beside the file."""
    start_ms: int = 0

    @property
    def to_be_shown(self) -> str:
        """The option that asks for subtitles; empty where none does."""
        if self.subtitle_language not in ("", OFF):
            return f"--subtitle-language {self.subtitle_language}"
        return "--subtitles" if self.subtitles else ""


def heeds(kind: Kind, wishes: Wishes) -> None:
    """Raises UsageError where devices of this kind show no subtitles, and they are wanted."""
    if not kind.subtitles and wishes.to_be_shown:
        raise UsageError(
            f"{wishes.to_be_shown}: {kind.what} get the sound alone; leave it out, or watch with `cast --to browser`"
        )


def check_place(flag: str, text: str, wanted_ms: int, duration_ms: int | None) -> None:
    """Raises UsageError, which names the flag and what was given to it, where that place is past the end."""
    if text and duration_ms is not None and wanted_ms >= duration_ms:
        raise UsageError(f"{flag} {text}: that is past the end, which is at {clock(duration_ms).rpartition('.')[0]}")


def track_of(tracks: Sequence[Track], flag: str, language: str) -> Track:
    """The track of a language; raises UsageError, which says what `flag` can choose, where there is none."""
    for track in tracks:
        if languages.same(track.language, language):
            return track
    there = ", ".join(track.language or "one of unknown language" for track in tracks)
    hint = "" if all(track.language for track in tracks) else "; `transcribe --from LANG` says what is spoken"
    raise UsageError(
        f"{flag} {language}: there is none in {languages.name(language)}; there are {there or 'none'}{hint}"
    )


def shown_of(contents: Contents, wishes: Wishes, offered: Sequence[str] | None = None) -> int | None:
    """Which of the subtitles that were given beside an input, then of those in it, is shown.

    `offered` are the languages that a playlist offers by itself, None where that is of no use. Raises UsageError where the wanted
    one is nowhere.
    """
    texts, wanted = (*wishes.subtitles, *contents.texts), wishes.subtitle_language
    if not wanted:
        return next((number for number, text in enumerate(texts) if text.default), None)
    for number, text in enumerate(texts):
        if wanted != OFF and languages.same(text.language, wanted):
            return number
    if wanted == OFF or any(languages.same(language, wanted) for language in offered or ()):
        return None
    there = ", ".join(
        sorted({language or "unknown" for language in (*(text.language for text in texts), *(offered or ()))})
    )
    is_read = contents.path and (contents.extension != ".m3u8" or offered is not None)
    unread = "" if is_read else " (those of a playlist or an address are not read)"
    raise UsageError(
        f"--subtitle-language {wanted}: {contents.name} has no subtitles in {languages.name(wanted)}; it has {there or 'none'}{unread}; "
        "--subtitles FILE adds others"
    )
