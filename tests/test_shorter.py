"""Shorter translations for a voice that has too little time: where they come from, and that the voice takes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from streamlation_cli.dubbing.timefit import MAX_TEMPO
from streamlation_cli.engines.ct2 import Ct2Translator
from streamlation_cli.records import Eos, Header, Speech, Status, StreamRecord, Transcript, Translation
from streamlation_cli.stages import dub, translate
from streamlation_cli.translating import shorter

FILLED = "Well, you know, I think that this is really, of course, a very good idea for all of us."


def translated(text: str, start_ms: int, end_ms: int, **options: object) -> Translation:
    records: list[StreamRecord] = [
        Header("s", proto=1, source="x"),
        Transcript("s", id="u1", start_ms=start_ms, end_ms=end_ms, text=text, final=True, language="en"),
        Eos("s", duration_ms=20_000),
    ]
    made = list(translate.stage(translate.Options(to="pt", **options))(iter(records)))  # type: ignore[arg-type]
    (found,) = [record for record in made if isinstance(record, Translation)]
    return found


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "So, this (as I said) is it.", ["This is it."]),
        ("en", "It was, you know, very late.", ["It was late."]),
        ("en", "The the boat left.", ["The boat left."]),
        ("en", "It is not really what we want, not very good either.", []),
        ("en", "As very few of them know, nothing is as quite as this.", []),
        (
            "pt",
            "Bem, na verdade o barco saiu muito cedo.",
            ["Na verdade o barco saiu muito cedo.", "O barco saiu cedo."],
        ),
        ("pt", "Não é muito bom.", []),
        ("de", "Das ist (so heißt es) gut.", ["Das ist gut."]),
        ("ja", "これはペンです。", []),
        ("en", "", []),
        ("en", "Very.", []),
    ],
)
def test_what_says_nothing_is_left_out(language: str, text: str, expected: list[str]) -> None:
    assert shorter.condensed(text, language) == expected


def test_a_hurried_sentence_has_shorter_translations_and_an_unhurried_one_has_none() -> None:
    hurried = translated(FILLED, 0, 2500)
    assert hurried.alternatives
    lengths = [len(text) for text in (hurried.text, *hurried.alternatives)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[1] < 0.93 * lengths[0]
    assert translated(FILLED, 0, 9000).alternatives == ()
    assert translated(FILLED, 0, 2500, alternatives=0).alternatives == ()
    again = translated(FILLED, 0, 2500)
    assert again.cached
    assert again.alternatives == hurried.alternatives


def test_another_answer_of_the_engine_is_an_alternative() -> None:
    engine = Ct2Translator(
        Path(__file__).parent.parent / "testdata" / "models" / "tiny-opus-en-es", source="en", target="es", beam_size=1
    )
    found = engine.alternatives("the boat left early .", 3)
    assert 2 <= len(found) <= 3
    assert len(set(found)) == len(found)
    assert engine.alternatives("boat " * 300, 3) == []
    engine.close()


def spoken(translations: Iterable[Translation], **options: object) -> tuple[list[Speech], Status]:
    records = [Header("s", proto=1, source="x", target_language="pt"), *translations, Eos("s", duration_ms=20_000)]
    made = list(dub.stage(dub.Options(engine="espeak", **options))(iter(records)))  # type: ignore[arg-type]
    last = [record for record in made if isinstance(record, Status)][-1]
    return [record for record in made if isinstance(record, Speech)], last


LONG = "Eu gostaria de dizer a todos vocês que hoje estão aqui, com toda a sinceridade, que isto é muito importante."
MIDDLE = "Gostaria de dizer a todos vocês que isto é importante."
SHORT = "Isto é importante."


def said(number: int, start_ms: int, end_ms: int) -> Translation:
    return Translation(
        "s", id=f"t{number}", start_ms=start_ms, end_ms=end_ms, text=LONG, final=True, source_text="…",
        source_language="en", target_language="pt", alternatives=(MIDDLE, SHORT),
    )  # fmt: skip


@pytest.mark.parametrize(("length_ms", "expected"), [(7000, ""), (2500, MIDDLE), (1200, SHORT), (300, SHORT)])
def test_the_longest_translation_that_fits_is_spoken(length_ms: int, expected: str) -> None:
    following = said(1, 1000 + length_ms + 200, 19_000)
    speeches, last = spoken([said(0, 1000, 1000 + length_ms), following])
    assert speeches[0].text == expected
    assert last.counters["shortened"] == bool(expected)
    assert speeches[1].text == ""
    if length_ms > 300:
        assert speeches[0].tempo <= MAX_TEMPO + 0.001
        assert speeches[0].end_ms <= following.start_ms


def test_a_live_voice_shortens_before_it_drops() -> None:
    crowded = [said(number, 1500 * number, 1500 * number + 1400) for number in range(8)]
    speeches, last = spoken(crowded, live=True, max_drift=3.0)
    assert last.counters["shortened"] > 0
    assert last.counters["dropped"] == 0
    assert len(speeches) == 8
