"""Whisper as it is computed live on a CPU, beside CTranslate2's, on the same weights and sounds."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from conftest import ROOT
from streamlation_cli.engines import Decoding, whisper_decoder, whisper_network
from streamlation_cli.engines.ct2_weights import Ct2Weights
from streamlation_cli.engines.mel import MelSpectrogram
from streamlation_cli.engines.whisper_encoder import Encoder
from streamlation_cli.engines.whisper_live import WhisperListener
from streamlation_cli.errors import Unavailable
from streamlation_cli.live.policy import plain
from streamlation_cli.models import store

AUDIO = ROOT / "testdata" / "audio"


@cache
def samples(name: str) -> np.ndarray:
    """A bundled recording: float32 in [-1, 1] at 16 kHz."""
    resampler = av.AudioResampler("s16", "mono", 16_000)
    with av.open(str(AUDIO / name)) as container:
        frames = [part.to_ndarray() for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += [part.to_ndarray() for part in resampler.resample(None)]
    return np.concatenate(frames, axis=1)[0].astype(np.float32) / 32768


@cache
def listener(model: str, compute_type: str = "") -> WhisperListener:
    return WhisperListener(model=store.resolve("whisper", model), device="cpu", compute_type=compute_type)


@pytest.mark.parametrize("model", ["base", "tiny.en"])
def test_it_hears_what_ctranslate2_hears(model: str) -> None:
    """The text and, within three positions of the encoder's output, the times."""
    sound = samples("hello_en.flac")
    mine, other = (
        listener(model, compute_type).listen(sound, (), (), Decoding(language="en")) for compute_type in ("", "float32")
    )
    assert [plain(word.text) for word in mine.words] == [plain(word.text) for word in other.words]
    for one, two in zip(mine.words, other.words, strict=True):
        assert (one.start_s, one.end_s) == pytest.approx((two.start_s, two.end_s), abs=0.07)
        assert one.confidence == pytest.approx(two.confidence, abs=0.3)


def test_the_language_is_the_one_that_ctranslate2_finds() -> None:
    sound = samples("hello_en.flac")
    mine, other = (listener("base", kind).listen(sound, (), (), Decoding()) for kind in ("", "float32"))
    assert (mine.language, other.language) == ("en", "en")
    assert mine.language_probability == pytest.approx(other.language_probability, abs=0.1)


def test_the_silence_that_is_computed_once_stands_for_what_follows() -> None:
    """States of the sound are clearly nearer to those in 30 s of sound and silence than without it."""
    encoder = Encoder(Ct2Weights(store.resolve("whisper", "base") / "model.bin"), 1)
    spectrum, sound = MelSpectrogram(80), samples("hello_en.flac")
    heard = len(sound) // 320
    frames = heard * 2 // 40 * 40 + 240
    whole = encoder.encode(spectrum.one(sound, 3000))[0][:heard]

    def apart(states: np.ndarray) -> float:
        return float(np.linalg.norm(states[:heard] - whole) / np.linalg.norm(whole))

    mine = apart(encoder.encode(spectrum.one(sound, frames))[0])
    assert mine < 0.8 * apart(encoder.encode(spectrum.one(sound, frames), silent=False)[0])


def test_audio_that_grows_is_heard_as_if_it_were_whole() -> None:
    """What is known of its start stands for it: the words and their times are those of the whole, and little of it is encoded again."""
    engine, decoding = listener("base"), Decoding(language="en")
    sound = samples("talk_en_60s.opus")[: 9 * 16_000]
    hearing = engine.listen(sound[:16_000], (), (), decoding)
    for end in range(24_000, len(sound) + 1, 8000):
        hearing = engine.listen(sound[:end], (), (), decoding, heard=hearing.heard)
    whole = engine.listen(sound, (), (), decoding)
    assert [plain(word.text) for word in hearing.words] == [plain(word.text) for word in whole.words]
    for one, two in zip(hearing.words, whole.words, strict=True):
        assert one.end_s == pytest.approx(two.end_s, abs=0.1)  # where one begins after a pause is anybody's guess
    assert hearing.heard.of_backend.kept == 9 * 50 - whisper_network.AHEAD
    offers, wholly = (
        np.concatenate([part.ravel() for part in one.heard.of_backend.offers]) for one in (hearing, whole)
    )
    assert np.linalg.norm(offers - wholly) < 0.15 * np.linalg.norm(wholly)


def test_where_somebody_has_spoken_on_only_a_decoder_that_is_sure_of_the_end_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, decoding = listener("base"), Decoding(language="en")
    sound = samples("hello_en.flac")
    said = engine.listen(sound, (), (), decoding).words
    assert not engine.listen(sound, said, (), decoding).text
    monkeypatch.setattr(whisper_decoder, "AT_END", 0.0)
    assert not engine.listen(sound, said, (), decoding, None, True).text, "it is sure"
    monkeypatch.setattr(whisper_decoder, "AT_END", 1.1)
    assert engine.listen(sound, said, (), decoding, None, True).text


