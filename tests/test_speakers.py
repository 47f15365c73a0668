"""Speakers told apart: on a conversation, on recordings of many people, and what must hold for any."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import direct, wav
from streamlation_cli.errors import ModelMissing, UsageError
from streamlation_cli.models import store
from streamlation_cli.records import Word
from streamlation_cli.speakers import voiceprint
from streamlation_cli.speakers.clustering import Speakers
from streamlation_cli.speakers.turns import SHORTEST_MS, stretches_of
from streamlation_cli.speakers.voiceprint import VoicePrinter
from streamlation_cli.stages import transcribe
from support import streamlation


@pytest.fixture(scope="session")
def printer() -> VoicePrinter:
    """The network; its weights come from the package index once and stay in the suite's store."""
    streamlation("models", "pull", "speaker/ge2e").ok()
    return voiceprint.opened(store.resolve("speaker", "ge2e"))


def error(found: Sequence[str], true: Sequence[str]) -> float:
    """Share of utterances whose speaker is wrong, the names matched in the best way."""
    names, others = sorted(set(true)), sorted(set(found))
    others += ["nobody"] * max(0, len(names) - len(others))
    best = max(
        sum(dict(zip(chosen, names, strict=True)).get(a) == b for a, b in zip(found, true, strict=True))
        for chosen in itertools.permutations(others, len(names))
    )
    return 1 - best / len(true)


@pytest.mark.parametrize("speakers", ["auto", "2"])
@pytest.mark.usefixtures("printer")
def test_a_conversation_of_two(samples: Path, speakers: str) -> None:
    stream = streamlation("normalize", stdin=streamlation("ingest", samples / "turns_en.opus").ok().stdout).ok().stdout
    result = streamlation("transcribe", "--from", "en", "--speakers", speakers, stdin=stream).ok()
    turns = json.loads((samples / "turns_en.json").read_text())["turns"]
    heard = result.of_type("transcript")
    true = [
        min(turns, key=lambda turn: abs(turn["start_ms"] + turn["end_ms"] - one["start_ms"] - one["end_ms"]))["speaker"]
        for one in heard
    ]
    assert len(heard) == len(turns)
    assert error([one["speaker"] for one in heard], true) == 0
    assert heard[0]["speaker"] == "A"


RECORDINGS = {
    "jfk": ["en/jfk.flac"],
    "reader": ["en/sense-0870.flac", "en/sense-0890.flac", "en/sense-0920.flac"],
    "poet": ["en/sonnet-1.mp3", "en/sonnet-2.mp3"],
    "lady": ["en/fleurs-en-001.ogg"],
    "brazilian": ["pt/fleurs-pt-000.ogg"],
}


