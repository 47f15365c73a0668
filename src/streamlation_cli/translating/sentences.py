"""Fragments to whole sentences.

    utterance 1         utterance 2                     what the recogniser or a subtitle file cut
    "We went to the" │ "house. It was" │ "late."
    └──── sentence ─────────┘ └── sentence ───┘         what is translated

Everything here is a function of the transcripts alone: the same records make the same sentences, however they arrive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..records import Transcript, Word

TERMINALS = ".!?…。！？؟।॥։።｡‼⁇⁈⁉"
_CLOSERS = "\"'”’»›)]}）】」』〉》*_♪♫"
_OPENERS = "\"'“‘„«‹([{（【「『〈《¿¡-–—*_♪♫"
CLAUSE_MARKS = (";:；：—–", ",，、،")
"""Marks that a long sentence is best cut after: the strong ones, then the weak ones."""

_ENDING = re.compile(rf"([{re.escape(TERMINALS)}]+)[{re.escape(_CLOSERS)}\s]*$")
_TAG = re.compile(r"^\s*(?:\[[^\]]*\]|\([^)]*\)|[♪♫].*)\s*$", re.DOTALL)
_BETWEEN_UNSPACED = re.compile(
    r"(?<=[。！？｡，、；：])(?![。！？｡，、；：”’）」』】〉》\s])"
    r"|(?<=[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f])(?=[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])"
)
"""Where text in a script without spaces may be taken apart."""

_NEVER_LAST = frozenset(
    "mr mrs ms dr prof st rev hon gen col lt sgt capt cpt adm gov sen rep pres messrs mme mlle vs cf fig figs eq al "
    "sr sra srta dra d dña profa exmo exma ilmo eng arq av núm nro pág págs ed eds hr fr frl herr dipl z.b d.h u.a "
    "sig dott ing e.g i.e p.ex".split()
)
"""Abbreviations that something always follows, in lower case without their last dot."""
_BEFORE_NUMBER = frozenset(
    "no nos nº n nr num p pp vol ch sec art fig jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_OFTEN_LAST = frozenset(
    "etc inc ltd corp co jr sr u.s u.k u.n e.u d.c ph.d m.d a.m p.m a.d b.c usw etc ltda cia s.a".split()
)
_STARTERS = frozenset(
    "the he she it they we you i but and so this that these those there in on at if when what who how why my our "
    "o a os as ele ela eles elas mas e eu nós você isso este esta no na em se quando "
    "el la los las él ella pero y yo en si cuando le les il elle mais et je nous der die das er sie es aber und ich wir".split()
)
"""Words that, capitalised, more likely begin a sentence than follow an abbreviation in a name."""


_FALSE_STOP_PAUSE = 0.375
"""Share of the longest pause within a sentence up to which a full stop before a small letter is not believed."""
_CAPITAL_PAUSE = 0.6
"""Share of it up to which an utterance without a full stop goes on in one that begins with a capital."""


@dataclass(frozen=True)
class Bounds:
    """When to stop waiting for a full stop."""

    max_pause_ms: int = 2000
    """A longer pause ends a sentence whatever its punctuation."""
    max_chars: int = 280
    """A longer sentence is cut at its best clause boundary."""
    max_ms: int = 20_000
    """So is one that is spoken for longer than this."""
    lookahead: bool = True
    """Wait for the next utterance before a full stop at the end of one is believed."""


@dataclass(frozen=True)
class Token:
    """A written word of a transcript with its time; `glue` is what stands between it and the one before."""

    text: str
    glue: str
    start_ms: int
    end_ms: int
    source_id: str
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """What is translated at once: tokens in order, of one speaker and in one language."""

    tokens: tuple[Token, ...]
    language: str
    speaker: str

    @property
    def text(self) -> str:
        """The sentence on one line."""
        return _line(self.tokens)

    @property
    def start_ms(self) -> int:
        """Where the first word starts; cues of a subtitle file may overlap, so that it is not the first token's."""
        return min(token.start_ms for token in self.tokens)

    @property
    def end_ms(self) -> int:
        """Where the last word ends."""
        return max(token.end_ms for token in self.tokens)

    @property
    def source_ids(self) -> tuple[str, ...]:
        """Ids of the transcripts it comes from, in order."""
        return tuple(dict.fromkeys(token.source_id for token in self.tokens))

    @property
    def words(self) -> tuple[Word, ...]:
        """Its words with their times."""
        return tuple(
            Word(text=token.text, start_ms=token.start_ms, end_ms=token.end_ms, confidence=token.confidence)
            for token in self.tokens
        )

    @property
    def confidence(self) -> float | None:
        """Mean confidence of its words, in [0, 1]; None where the recogniser gave none."""
        known = [token.confidence for token in self.tokens if token.confidence is not None]
        return round(sum(known) / len(known), 4) if known else None


