"""Makes the recordings in `testdata/audio/` with the engines the toolkit itself uses.

    python tools/make_samples.py            make them all
    python tools/make_samples.py --check    say whether they are there, whole and of these words

Each NAME.opus or NAME.flac has NAME.txt (what is said, as it is written) and NAME.json (who says what when, in
milliseconds). Speech is by Piper's en_US-joe-medium (a second speaker is the same voice, pitched up) and by eSpeak NG.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from streamlation_cli.engines import Synthesizer, engine_class
from streamlation_cli.models import store

FOLDER = Path(__file__).parent.parent / "testdata" / "audio"
MAX_TOTAL_BYTES = 600_000
PEAK = 0.7
"""Of full scale; about −3 dBFS, so that lossy coding does not clip."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Something said without a pause worth naming."""

    text: str
    spoken: str = ""
    """How it is to be read where that is not how it is written."""
    speaker: str = "joe"
    pause_ms: int = 600
    """Silence before it."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One recording."""

    name: str
    extension: str
    sample_rate_hz: int
    language: str = ""
    turns: tuple[Turn, ...] = ()
    duration_ms: int = 0
    """Padded with silence to this length; 0 for the turns and half a second."""

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.{self.extension}"


TALK = (
    Turn(text="Good morning, and thank you for coming.", pause_ms=300),
    Turn(text="I would like to tell you about a lighthouse that should not exist.", pause_ms=850),
    Turn(
        text="About eleven miles off the east coast of Scotland lies the Bell Rock, "
        "a reef that the sea covers completely twice a day.",
        pause_ms=1100,
    ),
    Turn(
        text="The great storm of 1799 sank about seventy ships along that coast.",
        spoken="The great storm of seventeen ninety nine sank about seventy ships along that coast.",
    ),
    Turn(
        text="So, in 1807, a young engineer named Robert Stevenson took his men out to the rock and began to build.",
        spoken="So, in eighteen oh seven, a young engineer named Robert Stevenson took his men out to the rock "
        "and began to build.",
        pause_ms=1300,
    ),
    Turn(text="They could work only at low tide, sometimes for less than two hours."),
    Turn(text="Then the water came back.", pause_ms=750),
    Turn(
        text="Every stone was cut on land, numbered, and fitted to the next one like a piece of a puzzle, "
        "and there were more than two thousand of them.",
        pause_ms=1100,
    ),
    Turn(text="Was it worth it?", pause_ms=1200),
    Turn(
        text="The lamp was lit in February 1811, and it has been guiding ships ever since.",
        spoken="The lamp was lit in February eighteen eleven, and it has been guiding ships ever since.",
        pause_ms=900,
    ),
    Turn(text="I think of those men whenever somebody tells me that a job is impossible.", pause_ms=1200),
    Turn(text="They did not wait for better weather; they learned to be ready when the tide went out."),
)
"""The Bell Rock lighthouse, in about 180 words."""

CONVERSATION = (
    Turn(text="Hello, Anna. Did the new microphone arrive?", pause_ms=300),
    Turn(text="Yes, it came on Tuesday, and it works very well.", speaker="anna", pause_ms=700),
    Turn(text="Then we can record the interview tomorrow at nine.", pause_ms=600),
    Turn(text="Could we make it ten? My train is late on Thursdays.", speaker="anna", pause_ms=1200),
    Turn(text="Ten is fine. I will bring the coffee.", pause_ms=1000),
)

SAMPLES = (
    Sample(name="talk_en_60s", extension="opus", sample_rate_hz=24_000, language="en", turns=TALK, duration_ms=60_000),
    Sample(
        name="hello_en", extension="flac", sample_rate_hz=16_000, language="en",
        turns=(Turn(text="Hello, and welcome to the show.", pause_ms=200),),
    ),
    Sample(
        name="hola_es", extension="flac", sample_rate_hz=16_000, language="es",
        turns=(Turn(text="Hola a todos, y bienvenidos al programa de hoy.", speaker="espeak:es", pause_ms=200),),
    ),
    Sample(name="silence_5s", extension="flac", sample_rate_hz=16_000, duration_ms=5_000),
    Sample(name="turns_en", extension="opus", sample_rate_hz=24_000, language="en", turns=CONVERSATION),
)  # fmt: skip


class Studio:
    """Says turns; the same turns in the same order sound the same each time."""

    def __init__(self) -> None:
        self._voices: dict[str, Synthesizer] = {}

    def say(self, turn: Turn, sample_rate_hz: int) -> Samples:
        """The turn's speech without silence around it, peaks at `PEAK`."""
        if turn.speaker.startswith("espeak:"):
            voice, tempo, pitch = turn.speaker, 0.9, 1.0
        else:
            voice, pitch = "piper", 1.22 if turn.speaker == "anna" else 1.0
            tempo = 0.95 / pitch
        sound = self._voice(voice).synthesize(turn.spoken or turn.text, tempo)
        loud = trimmed(resampled(sound.samples, round(sound.sample_rate_hz * pitch), sample_rate_hz))
        return np.asarray(loud * (PEAK / np.abs(loud).max()), np.float32)

    def _voice(self, name: str) -> Synthesizer:
        if name not in self._voices:
            engine, _, voice = name.partition(":")
            made: Callable[..., Synthesizer] = engine_class("synthesizer", engine)
            model = store.resolve("piper", "en_US-joe-medium")
            self._voices[name] = made(model=model) if engine == "piper" else made(voice=voice)
        return self._voices[name]


