"""Audio files, waveforms, the mix and the queue under it: what is written is decoded and measured."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from loudnesses import ebur128
from streamlation_cli.dubbing import bed as bed_module
from streamlation_cli.dubbing import waveform
from streamlation_cli.dubbing.audiofile import FORMATS, SAMPLE_RATE_HZ, AudioFile
from streamlation_cli.dubbing.bed import OriginalSound
from streamlation_cli.dubbing.spool import Spool
from streamlation_cli.dubbing.track import ATTACK_MS, RELEASE_MS, DubTrack
from streamlation_cli.errors import OutputFailed, UsageError
from streamlation_cli.records import AudioStream, Packet, Pcm

LOSSLESS = (".wav", ".flac")


def tone(seconds: float, rate: int = SAMPLE_RATE_HZ, hertz: float = 440.0, amplitude: float = 0.5) -> waveform.Mono:
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def decoded(path: Path) -> np.ndarray:
    """Samples of a file, shape (channels, samples), float32."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", None, None)
        parts = [out.to_ndarray() for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        assert container.streams.audio[0].rate == SAMPLE_RATE_HZ
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_decodes_back_to_what_was_written(tmp_path: Path, extension: str, channels: int) -> None:
    click = np.zeros(SAMPLE_RATE_HZ * 3 + 777, np.float32)
    click[SAMPLE_RATE_HZ : SAMPLE_RATE_HZ * 2] = tone(1.0)
    path = tmp_path / f"track{extension}"
    file = AudioFile(str(path), channels)
    for start in range(0, len(click), 10_007):  # blocks that fit no codec's frame
        file.write(np.tile(click[start : start + 10_007], (channels, 1)))
    assert not path.exists(), "an unfinished file has its final name"
    file.commit()
    assert not path.with_name(path.name + ".part").exists()
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(len(click) / SAMPLE_RATE_HZ, abs=0.02)
    heard = decoded(path)
    assert heard.shape[0] == channels
    assert abs(heard.shape[1] - len(click)) <= 1024
    if extension in LOSSLESS:
        assert heard.shape[1] == len(click)
        assert np.abs(heard[0] - click).max() < 1e-4
    loud = np.flatnonzero(np.abs(heard[0]) > 0.25)
    assert loud[0] == pytest.approx(SAMPLE_RATE_HZ, abs=480), "sound does not start where it was put"
    assert loud[-1] == pytest.approx(SAMPLE_RATE_HZ * 2, abs=480)


def test_an_unknown_extension_is_refused_and_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"\.ogg'; there are: \.wav, \.flac, \.m4a, \.mp3, \.opus"):
        AudioFile("talk.ogg", 1)


def test_the_same_sound_gives_the_same_bytes(tmp_path: Path) -> None:
    for extension in FORMATS:
        made = []
        for name in ("a", "b"):
            file = AudioFile(str(tmp_path / f"{name}{extension}"), 1)
            file.write(tone(0.5)[np.newaxis])
            file.commit()
            made.append((tmp_path / f"{name}{extension}").read_bytes())
        assert made[0] == made[1], extension


def test_an_abandoned_file_is_a_playable_part(tmp_path: Path) -> None:
    path = tmp_path / "track.wav"
    file = AudioFile(str(path), 1)
    file.write(tone(2.0)[np.newaxis])
    file.abandon()
    assert not path.exists()
    assert decoded(tmp_path / "track.wav.part").shape[1] == 2 * SAMPLE_RATE_HZ


def test_a_missing_folder_is_an_output_failure(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="no folder"):
        AudioFile(str(tmp_path / "absent" / "track.wav"), 1)


@pytest.mark.parametrize("extension", FORMATS)
def test_a_full_disk_is_an_output_failure(tmp_path: Path, extension: str) -> None:
    code = """
import resource, sys, numpy as np
from streamlation_cli.dubbing.audiofile import AudioFile
from streamlation_cli.errors import OutputFailed
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
file = AudioFile(sys.argv[1], 1)
noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 48_000)).astype(np.float32)
try:
    for _ in range(6):
        file.write(noise)
    file.commit()
except OutputFailed as error:
    file.abandon()
    print(error)
else:
    sys.exit("no failure was seen")
"""
    path = tmp_path / f"track{extension}"
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"track{extension}: " in result.stdout
    assert not path.exists()


