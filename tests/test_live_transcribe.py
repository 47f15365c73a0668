"""`transcribe --live`: on real recordings with real weights, and the policy by itself."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import promises
from conftest import ROOT
from media import SPEECH, direct, of
from streamlation_cli import ndjson
from streamlation_cli.engines import Decoding, Hearing, SpokenWord
from streamlation_cli.lag import Lag
from streamlation_cli.live.activity import LiveActivity
from streamlation_cli.live.listener import (
    Listener,
    Task,
    Tuning,
    Update,
    before_the_edge,
    behind,
    is_loop,
    says_again,
    without_repeats,
)
from streamlation_cli.live.load import Load
from streamlation_cli.live.policy import Policy
from streamlation_cli.live.transcripts import LONGEST_MS, Transcripts
from streamlation_cli.records import Discontinuity, Eos, Header, Pcm, Status, StreamRecord, Transcript
from streamlation_cli.stages.transcribe import Options, stage
from streamlation_cli.voice_activity import open_silero
from support import PROGRAM, shell
from test_transcribe import words_of

Audio = np.ndarray[Any, np.dtype[np.int16]]
CHUNK_MS = 100


@lru_cache
def talk(seconds: float = 60.0) -> Audio:
    """The start of the bundled talk."""
    return direct(ROOT / "testdata" / "audio" / "talk_en_60s.opus")[: int(seconds * 16_000)]


def pcm(samples: Audio, session: str = "s", start_ms: int = 0) -> Iterator[Pcm]:
    step = CHUNK_MS * 16
    for seq, at in enumerate(range(0, len(samples), step)):
        data = samples[at : at + step]
        yield Pcm(
            session, seq=seq, start_ms=start_ms + at // 16, end_ms=start_ms + (at + len(data)) // 16,
            rms_dbfs=-20.0, peak_dbfs=-3.0, data=data.tobytes(),
        )  # fmt: skip


def session(samples: Audio, name: str = "s", language: str = "en") -> list[StreamRecord]:
    return [Header(name, proto=1, source="test", language=language), *pcm(samples, name), Eos(name)]


def heard(records: list[StreamRecord], **options: Any) -> list[StreamRecord]:
    """What the live stage makes of a session that is not live: it waits for each decoding."""
    return list(stage(Options(live=True, **options))(iter(records)))


def error_rate(reference: str, records: list[StreamRecord]) -> float:
    return float(jiwer.wer(" ".join(words_of(reference)), " ".join(words_of(promises.final_text(records)))))


def test_in_a_pipe_words_come_when_they_are_decoded_and_not_with_the_next_record() -> None:
    command = [PROGRAM, "transcribe", "--live", "--engine", "stub", "--stub-delay-ms", "300", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        header = Header("s", proto=1, source="test", language="en", live=True, started_at=time.time())
        program.stdin.write(b"".join(ndjson.encode(record) for record in [header, *pcm(talk(6))]))
        program.stdin.flush()
        watchdog = threading.Timer(15, program.kill)
        watchdog.start()
        records = map(ndjson.decode, program.stdout)
        edge_ms = next(one.end_ms for one in records if isinstance(one, Transcript) and one.end_ms > 4500)
        assert edge_ms
        program.stdin.write(ndjson.encode(Eos("s")))
        program.stdin.close()
        assert isinstance(list(records)[-1], Eos)
        watchdog.cancel()
        assert program.wait() == 0


# ---- real recordings --------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_talk_is_committed_word_by_word_and_right() -> None:
    records = heard(session(talk(25)))
    promises.check(records)
    reference = " ".join((ROOT / "testdata" / "audio" / "talk_en_60s.txt").read_text("utf-8").split())
    said = words_of(promises.final_text(records))
    wanted = words_of(reference)[: len(said)]
    assert len(said) > 40
    assert jiwer.wer(" ".join(wanted), " ".join(said)) <= 0.12
    revisions = [record for record in of(Transcript, records) if not record.final]
    assert any(record.stable_words and record.stable_words < len(record.words) for record in revisions)
    finals = [record for record in of(Transcript, records) if record.final]
    assert len(finals) >= 3, "sentences become final while the talk goes on"


@pytest.mark.long
@pytest.mark.skipif(not SPEECH.is_dir(), reason="../shared/speech is absent")
@pytest.mark.parametrize(("language", "most"), [("en", 0.18), ("pt", 0.35)])
def test_real_speech_is_recognised_nearly_as_well_as_in_a_file(language: str, most: float) -> None:
    """The first clips of a recording, about 50 s."""
    listed = json.loads((SPEECH / "long" / f"{language}-long-dev.segments.json").read_text("utf-8"))
    clips = [clip for clip in listed if clip["end_ms"] <= 54_000]
    samples = direct(SPEECH / "long" / f"{language}-long-dev.flac")[: (clips[-1]["end_ms"] + 400) * 16]
    records = heard(session(samples, language=language))
    promises.check(records)
    assert error_rate(" ".join(clip["reference"] for clip in clips), records) <= most


@pytest.mark.skipif(not SPEECH.is_dir(), reason="../shared/speech is absent")
@pytest.mark.parametrize(
    "name", ["music-strings.ogg", "trumpet.ogg", "silence-10s.flac", "pv-empty.flac", "short-50ms.wav"]
)
def test_what_is_no_speech_gives_no_words(name: str) -> None:
    records = heard(session(direct(SPEECH / "robust" / name)))
    assert not [record for record in of(Transcript, records) if record.text]


def test_silence_is_never_decoded() -> None:
    records = heard(session(np.zeros(20 * 16_000, np.int16)))
    [done] = [record for record in of(Status, records) if record.state == "completed"]
    assert done.counters["decodings"] == 0
    assert not of(Transcript, records)


@pytest.mark.long
def test_the_language_is_found_and_kept() -> None:
    spanish = direct(ROOT / "testdata" / "audio" / "hola_es.flac")
    records = heard(session(spanish, language=""))
    promises.check(records)
    assert {record.language for record in of(Transcript, records) if record.final} == {"es"}


@pytest.mark.long
def test_interleaved_sessions_hear_what_they_hear_alone() -> None:
    one, other = session(talk(7), "a"), session(talk(14)[7 * 16_000 :], "b")
    mixed = [record for pair in zip(one, other, strict=False) for record in pair]
    mixed += one[len(other) :] + other[len(one) :]
    together = heard(mixed)
    for name, alone in (("a", one), ("b", other)):
        expected = [record for record in heard(alone) if isinstance(record, Transcript)]
        assert [r for r in together if isinstance(r, Transcript) and r.session == name] == expected


def test_a_gap_ends_the_sentence_and_times_go_on_behind_it() -> None:
    samples = talk(10)
    records = [
        Header("s", proto=1, source="test", language="en"),
        *pcm(samples[: 5 * 16_000]),
        Discontinuity("s", at_ms=5000, gap_ms=20_000, reason="reconnect"),
        *pcm(samples[5 * 16_000 :], start_ms=25_000),
        Eos("s"),
    ]
    result = heard(records)
    promises.check(result)
    position = next(i for i, record in enumerate(result) if isinstance(record, Discontinuity))
    before = [r for r in result[:position] if isinstance(r, Transcript)]
    after = [r for r in result[position:] if isinstance(r, Transcript)]
    assert before[-1].final
    assert all(word.end_ms <= 5000 for r in before for word in r.words)
    assert after
    assert all(word.start_ms >= 25_000 for r in after for word in r.words)


@pytest.mark.long
def test_live_at_the_speed_of_speech(tmp_path: Any) -> None:
    """A real pipe, in real time: words are out long before the recording ends, and none is missing."""
    script = (
        f"streamlation ingest {ROOT}/testdata/audio/talk_en_60s.opus --duration 15 --realtime"
        " | streamlation normalize | streamlation transcribe --live --from en"
    )
    started = time.time()
    result = shell(script, cwd=tmp_path).ok()
    assert time.time() - started > 14
    finals = [record for record in result.of_type("transcript") if record["final"]]
    wanted = words_of((ROOT / "testdata" / "audio" / "talk_en_60s.txt").read_text("utf-8"))
    said = words_of(" ".join(record["text"] for record in finals))
    assert jiwer.wer(" ".join(wanted[: len(said)]), " ".join(said)) <= 0.2
    header = result.of_type("header")[0]
    for record in result.of_type("transcript"):
        late_s = record["emitted_at"] - header["started_at"] - record["end_ms"] / 1000
        assert -0.1 < late_s < 15


# ---- the listener ------------------------------------------------------------------------------------------------------


class AlwaysSpeech:
    """An activity detector that hears speech everywhere."""

    def push(self, samples: Audio, *, idle: bool = False) -> Any:
        self._rest = getattr(self, "_rest", 0) + len(samples)
        count, self._rest = divmod(self._rest, 512)
        return np.ones(count, np.float32)


def word(text: str, start_s: float, end_s: float, confidence: float = 0.9) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=end_s, confidence=confidence, tokens=(1,))


def test_minutes_without_a_pause_neither_stall_nor_grow() -> None:
    listener = Listener(AlwaysSpeech(), Tuning())  # type: ignore[arg-type]
    longest, committed = 0.0, 0
    for _ in range(10 * 300):
        listener.hear(np.ones(1600, np.int16))
        task = listener.task()
        if task is None:
            continue
        longest = max(longest, len(task.samples) / 16_000)
        said = task.told()
        first_s = said[-1].end_s if said else 0.0
        count = int((len(task.samples) / 16_000 - first_s) / 0.4)
        begin = round((task.start_s + first_s) / 0.4)
        words = tuple(word(f"w{begin + i}", first_s + i * 0.4, first_s + (i + 1) * 0.4) for i in range(count))
        committed += len(listener.settle(task, Hearing(text="", words=words, language="en")).committed)
    assert longest <= Tuning().context_s + 1.5
    assert committed > 300 / 0.4 * 0.98


def test_a_listener_that_never_hears_words_does_not_grow() -> None:
    listener = Listener(AlwaysSpeech(), Tuning())  # type: ignore[arg-type]
    longest = 0.0
    for _ in range(10 * 120):
        listener.hear(np.ones(1600, np.int16))
        if (task := listener.task()) is not None:
            longest = max(longest, len(task.samples) / 16_000)
            listener.settle(task, Hearing(text="", words=(), language="en"))
    assert longest < 29


class Loudness:
    """An activity detector that takes whatever is not zero for speech."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.int16)

    def push(self, samples: Audio, *, idle: bool = False) -> Any:
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // 512 * 512
        self._rest = samples[whole:]
        return (np.abs(samples[:whole].reshape(-1, 512)).max(axis=1) > 0).astype(np.float32)


