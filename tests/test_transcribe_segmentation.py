"""Utterances: every bit of speech is in one, quiet or loud, long or short, and silence is in none."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import direct
from streamlation_cli.records import SAMPLE_RATE_HZ
from streamlation_cli.segmentation import Cutting, Segmenter, Utterance
from streamlation_cli.voice_activity import WINDOW, Leveller, SileroDetector, open_silero

RATE = SAMPLE_RATE_HZ


class Scripted:
    """A detector that says what it is told, window by window."""

    def __init__(self, probabilities: Iterable[float]) -> None:
        self._left = list(probabilities)
        self._held = 0

    def push(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self._held += len(samples)
        count, self._held = divmod(self._held, WINDOW)
        said, self._left = self._left[:count], self._left[count:]
        return np.array(said, np.float32)

    def flush(self) -> np.ndarray[Any, Any]:
        return np.zeros(0, np.float32)


def cut(probabilities: list[float], cutting: Cutting | None = None, chunk: int = 50) -> list[Utterance]:
    """The utterances of audio with these speech probabilities; each sample's value is its window's number."""
    audio = np.repeat(np.arange(len(probabilities), dtype=np.int16), WINDOW)
    segmenter = Segmenter(Scripted(probabilities), cutting or Cutting())
    found = []
    for at in range(0, len(audio), chunk * WINDOW):
        found += segmenter.push(audio[at : at + chunk * WINDOW])
    return found + list(segmenter.flush())


def heard(samples: np.ndarray[Any, Any], chunk: int = RATE) -> list[Utterance]:
    """The utterances that Silero finds."""
    segmenter = Segmenter(SileroDetector(open_silero()), Cutting())
    found = []
    for at in range(0, len(samples), chunk):
        found += segmenter.push(samples[at : at + chunk])
    return found + list(segmenter.flush())


def at_peak(samples: np.ndarray[Any, Any], dbfs: float) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The samples scaled so that the loudest is at this level."""
    scaled = samples.astype(np.float64) / np.abs(samples.astype(np.float64)).max() * 32767 * 10 ** (dbfs / 20)
    return np.round(scaled).astype(np.int16)


