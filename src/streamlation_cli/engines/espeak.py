"""eSpeak NG: more than a hundred languages in 20 MB, robotic, always there.

The library keeps its voice, rate and callback in process-wide variables, so all synthesizers share one library and
one lock; each call sets what it needs.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Unavailable, UsageError
from . import Samples, Sound, needs_extra

NATURAL_WORDS_PER_MINUTE = 165
"""eSpeak's own default is 175, which is hasty for a voice one has to follow."""

_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_PHONEMES = 0x100
"""`[[…]]` in a text are phonemes; nothing but a lexicon puts them there."""
_POSITION_IS_CHARACTER = 1
_RATE = 1
_BUFFER_MS = 500
_LONGEST_PATH = 120
_RATE_RANGE = (80, 450)

_PREFERRED = {"pt": "pt-br", "en": "en-us", "zh": "cmn", "no": "nb", "es": "es", "fr": "fr-fr", "vi": "vi"}
"""Language code → the voice most listeners expect, where eSpeak has several."""


@dataclass(frozen=True, kw_only=True)
class EspeakVoice:
    """A voice as the library lists it."""

    name: str
    """Name for people, such as `Portuguese (Brazil)`."""
    languages: tuple[str, ...]
    """Language tags in lower case, the best fitting first."""


class _VoiceStruct(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class _Library:
    """The one libespeak-ng of the process."""

    def __init__(self) -> None:
        with needs_extra("the eSpeak voice"):
            import espeakng_loader
        data_path = espeakng_loader.get_data_path()
        try:
            self._lib: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise Unavailable(f"libespeak-ng does not load: {error}") from error
        short_path = _short(data_path)
        rate = self._lib.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, os.fsencode(short_path), _DONT_EXIT)
        if rate <= 0:
            raise Unavailable(f"libespeak-ng does not find its data in {data_path}")
        self.sample_rate_hz: int = rate
        self._lib.espeak_Info.restype = ctypes.c_char_p
        self.version = self._lib.espeak_Info(None).decode()
        self._lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceStruct))
        self._chunks: list[bytes] = []
        self._callback = _Callback(self._receive)  # kept: the library holds a bare pointer to it
        self._lib.espeak_SetSynthCallback(self._callback)
        self._voice = ""

    def _receive(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, count * 2))
        return 0

    def select(self, voice: str) -> bool:
        """Makes `voice` the current one; False where there is no such voice."""
        if voice != self._voice:
            self._voice = ""  # what a failed choice leaves behind is not known
            if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
                return False
            self._voice = voice
        return True

    def speak(self, text: str, words_per_minute: int) -> bytes:
        self._lib.espeak_SetParameter(_RATE, words_per_minute, 0)
        data = text.encode() + b"\0"
        self._chunks.clear()
        status = self._lib.espeak_Synth(data, len(data), 0, _POSITION_IS_CHARACTER, 0, _UTF8 | _PHONEMES, None, None)
        spoken = b"".join(self._chunks)
        self._chunks.clear()
        if status != 0:
            raise Unavailable(f"libespeak-ng failed with status {status} on {text[:40]!r}")
        return spoken

    def voices(self) -> list[EspeakVoice]:
        listed = self._lib.espeak_ListVoices(None)
        found = []
        for index in range(1000):
            if not listed[index]:
                break
            entry = listed[index].contents
            found.append(EspeakVoice(name=entry.name.decode(), languages=_languages(entry.languages)))
        return found


def _short(data_path: str) -> str:
    """`data_path`, or a link to it that lives as long as the process: the library has room for 160 bytes of a path."""
    if len(os.fsencode(data_path)) <= _LONGEST_PATH:
        return data_path
    folder = tempfile.mkdtemp(prefix="espeak-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = Path(folder) / "data"
    link.symlink_to(data_path, target_is_directory=True)
    return str(link)


def _languages(pointer: int) -> tuple[str, ...]:
    """A list of (priority byte, zero-ended tag) that a zero byte ends; a low priority fits best."""
    tags = []
    while priority := ctypes.string_at(pointer, 1)[0]:
        tag = ctypes.string_at(pointer + 1)
        tags.append((priority, tag.decode().lower()))
        pointer += len(tag) + 2
    return tuple(tag for _, tag in sorted(tags, key=lambda item: item[0]))


_lock = threading.Lock()
_library: _Library | None = None


def _the_library() -> _Library:
    """The loaded library; the caller holds the lock."""
    global _library
    if _library is None:
        _library = _Library()
    return _library


def voices() -> list[EspeakVoice]:
    """Every voice; raises Unavailable where the library is missing."""
    with _lock:
        return _the_library().voices()


def voice_for(language: str) -> str | None:
    """The voice that speaks `language` (a tag such as `pt` or `pt-BR`), or None.

    A bare `pt` gets the Brazilian voice and a bare `en` the American one, which most material wants; `pt-PT` and
    `en-GB` get theirs.
    """
    tag = language.lower().replace("_", "-")
    known = voices()
    primary = tag.partition("-")[0]
    for wanted in (_PREFERRED.get(tag, tag), tag, _PREFERRED.get(primary, primary), primary):
        for voice in known:
            if wanted in voice.languages:
                return wanted if wanted == voice.languages[0] else voice.languages[0]
    return None


class EspeakSynthesizer:
    """One eSpeak voice; safe to use from several threads, one call at a time runs."""

    is_slow = False

    def __init__(self, *, language: str = "", voice: str = "") -> None:
        """`voice` is a language tag of the library's list, with a variant if liked (`pt-br+f3`), or it is found by `language`.

        Raises UsageError for a voice that does not exist, Unavailable for a language that no voice speaks.
        """
        name = voice or voice_for(language)
        if not name:
            raise Unavailable(
                f"eSpeak has no voice for the language {language!r}; `streamlation dub --voices` lists them"
            )
        with _lock:
            library = _the_library()
            if not library.select(name):
                raise UsageError(f"eSpeak has no voice {name!r}; `streamlation dub --voices` lists them")
        self.voice = name
        self.identity = f"espeak-ng {library.version} {name} {NATURAL_WORDS_PER_MINUTE}"

    def synthesize(self, text: str, tempo: float = 1.0) -> Sound:
        """Speech of `text` at 22,050 Hz; text without anything speakable gives silence or nothing."""
        low, high = _RATE_RANGE
        words_per_minute = min(high, max(low, round(NATURAL_WORDS_PER_MINUTE * tempo)))
        with _lock:
            library = _the_library()
            library.select(self.voice)
            spoken = library.speak(text.replace("\0", " "), words_per_minute)
        samples: Samples = np.frombuffer(spoken, np.int16).astype(np.float32) / 32768.0
        return Sound(samples=samples, sample_rate_hz=library.sample_rate_hz)

    def close(self) -> None:
        """Nothing to free: the library stays for the process's life."""