@pytest.mark.parametrize(
    ("confidence", "ended_s", "next_s"),
    [(0.3, 0.2, 1.5), (0.3, 0.3, 1.6), (0.3, 0.1, 1.4), (0.3, 0.4, 1.45), (0.95, 0.2, 1.45), (0.3, 0.7, 1.45)],
    ids=["due soon", "due later", "due sooner", "due too late to wait for", "sure", "not due"],
)
def test_a_step_ends_when_an_unsure_word_falls_due(confidence: float, ended_s: float, next_s: float) -> None:
    """It holds up all words behind it; a decoding just before would not help, and one half a step later is late."""
    listener = Listener(AlwaysSpeech(), Tuning(policy=Policy(settle_s=9, unsure_s=1.3)))  # type: ignore[arg-type]
    listener.hear(np.ones(16_000, np.int16))
    task = listener.task()
    assert task is not None
    listener.settle(task, Hearing(text="", words=(word("unsure", 0, ended_s, confidence),), language="en"))
    while listener.task() is None:
        listener.hear(np.ones(160, np.int16))
    assert listener.edge_s == pytest.approx(next_s, abs=0.011)


@pytest.mark.parametrize("heard_before", [True, False])
def test_what_is_made_up_in_silence_is_not_said(heard_before: bool) -> None:
    """The end of an utterance is decoded once more; what that finds where an earlier one had heard it all is made up."""
    listener = Listener(Loudness(), Tuning())  # type: ignore[arg-type]

    def decoded(*words: SpokenWord) -> list[str]:
        task = listener.task()
        assert task is not None
        return [w.text for w in listener.settle(task, Hearing(text="", words=words, language="en")).committed]

    country = word("country.", 0.2, 0.9, 0.99)
    listener.hear(np.ones(16_000, np.int16))
    decoded(country)
    listener.hear(np.zeros(8_000, np.int16))
    assert decoded(country) == ["country."]
    if heard_before:
        listener.hear(np.zeros(24_000, np.int16))
        assert listener.task() is not None
    else:
        listener.hear(np.ones(4_800, np.int16))  # more is said, which no decoding has heard when the pause ends it
        listener.hear(np.zeros(24_000, np.int16))
    assert decoded(word("Thank", 1.5, 1.65, 0.5), word("you.", 1.65, 1.8, 0.98)) == (
        [] if heard_before else ["Thank", "you."]
    )


