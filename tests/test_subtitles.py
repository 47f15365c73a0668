"""Reading and writing subtitle files: what is found in the wild, and round trips."""

from __future__ import annotations

import datetime
import io
import re
from pathlib import Path

import av
import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from streamlation_cli.captions.formats import Caption, clean, parse
from streamlation_cli.captions.settings import format_of
from streamlation_cli.captions.writers import clock, write
from streamlation_cli.records import Word


def shown(text: str, format: str) -> list[tuple[int, int, str]]:
    parsed = parse(text, format)  # type: ignore[arg-type]
    assert parsed.problems == []
    return [(c.start_ms, c.end_ms, c.text) for c in parsed.captions]


SRT_AS_FOUND = {
    "plain": "1\n00:00:01,000 --> 00:00:02,000\nOne\n\n2\n00:00:03,000 --> 00:00:04,000\nTwo\nlines\n",
    "byte order mark and CRLF": "\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\nOne\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n"
    "Two\r\nlines\r\n",
    "old Mac line ends": "1\r00:00:01,000 --> 00:00:02,000\rOne\r\r2\r00:00:03,000 --> 00:00:04,000\rTwo\rlines\r",
    "no numbers": "00:00:01,000 --> 00:00:02,000\nOne\n\n00:00:03,000 --> 00:00:04,000\nTwo\nlines",
    "no blank lines": "1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n00:00:03,000 --> 00:00:04,000\nTwo\nlines\n",
    "no blank lines, no numbers": "00:00:01,000 --> 00:00:02,000\nOne\n00:00:03,000 --> 00:00:04,000\nTwo\nlines\n",
    "blank lines in the text": "1\n00:00:01,000 --> 00:00:02,000\n\nOne\n\n\n2\n00:00:03,000 --> 00:00:04,000\nTwo\n\nlines\n",
    "a short arrow": "1\n00:00:01,000 -> 00:00:02,000\nOne\n\n2\n00:00:03,000 -> 00:00:04,000\nTwo\nlines\n",
    "dots, loose spacing, short fields": "1\n 0:00:01.000-->0:0:2.0 \nOne\n\n2\n00:03 --> 00:04.000  X1:10 X2:20\nTwo\nlines\n",
    "tags": "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<i>One</i>\n\n2\n00:00:03,000 --> 00:00:04,000\n"
    '<font color="#fff">Two</font>\n<B>lines</b>\n',
    "blanks that are spaces": "1\n00:00:01,000 --> 00:00:02,000\nOne\n \t\n2\n00:00:03,000 --> 00:00:04,000\nTwo\nlines\n  ",
    "duplicate and wrong numbers": "7\n00:00:01,000 --> 00:00:02,000\nOne\n\n7\n00:00:03,000 --> 00:00:04,000\nTwo\nlines\n",
}


@pytest.mark.parametrize("text", SRT_AS_FOUND.values(), ids=SRT_AS_FOUND.keys())
def test_srt_as_found(text: str) -> None:
    assert shown(text, "srt") == [(1000, 2000, "One"), (3000, 4000, "Two\nlines")]


VTT_AS_FOUND = {
    "plain": "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nOne\n\n00:00:03.000 --> 00:00:04.000\nTwo\nlines\n",
    "no hours, identifiers, settings": "WEBVTT - a title\nKind: captions\n\nintro\n00:01.000 --> 00:02.000 align:start position:0%\n"
    "One\n\n2\n00:03.000 --> 00:04.000 line:0\nTwo\nlines\n",
    "notes, styles, regions": "WEBVTT\n\nNOTE\nnot 00:00 text\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:x\n\n00:01.000 --> 00:02.000\n"
    "One\n\nNOTE between\n\n00:03.000 --> 00:04.000\nTwo\nlines\n",
    "no blank line after the header": "WEBVTT\n00:01.000 --> 00:02.000\nOne\n\n00:03.000 --> 00:04.000\nTwo\nlines\n",
    "no blank line between cues": "WEBVTT\n\n00:01.000 --> 00:02.000\nOne\n00:03.000 --> 00:04.000\nTwo\nlines\n",
    "tags": "WEBVTT\n\n00:01.000 --> 00:02.000\n<c.yellow><b>One</b></c>\n\n00:03.000 --> 00:04.000\n<00:03.100>Two<00:03.500>\n"
    "<lang en>lines</lang>\n",
    "commas and CRLF": "\ufeffWEBVTT\r\n\r\n00:00:01,000 --> 00:00:02,000\r\nOne\r\n\r\n00:00:03,000 --> 00:00:04,000\r\nTwo\r\nlines\r\n",
}


