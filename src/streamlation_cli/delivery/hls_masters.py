"""The master playlists of an HLS presentation: what they offer, at what bandwidth, and when a live one is announced anew."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import PurePath

from .. import languages
from .hls_playlists import Rendition, Variant, master_playlist
from .hls_renditions import Load, MediaRendition, TextRendition
from .store import Store
from .tracks import Track

_WAIT_FOR_SOUNDS = 4
"""So many segments a live master waits for each sound that does not say beforehand how it is coded."""
_PEAK_ROOM = 1.25
"""How much busier than so far a live presentation may become before its bandwidth is announced anew."""


class Masters:
    """The master playlist `name`, and where there are several sounds, one for each sound alone.

    They lead with `picture`, or where there is none, with the default sound or the first.
    """

    def __init__(
        self, store: Store, name: str, picture: MediaRendition | None, sounds: list[MediaRendition], texts: list[TextRendition],
        *, live: bool,
    ) -> None:  # fmt: skip
        self._store = store
        self._name = name
        self._picture = picture
        self._sounds = sounds
        self._texts = texts
        self._live = live
        self._codecs: list[str] = []
        """Of each sound, as the masters have it."""
        self.announced = 0
        """Bandwidth of a live presentation as the masters have it, in bits a second; 0 before there are any."""

    @property
    def alone(self) -> dict[str, str]:
        """Name of the master that offers one sound alone, by the name of its track; empty where there is one sound."""
        if len(self._sounds) < 2:
            return {}
        stem = PurePath(self._name).stem
        tags = [sound.track.language or sound.track.name for sound in self._sounds]
        return {
            sound.track.name: f"{stem}.{tag if tags.count(tag) == 1 else sound.track.name}.m3u8"
            for sound, tag in zip(self._sounds, tags, strict=True)
        }

    def announce(self, segments: int) -> None:
        """Writes the masters of a live presentation where they have something new to say; `segments` is how many there were.

        Players read a master once, so the first one waits a little for each sound to show how it is coded.
        """
        codecs = [sound.codecs for sound in self._sounds]
        if not all(codecs) and segments < _WAIT_FOR_SOUNDS:
            return
        peak, _ = self._bandwidth(self._sounds)
        if peak > self.announced or codecs != self._codecs:
            self._codecs = codecs
            self.announced = max(self.announced, round(peak * _PEAK_ROOM))
            self.publish()

    def publish(self) -> None:
        """Writes all of them."""
        self._store.put(self._name, self._master(self._sounds).encode())
        alone = self.alone
        for sound in self._sounds:
            if name := alone.get(sound.track.name):
                self._store.put(name, self._master([sound]).encode())

    def publish_part(self) -> None:
        """Writes the one with all sounds, as `NAME.part`: what there is of a file is not whole."""
        self._store.put(f"{self._name}.part", self._master(self._sounds).encode())

    def _master(self, sounds: list[MediaRendition]) -> str:
        first = next((sound for sound in sounds if sound.track.default), sounds[0] if sounds else None)
        names = _names([sound.track for sound in sounds])
        renditions = [
            Rendition(
                kind="AUDIO", group="audio", name=name, language=sound.track.language, default=sound is first,
                uri=sound.playlist if self._picture is not None or sound is not first else "", channels=sound.track.channels,
            )
            for sound, name in zip(sounds, names, strict=True)
        ]  # fmt: skip
        renditions += [
            Rendition(
                kind="SUBTITLES", group="captions", name=name, language=text.track.language, default=text.track.default,
                uri=text.playlist,
            )
            for text, name in zip(self._texts, _names([text.track for text in self._texts]), strict=True)
        ]  # fmt: skip
        lead = self._picture or first
        assert lead is not None
        played = [lead, *sounds] if self._picture else sounds
        track = lead.track
        numerator, denominator = track.frame_rate
        peak, average = self._bandwidth(sounds)
        variant = Variant(
            uri=lead.playlist, bandwidth=max(peak, self.announced), average=0 if self._live else average,
            codecs=list(dict.fromkeys(one.codecs for one in played if one.codecs)), width=track.width, height=track.height,
            frame_rate=Fraction(numerator, denominator) if self._picture and denominator else Fraction(0),
        )  # fmt: skip
        return master_playlist(variant, renditions)

    def _bandwidth(self, sounds: list[MediaRendition]) -> tuple[int, int]:
        """Bits a second of the busiest segment, and of all of them, with the most demanding of these sounds."""
        texts = max((text.load for text in self._texts), key=_peak, default=Load())
        sound = max((one.load for one in sounds), key=_peak, default=Load())
        picture = self._picture.load if self._picture is not None else Load()
        loads = (picture, sound, texts)
        return max(1, sum(load.peak for load in loads)), max(1, sum(load.average for load in loads))


def _peak(load: Load) -> int:
    return load.peak


def _names(tracks: Sequence[Track]) -> list[str]:
    """A name for people for each track, none twice."""
    names: list[str] = []
    for track in tracks:
        language = languages.name(track.language) if track.language else ""
        name = language or track.title or track.name
        if track.kind == "audio" and track.name == "original":
            name = f"{language} (original)" if language else "Original"
        names.append(name if name not in names else f"{name} ({track.name})")
    return names
