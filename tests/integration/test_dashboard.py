"""The dashboard as people use it: a headless Chromium and a real server."""

import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from browser import PICTURES, Watcher, becomes, check
from dashfarm import Dash, dashboard, done, furnish, listed
from filmgen import Film, make
from playwright.sync_api import Browser, expect

from cluster.account import Progress
from cluster.job import Step
from cluster.sessions import COOKIE
from cluster.states import JobState, Move
from cluster.users import Role
from storage.folder import FolderStore


def test_login_and_logout(browser: Browser, dash: Dash) -> None:
    kim = Watcher(browser, dash.url)
    kim.page.goto("/farm")
    kim.page.get_by_label("Your token").fill("vf_wrong")
    kim.page.keyboard.press("Enter")
    expect(kim.page.get_by_role("alert")).to_contain_text("doesn't count")
    kim.page.get_by_label("Your token").fill(dash.token("kim"))
    kim.page.keyboard.press("Enter")
    kim.page.wait_for_url("**/farm")
    cookie = next(each for each in kim.context.cookies() if each["name"] == COOKIE)
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    kim.page.get_by_role("link", name="Deutsch").click()
    expect(kim.page.locator("html")).to_have_attribute("lang", "de")
    kim.page.get_by_role("button", name="Abmelden").click()
    kim.page.wait_for_url("**/login")
    kim.context.add_cookies([cookie])
    kim.page.goto("/jobs")
    expect(kim.page.get_by_label("Ihr Token")).to_be_visible()
    kim.close()


def test_two_browsers_see_a_change_within_a_second(dash: Dash, somebody: Any) -> None:
    found = furnish(dash)
    kim, lea = somebody("kim"), somebody("lea", Role.REVIEWER)
    for one in (kim, lea):
        expect(one.page.get_by_role("row", name="Schulfest")).to_contain_text("Queued")
        one.page.wait_for_timeout(300)
    began = time.monotonic()
    dash.book.change(found["queued"], "controller", Move.START)
    for one in (kim, lea):
        expect(one.page.get_by_role("row", name="Schulfest")).to_contain_text("Running", timeout=3000)
    took = time.monotonic() - began
    assert took < 3, f"{took:.2f} s"  # on a machine that does nothing else it is 0.3 s; see docs/benchmarks.md
    dash.progress = (*dash.progress, Progress(found["queued"], Step.ANALYSE, 30, 40, 1.0, 30.0, 0.3))
    expect(kim.page.get_by_role("row", name="Schulfest")).to_contain_text("75 %", timeout=5000)


def test_several_jobs_at_once(dash: Dash, somebody: Any) -> None:
    found = furnish(dash)
    kim = somebody("kim", Role.REVIEWER)
    page = kim.page
    bar = page.get_by_role("group", name="With the chosen jobs")
    expect(bar).to_be_hidden()
    page.get_by_role("checkbox", name="Council meeting, part 1").check()
    page.get_by_role("checkbox", name="Harbour drone").check()
    expect(bar).to_contain_text("2 chosen")
    dash.book.change(found["queued"], "controller", Move.START)
    expect(page.get_by_role("row", name="Schulfest")).to_contain_text("Running")
    expect(bar).to_contain_text("2 chosen")  # what changes meanwhile takes no ticks away
    bar.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status").first).to_contain_text("1 job paused. 1 left as it was")
    assert dash.book.control(found["running"]).state is JobState.PAUSED
    page.get_by_label("Choose all on this page").check()
    bar.get_by_label("Priority").fill("7")
    bar.get_by_role("button", name="Set priority").click()
    expect(page.get_by_role("status").first).to_contain_text("Priority of 8 jobs set")
    page.get_by_role("checkbox", name="Harbour drone").check()
    bar.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="No").click()
    assert dash.book.control(found["paused"]).state is JobState.PAUSED
    bar.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()
    expect(page.get_by_role("status").first).to_contain_text("1 job cancelled")
    assert dash.book.control(found["paused"]).state is JobState.CANCELLED


