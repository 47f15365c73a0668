"""Subtitle files as sessions of transcripts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal, cast

from ..captions.formats import parse
from ..errors import DataError
from ..records import PROTO, Error, Header, StreamRecord, Transcript
from . import Opening, Request

_logger = logging.getLogger("streamlation.ingest")
_PROBLEMS_SHOWN = 3


class Captions:
    """Each caption is one final transcript; raises DataError where the text holds none.

    Blocks that cannot be read are reported in one non-fatal `damaged` error with their count; the rest is kept.
    """

    def __init__(self, request: Request, opening: Opening) -> None:
        assert opening.text is not None
        try:
            data = opening.text()
        except (OSError, ValueError) as error:
            raise opening.failure(error) from error
        format = cast(Literal["srt", "vtt"], opening.format)
        parsed = parse(text_of(data, opening.name), format)
        if not parsed.captions:
            why = f" ({parsed.problems[0]})" if parsed.problems else ""
            raise DataError(f"{opening.name}: no {format.upper()} captions in it{why}")
        self._request = request
        self._name = opening.name
        self._problems = parsed.problems
        last = max(caption.end_ms for caption in parsed.captions)
        # A file may list captions out of order; the stages downstream rely on order.
        self._captions = sorted(
            (c for c in parsed.captions if _in_part(c.start_ms, c.end_ms, request)),
            key=lambda c: (c.start_ms, c.end_ms),
        )
        self.end_ms: int | None = last if request.end_ms is None else min(last, request.end_ms)
        self._language = request.language or parsed.language
        self.header = Header(
            request.session, proto=PROTO, source=opening.name, duration_ms=last,
            start_ms=request.start_ms, end_ms=request.end_ms, language=self._language,
        )  # fmt: skip

    def records(self) -> Iterator[StreamRecord]:
        """The transcripts in the order of their times, then what could not be read."""
        request = self._request
        for number, caption in enumerate(self._captions, 1):
            yield Transcript(
                request.session,
                id=str(number),
                start_ms=max(caption.start_ms, request.start_ms),
                end_ms=caption.end_ms if request.end_ms is None else min(caption.end_ms, request.end_ms),
                text=" ".join(caption.lines),
                final=True,
                language=self._language,
                words=caption.words,
                speaker=caption.speaker,
            )
        if self._problems:
            shown = "; ".join(self._problems[:_PROBLEMS_SHOWN]) + (
                "; …" if len(self._problems) > _PROBLEMS_SHOWN else ""
            )
            blocks = f"{len(self._problems)} blocks" if len(self._problems) > 1 else "1 block"
            message = f"{self._name}: {blocks} could not be read, the rest is kept: {shown}"
            yield Error(request.session, stage="ingest", code="damaged", message=message, fatal=False)

    def metrics(self) -> dict[str, int | float]:
        """Nothing beyond what the records say."""
        return {}

    def close(self) -> None:
        """Nothing is held open."""


def text_of(data: bytes, name: str) -> str:
    r"""Subtitle text from UTF-8 or UTF-16 with a byte order mark, UTF-8, or else Windows-1252 with a warning.

    >>> text_of("a\ufeff".encode("utf-16"), "x")
    'a\ufeff'
    >>> text_of(b"\xef\xbb\xbfok", "x")
    'ok'
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _logger.warning("%s: not UTF-8 (byte %d); read as Windows-1252", name, error.start)
        return data.decode("cp1252", errors="replace")


def _in_part(start_ms: int, end_ms: int, request: Request) -> bool:
    return end_ms > request.start_ms and (request.end_ms is None or start_ms < request.end_ms)
