"""Which engine and voice speak a language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engines import Synthesizer, engine_class
from ..errors import Unavailable

if TYPE_CHECKING:
    from ..models.store import Entry


def synthesizer(
    engine: str,
    voice: str,
    language: str,
    *,
    threads: int = 0,
    device: str = "auto",
    stub: dict[str, Any] | None = None,
) -> Synthesizer:
    """The voice of `engine` (`auto`: Piper where an installed voice speaks `language`, else eSpeak) and of that name.

    An empty `voice` is found by language. Raises Unavailable where nothing speaks the language, ModelMissing or
    UsageError for a voice that is not there.
    """
    if engine == "auto":
        engine = _engine_of(voice) if voice else "piper" if _piper_for(language) and _has_piper() else "espeak"
    arguments: dict[str, Any]
    if engine == "piper":
        arguments = {"model": _piper_model(voice, language), "threads": threads, "device": device}
    else:
        arguments = {"language": language, **({"voice": voice} if voice else {})}
    if engine == "stub":
        arguments.update(stub or {})
    made: Synthesizer = engine_class("synthesizer", engine)(**arguments)
    return made


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
    entry = _piper_for(language)
    if entry is None:
        raise Unavailable(
            f"no installed Piper voice speaks {language!r}; `streamlation dub --voices` lists what is here, "
            "`streamlation models list` what can be had, and --engine espeak speaks nearly anything"
        )
    return str(store.resolve("piper", entry.name))


def _piper_for(language: str) -> Entry | None:
    """An installed Piper voice of exactly this tag, else of the language, the first by name."""
    from ..models import store

    tag = language.lower().replace("_", "-")
    primary = tag.partition("-")[0]
    voices = [
        (entry, [code.lower().replace("_", "-") for code in entry.languages]) for entry in store.installed("piper")
    ]
    exact = [entry for entry, codes in voices if tag in codes]
    near = [entry for entry, codes in voices if any(code.partition("-")[0] == primary for code in codes)]
    return next(iter(exact + near), None)


def listing(engine: str) -> str:
    """A line a voice: engine, voice, languages, name; for `dub --voices`."""
    lines = []
    if engine in ("auto", "piper"):
        from ..models import store

        lines += [
            f"piper\t{entry.name}\t{','.join(entry.languages)}\t{entry.path}" for entry in store.installed("piper")
        ]
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