@pytest.mark.parametrize("text", VTT_AS_FOUND.values(), ids=VTT_AS_FOUND.keys())
def test_vtt_as_found(text: str) -> None:
    assert shown(text, "vtt") == [(1000, 2000, "One"), (3000, 4000, "Two\nlines")]


def test_vtt_speakers_language_and_entities() -> None:
    parsed = parse(
        "WEBVTT\nLanguage: pt-BR\n\n00:00.000 --> 00:04.000\n<v Ana &amp; Zé>Tom &lt;3</v>\n\n"
        "00:05.000 --> 00:09.000\n<v.loud Ana>Olá!</v>\n<v Rui>Tudo bem?",
        "vtt",
    )
    assert parsed.language == "pt-BR"
    assert [(c.speaker, c.text) for c in parsed.captions] == [
        ("Ana & Zé", "Tom <3"),
        ("Ana", "Olá!"),
        ("Rui", "Tudo bem?"),
    ]
    assert [(c.start_ms, c.end_ms) for c in parsed.captions[1:]] == [(5000, 6231), (6231, 9000)]


ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:00.240 --> 00:00:02.550 align:start position:0%
\x20
hello<00:00:00.480><c> my</c><00:00:00.720><c> name</c>

00:00:02.550 --> 00:00:02.560 align:start position:0%
hello my name
\x20

