"""`subtitle --live`: lines that stay as they are, every word shown once, files that are whole at every moment."""

from __future__ import annotations

import io
import itertools
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

import livestream
from streamlation_cli.artefacts import GrowingFile
from streamlation_cli.captions.rolling import BUDGET, CATCH_UP_MS, HURRY_MS
from streamlation_cli.errors import OutputFailed
from streamlation_cli.records import (
    Cue,
    Discontinuity,
    Eos,
    Error,
    Header,
    Status,
    StreamRecord,
    Transcript,
    Translation,
    Word,
)
from streamlation_cli.stages import subtitle, translate
from streamlation_cli.stages.subtitle import Options
from support import PROGRAM, streamlation
from test_translate_live import T0, heard, on_media_time, streams

TALK = [
    "We went to the old house by the river before anybody else was awake.",
    "Nobody saw us go.",
    "It was cold, and the bridge that my grandfather had built was covered with a thin layer of ice.",
    "Yes.",
    "When the boat came at last, it brought letters, newspapers and two sacks of flour for the baker.",
]


def header(**more: object) -> Header:
    return Header("a", proto=1, source="live", live=True, started_at=T0, language="en", **more)  # type: ignore[arg-type]


def run(records: Iterable[StreamRecord], **options: object) -> list[StreamRecord]:
    return list(subtitle.stage(Options(**{"live": True, "format": "ndjson", **options}))(records))  # type: ignore[arg-type]


def cues(records: Iterable[StreamRecord]) -> list[Cue]:
    return [record for record in records if isinstance(record, Cue)]


def talk(lines: Sequence[str] = TALK, **how: object) -> list[StreamRecord]:
    return list(livestream.live(livestream.spoken(lines), "en", livestream.Live(**how)))  # type: ignore[arg-type]


def translated(records: Sequence[StreamRecord]) -> list[StreamRecord]:
    options = translate.Options(to="es", engine="stub", live=True, no_cache=True)
    return list(on_media_time(translate.stage(options)(records)))


def status(records: Sequence[StreamRecord]) -> Status:
    return [record for record in records if isinstance(record, Status) and record.stage == "subtitle"][-1]


def erasure(records: Iterable[StreamRecord]) -> float:
    """Words taken back from the screen, as a share of the words that stayed (normalized erasure)."""
    erased, shown = 0, 0
    for _, group in itertools.groupby(cues(records), key=lambda cue: cue.id):
        before: list[str] = []
        for cue in group:
            words = cue.lines[-1].split()
            same = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, words, strict=False))))
            erased += len(before) - same
            before = words
        shown += len(before)
    return erased / shown


def parsed(file: Path) -> list[str]:
    """The captions of an SRT or WebVTT file as another program reads them."""
    text = file.read_text()
    if file.suffix == ".srt":
        return [caption.content for caption in srt.parse(text)]
    return [caption.text for caption in webvtt.from_buffer(io.StringIO(text))]


def words_in(captions: Iterable[str]) -> list[str]:
    return [word for caption in captions for word in caption.split()]


# On screen


def test_roll_up_lines_fill_word_by_word_and_stay() -> None:
    out = run(talk(wrong=0))
    shown = cues(out)
    assert [cue.op for cue in shown[:3]] == ["add", "update", "update"]
    lines: list[str] = []
    for cue in shown:
        assert 1 <= len(cue.lines) <= 2
        assert all(len(line) <= 42 for line in cue.lines)
        if cue.op == "add":
            assert cue.lines[:-1] in ((), tuple(lines[-1:]))  # what was the newest line is the one above now
            lines.append(cue.lines[-1])
        assert cue.lines[-1].startswith(lines[-1].split()[0])
        lines[-1] = cue.lines[-1]
    assert words_in(lines) == words_in(TALK)
    assert len({cue.id for cue in shown if cue.op == "add"}) == len(lines)
    assert all(cue.emitted_at is not None for cue in shown)


def test_a_cue_ends_when_the_next_one_begins() -> None:
    shown = cues(run(talk(wrong=0)))
    for before, after in itertools.pairwise(shown):
        if after.op == "add":
            assert before.id != after.id
            assert before.end_ms == after.start_ms
    assert [cue.start_ms for cue in shown] == sorted(cue.start_ms for cue in shown)


def test_pop_on_captions_come_up_whole_and_stay() -> None:
    shown = cues(run(talk(), style="popon"))
    assert {cue.op for cue in shown} == {"add"}
    assert words_in(line for cue in shown for line in cue.lines) == words_in(TALK)
    assert all(before.end_ms <= after.start_ms for before, after in itertools.pairwise(shown))


