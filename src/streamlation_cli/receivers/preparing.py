"""A finished file or address made fit for a kind of device, and served to it.

A file that the device plays as it is is served as it is. Otherwise what is in it is written to a temporary MP4, the picture
copied, the chosen sound alone, encoded as AAC where the device does not play its codec. A picture is never encoded anew.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from .. import languages, stdio
from ..captions.writers import srt_text
from ..delivery.containers import subtitle_header
from ..errors import DataError, Unavailable, UsageError
from ..serving.server import Server
from . import Kind, Media, Subtitle
from .contents import Contents, Sound, Text
from .playlists import Chosen, captions_in
from .wishes import Wishes, shown_of

logger = logging.getLogger("streamlation.cast")

_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".m4a": "audio/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska",
    ".ts": "video/mp2t", ".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg",
    ".opus": "audio/ogg", ".m3u8": "application/vnd.apple.mpegurl", ".aac": "audio/aac",
}  # fmt: skip
_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2": ".mp4", "mp3": ".mp3", "wav": ".wav", "flac": ".flac", "ogg": ".ogg", "hls": ".m3u8",
            "mpegts": ".ts", "aac": ".aac"}  # fmt: skip
"""FFmpeg's name of a container → the extension that stands for it, where the input's own says nothing."""
_IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac"})


def plays(kind: Kind, contents: Contents) -> None:
    """Raises Unavailable where no device of this kind plays it; warns where only some play the picture."""
    if not kind.pulls and not contents.sounds:
        raise Unavailable(f"{contents.name}: there is no sound in it, and {kind.what} get nothing else")
    codec = contents.video
    if not codec or not kind.pulls or codec in kind.video:
        return
    if codec in kind.perhaps:
        logger.warning("%s: the picture is %s, which only newer %s play", contents.name, codec, kind.what)
        return
    known = ", ".join(sorted(kind.video))
    raise Unavailable(
        f"{contents.name}: the picture is {codec}, which {kind.what} do not play (they play {known}); convert it: "
        f"ffmpeg -i {contents.name} -c:v libx264 -c:a aac OUT.mp4"
    )


def fits(kind: Kind, contents: Contents, sound: Sound | None) -> bool:
    """Whether the device plays the file as it is: container, codec, and the chosen sound as the first track."""
    extension = extension_of(contents)
    if extension not in kind.containers:
        return False
    return sound is None or (sound.codec in kind.audio and sound == contents.sounds[0])


def extension_of(contents: Contents) -> str:
    """What the file is, by its extension, else by what is in it."""
    return contents.extension if contents.extension in _TYPES else _FORMATS.get(contents.format, "")


def prepare(contents: Contents, kind: Kind, wishes: Wishes, server: Server, folder: Path) -> Media:
    """Media for a device of this kind, served by `server`; temporary files go to `folder`.

    Raises UsageError for a language that is not there, Unavailable for a picture that the device does not play.
    """
    plays(kind, contents)
    sound = contents.sound_of(wishes.audio_language)
    extension = extension_of(contents)
    is_playlist = bool(contents.path) and extension == ".m3u8"
    offered = captions_in(Path(contents.path).read_text("utf-8", "replace")) if is_playlist else ()
    shown = shown_of(contents, wishes, offered)
    if not contents.path:
        if kind.pulls and wishes.audio_language and sound != contents.sounds[0]:
            raise UsageError(
                f"--audio-language {wishes.audio_language}: {kind.what} play the first sound of an address; download it, and cast the file"
            )
        address = contents.name
    elif is_playlist:
        folder_of = Chosen(
            _Folder(Path(contents.path).parent), audio=wishes.audio_language, text=wishes.subtitle_language
        )
        address = server.serve_store(folder_of, Path(contents.path).name)
    elif fits(kind, contents, sound) or not kind.pulls:
        address = server.serve_file(contents.path, _type_of(extension, contents))
    else:
        logger.warning("%s: %s", contents.name, _why(kind, contents, sound))
        extension = ".mp4"
        address = server.serve_file(remux(contents, sound, kind, folder), _type_of(extension, contents))
    return Media(
        address=address,
        content_type=_type_of(extension, contents),
        title=contents.title,
        live=contents.live,
        duration_ms=contents.duration_ms,
        has_video=bool(contents.video),
        subtitles=serve_texts((*wishes.subtitles, *contents.texts), server),
        subtitle=shown,
        audio_language=sound.language if sound is not None else "",
        start_ms=wishes.start_ms,
    )


def _type_of(extension: str, contents: Contents) -> str:
    if extension == ".mp4" and not contents.video:
        return "audio/mp4"
    return _TYPES.get(extension, "video/mp4")


def _why(kind: Kind, contents: Contents, sound: Sound | None) -> str:
    if sound is not None and sound.codec not in kind.audio:
        return f"the sound is {sound.codec}, which {kind.what} do not play; it is encoded as AAC for this"
    if sound is not None and sound != contents.sounds[0]:
        return f"{kind.what} play the first sound of a file; it is rewritten with the one in {languages.name(sound.language)}"
    return f"{kind.what} do not play {extension_of(contents) or contents.format}; it is rewritten as an .mp4 for this"


class _Folder:
    """A folder with a playlist and its segments, as a store that can be served."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def get(self, name: str) -> bytes | None:
        """See `serving.media.Stored`."""
        path = (self._folder / name).resolve()
        return path.read_bytes() if path.is_relative_to(self._folder) and path.is_file() else None


