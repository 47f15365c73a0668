"""How words are to be spoken that a voice would read out wrongly.

    # as it is written<TAB>as it is to be spoken<TAB>languages
    Streamlation	Stream lation
    nginx	engine ex	en
    Xiomara	[[ksjo'maRa]]	pt

The file has the form of a glossary: whole words, the longest first; one in lower case is found in any case, one with
capitals only as it is written, or all in capitals. `[[…]]` are phonemes as the voice's engine writes them: IPA with Piper,
eSpeak's own letters with eSpeak. A third column names the languages that a line is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..languages import primary
from ..translating import glossary
from ..translating.glossary import Glossary, Term


class Lexicon:
    """The words of one language."""

    def __init__(self, terms: Sequence[Term], language: str) -> None:
        self._glossary = Glossary([term for term in terms if term.is_for("*", primary(language))])

    def spoken(self, text: str) -> str:
        """`text` as it is to be spoken.

        >>> Lexicon([Term("nginx", "engine ex")], "en").spoken("Nginx is not enginx.")
        'engine ex is not enginx.'
        """
        spoken, end = "", 0
        for use in self._glossary.uses(text):
            spoken += text[end : use.start] + use.term.target
            end = use.end
        return spoken + text[end:]


def load(file: Path) -> list[Term]:
    """The words of a lexicon file; raises InputMissing where it cannot be read, ConfigError where it is malformed."""
    terms = glossary.load(file, "--lexicon")
    for term in terms:
        if term.target.count("[[") != term.target.count("]]"):
            raise ConfigError(
                f"--lexicon {file}: {term.source}: {term.target!r} has phonemes without an end or a beginning"
            )
    return terms
