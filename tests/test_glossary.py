"""Glossary files, finding terms, and checking for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlation_cli.errors import ConfigError, InputMissing
from streamlation_cli.translating.glossary import Glossary, Term, count_of, load, misses_in


def found(text: str, *terms: str | tuple[str, str]) -> list[str]:
    glossary = Glossary([Term(t, t) if isinstance(t, str) else Term(*t) for t in terms])
    return [use.written for use in glossary.uses(text)]


def write(folder: Path, text: str) -> Path:
    file = folder / "terms.tsv"
    file.write_text(text, "utf-8")
    return file


def test_a_file_holds_terms_comments_and_languages(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "\ufeff# a comment\n\nStreamlation\nneural  network\trede neural\r\nsprint\tsprint\tpt, es\ncaption\tlegenda\ten-pt\n"
        "subtitle\tlegenda\tpt-BR\nheat\tcalor\ten-pt en→es\n",
    )
    any_language: frozenset[tuple[str, str]] = frozenset()
    assert load(file) == [
        Term("Streamlation", "Streamlation", any_language),
        Term("neural network", "rede neural", any_language),
        Term("sprint", "sprint", frozenset({("*", "pt"), ("*", "es")})),
        Term("caption", "legenda", frozenset({("en", "pt")})),
        Term("subtitle", "legenda", frozenset({("*", "pt")})),
        Term("heat", "calor", frozenset({("en", "pt"), ("en", "es")})),
    ]


def test_a_line_is_for_its_languages() -> None:
    assert Term("a", "b").is_for("en", "pt")
    assert Term("a", "b", frozenset({("*", "pt")})).is_for("fr", "pt")
    assert not Term("a", "b", frozenset({("en", "pt")})).is_for("en", "es")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fine\n\tb\n", "line 2: the first column is empty"),
        ("a\tb\tpt\tmore\n", "line 1: more than three columns"),
        ("a\tb\tportuguese!\n", "line 1: 'portuguese!' is neither a language nor a pair"),
        ("# c\n...\tb\n", "line 2: '...' has neither letter nor digit"),
        ("a\tb\na\tc\n", "line 2: 'a' is 'b' in line 1 and 'c' here"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, text))


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"nowhere\.tsv"):
        load(tmp_path / "nowhere.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"ok\ncaf\xe9\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        load(tmp_path / "latin.tsv")


def test_terms_are_whole_words_the_longest_first() -> None:
    assert found("A cat in a category.", "cat") == ["cat"]
    assert found("A neural network and a network.", "network", "neural network") == ["neural network", "network"]
    assert found("neural\n network", "neural network") == ["neural\n network"]
    assert found("C++ is not C.", "C++", "C") == ["C++", "C"]
    assert found("我爱北京烤鸭", "北京") == ["北京"]
    assert found("nothing here", "cat") == []
    assert found("anything") == []


def test_case_of_a_term_in_small_letters_is_free_and_of_another_is_not() -> None:
    assert found("Sprint, sprint, SPRINT", "sprint") == ["Sprint", "sprint", "SPRINT"]
    assert found("Apple ate an apple; APPLE!", "Apple") == ["Apple", "APPLE"]
    assert found("The US and us", "US") == ["US"]
    glossary = Glossary([Term("us", "nós"), Term("US", "EUA")])
    assert [use.term.target for use in glossary.uses("Us, us and the US")] == ["nós", "nós", "EUA"]


def test_misses_count_occurrences_and_name_each_term_once() -> None:
    glossary = Glossary([Term("cat", "gato"), Term("dog", "cão")])
    uses = glossary.uses("A cat, a cat and a dog.")
    assert misses_in(uses, "Um gato, um Gato e um cão.") == ()
    assert misses_in(uses, "Um gato e um cachorro.") == ("cat", "dog")
    assert misses_in(uses, "Um gatos e cãozinho") == ("cat", "dog")
    assert count_of("São Paulo", "em são  paulo, São Paulo.") == 2


def test_the_fingerprint_follows_the_terms() -> None:
    one = Glossary([Term("a", "b"), Term("c", "d")])
    assert one.fingerprint == Glossary([Term("c", "d"), Term("a", "b")]).fingerprint
    assert one.fingerprint != Glossary([Term("a", "b"), Term("c", "e")]).fingerprint
    assert Glossary().fingerprint == ""


@given(st.text(max_size=60), st.lists(st.text(alphabet="aB .(+é", min_size=1, max_size=6), max_size=4))
def test_uses_never_overlap_and_say_where_they_are(text: str, sources: list[str]) -> None:
    terms = [Term(" ".join(source.split()), "x") for source in sources if any(c.isalnum() for c in source)]
    end = 0
    for use in Glossary(terms).uses(text):
        assert use.start >= end
        assert text[use.start : use.end] == use.written
        end = use.end
