"""What the stages ask of an engine, and the one registry of engines.

An engine does its one job on whole inputs. Batching, caching, filtering, retries and time-fitting are the stages'
work, the same for every engine. Importing this module imports no engine library;
`engine_class` imports the one asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from ..errors import Unavailable, UsageError
from ..options import option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Samples: TypeAlias = "npt.NDArray[np.float32]"
"""Mono audio, shape (samples,), float32 in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class SpokenWord:
    """A recognised word; times are seconds from the start of its utterance."""

    text: str
    start_s: float
    end_s: float
    confidence: float
    tokens: tuple[int, ...] = ()
    """What the engine is to be told so that it goes on after this word; opaque."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a batch of utterances is to be decoded."""

    language: str | None = None
    """Language code, or None to detect it for each utterance."""
    task: Literal["transcribe", "translate"] = "transcribe"
    beam_size: int = 5
    temperature: float = 0.0
    """Above 0 in a retry: how hard to steer away from the likeliest text, which was a loop or a guess. Never by chance:
    the same audio gives the same text."""
    context: Literal["short", "long", "full"] = "short"
    """How much silence the engine is to hear after the utterance: the more, the surer and the slower."""
    initial_prompt: str = ""
    hotwords: str = ""


FULL_S = 30.0
"""An engine hears at most this long, silence included."""

SILENCE_S = {"short": 2.5, "long": 8.0, "full": FULL_S}
"""`Decoding.context` → silence after the utterance. With 1.2 s the errors rise by a twentieth, with 1 s or less the decoder
runs into loops; from 2 to 3.5 s the errors are the same."""


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """What an engine heard in one utterance."""

    text: str
    language: str
    language_probability: float = 1.0
    average_log_probability: float = 0.0
    """Mean log-probability a token, natural logarithm."""
    no_speech_probability: float = 0.0
    words: tuple[SpokenWord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """What an engine hears in audio that begins with words it was told."""

    text: str
    """What follows those words."""
    words: tuple[SpokenWord, ...]
    """The same with times, from the start of the audio."""
    mark: str = ""
    """Punctuation right behind the told words, which belongs to the last of them."""
    language: str
    language_probability: float = 1.0
    heard: Any = field(default=None, compare=False, repr=False)
    """What the engine wants to be given with the same audio when it has grown; opaque."""


class Recognizer(Protocol):
    """Speech to text."""

    workers: int
    """How many threads may call `recognize` at once."""

    def recognize(self, utterances: Sequence[Samples], decoding: Decoding) -> list[Recognition]:
        """One recognition an utterance, in order; utterances are 16 kHz and at most 30 s long."""

    def close(self) -> None:
        """Frees the model."""


class LiveRecognizer(Protocol):
    """Speech to text while it is spoken."""

    workers: int
    """How many threads may call `listen` at once."""

    def listen(
        self, samples: Samples, said: Sequence[SpokenWord], expected: Sequence[SpokenWord], decoding: Decoding,
        heard: Any = None, goes_on: bool = False,
    ) -> Hearing:  # fmt: skip
        """What is heard behind `said`, words at the start of `samples` that `listen` found before (16 kHz, at most 30 s).

        `expected`: the words that it found behind them last time, which it may use to be faster; so is `heard`, of the last hearing of
        the same audio when it was shorter. `goes_on`: somebody has spoken since the last word of `said`, so there should be something;
        an engine may do without it.
        """

    def close(self) -> None:
        """Frees the model."""


class Translator(Protocol):
    """Text to text, for one direction of one language pair.

    One that knows several answers to a sentence has `alternatives(sentence, count)` too: up to `count`, the likeliest first.
    """

    identity: str
    """Names the engine and its weights: the same identity gives the same translation. Part of every cache key."""

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """One translation a sentence, in order."""

    def close(self) -> None:
        """Frees the model."""


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Synthesized speech."""

    samples: Samples = field(repr=False)
    sample_rate_hz: int


class Synthesizer(Protocol):
    """Text to speech, in one voice."""

    identity: str
    """Names the engine, its weights and the voice. Part of every cache key."""
    voice: str
    is_slow: bool
    """Saying a sentence again at another tempo costs more than stretching the sound."""

    def synthesize(self, text: str, tempo: float = 1.0) -> Sound:
        """Speech of `text`, `tempo` times as fast as the voice's own pace (0.5 to 2)."""

    def close(self) -> None:
        """Frees the voice."""


@dataclass(frozen=True, kw_only=True)
class StubOptions:
    """What the options of every stage with an engine inherit, for `--engine stub`."""

    stub_delay_ms: int = option(
        "--stub-delay-ms",
        0,
        minimum=0,
        shared=True,
        rare=True,
        metavar="MS",
        help="with --engine stub: how long each call takes",
    )
    stub_error_rate: float = option(
        "--stub-error-rate",
        0.0,
        minimum=0,
        maximum=1,
        shared=True,
        rare=True,
        help="with --engine stub: share of calls that fail",
    )
    stub_seed: int = option(
        "--stub-seed", 0, shared=True, rare=True, help="with --engine stub: another seed gives other text"
    )

    def stub_settings(self) -> dict[str, Any]:
        """Keyword arguments of a stub engine."""
        return {"delay_ms": self.stub_delay_ms, "error_rate": self.stub_error_rate, "seed": self.stub_seed}


REGISTRY: dict[str, dict[str, str]] = {
    "recognizer": {
        "whisper": "whisper:WhisperRecognizer",
        "stub": "stub:StubRecognizer",
    },
    "live recognizer": {
        "whisper": "whisper_live:WhisperListener",
        "stub": "stub:StubRecognizer",
    },
    "translator": {
        "firefox": "firefox:FirefoxTranslator",
        "ct2": "ct2:Ct2Translator",
        "stub": "stub:StubTranslator",
    },
    "synthesizer": {
        "piper": "piper:PiperSynthesizer",
        "espeak": "espeak:EspeakSynthesizer",
        "stub": "stub:StubSynthesizer",
    },
}
"""Engine kind → name → `module:Class` below this package. An engine is listed here or it does not exist."""

EXTRAS = {"faster_whisper": "asr", "fxtranslate": "firefox", "ctranslate2": "ct2", "sentencepiece": "ct2",
          "espeakng_loader": "espeak", "piper": "piper", "onnx": "asr", "onnxruntime": "asr", "tokenizers": "asr",
          "pychromecast": "cast", "zeroconf": "cast", "pyatv": "cast", "async_upnp_client": "cast",
          "starlette": "serve", "uvicorn": "serve", "websockets": "serve"}  # fmt: skip
"""Imported library → the extra that installs it."""


def engine_class(kind: str, name: str) -> Any:
    """The class of an engine; raises UsageError for an unknown name, Unavailable where its library is missing."""
    engines = REGISTRY[kind]
    if name not in engines:
        raise UsageError(f"no {kind} is called {name!r}; there are: {', '.join(engines)}")
    module_name, class_name = engines[name].split(":")
    with needs_extra(name):
        return getattr(importlib.import_module(f".{module_name}", __name__), class_name)


class needs_extra:
    """Turns a missing library into one line that names the extra to install."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, ModuleNotFoundError):
            extra = EXTRAS.get((error.name or "").partition(".")[0])
            if extra:
                raise Unavailable(
                    f"{self._what} needs the Python package {error.name}; install it with: pip install 'streamlation[{extra}]'"
                ) from error