def recording(sample: Sample, studio: Studio) -> tuple[Samples, list[dict[str, object]]]:
    """The samples of a recording, and its turns with their times."""
    pieces: list[Samples] = []
    turns: list[dict[str, object]] = []
    length = 0

    def add(piece: Samples) -> None:
        nonlocal length
        pieces.append(piece)
        length += len(piece)

    def now_ms() -> int:
        return round(length * 1000 / sample.sample_rate_hz)

    def silence(duration_ms: int) -> Samples:
        return np.zeros(duration_ms * sample.sample_rate_hz // 1000, np.float32)

    for turn in sample.turns:
        add(silence(turn.pause_ms))
        start_ms = now_ms()
        add(studio.say(turn, sample.sample_rate_hz))
        turns.append({"speaker": turn.speaker, "start_ms": start_ms, "end_ms": now_ms(), "text": turn.text})
    if sample.duration_ms and now_ms() > sample.duration_ms:
        raise SystemExit(f"{sample.name}: {now_ms()} ms of speech do not fit {sample.duration_ms} ms")
    add(silence(sample.duration_ms - now_ms() if sample.duration_ms else 500))
    return np.concatenate(pieces), turns


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Mono audio at another rate."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=to_hz)
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format="flt", layout="mono")
    frame.sample_rate = from_hz
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([piece.to_ndarray()[0] for piece in frames]).astype(np.float32)


def trimmed(samples: Samples) -> Samples:
    """Without the near-silence at both ends, 20 ms of it kept."""
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    return samples[max(0, loud[0] - 400) : loud[-1] + 400]


def encode(samples: Samples, sample_rate_hz: int, path: Path) -> None:
    """Writes Opus at 32 kbit/s or FLAC, by the extension, without anything that differs from run to run."""
    opus = path.suffix == ".opus"
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus" if opus else "flac", rate=sample_rate_hz)
        stream.layout = "mono"
        stream.format = "flt" if opus else "s16"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if opus:
            stream.bit_rate = 32_000
        pcm = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate = sample_rate_hz
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=sample_rate_hz, frame_size=960 if opus else 4096
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def decode(path: Path) -> tuple[Samples, int]:
    """Mono samples and their rate."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono")
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
        return np.concatenate([f.to_ndarray()[0] for f in frames]), container.streams.audio[0].rate


def make() -> None:
    """Makes every recording with its texts."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        samples, turns = recording(sample, Studio())  # each its own, so that a change of one changes no other
        encode(samples, sample.sample_rate_hz, sample.path)
        duration_ms = round(len(samples) * 1000 / sample.sample_rate_hz)
        sample.path.with_suffix(".txt").write_text(words(sample), "utf-8")
        sample.path.with_suffix(".json").write_text(
            json.dumps({"language": sample.language, "duration_ms": duration_ms, "turns": turns}, indent=1,
                       ensure_ascii=False) + "\n", "utf-8",
        )  # fmt: skip
        print(f"{sample.path.name}: {duration_ms / 1000:.1f} s, {sample.path.stat().st_size} bytes")


def words(sample: Sample) -> str:
    """The content of NAME.txt: one line a turn."""
    return "".join(turn.text + "\n" for turn in sample.turns)


def faults() -> Iterable[str]:
    """What is wrong with the recordings as they lie there, one line each."""
    total = 0
    for sample in SAMPLES:
        beside = [sample.path, sample.path.with_suffix(".txt"), sample.path.with_suffix(".json")]
        missing = [path.name for path in beside if not path.is_file()]
        if missing:
            yield f"{', '.join(missing)}: not there"
            continue
        total += sample.path.stat().st_size
        about = json.loads(beside[2].read_text("utf-8"))
        if beside[1].read_text("utf-8") != words(sample) or [t["text"] for t in about["turns"]] != [
            turn.text for turn in sample.turns
        ]:
            yield f"{sample.name}: its texts are not the ones of this script"
        samples, rate = decode(sample.path)
        if abs(len(samples) * 1000 / rate - about["duration_ms"]) > 30:
            yield f"{sample.path.name}: {len(samples) * 1000 / rate:.0f} ms instead of {about['duration_ms']}"
        for turn in about["turns"]:
            inside = samples[turn["start_ms"] * rate // 1000 : turn["end_ms"] * rate // 1000]
            if np.sqrt(np.mean(inside**2)) < 0.02:
                yield f"{sample.path.name}: nothing is heard at {turn['start_ms']} ms"
    if total > MAX_TOTAL_BYTES:
        yield f"the recordings take {total} bytes, more than {MAX_TOTAL_BYTES}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether they are as they should be")
    if not parser.parse_args().check:
        make()
    found = list(faults())
    for fault in found:
        print(fault, file=sys.stderr)
    if found:
        print("run: python tools/make_samples.py", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