def test_trimming_keeps_the_sound_and_little_else() -> None:
    rate = 22_050
    silence = np.zeros(rate, np.float32)
    kept = waveform.trimmed(np.concatenate((silence, tone(0.5, rate), silence)), rate)
    assert len(kept) / rate == pytest.approx(0.54, abs=0.02)
    assert waveform.trimmed(silence, rate).size == 0
    assert waveform.trimmed(silence[:0], rate).size == 0


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_loudness_is_that_of_the_standard(rate: int) -> None:
    """A 997 Hz sine of full scale in one channel is −3.01 LUFS (ITU-R BS.1770); K weighting turns bass down."""
    assert waveform.loudness_lufs(tone(60.0, rate, 997.0, 1.0), rate) == pytest.approx(-3.01, abs=0.1)
    assert waveform.loudness_lufs(tone(60.0, rate, 997.0, 0.1), rate) == pytest.approx(-23.01, abs=0.1)
    assert waveform.loudness_lufs(tone(2.0, rate, 40.0, 1.0), rate) < -7
    assert waveform.loudness_lufs(np.zeros(rate, np.float32), rate) == -120
    short = tone(0.7, rate, 997.0, 0.1)
    around = np.pad(waveform.resampled(short, rate, 48_000), 48_000)
    expected, _ = ebur128(np.stack([around, around]))
    assert waveform.loudness_lufs(short, rate) == pytest.approx(expected - 3.01, abs=0.15)


@pytest.mark.parametrize("amplitude", [0.003, 0.1, 0.9])
def test_speech_is_brought_to_one_loudness(amplitude: float) -> None:
    rate = 22_050
    sound = np.concatenate((tone(1.0, rate, amplitude=amplitude), np.zeros(rate, np.float32)))
    levelled = waveform.levelled(sound, rate)
    assert waveform.loudness_lufs(levelled, rate) == pytest.approx(waveform.SPEECH_LUFS, abs=0.1)
    silence = np.zeros(rate, np.float32)
    assert np.array_equal(waveform.levelled(silence, rate), silence)