def tokens_of(transcript: Transcript, begin: int = 0, end: int | None = None) -> list[Token]:
    """The words of a transcript's text, each with its time; those from offset `begin` to `end` where these are given.

    `words` give the times where they spell the text; where they do not, or there are none, time is shared out by
    characters over the whole transcript.
    """
    spans = _spans(transcript)
    tokens: list[Token] = []
    stop_at = len(transcript.text) if end is None else end
    end = begin
    for start, stop in _word_ranges(transcript.text):
        start, stop = max(start, begin), min(stop, stop_at)
        if start >= stop:
            continue
        glue = transcript.text[end:start] if tokens or begin else " "
        start_ms, end_ms, confidence = _time_of(spans, start, stop)
        if tokens:
            start_ms = max(start_ms, tokens[-1].start_ms)
        tokens.append(
            Token(transcript.text[start:stop], glue, start_ms, max(start_ms, end_ms), transcript.id, confidence)
        )
        end = stop
    return tokens


def committed_length(transcript: Transcript) -> int:
    """How many characters of a transcript's text are committed: up to the end of its `stable_words`, all of a final one.

    0 where its words do not spell the text.
    """
    if transcript.final:
        return len(transcript.text)
    position = 0
    for word in transcript.words[: transcript.stable_words]:
        spelled = word.text.strip()
        start = transcript.text.find(spelled, position)
        if start < 0 or transcript.text[position:start].strip():
            return 0
        position = start + len(spelled)
    return position


def split_words(text: str) -> list[str]:
    """`text` taken apart where words end; in a script without spaces, between characters.

    >>> split_words("Olá, mundo!")
    ['Olá,', 'mundo!']
    >>> split_words("你好。")
    ['你', '好。']
    """
    return [text[start:stop] for start, stop in _word_ranges(text)]


def split_pieces(text: str) -> list[str]:
    """`text` taken apart like `split_words`, each word with what stands before it: joined, they are the text again.

    >>> split_pieces("Olá, mundo! ")
    ['Olá,', ' mundo!']
    """
    edges = [0, *(stop for _, stop in _word_ranges(text.strip()))]
    return [text.strip()[start:stop] for start, stop in pairwise(edges)]


