"""Reviewing as people do it, in a headless Chromium: what is wrong is mended, and the film is let out."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from browser import PICTURES, becomes, check, ready
from dashfarm import Dash, held, indexed
from filmgen import Film, make
from playwright.sync_api import Locator, Page, expect

from cluster.edits import Edits
from cluster.states import JobState
from cluster.users import Role
from pipeline.edits import Edit, Kind


@pytest.fixture
def somebody(somebody: Any) -> Any:
    """Who is nothing else is a reviewer."""
    return lambda name, role=Role.REVIEWER, **options: somebody(name, role, **options)


def edits(dash: Dash, job: str) -> tuple[Edit, ...]:
    return Edits(dash.book.ledger(job)).latest().edits


def person(page: Page, number: int) -> Locator:
    return page.get_by_role("article", name=f"Person {number}", exact=True)


def more(page: Page, number: int, what: str) -> None:
    """From the lower half of a card."""
    card = person(page, number)
    card.get_by_text("More", exact=True).click()
    card.get_by_text(what).click()


def sure(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()


def noted(page: Page, what: str = "Noted") -> None:
    expect(page.get_by_role("status").first).to_contain_text(what)
    ready(page)


def test_two_reviewers_at_once_lose_nothing(dash: Dash, somebody: Any) -> None:
    job = held(dash, "Council meeting.mp4")
    kim, lea = somebody("kim"), somebody("lea")
    for each in (kim, lea):
        each.page.goto(f"/jobs/{job}/people")
    more(lea.page, 1, "Keep visible")
    lea.page.get_by_label("Reason").fill("gave consent in writing")
    person(kim.page, 4).get_by_role("button", name="Cover instead").click()
    noted(kim.page)
    lea.page.locator(".asked").get_by_role("button", name="Keep visible").click()
    noted(lea.page)  # kim was at somebody else
    more(lea.page, 1, "Keep visible")
    lea.page.get_by_label("Reason").fill("is the mayor")
    kim.page.reload()
    person(kim.page, 1).get_by_role("button", name="Another face").click()
    noted(kim.page)
    lea.page.locator(".asked").get_by_role("button", name="Keep visible").click()
    told = lea.page.get_by_role("alert")
    expect(told).to_contain_text("kim changed this meanwhile")
    expect(told).to_contain_text("Person 1 gets another face")
    expect(told.get_by_label("Reason")).to_have_value("is the mayor")
    check(lea, "clash", "light")
    assert [edit.kind for edit in edits(dash, job)] == [Kind.COVER, Kind.KEEP, Kind.FACE]
    told.get_by_role("button", name="Do mine, too").click()
    noted(lea.page)
    assert [edit.reason for edit in edits(dash, job)] == ["", "gave consent in writing", "", "is the mayor"]
    expect(kim.page.get_by_role("listitem").filter(has_text="is the mayor").first).to_be_visible(timeout=10_000)


def test_everything_that_a_reviewer_can_do(dash: Dash, somebody: Any) -> None:
    job = held(dash, "Council meeting.mp4")
    kim = somebody("kim", viewport={"width": 1280, "height": 1400})
    page = kim.page
    page.goto(f"/jobs/{job}/people")
    person(page, 1).get_by_role("button", name="Another face").click()
    noted(page)
    more(page, 2, "Split…")
    page.get_by_role("checkbox", name="3:28").check()
    page.locator(".asked").get_by_role("button", name="Split").click()
    noted(page)
    made = edits(dash, job)[-1].made
    assert made is not None
    expect(person(page, made + 1)).to_be_visible()
    more(page, 3, "This is no face")
    sure(page)
    noted(page)
    page.get_by_label("Choose person 2").check()
    page.get_by_label(f"Choose person {made + 1}").check()
    page.get_by_role("button", name="They are one person").click()
    sure(page)
    noted(page)
    expect(person(page, made + 1)).to_have_count(0)
    person(page, 4).locator("h2").hover()
    page.mouse.down()
    for _ in range(2):
        person(page, 1).locator("h2").hover()
    page.mouse.up()
    sure(page)
    expect(page.get_by_role("alert")).to_contain_text("on screen at the same time")
    kinds = [edit.kind for edit in edits(dash, job)]
    assert kinds == [Kind.FACE, Kind.SPLIT, Kind.NO_FACE, Kind.MERGE]
    page.goto(f"/jobs/{job}/people")
    expect(page.get_by_role("button", name="Release the film")).to_be_disabled()
    page.get_by_role("button", name="Undo: Person 3 is no face").click()
    noted(page, "Taken back")
    assert len(edits(dash, job)) == 3
    page.get_by_role("button", name="Draw again").click()
    noted(page, "being drawn")
    assert dash.book.control(job).state is JobState.QUEUED
    expect(page.get_by_role("heading", name="The film is being drawn")).to_be_visible()
    vic = somebody("vic", Role.VIEWER).page
    vic.goto(f"/jobs/{job}")
    expect(vic.get_by_role("heading", name="Council meeting.mp4")).to_be_visible()
    for link in ("People", "Compare", "Download"):
        expect(vic.get_by_role("link", name=link)).to_have_count(0)
    vic.goto(f"/jobs/{job}/people")
    expect(vic.get_by_role("heading", name="This is not for your role")).to_be_visible()


def film(folder: Path) -> Path:
    """One that plays; a prettier one for pictures."""
    demo = Path(os.environ.get("VEILFARM_DEMO", "")) / "after.mp4"
    if PICTURES and demo.exists():
        return demo
    return make(Film(frames=50), folder / "stamps.mp4")


def test_a_face_that_was_missed_is_marked_with_the_pointer_or_in_numbers(
    dash: Dash, somebody: Any, tmp_path: Path
) -> None:
    job = held(dash, "People who don't exist.mp4", film(tmp_path).read_bytes())
    kim = somebody("kim")
    page = kim.page
    page.goto(f"/jobs/{job}/compare")
    becomes(kim, "document.querySelector('#after').readyState >= 2")
    page.get_by_text("A face was missed here").click()
    for _ in range(7):
        page.get_by_role("button", name="One frame on").click()
    expect(page.get_by_label("Frame", exact=True)).to_have_value("7")
    place = page.locator("#drawing").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 4)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] / 1.8, place["y"] + place["height"] / 2, steps=4)
    page.mouse.up()
    wide, high = page.evaluate("(it => [it.videoWidth, it.videoHeight])(document.querySelector('#after'))")
    check(kim, "marking", "light")
    page.get_by_role("button", name="Cover it").click()
    noted(page)
    (drawn,) = edits(dash, job)
    assert (drawn.kind, drawn.frame) == (Kind.BOX, 7)
    assert drawn.box is not None
    assert drawn.box[0] == pytest.approx(wide / 2, abs=wide / 20)
    assert drawn.box[1] == pytest.approx(high / 4, abs=high / 20)
    assert drawn.box[3] == pytest.approx(high / 2, abs=high / 20)
    becomes(kim, "document.querySelector('#after').readyState >= 2")
    page.get_by_text("A face was missed here").click()
    for name, value in {"Frame": "12", "Left": "4", "Top": "5", "Width": "20", "Height": "1"}.items():
        page.get_by_label(name, exact=True).fill(value)
    becomes(kim, f"Math.abs(document.querySelector('#after').currentTime - {12.5 / 25}) < .01")
    page.get_by_label("Height", exact=True).fill("21")
    page.keyboard.press("Enter")
    noted(page)
    assert (edits(dash, job)[1].frame, edits(dash, job)[1].box) == (12, (4, 5, 24, 26))
    page.goto(f"/jobs/{job}/people")
    drawn_by_hand = page.get_by_role("article").filter(has_text="marked by hand")
    expect(drawn_by_hand).to_have_count(2)
    drawn_by_hand.last.get_by_role("link", name="1 appearance").click()
    becomes(kim, "Math.abs((document.querySelector('#after')?.currentTime ?? -1) - 12 / 25) < .02")


def test_by_the_keyboard_alone(dash: Dash, somebody: Any, tmp_path: Path) -> None:
    job = held(dash, "Council meeting.mp4", film(tmp_path).read_bytes())
    kim = somebody("kim")
    page, focus = kim.page, "document.activeElement"
    page.goto(f"/jobs/{job}/people")
    card = page.get_by_role("article", name="Person 2")
    card.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(card.locator("summary")).to_be_focused()  # and not nowhere, with the menu that has closed
    page.keyboard.press("Enter")
    card.get_by_role("link", name="Split").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#ask input:not([type=hidden])").first).to_be_focused()  # Enter must not show an original
    page.keyboard.press("Escape")
    expect(card.locator("summary")).to_be_focused()
    card.get_by_role("button", name="Another face").focus()
    page.keyboard.press("Enter")
    noted(page)
    becomes(kim, f"{focus}.id === 'p-1'")  # one goes on where one was
    page.goto(f"/jobs/{job}/compare")
    becomes(kim, "document.querySelector('#after').readyState >= 2")
    expect(page.get_by_text("Arrow keys go by a frame")).to_be_visible()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    becomes(kim, "Math.abs(document.querySelector('#after').currentTime - 2.5 / 25) < .01")
    page.keyboard.press("Space")
    becomes(kim, "!document.querySelector('#after').paused || document.querySelector('#after').ended")


def test_enter_does_what_it_is_next_to(dash: Dash, somebody: Any) -> None:
    job = dash.job("a.mp4", JobState.QUEUED)
    kim = somebody("kim")
    page = kim.page
    page.goto("/jobs")
    box = page.get_by_role("checkbox", name="a.mp4")
    box.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator("#bulkbar button:enabled").first).to_be_focused()  # far below a long list
    page.locator("#bulkbar").get_by_label("Priority").fill("7")
    page.keyboard.press("Enter")
    page.wait_for_load_state()
    expect(page.get_by_role("row", name="a.mp4")).to_contain_text("7")
    assert dash.book.control(job).state is JobState.QUEUED
    assert dash.book.control(job).priority == 7


def test_frames_that_last_unevenly_are_told_apart(dash: Dash, somebody: Any, tmp_path: Path) -> None:
    wanted = Film(frames=40, pattern="vfr")
    job = held(dash, "phone.mp4", make(wanted, tmp_path / "phone.mp4").read_bytes())
    times = wanted.times()
    base = Fraction(1, 90_000)
    end = times[-1] + Fraction(1, 30)
    indexed(dash.book.ledger(job), [round(each / base) for each in times], round(end / base), base)
    kim = somebody("kim")
    kim.page.goto(f"/jobs/{job}/compare")
    becomes(kim, "document.querySelector('#after').readyState >= 2")
    kim.page.get_by_text("A face was missed here").click()
    for _ in range(5):
        kim.page.get_by_role("button", name="One frame on").click()
    expect(kim.page.get_by_label("Frame", exact=True)).to_have_value("5")
    now = "document.querySelector('#after').currentTime"
    becomes(kim, f"{now} > {float(times[5])} && {now} < {float(times[6])}")
    kim.page.get_by_label("Frame", exact=True).fill("31")
    becomes(kim, f"{now} > {float(times[31])} && {now} < {float(times[32])}")


@pytest.mark.parametrize(("theme", "language"), [("light", "en"), ("dark", "de")])
def test_everybody_can_use_the_review(theme: str, language: str, dash: Dash, somebody: Any, tmp_path: Path) -> None:
    job = held(dash, "Council meeting.mp4", film(tmp_path).read_bytes())
    wide = {"width": 1280, "height": 900}
    kim = somebody("kim", color_scheme=theme, viewport=wide)
    page = kim.page
    page.goto(f"/look?language={language}&next=/jobs/{job}/people")
    page.evaluate("document.querySelectorAll('.more')[1].open = true")
    check(kim, "review", theme)
    for name in ("keep", "split", "merge"):
        page.locator(f'a[href$="/people/0/{name}"]').evaluate("it => it.click()")
        expect(page.locator("#ask")).to_be_visible()
        check(kim, f"review-{name}", theme)
        page.keyboard.press("Escape")
        page.goto(f"/jobs/{job}/people/0/{name}")
        check(kim, f"review-{name}-page", theme)
        page.goto(f"/jobs/{job}/people")
    page.locator('[data-person="0"] button[value="face"]').click()
    page.locator('[data-person="3"] button[value="cover"]').click()
    page.goto(f"/jobs/{job}/compare")
    check(kim, "review-compare", theme)
    for place in ("people", "compare"):
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(f"/jobs/{job}/{place}")
        check(kim, f"review-{place}", theme)
        sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(sideways) <= 0, f"{place} is wider than a phone"