def test_peaks_are_limited_without_a_step() -> None:
    rate = 22_050
    sound = tone(2.0, rate, 300.0, 0.05)
    sound[rate // 2 : rate // 2 + 200] *= 16  # a burst
    levelled = waveform.levelled(sound, rate)
    assert 0.9 * waveform.PEAK < np.abs(levelled).max() <= waveform.PEAK + 1e-6
    gains = levelled[1:] / np.where(np.abs(sound[1:]) > 0.01, sound[1:], np.nan)
    gains = gains[~np.isnan(gains)]
    assert gains.max() / gains.min() > 1.5, "nothing was limited"
    assert np.abs(np.diff(gains)).max() < 0.05 * gains.max()


@pytest.mark.parametrize("tempo", [0.9, 1.1, 1.35])
def test_stretching_changes_the_length_and_not_the_pitch(tempo: float) -> None:
    rate = 22_050
    sound = tone(2.0, rate)
    stretched = waveform.stretched(sound, rate, tempo)
    assert len(stretched) == round(len(sound) / tempo)
    assert np.abs(stretched[-200:]).max() > 0.3, "the end was cut off"
    spectrum = np.abs(np.fft.rfft(stretched * np.hanning(len(stretched))))
    assert np.argmax(spectrum) * rate / len(stretched) == pytest.approx(440, rel=0.01)


def test_resampling_keeps_time_and_level() -> None:
    made = waveform.resampled(tone(1.0, 22_050), 22_050, 48_000)
    assert len(made) == 48_000
    assert np.abs(made[480:-480] - tone(1.0)[480:-480]).max() < 0.02


def test_what_the_cache_keeps_is_exact_and_smaller() -> None:
    samples = waveform.to_s16(tone(1.0, 22_050))
    kept = waveform.packed(samples, 22_050)
    back, rate = waveform.unpacked(kept)
    assert rate == 22_050
    assert np.array_equal(back, samples)
    assert len(kept) < samples.nbytes
    back, _ = waveform.unpacked(waveform.packed(samples[:1], 22_050))
    assert np.array_equal(back, samples[:1])


def _pcm(seq: int, start_ms: int, samples: np.ndarray) -> Pcm:
    data = waveform.to_s16(samples).tobytes()
    return Pcm(
        "s", seq=seq, start_ms=start_ms, end_ms=start_ms + len(samples) // 16, rms_dbfs=-9, peak_dbfs=-6, data=data
    )


class _Collected:
    """Stands where a file would: keeps the blocks."""

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []

    def write(self, block: np.ndarray) -> None:
        self.blocks.append(block.copy())

    @property
    def samples(self) -> np.ndarray:
        return np.concatenate(self.blocks, axis=1)


def _tone_level_db(samples: np.ndarray, hertz: float) -> float:
    """Level of one frequency, relative to amplitude 1."""
    time = np.arange(len(samples)) / SAMPLE_RATE_HZ
    return float(20 * np.log10(2 * abs(np.mean(samples * np.exp(-2j * np.pi * hertz * time)))))


def _mixed(duck_db: float, **how: Any) -> np.ndarray:
    """4 s of a 1 kHz original with a 300 Hz voice from 1.5 s to 2.5 s."""
    original = OriginalSound(None)
    for i in range(8):
        original.feed(_pcm(i, i * 500, tone(4.0, 16_000, 1000.0, 0.2)[i * 8000 : (i + 1) * 8000]))
    out = _Collected()
    track = DubTrack([out], original, duck_db, **how)
    track.advance(1500)
    track.add(1500, tone(1.0, hertz=300.0, amplitude=0.2))
    track.advance(2500)
    track.finish(4000)
    return out.samples


@pytest.mark.parametrize("duck_db", [6.0, 12.0, 20.0])
def test_the_original_goes_down_under_the_voice_and_comes_back(duck_db: float) -> None:
    mixed = _mixed(duck_db)
    assert mixed.shape == (2, 4 * SAMPLE_RATE_HZ)

    def level(start_ms: int, end_ms: int, hertz: float) -> float:
        return _tone_level_db(mixed[0, start_ms * 48 : end_ms * 48], hertz)

    full = level(100, 1500 - ATTACK_MS, 1000)
    assert level(1500, 2500, 1000) == pytest.approx(full - duck_db, abs=0.2)
    assert RELEASE_MS == 300
    assert level(2500 + RELEASE_MS, 3900, 1000) == pytest.approx(full, abs=0.2)
    assert level(100, 1400, 300) < level(1500, 2500, 300) - 50
    # The turning down and up is a ramp: no step between neighbouring 10 ms is more than a share of it.
    steps = [level(ms, ms + 10, 1000) for ms in range(1250, 1500, 10)]
    assert np.abs(np.diff(steps)).max() < duck_db * 10 / ATTACK_MS * 1.5
    assert np.array_equal(mixed[0], mixed[1])


def test_the_original_comes_back_in_a_long_pause_of_the_voice() -> None:
    original = OriginalSound(None)
    original.feed(_pcm(0, 0, tone(6.0, 16_000, 1000.0, 0.2)))
    out = _Collected()
    track = DubTrack([out], original, 12.0)
    word = tone(0.5, hertz=300.0, amplitude=0.2)
    track.add(1000, np.concatenate((word, np.zeros(9600, np.float32), word, np.zeros(72_000, np.float32), word)))
    track.finish(6000)

    def level(start_ms: int, end_ms: int) -> float:
        return _tone_level_db(out.samples[0, start_ms * 48 : end_ms * 48], 1000)

    full = level(100, 750)
    assert level(1550, 1650) == pytest.approx(full - 12, abs=0.3), "it came up in a breath"
    assert level(2200 + RELEASE_MS + 20, 3700 - ATTACK_MS - 20) == pytest.approx(full, abs=0.3)
    assert level(3720, 4180) == pytest.approx(full - 12, abs=0.3)


@pytest.mark.parametrize(("side", "original", "voice"), [("left", 0, 1), ("right", 1, 0)])
def test_original_and_voice_on_a_side_each(side: str, original: int, voice: int) -> None:
    mixed = _mixed(12.0, mix="keep", keep_side=side)
    middle = slice(1600 * 48, 2400 * 48)
    before = _tone_level_db(mixed[original, 200 * 48 : 1200 * 48], 1000)
    assert _tone_level_db(mixed[original, middle], 1000) == pytest.approx(before, abs=0.2), "it was turned down"
    assert _tone_level_db(mixed[original, middle], 300) < -60
    assert _tone_level_db(mixed[voice, middle], 1000) < -60
    assert _tone_level_db(mixed[voice, middle], 300) > -30


@pytest.mark.parametrize("mix", ["duck", "keep"])
def test_the_sum_of_a_loud_original_and_a_loud_voice_does_not_clip(mix: str) -> None:
    original = OriginalSound(None)
    noise = np.random.default_rng(0).uniform(-0.999, 0.999, 64_000).astype(np.float32)
    original.feed(_pcm(0, 0, noise))
    out = _Collected()
    track = DubTrack([out], original, 6.0, mix=mix)
    track.add(500, waveform.levelled(np.full(48_000, 0.9, np.float32), 48_000))
    track.finish(4000)
    assert np.abs(out.samples).max() <= 10 ** (-1 / 20)
    assert ebur128(out.samples)[1] <= -1


def test_blocks_do_not_depend_on_when_they_are_settled() -> None:
    def run(steps: list[int]) -> np.ndarray:
        original = OriginalSound(None)
        for i in range(8):
            original.feed(_pcm(i, i * 500, tone(4.0, 16_000, 1000.0)[i * 8000 : (i + 1) * 8000]))
        out = _Collected()
        track = DubTrack([out], original, 12.0)
        for step in steps:
            track.advance(step)
        track.add(2000, tone(0.5, hertz=300.0, amplitude=0.2))
        track.finish(4000)
        return out.samples

    assert np.array_equal(run([]), run([7, 700, 1333, 1999]))


def _packets(path: Path) -> tuple[AudioStream, list[Packet]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        context = stream.codec_context
        base = (stream.time_base.numerator, stream.time_base.denominator)  # type: ignore[union-attr]
        audio = AudioStream(
            codec=context.name, sample_rate_hz=context.sample_rate, channels=context.layout.nb_channels,
            layout=context.layout.name, time_base=base, extradata=context.extradata or b"",
        )  # fmt: skip
        packets = [
            Packet(
                "s",
                seq=i,
                stream="audio",
                pts=p.pts,
                dts=p.dts,
                duration=p.duration or 0,
                time_base=base,
                data=bytes(p),
            )
            for i, p in enumerate(container.demux(stream))
            if p.size
        ]
    return audio, packets


@pytest.mark.parametrize("channels", [1, 2])
def test_packets_come_back_on_their_times_at_their_level(tmp_path: Path, channels: int) -> None:
    sound = np.concatenate((np.zeros(48_000, np.float32), tone(1.0), np.zeros(48_000, np.float32)))
    file = AudioFile(str(tmp_path / "original.flac"), channels)
    file.write(np.tile(sound, (channels, 1)))
    file.commit()
    audio, packets = _packets(tmp_path / "original.flac")
    original = OriginalSound(audio)
    for packet in packets:
        original.feed(packet)
    heard = original.read(len(sound) + 4800, last=True)
    assert heard.shape == (2, len(sound) + 4800)
    assert np.abs(heard[:, : len(sound)] - sound).max() < 1e-3


def test_a_gap_between_packets_is_silence_of_its_length(tmp_path: Path) -> None:
    file = AudioFile(str(tmp_path / "original.flac"), 1)
    file.write(tone(3.0)[np.newaxis])
    file.commit()
    audio, packets = _packets(tmp_path / "original.flac")
    original = OriginalSound(audio)
    frame = packets[0].duration
    for packet in packets[:5] + packets[15:]:
        original.feed(packet)
    heard = original.read(len(tone(3.0)), last=True)[0]
    assert np.abs(heard[5 * frame + 50 : 15 * frame - 50]).max() == 0
    assert np.abs(heard[: 5 * frame - 300] - tone(3.0)[: 5 * frame - 300]).max() < 1e-3
    assert np.abs(heard[15 * frame + 300 :] - tone(3.0)[15 * frame + 300 :]).max() < 1e-3
    ordinary = np.abs(np.diff(tone(1.0))).max()
    assert np.abs(np.diff(heard)).max() <= 1.05 * ordinary, "it clicks at an edge of the gap"


def test_sound_is_given_only_as_far_as_it_has_come(tmp_path: Path) -> None:
    original = OriginalSound(None)
    original.feed(_pcm(0, 0, tone(0.5, 16_000)))
    early = original.read(96_000, last=False)
    assert 20_000 < early.shape[1] <= 24_000
    original.feed(_pcm(1, 500, tone(0.5, 16_000)))
    rest = original.read(96_000, last=True)
    assert rest.shape[1] == 96_000
    assert np.abs(rest[:, 48_000:]).max() == 0


def test_what_is_outside_of_the_kept_part_is_silence() -> None:
    original = OriginalSound(None, start_ms=1000, end_ms=2000)
    for i in range(3):
        original.feed(_pcm(i, i * 1000, tone(1.0, 16_000)))
    heard = original.read(3 * 48_000, last=True)[0]
    assert np.abs(heard[:48_000]).max() == 0
    assert np.abs(heard[48_000:96_000] - tone(1.0)).max() < 0.02
    assert np.abs(heard[96_000:]).max() == 0


def test_a_downmix_of_many_loud_channels_does_not_clip() -> None:
    loud = np.full((6, 48_000), 0.99, np.float32)
    frame = av.AudioFrame.from_ndarray(loud, format="fltp", layout="5.1")
    frame.sample_rate = 48_000
    frame.pts = 0
    original = OriginalSound(None)
    original._place([frame], 1 / 48_000)
    heard = original.read(47_000, last=True)
    assert 0.9 < np.abs(heard[:, 1000:-1000]).max() <= 1.0
    assert bed_module.RATE_HZ == SAMPLE_RATE_HZ


@pytest.mark.parametrize("largest", [900, 400_000], ids=["many read at a time", "larger than what is read at a time"])
def test_the_spool_keeps_order_across_memory_and_file(largest: int) -> None:
    spool = Spool(memory_bytes=5000)
    expected: deque[Packet] = deque()
    rng = np.random.default_rng(0)
    sent = 0
    for _ in range(400):
        if rng.random() < 0.6:
            data = bytes(rng.integers(0, 256, int(rng.integers(0, largest)), dtype=np.uint8))
            packet = Packet("s", seq=sent, stream="audio", pts=sent, dts=None, duration=1, time_base=(1, 7), data=data)
            spool.append(packet)
            expected.append(packet)
            sent += 1
        else:
            assert spool.pop() == (expected.popleft() if expected else None)
    while expected:
        assert spool.pop() == expected.popleft()
    assert spool.pop() is None
    spool.close()


def test_the_spool_does_not_grow_in_memory() -> None:
    spool = Spool(memory_bytes=1 << 20)
    packet = Packet("s", seq=0, stream="audio", pts=0, dts=0, duration=1, time_base=(1, 7), data=bytes(64_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1500):  # 96 MB
        spool.append(packet)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    spool.close()
    assert grown_kb < 30_000
