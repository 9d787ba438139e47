"""The dashboard's pages without a browser: who gets what, and nothing by other sites' forms."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dashfarm import Dash, furnish

from cluster.api.allowed import Allowed
from cluster.api.limits import Limits
from cluster.dashboard.pages import inside
from cluster.desk import Desk
from cluster.job import new_id
from cluster.sessions import COOKIE, mark
from cluster.states import JobState
from cluster.users import Role
from storage import layout


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


PAGES = ("/jobs", "/jobs/{running}", "/jobs/{running}/chunks/3", "/jobs/{running}/steps/ingest", "/farm", "/account")
ADMINS = ("/users", "/users/kim", "/tokens", "/farm/store")
REVIEWS = ("/jobs/{running}/people", "/jobs/{done}/compare", "/jobs/{done}/people")


def test_every_page_is_drawn_in_both_languages_with_a_strict_policy(dash: Dash) -> None:
    found = furnish(dash)
    kim, _ = browser(dash, "kim", Role.ADMIN)
    for language in ("en", "de"):
        for page in (*PAGES, *REVIEWS, *ADMINS, "/jobs/part", "/jobs/{running}/part", "/farm/part"):
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
    for page in (*PAGES, *REVIEWS, *ADMINS, "/jobs/{done}/original"):
        answer = nobody.get(page.format(**found))
        assert answer.status_code == 303, page
        assert answer.headers["location"].startswith("/login")
    assert nobody.get("/jobs/part", headers={"X-Fragment": "1"}).status_code == 401


def test_roles_and_teams(dash: Dash) -> None:
    found = furnish(dash)
    viewer, form = browser(dash, "vic", Role.VIEWER, "news")
    assert "Council meeting" in viewer.get("/jobs").text
    assert 'id="drop"' not in viewer.get("/jobs").text
    for page in (*REVIEWS, *ADMINS):
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


def test_several_jobs_that_are_over_are_deleted_at_once(dash: Dash) -> None:
    found = furnish(dash)
    kim, form = browser(dash, "kim", Role.ADMIN)
    page = kim.get("/jobs").text
    assert 'data-move="delete"' in page
    over = [found[name] for name in ("done", "failed", "cancelled")]
    fields = {"csrf": form, "do": "delete", "job": [*over, found["running"]]}
    assert kim.post("/jobs/do", data=fields).status_code == 303
    text = kim.get("/jobs").text
    assert "3 jobs deleted. 1 left as it was" in text
    assert not any(job in text for job in over)
    assert dash.book.control(found["running"]).state is JobState.RUNNING


def test_admins_add_people_change_them_and_shut_them_out(dash: Dash) -> None:
    kim, form = browser(dash, "kim", Role.ADMIN)

    def send(place: str, **fields: str) -> Any:
        return kim.post(place, data={"csrf": form, **fields})

    assert send("/users", name="lea", role="viewer", team="news").headers["location"] == "/users/lea"
    assert dash.users.user("lea").role is Role.VIEWER
    for given, why in (({"name": "lea"}, "called so already"), ({"name": "L ea"}, "small letters")):
        answer = send("/users", **{"role": "viewer", "team": "", **given})
        assert answer.status_code == 422
        assert why in answer.text
        assert f'value="{given["name"]}"' in answer.text, "what was written stays"
    made = send("/tokens", user="lea", label="laptop", days="30")
    token = re.search(r'value="(vf_[^"]+)"', made.text)
    assert made.status_code == 201
    assert token is not None
    assert dash.users.who(token[1]) == dash.users.user("lea")
    assert token[1] not in kim.get("/users/lea").text + kim.get("/tokens").text, "it is shown once"
    send("/users/lea", do="change", role="reviewer", team="sport")
    assert (dash.users.user("lea").role, dash.users.user("lea").team) == (Role.REVIEWER, "sport")
    send("/users/lea", do="disable")
    assert dash.users.who(token[1]) is None
    send("/users/lea", do="enable")
    assert dash.users.who(token[1]) is not None
    assert send("/tokens/revoke", token=token[1].split("_")[1], back="//evil").headers["location"] == "/"
    assert dash.users.who(token[1]) is None
    assert "laptop" in kim.get("/users/lea").text
    assert send("/users/kim", do="disable").status_code == 409, "the last admin stays"
    assert send("/users/lea", do="change", role="god").status_code == 422
    assert send("/users/lea", do="erase").status_code == 422
    assert send("/tokens", user="lea", days="never").status_code == 422
    assert send("/tokens", user="nobody").status_code == 404
    assert send("/users/lea", do="remove").headers["location"] == "/users"
    assert [user.name for user in dash.users.users()] == ["kim"]


def test_everybody_has_their_own_tokens_and_no_others(dash: Dash) -> None:
    kim, form = browser(dash, "kim", Role.VIEWER)
    _, theirs = dash.users.issue(dash.users.add("lea", Role.VIEWER).name)
    made = kim.post("/tokens", data={"csrf": form, "user": "kim", "label": "script", "days": "0", "back": "/account"})
    assert "until revoked" in kim.get("/account").text
    assert made.status_code == 201
    assert kim.post("/tokens", data={"csrf": form, "user": "lea"}).status_code == 403
    assert kim.post("/tokens/revoke", data={"csrf": form, "token": theirs.id}).status_code == 404
    for own in dash.users.tokens("kim"):
        answer = kim.post("/tokens/revoke", data={"csrf": form, "token": own.id, "back": "/account"})
        assert answer.status_code == 303
        if answer.headers["location"] == "/login":
            break
    assert kim.get("/account").headers["location"].startswith("/login"), "the session ends with its token"


def test_browsers_get_pages_for_errors_and_programs_get_problems(dash: Dash) -> None:
    furnish(dash)
    kim, _ = browser(dash, "kim", Role.VIEWER)
    for client, known in ((kim, True), (dash.anonymous(), False)):
        answer = client.get("/nowhere", headers={"Accept": "text/html,*/*"})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "There is nothing here" in answer.text
        assert ('href="/account"' in answer.text) is known
    answer = kim.get("/logout", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    for place, accept in (("/nowhere", "*/*"), ("/v1/nowhere", "text/html")):
        answer = kim.get(place, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    answer = kim.get("/users", headers={"Accept-Language": "de"})
    assert "Das braucht die Rolle Verwaltung; Ihre ist Betrachten." in answer.text
    dash.context.index.page = None  # type: ignore[method-assign]
    answer = kim.get("/jobs", headers={"Accept": "text/html"})
    assert answer.status_code == 500
    assert "Something broke" in answer.text


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


def test_an_original_that_was_brought_is_there_until_its_job_is_over(dash: Dash, tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)  # a store may be named by another way than its films
    dash.place(Desk(dash.book, str(tmp_path / "link")), Allowed([]))
    key = layout.upload(new_id(), "in.mp4")
    dash.store.create(key, b"original")
    (folder / key).parent.mkdir(parents=True)
    (folder / key).write_bytes(b"original")
    job = dash.job("in.mp4", JobState.RUNNING, source=folder / key)
    other = dash.job("in.mp4", JobState.RUNNING, source=_elsewhere(tmp_path, key))
    kim, form = browser(dash, "kim", Role.REVIEWER, "news")
    assert kim.post(f"/jobs/{job}/compare", data={"csrf": form, "do": "look"}).status_code == 303
    assert dash.book.history(job)[-1].what == "looked at the original"
    assert kim.get(f"/jobs/{job}/original").content == b"original"
    assert kim.post(f"/jobs/{other}/compare", data={"csrf": form, "do": "look"}).status_code == 403
    dash.book.erase_upload(dash.book.ledger(job))
    assert kim.get(f"/jobs/{job}/original").status_code == 404


def _elsewhere(folder: Path, key: str) -> Path:
    """A file that only looks as if it were in the store."""
    path = folder / "elsewhere" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"original")
    return path


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
