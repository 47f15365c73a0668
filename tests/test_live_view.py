"""The terminal view of a live session, on a real terminal of a given size."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
import srt

import livestream
from streamlation_cli.records import Discontinuity, Eos, Error, Header
from streamlation_cli.render import line
from streamlation_cli.stages import translate
from support import PROGRAM, shell
from terminal import OnTerminal
from test_translate_live import T0, header, heard, on_media_time

LINES = [
    "The boat left early and nobody saw it go.",
    "We waited by the old bridge until morning.",
    "It was cold, good day and thank you.",
] * 3


def stream() -> list[bytes]:
    options = translate.Options(to="es", engine="stub", live=True, no_cache=True)
    spoken = livestream.live(livestream.spoken(LINES), "en", livestream.Live(wrong=0))
    records = list(on_media_time(translate.stage(options)(spoken)))
    over_at = T0 + livestream.spoken(LINES)[-1][-1].end_ms / 1000
    return list(livestream.encoded(livestream.moved(records, time.time() - over_at)))


@pytest.mark.parametrize("columns", [80, 60, 132])
def test_the_original_its_translation_and_how_late_they_are(columns: int) -> None:
    records = stream()
    with OnTerminal(["subtitle", "--live"], columns=columns) as terminal:
        half = len(records) // 2
        terminal.send(b"".join(records[:half]))
        # A read may end in the middle of a drawing: what is drawn last, the stages, is below what is wanted.
        drawn = re.compile(
            r"● a.* 0:\d\d\.\d  lag \d+\.\d s\n(.*\n)*.*[Ee]speramos(.*\n)*▸ ingest.*▸ translate", re.MULTILINE
        )
        screen = terminal.until(lambda text: drawn.match(text) is not None)
        rows = screen.splitlines()
        assert any(row.startswith("en") for row in rows)
        assert any(row.startswith("es") for row in rows)
        assert "▸ ingest" in rows[-1] or "▸ ingest" in rows[-2]
        assert len(rows) <= 10
        assert max(map(len, rows)) <= columns
        terminal.send(b"".join(records[half:]))
        assert terminal.finish() == 0
        screen = terminal.screen.text
    assert "frío," in screen
    assert "✓ translate" in screen
    assert "✓ subtitle" in screen
    assert screen.count("● a") + screen.count("■ a") == 1, "it was redrawn, not repeated"
    assert "-->" not in screen
    assert "\x1b[?25h" in terminal.written, "the cursor is back"


def test_each_language_has_its_rows() -> None:
    french, spanish = (translate.Options(to=to, engine="stub", live=True, no_cache=True) for to in ("fr", "es"))
    records = translate.stage(spanish)(translate.stage(french)([header(), heard("Good day.", final=True), Eos("a")]))
    with OnTerminal(["subtitle", "--live"]) as terminal:
        terminal.send(b"".join(livestream.encoded(records)))
        assert terminal.finish() == 0
        rows = terminal.screen.text.splitlines()
    assert [row.split() for row in rows[1:4]] == [
        ["en", "Good", "day."],
        ["fr", "Bon", "jour."],
        ["es", "Bueno", "día."],
    ]


def test_a_narrower_frame_than_the_terminal_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with OnTerminal(["subtitle", "--live"], columns=132) as terminal:
        terminal.send(b"".join(livestream.encoded([header(), heard(" ".join(LINES), final=True), Eos("a")])))
        assert terminal.finish() == 0
        rows = terminal.screen.text.splitlines()
    assert (rows[0][:3], len(rows[0])) == ("■ a", 60)
    assert rows[1].startswith("en")
    assert max(map(len, rows)) == 60


def test_words_that_may_change_are_dim() -> None:
    with OnTerminal(["subtitle", "--live"]) as terminal:
        terminal.send(b"".join(livestream.encoded([header(), heard("the boat left early", 2)])))
        terminal.until(lambda text: "early" in text)
        assert "the boat" in terminal.written
        assert "\x1b[2m left early" in terminal.written
        terminal.send(b"".join(livestream.encoded([heard("the boat left early.", rev=1, final=True), Eos("a")])))
        assert terminal.finish() == 0


def test_gaps_and_failures_are_shown() -> None:
    gap = Discontinuity("a", at_ms=61_000, gap_ms=3200, reason="reconnect")
    dead = Error("a", stage="ingest", code="unavailable", message="rtmp://host/live: gone", fatal=True)
    with OnTerminal(["subtitle", "--live"]) as terminal:
        terminal.send(b"".join(livestream.encoded([header(), heard("the boat", final=True), gap])))
        terminal.until(lambda text: "gap of 3.2 s (reconnect)" in text)
        terminal.send(b"".join(livestream.encoded([dead])))
        assert terminal.finish() == 69
        assert "ingest: rtmp://host/live: gone" in terminal.screen.text
        assert "■ a" in terminal.screen.text


def test_several_sessions_each_have_their_place() -> None:
    sessions = [
        [
            Header(name, proto=1, source=name, live=True, started_at=T0, language="en"),
            heard(text, final=True, session=name),
        ]
        for name, text in (("north", "The boat left."), ("south", "Nobody saw it."))
    ]
    with OnTerminal(["subtitle", "--live"]) as terminal:
        terminal.send(b"".join(livestream.encoded(record for pair in zip(*sessions, strict=True) for record in pair)))
        placed = re.compile("● north.*boat.*● south.*Nobody", re.DOTALL)
        terminal.until(lambda text: placed.search(text) is not None)
        terminal.send(b"".join(livestream.encoded([Eos("north"), Eos("south")])))
        assert terminal.finish() == 0


def test_asking_for_a_file_on_the_terminal_gives_the_file() -> None:
    with OnTerminal(["subtitle", "--live", "-o", "-"]) as terminal:
        terminal.send(b"".join(livestream.encoded(livestream.live(livestream.spoken(LINES[:1]), "en"))))
        assert terminal.finish() == 0
        captions = list(srt.parse(terminal.screen.text.rstrip() + "\n"))
    assert " ".join(caption.content for caption in captions).replace("\n", " ") == LINES[0]


def test_off_a_terminal_text_is_plain_lines_of_what_is_final() -> None:
    unfinished = heard("the boat", 1)
    assert line(unfinished) == ""
    assert line(heard("The boat left.", final=True)) == "  0:00.0 →   0:00.9  [en] The boat left.\n"


def test_no_terminal_library_is_loaded_where_there_is_no_terminal(tmp_path: Path) -> None:
    records = b"".join(livestream.encoded([header(), heard("The boat left.", final=True), Eos("a")]))
    (tmp_path / "in.ndjson").write_bytes(records)
    program = f"{sys.executable} -X importtime {PROGRAM}"
    result = shell(f"{program} subtitle --live < in.ndjson > out.srt", cwd=tmp_path).ok()
    assert "The boat left." in (tmp_path / "out.srt").read_text()
    assert "streamlation_cli.view" in result.stderr
    assert "rich" not in result.stderr
