"""The page in Chromium: captions that grow, languages, a line that drops, bad news in words, access for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from chromium import TIMEOUT_MS, chromium, page_of
from livetools import wait_until
from support import eos, header
from test_serve import LIVE
from watching import Serving, said, translated

expect.set_options(timeout=TIMEOUT_MS)
SENTENCES = (
    ("I would like to tell you about a lighthouse.", "Eu gostaria de lhes falar sobre um farol."),
    ("They could work only at low tide, sometimes for less than two hours.", "Só podiam trabalhar na maré baixa."),
    ("Then the water came back.", "Depois a água voltou."),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def served() -> Iterator[Serving]:
    with Serving("--control-token", "steer") as serving:
        yield serving


def talk(served: Serving, **fields: Any) -> None:
    """A session with three sentences and their translations."""
    served.say(header(**(LIVE | fields)))
    served.say({"type": "status", "session": "s", "stage": "transcribe", "state": "running", "lag_ms": 1400})
    for number, (english, portuguese) in enumerate(SENTENCES, 1):
        served.say(said(english, number), translated(portuguese, english, number))


def shown(page: Page, window: str = "#first") -> str:
    """The text in a window of captions."""
    return re.sub(r"\s+", " ", page.locator(window).inner_text()).strip()


def test_captions_appear_grow_and_become_final(browser: Browser, served: Serving) -> None:
    with page_of(browser, served.address) as page:
        expect(page.locator("#state")).to_have_text("Waiting for the first session…")
        expect(page.get_by_text("Captions appear here")).to_be_visible()
        served.say(header(**(LIVE | {"target_language": ""})), said("We went to", 1, final=False, stable_words=2))
        first = page.locator("#first")
        expect(first).to_have_text("We went")
        served.say(said("We went to the house", 1, final=False, stable_words=2))
        expect(first.locator(".maybe")).to_have_text(" to")  # heard twice alike; the rest was heard once
        served.say(said("We went to the old house.", 1))
        expect(first).to_have_text("We went to the old house.")
        expect(first.locator(".maybe")).to_have_text("")
        expect(page.locator("#lines li")).to_have_text(re.compile("We went to the old house."))
        expect(page.get_by_text("Captions appear here")).to_be_hidden()


def test_what_was_no_speech_is_taken_back(browser: Browser, served: Serving) -> None:
    with page_of(browser, served.address) as page:
        expect(page.locator("#state")).to_have_text("Waiting for the first session…")
        served.say(header(**(LIVE | {"target_language": ""})), said("It was late.", 1))
        served.say(said("Thank you", 2, final=False), said("Thank you", 2, final=False, rev=1))
        expect(page.locator("#first p")).to_have_text(["It was late.", "Thank you"])
        served.say(said("Thank", 2) | {"text": "", "words": []})
        expect(page.locator("#first p")).to_have_text(["It was late.", ""])
        served.say(said("We went.", 3))
        expect(page.locator("#lines li span:first-of-type")).to_have_text(["It was late.", "We went."])


def test_words_that_may_change_are_lighter(browser: Browser, served: Serving) -> None:
    with page_of(browser, served.address) as page:
        expect(page.locator("#state")).to_have_text("Waiting for the first session…")  # it hears each revision
        served.say(header(**LIVE), said("We went to", 1, final=False, stable_words=1))
        served.say(said("We went to the", 1, final=False, stable_words=1))
        expect(page.locator("#first .maybe")).to_have_text(" went to")
        colours = page.evaluate("[...document.querySelectorAll('#first span')].map((s) => getComputedStyle(s).color)")
        assert len(set(colours)) == 2
        assert contrast(colours[1], page.evaluate("getComputedStyle(document.body).backgroundColor")) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG defines it."""

    def luminance(colour: str) -> float:
        channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_what_has_been_shown_does_not_move_but_up(browser: Browser, served: Serving) -> None:
    text = (
        "It was late and no one had seen us go down to the river before the sun came up over the far hills and the fog"
    )
    spoken = text.split()
    with page_of(browser, served.address, viewport={"width": 700, "height": 700}) as page:
        expect(page.locator("#state")).to_have_text("Waiting for the first session…")  # it hears each revision
        page.evaluate(WATCH_FIRST_WORDS)
        served.say(header(**LIVE))
        for count in range(2, len(spoken)):
            # A word that may change comes and goes again, and with it now and then a line.
            tail = ["something", "else"] if count % 3 == 0 else spoken[count : count + 1]
            revision = " ".join(spoken[:count] + tail)
            served.say(said(revision, 1, final=False, stable_words=count))
            served.say(said(revision, 1, final=False, stable_words=count, rev=1))
        served.say(said(text, 1))
        expect(page.locator("#lines li")).to_have_count(1)
        tops = page.evaluate("window.tops")
        assert len(set(tops)) >= 3, tops  # it has rolled
        assert tops == sorted(tops, reverse=True), tops
        box, line = page.evaluate(
            "[document.querySelector('#first').clientHeight, parseFloat(getComputedStyle(document.querySelector('#first')).lineHeight)]"
        )
        assert box == pytest.approx(2 * line, abs=1.5)


