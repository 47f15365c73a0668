"""What is in a finished file or behind an address: codecs, languages, length, subtitles."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .. import languages, sources
from ..captions.formats import Caption, clean, parse
from ..captions.writers import write
from ..delivery.streams import canonical
from ..errors import DataError, InputMissing, StreamlationError, TryAgain, UsageError
from ..sources.file import path_of

if TYPE_CHECKING:
    import av

_OPEN_S = (10.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One audio track."""

    index: int
    """Among the streams of the container."""
    codec: str
    language: str
    default: bool


@dataclass(frozen=True, kw_only=True)
class Text:
    """Subtitles, read."""

    language: str
    captions: tuple[Caption, ...]
    default: bool

    def as_format(self, format: str) -> str:
        """As a `vtt` or `srt` file."""
        return write(self.captions, format, self.language)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is in a file or behind an address."""

    name: str
    """The input as the user named it."""
    path: str
    """Empty for an address."""
    extension: str
    format: str
    """FFmpeg's name of the container."""
    title: str
    duration_ms: int | None
    live: bool
    video: str
    """Codec of the picture; empty where there is none. A cover image is none."""
    sounds: tuple[Sound, ...]
    texts: tuple[Text, ...]

    def sound_of(self, language: str) -> Sound | None:
        """The audio track of a language, the one that plays by default where it is empty; raises UsageError where there is none."""
        if not language:
            return next((sound for sound in self.sounds if sound.default), self.sounds[0] if self.sounds else None)
        for sound in self.sounds:
            if languages.same(sound.language, language):
                return sound
        there = ", ".join(sorted({sound.language or "unknown" for sound in self.sounds}))
        raise UsageError(
            f"--audio-language {language}: {self.name} has no sound in {languages.name(language)}; it has {there or 'none'}"
        )


def examine(name: str, *, with_texts: bool = True) -> Contents:
    """Opens an input and says what is in it; raises InputMissing, DataError or TryAgain."""
    import av

    scheme = sources.scheme_of(name)
    if scheme not in ("", "file", "http", "https"):
        raise UsageError(
            f"{name}: a file or an http address can be cast; of anything else, pipe the records in (see --help)"
        )
    local = scheme in ("", "file")
    path = path_of(name) if local else ""
    if local:
        _check(path)
    try:
        with av.open(f"file:{path}" if local else name, timeout=None if local else _OPEN_S) as container:
            return _contents(name, path, container, with_texts=with_texts)
    except StreamlationError:
        raise
    except (av.error.HTTPClientError, av.error.ConnectionRefusedError) as error:
        raise InputMissing(f"{name}: cannot be opened: {error.strerror}") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise (DataError if local else TryAgain)(f"{name}: not media that can be played: {words}") from error


def _check(path: str) -> None:
    from ..sources.file import failure_of

    try:
        found = Path(path)
        if found.is_dir():
            raise IsADirectoryError
        with found.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise failure_of(path, error) from error


def _contents(name: str, path: str, container: av.container.InputContainer, *, with_texts: bool) -> Contents:
    from av.stream import Disposition

    videos = [
        stream for stream in container.streams.video if not stream.disposition & (Disposition.attached_pic | Disposition.still_image)
    ]  # fmt: skip
    sounds = tuple(
        Sound(
            index=stream.index,
            codec=canonical(stream.codec_context.name),
            language=languages.primary(stream.metadata.get("language", "")),
            default=bool(stream.disposition & Disposition.default),
        )
        for stream in container.streams.audio
    )
    if not videos and not sounds:
        raise DataError(f"{name}: there is neither picture nor sound in it")
    file_name = Path(path).name if path else unquote(PurePosixPath(urlsplit(name).path).name)
    duration_ms = None if container.duration is None else round(container.duration / 1000)
    is_hls = container.format.name == "hls"
    return Contents(
        name=name,
        path=path,
        extension=".m3u8" if is_hls else PurePosixPath(file_name).suffix.lower(),
        format=container.format.name,
        title=container.metadata.get("title") or PurePosixPath(file_name).stem or name,
        duration_ms=duration_ms,
        live=not path and duration_ms is None,
        video=canonical(videos[0].codec_context.name) if videos else "",
        sounds=sounds,
        texts=_texts(container) if with_texts and path and not is_hls else (),
    )


