"""A translated subtitle file keeps its captions: each at its own time, with its share of the text."""

from __future__ import annotations

from pathlib import Path

import srt
from hypothesis import given
from hypothesis import strategies as st

from streamlation_cli.captions.units import Utterance
from streamlation_cli.captions.windows import Windows
from streamlation_cli.records import Transcript, Translation, Word
from support import shell

FILE = """1
00:00:01,000 --> 00:00:03,500
- Where were you last night?
- At home, with my brother.

2
00:00:03,700 --> 00:00:05,900
I waited for you at the station

3
00:00:06,000 --> 00:00:08,400
until the last train had left.

4
00:00:10,000 --> 00:00:14,000
Yes. And it was raining, it was cold,
and nobody came.

5
00:00:23,000 --> 00:00:24,500
I'm sorry.
"""


def test_a_subtitle_file_is_translated_caption_by_caption(tmp_path: Path) -> None:
    (tmp_path / "film.srt").write_text(FILE, "utf-8")
    script = (
        "streamlation ingest film.srt --from en | streamlation translate --to pt | streamlation subtitle -o out.srt"
    )
    shell(f"{script} > log.ndjson; streamlation subtitle --text both < log.ndjson > both.srt", cwd=tmp_path).ok()
    before = list(srt.parse(FILE))
    after = list(srt.parse((tmp_path / "out.srt").read_text("utf-8")))
    assert [cue.start for cue in after] == [cue.start for cue in before]
    assert all(abs((a.end - b.end).total_seconds()) < 0.2 for a, b in zip(after, before, strict=True))
    texts = [cue.content for cue in after]
    assert texts[0].count("\n") == 1
    assert all(line.startswith("-") for line in texts[0].split("\n"))
    assert "estação" in texts[1]
    assert "trem" in texts[2]
    assert "chovendo" in texts[3]
    both = [cue.content for cue in srt.parse((tmp_path / "both.srt").read_text("utf-8"))]
    assert any("until the last train had left." in text and "trem" in text for text in both)


@st.composite
def _translated(draw: st.DrawFn) -> tuple[list[Transcript], list[tuple[Translation, Utterance]]]:
    """Captions in a row and sentences over them, a sentence over one to three captions."""
    captions: list[Transcript] = []
    sentences: list[tuple[Translation, Utterance]] = []
    now = 0
    for number in range(draw(st.integers(1, 4))):
        ids = []
        begin = now
        for _ in range(draw(st.integers(1, 3))):
            length = draw(st.integers(500, 4000))
            ids.append(f"c{len(captions)}")
            captions.append(
                Transcript("s", id=ids[-1], start_ms=now, end_ms=now + length, text="x", final=True, language="en")
            )
            now += length + draw(st.integers(0, 1000))
        count = draw(st.integers(1, 12))
        step = max(1, (captions[-1].end_ms - begin) // count)
        words = tuple(
            Word(text=f"w{number}.{i}", start_ms=begin + i * step, end_ms=begin + (i + 1) * step) for i in range(count)
        )
        text = " ".join(word.text for word in words)
        translation = Translation(
            "s", id=f"s{number}", start_ms=begin, end_ms=captions[-1].end_ms, text=text, final=True, source_text="x",
            source_language="en", target_language="pt", words=words, source_ids=tuple(ids),
        )  # fmt: skip
        said = Utterance(
            start_ms=begin, end_ms=translation.end_ms, text=text, words=words, language="pt", interpolated=True
        )
        sentences.append((translation, said))
    return captions, sentences


@given(_translated())
def test_nothing_is_lost_and_every_share_stands_in_a_caption_of_the_file(
    case: tuple[list[Transcript], list[tuple[Translation, Utterance]]],
) -> None:
    captions, sentences = case
    windows = Windows(bilingual=False, max_chars=42)
    for caption in captions:
        windows.original(caption)
    shares = [share for translation, said in sentences for share in windows.translated(translation, said)]
    shares += windows.finish()
    assert " ".join(share.text for share in shares) == " ".join(said.text for _, said in sentences)
    times = [(share.start_ms, share.end_ms) for share in shares]
    assert times == sorted(set(times))
    assert set(times) <= {(caption.start_ms, caption.end_ms) for caption in captions}
