"""Browsers' sessions: they end with their token, and their requests must come from our pages."""

from pathlib import Path

from apiclient import Api

from cluster.sessions import COOKIE, LASTS, Sessions, mark
from cluster.users import Role, Users
from storage.memory import MemoryStore


class _Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_with_time_with_its_token_and_by_logging_out() -> None:
    store, clock = MemoryStore(), _Clock()
    users = Users(store, clock)
    users.add("kim", Role.SUBMITTER)
    text, token = users.issue("kim")
    sessions = Sessions(store, users, clock)
    assert sessions.begin("vf_nonsense") is None
    first, second, third = (sessions.begin(text) for _ in range(3))
    assert first
    assert second
    assert third
    assert sessions.who(first) == users.user("kim")
    assert sessions.who(first[:-1] + ("A" if first[-1] != "A" else "B")) is None
    assert sessions.who("") is None
    sessions.end(first)
    assert sessions.who(first) is None
    assert Sessions(store, users, clock).who(second) is not None, "they outlive the process"
    clock.now += LASTS + 1
    assert sessions.who(second) is None
    fourth = sessions.begin(text)
    assert fourth
    assert sessions.who(fourth)
    users.revoke(token.id)
    clock.now += 10
    assert sessions.who(fourth) is None


def test_the_secret_is_not_in_the_store() -> None:
    store = MemoryStore()
    users = Users(store)
    users.add("kim", Role.SUBMITTER)
    cookie = Sessions(store, users).begin(users.issue("kim")[0])
    assert cookie is not None
    secret = cookie.split("_", 2)[2].encode()
    assert all(secret not in store.read(key) for key in store.keys("farm"))


def test_the_api_takes_sessions_but_changes_nothing_without_the_mark(tmp_path: Path) -> None:
    api = Api(tmp_path)
    api.users.add("kim", Role.SUBMITTER)
    cookie = api.context.sessions.begin(api.users.issue("kim")[0])
    assert cookie is not None
    browser = api.anonymous(cookies={COOKIE: cookie})
    assert browser.get("/v1/me").json()["name"] == "kim"
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "4"}
    assert browser.post("/v1/uploads", headers=headers).status_code == 403
    assert browser.post("/v1/uploads", headers={**headers, "X-CSRF-Token": "0" * 64}).status_code == 403
    assert browser.post("/v1/uploads", headers={**headers, "X-CSRF-Token": mark(cookie)}).status_code == 201
