"""Reads a DASH manifest (MPD): which audio there is, and where its segments are.

Only what audio needs is read: `SegmentTemplate` (with `SegmentTimeline`, or with a duration), `SegmentList`, a whole file in
a `BaseURL`; several periods; relative addresses at every level. Times are seconds as exact fractions, from the start of the
presentation.
"""

from __future__ import annotations

import math
import re
import xml.parsers.expat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from urllib.parse import urljoin
from xml.etree.ElementTree import Element, TreeBuilder

_MOST_SEGMENTS = 200_000
"""A manifest with more is refused: one `S` element can claim any number of them."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of media."""

    address: str
    start: Fraction
    """In seconds from the start of the presentation."""
    duration: Fraction
    range: str = ""
    """First and last byte, as in `0-499`, where it is part of a file."""

    @property
    def end(self) -> Fraction:
        """Where it ends on the presentation's timeline."""
        return self.start + self.duration


@dataclass(frozen=True)
class Track:
    """One audio representation in one period."""

    group: int
    """Which of the period's audio adaptation sets it is in, from 0."""
    id: str
    language: str
    bit_rate: int
    codecs: str
    container: str
    """`mp4` or `webm`."""
    shift: Fraction
    """What is to be added to its media's own times to have times of the presentation, in seconds."""
    initialization: str
    """Address of what comes before every segment; empty where nothing does."""
    initialization_range: str
    encrypted: bool
    main: bool
    """Not marked as commentary, description, dub or the like."""
    _addressing: _Addressing

    def segments(self, from_s: Fraction, to_s: Fraction) -> Iterator[Segment]:
        """The segments that end after `from_s` and by `to_s`, in order."""
        return self._addressing.segments(from_s, to_s)

    @property
    def segment_s(self) -> float:
        """About how long a segment is."""
        return float(self._addressing.segment_length())


@dataclass(frozen=True)
class Period:
    """A stretch of the presentation; each has tracks of its own."""

    start: Fraction
    end: Fraction | None
    """None for the last period of a live presentation."""
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class Presentation:
    """A manifest as it was read once."""

    live: bool
    """`type="dynamic"`: more is to come."""
    periods: tuple[Period, ...]
    availability_start_s: float
    """Unix time of the presentation's start; 0 where it is not live."""
    update_s: float | None
    """How often it is to be read again."""
    delay_s: float | None
    """How far behind the live edge its author wants players to stay."""
    duration: Fraction | None
    """Length of the whole, where it is known."""
    location: str
    """Where it is to be read next time."""


def parse(data: bytes, address: str) -> Presentation:
    """Reads a manifest that came from `address`; raises ValueError where it is not one or makes no sense.

    A document type or an entity in it is refused: a manifest needs none, and entities can be made to grow without bound.
    """
    root = _tree(data)
    if root.tag != "MPD":
        raise ValueError(f"not a DASH manifest but <{root.tag}>")
    live = root.get("type") == "dynamic"
    duration = _duration(root.get("mediaPresentationDuration"))
    base = _base(address, root)
    periods = _periods(root, base, duration)
    location = root.findtext("Location")
    update_s = _duration(root.get("minimumUpdatePeriod"))
    delay_s = _duration(root.get("suggestedPresentationDelay"))
    return Presentation(
        live=live,
        periods=periods,
        availability_start_s=_time(root.get("availabilityStartTime", "")) if live else 0.0,
        update_s=None if update_s is None else float(update_s),
        delay_s=None if delay_s is None else float(delay_s),
        duration=duration,
        location=urljoin(address, location.strip()) if location else address,
    )


