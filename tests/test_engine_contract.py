"""What every engine promises the stages, checked on each entry of the registry with its real weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from conftest import ROOT
from streamlation_cli.engines import REGISTRY, Decoding, engine_class
from streamlation_cli.errors import UsageError
from streamlation_cli.models import store

TINY_CT2 = ROOT / "testdata" / "models" / "tiny-opus-en-es"

OPEN: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("recognizer", "whisper"): lambda kind: kind(model=store.resolve("whisper", "base"), device="cpu"),
    ("recognizer", "stub"): lambda kind: kind(),
    ("live recognizer", "whisper"): lambda kind: kind(model=store.resolve("whisper", "base"), device="cpu"),
    ("live recognizer", "stub"): lambda kind: kind(),
    ("translator", "firefox"): lambda kind: kind(store.resolve("firefox", "en-pt")),
    ("translator", "ct2"): lambda kind: kind(TINY_CT2, source="en", target="es", device="cpu"),
    ("translator", "stub"): lambda kind: kind(source="en", target="es"),
    ("synthesizer", "piper"): lambda kind: kind(model=store.resolve("piper", "en_US-joe-medium")),
    ("synthesizer", "espeak"): lambda kind: kind(language="en"),
    ("synthesizer", "stub"): lambda kind: kind(language="en"),
}
"""How each engine is opened; an engine that is not here fails the suite."""


def of_kind(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", REGISTRY[kind])


def opened(kind: str, name: str) -> Any:
    return OPEN[kind, name](engine_class(kind, name))


def test_every_engine_is_under_contract() -> None:
    assert set(OPEN) == {(kind, name) for kind, names in REGISTRY.items() for name in names}


@pytest.mark.parametrize("kind", REGISTRY)
def test_an_unknown_engine_is_refused_with_the_known_ones(kind: str) -> None:
    with pytest.raises(UsageError, match="stub"):
        engine_class(kind, "nonesuch")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """The bundled greeting: float32 in [-1, 1] at 16 kHz."""
    path: Path = ROOT / "testdata" / "audio" / "hello_en.flac"
    resampler = av.AudioResampler("s16", "mono", 16_000)
    with av.open(str(path)) as container:
        frames = [part.to_ndarray() for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += [part.to_ndarray() for part in resampler.resample(None)]
    return np.concatenate(frames, axis=1)[0].astype(np.float32) / 32768


@of_kind("recognizer")
def test_recognizer(name: str, speech: np.ndarray) -> None:
    engine = opened("recognizer", name)
    decoding = Decoding(language="en")
    utterances = [speech, speech[: len(speech) // 2], speech]
    first = engine.recognize(utterances, decoding)
    assert engine.recognize([], decoding) == []
    assert len(first) == 3
    assert first[0].text == first[2].text != first[1].text
    assert engine.recognize(utterances, decoding) == first
    for heard, samples in zip(first, utterances, strict=True):
        assert heard.language == "en"
        assert heard.words
        times = [time for word in heard.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= len(samples) / 16_000 + 0.1
        assert all(0 <= word.confidence <= 1 for word in heard.words)
    engine.close()


@of_kind("live recognizer")
def test_live_recognizer(name: str, speech: np.ndarray) -> None:
    engine = opened("live recognizer", name)
    decoding = Decoding(language="en")
    whole = engine.listen(speech, (), (), decoding)
    assert engine.listen(speech, (), (), decoding) == whole
    assert whole.language == "en"
    assert whole.words
    for said in range(1, len(whole.words)):
        told, rest = whole.words[:said], whole.words[said:]
        behind = engine.listen(speech, told, (), decoding)
        assert [word.text for word in behind.words] == [word.text for word in rest]
        assert engine.listen(speech, told, rest[:-1], decoding).text == behind.text
        times = [time for word in behind.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert times[-1] <= len(speech) / 16_000 + 0.1
        assert all(0 <= word.confidence <= 1 for word in behind.words)
    engine.close()


@of_kind("translator")
def test_translator(name: str) -> None:
    engine = opened("translator", name)
    sentences = ["Good morning.", "Thank you.", "Good morning."]
    first = engine.translate(sentences)
    assert engine.translate([]) == []
    assert len(first) == 3
    assert first[0] == first[2] != first[1]
    assert first[0] != sentences[0]
    assert engine.translate(sentences) == first
    assert engine.translate(sentences[:1]) == first[:1]  # the batch makes no difference
    assert engine.identity.startswith(name)
    assert engine.identity == opened("translator", name).identity
    engine.close()


@of_kind("synthesizer")
def test_synthesizer(name: str) -> None:
    engine = opened("synthesizer", name)
    text = "We waited by the old bridge until morning, and nobody saw it go."
    sound = engine.synthesize(text)
    assert sound.samples.dtype == np.float32
    assert sound.samples.ndim == 1
    assert 0.05 < np.abs(sound.samples).max() <= 1.0
    assert 1.0 < len(sound.samples) / sound.sample_rate_hz < 8.0
    faster, slower = (engine.synthesize(text, tempo) for tempo in (1.3, 0.9))
    assert len(sound.samples) / len(faster.samples) == pytest.approx(1.3, rel=0.15)
    assert len(sound.samples) / len(slower.samples) == pytest.approx(0.9, rel=0.15)
    assert len(engine.synthesize("").samples) / sound.sample_rate_hz < 0.5
    assert engine.voice
    assert engine.identity.startswith(name)
    engine.close()