WATCH_FIRST_WORDS = """() => {
  window.tops = [];
  const note = () => {
    const first = document.querySelector('#first span');
    if (first?.textContent) { window.tops.push(Math.round(first.getClientRects()[0].top)); }
  };
  new MutationObserver(note).observe(document.querySelector('#first'), {subtree: true, childList: true, characterData: true});
}"""
"""Where the first line of the text is, after each change."""


def test_captions_that_were_laid_out_before(browser: Browser, served: Serving) -> None:
    cue = {"type": "cue", "session": "s", "language": "pt", "op": "add", "start_ms": 0, "end_ms": 2000}
    with page_of(browser, served.address) as page:
        served.say(header(**LIVE), cue | {"id": "1", "lines": ["Fomos à casa velha", "junto ao"]})
        served.say(cue | {"id": "1", "op": "update", "lines": ["Fomos à casa velha", "junto ao rio."]})
        expect(page.locator("#first p")).to_have_text(["Fomos à casa velha", "junto ao rio."])
        served.say(cue | {"id": "2", "lines": ["junto ao rio.", "Era tarde."]})
        expect(page.locator("#first p")).to_have_text(["junto ao rio.", "Era tarde."])
        expect(page.locator("#lines li")).to_have_text(re.compile("Fomos à casa velha$"))
        served.say(cue | {"id": "2", "op": "remove"})
        expect(page.locator("#first p")).to_have_count(0)


def test_the_language_is_chosen_and_kept(browser: Browser, served: Serving) -> None:
    talk(served)
    with page_of(browser, served.address) as page:
        choice = page.get_by_role("combobox", name="Captions", exact=True)
        expect(choice.locator("option")).to_have_text(
            ["Portuguese and original", "Portuguese", "English (original)", "None"]
        )
        expect(page.locator("#first")).to_contain_text("Depois a água voltou.")
        expect(page.locator("#second")).to_contain_text("Then the water came back.")
        assert page.locator("#first p").first.get_attribute("lang") == "pt"
        choice.select_option("English (original)")
        expect(page.locator("#first")).to_contain_text("Then the water came back.")
        expect(page.locator("#second")).to_be_hidden()
        expect(page.locator("#lines li").last).to_contain_text("Then the water came back.")
        page.reload()
        expect(page.locator("#first")).to_contain_text("Then the water came back.")
        choice.select_option("None")
        expect(page.locator("#first")).to_have_text("")


def test_a_dropped_line_is_taken_up_and_nothing_is_missed_or_repeated(browser: Browser, served: Serving) -> None:
    talk(served)
    with page_of(browser, "about:blank") as page:
        lines: list[Any] = []

        def through(route: Any) -> None:
            lines.append((route, route.connect_to_server()))

        page.route_web_socket(re.compile("/stream"), through)
        page.goto(served.address)
        expect(page.locator("#lines li")).to_have_count(3)
        page.route(re.compile("/status"), lambda route: route.abort())
        lines[0][1].close()
        lines[0][0].close()
        expect(page.locator("#trouble")).to_have_text("The connection is lost; trying again.")
        served.say(said("Nobody saw it.", 4), translated("Ninguém viu.", "Nobody saw it.", 4))
        expect(page.locator("#lines li")).to_have_count(4)
        expect(page.locator("#trouble")).to_be_hidden()
        assert "?after=" in lines[1][0].url
        assert not lines[1][0].url.endswith("after=")
        texts = page.locator("#lines li span:first-of-type").all_inner_texts()
        assert texts == [portuguese for _, portuguese in SENTENCES] + ["Ninguém viu."]