@pytest.fixture(scope="session")
def prints(shared: Path, printer: VoicePrinter) -> dict[str, np.ndarray]:
    """Up to four stretches of 3 s of each person."""
    found = {}
    for who, paths in RECORDINGS.items():
        sounds = [direct(shared / "speech" / path).astype(np.float32) / 32768 for path in paths]
        pieces = [sound[at : at + 48_000] for sound in sounds for at in range(0, len(sound) - 40_000, 48_000)]
        found[who] = printer.prints(pieces[:: max(1, len(pieces) // 4)][:4])
    return found


@pytest.mark.parametrize(("most", "limit"), [(0, 0.08), (3, 0.05)])
def test_three_people_in_turn(prints: dict[str, np.ndarray], most: int, limit: float) -> None:
    """The names come sixteen at a time, as transcripts do; measured over many mixtures."""
    errors = []
    for seed in range(60):
        rng = random.Random(seed)
        said = [(who, index) for who in rng.sample(sorted(prints), 3) for index in range(len(prints[who]))]
        rng.shuffle(said)
        speakers, found = Speakers(most), []
        for start in range(0, len(said), 16):
            batch = said[start : start + 16]
            found += speakers.name(np.stack([prints[who][index] for who, index in batch]), [3.0] * len(batch))
        errors.append(error(found, [who for who, _ in said]))
    assert np.mean(errors) <= limit, f"{np.mean(errors):.3f}"


@pytest.mark.usefixtures("printer")
def test_recordings_one_after_another_are_transcribed_by_speaker(shared: Path, tmp_path: Path) -> None:
    order = ["en/jfk.flac", "en/sense-0870.flac", "en/fleurs-en-001.ogg", "en/sense-0890.flac", "en/sense-0920.flac"]
    who = ["jfk", "reader", "lady", "reader", "reader"]
    sound, ends = np.zeros(0, np.float32), []
    for path in order:
        part = direct(shared / "speech" / path).astype(np.float32) / 32768
        sound = np.concatenate((sound, 0.3 * part / np.abs(part).max(), np.zeros(8000, np.float32)))
        ends.append(len(sound) / 16)
    mixed = wav(tmp_path / "mixed.wav", sound[np.newaxis])
    stream = streamlation("normalize", stdin=streamlation("ingest", mixed).ok().stdout).ok().stdout
    heard = streamlation("transcribe", "--from", "en", "--speakers", "auto", stdin=stream).ok().of_type("transcript")
    true = [who[next(i for i, end in enumerate(ends) if (one["start_ms"] + one["end_ms"]) / 2 < end)] for one in heard]
    assert len(heard) >= 5
    assert error([one["speaker"] for one in heard], true) <= 0.15


def word(text: str, start_ms: int, end_ms: int) -> Word:
    return Word(text=text, start_ms=start_ms, end_ms=end_ms)


def test_a_turn_may_change_at_a_pause_or_at_the_end_of_a_sentence() -> None:
    words = [
        word("Did", 0, 600),
        word("it?", 600, 1200),
        word("Yes,", 1200, 1900),
        word("it", 2400, 3000),
        word("did.", 3000, 3700),
    ]
    assert [" ".join(one.text for one in some) for some in stretches_of(words)] == ["Did it?", "Yes, it did."]
    assert stretches_of([]) == []
    assert len(stretches_of(words[:1])) == 1


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(20, 1500), st.booleans()), max_size=30))
def test_no_word_is_lost_and_no_stretch_is_too_short(drawn: list[tuple[int, int, bool]]) -> None:
    words, at = [], 0
    for gap, length, ends in drawn:
        words.append(word("w." if ends else "w", at + gap, at + gap + length))
        at += gap + length
    found = stretches_of(words)
    assert [one for some in found for one in some] == words
    assert len(found) <= 1 or all(some[-1].end_ms - some[0].start_ms >= SHORTEST_MS for some in found)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 9), st.floats(0.2, 5))
def test_voices_that_do_not_sound_alike_are_told_apart_whatever_the_batches(
    said: list[int], batch: int, length: float
) -> None:
    voices = np.eye(4, voiceprint.SIZE, dtype=np.float32)
    speakers, found = Speakers(), []
    for start in range(0, len(said), batch):
        part = said[start : start + batch]
        found += speakers.name(voices[part], [length] * len(part))
    first = list(dict.fromkeys(said))
    if length >= 1.6:
        assert found == ["ABCD"[first.index(voice)] for voice in said]
    assert set(found) <= set("ABCD")
    most = Speakers(2)
    assert len({name for voice in said for name in most.name(voices[[voice]], [3.0])}) <= 2


def test_prints_of_nothing(printer: VoicePrinter) -> None:
    assert printer.prints([]).shape == (0, voiceprint.SIZE)
    found = printer.prints([np.zeros(0, np.float32), np.zeros(16_000, np.float32), np.full(300, 0.1, np.float32)])
    assert found.shape == (3, voiceprint.SIZE)
    assert np.isfinite(found).all()
    assert Speakers().name(found[:1], [0.0]) == ["A"]


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {}, {"model_state": Evil()}):
        pickle.dump(part, file, protocol=2)
    (tmp_path / "pretrained.pt").write_bytes(file.getvalue())
    with pytest.raises(ModelMissing, match=r"not the weights of a voice encoder: it asks for __builtin__\.exec"):
        VoicePrinter(tmp_path)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "pretrained.pt").write_bytes(b"\0" * 100)
    with pytest.raises(ModelMissing, match="not the weights"):
        VoicePrinter(tmp_path)


def test_options_that_make_no_sense() -> None:
    for options, message in (
        (transcribe.Options(speakers="many"), "--speakers many: it must be a number from 1 to 99, or auto"),
        (transcribe.Options(speakers="0"), "from 1 to 99"),
        (transcribe.Options(speakers="2", live=True), "leave one of them out"),
    ):
        with pytest.raises(UsageError, match=message):
            transcribe.stage(options)


def test_without_the_weights_it_is_said_how_to_get_them(samples: Path, tmp_path: Path) -> None:
    stream = streamlation("normalize", stdin=streamlation("ingest", samples / "hello_en.flac").ok().stdout).ok().stdout
    result = streamlation(
        "transcribe", "--speakers", "2", "--engine", "stub", stdin=stream, STREAMLATION_DATA_DIR=str(tmp_path)
    )
    assert result.status == 69
    assert "streamlation models pull speaker/ge2e" in result.stderr
