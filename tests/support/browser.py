"""A headless Chromium of this machine, and pages that must not complain."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = ("401 (Unauthorized)", "403 (Forbidden)", "404 (Not Found)", "422 (", "429 (", "ERR_")


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


class Watcher:
    """Somebody at a browser of their own."""

    def __init__(self, browser: Browser, url: str, token: str | None = None, **options: Any) -> None:
        self.url, self.complaints = url, list[str]()
        self.context: BrowserContext = browser.new_context(base_url=url, **options)
        self.context.set_default_timeout(15_000)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda line: self._heard(line.type, line.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
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