def test_a_decoder_that_takes_what_it_is_told_for_all_there_is_is_told_nothing() -> None:
    """Somebody has spoken on for a second and more, and nothing is heard: the rest is heard by itself, at once."""
    listener = Listener(Loudness(), Tuning(policy=Policy(settle_s=0)))  # type: ignore[arg-type]

    def task() -> Task:
        listener.hear(np.ones(8_000, np.int16))
        found = listener.task()
        assert found is not None
        return found

    first = task()
    assert not first.goes_on
    assert first.heard is None
    kept = object()
    words = (word("country.", 0.0, 0.2), word("And", 0.4, 0.45))
    listener.settle(first, Hearing(text="", words=words, language="en", heard=kept))
    second = task()
    assert [said.text for said in second.said] == ["country."]
    assert second.goes_on
    assert second.heard is kept
    listener.settle(second, Hearing(text="", words=(), language="en", heard=kept))
    third = task()
    assert third.said, "it may take a moment until something is heard"
    listener.settle(third, Hearing(text="", words=(), language="en", heard=kept))
    again = listener.task()
    assert again is not None
    assert not again.said
    assert again.heard is None
    assert (again.start_s, again.edge_s) == (pytest.approx(0.2), pytest.approx(1.5))


def test_a_decoder_that_says_again_what_it_is_told_is_told_nothing() -> None:
    """Whisper where another voice speaks on without a pause: for eight seconds it heard the last sentence again, its words at the edge
    of what there was, and nothing of what was said. The one word before it comes from nowhere."""
    listener = Listener(Loudness(), Tuning(policy=Policy(settle_s=0)))  # type: ignore[arg-type]
    texts = "And Mr. John Dashwood had then leisure to consider how much there might be in his power to do for them.".split()

    def settle(*words: SpokenWord) -> list[str]:
        task = listener.task()
        assert task is not None
        return [one.text for one in listener.settle(task, Hearing(text="", words=words, language="en")).committed]

    listener.hear(np.ones(89_600, np.int16))
    sentence = [word(text, 0.25 * at, 0.25 * at + 0.2) for at, text in enumerate(texts)]
    assert settle(*sentence, word("So", 5.4, 5.5)) == texts
    echo = [word("And", 5.5, 5.7), *(word(text, 6.0, 6.05) for text in texts[1:9])]
    listener.hear(np.ones(8_000, np.int16))
    assert settle(*echo) == []
    listener.hear(np.ones(8_000, np.int16))
    assert settle(*echo) == []
    again = listener.task()
    assert again is not None
    assert not again.said
    assert again.start_s == pytest.approx(sentence[-1].end_s)