@dataclass(frozen=True)
class _Addressing:
    """Where a track's segments are and when they are."""

    entries: tuple[tuple[int, int, int], ...] | None
    """(number, time, duration) of each segment in units of `timescale`; None where there is one after the other for ever."""
    length: int
    """Duration of each segment in units of `timescale` where there are no entries."""
    first: int
    """Number of the first segment of the period."""
    timescale: int
    shift: Fraction
    start: Fraction
    end: Fraction | None
    template: _Template | None
    """Address by number and time; None where `listed` has them."""
    listed: tuple[tuple[str, str], ...] = ()
    """Address and byte range of each entry."""

    def segment_length(self) -> Fraction:
        length = self.entries[-1][2] if self.entries else self.length
        return Fraction(length, self.timescale)

    def segments(self, from_s: Fraction, to_s: Fraction) -> Iterator[Segment]:
        if self.entries is not None:
            for index, (number, time, duration) in enumerate(self.entries):
                start = Fraction(time, self.timescale) + self.shift
                yield from self._kept(index, number, time, start, Fraction(duration, self.timescale), from_s, to_s)
            return
        length = Fraction(self.length, self.timescale)
        last = to_s if self.end is None else min(to_s, self.end)
        index = max(0, math.floor((from_s - self.start) / length))
        while (start := self.start + index * length) < last:
            # Times of addresses are the media's own, numbers count from the start of the period.
            time = round((start - self.shift) * self.timescale)
            yield from self._kept(index, self.first + index, time, start, length, from_s, to_s)
            index += 1

    def _kept(
        self, index: int, number: int, time: int, start: Fraction, duration: Fraction, from_s: Fraction, to_s: Fraction
    ) -> Iterator[Segment]:
        if start + duration <= from_s or start + duration > to_s or (self.end is not None and start >= self.end):
            return
        if self.template is not None:
            yield Segment(self.template.address(number, time), start, duration)
        elif index < len(self.listed):
            address, part = self.listed[index]
            yield Segment(address, start, duration, part)


_IDENTIFIER = re.compile(r"\$(?:(RepresentationID|Number|Time|Bandwidth)(?:%0(\d{1,2})d)?)?\$")


@dataclass(frozen=True)
class _Template:
    base: str
    text: str
    id: str
    bit_rate: int

    def address(self, number: int, time: int) -> str:
        values = {"Number": number, "Time": time, "Bandwidth": self.bit_rate}

        def value(match: re.Match[str]) -> str:
            if match[1] is None:
                return "$"
            if match[1] == "RepresentationID":
                return self.id
            return f"{values[match[1]]:0{int(match[2] or 1)}d}"

        return urljoin(self.base, _IDENTIFIER.sub(value, self.text))


def _tree(data: bytes) -> Element:
    builder = TreeBuilder()
    parser = xml.parsers.expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type or entities, which no DASH manifest needs")

    def local(name: str) -> str:
        return name.rpartition("}")[2]

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: builder.start(
        local(name), {local(key): value for key, value in attributes.items()}
    )
    parser.EndElementHandler = lambda name: builder.end(local(name))
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except xml.parsers.expat.ExpatError as error:
        raise ValueError(f"not a DASH manifest: {error}") from error
    return builder.close()


def _periods(root: Element, base: str, whole: Fraction | None) -> tuple[Period, ...]:
    elements = root.findall("Period")
    if not elements:
        raise ValueError("the DASH manifest has no period")
    starts: list[Fraction] = []
    end: Fraction | None = Fraction(0)
    for element in elements:
        start = _duration(element.get("start"))
        if start is None:
            if end is None:
                raise ValueError("the DASH manifest does not say when a period starts")
            start = end
        starts.append(start)
        length = _duration(element.get("duration"))
        end = None if length is None else start + length
    ends: list[Fraction | None] = [*starts[1:], whole if whole is not None else end]
    return tuple(
        Period(start, end, tuple(_tracks(element, _base(base, element), start, end)))
        for element, start, end in zip(elements, starts, ends, strict=True)
    )


def _tracks(period: Element, base: str, start: Fraction, end: Fraction | None) -> Iterator[Track]:
    number = -1
    for group in period.findall("AdaptationSet"):
        of_audio = [e for e in group.findall("Representation") if _content(group, e) == "audio"]
        number += bool(of_audio)
        for element in of_audio:
            if _container(group, element) in ("mp4", "webm"):
                yield _track(period, group, element, number, base, start, end)


def _content(group: Element, element: Element) -> str:
    return group.get("contentType") or _mime_type(group, element).partition("/")[0]


def _container(group: Element, element: Element) -> str:
    return _mime_type(group, element).partition("/")[2]


def _mime_type(group: Element, element: Element) -> str:
    return element.get("mimeType") or group.get("mimeType") or ""


