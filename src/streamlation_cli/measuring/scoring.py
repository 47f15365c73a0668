"""From what was heard to the figures: latencies per word, errors, translation quality and lag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from ..errors import Unavailable
from ..languages import primary
from .alignment import align
from .distribution import rounded
from .hypotheses import Committed, Shown, Texts
from .lagging import Sentence, stream_laal
from .resegmentation import resegment
from .tokens import UNSPACED, indexed, tokens
from .word_errors import WordErrors, word_errors

Due = Callable[[float], float]
"""Media time in ms → the bench's clock when that sample was due."""


@dataclass(frozen=True)
class TimedWord:
    """A word of the offline pass and what became of it."""

    text: str
    start_ms: int
    end_ms: int
    heard_as: str | None
    """The committed word or words it is aligned with; None where there is none or not all of it is the same."""
    commit_latency_s: float | None
    first_appearance_latency_s: float | None


def word_latencies(
    offline: Sequence[Shown], committed: Sequence[Committed], language: str, due: Due
) -> list[TimedWord]:
    """Each word of the offline pass with its latency: from when its last sample was due to when it was first committed.

    The two word sequences are aligned as for the word error rate. Only equal words have latencies: a word in whose place
    another stands was never said to the reader. A word that the normalisation makes several of has the latest one's.
    """
    wanted = indexed([word.text for word in offline], language)
    heard = indexed([word.text for word in committed], language)
    partners: dict[int, list[int]] = {}
    unequal: set[int] = set()
    for r, h in align([token for token, _ in wanted], [token for token, _ in heard]):
        if r is None:
            continue
        if h is not None and wanted[r][0] == heard[h][0]:
            partners.setdefault(wanted[r][1], []).append(heard[h][1])
        else:
            unequal.add(wanted[r][1])
    found = []
    for index, word in enumerate(offline):
        assert word.start_ms is not None
        assert word.end_ms is not None
        same = [] if index in unequal else [committed[h] for h in dict.fromkeys(partners.get(index, ()))]
        spoken_s = due(word.end_ms)
        found.append(
            TimedWord(
                text=word.text,
                start_ms=word.start_ms,
                end_ms=word.end_ms,
                heard_as=" ".join(one.text for one in same) if same else None,
                commit_latency_s=max(one.committed_s for one in same) - spoken_s if same else None,
                first_appearance_latency_s=max(one.shown_s for one in same) - spoken_s if same else None,
            )
        )
    return found


def cue_latencies(cues: Texts, said: Sequence[Committed], language: str, due: Due) -> tuple[list[float], list[float]]:
    """Seconds from a sample to the caption that shows it: of each word, and of the last word of each caption.

    Captions need not tell which words they are made of, so their words are aligned with those of `said` (the translation, or
    the transcript where there is none), whose times they take.
    """
    shown: list[Committed] = []
    owner: list[int] = []
    for number, words in enumerate(cues.groups()):
        shown += words
        owner += [number] * len(words)
    wanted = indexed([word.text for word in said], language)
    heard = indexed([word.text for word in shown], language)
    of_word: dict[int, float] = {}
    of_cue: dict[int, float] = {}
    for r, h in align([token for token, _ in wanted], [token for token, _ in heard]):
        if r is None or h is None or wanted[r][0] != heard[h][0]:
            continue
        end_ms = said[wanted[r][1]].end_ms
        if end_ms is not None:
            index = heard[h][1]
            of_word[index] = shown[index].shown_s - due(end_ms)
            of_cue[owner[index]] = of_word[index]  # the last one stays
    return list(of_word.values()), list(of_cue.values())


def errors(reference: str | None, words: Sequence[str], language: str) -> WordErrors | None:
    """Word errors against a reference, where there is one."""
    return None if reference is None else word_errors(reference, " ".join(words), language)