def test_search_states_and_an_empty_farm(dash: Dash, somebody: Any) -> None:
    kim = somebody("kim")
    expect(kim.page.get_by_role("heading", name="No films yet")).to_be_visible()
    furnish(dash)
    kim.page.reload()
    kim.page.get_by_label("Search films").fill("council")
    kim.page.keyboard.press("Enter")
    expect(kim.page.locator("tbody tr")).to_have_count(2)
    kim.page.get_by_role("link", name="Waiting").click()
    expect(kim.page.locator("tbody tr")).to_have_count(1)
    kim.page.get_by_label("Search films").fill("nothing like it")
    kim.page.keyboard.press("Enter")
    kim.page.get_by_role("link", name="Show all").click()
    kim.page.get_by_label("Owner").select_option("lee")
    expect(kim.page.locator("tbody tr")).to_have_count(3)


def test_a_film_is_brought_though_the_line_breaks(browser: Browser, tmp_path: Path) -> None:
    film = make(Film(frames=40), tmp_path / "Mein Film ü.mp4")
    with dashboard(tmp_path, store=FolderStore(tmp_path / "store")) as dash:
        kim = Watcher(browser, dash.url, dash.token("kim"))
        bring(dash, kim, film)
        kim.close()


def bring(dash: Dash, kim: Watcher, film: Path) -> None:
    """The first piece of it breaks off."""
    cut = threading.Event()

    def once(route: Any) -> None:
        if cut.is_set() or route.request.method != "PATCH":
            route.continue_()
        else:
            cut.set()
            route.abort("connectionreset")

    kim.context.route(
        "**/v1/uploads/*", lambda route: once(route) if route.request.method == "PATCH" else route.continue_()
    )
    kim.page.get_by_label("choose files").set_input_files(film)
    expect(kim.page.locator("#uploads")).to_contain_text("it is a job now", timeout=20_000)
    assert cut.is_set()
    row = kim.page.get_by_role("row", name="Mein Film ü.mp4")
    expect(row).to_contain_text("Queued")
    job = dash.index.rows()[0]
    assert job.card.owner == "kim"
    place = dash.book.ledger(job.job).spec().source.place
    assert dash.store.read(place.partition("/store/")[2]) == film.read_bytes()
    drop = """() => {
        const files = new DataTransfer();
        files.items.add(new File(["a film"], "dropped.mp4"));
        for (const kind of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: files, bubbles: true, cancelable: true}));
        }
    }"""
    kim.page.evaluate(drop)
    expect(kim.page.get_by_role("row", name="dropped.mp4")).to_contain_text("Queued", timeout=20_000)


def test_who_is_shut_out_sees_nothing_more(dash: Dash, somebody: Any) -> None:
    furnish(dash)
    kim = somebody("kim")
    expect(kim.page.get_by_text("Schulfest")).to_be_visible()
    dash.users.change("kim", disabled=True)
    dash.context.sessions.forget()  # else it takes five seconds
    dash.job("secret.mp4", JobState.QUEUED)
    expect(kim.page.get_by_label("Your token")).to_be_visible(timeout=20_000)