def _track(
    period: Element, group: Element, element: Element, number: int, base: str, start: Fraction, end: Fraction | None
) -> Track:
    base = _base(_base(base, group), element)
    id, bit_rate = element.get("id", ""), int(element.get("bandwidth", 0))
    levels = (element, group, period)
    roles = {role.get("value", "main") for role in group.findall("Role")}
    template, listed, single = (
        [found for level in levels if (found := level.find(name)) is not None]
        for name in ("SegmentTemplate", "SegmentList", "SegmentBase")
    )
    sources = template or listed or single
    timescale = int(_inherited(sources, "timescale", "1"))
    if timescale <= 0:
        raise ValueError("the DASH manifest has a time scale of 0")
    shift = start - Fraction(int(_inherited(sources, "presentationTimeOffset", "0")), timescale)
    first = int(_inherited(sources, "startNumber", "1"))
    length = int(_inherited(sources, "duration", "0"))
    timeline = next((found for source in sources if (found := source.find("SegmentTimeline")) is not None), None)
    entries: tuple[tuple[int, int, int], ...] | None = None
    if timeline is not None:
        entries = tuple(_timeline(timeline, first, None if end is None else (end - shift) * timescale))
    pieces: list[tuple[str, str]] = []
    media: _Template | None = None
    start_address = start_range = ""
    if template:
        media = _Template(base, _inherited(template, "media", ""), id, bit_rate)
        if text := _inherited(template, "initialization", ""):
            start_address = _Template(base, text, id, bit_rate).address(first, 0)
    elif listed:
        pieces = [
            (urljoin(base, piece.get("media", "")), piece.get("mediaRange", ""))
            for piece in listed[0].findall("SegmentURL")
        ]
        offset = int(_inherited(listed, "presentationTimeOffset", "0"))
        if entries is None:
            entries = tuple((first + index, offset + index * length, length) for index in range(len(pieces)))
    else:  # the whole representation is one file with its own index
        pieces = [(base, "")]
        whole = None if end is None else end - start
        timescale, entries = 1000, ((1, 0, round((whole or 0) * 1000) or 1),)
        shift = start
    if not start_address and (listed or template):
        found = next((e for s in (*listed, *template) if (e := s.find("Initialization")) is not None), None)
        if found is not None:
            start_address, start_range = urljoin(base, found.get("sourceURL", "")), found.get("range", "")
    if entries is None and length <= 0:
        raise ValueError("the DASH manifest does not say how long its segments are")
    return Track(
        group=number,
        id=id,
        language=group.get("lang", ""),
        bit_rate=bit_rate,
        codecs=element.get("codecs") or group.get("codecs") or "",
        container=_container(group, element),
        shift=shift,
        initialization=start_address,
        initialization_range=start_range,
        encrypted=any(level.find("ContentProtection") is not None for level in (element, group)),
        main=not roles or "main" in roles,
        _addressing=_Addressing(entries, length, first, timescale, shift, start, end, media, tuple(pieces)),
    )


def _timeline(timeline: Element, number: int, end: Fraction | None) -> Iterator[tuple[int, int, int]]:
    """Number, time and duration of each segment; `end` is the period's end on the media's clock."""
    elements = timeline.findall("S")
    time = count = 0
    for index, element in enumerate(elements):
        time = int(element.get("t", time))
        number = int(element.get("n", number))
        duration = int(element.get("d", 0))
        if duration <= 0:
            raise ValueError("the DASH manifest has a segment without duration")
        repeats = int(element.get("r", 0))
        if repeats < 0:  # until the next entry, or the end of the period
            following = elements[index + 1].get("t") if index + 1 < len(elements) else None
            until = Fraction(int(following)) if following is not None else end
            if until is None:
                raise ValueError("the DASH manifest repeats a segment without end")
            repeats = max(0, math.ceil((until - time) / duration) - 1)
        count += repeats + 1
        if count > _MOST_SEGMENTS:
            raise ValueError(f"the DASH manifest lists more than {_MOST_SEGMENTS} segments")
        for _ in range(repeats + 1):
            yield number, time, duration
            number, time = number + 1, time + duration


def _inherited(sources: list[Element], name: str, default: str) -> str:
    """An attribute of the innermost of the elements that has it."""
    return next((value for source in sources if (value := source.get(name)) is not None), default)


def _base(address: str, element: Element) -> str:
    text = element.findtext("BaseURL")
    return urljoin(address, text.strip()) if text else address


_DURATION = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d*)?)S)?)?", re.ASCII)
_UNITS_S = (365 * 86_400, 30 * 86_400, 86_400, 3600, 60)


def _duration(text: str | None) -> Fraction | None:
    """Seconds of an XML duration, None of none.

    >>> _duration("PT1H2M3.5S"), _duration("P1DT0S")
    (Fraction(7447, 2), Fraction(86400, 1))
    """
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if not match or len(text.strip()) < 3:
        raise ValueError(f"the DASH manifest has a duration that is none: {text[:40]!r}")
    whole = sum(int(part or 0) * unit for part, unit in zip(match.groups()[:5], _UNITS_S, strict=True))
    return whole + Fraction(match[6] or 0)


def _time(text: str) -> float:
    """Unix time of an XML date and time; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"the DASH manifest has no time of availability that can be read: {text[:40]!r}") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