def serve_texts(texts: Sequence[Text], server: Server) -> tuple[Subtitle, ...]:
    """All subtitles, served."""
    subtitles = []
    for number, text in enumerate(texts):
        name = f"subtitles-{number}-{text.language or 'und'}"
        subtitles.append(
            Subtitle(
                address=server.serve_text(f"{name}.vtt", text.as_format("vtt")),
                srt_address=server.serve_text(f"{name}.srt", text.as_format("srt")),
                language=text.language,
                name=languages.name(text.language) if text.language else f"Subtitles {number + 1}",
            )
        )
    return tuple(subtitles)


def remux(contents: Contents, sound: Sound | None, kind: Kind, folder: Path) -> Path:
    """A new MP4 in `folder` with the copied picture and one sound; raises DataError where it cannot be read."""
    path = Path(tempfile.mkdtemp(dir=folder)) / (Path(contents.path).stem + ".mp4")
    for _ in writing(contents, sound, str(path), "mp4", kind.audio & _IN_MP4, {"movflags": "+faststart"}):
        pass
    return path


def writing(
    contents: Contents, sound: Sound | None, target: Any, format: str, copied: frozenset[str] | None,
    options: dict[str, str] | None = None, start_ms: int = 0, texts: Sequence[Text] = (),
) -> Iterator[int]:  # fmt: skip
    """Writes the picture, copied, and one sound, copied where its codec is among `copied` (None: all), to a path or file-like.

    `texts` are written beside them, as SubRip, which Matroska takes.

    Written while it is iterated over: it yields the media time, ms, that it has come to. From the keyframe before `start_ms` on.
    Raises DataError where it cannot be read or written so, Interrupted where a signal came.
    """
    import av

    try:
        with av.open(f"file:{contents.path}" if contents.path else contents.name) as source:
            if start_ms:
                source.seek(start_ms * 1000)
            container = av.open(target, "w", format=format, options=options or {})
            try:
                yield from _copy(source, container, contents, sound, copied, _Texts(container, texts, start_ms))
            except BaseException:
                with contextlib.suppress(Exception):  # what led here is what is to be told
                    container.close()
                raise
            container.close()
    except BrokenPipeError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{contents.name}: cannot be rewritten as {format}: {error}") from error