00:00:02.560 --> 00:00:04.000 align:start position:0%
hello my name
is<00:00:02.800><c> Ana Lima</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
is Ana Lima
\x20
"""


def test_automatic_captions_that_scroll_are_read_once_with_their_words() -> None:
    parsed = parse(ROLLING, "vtt")
    assert parsed.problems == []
    assert [(c.start_ms, c.end_ms, c.text) for c in parsed.captions] == [
        (240, 2550, "hello my name"),
        (2560, 4000, "is Ana Lima"),
    ]
    assert [(w.text, w.start_ms, w.end_ms) for c in parsed.captions for w in c.words] == [
        ("hello", 240, 480), ("my", 480, 720), ("name", 720, 2550), ("is", 2560, 2800), ("Ana", 2800, 3400), ("Lima", 3400, 4000),
    ]  # fmt: skip


def test_repeated_lines_of_other_captions_stay() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\nNo.\n\n00:02.000 --> 00:03.000\nNo.\n"
    assert [c.text for c in parse(text, "vtt").captions] == ["No.", "No."]


def test_numbers_alone_between_blank_lines() -> None:
    text = "1\n\n00:00:01,000 --> 00:00:02,000\nCount:\n\n42\n\n2\n\n00:00:03,000 --> 00:00:04,000\nTwo\n\n3\n"
    assert shown(text, "srt") == [(1000, 2000, "Count:\n42"), (3000, 4000, "Two")]


def test_overlapping_captions_are_kept_as_they_are() -> None:
    text = "1\n00:00:01,000 --> 00:00:03,000\nA\n\n2\n00:00:02,000 --> 00:00:04,000\nB\n"
    assert shown(text, "srt") == [(1000, 3000, "A"), (2000, 4000, "B")]


@pytest.mark.parametrize(
    ("text", "format", "problems", "kept"),
    [
        ("1\n00:00:01,000 -- 00:00:02,000 -->\nlost\n\nmore\n\n2\n00:00:03,000 --> 00:00:04,000\nkept\n", "srt",
         ["line 2: not a time range: '00:00:01,000 -- 00:00:02,000 -->'"], ["kept"]),
        ("1\n00:00:01,000 --> later\nlost\n\n2\n00:00:03,000 --> 00:00:04,000\nkept\n", "srt",
         ["line 2: not a time range: '00:00:01,000 --> later'"], ["kept"]),
        ("hello\n\n1\n00:00:03,000 --> 00:00:04,000\nkept\n", "srt", ["line 1: text without times: 'hello'"], ["kept"]),
        ("1\n00:00:05,000 --> 00:00:04,000\nkept\n", "srt",
         ["line 2: ends before it starts: '00:00:05,000 --> 00:00:04,000'"], ["kept"]),
        ("00:00:03.000 --> 00:00:04.000\nkept\n", "vtt",
         ["line 1: no WEBVTT header: '00:00:03.000 --> 00:00:04.000'"], ["kept"]),
        ("WEBVTT\n\n00:03.000 --> 00:04.000\nkept\n\nstray\ntext\n", "vtt", ["line 6: text without times: 'stray'"], ["kept"]),
        ("", "srt", [], []),
        ("WEBVTT\n", "vtt", [], []),
        ("\x00\x01\x02", "srt", ["line 1: text without times: '\\ufffd\\x01\\x02'"], []),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_reported(text: str, format: str, problems: list[str], kept: list[str]) -> None:
    parsed = parse(text, format)  # type: ignore[arg-type]
    assert parsed.problems == problems
    assert [c.text for c in parsed.captions] == kept


@given(st.text(), st.sampled_from(["srt", "vtt"]))
def test_reading_never_fails(text: str, format: str) -> None:
    parse(text, format)  # type: ignore[arg-type]


@given(st.text(alphabet="0123456789:.,-> \nWEBVTTa<v>{\\i}"), st.sampled_from(["srt", "vtt"]))
def test_reading_never_fails_on_what_looks_like_subtitles(text: str, format: str) -> None:
    for caption in parse(text, format).captions:  # type: ignore[arg-type]
        assert 0 <= caption.start_ms <= caption.end_ms
        assert caption.lines
        assert all(line == clean(line) != "" for line in caption.lines)


line_texts = (
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2060"), min_size=1, max_size=30),
        st.text(alphabet="<>ivb/{}\\an8 -->&;:ltgm.0123", min_size=1, max_size=20),
        st.sampled_from(
            ["00:00:01,000 --> 00:00:02,000", "1", "WEBVTT", "NOTE x", "<i>x</i>", "{\\an8}x", "a &lt; b", "-->"]
        ),
    )
    .map(clean)
    .filter(bool)
)
captions_in_order = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.integers(1, 10_000),
        st.lists(line_texts, min_size=1, max_size=3),
        st.sampled_from(["", "Ana", "A & <B>"]),
    ),
    max_size=5,
).map(
    lambda rows: [
        Caption(
            start_ms=sum(gap + length for gap, length, _, _ in rows[:at]) + rows[at][0],
            end_ms=sum(gap + length for gap, length, _, _ in rows[: at + 1]),
            lines=tuple(rows[at][2]),
            speaker=rows[at][3],
        )
        for at in range(len(rows))
    ]
)


@given(captions_in_order)
def test_srt_round_trip(captions: list[Caption]) -> None:
    text = write(captions, "srt")
    assert shown(text, "srt") == [(c.start_ms, c.end_ms, c.text) for c in captions]
    if any(re.search(r"[0-9]:[0-9]", line) for c in captions for line in c.lines):
        return  # the srt package takes some text that looks like times for a new block
    theirs = list(srt.parse(text))
    assert [(s.start, s.end) for s in theirs] == [
        (datetime.timedelta(milliseconds=c.start_ms), datetime.timedelta(milliseconds=c.end_ms)) for c in captions
    ]
    assert [s.content.replace("\u2060", "") for s in theirs] == [c.text for c in captions]


@given(captions_in_order)
def test_vtt_round_trip(captions: list[Caption]) -> None:
    text = write(captions, "vtt", language="en")
    parsed = parse(text, "vtt")
    assert (parsed.captions, parsed.problems, parsed.language) == (captions, [], "en")
    theirs = list(webvtt.from_string(text))
    assert [(t.start, t.end) for t in theirs] == [(clock(c.start_ms), clock(c.end_ms)) for c in captions]


def test_webvtt_py_reads_the_same_text() -> None:
    captions = [Caption(start_ms=1234, end_ms=5678, lines=("Tom & Jerry", "2 < 3"), speaker="Ana")]
    cue = webvtt.from_string(write(captions, "vtt"))[0]
    assert (cue.start, cue.end, cue.voice) == ("00:00:01.234", "00:00:05.678", "Ana")


def words_of(text: str, start_ms: int, step_ms: int) -> tuple[Word, ...]:
    return tuple(
        Word(text=word, start_ms=start_ms + at * step_ms, end_ms=start_ms + (at + 1) * step_ms)
        for at, word in enumerate(text.split())
    )


def test_vtt_words() -> None:
    caption = Caption(
        start_ms=900,
        end_ms=4000,
        lines=("Bom dia a", "todos & <tudo>"),
        words=words_of("Bom dia a todos & <tudo>", 1000, 500),
    )
    text = write([caption], "vtt", words=True)
    assert text == (
        "WEBVTT\n\nSTYLE\n::cue(:future) { color: #a0a0a0 }\n\n"
        "00:00:00.900 --> 00:00:04.000\n<00:00:01.000>Bom <00:00:01.500>dia <00:00:02.000>a\n"
        "<00:00:02.500>todos <00:00:03.000>&amp; <00:00:03.500>&lt;tudo&gt;\n\n"
    )
    (read,) = parse(text, "vtt").captions
    assert (read.start_ms, read.end_ms, read.text) == (900, 4000, caption.text)
    assert [(w.text, w.start_ms) for w in read.words] == [(w.text, w.start_ms) for w in caption.words]


def test_vtt_word_timestamps_rise_and_stay_inside_the_cue() -> None:
    words = tuple(Word(text=t, start_ms=s, end_ms=s + 1) for t, s in [("a", 0), ("b", 500), ("c", 500), ("d", 2000)])
    text = write([Caption(start_ms=0, end_ms=2000, lines=("a b c d",), words=words)], "vtt", words=True)
    assert text.splitlines()[6] == "a <00:00:00.500>b c d"


def test_words_of_the_lower_lines_only() -> None:
    caption = Caption(start_ms=0, end_ms=2000, lines=("good day", "bom dia"), words=words_of("bom dia", 0, 900))
    assert write([caption], "vtt", words=True).splitlines()[6:8] == ["good day", "bom <00:00:00.900>dia"]
    assert write([caption], "ass", words=True).splitlines()[-1].endswith(r",,good day\N{\k90}bom {\k90}dia")


def test_words_that_are_not_those_of_the_lines_are_left_out() -> None:
    caption = Caption(start_ms=0, end_ms=2000, lines=("bom dia",), words=words_of("boa noite", 0, 900))
    assert write([caption], "vtt", words=True).splitlines()[6] == "bom dia"


def decoded_ass(text: str) -> list[tuple[float, bytes]]:
    """The events as FFmpeg reads them."""
    with av.open(io.BytesIO(text.encode()), format="ass") as container:
        stream = container.streams.subtitles[0]
        return [
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in container.demux(stream)
            if packet.pts is not None
        ]


def test_ass_is_read_by_ffmpeg() -> None:
    captions = [
        Caption(start_ms=1239, end_ms=3000, lines=("Olá, {mundo}", r"C:\Nada"), speaker="Ana, Rui"),
        Caption(start_ms=3_723_000, end_ms=3_724_500, lines=("Fim",), words=words_of("Fim", 3_723_100, 400)),
    ]
    text = write(captions, "ass", language="pt", words=True)
    events = decoded_ass(text)
    assert [start for start, _ in events] == [1.23, 3723.0]
    assert events[0][1].decode().endswith("Default,Ana; Rui,0,0,0,,Olá, \\{mundo\\}\\NC:\\\u2060Nada")
    assert events[1][1].decode().endswith(r"{\k10}{\k40}Fim")


@pytest.mark.parametrize("format", ["srt", "vtt", "ass"])
def test_ffmpeg_reads_every_format(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{format}"
    path.write_text(write([Caption(start_ms=500, end_ms=1500, lines=("um", "dois"))], format, language="pt"))
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.subtitles[0]) if p.pts is not None]
        assert [(float(p.pts * p.time_base), float(p.duration * p.time_base)) for p in packets] == [(0.5, 1.0)]


def test_nothing_to_say_is_still_a_file() -> None:
    assert write([], "srt") == ""
    assert write([], "txt") == ""
    assert write([], "vtt") == "WEBVTT\n\n"
    assert write([], "vtt", language="not a tag\n\n") == "WEBVTT\n\n"
    assert list(webvtt.from_string(write([], "vtt", "en"))) == []
    assert decoded_ass(write([], "ass")) == []


def test_formats_by_extension() -> None:
    assert [format_of(n) for n in ("a.srt", "a.VTT", "a.ass", "a.ssa", "a.txt", "a.ndjson", "a.mp4", "-", "srt")] == [
        "srt", "vtt", "ass", "ass", "txt", "ndjson", None, None, None,
    ]  # fmt: skip
