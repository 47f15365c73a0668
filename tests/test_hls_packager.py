"""HLS: what the playlists say is in the segments, a live window slides, FFmpeg plays all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hls_media import RATE, captions, in_order, picture, played, sound
from hls_validator import Validator, follows
from streamlation_cli.delivery.hls import HlsOptions, HlsSink
from streamlation_cli.delivery.store import FolderStore, MemoryStore
from streamlation_cli.delivery.tracks import Track, Unit
from streamlation_cli.errors import OutputFailed, UsageError

Tracks = Sequence[tuple[Track, Sequence[Unit]]]


def packaged(store: Any, *tracks: tuple[Track, Sequence[Unit]], **options: Any) -> HlsSink:
    """The presentation of tracks, whole."""
    sink = HlsSink(store, HlsOptions(**options))
    sink.open([track for track, _ in tracks])
    for unit in in_order(*tracks):
        sink.write(unit)
    sink.commit()
    return sink


def states(store: MemoryStore, *tracks: tuple[Track, Sequence[Unit]], **options: Any) -> Iterator[Validator]:
    """Each state of a live presentation, validated, and compared with the one before."""
    sink = HlsSink(store, HlsOptions(live=True, **options))
    sink.open([track for track, _ in tracks])
    before: Validator | None = None
    seen: bytes | None = None
    lead = "master-video.m3u8" if tracks[0][0].kind == "video" else f"master-{tracks[0][0].name}.m3u8"
    for unit in [*in_order(*tracks), None]:
        if unit is None:
            sink.commit()
        else:
            sink.write(unit)
        if store.get(lead) == seen:
            continue
        seen = store.get(lead)
        state = Validator(store.get)
        if before is not None:
            for name, playlist in before.playlists.items():
                follows(playlist, state.playlists[name])
        before = state
        yield state


# A file


@pytest.mark.parametrize(("every_s", "segment_s"), [(0.5, 2.0), (2.0, 2.0), (10.0, 10.0)])
def test_a_file_is_whole_in_ffmpeg(tmp_path: Path, every_s: float, segment_s: float) -> None:
    """All pictures, and both sounds to the sample, whatever the keyframes' distance."""
    video, dub, original = (
        picture(21, every_s=every_s, rate=24),
        sound(21.5, name="dub-pt", language="pt"),
        sound(21, default=False),
    )
    packaged(FolderStore(tmp_path), video, dub, original, captions([(1, 3, "Olá")]))
    state = Validator(FolderStore(tmp_path).get)
    assert [part.duration_s for part in state.playlists["master-video.m3u8"].parts[:2]] == [segment_s, segment_s]
    assert state.playlists["master-video.m3u8"].kind == "VOD"
    assert state.playlists["master-video.m3u8"].ended
    heard = played(tmp_path / "master.m3u8")
    assert heard.frames == len(heard.video) == len(video[1]) == 504
    assert set(heard.audio_seconds) == {"pt", "en"}
    # The samples before the sound, which the encoder puts there, are played too: they are before second 0.
    for language, units in (("pt", dub[1]), ("en", original[1])):
        assert len(heard.samples[language]) == 1024 * len(units)


def test_the_sound_is_where_the_picture_is(tmp_path: Path) -> None:
    """Times of both in FFmpeg differ by what they differ in the units."""
    import av

    video, audio = picture(6), sound(6)
    packaged(FolderStore(tmp_path), video, audio)
    with av.open(str(tmp_path / "master.m3u8")) as container:
        first: dict[str, float] = {}
        for packet in container.demux():
            if packet.pts is not None:
                first.setdefault(packet.stream.type, float(packet.pts * packet.time_base))
    assert first["video"] - first["audio"] == pytest.approx(1024 / RATE, abs=0.001)


@pytest.mark.parametrize(
    ("codec", "format", "codecs"),
    [("libx264", "mpegts", "avc1."), ("libx265", "mpegts", "hvc1."), ("libx265", "mp4", "hvc1.")],
)
def test_pictures_with_start_codes(tmp_path: Path, codec: str, format: str, codecs: str) -> None:
    """H.264 and HEVC from MPEG-TS, whose configuration lies between the pictures."""
    video = picture(5, codec=codec, format=format)
    packaged(FolderStore(tmp_path), video, sound(5))
    state = Validator(FolderStore(tmp_path).get)
    assert state.variant["CODECS"].startswith(codecs)
    assert played(tmp_path / "master.m3u8").frames == 125