@pytest.mark.parametrize("wrong", [0.0, 0.3, 1.0])
def test_what_is_read_is_hardly_ever_taken_back(wrong: float) -> None:
    out = run(talk(TALK * 4, wrong=wrong))
    assert erasure(out) <= 0.25
    assert status(out).counters["words_taken_back"] <= BUDGET * len(words_in(TALK * 4)) + 1


def test_words_that_stayed_the_same_are_shown_before_they_are_committed() -> None:
    committed = shown = ahead = 0
    text = words_in(TALK * 2)

    def stepped() -> Iterable[StreamRecord]:
        nonlocal committed
        finished = 0
        for record in talk(TALK * 2, wrong=0, committed_ms=3000):
            if isinstance(record, Transcript):
                committed = finished + (len(record.words) if record.final else record.stable_words)
                finished += len(record.words) if record.final else 0
            yield record

    lines: dict[str, str] = {}
    for record in subtitle.stage(Options(live=True, format="ndjson"))(stepped()):
        if isinstance(record, Cue):
            lines[record.id] = record.lines[-1]
            shown = len(words_in(lines.values()))
            assert words_in(lines.values()) == text[:shown]
            ahead = max(ahead, shown - committed)
    assert shown == len(text)
    assert ahead >= 2


def test_a_burst_waits_for_the_line_before_to_be_read_but_not_for_long() -> None:
    text = " ".join(TALK)
    beats = [Status("a", stage="ingest", state="running", emitted_at=T0 + at / 1000) for at in range(5000, 20000, 250)]
    out = run([header(), heard(text, final=True, at_ms=5000, pace_ms=50), *beats, Eos("a")])
    whole = [record for record in out if isinstance(record, Cue | Status)]
    times: list[float] = []
    now = 5.0
    for record in whole:
        if isinstance(record, Status) and record.stage == "ingest":
            now = (record.emitted_at or 0) - T0
        elif isinstance(record, Cue) and record.op == "add":
            times.append(now)
    assert len(times) >= 6
    assert times[1] == 5.0  # both lines of the window at once
    waits = [after - before for before, after in itertools.pairwise(times[1:])]
    assert max(waits) <= CATCH_UP_MS / 1000 + 0.25
    assert max(waits) >= 1.0
    assert times[-1] <= 5.0 + CATCH_UP_MS / 1000 + HURRY_MS / 1000 * len(times)
    assert status(out).counters["cps_exceeded"] >= 1


def test_a_long_pause_clears_the_window() -> None:
    out = run([
        header(), heard("Good morning.", final=True), heard("Good night.", id="u2", start_ms=20_000, final=True), Eos("a")
    ])  # fmt: skip
    assert cues(out)[-1].lines == ("Good night.",)


def test_a_gap_ends_the_caption(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    records = [
        header(),
        heard("Good morning", final=True),
        Discontinuity("a", at_ms=900, gap_ms=500, reason="reconnect"),
    ]
    stage = subtitle.stage(Options(live=True, output=(str(file),)))([*records, Eos("a")])
    for record in stage:
        if isinstance(record, Discontinuity):
            next(stage, None)
            break
    assert parsed(file) == ["Good morning"]


def test_both_languages_share_the_window() -> None:
    out = run(translated(talk(wrong=0)), text="both")
    last = cues(out)[-1]
    assert len(last.lines) == 2
    sources = [cue.lines[0] for cue in cues(out)]
    assert "We went to the old house by the river" in " ".join(sources)
    assert any("antes" in cue.lines[-1] or "frío," in cue.lines[-1] for cue in cues(out))


def test_captions_of_a_translation_come_of_what_it_committed() -> None:
    stream = translated(talk(TALK * 2))
    out = run(stream)
    final = [word for r in stream if isinstance(r, Translation) and r.final for word in r.text.split()]
    lines = [list(group)[-1].lines[-1] for _, group in itertools.groupby(cues(out), key=lambda cue: cue.id)]
    assert words_in(lines) == final
    assert erasure(out) <= 0.25


def test_the_sample_to_cue_latency_is_reported() -> None:
    clock_of_stream = run(translated(talk(TALK * 3)))
    counters = status(clock_of_stream).counters
    assert {"lag_p50_ms", "lag_p95_ms", "cues", "cps_exceeded"} <= counters.keys()


# Files


@pytest.mark.parametrize("style", ["rollup", "popon"])
@pytest.mark.parametrize("name", ["a.srt", "a.vtt"])
def test_a_file_is_whole_at_every_moment_and_has_each_word_once(tmp_path: Path, name: str, style: str) -> None:
    file = tmp_path / name
    sizes = []
    for _ in subtitle.stage(Options(live=True, style=style, output=(str(file),)))(talk(TALK * 2)):
        captions = parsed(file)
        assert words_in(captions) == words_in(TALK * 2)[: len(words_in(captions))]
        sizes.append(len(captions))
    assert len(set(sizes)) > 8  # it grew all along
    assert words_in(parsed(file)) == words_in(TALK * 2)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name == "a.srt":
        captions_ = list(srt.parse(file.read_text()))
        assert all(a.end <= b.start for a, b in itertools.pairwise(captions_))


def test_a_session_that_fails_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    records = [*talk()[:-1], Error("a", stage="ingest", code="unavailable", message="gone", fatal=True)]
    list(subtitle.stage(Options(live=True, output=(str(file),)))(records))
    assert words_in(parsed(file)) == words_in(TALK)


def test_a_growing_file_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="there is no folder"):
        GrowingFile(str(tmp_path / "nowhere" / "a.srt"))