def _texts(container: av.container.InputContainer) -> tuple[Text, ...]:
    """The text tracks of a container; pictures of text (PGS, DVD) are none."""
    from av.stream import Disposition

    kinds = {}
    for stream in container.streams.subtitles:
        codec = canonical(stream.codec_context.name)
        if codec in ("mov_text", "subrip", "srt", "text", "webvtt", "ass", "ssa"):
            kinds[stream.index] = codec
    if not kinds:
        return ()
    captions: dict[int, list[Caption]] = {index: [] for index in kinds}
    for packet in container.demux([container.streams[index] for index in kinds]):
        if packet.pts is None or not packet.size:
            continue
        index = packet.stream.index
        lines = _lines(bytes(packet), kinds[index])
        if lines:
            start_ms = round(packet.pts * packet.time_base * 1000)
            end_ms = start_ms + round((packet.duration or 0) * packet.time_base * 1000)
            captions[index].append(Caption(start_ms=start_ms, end_ms=end_ms, lines=lines))
    texts = []
    for index, found in captions.items():
        own: Any = container.streams[index]
        texts.append(
            Text(
                language=languages.primary(own.metadata.get("language", "")), captions=tuple(found),
                default=bool(own.disposition & Disposition.default),
            )
        )  # fmt: skip
    return tuple(texts)


def _lines(data: bytes, codec: str) -> tuple[str, ...]:
    r"""A packet's text without markup.

    >>> _lines(b"\x00\x05a\nb c", "mov_text"), _lines(rb"0,0,Default,,0,0,0,,{\i1}a, b\Nc", "ass")
    (('a', 'b c'), ('a, b', 'c'))
    >>> _lines(b"<i>a</i> &amp; b", "webvtt"), _lines(b"\x00\x00", "mov_text")
    (('a & b',), ())
    """
    if codec == "mov_text":
        (length,) = struct.unpack(">H", data[:2]) if len(data) >= 2 else (0,)
        text = data[2 : 2 + length].decode("utf-8", "replace")
        return tuple(filter(None, map(clean, text.splitlines())))
    text = data.decode("utf-8", "replace")
    if codec in ("ass", "ssa"):
        text = text.split(",", 8)[-1].replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    if not text.strip():
        return ()
    form = "vtt" if codec == "webvtt" else "srt"
    # The reader of subtitle files knows the markup of both formats, and ASS's overrides, which some SRT files have too.
    body = "\n".join(filter(str.strip, text.splitlines()))
    parsed = parse(f"{'WEBVTT' if form == 'vtt' else '1'}\n\n00:00:00.000 --> 00:00:01.000\n{body}\n", form)  # type: ignore[arg-type]
    return tuple(line for caption in parsed.captions for line in caption.lines)


def read_subtitles(names: Sequence[str]) -> tuple[Text, ...]:
    """Subtitle files; the language is the one in the file, else in its name. Raises UsageError, InputMissing or DataError."""
    texts: list[Text] = []
    for name in names:
        form = sources.text_format_of(name)
        if not form:
            raise UsageError(f"--subtitles {name}: .srt and .vtt files can be shown")
        _check(name)
        parsed = parse(Path(name).read_bytes().decode("utf-8-sig", "replace"), form)  # type: ignore[arg-type]
        if not parsed.captions:
            raise DataError(f"--subtitles {name}: there is no subtitle in it")
        texts.append(
            Text(language=parsed.language or language_in(name), captions=tuple(parsed.captions), default=not texts)
        )
    return tuple(texts)


def language_in(name: str) -> str:
    """The language that a file's name says, as in `talk.pt.srt`.

    >>> language_in("a/talk.pt-BR.srt"), language_in("talk.srt"), language_in("the.end.srt"), language_in("talk.por.vtt")
    ('pt-BR', '', '', 'pt')
    """
    parts = PurePosixPath(name).name.split(".")
    tag = parts[-2] if len(parts) > 2 else ""
    short = languages.primary(tag)
    if short not in languages.known():
        return ""
    return tag if "-" in tag else short