def test_sound_with_adts_headers(tmp_path: Path) -> None:
    """AAC from MPEG-TS: the headers go, and what they say of the sound is said once."""
    track, units = sound(5)
    rate, channels = 3, 2
    headed = []
    for unit in units:
        size = len(unit.data) + 7
        header = bytes(
            [0xFF, 0xF1, 1 << 6 | rate << 2, channels << 6 | size >> 11, size >> 3 & 255, (size & 7) << 5 | 0x1F, 0xFC]
        )
        headed.append(replace(unit, track=replace(track, extradata=b""), data=header + unit.data))
    packaged(FolderStore(tmp_path), (headed[0].track, headed))
    packaged(FolderStore(tmp_path), (track, units), name="plain.m3u8")
    assert Validator(FolderStore(tmp_path).get).variant["CODECS"] == "mp4a.40.2"
    one, other = played(tmp_path / "master.m3u8"), played(tmp_path / "plain.m3u8")
    assert np.array_equal(
        one.samples["en"] if "en" in one.samples else one.samples[""], next(iter(other.samples.values()))
    )


def test_the_master_says_what_there_is(tmp_path: Path) -> None:
    """Codecs, size, rate, a group of sounds and one of captions, and a master for each sound."""
    video, dub, original = picture(4), sound(4, name="dub-pt", language="pt"), sound(4, default=False)
    sink = packaged(FolderStore(tmp_path), video, dub, original, captions([]), captions([], "en"), name="talk.m3u8")
    state = Validator(FolderStore(tmp_path).get, "talk.m3u8")
    assert state.variant["RESOLUTION"] == "160x90"
    assert state.variant["FRAME-RATE"] == "25.000"
    assert state.variant["CODECS"].startswith("avc1.")
    assert state.variant["CODECS"].endswith(",mp4a.40.2")
    sounds = [one for one in state.renditions if one["TYPE"] == "AUDIO"]
    assert [(one["LANGUAGE"], one["NAME"], one["DEFAULT"]) for one in sounds] == [
        ("pt", "Portuguese", "YES"), ("en", "English (original)", "NO"),
    ]  # fmt: skip
    assert [one["LANGUAGE"] for one in state.renditions if one["TYPE"] == "SUBTITLES"] == ["pt", "en"]
    assert sink.masters == {"dub-pt": "talk.pt.m3u8", "original": "talk.en.m3u8"}
    for language in ("pt", "en"):
        alone = Validator(FolderStore(tmp_path).get, f"talk.{language}.m3u8")
        assert [one["LANGUAGE"] for one in alone.renditions if one["TYPE"] == "AUDIO"] == [language]
        assert set(played(tmp_path / f"talk.{language}.m3u8").audio_seconds) == {language}


def test_sound_alone(tmp_path: Path) -> None:
    """Without a picture the default sound is the variant, and the other is beside it."""
    dub, original = sound(9.5, name="dub-pt", language="pt"), sound(9, default=False)
    packaged(FolderStore(tmp_path), dub, original, captions([(3, 4, "Olá")]))
    state = Validator(FolderStore(tmp_path).get)
    assert state.variant_uri == "master-dub-pt.m3u8"
    assert "RESOLUTION" not in state.variant
    assert state.variant["CODECS"] == "mp4a.40.2"
    assert [one.get("URI", "") for one in state.renditions if one["TYPE"] == "AUDIO"] == ["", "master-original.m3u8"]
    assert 1.9 < state.playlists["master-dub-pt.m3u8"].parts[0].duration_s < 2.1
    heard = played(tmp_path / "master.m3u8")
    assert sum(heard.audio_seconds.values()) == pytest.approx(9.5 + 9, abs=0.1)


