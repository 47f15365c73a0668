"""Debian's Chromium, driven by Playwright: real pages, real players.

with chromium() as browser, page_of(browser, "http://127.0.0.1:8080/") as page:
    page.get_by_text("Hello").wait_for()
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

TIMEOUT_MS = 20_000
"""How long anything may take to appear: a busy machine is slow, a broken page takes for ever."""


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """A browser without a window; pages may play sound without being clicked."""
    program = shutil.which("chromium")
    assert program, "there is no chromium; tools/debian_parts.sh installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *arguments],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(browser: Browser, address: str, **context: Any) -> Iterator[Page]:
    """An open page in a profile of its own; `context` is Playwright's, such as `color_scheme="dark"`.

    An error of a script in the page, or on its console, fails the test, unless it is about a request that failed.
    """
    made = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | context))
    made.set_default_timeout(TIMEOUT_MS)
    errors: list[str] = []
    try:
        page = made.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if _is_fault(message) else None)
        page.goto(address)
        yield page
        assert not errors, errors
    finally:
        made.close()


def _is_fault(message: Any) -> bool:
    about_requests = ("Failed to load resource", "WebSocket connection", "net::ERR")
    return message.type == "error" and not any(words in message.text for words in about_requests)
