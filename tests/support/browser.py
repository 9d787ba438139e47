"""A headless Chromium of this machine, and pages that must not complain."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = os.environ.get("VEILFARM_SCREENSHOTS", "")
"""A folder for pictures of all pages; they are made only if it is given."""
_QUIET = ("401 (Unauthorized)", "403 (Forbidden)", "404 (Not Found)", "409 (", "422 (", "429 (", "ERR_")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the test where there is none."""
    if CHROMIUM is None:
        assert not os.environ.get("VEILFARM_REQUIRE_BROWSER"), "there must be a Chromium here"
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        options: list[str] = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        try:
            yield browser
        finally:
            browser.close()


def ready(page: Page) -> None:
    """Wait until the page's script has begun, if it has one."""
    page.wait_for_selector("html[data-ready], html:not(:has(script[type=module]))", state="attached")


class Watcher:
    """Somebody at a browser of their own."""

    def __init__(self, browser: Browser, url: str, token: str | None = None, **options: Any) -> None:
        self.url, self.complaints = url, list[str]()
        self.context: BrowserContext = browser.new_context(base_url=url, **options)
        self.context.set_default_timeout(15_000)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda line: self._heard(line.type, line.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        goto = self.page.goto

        def arrive(*arguments: Any, **options: Any) -> Any:
            answer = goto(*arguments, **options)
            ready(self.page)
            return answer

        setattr(self.page, "goto", arrive)  # noqa: B010  nobody types before the page can take it
        if token is not None:
            self.login(token)

    def _heard(self, kind: str, text: str) -> None:
        # What the network answers is the business of tests; what the page or its policy says isn't to be said at all.
        expected = text.startswith("Failed to load resource") and any(each in text for each in _QUIET)
        if kind in ("error", "warning") and not expected:
            self.complaints.append(text)

    def login(self, token: str) -> None:
        """From the first page on."""
        self.page.goto("/")
        self.page.get_by_label("Your token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/jobs*")

    def close(self) -> None:
        """Nothing was complained of."""
        self.context.close()
        assert not self.complaints, self.complaints


def becomes(watcher: Watcher, what: str) -> None:
    """Wait without `eval` in the page, which its policy forbids."""
    end = time.monotonic() + 15
    while not watcher.page.evaluate(what):
        assert time.monotonic() < end, what
        watcher.page.wait_for_timeout(50)


def check(watcher: Watcher, name: str, theme: str) -> None:
    """Nothing that keeps anybody out; and a picture if these are wanted."""
    found = Axe().run(watcher.page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical", "moderate")]
    told = [(each["id"], each["help"], [node["html"][:120] for node in each["nodes"][:3]]) for each in serious]
    assert not serious, f"{name}, {theme}: {told}"
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        width = (watcher.page.viewport_size or {}).get("width")
        asked = watcher.page.locator("dialog[open]").count() > 0  # what is behind it is dimmed as far as it is seen
        watcher.page.evaluate("scrollTo(0, 0)")
        watcher.page.wait_for_timeout(700)
        watcher.page.screenshot(path=Path(PICTURES) / f"{name}-{theme}-{width}.png", full_page=not asked)