class Joiner:
    """Transcripts in, whole sentences out, as soon as they are known to be whole.

    At most one sentence and one utterance are held back.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._tokens: list[Token] = []
        self._language = ""
        self._speaker = ""
        self._tag = False

    def feed(self, transcript: Transcript, language: str) -> Iterator[Sentence]:
        """Adds a final transcript that is in `language`; yields the sentences that are whole now."""
        tokens = tokens_of(transcript)
        if not tokens:
            return
        yield from self.extend(tokens, language, transcript.speaker, tag=bool(_TAG.match(transcript.text)))
        yield from self.utterance_over()

    def extend(self, tokens: Sequence[Token], language: str, speaker: str, *, tag: bool = False) -> Iterator[Sentence]:
        """Adds words of an utterance that may go on; yields the sentences that are whole now.

        `tag` says that the utterance is none: `[Music]`, which stands alone.
        """
        if not tokens:
            return
        changed = language != self._language or speaker != self._speaker
        goes_on = bool(self._tokens) and self._tokens[-1].source_id == tokens[0].source_id
        if self._tokens and (changed or tag or self._tag or (not goes_on and self._apart(tokens[0]))):
            yield from self.flush()
        self._language, self._speaker, self._tag = language, speaker, tag
        for token in tokens:
            if self._tokens and (token.start_ms - self._tokens[-1].end_ms > self._bounds.max_pause_ms):
                yield from self.flush()
            if self._tokens and _ends_sentence(self._tokens, token, self._bounds.max_pause_ms):
                yield from self.flush()
            if self._tokens and self._tokens[-1].source_id != token.source_id:
                self._tokens[-1], token = _seamless(self._tokens[-1], token)
            self._tokens.append(token)
            yield from self._cut()

    def utterance_over(self) -> Iterator[Sentence]:
        """Yields the sentence that the end of an utterance is known to end."""
        if self._known_whole():
            yield from self.flush()

    @property
    def held(self) -> Sentence:
        """The sentence that is held back; it may have no words."""
        return self._sentence(self._tokens)

    def fork(self) -> Joiner:
        """A joiner in the same state, to see what words would make of it that may yet change."""
        other = Joiner(self._bounds)
        other._tokens = list(self._tokens)
        other._language, other._speaker, other._tag = self._language, self._speaker, self._tag
        return other

    def flush(self) -> Iterator[Sentence]:
        """Yields what is held back: the input ends here, or breaks off."""
        if self._tokens:
            yield self._sentence(self._tokens)
            self._tokens = []

    def _sentence(self, tokens: Sequence[Token]) -> Sentence:
        return Sentence(tokens=tuple(tokens), language=self._language, speaker=self._speaker)

    def _apart(self, first: Token) -> bool:
        """Whether the pause before the next utterance ends an unfinished sentence."""
        pause_ms = first.start_ms - self._tokens[-1].end_ms
        continues = _is_lower(first.text) or self._tokens[-1].text[-1] in "".join(CLAUSE_MARKS)
        return pause_ms > (self._bounds.max_pause_ms if continues else self._bounds.max_pause_ms * _CAPITAL_PAUSE)

    def _known_whole(self) -> bool:
        if not self._tokens:
            return False
        if self._tag:
            return True
        text = _line(self._tokens)
        ending = _ENDING.search(text)
        if ending is None or "…" in ending[1] or ending[1].endswith("..") or _is_abbreviation(self._tokens[-1].text):
            return False
        return not self._bounds.lookahead

    def _cut(self) -> Iterator[Sentence]:
        """Cuts a sentence that has become too long where it hurts least."""
        tokens, bounds = self._tokens, self._bounds
        while len(tokens) > 1 and (
            len(_line(tokens)) > bounds.max_chars or tokens[-1].end_ms - tokens[0].start_ms > bounds.max_ms
        ):
            at = best_cut(tokens)
            yield self._sentence(tokens[:at])
            del tokens[:at]


def best_cut(tokens: Sequence[Token]) -> int:
    """After how many of `tokens` to cut: a clause mark, a pause, else near the end; never in the first third."""
    best, best_score = len(tokens) - 1, -1.0
    total = len(_line(tokens))
    done = 0
    for index in range(1, len(tokens)):
        before, after = tokens[index - 1], tokens[index]
        done += len(before.glue) + len(before.text)
        share = done / total
        if share < 1 / 3:
            continue
        mark = before.text[-1]
        pause_ms = min(1500, max(0, after.start_ms - before.end_ms))
        score = share * 0.5 + pause_ms / 500
        if before.source_id != after.source_id or "\n" in after.glue:
            score += 0.5  # where a subtitle file without punctuation begins a cue, a phrase often begins too
        if mark in TERMINALS or mark in CLAUSE_MARKS[0]:
            score += 3
        elif mark in CLAUSE_MARKS[1]:
            score += 2
        if score >= best_score:
            best, best_score = index, score
    return max(1, best)


def best_cut_of_text(text: str) -> int:
    """Where to cut `text` that is too long, as a position: after a clause mark, else before a word, else at its end.

    >>> "one, two three"[:best_cut_of_text("one, two three")]
    'one,'
    """
    for pattern in (rf"[{re.escape(TERMINALS + CLAUSE_MARKS[0])}]\s", rf"[{re.escape(CLAUSE_MARKS[1])}]\s?", r"\s"):
        cuts = [match.start() + 1 for match in re.finditer(pattern, text)]
        late = [cut for cut in cuts if cut > len(text) / 4]
        if late:
            return late[-1]
    return len(text)


def _ends_sentence(tokens: Sequence[Token], following: Token, max_pause_ms: int) -> bool:
    """Whether the sentence that ends with `tokens` is whole, now that the word after it is known."""
    begins = "\n" in following.glue or following.source_id != tokens[-1].source_id
    if "\n" in following.glue and following.text[0] in "-–—":
        return True  # another speaker's line of a subtitle
    if following.text in "-–—" and tokens[0].text[0] in "-–—" and _ENDING.search(tokens[-1].text):
        return True  # the same, where its lines were put on one
    if not begins and not any(character.isalnum() or character in "([¿¡" for character in following.text):
        return False  # a quotation mark, a dash or an emoji belongs to what stands before it
    text = _line(tokens[-6:])
    ending = _ENDING.search(text)
    if ending is None:
        return False
    if _is_lower(following.text) and not _is_lower(tokens[0].text):
        # A small letter goes on with a sentence that began with a capital, unless a full stop has a pause after it.
        return begins and ending[1] == "." and following.start_ms - tokens[-1].end_ms > max_pause_ms * _FALSE_STOP_PAUSE
    if "…" in ending[1] or ending[1].endswith(".."):
        return not re.match(r"I\b", following.text)
    if ending[1] == ".":
        return not _dot_goes_on(text[: ending.start(1)], following.text)
    return True


def _dot_goes_on(before: str, following: str) -> bool:
    """Whether the dot after `before` belongs to an abbreviation, an initial or a number that the sentence goes on after."""
    last = before.rpartition(" ")[2].lstrip(_OPENERS)
    lower = last.lower()
    if lower in _NEVER_LAST:
        return True
    if lower in _BEFORE_NUMBER and following[:1].isdigit():
        return True
    if len(last) == 1 and last.isupper() and last != "I":
        return True
    if lower in _OFTEN_LAST or re.fullmatch(r"(?:\w\.)+\w", last):
        return following.strip(_OPENERS + _CLOSERS + ",").lower() not in _STARTERS
    return last.isdigit() and len(last) <= 2 and not before[: -len(last)].strip()  # "1. First point"


def _is_abbreviation(word: str) -> bool:
    last = word.rstrip(_CLOSERS).removesuffix(".").lstrip(_OPENERS)
    return word.rstrip(_CLOSERS).endswith(".") and (
        last.lower() in _NEVER_LAST | _OFTEN_LAST | _BEFORE_NUMBER
        or (len(last) == 1 and last.isupper() and last != "I")
    )


def _seamless(last: Token, following: Token) -> tuple[Token, Token]:
    """The words on both sides of a cut in a sentence, without the marks that only the cut is to blame for.

    A recogniser puts a full stop where it was cut off, which stands for a comma; a subtitle that goes on in the next one
    ends in dots and begins with dots.
    """
    head, tail = following.text.lstrip(".…"), last.text.rstrip(".…")
    if head != following.text and head and tail != last.text and tail:
        return replace(last, text=tail), replace(following, text=head)
    word = last.text
    if len(word) < 2 or not word.endswith(".") or "." in word[:-1] or _is_abbreviation(word):
        return last, following
    return replace(last, text=word[:-1] + ","), following


def _is_lower(word: str) -> bool:
    return word.lstrip(_OPENERS + ".…")[:1].islower()


def _line(tokens: Iterable[Token]) -> str:
    text = ""
    for token in tokens:
        text += (" " if token.glue else "") + token.text if text else token.text
    return text


def _word_ranges(text: str) -> Iterator[tuple[int, int]]:
    for match in re.finditer(r"\S+", text):
        start = match.start()
        for cut in _BETWEEN_UNSPACED.finditer(text, match.start() + 1, match.end() - 1):
            yield start, cut.start()
            start = cut.start()
        yield start, match.end()


@dataclass(frozen=True)
class _Span:
    start: int
    stop: int
    start_ms: int
    end_ms: int
    confidence: float | None = None


def _spans(transcript: Transcript) -> list[_Span]:
    """Character ranges of the text with their times."""
    text = transcript.text
    spans: list[_Span] = []
    position = 0
    for word in transcript.words:
        spelled = word.text.strip()
        if not spelled:
            continue
        start = text.find(spelled, position)
        if start < 0 or text[position:start].strip():
            spans = []  # the words spell another text
            break
        position = start + len(spelled)
        spans.append(_Span(start, position, word.start_ms, max(word.start_ms, word.end_ms), word.confidence))
    if spans and not text[position:].strip():
        return spans
    stripped = text.strip()
    start = text.find(stripped)
    return [_Span(start, start + max(1, len(stripped)), transcript.start_ms, transcript.end_ms, transcript.confidence)]


def _time_of(spans: Sequence[_Span], start: int, stop: int) -> tuple[int, int, float | None]:
    touched = [span for span in spans if span.start < stop and span.stop > start]
    first, last = touched[0], touched[-1]
    known = [span.confidence for span in touched if span.confidence is not None]
    return _within(first, max(start, first.start)), _within(last, min(stop, last.stop)), min(known) if known else None


def _within(span: _Span, position: int) -> int:
    share = (position - span.start) / (span.stop - span.start)
    return round(span.start_ms + share * (span.end_ms - span.start_ms))
