"""The codec: round trips, pass-through of the very bytes, and every way a line can be wrong."""

from __future__ import annotations

import gc
import io
import json
import typing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlation_cli import ndjson
from streamlation_cli.errors import DataError, MalformedRecord, TruncatedStream, WrongProtocol
from streamlation_cli.records import KNOWN, Eos, Header, Pcm, Record, Unknown

_text = st.text(st.characters(codec="utf-8"), max_size=20)
_number = st.integers(-(2**53), 2**53)


def _values(kind: object) -> st.SearchStrategy[object]:
    """A strategy for one annotation of a record's field."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(_values(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*map(_values, arguments))
    if origin is dict:
        return st.dictionaries(_text, _values(arguments[1]), max_size=3)
    if arguments:  # a union
        return st.one_of(*map(_values, arguments))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _records(kind)
    simple: dict[object, st.SearchStrategy[object]] = {
        str: _text, int: _number, bool: st.booleans(), bytes: st.binary(max_size=30), type(None): st.none(),
        float: st.floats(allow_nan=False, allow_infinity=False),
    }  # fmt: skip
    return simple[kind]


def _records(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    hints = typing.get_type_hints(kind)
    fields = {name: _values(hints[name]) for name in kind.__struct_fields__}
    if kind is Header:
        fields["proto"] = st.just(1)
    return st.builds(kind, **fields)


@pytest.mark.parametrize("kind", KNOWN, ids=lambda kind: kind.__name__)
def test_every_record_survives_the_round_trip(kind: type[Record]) -> None:
    @settings(max_examples=60)
    @given(_records(kind))
    def check(record: msgspec.Struct) -> None:
        line = ndjson.encode(record)  # type: ignore[arg-type]
        assert line.count(b"\n") == 1
        assert ndjson.decode(line) == record
        assert json.loads(line)["type"] == kind.__name__.lower()

    check()


@given(st.binary(max_size=200))
def test_any_line_is_a_record_or_one_clear_error(line: bytes) -> None:
    try:
        ndjson.decode(line, 7)
    except (MalformedRecord, WrongProtocol) as error:
        assert error.message.startswith("line 7: ")
        assert "\n" not in error.message


def _read(data: bytes) -> list[object]:
    return list(ndjson.Reader(io.BytesIO(data)))


HEADER = b'{"type":"header","session":"a","proto":1,"source":"x"}\n'
EOS = b'{"type":"eos","session":"a"}\n'


def test_blank_lines_are_ignored() -> None:
    assert len(_read(b"\n" + HEADER + b"  \r\n\n" + EOS)) == 2


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (HEADER + b"nonsense\n", MalformedRecord, "line 2: not a record"),
        (HEADER + b'{"type":"pcm","session":"a"}\n', MalformedRecord, "line 2: not a valid pcm record"),
        (HEADER + b'{"type":"x\xff","session":"a"}\n', MalformedRecord, "invalid UTF-8 at byte 10"),
        (HEADER + b"[1,2]\n", MalformedRecord, "line 2"),
        (HEADER + b"[" * 5000 + b"\n", MalformedRecord, "line 2"),
        (HEADER + HEADER, MalformedRecord, "a second header for session a"),
        (b'{"type":"header","session":"a","proto":2,"source":"x"}\n', WrongProtocol, "speaks protocol 2"),
        (HEADER, TruncatedStream, "before the end of session a"),
        (HEADER + EOS[:-5], TruncatedStream, "line 2: cut short"),
        (HEADER + EOS[:-1], TruncatedStream, "line 2: cut short"),
        (b"", TruncatedStream, "no records"),
        (b"\n\n", TruncatedStream, "no records"),
        (HEADER + EOS + EOS[:0] + b'{"type":"discontinuity","session":"a","at_ms":1,"gap_ms":1,"reason":"r"}\n', DataError, "outside"),
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_is_said(data: bytes, error: type[DataError], says: str) -> None:
    with pytest.raises(error) as caught:
        _read(data)
    assert says in caught.value.message
    assert len(caught.value.message) < 300


class _Endless(io.RawIOBase):
    """A line without end that counts what was taken of it."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        buffer[:] = b"x" * len(buffer)
        self.taken += len(buffer)
        return len(buffer)


def test_an_endless_line_is_refused_before_it_fills_memory() -> None:
    endless = _Endless()
    with pytest.raises(MalformedRecord, match="longer than"):
        list(ndjson.Reader(io.BufferedReader(endless)))
    assert endless.taken < ndjson.MAX_LINE_BYTES * 1.1


def test_a_large_record_is_taken() -> None:
    record = Pcm("a", seq=0, start_ms=0, end_ms=1, rms_dbfs=0, peak_dbfs=0, data=bytes(20_000_000))
    assert _read(HEADER + ndjson.encode(record) + EOS)[1] == record


def test_the_reader_keeps_a_line_as_long_as_its_record() -> None:
    extra = b'{"type":"header","session":"a","proto":1,"source":"x","later":{"x":[1.50]}}\n'
    unknown = b'{"type":"hologram","session":"a","z":1e3}\n'
    reader = ndjson.Reader(io.BytesIO(extra + unknown + EOS))
    first, second, _ = list(reader)
    assert isinstance(second, Unknown)
    assert reader.line_of(first) == extra
    assert reader.line_of(second) == unknown
    assert reader.line_of(msgspec.structs.replace(first, source="y")) is None  # type: ignore[type-var]
    assert reader.line_of(Eos("a")) is None
    del first, second, _
    gc.collect()
    assert not reader._lines