def test_neither_picture_nor_sound() -> None:
    with pytest.raises(UsageError, match="needs a picture or sound"):
        HlsSink(MemoryStore(), HlsOptions()).open([captions([])[0]])


def test_a_voice_that_outlasts_the_picture(tmp_path: Path) -> None:
    """What is spoken after the last picture is there, in segments of the usual length."""
    packaged(FolderStore(tmp_path), picture(4), sound(11))
    state = Validator(FolderStore(tmp_path).get)
    assert state.playlists["master-original.m3u8"].seconds == pytest.approx(11, abs=0.1)
    assert state.playlists["master-original.m3u8"].target_s == 2
    assert next(iter(played(tmp_path / "master.m3u8").audio_seconds.values())) == pytest.approx(11, abs=0.1)


def test_a_picture_that_ends_long_before_the_sound() -> None:
    """The sound is cut without it: it is not kept in memory to the end."""
    store = MemoryStore()
    sink = HlsSink(store, HlsOptions(live=True))
    video, audio = picture(4), sound(40)
    sink.open([video[0], audio[0]])
    for unit in in_order(video, audio):
        sink.write(unit)
    growing = Validator(store.get)
    assert growing.playlists["master-original.m3u8"].seconds > 26
    sink.commit()
    assert Validator(store.get).playlists["master-original.m3u8"].seconds == pytest.approx(40, abs=0.1)


def test_an_unfinished_file_is_named_as_one(tmp_path: Path) -> None:
    """What was there before the input broke off can be played, under a name that says that it is not all."""
    video, audio = picture(5), sound(5)
    sink = HlsSink(FolderStore(tmp_path), HlsOptions())
    sink.open([video[0], audio[0]])
    for unit in in_order(video, audio):
        sink.write(unit)
    sink.abandon()
    assert not (tmp_path / "master.m3u8").exists()
    assert len(Validator(FolderStore(tmp_path).get, "master.m3u8.part").playlists) == 2


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="no such folder"):
        FolderStore(tmp_path / "nowhere")


# Captions


def test_captions_span_segments_and_silence_is_empty(tmp_path: Path) -> None:
    """A cue is in each segment in which it is seen; where nothing is said the segments are there all the same."""
    cues = [(1.0, 4.5, "um\n<dois> & três"), (13.0, 13.5, "fim")]
    packaged(FolderStore(tmp_path), picture(16), sound(16), captions(cues))
    state = Validator(FolderStore(tmp_path).get)
    found = state.cues["master-captions-pt.m3u8"]
    # The picture's first frame is decoded 80 ms before it is shown, so everything is as much later.
    assert [number for number, *_ in found] == [0, 1, 2, 6]
    assert found[0][3] == found[2][3] == "um\n&lt;dois&gt; &amp; três"
    assert found[0][1:3] == pytest.approx((1.08, 4.58), abs=0.001)
    parts = state.playlists["master-captions-pt.m3u8"].parts
    assert [part.number for part in parts] == list(range(8))


def test_no_speech_holds_nothing_back() -> None:
    """Live, not one caption in 20 s: a segment of the picture is published as soon as the next one begins."""
    store = MemoryStore()
    video, audio, text = picture(20, bframes=0), sound(20), captions([])
    sink = HlsSink(store, HlsOptions(live=True))
    sink.open([video[0], audio[0], text[0]])
    for unit in in_order(video, audio, text):
        sink.write(unit)
        assert unit.dts_s - sink.reached_s <= 2 + Fraction(1, 20)
    sink.commit()
    state = Validator(store.get)
    assert state.cues == {"master-captions-pt.m3u8": []}
    assert (
        len(state.playlists["master-captions-pt.m3u8"].parts) == len(state.playlists["master-video.m3u8"].parts) == 10
    )


def test_captions_after_a_day() -> None:
    """The clock of MPEG-TS begins again every 26.5 hours; captions do not."""
    day = 27 * 3600.0
    store = MemoryStore()
    text = captions([(day + 1, day + 3, "ainda")])
    list(states(store, picture(6, start_s=day), sound(6, start_s=day), text))
    state = Validator(store.get)
    shown = state.cues["master-captions-pt.m3u8"]
    wrapped = day - (1 << 33) / 90_000
    assert [cue[1] for cue in shown] == pytest.approx([wrapped + 1] * 2, abs=0.01)


