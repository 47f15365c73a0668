"""`dub --live`: a sentence at a time, in order, within its budget of lateness, into a file that can be played meanwhile."""

from __future__ import annotations

import io
import itertools
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import livestream
from streamlation_cli.dubbing import growing_wav
from streamlation_cli.dubbing.live import LiveDubbing
from streamlation_cli.dubbing.session import Cast
from streamlation_cli.dubbing.timefit import MAX_TEMPO, MIN_TEMPO, PAUSE_MS
from streamlation_cli.errors import UsageError
from streamlation_cli.records import Eos, Error, Header, Speech, Status, StreamRecord, Translation
from streamlation_cli.stages import dub
from streamlation_cli.stages.dub import Options
from support import streamlation

T0 = livestream.STARTED_AT
TEXT = "Bom dia a todos, e obrigado por terem vindo."


def header(session: str = "s") -> Header:
    return Header(session, proto=1, source="talk", live=True, started_at=T0, target_language="pt")


def said(
    number: int, start_ms: int, end_ms: int, text: str = TEXT, *, final: bool = True, session: str = "s"
) -> Translation:
    return Translation(
        session, id=f"t{number}", start_ms=start_ms, end_ms=end_ms, text=text, final=final, source_text="…",
        source_language="en", target_language="pt", emitted_at=T0 + end_ms / 1000 + 1,
    )  # fmt: skip


def stage(records: Iterable[StreamRecord], **options: object) -> Iterator[StreamRecord]:
    return dub.stage(Options(**{"engine": "espeak", "live": True, **options}))(records)  # type: ignore[arg-type]


def run(records: Iterable[StreamRecord], **options: object) -> list[StreamRecord]:
    return list(stage(records, **options))


def speeches(records: Iterable[StreamRecord]) -> list[Speech]:
    return [record for record in records if isinstance(record, Speech)]


def of_dub(records: Iterable[StreamRecord]) -> list[Status]:
    return [record for record in records if isinstance(record, Status) and record.stage == "dub"]


def seconds_in(file: Path) -> float:
    """The length of a WAV file as another program reads it."""
    with wave.open(str(file)) as reader:
        assert (reader.getframerate(), reader.getsampwidth()) == (48_000, 2)
        assert len(reader.readframes(reader.getnframes())) == reader.getnframes() * 2 * reader.getnchannels()
        return reader.getnframes() / reader.getframerate()


def test_a_sentence_is_spoken_as_soon_as_it_is_final() -> None:
    seen = []
    source = iter([
        header(), said(0, 300, 1500, "Bom dia", final=False), said(0, 300, 2900), said(1, 3000, 5600), Eos("s")
    ])  # fmt: skip
    for record in stage(source):
        seen.append(type(record).__name__)
    assert seen == [
        "Header", "Status", "Translation", "Translation", "Speech", "Translation", "Speech", "Status", "Eos"
    ]  # fmt: skip


def test_speech_follows_what_is_still_being_said() -> None:
    out = speeches(run([header(), *(said(n, 1000 * n, 1000 * n + 900) for n in range(4)), Eos("s")]))
    assert len(out) == 4
    for before, after in itertools.pairwise(out):
        assert after.start_ms == before.end_ms + PAUSE_MS
    assert all(speech.tempo == pytest.approx(MAX_TEMPO, abs=0.03) for speech in out)
    assert [speech.drift_ms for speech in out] == sorted(speech.drift_ms for speech in out)


def test_speech_with_time_enough_is_not_hurried() -> None:
    (speech,) = speeches(run([header(), said(0, 300, 2600), Eos("s")]))
    assert MIN_TEMPO <= speech.tempo <= 1.05
    assert speech.start_ms == 300


def test_what_would_be_too_late_is_left_out_and_said_to_be() -> None:
    sentences = [said(n, 1000 * n, 1000 * n + 900) for n in range(12)]
    out = run([header(), *sentences, Eos("s")], max_drift=3.0)
    spoken = speeches(out)
    dropped = [status for status in of_dub(out) if "was not spoken" in status.detail]
    assert len(spoken) + len(dropped) == 12
    assert len(dropped) >= 3
    starts = {record.id: record.start_ms for record in sentences}
    assert all(speech.start_ms - starts[speech.id] <= 3000 for speech in spoken)
    assert dropped[0].detail.startswith("t")
    assert "--max-drift is 3" in dropped[0].detail
    assert of_dub(out)[-1].counters["dropped"] == len(dropped)
    assert not [record for record in out if isinstance(record, Error)]
    assert [speech.id for speech in spoken] == [r.id for r in sentences if r.id in {s.id for s in spoken}]


