"""The whole of it: `veilfarm serve`, a browser, a film that is brought, watched and fetched."""

import re
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from browser import Watcher, chromium
from filmgen import Film, make
from playwright.sync_api import Browser, expect
from serving import PATIENCE, FarmStore, until


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def test_a_film_goes_through(browser: Browser, tmp_path: Path) -> None:
    film = make(Film(frames=60), tmp_path / "holiday.mp4")
    farm = FarmStore(str(tmp_path / "store"), tmp_path)
    with farm.serve("--workers", "1", "--listen", "127.0.0.1:0") as serving:
        until(lambda: "vf_" in serving.said())
        url, token = re.search(r"http://[\d.:]+", serving.said()), re.search(r"vf_[\w-]+", serving.said())
        assert url is not None
        assert token is not None
        kim = Watcher(browser, url[0], token[0])
        kim.page.get_by_text("Settings").click()
        kim.page.get_by_label("Every face becomes").select_option("mosaic")
        kim.page.get_by_label("choose files").set_input_files(film)
        row = kim.page.get_by_role("row", name="holiday.mp4")
        expect(row).to_contain_text("Done", timeout=PATIENCE * 1000)  # nobody reloads the page
        row.get_by_role("link").click()
        expect(kim.page.get_by_text("device minutes")).to_be_visible()
        expect(kim.page.locator(".strip .s-rendered").first).to_be_attached()
        with kim.page.expect_download() as fetched:
            kim.page.get_by_role("link", name="Download").click()
        output = tmp_path / fetched.value.suggested_filename
        fetched.value.save_as(output)
        with av.open(str(output)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 60
        kim.page.get_by_role("link", name="People").click()
        expect(kim.page.get_by_role("heading", name="No faces in this film")).to_be_visible()
        kim.page.get_by_role("link", name="Compare").click()
        expect(kim.page.get_by_text("The original isn't there any more")).to_be_visible()
        kim.page.goto("/farm")
        expect(kim.page.get_by_text("The store can all that a farm needs")).to_be_visible()
        kim.close()
        assert serving.end() == 0
