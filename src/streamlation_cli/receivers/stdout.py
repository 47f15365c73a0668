"""Standard output, for a player at the other end of a pipe.

The player reads as fast as it plays, once it has enough: how long writing had to wait for it tells whether it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from ..artefacts import STDOUT, Artefact
from ..delivery.containers import Container, ContainerFile, container_of, takes
from ..delivery.joining import Settings
from ..delivery.presenting import Presentation
from ..delivery.tracks import Track, Unit
from ..errors import Unavailable, UsageError
from ..media.libav import Pipe
from ..records import PROTO, Eos, Error, Header, State, Status, StreamRecord
from ..sessions import Records, Stage, by_session, refuses
from .casting import REPORT_S, STAGE
from .contents import Contents
from .playlists import OFF
from .preparing import writing
from .wishes import Wishes, shown_of, track_of


class _Telling:
    """How writing goes, as `status` records, one a second."""

    def __init__(self, session: str, duration_ms: int | None, artefact: Callable[[], Artefact]) -> None:
        self._session = session
        self._duration_ms = duration_ms
        self._artefact = artefact
        self._told_s = time.monotonic()
        self._blocked_s = 0.0

    def due(self, position_ms: int) -> Iterator[Status]:
        """The one that is due now, if one is."""
        passed_s = time.monotonic() - self._told_s
        if passed_s >= REPORT_S:
            waited_s = self._artefact().blocked_s - self._blocked_s
            # Who waits most of the time is ahead of a player; who does not is as fast as it can be.
            yield self.status(
                "running", position_ms, "the reader sets the pace" if waited_s > passed_s / 2 else "writing"
            )
            self._told_s = time.monotonic()
            self._blocked_s = self._artefact().blocked_s

    def status(self, state: State, position_ms: int, how: str) -> Status:
        """A record of how it is."""
        artefact = self._artefact()
        return Status(
            self._session, stage=STAGE, state=state, detail=f"{how} on standard output",
            progress=round(min(1.0, position_ms / self._duration_ms), 4) if self._duration_ms else None,
            counters={
                "position_ms": position_ms, "bytes": artefact.written_bytes, "blocked_ms": round(artefact.blocked_s * 1000),
            },
        )  # fmt: skip


def played(contents: Contents, session: str, wishes: Wishes, format: str) -> Iterator[StreamRecord]:
    """Writes the file there; raises Unavailable where the format does not take the picture."""
    container = container_of(STDOUT, format)
    if contents.video and container.video is not None and contents.video not in container.video:
        raise Unavailable(f"{contents.name}: {format} takes no {contents.video}; give --format matroska")
    sound = contents.sound_of(wishes.audio_language)
    shown = shown_of(contents, wishes)
    _has_place(container, wishes)
    texts = (*wishes.subtitles, *contents.texts) if container.captions else ()
    yield Header(session, proto=PROTO, source=contents.name, duration_ms=contents.duration_ms)
    artefact = Artefact(STDOUT)
    telling = _Telling(session, contents.duration_ms, lambda: artefact)
    position_ms = wishes.start_ms
    for position_ms in writing(
        contents, sound, Pipe(artefact), container.muxer, container.audio, start_ms=wishes.start_ms,
        texts=[replace(text, default=number == shown) for number, text in enumerate(texts)],
    ):  # fmt: skip
        yield from telling.due(position_ms)
    artefact.commit()
    yield telling.status("completed", contents.duration_ms or position_ms, "ended")
    yield Eos(session, duration_ms=contents.duration_ms)


def _has_place(container: Container, wishes: Wishes) -> None:
    """Raises UsageError where subtitles are wanted that the container cannot hold."""
    if wishes.to_be_shown and not container.captions:
        raise UsageError(f"{wishes.to_be_shown}: {container.muxer} holds no subtitles; give --format matroska")


class _Written:
    """A `Sink` that is standard output with the wanted sound and captions in it, and how far it has come."""

    def __init__(self, container: Container, wishes: Wishes) -> None:
        self._file = ContainerFile(STDOUT, container)
        self._wishes = wishes
        self._kept: set[str] = set()
        self.artefact = self._file.artefact
        self.position_ms = 0

    def open(self, tracks: Sequence[Track]) -> None:
        """See `Sink`; raises UsageError where a wanted language is not there."""
        wishes = self._wishes
        if wishes.audio_language:
            sound = track_of([one for one in tracks if one.kind == "audio"], "--audio-language", wishes.audio_language)
            tracks = [replace(one, default=True) for one in tracks if one.kind != "audio" or one is sound]
        if wishes.subtitle_language:
            texts = [one for one in tracks if one.kind == "text"]
            wanted = wishes.subtitle_language
            shown = track_of(texts, "--subtitle-language", wanted) if wanted != OFF else None
            tracks = [replace(one, default=one is shown) if one.kind == "text" else one for one in tracks]
        self._kept = {track.name for track in tracks}
        self._file.open(tracks)

    def write(self, unit: Unit) -> None:
        """See `Sink`."""
        if unit.track.name not in self._kept:
            return
        self._file.write(unit)
        self.position_ms = max(self.position_ms, round(unit.dts_s * 1000))

    def commit(self) -> None:
        """See `Sink`."""
        self._file.commit()

    def abandon(self) -> None:
        """See `Sink`."""
        self._file.abandon()


class _Session:
    """One session on its way to standard output; see `Handler`."""

    def __init__(self, header: Header, container: Container, settings: Settings, wishes: Wishes) -> None:
        self._header = header
        self._sink = sink = _Written(container, wishes)
        self._presentation = Presentation(
            header, takes(STDOUT, container), lambda: sink, settings, stage=STAGE, live=False
        )
        self._telling = _Telling(header.session, header.duration_ms, lambda: sink.artefact)
        self._over = False

    def feed(self, record: StreamRecord) -> Iterator[StreamRecord]:
        """See `Handler`."""
        yield record
        if isinstance(record, Header):
            yield self._telling.status("running", 0, "starting")
            return
        yield from self._presentation.feed(record)
        yield from self._telling.due(self._sink.position_ms)

    def finish(self, end: Eos | Error) -> Iterator[StreamRecord]:
        """See `Handler`."""
        self._presentation.finish(end)
        whole = isinstance(end, Eos)
        self._over = True
        if problem := self._presentation.problem:
            yield Error(self._header.session, stage=STAGE, code="damaged", message=problem, fatal=False)
        if whole:
            self._presentation.commit()
        else:
            self._presentation.abandon()
        yield self._telling.status("completed" if whole else "failed", self._sink.position_ms, "ended")

    def abandon(self) -> None:
        """Frees what is held; what has been written stays written."""
        if not self._over:
            self._over = True
            self._presentation.abandon()


def stage(format: str, settings: Settings, wishes: Wishes) -> Stage:
    """Writes the one session there is; raises UsageError for a second one."""
    container = container_of(STDOUT, format)
    _has_place(container, wishes)

    def run(records: Iterable[StreamRecord]) -> Records:
        first: list[str] = []

        def make(header: Header) -> _Session:
            if first:
                raise UsageError(f"{header.session}: standard output has {first[0]} already; it takes one session")
            first.append(header.session)
            return _Session(header, container, settings, wishes)

        with closing(by_session(STAGE, make)(records)) as written:
            for record in written:
                yield record
                if refuses(STAGE, record) and record.session in first:
                    return

    return run