def test_the_keyboard_does_it_all(dash: Dash, somebody: Any) -> None:
    found = furnish(dash)
    page = somebody("kim").page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.get_by_role("checkbox", name="Schulfest").focus()
    page.keyboard.press("Space")
    button = page.get_by_role("button", name="Pause")
    for _ in range(60):
        if button.evaluate("it => it === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("1 job paused")
    assert dash.book.control(found["queued"]).state is JobState.PAUSED


def test_pages_go_on_after_the_server_was_away(browser: Browser, tmp_path: Path) -> None:
    with dashboard(tmp_path) as first:
        found = furnish(first)
        kim = Watcher(browser, first.url, first.token("kim", Role.ADMIN))
        kim.page.goto(f"/jobs/{found['running']}")
        expect(kim.page.get_by_role("heading", name="The film")).to_be_visible()
    expect(kim.page.get_by_text("The farm doesn't answer")).to_be_visible(timeout=10_000)
    kim.complaints.clear()  # it may say that its line broke
    with dashboard(tmp_path, store=first.store, port=first.server.port) as second:
        second.book.change(found["running"], "kim", Move.PAUSE)
        second.index.refresh()
        expect(kim.page.get_by_text("The farm doesn't answer")).to_be_hidden(timeout=15_000)
        expect(kim.page.locator(".state-line")).to_contain_text("Paused", timeout=15_000)
        kim.close()


def test_ten_thousand_jobs(dash: Dash, somebody: Any) -> None:
    for number in range(10_000):
        put_only(dash, number)
    kim = somebody("kim", Role.ADMIN)
    expect(kim.page.locator("tbody tr")).to_have_count(50)
    expect(kim.page.locator(".pager")).to_contain_text("10,000 jobs")
    cookies = {each["name"]: each["value"] for each in kim.context.cookies()}
    with httpx2.Client(base_url=dash.url, cookies=cookies) as client:
        times = []
        for _ in range(20):
            began = time.perf_counter()
            assert client.get("/jobs").status_code == 200
            times.append(time.perf_counter() - began)
    assert statistics.median(times) < 1.0, times  # 0.2 s is measured by bench/dashboard.py, on a quiet machine
    kim.page.get_by_role("link", name="Older").click()
    expect(kim.page.locator("tbody tr")).to_have_count(50)
    kim.page.get_by_role("link", name="Newest").click()
    expect(kim.page.get_by_role("link", name="Newest")).to_have_count(0)


def put_only(dash: Dash, number: int) -> None:
    """A job in the index, not in the store: this is about the list."""
    row = listed(number)
    dash.index.put(row.job, row.card, row.control)


def test_workers_are_taken_out_and_in(dash: Dash, somebody: Any) -> None:
    furnish(dash)
    kim = somebody("kim", Role.ADMIN)
    kim.page.goto("/farm")
    expect(kim.page.get_by_text("The store can all that a farm needs")).to_be_visible()
    kim.page.get_by_role("button", name="Drain: render-1").click()
    expect(kim.page.get_by_role("status").first).to_contain_text("no more orders")
    kim.page.get_by_role("button", name="Another chance: gpu-2").click()
    kim.page.wait_for_url("**/farm")
    assert set(dash.store.keys("farm/drain")) == {"farm/drain/render-1"}
    assert set(dash.store.keys("farm/unblock")) == {"farm/unblock/gpu-2"}


def test_before_and_after(dash: Dash, somebody: Any, tmp_path: Path) -> None:
    job = compared(dash, tmp_path)
    kim = somebody("kim", Role.REVIEWER)
    asked: list[str] = []
    kim.page.on("request", lambda request: asked.append(request.url))
    kim.page.goto(f"/jobs/{job}/compare")
    becomes(kim, "document.querySelector('#after').readyState >= 2")
    assert not any("original" in url for url in asked)
    kim.page.get_by_role("button", name="Show the original").click()
    becomes(kim, "document.querySelector('#before')?.readyState >= 2")
    assert [entry.what for entry in dash.book.history(job)].count("looked at the original") == 1
    for _ in range(3):
        kim.page.get_by_role("button", name="One frame on").click()
    same = (
        "Math.abs(document.querySelector('#before').currentTime - document.querySelector('#after').currentTime) < .002"
    )
    becomes(kim, f"Math.abs(document.querySelector('#after').currentTime - {3.5 / 25}) < .002 && {same}")
    kim.page.get_by_label("How much of the original shows").fill("20")
    assert kim.page.evaluate("document.querySelector('#compare').style.getPropertyValue('--share')") == "20%"
    kim.page.get_by_role("button", name="Hide the original").click()
    expect(kim.page.get_by_role("button", name="Show the original")).to_be_visible()


def compared(dash: Dash, folder: Path) -> str:
    """A job that is done, with films that play."""
    (folder / "films").mkdir(exist_ok=True)
    demo = Path(os.environ.get("VEILFARM_DEMO", ""))  # of `veilfarm demo`, for prettier pictures
    if PICTURES and (demo / "after.mp4").exists():
        before, after = folder / "films" / "People who don't exist.mp4", (demo / "after.mp4").read_bytes()
        before.write_bytes((demo / "before.mp4").read_bytes())
    else:
        before = make(Film(frames=50), folder / "films" / "stamps.mp4")
        after = before.read_bytes()
    return done(dash, before.name, after, source=before)


PAGES = {
    "jobs": "/jobs",
    "job": "/jobs/{running}",
    "chunk": "/jobs/{running}/chunks/27",
    "people": "/jobs/{running}/people",
    "compare": "/jobs/{compared}/compare",
    "farm": "/farm",
    "users": "/users",
    "user": "/users/lea",
    "tokens": "/tokens",
    "account": "/account",
    "missing": "/jobs/nothing",
}


def test_somebody_new_gets_a_token_and_comes_in(dash: Dash, somebody: Any, browser: Browser) -> None:
    kim = somebody("kim", Role.ADMIN)
    kim.page.get_by_role("link", name="Users").click()
    kim.page.get_by_label("Name").fill("Lea!")
    kim.page.get_by_label("Team").fill("news")
    kim.page.get_by_role("button", name="Add").click()
    expect(kim.page.get_by_role("alert")).to_contain_text("small letters")
    expect(kim.page.get_by_label("Team")).to_have_value("news")
    kim.page.get_by_label("Name").fill("lea")
    kim.page.get_by_role("button", name="Add").click()
    expect(kim.page.get_by_role("heading", name="lea")).to_be_visible()
    kim.page.get_by_label("What it is for").fill("laptop")
    kim.page.get_by_role("button", name="Make a token").click()
    kim.page.get_by_role("button", name="Copy").click()
    expect(kim.page.get_by_role("button", name="Copied")).to_be_visible()
    lea = Watcher(browser, dash.url, kim.page.get_by_role("textbox", name="The token").input_value())
    expect(lea.page.get_by_role("link", name="Users")).to_have_count(0)
    lea.page.goto("/tokens")
    expect(lea.page.get_by_role("heading", name="This is not for your role")).to_be_visible()
    kim.page.get_by_role("link", name="I have kept it").click()
    kim.page.get_by_role("button", name="Revoke: laptop").click()
    kim.page.get_by_role("dialog").get_by_role("button", name="Yes").click()
    expect(kim.page.get_by_role("heading", name="No token counts")).to_be_visible()
    lea.page.goto("/jobs")
    expect(lea.page.get_by_label("Your token")).to_be_visible()
    lea.close()


def staff(dash: Dash) -> None:
    """Some who use the farm, with and without tokens."""
    for name, role, team in (
        ("lea", Role.REVIEWER, "news"),
        ("archive-bot", Role.SUBMITTER, "news"),
        ("sam", Role.VIEWER, ""),
    ):
        dash.users.add(name, role, team)
    dash.users.change("sam", disabled=True)
    for name, label, days in (
        ("lea", "laptop of the news desk", 90),
        ("lea", "phone", None),
        ("archive-bot", "nightly", 365),
    ):
        dash.users.issue(name, label, days)
    dash.users.revoke(dash.users.issue("lea", "lost stick")[1].id)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_use_every_page(theme: str, dash: Dash, somebody: Any, browser: Browser, tmp_path: Path) -> None:
    found = {**furnish(dash), "compared": compared(dash, tmp_path)}
    anybody = Watcher(browser, dash.url, color_scheme=theme)
    anybody.page.goto("/login")
    check(anybody, "login", theme)
    anybody.close()
    wide = {"width": 1280, "height": 860}
    kim = somebody("kim", Role.ADMIN, color_scheme=theme, viewport=wide)
    staff(dash)
    for name, page in PAGES.items():
        kim.page.goto(page.format(**found))
        if name == "farm":
            expect(kim.page.get_by_text("The store can all that a farm needs")).to_be_visible()
        if name == "compare":
            kim.page.get_by_role("button", name="Show the original").click()
            becomes(kim, "document.querySelector('#before')?.readyState >= 2")
        for size in (wide, {"width": 390, "height": 844}):
            kim.page.set_viewport_size(size)  # type: ignore[arg-type]
            check(kim, name, theme)
            sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert kim.page.evaluate(sideways) <= 0, f"{name} is wider than a screen of {size['width']}"
