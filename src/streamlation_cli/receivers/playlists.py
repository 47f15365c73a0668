"""HLS playlists as one device is to have them: what of them is heard and shown from the start, and how far from their end that is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .. import languages
from ..sources.m3u8 import attributes

if TYPE_CHECKING:
    from ..serving.media import Stored

OFF = "off"
"""The language of no subtitles."""


class Chosen:
    """A store whose master playlists offer the wanted sound alone and show the wanted captions; see `Stored`.

    `audio` and `text` are languages, empty for whatever the playlists say. `behind_s` is how far before the end of a live one
    playback begins, 0 for where players think best.
    """

    def __init__(self, store: Stored, *, audio: str = "", text: str = "", behind_s: float = 0.0) -> None:
        self._store = store
        self._audio = audio
        self._text = text
        self._behind_s = behind_s

    def get(self, name: str) -> bytes | None:
        """What is under a name."""
        data = self._store.get(name)
        if data is None or not name.endswith(".m3u8"):
            return data
        playlist = chosen(data.decode("utf-8", "replace"), audio=self._audio, text=self._text)
        return beginning(playlist, self._behind_s).encode()


def chosen(playlist: str, *, audio: str = "", text: str = "") -> str:
    r"""A playlist with the sound of a language alone, and with the captions of a language, or with `off` none, shown.

    >>> line = '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="c",NAME="P",LANGUAGE="pt",DEFAULT={},AUTOSELECT={},URI="p.m3u8"'
    >>> chosen(line.format("NO", "YES"), text="por") == line.format("YES", "YES")
    True
    >>> chosen(line.format("YES", "YES"), text="off") == line.format("NO", "NO")
    True
    >>> sound = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="E",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,URI="e.m3u8"'
    >>> chosen(sound, audio="pt"), chosen(sound, audio="en") == sound.replace("DEFAULT=NO", "DEFAULT=YES")
    ('', True)
    """
    lines = []
    for line in playlist.split("\n"):
        tag, _, rest = line.partition(":")
        given = attributes(rest) if tag == "#EXT-X-MEDIA" else {}
        kind, language = given.get("TYPE"), given.get("LANGUAGE", "")
        if audio and kind == "AUDIO":
            if not languages.same(language, audio):
                continue
            line = _with(line, "DEFAULT", yes=True)
        elif text and kind == "SUBTITLES":
            line = _with(line, "DEFAULT", yes=text != OFF and languages.same(language, text))
            line = _with(line, "AUTOSELECT", yes=text != OFF)
        lines.append(line)
    return "\n".join(lines)


def beginning(playlist: str, behind_s: float) -> str:
    r"""A playlist that is to be played from so far before its end on, where that is not 0.

    >>> beginning("#EXTM3U\n#EXT-X-VERSION:7\n", 12.0)
    '#EXTM3U\n#EXT-X-START:TIME-OFFSET=-12\n#EXT-X-VERSION:7\n'
    """
    return (
        playlist.replace("#EXTM3U\n", f"#EXTM3U\n#EXT-X-START:TIME-OFFSET=-{behind_s:g}\n", 1) if behind_s else playlist
    )


def captions_in(playlist: str) -> tuple[str, ...]:
    """The languages of the captions that a master playlist offers."""
    given = [attributes(line.partition(":")[2]) for line in playlist.split("\n") if line.startswith("#EXT-X-MEDIA:")]
    return tuple(one.get("LANGUAGE", "") for one in given if one.get("TYPE") == "SUBTITLES")


def _with(line: str, name: str, *, yes: bool) -> str:
    return re.sub(rf"\b{name}=(?:YES|NO)", f"{name}={'YES' if yes else 'NO'}", line)