def test_a_voice_that_is_too_slow_for_this_machine_leaves_out_sentences_too() -> None:
    now = T0
    options = Options(engine="espeak", live=True, max_drift=3.0)
    cast = Cast(options)
    handler = LiveDubbing(header(), options, cast, [], clock=lambda: now)
    out = list(handler.feed(header()))
    for number, waited_s in enumerate((0, 1, 5, 0)):
        record = said(number, 5000 * number, 5000 * number + 2500)
        now = (record.emitted_at or 0) + waited_s
        out += handler.feed(record)
    cast.close()
    assert [speech.id for speech in speeches(out)] == ["t0", "t1", "t3"]
    (dropped,) = [status for status in of_dub(out) if "was not spoken" in status.detail]
    assert dropped.detail.startswith("t2 was not spoken: the voice is too slow here, 5.0 s behind")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4000), st.integers(100, 6000), st.integers(1, 12)), max_size=12),
    st.sampled_from([0.5, 2.0, 8.0]),
)
def test_whatever_is_said_speech_is_in_order_and_within_the_budget(
    sentences: list[tuple[int, int, int]], budget: float
) -> None:
    records, at = [], 0
    for number, (gap, length, words) in enumerate(sentences):
        records.append(said(number, at + gap, at + gap + length, " ".join(["palavra"] * words)))
        at += gap + length
    out = run([header(), *records, Eos("s")], engine="stub", max_drift=budget, no_cache=True)
    starts = {record.id: record.start_ms for record in records}
    free = 0
    for speech in speeches(out):
        assert speech.start_ms >= free
        assert speech.start_ms - starts[speech.id] <= budget * 1000
        assert MIN_TEMPO - 0.03 <= speech.tempo <= MAX_TEMPO + 0.03
        free = speech.end_ms + PAUSE_MS
    assert len(speeches(out)) + int(of_dub(out)[-1].counters["dropped"]) == len(records)


def test_interleaved_sessions_do_not_wait_for_each_other() -> None:
    one = [header("a"), said(0, 0, 2500, session="a"), said(1, 3000, 5500, session="a"), Eos("a")]
    other = [header("b"), said(0, 0, 2500, session="b"), said(1, 3000, 5500, session="b"), Eos("b")]
    out = run([record for pair in zip(one, other, strict=True) for record in pair])
    for name in "ab":
        assert [speech.id for speech in speeches(out) if speech.session == name] == ["t0", "t1"]


# The file


def test_the_track_can_be_played_at_every_moment(tmp_path: Path) -> None:
    file = tmp_path / "talk.wav"
    lengths = []
    records = [header(), *(said(n, 3000 * n, 3000 * n + 2600) for n in range(4)), Eos("s", duration_ms=13_000)]
    for record in stage(iter(records), output=(str(file),)):
        if isinstance(record, Header | Status) and not file.exists():
            continue  # the session has only begun
        lengths.append(seconds_in(file))
        if isinstance(record, Speech):
            assert lengths[-1] == pytest.approx(record.end_ms / 1000, abs=0.01)
    assert lengths == sorted(lengths)
    assert len(set(lengths)) >= 5
    assert seconds_in(file) == pytest.approx(13.0, abs=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["talk.wav"]


def test_the_track_has_the_speech_where_the_records_say(tmp_path: Path) -> None:
    file = tmp_path / "talk.wav"
    out = run([header(), said(0, 1000, 3600), said(1, 6000, 8600), Eos("s", duration_ms=10_000)], output=(str(file),))
    with wave.open(str(file)) as reader:
        samples = np.frombuffer(reader.readframes(reader.getnframes()), "<i2").astype(float)[:: reader.getnchannels()]
    loud = np.abs(samples[: len(samples) // 480 * 480].reshape(-1, 480)).max(axis=1) > 300
    where = np.flatnonzero(loud) * 10
    for speech in speeches(out):
        inside = where[(where >= speech.start_ms - 20) & (where <= speech.end_ms + 20)]
        assert len(inside) > 0.3 * (speech.end_ms - speech.start_ms) / 10
        where = np.setdiff1d(where, inside)
    assert not len(where)


def test_a_session_that_fails_leaves_what_was_spoken(tmp_path: Path) -> None:
    file = tmp_path / "talk.wav"
    gone = Error("s", stage="ingest", code="unavailable", message="gone", fatal=True)
    out = run([header(), said(0, 0, 2600), gone], output=(str(file),))
    assert seconds_in(file) == pytest.approx(speeches(out)[0].end_ms / 1000, abs=0.01)


def test_formats_that_cannot_be_played_while_they_grow_are_refused() -> None:
    with pytest.raises(UsageError, match=r"a\.opus: with --live .* only a \.wav file"):
        dub.stage(Options(live=True, output=("a.opus",)))
    dub.stage(Options(live=True, output=("a.wav", "-")))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_longer_than_32_bits_count_is_rf64(channels: int) -> None:
    samples = np.arange(4800 * channels, dtype="<i2").tobytes()
    for claimed in (len(samples), 1 << 33):
        head = bytearray(growing_wav.header(channels, claimed))
        with av.open(io.BytesIO(bytes(head) + samples)) as file:
            stream = file.streams.audio[0]
            assert (stream.rate, stream.channels) == (48_000, channels)
            data = b"".join(bytes(frame.planes[0])[: frame.samples * 2 * channels] for frame in file.decode(audio=0))
        assert data == samples


def test_the_command_line(tmp_path: Path) -> None:
    records = [header(), said(0, 0, 2600), said(1, 3000, 5600), Eos("s", duration_ms=7000)]
    result = streamlation(
        "dub", "--live", "--engine", "espeak", "-o", "a.wav", stdin=b"".join(livestream.encoded(records)), cwd=tmp_path
    ).ok()
    assert len(result.of_type("speech")) == 2
    assert seconds_in(tmp_path / "a.wav") == pytest.approx(7.0, abs=0.01)
    refused = streamlation("dub", "--live", "-o", "a.mp3", stdin=b"", cwd=tmp_path)
    assert refused.status == 2
    assert "only a .wav file allows" in refused.stderr
