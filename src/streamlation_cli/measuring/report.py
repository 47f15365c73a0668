"""The figures of a measurement as one JSON document, always of the same fields.

A figure that was not asked for or cannot be had is null. With several streams the figures are of all of them pooled, and
`worst_stream…` says what the unluckiest one had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .distribution import rounded, slope, summary
from .hypotheses import RULES, Committed, Shown
from .live import Outcome, Plan, Stream
from .resources import Sample
from .scoring import TimedWord, TranslationScore, cue_latencies, errors, score_translation, word_latencies
from .word_errors import WordErrors, pooled, word_errors

HOUR_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class References:
    """What a measurement is held against; None where it was not given or made."""

    transcript: str | None = None
    words: list[Shown] | None = None
    """The words of the offline pass with their times."""
    offline_transcript: str | None = None
    """What faster-whisper hears offline."""
    sentences: list[str] | None = None
    """The reference translation."""
    times: list[tuple[float, float]] = field(default_factory=list)
    """When each of its sentences was spoken, in ms."""


@dataclass(frozen=True)
class StreamFigures:
    """One stream, scored."""

    committed: list[Committed]
    wer: WordErrors | None
    words: list[TimedWord]
    translation: TranslationScore | None
    cue_words_s: list[float]
    cues_s: list[float]

    @property
    def commit_s(self) -> list[float]:
        """Commit latencies."""
        return [word.commit_latency_s for word in self.words if word.commit_latency_s is not None]

    @property
    def first_s(self) -> list[float]:
        """First-appearance latencies."""
        return [word.first_appearance_latency_s for word in self.words if word.first_appearance_latency_s is not None]


def scored(plan: Plan, outcome: Outcome, references: References, stream: Stream) -> StreamFigures:
    """The figures of one stream."""
    listener, due = stream.listener, outcome.schedule.due
    committed = listener.transcripts.committed()
    translated = listener.translations.committed()
    translation = None
    if references.sentences is not None:
        language = plan.target_language
        translation = score_translation(translated, references.sentences, references.times, language, due)
    said = translated or committed
    cue_words, cues = cue_latencies(listener.cues, said, plan.target_language or plan.language, due)
    return StreamFigures(
        committed=committed,
        wer=errors(references.transcript, [word.text for word in committed], plan.language),
        words=word_latencies(references.words or [], committed, plan.language, due),
        translation=translation,
        cue_words_s=cue_words,
        cues_s=cues,
    )


def document(
    about: dict[str, Any],
    plan: Plan,
    outcome: Outcome,
    references: References,
    offline_translation: float | None = None,
) -> dict[str, Any]:
    """The whole report. `about` are its first fields; `offline_translation` is the chrF of translating the transcript whole."""
    streams = [scored(plan, outcome, references, stream) for stream in outcome.streams]
    listeners = [stream.listener for stream in outcome.streams]
    broken: Counter[str] = sum((listener.broken() for listener in listeners), Counter())
    return {
        **about,
        "wer": _wer(plan, references, streams),
        "commit_latency": {
            **summary([s for one in streams for s in one.commit_s]),
            "worst_stream_p95_s": _worst(summary(one.commit_s)["p95_s"] for one in streams),
        },
        "first_appearance_latency": {
            **summary([s for one in streams for s in one.first_s]),
            "worst_stream_p95_s": _worst(summary(one.first_s)["p95_s"] for one in streams),
        },
        "latency_words": {
            "offline": len(references.words) if references.words is not None else None,
            "matched_share": _share(streams),
        },
        "erasure": {
            kind: _erasure([getattr(listener, kind).erasure() for listener in listeners])
            for kind in ("transcripts", "translations", "cues")
        },
        "resources": _resources(plan, outcome),
        "translation": _translation([one.translation for one in streams], offline_translation),
        "cues": {
            "shown": sum(listener.cues.shown for listener in listeners),
            "word_latency": summary([s for one in streams for s in one.cue_words_s]),
            "caption_latency": summary([s for one in streams for s in one.cues_s]),
        },
        "violations": {"total": broken.total(), **{rule: broken[rule] for rule in RULES}},
        "output": {
            "lines": sum(listener.lines for listener in listeners),
            "garbage_lines": sum(listener.garbage for listener in listeners),
            "garbage": [text for listener in listeners for text in listener.garbage_excerpts],
            "records": dict(sorted(sum((listener.types for listener in listeners), Counter[str]()).items())),
            "errors": [text for listener in listeners for text in listener.errors],
        },
        "soak": _soak(plan, outcome, sum(len(one.committed) for one in streams)),
        "per_stream": [_stream(one, stream) for one, stream in zip(streams, outcome.streams, strict=True)],
        "words": [[asdict(word) for word in one.words] for one in streams],
    }


def _worst(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _share(streams: Sequence[StreamFigures]) -> float | None:
    words = [word for one in streams for word in one.words]
    return rounded(sum(word.heard_as is not None for word in words) / len(words), 4) if words else None


def _wer(plan: Plan, references: References, streams: Sequence[StreamFigures]) -> dict[str, Any]:
    counts = [one.wer for one in streams if one.wer is not None]
    every = pooled(counts) if counts else None
    percent = every.percent if every is not None else None
    offline = None
    if references.transcript is not None and references.offline_transcript is not None:
        offline = word_errors(references.transcript, references.offline_transcript, plan.language).percent
    file_mode = None
    if references.transcript is not None and references.words is not None:
        heard = " ".join(word.text for word in references.words)
        file_mode = word_errors(references.transcript, heard, plan.language).percent
    return {
        "percent": rounded(percent, 2),
        "worst_stream_percent": rounded(_worst(count.percent for count in counts), 2),
        "reference_words": every.words if every else None,
        "substitutions": every.substitutions if every else None,
        "deletions": every.deletions if every else None,
        "insertions": every.insertions if every else None,
        "file_mode_percent": rounded(file_mode, 2),
        "offline_percent": rounded(offline, 2),
        "points_over_offline": rounded(percent - offline, 2) if percent is not None and offline is not None else None,
    }


def _erasure(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    erased, left = sum(part["erased_words"] for part in parts), sum(part["final_words"] for part in parts)
    aside = sum(part["erased_words_case_and_punctuation_aside"] for part in parts)
    return {
        "erased_words": erased,
        "erased_words_case_and_punctuation_aside": aside,
        "final_words": left,
        "normalized": rounded(erased / left, 4) if left else None,
        "normalized_case_and_punctuation_aside": rounded(aside / left, 4) if left else None,
        "worst_stream_normalized": rounded(
            _worst(part["erased_words"] / part["final_words"] for part in parts if part["final_words"]), 4
        ),
    }


def _resources(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    ended = [process for system in outcome.ended for process in system]
    cpu_s = sum(process.cpu_s for process in ended)
    audio_s = plan.media_ms / 1000 * len(outcome.streams)
    first_lines = [s.listener.first_line_s for s in outcome.streams if s.listener.first_line_s is not None]
    samples = outcome.samples
    return {
        "cpu_s": rounded(cpu_s, 2),
        "startup_cpu_s": rounded(outcome.startup_cpu_s, 2),
        "cpu_s_per_audio_s": rounded(cpu_s / audio_s),
        "cpu_s_per_audio_s_after_startup": rounded((cpu_s - outcome.startup_cpu_s) / audio_s),
        "peak_process_bytes": max(process.peak_bytes for process in ended),
        "peak_sum_bytes": max((sample.rss_bytes for sample in samples), default=None),
        "peak_handles": max((sample.handles for sample in samples), default=None),
        "processes": max((sample.processes for sample in samples), default=len(ended)),
        "wall_s": rounded(outcome.wall_s, 2),
        "first_line_s": rounded(min(first_lines) - outcome.schedule.zero_s if first_lines else None),
        "feed_late_s": rounded(max(s.feeder.late_s for s in outcome.streams)) if not plan.soak_ms else None,
    }


def _translation(scores: Sequence[TranslationScore | None], offline_chrf: float | None) -> dict[str, Any]:
    found = [score for score in scores if score is not None]

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return rounded(sum(known) / len(known)) if known else None

    chrf = mean([score.chrf for score in found])
    return {
        "bleu": mean([score.bleu for score in found]),
        "chrf": chrf,
        "stream_laal_s": mean([score.stream_laal_s for score in found]),
        "stream_laal_ca_s": mean([score.stream_laal_ca_s for score in found]),
        "worst_stream_laal_ca_s": _worst(score.stream_laal_ca_s for score in found),
        "offline_chrf": rounded(offline_chrf, 2),
        "chrf_points_over_offline": rounded(chrf - offline_chrf, 2)
        if chrf is not None and offline_chrf is not None
        else None,
        "bleu_signature": found[0].bleu_signature if found else None,
        "chrf_signature": found[0].chrf_signature if found else None,
        "sentences": [score.sentences for score in found],
    }


def _stream(figures: StreamFigures, stream: Stream) -> dict[str, Any]:
    return {
        "wer_percent": rounded(figures.wer.percent, 2) if figures.wer is not None else None,
        "commit_latency": summary(figures.commit_s),
        "first_appearance_latency": summary(figures.first_s),
        "cue_word_latency": summary(figures.cue_words_s),
        "violations": stream.listener.broken().total(),
        "garbage_lines": stream.listener.garbage,
        "feed_late_s": rounded(stream.feeder.late_s),
        "text": " ".join(word.text for word in figures.committed),
        "translated_text": " ".join(word.text for word in stream.listener.translations.committed()),
    }


def _soak(plan: Plan, outcome: Outcome, words: int) -> dict[str, Any]:
    """Memory and handles over media time; the slopes are of the last three quarters, when everything is loaded.

    What is there when processes start and end says nothing and is left out.
    """
    most = max((s.processes for s in outcome.samples), default=0)
    fed = [s for s in outcome.samples if 0 < s.media_ms < plan.soak_ms and s.processes == most]
    samples = fed if plan.soak_ms else []
    settled = [s for s in samples if s.media_ms >= plan.soak_ms / 4]
    hours = [s.media_ms / HOUR_MS for s in settled]
    wall_s = outcome.wall_s
    return {
        "media_hours": rounded(outcome.fed_ms / HOUR_MS) if plan.soak_ms else None,
        "committed_words": words if plan.soak_ms else None,
        "speed": rounded(outcome.fed_ms / 1000 / wall_s, 1) if plan.soak_ms and wall_s > 0 else None,
        "rss_bytes_settled": settled[0].rss_bytes if settled else None,
        "rss_bytes_end": settled[-1].rss_bytes if settled else None,
        "rss_bytes_max": max((s.rss_bytes for s in samples), default=None),
        "rss_bytes_slope_per_hour": rounded(slope(hours, [s.rss_bytes for s in settled]), 0),
        "handles_settled": settled[0].handles if settled else None,
        "handles_end": settled[-1].handles if settled else None,
        "handles_max": max((s.handles for s in samples), default=None),
        "handles_slope_per_hour": rounded(slope(hours, [s.handles for s in settled]), 2),
        "hours": [_hour(number, rows) for number, rows in sorted(_by_hour(samples).items())],
    }


def _by_hour(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    found: dict[int, list[Sample]] = {}
    for sample in samples:
        found.setdefault(int(sample.media_ms // HOUR_MS), []).append(sample)
    return found


def _hour(number: int, samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "hour": number + 1,
        "wall_s": rounded(samples[-1].at_s - samples[0].at_s, 1),
        "rss_bytes_max": max(s.rss_bytes for s in samples),
        "largest_process_bytes_max": max(s.largest_bytes for s in samples),
        "handles_max": max(s.handles for s in samples),
        "processes_max": max(s.processes for s in samples),
    }