def test_without_web_sockets_there_are_server_sent_events(browser: Browser, served: Serving) -> None:
    talk(served)
    with page_of(browser, "about:blank") as page:
        page.route_web_socket(re.compile("/stream"), lambda route: route.close())
        page.goto(served.address)
        expect(page.locator("#lines li")).to_have_count(3)
        served.say(said("More.", 4), translated("Mais.", "More.", 4))
        expect(page.locator("#lines li")).to_have_count(4)


class TestBadNews:
    """What goes wrong is said in words."""

    def test_a_source_that_is_gone(self, browser: Browser, served: Serving) -> None:
        talk(served)
        ingest = {"type": "status", "session": "s", "stage": "ingest", "state": "running"}
        with page_of(browser, served.address) as page:
            expect(page.locator("#how")).to_have_text("Live · captions 1.4 s behind")
            served.say(ingest | {"detail": "reconnecting: connection refused"})
            expect(page.get_by_role("alert")).to_have_text("The source is gone; reconnecting (connection refused).")
            served.say(ingest | {"counters": {"reconnects": 1}})
            expect(page.get_by_role("alert")).to_be_hidden()
            expect(page.locator("#state")).to_contain_text("reconnected once")
            served.say({"type": "error", "session": "s", "stage": "ingest", "code": "unavailable",
                        "message": "rtmp://x: the stream is gone", "fatal": True})  # fmt: skip
            expect(page.get_by_role("alert")).to_have_text("Stopped: ingest: rtmp://x: the stream is gone")

    def test_a_source_that_says_nothing_any_more(self, browser: Browser, served: Serving) -> None:
        talk(served)
        with page_of(browser, "about:blank") as page:
            page.clock.install()
            page.goto(served.address)
            expect(page.locator("#lines li")).to_have_count(3)
            page.clock.run_for(9000)
            expect(page.get_by_role("alert")).to_have_text(
                re.compile(r"Nothing has come from the source for \d+ seconds\.")
            )

    def test_an_upstream_that_breaks_off(self, browser: Browser) -> None:
        with Serving("--linger", "600") as served:
            talk(served)
            with page_of(browser, served.address) as page:
                expect(page.locator("#lines li")).to_have_count(3)
                served.end()
                expect(page.get_by_role("alert")).to_contain_text("the input stopped before the end of session s")

    def test_a_session_that_ended_well_is_no_bad_news(self, browser: Browser, served: Serving) -> None:
        talk(served)
        with page_of(browser, served.address) as page:
            expect(page.locator("#lines li")).to_have_count(3)
            served.say(eos(duration_ms=20_000))
            expect(page.locator("#state")).to_have_text("The stream has ended.")
            served.end()
            expect(page.locator("#state")).to_have_text("The server has ended.")
            expect(page.get_by_role("alert")).to_be_hidden()
            expect(page.locator("#lines li")).to_have_count(3)

    def test_a_page_without_its_token(self, browser: Browser) -> None:
        with Serving("--token", "see") as served:
            talk(served)
            with page_of(browser, served.address) as page:
                expect(page.locator("#lines li")).to_have_count(3)
                assert "token" not in page.url
                page.context.clear_cookies()
                page.route_web_socket(re.compile("/stream"), lambda route: route.close())
                page.reload()
                assert "token" in page.locator("body").inner_text()