# Live


def test_a_window_slides() -> None:
    """Old segments leave the playlists, and later the store; nothing that is listed is ever missing."""
    store = MemoryStore()
    seen = list(states(store, picture(40, every_s=1), sound(40), captions([(5, 6, "a"), (30, 33, "b")]), window_s=10))
    last = seen[-1].playlists["master-video.m3u8"]
    assert last.ended
    assert last.kind == ""
    assert 10 <= last.seconds <= 14
    assert last.sequence == 20 - len(last.parts)
    assert not any(state.playlists["master-video.m3u8"].ended for state in seen[:-1])
    segments = [name for name in store.names if name.startswith("master-video-") and name.endswith(".m4s")]
    assert "master-video-0.m4s" not in segments
    # As much again stays for those who have read an older playlist.
    assert len(segments) <= 2 * len(last.parts) + 1
    assert f"master-video-{last.sequence - 1}.m4s" in segments


def test_everything_is_kept_on_request() -> None:
    store = MemoryStore()
    seen = list(states(store, picture(12, every_s=1), sound(12), window_s=0))
    assert {state.playlists["master-video.m3u8"].kind for state in seen} == {"EVENT"}
    assert len(seen[-1].playlists["master-video.m3u8"].parts) == 6


def test_the_time_of_day() -> None:
    store = MemoryStore()
    list(states(store, picture(6, start_s=100), sound(6, start_s=100), started_at=1_700_000_000.0))
    state = Validator(store.get)
    assert state.playlists["master-video.m3u8"].parts[0].date == "2023-11-14T22:15:00.000Z"


def test_a_live_source_is_joined_between_keyframes() -> None:
    """Nothing can be shown before the first keyframe, so the presentation begins with it, sound and all."""
    video, audio = picture(12, every_s=3), sound(12)
    store = MemoryStore()
    late = (video[0], video[1][40:])
    list(states(store, late, audio))
    state = Validator(store.get)
    first = state.contents["master-video.m3u8"][0]
    heard = state.contents["master-original.m3u8"][0]
    assert first is not None
    assert heard is not None
    assert first.start_s == pytest.approx(3)
    assert heard.start_s == pytest.approx(3, abs=1024 / RATE)


def test_a_source_that_was_away() -> None:
    """After five seconds without a picture, one that begins with a keyframe: a discontinuity in every rendition."""
    before, after = picture(6), picture(6, start_s=11)
    store = MemoryStore()
    seen = list(states(store, (before[0], [*before[1], *after[1]]), sound(17), captions([(1, 2, "a"), (12, 13, "b")])))
    parts = seen[-1].playlists["master-video.m3u8"].parts
    assert [part.discontinuity for part in parts] == [False, False, False, True, False, False]
    assert max(part.duration_s for part in parts) == pytest.approx(2, abs=0.1)
    assert [text for *_, text in seen[-1].cues["master-captions-pt.m3u8"]] == ["a", "b"]


def test_a_picture_that_stands_still() -> None:
    """Seven seconds without a new picture are no outage where none begins anew after them: a slide is shown."""
    track, units = picture(5, every_s=20, bframes=0)
    store = MemoryStore()
    pause = round(7 / Fraction(*track.time_base))
    after = 40
    still = [*units[:after], *(replace(unit, pts=unit.pts + pause, dts=unit.dts + pause) for unit in units[after:])]
    seen = list(states(store, (track, still), sound(12)))
    assert not any(part.discontinuity for part in seen[-1].playlists["master-video.m3u8"].parts)
    assert seen[-1].playlists["master-original.m3u8"].seconds == pytest.approx(12, abs=0.1)