def test_a_short_answer_is_heard_though_the_decoder_says_again_what_it_is_told() -> None:
    """`Yes, of course.`, by another voice, and a pause: the utterance is over only when it was heard by itself."""
    listener = Listener(Loudness(), Tuning(policy=Policy(settle_s=0)))  # type: ignore[arg-type]
    question = [
        word(text, 0.3 * at, 0.3 * at + 0.25) for at, text in enumerate("Will you come with us to the sea?".split())
    ]

    def settle(*words: SpokenWord) -> tuple[list[str], bool]:
        task = listener.task()
        assert task is not None
        update = listener.settle(task, Hearing(text="", words=words, language="en"))
        return [one.text for one in update.committed], update.last

    listener.hear(np.ones(44_800, np.int16))
    assert settle(*question, word("Yes", 2.6, 2.65))[0] == [one.text for one in question]
    listener.hear(np.ones(9_600, np.int16))
    listener.hear(np.zeros(17_600, np.int16))
    assert settle(*(word(one.text, 3.3, 3.3) for one in question)) == ([], False)
    answer = [word("Yes,", 0.3, 0.5), word("of", 0.5, 0.6), word("course.", 0.6, 0.9)]
    assert settle(*answer) == (["Yes,", "of", "course."], True)


def test_who_stutters_is_no_decoder_that_says_again_what_it_is_told() -> None:
    said = [word(text, 0.3 * at, 0.3 * at + 0.2) for at, text in enumerate(("So", "I", "think", "that", "we"))]
    assert not says_again(said, [word("we", 1.5, 1.55), word("we", 1.55, 1.6), word("should", 1.7, 2.0)])
    assert not says_again([], [word("I", 0.0, 0.1)] * 4)
    assert says_again(said, [word("And", 1.5, 1.6), *(word(text, 1.6, 1.6) for text in ("I", "think", "that"))])