def test_what_was_told_before_goes_through_the_decoder_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is heard as if all had been told anew."""
    engine, decoding = listener("base"), Decoding(language="en")
    sound = samples("talk_en_60s.opus")[: 9 * 16_000]
    words = engine.listen(sound, (), (), decoding).words
    told = words[: len(words) - 4]
    lengths = []
    step = whisper_decoder._Run.step

    def counted(run: Any, tokens: list[list[int]], *rest: Any) -> Any:
        lengths.append(len(tokens[0]))
        return step(run, tokens, *rest)

    first = engine.listen(sound[: 8 * 16_000], told, (), decoding)
    monkeypatch.setattr(whisper_decoder._Run, "step", counted)
    anew = engine.listen(sound, told, (), decoding)
    count = lengths[0]
    lengths.clear()
    again = engine.listen(sound, told, (), decoding, first.heard)
    assert [plain(word.text) for word in again.words] == [plain(word.text) for word in anew.words]
    assert [word.end_s for word in again.words] == pytest.approx([word.end_s for word in anew.words], abs=0.1)
    assert lengths[0] == count - len(first.heard.of_backend.said.tokens) < count / 2


def written(path: Path, variables: dict[str, tuple[np.ndarray, int]], aliases: dict[str, str]) -> Path:
    """A file as CTranslate2 writes it; each variable with the number of its type."""

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    data = struct.pack("<I", 6) + string("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, (values, kind) in variables.items():
        data += string(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        data += struct.pack("<BI", kind, values.nbytes) + values.tobytes()
    data += struct.pack("<I", len(aliases)) + b"".join(string(one) + string(other) for one, other in aliases.items())
    path.write_bytes(data)
    return path


def test_weights_of_every_type_are_read(tmp_path: Path) -> None:
    values = np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)
    factor = np.array([127.0, 63.5], np.float32)
    weights = Ct2Weights(
        written(
            tmp_path / "model.bin",
            {
                "float": (values, 0), "half": (values.astype(np.float16), 4),
                "brain": ((values.view(np.uint32) >> 16).astype(np.uint16), 5),
                "byte": (np.rint(values * factor[:, None]).astype(np.int8), 1), "byte_scale": (factor, 0),
                "decoder/layer_0/x": (values, 0), "decoder/layer_1/x": (values, 0), "decoder/layer_norm/gamma": (values, 0),
            },
            {"other": "half"},
        )
    )  # fmt: skip
    for name in ("float", "half", "brain", "other"):
        assert (weights.rows(name) == values).all()
    assert weights.rows("byte") == pytest.approx(values, abs=0.02)
    assert weights.rows("byte", np.array([1])) == pytest.approx(values[1:], abs=0.02)
    assert weights.layers("decoder") == 2
    weights.forget()
    assert (weights.rows("float") == values).all()


@pytest.mark.parametrize("damage", ["cut off", "newer", "other"])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path / "model.bin", {"float": (np.ones((4, 4), np.float32), 0)}, {})
    data = path.read_bytes()
    path.write_bytes({"cut off": data[:-30], "newer": struct.pack("<I", 7) + data[4:], "other": b"RIFF" * 40}[damage])
    with pytest.raises(Unavailable, match="fetch it again") as caught:
        Ct2Weights(path)
    assert "\n" not in str(caught.value)


def test_what_is_certain_still_is_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words in fewer runs of the decoder."""
    sound, decoding = samples("hello_en.flac"), Decoding(language="en")
    runs = []
    step = whisper_decoder._Run.step
    monkeypatch.setattr(whisper_decoder._Run, "step", lambda *given: runs.append(1) or step(*given))
    whole = listener("base").listen(sound, (), (), decoding)
    searched = len(runs)
    again = listener("base").listen(sound, (), whole.words, decoding)
    assert again.text == whole.text
    assert len(runs) - searched < searched


def test_behind_a_long_text_a_short_one_is_not_found_for_being_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts may follow: two words left out cost less in sum, but each word of the longer text is likelier."""
    network = listener("base")._backend._network  # type: ignore[attr-defined]
    decoder, end = network.decoder, network.decoder._end
    texts = {
        (): [(-0.7, 10), (-0.75, 20)], (10,): [(-0.8, end)],
        (20,): [(-0.3, 21)], (20, 21): [(-0.3, 22)], (20, 21, 22): [(-0.3, end)],
    }  # fmt: skip
    told = list(range(100, 140))
    found: list[tuple[int, ...]] = [()]

    def step(run: Any, tokens: list[list[int]], parents: list[int], wanted: list[int]) -> Any:
        if tokens[0][-1] != told[-1]:
            found[:] = [(*found[parent], *new) for parent, new in zip(parents, tokens, strict=True)]
        return [[(score - 1e-3, token) for score, token in texts[text]] for text in found], np.zeros(
            (1, len(tokens), 5)
        )

    monkeypatch.setattr(whisper_decoder._Run, "step", step)
    offers = network.hear(samples("hello_en.flac"), 1.0).offers
    assert decoder.follow(offers, [1], told, heard=5, most=10, beam_size=2).tokens == [20, 21, 22]


def test_the_next_part_of_a_compound_is_a_word() -> None:
    """Any other end of a word that is committed already is none."""
    engine = listener("base")
    tokenizer = engine._tokens._tokenizer

    def words(text: str) -> tuple[str, list[str]]:
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        times = np.arange(len(tokens) + 1) * 0.2
        mark, heard = engine._words(True, tokens, [0.9] * len(tokens), times, "en")
        assert [token for word in heard for token in word.tokens] == tokens
        return mark, [word.text for word in heard]

    assert words("-hearted and rather") == ("", ["hearted", "and", "rather"])
    assert words("er and rather") == ("", ["and", "rather"])
    assert words(", and rather") == (",", ["and", "rather"])
    assert words("- and rather") == ("-", ["and", "rather"])