def test_another_picture_size(tmp_path: Path) -> None:
    """A publisher that comes back with other parameters, which MPEG-TS says between the pictures."""
    small, large = picture(5, format="mpegts"), picture(6, format="mpegts", size=(320, 180), start_s=5)
    store = FolderStore(tmp_path)
    units = [*small[1], *(replace(unit, track=small[0]) for unit in large[1])]
    packaged(store, (small[0], units), sound(11))
    state = Validator(store.get)
    parts = state.playlists["master-video.m3u8"].parts
    assert [part.map for part in parts] == ["master-video-init-1.mp4"] * 3 + ["master-video-init-2.mp4"] * 3
    assert [part.discontinuity for part in parts] == [False] * 3 + [True] + [False] * 2
    assert played(tmp_path / "master.m3u8").frames == 275


def test_a_sound_that_begins_late() -> None:
    """What is not there yet is a gap, and the master says from the beginning how all sounds are coded."""
    video, original, dub = picture(12), sound(12), sound(4, name="dub-pt", language="pt", start_s=8.05, default=False)
    store = MemoryStore()
    seen = list(states(store, video, original, dub))
    assert {state.variant["CODECS"].partition(",")[2] for state in seen} == {"mp4a.40.2"}
    assert [one["LANGUAGE"] for one in seen[0].renditions] == ["en", "pt"]
    gaps = [part.gap for part in seen[-2].playlists["master-dub-pt.m3u8"].parts]
    assert gaps == [True] * 4 + [False]


def test_a_discontinuity_leaves_the_window() -> None:
    """The count of those that left keeps the numbers of the others (validated in each state)."""
    pieces = [picture(4, start_s=start) for start in (0, 8, 16, 24)]
    video = (pieces[0][0], [unit for piece in pieces for unit in piece[1]])
    store = MemoryStore()
    seen = list(states(store, video, sound(28), window_s=6))
    assert seen[-1].playlists["master-video.m3u8"].discontinuity_sequence == 2


class Watched(MemoryStore):
    """Keeps every state of each playlist."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, list[bytes]] = {}

    def put(self, name: str, data: bytes) -> None:
        """As `Store` says."""
        super().put(name, data)
        if name.endswith(".m3u8"):
            self.states.setdefault(name, []).append(data)


def test_a_live_playlist_says_once_that_it_ends_and_takes_nothing_back() -> None:
    """The voice goes on for several segments after the picture; a second sound ended long before."""
    store = Watched()
    packaged(store, picture(5), sound(13, name="dub-pt", language="pt"), sound(3, default=False), live=True)
    playlists = {name: states for name, states in store.states.items() if b"#EXTINF" in states[-1]}
    assert len(playlists) == 3
    for name, states in playlists.items():
        assert [b"#EXT-X-ENDLIST" in state for state in states] == [False] * (len(states) - 1) + [True], name
        listed = [[line for line in state.splitlines() if line.endswith(b".m4s")] for state in states]
        for before, after in pairwise(listed):
            assert after[: len(before)] == before, name


def test_memory_stays_flat() -> None:
    """Three hours: the store and the packager take no more than after ten minutes."""
    video, audio = picture(2, rate=5, bframes=0), sound(0.1)
    base, sound_base = video[0].time_base, audio[0].time_base
    store = MemoryStore()
    sink = HlsSink(store, HlsOptions(live=True, started_at=0.0))
    text, _ = captions([])
    sink.open([video[0], audio[0], text])
    frame, half = round(Fraction(1, 5) / Fraction(*base)), sound_base[1] // 2
    taken: list[tuple[int, int]] = []
    process = psutil.Process()
    for second in range(3 * 3600):
        for number in range(5):
            unit = video[1][(second % 2) * 5 + number]
            at = (second * 5 + number) * frame
            sink.write(replace(unit, pts=at, dts=at))
            if number in (0, 2):
                at = (2 * second + number // 2) * half
                sink.write(replace(audio[1][1], pts=at, dts=at, duration=half, skip_samples=None))
        if second % 10 == 0:
            sink.write(Unit(track=text, pts=1000 * second, dts=1000 * second, duration=1500, lines=("x",)))
        if second % 600 == 599:
            taken.append((store.size_bytes, process.memory_info().rss))
    sink.commit()
    assert max(size for size, _ in taken) < 1.01 * taken[0][0], taken
    assert taken[-1][1] - taken[0][1] < 4 * 2**20, taken
    Validator(store.get)