def test_what_is_said_again_in_no_time_is_a_decoder_gone_astray() -> None:
    said = [word("ask", 0.0, 0.3), word("not", 0.3, 0.6), word("what", 0.6, 0.9)]
    tail = (word("ask", 0.95, 0.96), word("not", 0.96, 0.97), word("what", 0.97, 0.98))
    assert without_repeats(said, tail) == ()
    really = (word("ask", 1.0, 1.3), word("not", 1.3, 1.6), word("what", 1.6, 1.9))
    assert without_repeats(said, really) == really


def test_what_is_heard_where_committed_words_were_heard_is_not_said_twice() -> None:
    """Whisper after a cut: told `still more respectable than he was.`, it hears that again behind a word of its own."""
    listener = Listener(AlwaysSpeech(), Tuning(policy=Policy(settle_s=0)))  # type: ignore[arg-type]

    def committed(*words: SpokenWord) -> list[str]:
        listener.hear(np.ones(16_000, np.int16))
        task = listener.task()
        assert task is not None
        return [w.text for w in listener.settle(task, Hearing(text="", words=words, language="en")).committed]

    assert committed(word("than", 0.0, 0.2), word("he", 0.2, 0.3), word("was.", 0.3, 0.7)) == ["than", "he"]
    assert committed(word("was.", 0.3, 0.75), word("He", 1.0, 1.4)) == ["was."]
    assert committed(word("He'd", 0.0, 0.1), word("than", 0.1, 0.3), word("he", 0.3, 0.4), word("was.", 0.4, 0.8)) == []
    assert committed(word("He", 1.0, 1.4), word("might", 1.4, 1.6), word("have", 3.0, 3.6)) == ["He", "might"]
    said = [word("was.", 0.3, 0.75)]
    near = (word("He", 0.4, 0.5),)
    assert behind(said, near) == near, "times of one decoding and another differ a little"


def test_words_that_take_no_time_were_expected_not_heard() -> None:
    heard_so_far = (word("than", 8.0, 8.4), word("he", 8.4, 8.5), word("was.", 8.5, 8.9))
    expected = tuple(word(text, 8.9, 8.92) for text in ("Had", "he", "married"))
    assert before_the_edge((*heard_so_far, *expected)) == heard_so_far
    quick = (word("of", 1.0, 1.08), word("the", 1.08, 1.16), word("a", 1.16, 1.2), word("kind", 1.2, 1.5))
    assert before_the_edge(quick) == quick


def test_a_phrase_four_times_running_is_a_loop() -> None:
    looping = tuple(
        word(text, i, i + 1) for i, text in enumerate("so it goes so it goes so it goes so it goes".split())
    )
    assert is_loop(Hearing(text="", words=looping, language="en"))
    assert not is_loop(Hearing(text="", words=looping[:9], language="en"))


# ---- the policy --------------------------------------------------------------------------------------------------------


def test_a_certain_word_is_committed_at_once_and_a_sure_one_when_heard_again() -> None:
    policy = Policy()
    certain = [word("one", 0.0, 0.4, 0.99), word("two", 0.4, 0.8, 0.99)]
    assert policy.commits(certain, [], edge_s=0.85) == 1
    sure = [word("one", 0.0, 0.4, 0.8), word("two", 0.4, 0.8, 0.8), word("three", 0.8, 1.2, 0.8)]
    assert policy.commits(sure, [], edge_s=1.3) == 0
    assert policy.commits(sure, sure[:2], edge_s=1.3) == 2
    assert policy.commits(sure, [], edge_s=10.0) == 2, "the last word may still get its ending"


