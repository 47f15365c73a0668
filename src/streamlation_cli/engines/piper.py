"""Piper: neural voices that run on a CPU at a tenth of real time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, ModelMissing, Unavailable
from . import Samples, Sound, needs_extra

_FIXED_SHARE = 0.2
"""Share of a sentence's length that `length_scale` does not move: Piper rounds each phoneme up to whole frames."""


class PiperSynthesizer:
    """One Piper voice from an `.onnx` file with its `.onnx.json` beside it."""

    is_slow = True

    def __init__(
        self, *, model: str | Path, speaker: int | None = None, device: str = "cpu", threads: int = 0
    ) -> None:  # fmt: skip
        """`speaker` is a number where the voice has several; `threads` 0 means one: a sentence is too short to gain from more.

        Raises Unavailable where piper-tts is missing, ModelMissing or ConfigError where the voice cannot be loaded.
        """
        path = Path(model)
        config_path = Path(f"{path}.json")
        for needed in (path, config_path):
            if not needed.is_file():
                raise ModelMissing(f"{needed} is missing; a Piper voice is an .onnx file with its .onnx.json beside it")
        self.voice = path.stem if speaker is None else f"{path.stem}#{speaker}"
        self.identity = f"piper {_fingerprint(path)} {_fingerprint(config_path)}"
        if speaker is not None:
            self.identity += f" {speaker}"
        self._speaker = speaker
        self._voice = _load(path, config_path, device, threads or 1)

    def synthesize(self, text: str, tempo: float = 1.0) -> Sound:
        """Speech of `text` at the voice's own sample rate (usually 22,050 Hz)."""
        from piper import SynthesisConfig

        scale = max(0.3, (1 / tempo - _FIXED_SHARE) / (1 - _FIXED_SHARE)) * self._voice.config.length_scale
        # Without the noise that voices are trained with, a sentence sounds the same whatever was said before it, and a
        # recognizer mishears fewer words of it (11.6 % instead of 16.8 % of the words of twelve news sentences).
        config = SynthesisConfig(
            speaker_id=self._speaker, length_scale=scale, noise_scale=0.0, noise_w_scale=0.0, normalize_audio=False
        )  # fmt: skip
        chunks = [chunk.audio_float_array for chunk in self._voice.synthesize(text, config)]
        samples: Samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        return Sound(samples=samples, sample_rate_hz=self._voice.config.sample_rate)

    def close(self) -> None:
        """Frees the model."""
        self._voice = None


def _load(path: Path, config_path: Path, device: str, threads: int) -> Any:
    with needs_extra("the Piper voice"):
        import onnxruntime
        from piper import PiperConfig, PiperVoice
    import json

    if device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise Unavailable("--device cuda: this onnxruntime has no CUDA; install onnxruntime-gpu, or leave --device out")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the stages share the cores
    settings.log_severity_level = 3
    try:
        config = PiperConfig.from_dict(json.loads(config_path.read_text(encoding="utf-8")))
        session = onnxruntime.InferenceSession(str(path), sess_options=settings, providers=providers)
    except Exception as error:  # onnxruntime raises its own bare classes for a file that is no model
        raise ConfigError(f"{path} is not a Piper voice: {' '.join(str(error).split())[:200]}") from error
    return PiperVoice(session=session, config=config)


def _fingerprint(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