def sentence_times(lines: Sequence[str], offline: Sequence[Shown], language: str) -> list[tuple[float, float]]:
    """Start and end of each sentence of the reference transcript in ms, from the words of the offline pass it is aligned with.

    A sentence none of whose words were heard lies between its neighbours.
    """
    wanted = [(token, number) for number, line in enumerate(lines) for token in tokens(line, language)]
    heard = indexed([word.text for word in offline], language)
    spans: dict[int, tuple[float, float]] = {}
    for r, h in align([token for token, _ in wanted], [token for token, _ in heard]):
        if r is None or h is None or wanted[r][0] != heard[h][0]:
            continue
        word = offline[heard[h][1]]
        start, end = float(word.start_ms or 0), float(word.end_ms or 0)
        number = wanted[r][1]
        spans[number] = (min(start, spans[number][0]), max(end, spans[number][1])) if number in spans else (start, end)
    last = float(offline[-1].end_ms or 0) if offline else 0.0
    times = []
    end = 0.0
    for number in range(len(lines)):
        if number in spans:
            start, end = spans[number]
        else:
            start, end = end, next((spans[n][0] for n in range(number + 1, len(lines)) if n in spans), last)
        times.append((start, max(end, start + 1)))
    return times


@dataclass(frozen=True, kw_only=True)
class TranslationScore:
    """Quality and lag of one streamed translation."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    stream_laal_s: float | None
    """Computation-unaware: a word's delay is the audio the system had shown to have heard."""
    stream_laal_ca_s: float | None
    """Computation-aware: a word's delay is when it arrived."""
    sentences: list[str]
    """The output cut into the sentences of the reference."""


def score_translation(
    words: Sequence[Committed], references: Sequence[str], times: Sequence[tuple[float, float]], language: str, due: Due
) -> TranslationScore:
    """Scores the committed words of a translation against the reference sentences, which were spoken at `times` (ms).

    Raises Unavailable where sacrebleu is not installed.
    """
    texts = [word.text for word in words]
    parts = resegment(texts, references, language)
    sentences = [" ".join(texts[at] for at in part) for part in parts]
    quality = bleu_and_chrf(sentences, references, language)
    aware, unaware = [], []
    zero_s, second_s = due(0), due(1000) - due(0)
    for part, reference, (start_ms, end_ms) in zip(parts, references, times, strict=True):
        said = [words[at] for at in part]
        length = _length(reference, language)
        weights = [_length(word.text, language) for word in said]
        arrived = [(w.committed_s - zero_s) * 1000 / second_s for w in said]
        aware.append(Sentence(start_ms, end_ms, length, _repeated(arrived, weights)))
        if all(w.heard_ms is not None for w in said):
            heard = [float(w.heard_ms or 0) for w in said]
            unaware.append(Sentence(start_ms, end_ms, length, _repeated(heard, weights)))
    lag, lag_ca = stream_laal(unaware), stream_laal(aware)
    return TranslationScore(
        **quality,
        stream_laal_s=rounded(None if lag is None else lag / 1000),
        stream_laal_ca_s=rounded(None if lag_ca is None else lag_ca / 1000),
        sentences=sentences,
    )


def _length(text: str, language: str) -> int:
    """What the lag is counted in: words, and characters where a language writes no spaces."""
    return len("".join(text.split())) if primary(language) in UNSPACED else len(text.split())


def _repeated(delays: Sequence[float], weights: Sequence[int]) -> tuple[float, ...]:
    return tuple(delay for delay, weight in zip(delays, weights, strict=True) for _ in range(weight))


class Quality(TypedDict):
    """BLEU and chrF, 0 to 100, and how they were counted."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str


def bleu_and_chrf(sentences: Sequence[str], references: Sequence[str], language: str) -> Quality:
    """sacreBLEU's BLEU and chrF of sentences against one reference each, with their signatures.

    Raises Unavailable where it is not installed.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise Unavailable("BLEU and chrF need sacrebleu: pip install 'streamlation[bench]'") from None
    code = primary(language)
    tokenizer = "zh" if code in ("zh", "yue") else "char" if code in UNSPACED else "13a"
    bleu, chrf = BLEU(tokenize=tokenizer), CHRF()
    bleu_score = bleu.corpus_score(list(sentences), [list(references)])
    chrf_score = chrf.corpus_score(list(sentences), [list(references)])
    return {
        "bleu": round(bleu_score.score, 2),
        "bleu_signature": str(bleu.get_signature()),
        "chrf": round(chrf_score.score, 2),
        "chrf_signature": str(chrf.get_signature()),
    }