def _copy(
    source: Any, target: Any, contents: Contents, sound: Sound | None, copied: frozenset[str] | None, texts: _Texts
) -> Iterator[int]:
    chosen = []
    outputs: dict[int, Any] = {}
    encoded: tuple[Any, Any] | None = None
    if contents.video:
        picture = source.streams.video[0]
        chosen.append(picture)
        outputs[picture.index] = target.add_stream_from_template(picture, opaque=True)
    if sound is not None:
        stream = source.streams[sound.index]
        chosen.append(stream)
        if copied is None or sound.codec in copied:
            outputs[stream.index] = target.add_stream_from_template(stream, opaque=True)
        else:
            output = target.add_stream("aac", rate=48_000, layout="stereo", bit_rate=160_000)
            encoded = (output, _resampler())
            outputs[stream.index] = output
        if sound.language:
            outputs[stream.index].metadata["language"] = languages.iso639_2(sound.language)
    texts.open()
    for packet in _with_dts(source.demux(chosen)):
        if (code := stdio.interrupt_requested()) is not None:
            raise stdio.Interrupted(code)
        if packet.dts is not None:
            position_ms = max(0, round(packet.dts * packet.time_base * 1000))
            texts.write(position_ms)
            yield position_ms
        output = outputs[packet.stream.index]
        if encoded is not None and output is encoded[0]:
            _encode(packet, *encoded, target)
        elif packet.size:
            packet.stream = output
            target.mux(packet)
    if encoded is not None:
        for frame in encoded[1].resample(None):
            target.mux(encoded[0].encode(frame))
        target.mux(encoded[0].encode(None))
    texts.write(None)


class _Texts:
    """Subtitles on their way into a container, each as it is due."""

    def __init__(self, target: Any, texts: Sequence[Text], start_ms: int) -> None:
        self._target = target
        self._texts = texts
        self._streams: list[Any] = []
        due = (
            (caption, number)
            for number, text in enumerate(texts)
            for caption in text.captions
            if caption.end_ms > start_ms
        )
        self._due = deque(sorted(due, key=lambda one: one[0].start_ms))

    def open(self) -> None:
        """Adds the tracks; call it after the others are there."""
        from av.stream import Disposition

        for text in self._texts:
            stream = self._target.add_stream("subrip")
            stream.time_base = Fraction(1, 1000)
            stream.codec_context.subtitle_header = subtitle_header()
            stream.metadata["language"] = languages.iso639_2(text.language)
            stream.disposition = Disposition.default if text.default else Disposition(0)
            self._streams.append(stream)

    def write(self, until_ms: int | None) -> None:
        """Those that begin by then; all that are left where it is None."""
        import av

        while self._due and (until_ms is None or self._due[0][0].start_ms <= until_ms):
            caption, number = self._due.popleft()
            packet: Any = av.Packet("\n".join(map(srt_text, caption.lines)).encode())
            packet.stream, packet.time_base = self._streams[number], Fraction(1, 1000)
            packet.pts = packet.dts = caption.start_ms
            packet.duration = caption.end_ms - caption.start_ms
            self._target.mux_one(packet)


def _with_dts(packets: Iterable[Any]) -> Iterator[Any]:
    """The packets, each with a time to be decoded at: Matroska has none, and FFmpeg cannot tell that of the first pictures."""
    waiting: dict[int, list[Any]] = {}
    for packet in packets:
        early = waiting.setdefault(packet.stream.index, [])
        if packet.dts is None and packet.pts is not None:
            early.append(packet)
            continue
        if early:
            step = max(1, packet.duration or 0)
            end = packet.dts if packet.dts is not None else early[-1].pts + step
            for back, one in enumerate(reversed(early), 1):
                one.dts = min(end - back * step, one.pts)
            yield from early
            early.clear()
        yield packet


def _resampler() -> Any:
    import av

    return av.AudioResampler("fltp", "stereo", 48_000, frame_size=1024)


def _encode(packet: Any, output: Any, resampler: Any, target: Any) -> None:
    import av

    try:
        frames = packet.decode()
    except av.error.InvalidDataError:
        return  # a damaged packet is a short silence
    for frame in frames:
        for piece in resampler.resample(frame):
            target.mux(output.encode(piece))


def with_start(media: Media, start_ms: int) -> Media:
    """The same media from another place on."""
    return replace(media, start_ms=start_ms)