def test_both_languages_are_in_each_caption_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    stream = translated(talk(wrong=0))
    run(stream, text="both", format="srt", output=(str(file),))
    text = words_in(parsed(file))
    for language in (
        words_in(TALK),
        [word for r in stream if isinstance(r, Translation) and r.final for word in r.text.split()],
    ):
        rest = iter(text)
        assert all(word in rest for word in language)  # in this order, with the other language's between


def test_plain_text_has_a_line_for_each_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    run(talk(), format="srt", output=(str(file),))
    assert file.read_text().splitlines() == TALK


def test_standard_output_streams_finished_captions() -> None:
    stream = b"".join(livestream.encoded(talk()))
    result = streamlation("subtitle", "--live", stdin=stream).ok()
    assert words_in(caption.content for caption in srt.parse(result.stdout.decode())) == words_in(TALK)


def test_a_reader_sees_captions_while_the_session_goes_on() -> None:
    process = subprocess.Popen([PROGRAM, "subtitle", "--live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    *records, end = livestream.encoded(talk())
    process.stdin.write(b"".join(records))
    process.stdin.flush()
    first = process.stdout.readline()
    assert first == b"1\n"
    process.stdin.write(end)
    process.stdin.close()
    assert words_in(TALK)[-1].encode() in process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=20) == 0


def test_a_log_of_cues_can_be_replayed(tmp_path: Path) -> None:
    log = streamlation(
        "subtitle", "--live", "--format", "ndjson", "--style", "popon", stdin=b"".join(livestream.encoded(talk()))
    )
    replayed = streamlation("subtitle", "--format", "srt", stdin=log.ok().stdout).ok()
    assert words_in(caption.content for caption in srt.parse(replayed.stdout.decode())) == words_in(TALK)


def test_interleaved_sessions_do_not_meet() -> None:
    one = talk()
    other = list(livestream.live(livestream.spoken(TALK[::-1]), "en", session="b"))
    mixed = run([record for pair in itertools.zip_longest(one, other) for record in pair if record is not None])
    lines = [(cue.id, cue.op, cue.lines) for cue in cues(mixed) if cue.session == "a"]
    assert lines == [(cue.id, cue.op, cue.lines) for cue in cues(run(one))]


# Whatever is heard


@settings(max_examples=120, deadline=None)
@given(streams(), st.sampled_from(["rollup", "popon"]))
def test_every_word_of_the_finals_is_shown_once_and_none_is_taken_back_beyond_the_budget(
    tmp_path_factory: pytest.TempPathFactory, records: list[StreamRecord], style: str
) -> None:
    file = tmp_path_factory.mktemp("live") / "a.srt"
    out = run(records, style=style, output=("-", str(file)))
    final = [word for r in records if isinstance(r, Transcript) and r.final for word in r.text.split()]
    assert words_in(parsed(file)) == final
    lines = [list(group)[-1].lines for _, group in itertools.groupby(cues(out), key=lambda cue: cue.id)]
    shown = words_in(line for some in lines for line in (some if style == "popon" else some[-1:]))
    assert shown == final
    assert status(out).counters["words_taken_back"] <= BUDGET * len(final)


def test_marks_that_close_a_word_where_words_are_not_written_apart(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"

    def said(text: str, stable: int, final: bool = False) -> Transcript:
        words = tuple(Word(text=c, start_ms=300 * at, end_ms=300 * at + 300) for at, c in enumerate(text))
        return Transcript(
            "a", id="u1", start_ms=0, end_ms=300 * len(text), text=text, words=words, stable_words=stable, final=final,
            language="ja", emitted_at=T0 + 3,
        )  # fmt: skip

    run([header(), said("今日は", 3), said("今日は。", 0, final=True), Eos("a")], format="srt", output=(str(file),))
    assert parsed(file) == ["今日は。"]
