"""Records as lines for a person at a terminal."""

from __future__ import annotations

from .records import Cue, Discontinuity, Eos, Error, Header, Packet, Pcm, Speech, Status, StreamRecord, Transcript
from .records import Translation as TranslationRecord


def clock(milliseconds: int) -> str:
    """Media time as people write it.

    >>> clock(3_723_450)
    '1:02:03.4'
    """
    tenths = milliseconds // 100
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{tenths // 10:02d}.{tenths % 10}"


def line(record: StreamRecord) -> str:
    r"""One line with its newline, or nothing for a record that holds bulk data.

    >>> line(Transcript("a", id="1", start_ms=0, end_ms=900, text="Hello.", final=True, language="en"))
    '  0:00.0 →   0:00.9  [en] Hello.\n'
    """
    text = _text(record)
    return f"{text}\n" if text else ""


def _text(record: StreamRecord) -> str:
    match record:
        case Transcript() | TranslationRecord() if not record.final:
            return ""  # plain lines cannot be taken back: text is printed when it is final
        case Transcript():
            return _spoken(record.start_ms, record.end_ms, record.language, record.text)
        case TranslationRecord():
            return _spoken(record.start_ms, record.end_ms, record.target_language, record.text)
        case Cue():
            return _spoken(record.start_ms, record.end_ms, record.op, " / ".join(record.lines))
        case Speech():
            return _spoken(record.start_ms, record.end_ms, "voice", f"{record.voice}, tempo {record.tempo:.2f}")
        case Header():
            streams = [f"{s.codec}" for s in (record.audio, record.video) if s is not None]
            length = f", {clock(record.duration_ms)}" if record.duration_ms is not None else ""
            return f"{record.source}: {', '.join(streams) or 'text'}{length}"
        case Discontinuity():
            return f"{clock(record.at_ms):>8}  gap of {record.gap_ms} ms ({record.reason})"
        case Status() if record.state in ("pending", "running"):
            return ""
        case Status():
            counters = ", ".join(f"{name} {value:g}" for name, value in record.counters.items())
            detail = f", {record.detail}" if record.detail else ""
            return f"{record.stage}: {record.state}{detail}{f' ({counters})' if counters else ''}"
        case Error():
            return f"{record.stage}: {record.message}"
        case Eos():
            length = f" at {clock(record.duration_ms)}" if record.duration_ms is not None else ""
            return f"end of {record.session}{length}"
        case Packet() | Pcm():
            return ""
        case _:
            return f"({record.type})"


def _spoken(start_ms: int, end_ms: int, tag: str, text: str) -> str:
    return f"{clock(start_ms):>8} → {clock(end_ms):>8}  [{tag}] {text}"
