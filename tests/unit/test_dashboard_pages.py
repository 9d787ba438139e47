"""The dashboard's pages without a browser: who gets what, and nothing by other sites' forms."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dashfarm import Dash, furnish

from cluster.api.limits import Limits
from cluster.dashboard.pages import inside
from cluster.sessions import COOKIE, mark
from cluster.states import JobState
from cluster.users import Role


@pytest.fixture
def dash(tmp_path: Path) -> Iterator[Dash]:
    farm = Dash(tmp_path, limits=Limits(rate=1e6, burst=10**6, bad_burst=3), serve=False)
    yield farm
    farm.context.stopping.set()


def browser(dash: Dash, name: str, role: Role, team: str = "") -> tuple[Any, str]:
    """(somebody who is logged in, the mark of their forms)"""
    cookie = dash.context.sessions.begin(dash.token(name, role, team))
    assert cookie is not None
    return dash.anonymous(cookies={COOKIE: cookie}), mark(cookie)


PAGES = ("/jobs", "/jobs/{running}", "/jobs/{running}/chunks/3", "/jobs/{running}/steps/ingest", "/farm")
REVIEWS = ("/jobs/{running}/people", "/jobs/{done}/compare", "/jobs/{done}/people")


def test_every_page_is_drawn_in_both_languages_with_a_strict_policy(dash: Dash) -> None:
    found = furnish(dash)
    kim, _ = browser(dash, "kim", Role.ADMIN)
    for language in ("en", "de"):
        for page in (*PAGES, *REVIEWS, "/jobs/part", "/jobs/{running}/part", "/farm/part"):
            answer = kim.get(page.format(**found), headers={"Accept-Language": language})
            assert answer.status_code == 200, page
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'self';")
            assert "unsafe" not in policy
            assert not re.search(r"\sstyle=|<style|\son\w+=|src=\"http|href=\"http", answer.text), page
            assert answer.headers["cache-control"] == "no-store"


def test_nobody_sees_anything_without_a_session(dash: Dash) -> None:
    found = furnish(dash)
    nobody = dash.anonymous()
    for page in (*PAGES, *REVIEWS, "/jobs/{done}/original"):
        answer = nobody.get(page.format(**found))
        assert answer.status_code == 303, page
        assert answer.headers["location"].startswith("/login")
    assert nobody.get("/jobs/part", headers={"X-Fragment": "1"}).status_code == 401


def test_roles_and_teams(dash: Dash) -> None:
    found = furnish(dash)
    viewer, form = browser(dash, "vic", Role.VIEWER, "news")
    assert "Council meeting" in viewer.get("/jobs").text
    assert 'id="drop"' not in viewer.get("/jobs").text
    for page in (*REVIEWS, "/farm/store"):
        assert viewer.get(page.format(**found)).status_code == 403, page
    viewer.post("/jobs/do", data={"csrf": form, "do": "cancel", "job": found["running"]})
    assert dash.book.control(found["running"]).state is JobState.RUNNING
    assert viewer.post("/farm/do", data={"csrf": form, "do": "drain", "worker": "gpu-1"}).status_code == 403
    stranger, _ = browser(dash, "sam", Role.REVIEWER, "sport")
    assert "Council meeting" not in stranger.get("/jobs").text
    for page in (*REVIEWS, "/jobs/{running}", "/jobs/{running}/part", "/jobs/{done}/original"):
        answer = stranger.get(page.format(**found))
        assert answer.status_code == 404, page
        assert "Council" not in answer.text


def test_forms_of_other_sites_do_nothing(dash: Dash) -> None:
    found = furnish(dash)
    kim, form = browser(dash, "kim", Role.ADMIN)
    for given in ({}, {"csrf": "0" * 64}):
        fields = {"do": "pause", "job": found["running"], "worker": "gpu-1", **given}
        for place in ("/jobs/do", "/farm/do", "/jobs/{done}/compare", "/logout"):
            assert kim.post(place.format(**found), data=fields).status_code == 403
    assert dash.book.control(found["running"]).state is JobState.RUNNING
    assert dash.anonymous().post("/login", data={"token": dash.token("ann")}).status_code == 422
    answer = kim.post("/jobs/do", data={"csrf": form, "do": "pause", "job": found["running"]})
    assert answer.status_code == 303
    assert dash.book.control(found["running"]).state is JobState.PAUSED


def test_wrong_tokens_are_bounded(dash: Dash) -> None:
    guess = dash.anonymous()
    statuses = []
    for _ in range(6):
        form = re.search(r'name="mark" value="([^"]+)"', guess.get("/login").text)
        assert form is not None
        statuses.append(guess.post("/login", data={"mark": form[1], "token": "vf_wrong"}).status_code)
    assert statuses == [422, 422, 422, 429, 429, 429]


def test_a_session_s_cookie_is_kept_from_scripts_and_other_sites(dash: Dash) -> None:
    token = dash.token("kim", Role.VIEWER)
    for scheme, secure in (("http", False), ("https", True)):
        kim = dash.anonymous(base_url=f"{scheme}://farm.example")
        form = re.search(r'name="mark" value="([^"]+)"', kim.get("/login").text)
        assert form is not None
        answer = kim.post("/login", data={"mark": form[1], "token": token, "next": "/farm"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/farm")
        cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith(COOKIE))
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert ("; secure" in cookie.lower()) is secure
        assert token not in cookie


def test_nobody_is_sent_elsewhere() -> None:
    assert inside("/jobs?q=1") == "/jobs?q=1"
    for place in ("//evil.example", "/\\evil.example", "https://evil.example", "", "/a b", "javascript:alert(1)"):
        assert inside(place) == "/"


def test_odd_names_and_places_do_no_harm(dash: Dash) -> None:
    name = '<script>alert(1)</script>"../../etc/passwd'
    job = dash.job(name, JobState.QUEUED)
    kim, form = browser(dash, "kim", Role.ADMIN)
    for page in ("/jobs", f"/jobs/{job}", f"/jobs/{job}/people", "/jobs?q=%3Cscript%3E&owner=%3Cb%3E"):
        assert "<script>alert" not in kim.get(page).text
    for page in (
        "/jobs/NOPE",
        "/jobs/" + "0" * 26,
        f"/jobs/{job}/chunks/9",
        f"/jobs/{job}/steps/render",
        "/jobs?state=x",
    ):
        assert kim.get(page).status_code == 404, page
    assert kim.post("/jobs/do", data={"csrf": form, "do": "erase-all"}).status_code == 422
    assert kim.post("/jobs/do", data={"csrf": form, "do": "priority", "priority": "much"}).status_code == 422
    for page in ("/static/../pages.py", "/static/%2e%2e/pages.py", "/static/%2e%2e%2fpages.py"):
        assert kim.get(page).status_code == 404


def test_an_original_is_sent_to_a_reviewer_who_asked_and_the_history_says_so(dash: Dash, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "in.mp4").write_bytes(b"original")
    job = dash.job("in.mp4", JobState.RUNNING, source=folder / "in.mp4")
    kim, form = browser(dash, "kim", Role.REVIEWER, "news")
    other, _ = browser(dash, "lea", Role.REVIEWER, "news")
    assert kim.get(f"/jobs/{job}/original").status_code == 403
    assert kim.post(f"/jobs/{job}/compare", data={"csrf": form, "do": "look"}).status_code == 303
    entry = dash.book.history(job)[-1]
    assert (entry.who, entry.what) == ("kim", "looked at the original")
    answer = kim.get(f"/jobs/{job}/original", headers={"Range": "bytes=2-5"})
    assert (answer.status_code, answer.content) == (206, b"igin")
    assert answer.headers["cache-control"] == "no-store"
    assert other.get(f"/jobs/{job}/original").status_code == 403, "another's look is not theirs"
    kim.post(f"/jobs/{job}/compare", data={"csrf": form, "do": "end"})
    assert kim.get(f"/jobs/{job}/original").status_code == 403


def test_originals_elsewhere_or_changed_are_not_sent(dash: Dash, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    inside_it, outside = tmp_path / "films" / "a.mp4", tmp_path / "b.mp4"
    inside_it.write_bytes(b"film")
    outside.write_bytes(b"film")
    changed = dash.job("a.mp4", JobState.RUNNING, source=inside_it)
    hidden = dash.job("b.mp4", JobState.RUNNING, source=outside)
    inside_it.write_bytes(b"another film")
    kim, form = browser(dash, "kim", Role.ADMIN)
    for job, status in ((changed, 409), (hidden, 403)):
        assert kim.post(f"/jobs/{job}/compare", data={"csrf": form, "do": "look"}).status_code == status
        assert kim.get(f"/jobs/{job}/original").status_code == 403
        assert len(dash.book.history(job)) == 1
