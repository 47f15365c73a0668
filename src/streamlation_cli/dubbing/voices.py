"""Which engine and voice speak a language, and which voice each speaker gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines import REGISTRY, Synthesizer, engine_class
from ..errors import ConfigError, ModelMissing, Unavailable, UsageError

if TYPE_CHECKING:
    from ..models.store import Entry

_ESPEAK_VARIANTS = ("", "+f3", "+m7", "+f2", "+m3", "+f5", "+m1", "+f4", "+m5", "+f1")
"""Variants of one eSpeak voice that are told apart with ease, women and men in turn."""


@dataclass(frozen=True)
class Voice:
    """A voice as it is named: `NAME`, `NAME#SPEAKER` of a voice with several, `ENGINE:NAME`."""

    engine: str
    name: str = ""
    speaker: str = ""

    def __str__(self) -> str:
        return f"{self.engine}:{self.name}" + (f"#{self.speaker}" if self.speaker else "")


def voice_of(text: str, engine: str = "auto") -> Voice:
    """The voice that `text` names; `engine` where it names none.

    >>> voice_of("espeak:pt-br+f3"), voice_of("en_US-libritts-high#12")
    (Voice(engine='espeak', name='pt-br+f3', speaker=''), Voice(engine='auto', name='en_US-libritts-high', speaker='12'))
    """
    before, colon, after = text.partition(":")
    if colon and before in (*REGISTRY["synthesizer"], "auto"):
        engine, text = before, after
    name, _, speaker = text.partition("#")
    return Voice(engine, name, speaker)


def voice_map(text: str, engine: str) -> dict[str, Voice]:
    """`A=en_US-joe-medium,B=espeak:en+f3` as voices by speaker or language; raises UsageError for what is none."""
    voices: dict[str, Voice] = {}
    for pair in filter(None, (pair.strip() for pair in text.split(","))):
        who, equals, voice = (part.strip() for part in pair.partition("="))
        if not (who and equals and voice):
            raise UsageError(f"--voice-map: {pair!r} is not SPEAKER=VOICE or LANGUAGE=VOICE")
        if who in voices:
            raise UsageError(f"--voice-map: {who} has two voices")
        voices[who] = voice_of(voice, engine)
    return voices


def voices_for(engine: str, language: str) -> Iterator[Voice]:
    """The voices of a language that are here, the best first: those of Piper, each of its speakers, then eSpeak's variants.

    The first one is what a language is spoken with where nobody asked for another.
    """
    if engine == "stub":
        yield Voice("stub")
        yield from (Voice("stub", f"tone-{number}") for number in range(2, 10))
        return
    found = False
    if engine == "piper" or (engine == "auto" and _has_piper()):
        for entry in _piper_entries(language):
            found = True
            yield from (Voice("piper", entry.name, speaker) for speaker in _speakers_of(entry.path) or ("",))
    if engine == "espeak" or engine == "auto":
        from ..engines import espeak

        name = espeak.voice_for(language)
        if name:
            yield from (Voice("espeak", name + variant) for variant in _ESPEAK_VARIANTS[found:])


def synthesizer(
    voice: Voice,
    language: str,
    *,
    threads: int = 0,
    device: str = "auto",
    stub: dict[str, Any] | None = None,
) -> Synthesizer:
    """The engine of a voice (`auto`: Piper where an installed voice speaks `language`, else eSpeak).

    A voice without a name is found by language. Raises Unavailable where nothing speaks the language, ModelMissing or
    UsageError for a voice that is not there.
    """
    engine = voice.engine
    if engine == "auto":
        engine = (
            _engine_of(voice.name) if voice.name else "piper" if _piper_entries(language) and _has_piper() else "espeak"
        )
    arguments: dict[str, Any]
    if engine == "piper":
        model = _piper_model(voice.name, language)
        speaker = _speaker_number(model, voice.speaker)
        arguments = {"model": model, "speaker": speaker, "threads": threads, "device": device}
    else:
        if voice.speaker:
            raise UsageError(f"voice {voice}: only Piper voices have several speakers")
        arguments = {"language": language, **({"voice": voice.name} if voice.name else {})}
    if engine == "stub":
        arguments.update(stub or {})
    made: Synthesizer = engine_class("synthesizer", engine)(**arguments)
    return made


def _speakers_of(model: Path) -> tuple[str, ...]:
    """Names (or numbers) of the speakers of a Piper voice that has several; none where it has one."""
    try:
        config = json.loads(Path(f"{model}.json").read_bytes())
        if int(config.get("num_speakers", 1)) < 2:
            return ()
        named = dict(config.get("speaker_id_map") or {})
        return tuple(named) or tuple(str(number) for number in range(int(config["num_speakers"])))
    except FileNotFoundError as error:
        raise ModelMissing(
            f"{model}.json is missing; a Piper voice is an .onnx file with its .onnx.json beside it"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{model}.json is not the configuration of a Piper voice: {error}") from error


def _speaker_number(model: str, speaker: str) -> int | None:
    """The number of a speaker given by name or number; raises UsageError that says which there are."""
    known = _speakers_of(Path(model))
    if not speaker:
        return 0 if known else None
    if speaker in known:
        return list(known).index(speaker) if speaker.isdigit() else _numbered(model)[speaker]
    if speaker.isdigit() and int(speaker) < len(known):
        return int(speaker)
    there = f"it has {', '.join(known[:8])}{', …' if len(known) > 8 else ''}" if known else "it has one speaker"
    raise UsageError(f"voice {Path(model).stem} has no speaker {speaker!r}; {there}")


def _numbered(model: str) -> dict[str, int]:
    return dict(json.loads(Path(f"{model}.json").read_bytes())["speaker_id_map"])


def _engine_of(voice: str) -> str:
    from ..models import store

    return "piper" if voice.endswith(".onnx") or store.find("piper", voice) is not None else "espeak"


def _has_piper() -> bool:
    from importlib.util import find_spec

    return find_spec("piper") is not None


def _piper_model(voice: str, language: str) -> str:
    from ..models import store

    if voice:
        return str(store.resolve("piper", voice))
    entries = _piper_entries(language)
    if not entries:
        raise Unavailable(
            f"no installed Piper voice speaks {language!r}; `streamlation dub --voices` lists what is here, "
            "`streamlation models list` what can be had, and --engine espeak speaks nearly anything"
        )
    return str(store.resolve("piper", entries[0].name))


def _piper_entries(language: str) -> list[Entry]:
    """The installed Piper voices of exactly this tag, then those of the language, by name."""
    from ..models import store

    tag = language.lower().replace("_", "-")
    primary = tag.partition("-")[0]
    voices = [
        (entry, [code.lower().replace("_", "-") for code in entry.languages]) for entry in store.installed("piper")
    ]
    exact = [entry for entry, codes in voices if tag in codes]
    near = [entry for entry, codes in voices if any(code.partition("-")[0] == primary for code in codes)]
    return exact + [entry for entry in near if entry not in exact]


def listing(engine: str) -> str:
    """A line a voice: engine, voice, languages, name; for `dub --voices`."""
    lines = []
    if engine in ("auto", "piper"):
        from ..models import store

        for entry in store.installed("piper"):
            for name in [f"{entry.name}#{speaker}" for speaker in _speakers_of(entry.path)] or [entry.name]:
                lines.append(f"piper\t{name}\t{','.join(entry.languages)}\t{entry.path}")
    if engine in ("auto", "espeak"):
        lines += _espeak_lines(required=engine == "espeak")
    return "\n".join(lines) or "no voices are installed; see `streamlation models list`"


def _espeak_lines(*, required: bool) -> list[str]:
    from ..engines import espeak

    try:
        known = espeak.voices()
    except Unavailable:
        if required:
            raise
        return []
    ordered = sorted((voice for voice in known if voice.languages), key=lambda voice: voice.languages)
    return [f"espeak\t{voice.languages[0]}\t{','.join(voice.languages)}\t{voice.name}" for voice in ordered]
