"""Whisper's token language: prompts in, words out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages written without spaces: a word is a character there."""

CONTEXT_TOKENS = 448
"""The decoder's context."""
PROMPT_TOKENS = 223
"""At most so much of the context goes to a prompt: just under half, as Whisper was trained."""

_SOUNDLESS = re.compile(r"^[^\w]*$")
_BROKEN = "�"


@dataclass(frozen=True)
class TokenWord:
    """A word and the tokens that carry its sound: positions `first` up to `last`, exclusive."""

    text: str
    first: int
    last: int


class WhisperTokens:
    """The vocabulary of one model."""

    def __init__(self, model: Path, multilingual: bool) -> None:
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._multilingual = multilingual
        self.end = self._id("<|endoftext|>")
        self._start = self._id("<|startoftranscript|>")
        self._previous = self._id("<|startofprev|>")
        self._no_timestamps = self._id("<|notimestamps|>")

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no {token}")
        return int(found)

    def knows(self, language: str) -> bool:
        """Whether the model has a token for this language."""
        if not self._multilingual:
            return language == "en"
        return self._tokenizer.token_to_id(f"<|{language}|>") is not None

    def start(self, language: str, task: Literal["transcribe", "translate"]) -> list[int]:
        """The tokens that open a transcript; an English-only model takes neither language nor task."""
        if not self._multilingual:
            return [self._start]
        return [self._start, self._id(f"<|{language}|>"), self._id(f"<|{task}|>")]

    def prompt(
        self, language: str, task: Literal["transcribe", "translate"], initial_prompt: str = "", hotwords: str = ""
    ) -> list[int]:
        """What decoding starts from: hints as if they had been said before, then the opening without time stamps."""
        hints = [*self._hint(hotwords), *self._hint(initial_prompt)][-PROMPT_TOKENS:]
        return [*([self._previous, *hints] if hints else []), *self.start(language, task), self._no_timestamps]

    def _hint(self, text: str) -> list[int]:
        if not text.strip():
            return []
        return list(self._tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids)[:PROMPT_TOKENS]

    def text(self, tokens: Sequence[int]) -> str:
        """The tokens as text, special ones left out."""
        return str(self._tokenizer.decode([token for token in tokens if token < self.end])).strip()

    def piece(self, token: int) -> str:
        """One token's text, the space before it included."""
        return str(self._tokenizer.decode([token]))

    def words(self, tokens: Sequence[int], language: str) -> list[TokenWord]:
        """The tokens (no special ones) as words; punctuation stays with its word but adds nothing to its sound."""
        words: list[TokenWord] = []
        begin = 0
        for position in range(1, len(tokens) + 1):
            piece = self._tokenizer.decode(list(tokens[begin:position]))
            if _BROKEN in piece and position < len(tokens):
                continue  # part of a character that goes on in the next token
            soundless = _SOUNDLESS.match(piece) is not None
            opens = piece.startswith(" ") or (language in UNSPACED and not soundless)
            if opens or not words:
                words.append(TokenWord(piece, begin, position))
            else:
                word = words[-1]
                first = begin if _SOUNDLESS.match(word.text) else word.first
                words[-1] = TokenWord(word.text + piece, first, word.last if soundless else position)
            begin = position
        return [TokenWord(word.text.strip(), word.first, word.last) for word in words if word.text.strip()]