def test_an_unsure_word_waits_longer_and_holds_up_those_behind_it() -> None:
    tail = [
        word("one", 0.0, 0.4),
        word("tow", 0.4, 0.8, confidence=0.1),
        word("three", 0.8, 1.2),
        word("four", 1.2, 1.6),
    ]
    assert Policy().commits(tail, tail, edge_s=1.7) == 1
    assert Policy().commits(tail, tail, edge_s=0.85 + Policy().unsure_s) >= 2


texts = st.lists(st.sampled_from(["a", "b", "the", "end.", "so,"]), max_size=8)


@given(
    st.lists(st.tuples(texts, texts, st.booleans(), st.sampled_from(["", ".", ","])), max_size=12),
    st.sampled_from([0.3, 1.5]),
)
def test_no_update_breaks_a_promise(updates: list[tuple[list[str], list[str], bool, str]], word_s: float) -> None:
    """Slow words make sentences that must be cut."""
    writer = Transcripts("s", Lag(Header("s", proto=1, source="test"), "transcribe"))
    records: list[Transcript] = []
    committed: list[str] = []
    at_s = 0.0
    for fresh, volatile, last, mark in [*updates, ([], [], True, "")]:
        words = tuple(
            word(text, at_s + i * word_s, at_s + (i + 1) * word_s) for i, text in enumerate([*fresh, *volatile])
        )
        update = Update(
            committed=words[: len(fresh)], volatile=words[len(fresh) :], mark=mark, last=last, language="en"
        )
        records += writer.write(update, 0)
        committed += fresh
        at_s += word_s * len(fresh)
    promises.check(records)
    assert promises.final_text(records).split() == committed


def test_a_sentence_without_an_end_is_cut() -> None:
    writer = Transcripts("s", Lag(Header("s", proto=1, source="test"), "transcribe"))
    words = tuple(
        word(f"w{i}", i * 0.5 + (1 if i > 20 else 0), i * 0.5 + 0.4 + (1 if i > 20 else 0)) for i in range(40)
    )
    records = list(writer.write(Update(committed=words, volatile=(), mark="", last=False, language="en"), 0))
    assert [record.final for record in records] == [True, False]
    assert len(records[0].words) == 21, "at its longest pause"
    assert records[0].end_ms - records[0].start_ms < LONGEST_MS


@pytest.mark.parametrize(
    ("mark_at", "longest_pause_at", "cut_at"),
    [(26, None, 27), (None, 25, 25), (None, None, 30), (10, 10, 29)],
    ids=["behind a clause", "at a pause", "where it has grown too long", "but not so early"],
)
def test_a_cut_takes_no_committed_word_back(mark_at: int | None, longest_pause_at: int | None, cut_at: int) -> None:
    """Each word was shown as committed before the next one came, so a cut can only be behind the last of them."""
    writer = Transcripts("s", Lag(Header("s", proto=1, source="test"), "transcribe"))
    records: list[Transcript] = []
    at_s = 0.0
    for number in range(40):
        at_s += 0.5 + (0.4 if number == longest_pause_at else 0)
        spoken = word(f"w{number}{',' if number == mark_at else ''}", at_s, at_s + 0.5)
        update = Update(committed=(spoken,), volatile=(), mark="", last=number == 39, language="en")
        records += writer.write(update, 0)
    promises.check(records)
    assert [len(record.words) for record in records if record.final] == [cut_at, 40 - cut_at]


def test_load_gives_up_step_by_step_and_takes_back() -> None:
    load = Load()
    levels = []
    for _ in range(20):
        load.took(3.0, 0.5)
        levels.append(load.level)
    assert levels[-1] == load.highest
    assert levels == sorted(levels)
    for _ in range(60):
        load.took(0.1, 0.5)
    assert load.level == 0


