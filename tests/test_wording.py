"""What is taken off a sentence before an engine sees it and put back after, with the real models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamlation_cli.translating import routes as translators
from streamlation_cli.translating import wording
from streamlation_cli.translating.glossary import Glossary, Term
from streamlation_cli.translating.routes import Chain, Pool


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    pool = Pool("firefox", "", translators.opener(device="cpu", compute_type="", threads=1, beam_size=1, stub={}))
    yield pool.open(pool.route("en", "pt"))
    pool.close()


def translated(chain: Chain, *texts: str, terms: Sequence[Term] = ()) -> list[str]:
    return [worded.text for worded in wording.translate(texts, chain, Glossary(terms))]


def test_what_holds_no_words_stays_as_it_is(chain: Chain) -> None:
    texts = ["", "...", "12345", "♪", "—", "😀😀", "50 %", "https://example.com/a?b=1", "?!"]
    assert translated(chain, *texts) == texts


def test_edges_are_put_back(chain: Chain) -> None:
    assert translated(chain, "♪ Good morning. ♪", "- Good morning.", "😀 Good morning. 🎉", "...good morning.") == [
        "♪ Bom dia. ♪", "- Bom dia.", "😀 Bom dia. 🎉", "...Bom dia.",
    ]  # fmt: skip


def test_sounds_in_brackets_stay_in_brackets(chain: Chain) -> None:
    assert translated(chain, "[music]", "(laughs)") == ["[música]", "(risos)"]


def test_a_shout_is_translated_and_stays_one(chain: Chain) -> None:
    [text] = translated(chain, "WE NEED TO TALK ABOUT THIS.")
    assert text.isupper()
    assert "TALK" not in text
    assert "FALAR" in text


def test_a_term_in_a_shout_is_found() -> None:
    chain = Chain([_Echo()], "echo")
    terms = Glossary([Term("Nato", "OTAN"), Term("house", "casa")])
    [worded] = wording.translate(["NATO BOUGHT A HOUSE HERE."], chain, terms)
    assert worded == wording.Worded("OTAN BOUGHT A CASA HERE.")


def test_one_word_without_a_full_stop_gets_none(chain: Chain) -> None:
    assert translated(chain, "Hello", "yes", "Hello.") == ["Olá", "sim", "Olá."]


def test_a_translation_far_longer_than_a_short_sentence_is_asked_for_again(chain: Chain) -> None:
    # The model's own answer is "Obrigado por enviar uma edição."
    assert translated(chain, "Thank you.", "Thank you!", "Thank you") == ["Obrigado.", "Obrigado!", "Obrigado"]


def test_addresses_handles_and_pictures_come_through(chain: Chain) -> None:
    source = "Write to foo.bar@example.org 😀 or visit https://example.com/a_b?c=1&d=2 today, says @some_user."
    [worded] = wording.translate([source], chain, Glossary())
    for part in ("foo.bar@example.org", "😀", "https://example.com/a_b?c=1&d=2", "@some_user"):
        assert part in worded.text
    assert worded.misses == ()


def test_a_long_text_loses_nothing(chain: Chain) -> None:
    text = ", and ".join(f"I told my friend that number {n} would win the race" for n in range(100, 130)) + "."
    [translation] = translated(chain, text)
    assert [n for n in range(100, 130) if str(n) not in translation] == []
    assert translated(chain, "x" * 5000) == ["x" * 5000]


def test_newlines_become_spaces(chain: Chain) -> None:
    assert translated(chain, "Good\nmorning.") == translated(chain, "Good morning.")


def test_an_order_of_the_batch_changes_nothing(chain: Chain) -> None:
    texts = ["Thank you.", "The cat sleeps.", "WHO IS THERE NOW?", ""]
    assert translated(chain, *texts) == [translated(chain, text)[0] for text in texts]


def test_a_term_gets_its_translation(chain: Chain) -> None:
    terms = [Term("sprint", "corrida curta"), Term("stand-up", "reunião diária")]
    [worded] = wording.translate(["After the stand-up we planned the sprint."], chain, Glossary(terms))
    assert "reunião diária" in worded.text
    assert "corrida curta" in worded.text
    assert worded.misses == ()


def test_a_name_is_not_translated(chain: Chain) -> None:
    assert "Apple" not in translated(chain, "We ate an apple.")[0]
    terms = [Term("Green River", "Green River")]
    assert "rio verde" in translated(chain, "We crossed the Green River yesterday.")[0]
    assert "Green River" in translated(chain, "We crossed the Green River yesterday.", terms=terms)[0]


def test_a_term_at_the_start_gets_a_capital(chain: Chain) -> None:
    [text] = translated(chain, "Sprints are short.", terms=[Term("sprints", "corridas curtas")])
    assert text.startswith("Corridas curtas")


def test_a_term_that_comes_right_by_itself_leaves_the_sentence_alone(chain: Chain) -> None:
    source = "The cat drinks milk."
    assert translated(chain, source, terms=[Term("cat", "gato")]) == translated(chain, source)


class _Forgetful:
    """An engine that never says what it is told to."""

    identity = "forgetful"

    def translate(self, sentences: Sequence[str]) -> list[str]:
        return ["nada" for _ in sentences]

    def close(self) -> None:
        """Nothing to free."""


def test_a_term_that_cannot_be_had_is_reported() -> None:
    chain = Chain([_Forgetful()], "forgetful")
    [worded] = wording.translate(["The cat and the dog."], chain, Glossary([Term("dog", "cão"), Term("cat", "gato")]))
    assert worded == wording.Worded("nada", ("cat", "dog"))


class _Echo:
    """An engine that changes nothing, so that what is done around it shows."""

    identity = "echo"

    def translate(self, sentences: Sequence[str]) -> list[str]:
        assert all(len(sentence) <= 1000 for sentence in sentences)
        return list(sentences)

    def close(self) -> None:
        """Nothing to free."""


@settings(max_examples=300)
@given(st.text(max_size=300))
@example("X1 and Zxq1")
@example('"Hello')
@example("ОЧЕНЬ ГРОМКО!")
def test_nothing_is_lost_around_an_engine(text: str) -> None:
    [worded] = wording.translate([text], Chain([_Echo()], "echo"), Glossary())
    assert worded.text.casefold().split() == text.casefold().split() or "".join(
        worded.text.casefold().split()
    ) == "".join(text.casefold().split())


@given(st.text(alphabet="ab Zxq1QX.é", max_size=60), st.sampled_from(["a", "b", "a b", "Zxq1", "X1"]))
def test_terms_are_filled_in_whatever_the_text_holds(text: str, source: str) -> None:
    glossary = Glossary([Term(source, "ÜBERSETZT")])
    [worded] = wording.translate([text], Chain([_Echo()], "echo"), glossary)
    assert worded.misses == ()
    assert worded.text.count("ÜBERSETZT") >= len(glossary.uses(" ".join(text.split())))