def test_speech_is_cut_at_pauses_and_padded() -> None:
    found = cut([0.0] * 20 + [0.9] * 40 + [0.0] * 40 + [0.9] * 30 + [0.0] * 10)
    padding = round(Cutting().padding_s * RATE / WINDOW)
    assert [(u.start // WINDOW, u.end // WINDOW) for u in found] == [
        (20 - padding, 60 + padding),
        (100 - padding, 130 + padding),
    ]
    for utterance in found:
        assert np.array_equal(utterance.samples[::WINDOW], np.arange(utterance.start, utterance.end, WINDOW) // WINDOW)
        assert utterance.seam_before is None
        assert utterance.seam_after is None


def test_a_click_and_a_maybe_are_no_utterances() -> None:
    assert cut([0.0] * 20 + [0.9] * 2 + [0.0] * 60 + [0.4] * 30 + [0.0] * 60) == []


def test_long_speech_is_cut_in_its_best_pause() -> None:
    longest = round(Cutting().longest_s * RATE / WINDOW)
    speech = [0.9] * (longest + 100)
    speech[longest - 120 : longest - 110] = [0.05] * 10
    first, second = cut(speech)
    assert longest - 120 < first.end // WINDOW < longest - 110
    assert second.start == first.end
    assert first.seam_after is None


def test_speech_without_any_pause_is_cut_with_both_sides_overlapping() -> None:
    rng = np.random.default_rng(1)
    found = cut(list(0.8 + 0.1 * rng.random(3000)))
    assert len(found) > 5
    overlap = Cutting().overlap_s
    for one, following in pairwise(found):
        assert one.seam_after == following.seam_before is not None
        assert one.seconds <= Cutting().longest_s + 2 * overlap + 0.1
        assert (one.end - following.start) / RATE == pytest.approx(2 * overlap, abs=0.1)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.9]), st.integers(1, 200)), min_size=1, max_size=20),
    st.integers(1, 90),
)
def test_all_speech_is_in_an_utterance_and_the_chunks_make_no_difference(
    runs: list[tuple[float, int]], chunk: int
) -> None:
    probabilities = [p for p, count in runs for _ in range(count)]
    found = cut(probabilities, chunk=chunk)
    covered = np.zeros(len(probabilities) + 1, bool)
    for utterance in found:
        assert utterance.start >= 0
        assert utterance.end <= len(probabilities) * WINDOW
        assert utterance.seconds <= Cutting().longest_s + 2
        covered[utterance.start // WINDOW : utterance.end // WINDOW] = True
    run = 0
    for index, probability in enumerate([*probabilities, 0.0]):
        run = run + 1 if probability >= 0.6 else 0
        if run >= 10:  # a third of a second: surely no click
            # A cut in a very short pause may leave the last tenth of a second before it over, as a click.
            assert covered[index - run + 1 : index - 2].all()
    again = cut(probabilities, chunk=1000)
    assert [(u.start, u.end, u.seam_after) for u in found] == [(u.start, u.end, u.seam_after) for u in again]
    assert all(one.start < following.start for one, following in pairwise(found))


def test_memory_does_not_grow() -> None:
    segmenter = Segmenter(Scripted(([0.9] * 100 + [0.0] * 30) * 400), Cutting())
    rest = 0
    for _ in range(400):
        list(segmenter.push(np.zeros(130 * WINDOW, np.int16)))
        rest = max(rest, sum(len(chunk) for chunk in segmenter._audio._chunks))
    assert rest < 3 * 130 * WINDOW


def test_the_leveller_is_ready_before_a_loud_sound() -> None:
    quiet, loud = np.full((20, WINDOW), 0.001, np.float32), np.full((20, WINDOW), 0.5, np.float32)
    windows = np.concatenate([quiet, loud])
    levelled = Leveller().level(windows, windows[:0])
    assert np.abs(levelled).max() <= 0.51
    assert levelled[0].max() > 20 * windows[0].max()


@pytest.mark.parametrize("dbfs", [-1, -12, -30, -45])
def test_a_talker_is_found_at_any_level(shared: Path, dbfs: float) -> None:
    jfk = direct(shared / "speech" / "en" / "jfk.flac")
    loud, found = heard(at_peak(jfk, -3)), heard(at_peak(jfk, dbfs))
    assert sum(u.seconds for u in found) == pytest.approx(sum(u.seconds for u in loud), rel=0.1)
    assert abs(found[0].start - loud[0].start) < 0.2 * RATE


def test_a_quiet_talker_after_a_loud_one_is_found(shared: Path) -> None:
    loud = at_peak(direct(shared / "speech" / "en" / "sense-0870.flac"), -1)
    quiet = at_peak(direct(shared / "speech" / "en" / "sense-0930.flac"), -45)
    joined = np.concatenate([loud, np.zeros(RATE // 2, np.int16), quiet])
    begin = len(loud) + RATE // 2
    found = sum(min(u.end, len(joined)) - max(u.start, begin) for u in heard(joined) if u.end > begin)
    assert found > 0.8 * sum(u.seconds for u in heard(quiet)) * RATE


def test_what_is_not_speech_is_no_utterance(shared: Path) -> None:
    rng = np.random.default_rng(0)
    for amplitude in (0, 1, 30, 1000, 10_000):
        noise = np.round(rng.standard_normal(RATE * 20) * amplitude / 3).astype(np.int16)
        assert heard(noise) == [], amplitude
    for name in ("music-strings.ogg", "trumpet.ogg", "silence-10s.flac", "pv-empty.flac"):
        assert heard(direct(shared / "speech" / "robust" / name)) == [], name