def test_several_sessions_are_chosen_from(browser: Browser, served: Serving) -> None:
    served.say(header("one", **LIVE), header("two", **LIVE), said("Of one.", 1, "one"), said("Of two.", 1, "two"))
    with page_of(browser, f"{served.address}#two") as page:
        expect(page.locator("#first")).to_have_text("Of two.")
        page.get_by_label("Session").select_option("one")
        expect(page.locator("#first")).to_have_text("Of one.")
        assert page.url.endswith("#one")


def test_of_two_languages_the_first_is_shown_whichever_comes_first(browser: Browser, served: Serving) -> None:
    """It is the one whose voice is heard."""
    spanish = translated("Dos.", "Two.") | {"id": "es-s1", "target_language": "es"}
    served.say(header(**(LIVE | {"target_language": "es", "earlier_targets": ["pt"]})), said("Two."), spanish)
    with page_of(browser, served.address) as page:
        expect(page.locator("#first")).to_have_text("Dos.")
        served.say(translated("Dois.", "Two."))
        expect(page.locator("#first")).to_have_text("Dois.")
        choices = page.locator("#language option").all_inner_texts()
        assert choices[::2] == ["Portuguese and original", "Spanish and original", "English (original)"]


def test_who_has_control_pauses_for_everyone(browser: Browser, served: Serving) -> None:
    talk(served)
    with page_of(browser, served.address) as viewer, page_of(browser, served.control) as holder:
        expect(viewer.locator("#lines li")).to_have_count(3)
        expect(viewer.get_by_role("button", name="Pause captions for everyone")).to_be_hidden()
        holder.get_by_role("button", name="Pause captions for everyone").click()
        expect(viewer.locator("#state")).to_have_text("Captions are paused")
        served.say(said("Between us.", 4), translated("Entre nós.", "Between us.", 4))
        wait_until(lambda: any(b"Between us." in line for line in served.passed), "what is said meanwhile")
        holder.get_by_role("button", name="Resume captions for everyone").click()
        served.say(said("For all.", 5), translated("Para todos.", "For all.", 5))
        expect(viewer.locator("#lines li").last).to_contain_text("Para todos.")
        assert "Entre nós." not in viewer.locator("body").inner_text()