def test_a_session_says_when_it_cannot_keep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1_000_000, 5))
    monkeypatch.setattr("streamlation_cli.live.session.time.monotonic", lambda: float(next(now)))
    records = [
        Header("s", proto=1, source="test", language="en", live=True, started_at=time.time()),
        *pcm(talk(12)),
        Eos("s"),
    ]
    result = heard(records, engine="stub")
    details = [record.detail for record in of(Status, result) if record.detail.startswith("load:")]
    assert details[:2] == ["load: longer steps", "load: longer steps, no volatile words"]
    promises.check(result)


def test_decodings_that_fail_for_now_are_tried_again() -> None:
    result = heard(session(talk(12)), engine="stub", stub_error_rate=0.2)
    assert isinstance(result[-1], Eos)
    assert promises.final_text(result)


def test_task_words_are_on_the_clock_of_its_audio() -> None:
    task = Task(
        samples=np.zeros(16_000, np.float32), start_s=10.0, edge_s=11.0, said=(word("a", 10.1, 10.4),), expected=(), last=False,
        speech_end_s=10.9, goes_on=False, heard=None,
    )  # fmt: skip
    assert [(w.start_s, w.end_s) for w in task.told()] == [(pytest.approx(0.1), pytest.approx(0.4))]
    assert Decoding().language is None


def test_a_live_session_says_each_second_that_it_is_there() -> None:
    silence = pcm(np.zeros(5 * 16_000, np.int16))
    live = Header("s", proto=1, source="test", language="en", live=True, started_at=time.time())
    beats = [r for r in of(Status, heard([live, *silence, Eos("s")])) if r.state == "running" and r.emitted_at]
    assert len(beats) == 5


@pytest.mark.parametrize(
    ("confidence", "before", "kept"), [(0.45, False, True), (0.3, False, False), (0.3, True, True), (0.15, True, False)]
)
def test_at_an_utterances_end_a_word_that_is_hardly_believed_is_dropped(
    confidence: float, before: bool, kept: bool
) -> None:
    """Heard twice a word may be less likely, but in music a decoder hears `The End` again and again."""
    last = word("end", 1.0, 1.4, confidence)
    assert Policy().believable((last,), (last,) if before else ()) == ((last,) if kept else ())


def test_windows_are_judged_one_by_one_only_while_somebody_speaks() -> None:
    asked = []

    class Asked(Loudness):
        def push(self, samples: Audio, *, idle: bool = False) -> Any:
            asked.append(idle)
            return super().push(samples)

    listener = Listener(Asked(), Tuning())  # type: ignore[arg-type]
    for sound in (np.zeros(1600, np.int16), np.ones(1600, np.int16), np.ones(1600, np.int16)):
        listener.hear(sound)
    assert asked == [True, True, False]


@pytest.mark.long
@pytest.mark.parametrize("level", [1.0, 0.1])
def test_speech_that_is_listened_for_at_ease_begins_and_ends_where_it_does(level: float) -> None:
    """Judged together, and the quiet ones by their levelled copy alone, windows are speech where they are one by one, all but two:
    the level of those that are judged with one is known there."""
    speech = direct(ROOT / "testdata" / "audio" / "hello_en.flac")
    noise = np.random.default_rng(0).integers(-200, 200, 48_000)
    sound = (np.concatenate([noise, speech, noise]) * level).astype(np.int16)
    found = []
    for at_ease in (False, True):
        activity, idle, speech_found = LiveActivity(open_silero()), at_ease, []
        for at in range(0, len(sound), 800):
            speech_found += (activity.push(sound[at : at + 800], idle=idle) >= 0.5).tolist()
            idle = at_ease and not any(speech_found[-30:])
        found.append([*speech_found, *(activity.push(sound[:0]) >= 0.5)])
    assert len(found[0]) == len(found[1])
    assert sum(one != other for one, other in zip(*found, strict=True)) <= 2
    assert 20 < sum(found[0]) < len(found[0]) - 100


def test_speech_at_the_very_end_is_heard() -> None:
    """Also where nobody has spoken before, and too few windows are there to be judged at ease."""
    listener = Listener(LiveActivity(open_silero()), Tuning())
    sound = direct(ROOT / "testdata" / "audio" / "hello_en.flac")
    listener.hear(sound[8000:11_000])
    assert listener.task() is None
    task = listener.task(ended=True)
    assert task is not None
    assert task.last
