"""The whole of it: `veilfarm serve`, a browser, a film that is brought, watched and fetched."""

import os
import shutil
from pathlib import Path

import av
from browser import PICTURES, Watcher, becomes, check
from facefilm import make as with_faces
from filmgen import Film, make
from playwright.sync_api import Browser, Locator, expect
from serving import PATIENCE, FarmStore, address


def test_a_film_goes_through(browser: Browser, tmp_path: Path) -> None:
    film = make(Film(frames=60), tmp_path / "holiday.mp4")
    farm = FarmStore(str(tmp_path / "store"), tmp_path)
    with farm.serve("--workers", "1", "--listen", "127.0.0.1:0") as serving:
        kim = Watcher(browser, *address(serving))
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


def two(number: int) -> list[tuple[int, int, int]]:
    """Two people, side by side."""
    return [(4 + number % 5, 40, 150), (164 - number % 5, 44, 150)]


def test_a_film_is_looked_at_mended_and_released(browser: Browser, tmp_path: Path) -> None:
    film = pretty(tmp_path) or with_faces(tmp_path / "interview.mp4", faces=two)
    farm = FarmStore(str(tmp_path / "store"), tmp_path)
    with farm.serve("--workers", "1", "--listen", "127.0.0.1:0") as serving:
        kim = Watcher(browser, *address(serving), viewport={"width": 1280, "height": 1000})
        page = kim.page
        page.get_by_text("Settings").click()
        page.get_by_label("Look at it before it is released").check()
        page.get_by_label("choose files").set_input_files(film)
        row = page.get_by_role("row", name=film.name)
        expect(row).to_contain_text("To be reviewed", timeout=PATIENCE * 1000)
        row.get_by_role("link").click()
        expect(page.get_by_role("link", name="Download")).to_have_count(0)
        page.get_by_role("link", name="People", exact=True).click()
        expect(page.get_by_role("article").nth(1)).to_be_visible()
        job = page.url.split("/")[-2]
        seen(kim)
        page.get_by_role("article", name="Person 2").get_by_role("button", name="Cover instead").click()
        expect(page.get_by_text("1 change is to be drawn")).to_be_visible()
        check(kim, "real-pending", "light")
        page.get_by_role("button", name="Draw again").click()
        release = page.get_by_role("button", name="Release the film")
        expect(release).to_be_enabled(timeout=PATIENCE * 1000)  # nobody reloads the page
        covered = page.get_by_role("article", name="Person 2")
        expect(covered).to_contain_text("a reviewer wanted it")
        expect(page.get_by_role("article", name="Person 1")).not_to_contain_text("a reviewer wanted it")
        page.get_by_role("link", name="Compare").first.click()
        page.get_by_role("button", name="Show the original").click()
        becomes(kim, "document.querySelector('#before')?.readyState >= 2")  # it was brought, and is there still
        becomes(kim, "document.querySelector('#after').readyState >= 2")
        check(kim, "real-compare", "light")
        looks = [entry.what for entry in farm.book.history(job) if "original" in entry.what]
        assert len(looks) == 2, looks
        page.get_by_role("link", name="People", exact=True).click()
        release.click()
        page.get_by_role("dialog").get_by_role("button", name="Yes").click()
        with page.expect_download(timeout=PATIENCE * 1000) as fetched:
            page.get_by_role("link", name="Download").click(timeout=PATIENCE * 1000)
        output = tmp_path / fetched.value.suggested_filename
        fetched.value.save_as(output)
        with av.open(str(output)) as container:
            assert sum(1 for _ in container.decode(video=0)) in (28, 120)
        assert not farm.objects("uploads")
        kim.close()
        assert serving.end() == 0


def pretty(folder: Path) -> Path | None:
    """A film of `veilfarm demo` where pictures are wanted; then give VEILFARM_TEST_PATIENCE, too."""
    demo = Path(os.environ.get("VEILFARM_DEMO", "")) / "before.mp4"
    if not PICTURES or not demo.exists():
        return None
    return shutil.copy(demo, folder / "People who don't exist.mp4")


def split(kim: Watcher, card: Locator) -> None:
    """Of somebody who appears more than once, each appearance has a picture, and its original when it is asked for."""
    card.get_by_text("More").click()
    link = card.get_by_role("link", name="Split")
    if not link.count():
        kim.page.keyboard.press("Escape")
        return
    link.click()
    tiles = kim.page.get_by_role("dialog").locator(".appearance")
    becomes(kim, "[...document.querySelectorAll('.appearance img')].every(it => it.naturalWidth > 40)")
    check(kim, "real-split", "light")
    assert tiles.count() > 1
    kim.page.keyboard.press("Escape")


def seen(kim: Watcher) -> None:
    """The pictures of a person: the new face is there, the original comes when it is asked for."""
    page, shown = kim.page, "[...document.querySelectorAll('.face-tile > img')].every(it => it.naturalWidth > 40)"
    card = page.get_by_role("article").first
    name = card.get_by_role("heading").inner_text()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(card.get_by_role("link", name=f"{name} in the result")).to_be_visible()
    becomes(kim, shown)
    assert any("after.jpg" in url for url in asked)
    assert not any("before.jpg" in url for url in asked)
    card.get_by_title("history will say").click()
    expect(card.get_by_role("img", name=f"{name} in the original")).to_be_visible()
    becomes(kim, shown)
    check(kim, "real-people", "light")
    card.get_by_role("link", name=f"{name} in the result").click()
    expect(page.get_by_role("dialog").get_by_role("img")).to_have_count(2)
    check(kim, "real-zoom", "light")
    page.keyboard.press("Escape")
    split(kim, card)
    assert sum("before.jpg" in url for url in asked) == 1, "a larger picture is no other look"
