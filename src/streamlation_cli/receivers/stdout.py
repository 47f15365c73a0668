"""Standard output, for a player at the other end of a pipe."""

from __future__ import annotations

from collections.abc import Iterator

from ..artefacts import STDOUT, Artefact
from ..delivery.containers import container_of
from ..errors import Unavailable
from ..media.libav import Pipe
from ..records import PROTO, Eos, Header, StreamRecord
from .contents import Contents
from .preparing import Wishes, write


def played(contents: Contents, session: str, wishes: Wishes, format: str) -> Iterator[StreamRecord]:
    """Writes the file there; raises Unavailable where the format does not take the picture."""
    container = container_of(STDOUT, format)
    if contents.video and container.video is not None and contents.video not in container.video:
        raise Unavailable(f"{contents.name}: {format} takes no {contents.video}; give --format matroska")
    sound = contents.sound_of(wishes.audio_language)
    yield Header(session, proto=PROTO, source=contents.name, duration_ms=contents.duration_ms)
    artefact = Artefact(STDOUT)
    write(contents, sound, Pipe(artefact), container.muxer, container.audio, start_ms=wishes.start_ms)
    artefact.commit()
    yield Eos(session, duration_ms=contents.duration_ms)