class TestEverybody:
    """Screen readers, keyboards, small screens, both colour schemes."""

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [390, 1280])
    def test_axe_finds_nothing(self, browser: Browser, served: Serving, scheme: str, width: int) -> None:
        talk(served)
        served.say(said("Not yet", 4, final=False), said("Not yet sure", 4, final=False))
        served.say(
            {"type": "error", "session": "s", "stage": "dub", "code": "data", "message": "a word", "fatal": True}
        )
        with page_of(
            browser, served.control, viewport={"width": width, "height": 800}, color_scheme=scheme
        ) as page:  # fmt: skip
            expect(page.locator("#lines li")).to_have_count(3)
            page.locator("summary").click()
            for contrast_wanted in (False, True):
                page.get_by_label("High contrast").set_checked(contrast_wanted)
                # Colours change over a moment; what is measured is what they end as.
                page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")
                found = Axe().run(page)
                assert found.violations_count == 0, found.generate_report()
                assert {"color-contrast", "select-name", "region"} <= {one["id"] for one in found.response["passes"]}

    def test_a_screen_reader_is_read_final_text_once(self, browser: Browser, served: Serving) -> None:
        talk(served)
        with page_of(browser, served.address) as page:
            expect(page.locator("#lines li")).to_have_count(3)
            spoken = page.locator("#spoken")
            assert spoken.get_attribute("aria-live") == "polite"
            expect(spoken).to_have_text("")  # what was said before is there to be read, not read out
            served.say(translated("Olá", "Hello", 4, final=False), translated("Olá a", "Hello to", 4, final=False))
            served.say(translated("Olá a todos.", "Hello everybody.", 4), said("Hello everybody.", 4))
            expect(spoken.locator("p")).to_have_text(["Olá a todos."])
            assert spoken.locator("p").get_attribute("lang") == "pt"

    def test_all_can_be_done_by_keyboard(self, browser: Browser, served: Serving) -> None:
        talk(served)
        with page_of(browser, served.address) as page:
            expect(page.locator("#lines li")).to_have_count(3)
            page.keyboard.press("Tab")
            expect(page.get_by_text("Skip to the captions")).to_be_focused()
            reached = set()
            for _ in range(14):
                page.keyboard.press("Tab")
                reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
            assert {"log", "language", "smaller", "larger", "SUMMARY"} <= reached
            page.locator("#captions").focus()
            before = page.evaluate("parseFloat(getComputedStyle(document.querySelector('#first')).fontSize)")
            page.keyboard.press("+")
            expect(page.locator("#size")).to_have_text("115 %")
            after = page.evaluate("parseFloat(getComputedStyle(document.querySelector('#first')).fontSize)")
            assert after == pytest.approx(before * 1.15, rel=0.01)
            page.keyboard.press("c")
            expect(page.locator("#language option:checked")).to_have_text("Portuguese")
            page.keyboard.press("h")
            assert page.evaluate("document.documentElement.dataset.contrast") == "high"
            page.keyboard.press("m")
            page.get_by_label("Single-key shortcuts").uncheck()
            page.locator("#captions").focus()
            page.keyboard.press("+")
            expect(page.locator("#size")).to_have_text("115 %")

    @pytest.mark.parametrize("factor", [1, 2])
    def test_nothing_is_cut_off_on_a_telephone(self, browser: Browser, served: Serving, factor: float) -> None:
        talk(served)
        with page_of(browser, served.control, viewport={"width": 360, "height": 740}) as page:
            expect(page.locator("#lines li")).to_have_count(3)
            for _ in range(4 if factor == 2 else 0):
                page.locator("#larger").click()
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            if factor == 1:
                page.set_viewport_size({"width": 320, "height": 568})
                assert page.evaluate("document.documentElement.scrollWidth") == 320
                page.set_viewport_size({"width": 360, "height": 740})
            for name in ("#first", "#log", "#language", "#larger", "#pause", "summary"):
                box = page.locator(name).bounding_box()
                assert box is not None
                assert box["x"] >= 0, name
                assert box["x"] + box["width"] <= 360, name
                assert box["height"] >= 24, name

    def test_who_reads_back_is_left_where_he_is(self, browser: Browser, served: Serving) -> None:
        served.say(header(**LIVE), *(said(f"Sentence {number}.", number) for number in range(1, 60)))
        with page_of(browser, served.address) as page:
            expect(page.locator("#lines li")).to_have_count(59)
            log = page.locator("#log")
            assert log.evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight") < 40
            log.evaluate("(log) => { log.scrollTop = 100; }")
            expect(page.get_by_role("button", name="Back to the newest")).to_be_visible()
            served.say(said("And another.", 60))
            expect(page.locator("#lines li")).to_have_count(60)
            assert log.evaluate("(log) => log.scrollTop") == 100
            page.get_by_role("button", name="Back to the newest").click()
            assert log.evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight") < 40


def test_a_language_that_is_written_from_right_to_left(browser: Browser, served: Serving) -> None:
    served.say(header(**(LIVE | {"target_language": "ar"})), said("We went to the sea.", 1))
    served.say(translated("(1810) ذهبنا إلى البحر.", "We went to the sea.", 1, target_language="ar"))
    with page_of(browser, served.address) as page:
        expect(page.locator("#first p")).to_have_css("direction", "rtl")
        expect(page.locator("#second p")).to_have_css("direction", "ltr")
        line = page.locator("#lines li")
        expect(line).to_have_css("direction", "rtl")
        boxes = [line.locator(part).bounding_box() for part in ("time", "span:first-of-type")]
        assert boxes[0] is not None
        assert boxes[1] is not None
        assert boxes[0]["x"] > boxes[1]["x"]  # the time stands where the line begins


def test_downloads_from_the_page(browser: Browser, served: Serving) -> None:
    talk(served)
    served.say(eos(duration_ms=20_000))
    with page_of(browser, served.address) as page:
        page.locator("summary").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Portuguese captions as SRT").click()
        assert download.value.suggested_filename == "s.pt.srt"
        assert "Depois a água voltou." in download.value.path().read_text("utf-8")
