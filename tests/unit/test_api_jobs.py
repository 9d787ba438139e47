"""/v1/jobs over a store in memory."""

import time
from pathlib import Path
from typing import Any

import pytest
from apiclient import Api
from apifarm import a_film, submit

from cluster.account import Progress
from cluster.counted import CountedStore
from cluster.job import Step, new_id
from cluster.states import JobState, Move
from cluster.users import Role
from storage.memory import MemoryStore
from storage.objects import StoreError, Unreachable


@pytest.fixture
def film(tmp_path: Path) -> str:
    return str(a_film(tmp_path / "films", "talk.mp4"))


def problem(answer: Any, status: int) -> str:
    """The detail of an error that is as all errors are."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    return str(body["detail"])


def test_a_job_is_made_shown_and_listed(api: Api, film: str) -> None:
    kim = api.client("kim", team="news")
    asked = {"source": film, "priority": 3, "quality": "20:slow", "start": "1:02.5", "copy_clean": True}
    made = kim.post("/v1/jobs", json=asked)
    assert made.status_code == 201, made.text
    job = made.json()
    assert made.headers["location"] == f"/v1/jobs/{job['job']}"
    assert (job["name"], job["owner"], job["team"], job["state"]) == ("talk.mp4", "kim", "news", "queued")
    encoding = {"codec": None, "crf": 20, "crf_offset": 0, "preset": "slow"}
    assert job["settings"]["encoding"] == {
        **encoding,
        "convert_audio": False,
        "convert_subtitles": False,
        "copy_clean": True,
        "drop_dynamic_hdr": False,
    }
    assert job["settings"]["start"] == {"seconds": "125/2", "frame": None}
    assert job["source"] == film
    assert api.book.control(job["job"]).priority == 3
    assert kim.get(made.headers["location"]).json() == job
    listed = kim.get("/v1/jobs").json()
    assert (listed["total"], listed["next"], listed["complete"]) == (1, None, True)
    assert listed["jobs"][0]["job"] == job["job"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "one of upload and source"),
        ({"source": "FILM", "upload": "0" * 26}, 422, "one of upload and source"),
        ({"source": "FILM", "quality": "splendid"}, 422, "--quality splendid is unknown"),
        ({"source": "FILM", "codec": "av1", "to": "FILMS/out.mov"}, 422, "av1"),
        ({"source": "FILM", "start": "yesterday"}, 422, "is no time"),
        ({"source": "FILM", "face": "somebody.jpg"}, 422, "OpenAPI"),
        ({"source": "FILM", "priority": 1001}, 422, "OpenAPI"),
        ({"source": "FILM", "deadline": "NaN"}, 422, "OpenAPI"),
        ({"source": "FILM", "after": ["../x"]}, 422, "OpenAPI"),
        ({"source": "FILM", "after": ["0" * 26]}, 404, "there is no job"),
        ({"source": "FILMS/none.mp4"}, 422, "can't be read"),
        ({"source": "FILMS"}, 422, "is no file"),
        ({"source": "FILM", "to": "FILM"}, 422, "own source"),
        ({"upload": "0" * 26}, 404, "there is no upload"),
    ],
)
def test_what_cant_be_is_refused_and_leaves_no_job(
    api: Api, film: str, body: dict[str, Any], status: int, words: str
) -> None:
    text = {
        key: value.replace("FILMS", str(Path(film).parent)).replace("FILM", film) if isinstance(value, str) else value
        for key, value in body.items()
    }
    answer = api.client("kim").post("/v1/jobs", json=text)
    assert words in problem(answer, status)
    assert api.book.jobs() == ()


@pytest.mark.parametrize(
    "place",
    [
        "/etc/passwd",
        "FILMS/../../etc/passwd",
        "FILMS/link",
        "FILMS\x00/talk.mp4",
        "films/talk.mp4",
        "s3://films/other.mp4",
        "s3://films/input/x.mp4",
        "s3://films/in/../other.mp4",
        "s3://films/in//x.mp4",
        "s3://elsewhere/in/x.mp4",
        "http://127.0.0.1:8470/v1/me",
        "file:///etc/passwd",
        "concat:/etc/passwd",
        "-",
    ],
)
@pytest.mark.parametrize("field", ["source", "to"])
def test_only_allowed_places_are_opened(api: Api, film: str, place: str, field: str) -> None:
    folder = Path(film).parent
    (folder / "link").symlink_to("/etc/passwd")
    body = {"source": film} | {field: place.replace("FILMS", str(folder))}
    detail = problem(api.client("kim").post("/v1/jobs", json=body), 403)
    assert "isn't one that the farm may use" in detail
    assert api.book.jobs() == ()


def test_a_key_makes_one_job(api: Api, film: str) -> None:
    kim, lee = api.client("kim"), api.client("lee")
    key = {"Idempotency-Key": "tonight"}
    first = kim.post("/v1/jobs", json={"source": film}, headers=key)
    second = kim.post("/v1/jobs", json={"source": film}, headers=key)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert len(api.book.jobs()) == 1
    other = kim.post("/v1/jobs", json={"source": film, "priority": 1}, headers=key)
    assert "another request" in problem(other, 422)
    assert lee.post("/v1/jobs", json={"source": film}, headers=key).status_code == 201
    assert len(api.book.jobs()) == 2


def test_a_key_of_a_refused_request_can_be_used_again(api: Api, film: str) -> None:
    kim, key = api.client("kim"), {"Idempotency-Key": "tonight"}
    problem(kim.post("/v1/jobs", json={"source": film, "quality": "splendid"}, headers=key), 422)
    assert kim.post("/v1/jobs", json={"source": film}, headers=key).status_code == 201


def test_a_request_that_broke_off_when_the_job_was_there_makes_no_second_one(
    api: Api, film: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kim, key = api.client("kim"), {"Idempotency-Key": "tonight"}

    def away(job: str) -> None:
        raise Unreachable("nobody answers")

    monkeypatch.setattr(api.book, "tell", away)
    problem(kim.post("/v1/jobs", json={"source": film}, headers=key), 503)
    monkeypatch.undo()
    again = kim.post("/v1/jobs", json={"source": film}, headers=key)
    assert again.status_code == 200
    assert api.book.jobs() == (again.json()["job"],)


def test_a_key_under_way_is_told_so(api: Api, film: str) -> None:
    from cluster.api.once import Once

    kim = api.client("kim")
    body = {"source": film}
    asked: list[bytes] = []
    claim = Once.claim

    def spy(self: Once, user: str, key: str, text: bytes) -> tuple[str, bool]:
        asked.append(text)
        return claim(self, user, key, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Once, "claim", spy)
        kim.post("/v1/jobs", json=body, headers={"Idempotency-Key": "first"})
    claim(Once(api.book), "kim", "second", asked[0])  # and then that process died
    answer = kim.post("/v1/jobs", json=body, headers={"Idempotency-Key": "second"})
    assert "under way" in problem(answer, 409)
    late = Once(api.book, lambda: time.time() + 601)
    job, new = claim(late, "kim", "second", asked[0])
    assert new
    assert job not in api.book.jobs()


def test_pages_of_the_list(api: Api) -> None:
    kim = api.client("kim")
    jobs = sorted((submit(api.book, f"{n}.mp4", "kim") for n in range(5)), reverse=True)
    api.index.refresh()
    seen, cursor = [], None
    for size in (2, 2, 1):
        page = kim.get("/v1/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert (len(page["jobs"]), page["total"]) == (size, 5)
        seen += [each["job"] for each in page["jobs"]]
        cursor = page["next"]
    assert cursor is None
    assert seen == jobs


def test_filters_of_the_list(api: Api) -> None:
    kim = api.client("kim", Role.ADMIN)
    one, two = submit(api.book, "Talk.mp4", "kim"), submit(api.book, "walk.mp4", "lee", "news")
    api.book.change(two, "x", Move.PAUSE)
    api.index.refresh()

    def found(**params: str) -> set[str]:
        return {each["job"] for each in kim.get("/v1/jobs", params=params).json()["jobs"]}

    assert found() == {one, two}
    assert found(state="paused") == {two}
    assert found(owner="kim") == {one}
    assert found(team="news") == {two}
    assert found(q="talk") == {one}
    assert found(q="talk", owner="lee") == set()
    problem(kim.get("/v1/jobs", params={"state": "lost"}), 422)
    problem(kim.get("/v1/jobs", params={"limit": 501}), 422)


def test_a_list_asks_nothing_of_the_store(tmp_path: Path) -> None:
    store = CountedStore(MemoryStore())
    api = Api(tmp_path, store)
    kim = api.client("kim")
    for _ in range(20):
        submit(api.book, owner="kim")
    api.index.refresh()
    assert kim.get("/v1/jobs").json()["total"] == 20  # the token is read here
    before = dict(store.requests)
    assert len(kim.get("/v1/jobs", params={"q": "film"}).json()["jobs"]) == 20
    assert dict(store.requests) == before


def test_moves(api: Api) -> None:
    kim = api.client("kim")
    job = submit(api.book, owner="kim")
    assert kim.post(f"/v1/jobs/{job}/pause").json()["state"] == "paused"
    assert "can't be paused" in problem(kim.post(f"/v1/jobs/{job}/pause"), 409)
    assert kim.post(f"/v1/jobs/{job}/resume").json()["state"] == "waiting"
    assert "cancel it first" in problem(kim.delete(f"/v1/jobs/{job}"), 409)
    assert kim.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert kim.post(f"/v1/jobs/{job}/retry").json()["state"] == "waiting"
    kim.post(f"/v1/jobs/{job}/cancel")
    assert kim.delete(f"/v1/jobs/{job}").status_code == 204
    problem(kim.get(f"/v1/jobs/{job}"), 404)
    assert kim.get("/v1/jobs").json()["total"] == 0
    assert list(api.store.keys(f"jobs/{job}")) == []


def test_changes_of_priority_limit_and_deadline(api: Api) -> None:
    kim = api.client("kim")
    job = submit(api.book, owner="kim")
    changed = kim.patch(f"/v1/jobs/{job}", json={"priority": 7, "limit": 2, "deadline": 2e9}).json()
    assert (changed["priority"], changed["limit"], changed["deadline"]) == (7, 2, 2e9)
    changed = kim.patch(f"/v1/jobs/{job}", json={"limit": None}).json()
    assert (changed["priority"], changed["limit"], changed["deadline"]) == (7, None, 2e9)
    revision = api.book.control(job).revision
    assert kim.patch(f"/v1/jobs/{job}", json={}).json()["priority"] == 7
    assert api.book.control(job).revision == revision
    problem(kim.patch(f"/v1/jobs/{job}", json={"priority": None}), 422)
    problem(kim.patch(f"/v1/jobs/{job}", json={"state": "done"}), 422)
    assert [entry["who"] for entry in kim.get(f"/v1/jobs/{job}/history").json()] == ["kim"] * 3


def test_progress_of_a_running_job(api: Api) -> None:
    kim = api.client("kim")
    job = submit(api.book, owner="kim")
    api.progress = (Progress(job, Step.RENDER, 30, 100, 2.0, 15.0, 4.5, 20.5, 60.0),)
    assert kim.get(f"/v1/jobs/{job}").json()["progress"] is None
    api.book.change(job, "x", Move.START)
    now = {"step": "render", "done": 30, "total": 100, "seconds": 2.0, "fps": 15.0, "eta": 4.5, "left": 20.5}
    now["cost"] = 60.0
    assert kim.get(f"/v1/jobs/{job}").json()["progress"] == now
    api.index.refresh()
    assert kim.get("/v1/jobs").json()["jobs"][0]["progress"] == now


@pytest.mark.parametrize("job", ["0" * 26, "..", "%2e%2e", "x" * 26, "%00", "O" * 26])
def test_ids_that_are_none(api: Api, job: str) -> None:
    answer = api.client("kim").get(f"/v1/jobs/{job}/history")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


# Who may do what.

READS = ("", "/history", "/units", "/logs?step=link")
WRITES = ("/pause", "/cancel")


@pytest.mark.parametrize("path", READS)
def test_a_job_of_others_isnt_there(api: Api, path: str) -> None:
    job = submit(api.book, owner="kim", team="news")
    api.index.refresh()
    strangers = [api.client("lee", Role.REVIEWER), api.client("sam", Role.REVIEWER, "sport")]
    friends = [api.client("kim", Role.VIEWER), api.client("joe", Role.VIEWER, "news"), api.client("ann", Role.ADMIN)]
    for client in strangers:
        there = problem(client.get(f"/v1/jobs/{job}{path}"), 404)
        missing = problem(client.get(f"/v1/jobs/{'0' * 26}{path}"), 404)
        assert there.replace(job, "") == missing.replace("0" * 26, "")
        assert client.get("/v1/jobs").json()["total"] == 0
    for client in friends:
        assert client.get(f"/v1/jobs/{job}{path}").status_code == 200
        assert client.get("/v1/jobs").json()["total"] == 1


@pytest.mark.parametrize("path", WRITES)
def test_who_may_change_a_job(api: Api, path: str) -> None:
    refusals = {"kim": Role.VIEWER, "joe": Role.SUBMITTER, "eve": Role.REVIEWER}
    teams = {"kim": "", "joe": "news", "eve": "sport"}
    job = submit(api.book, owner="kim", team="news")
    for (name, role), status in zip(refusals.items(), (403, 403, 404), strict=True):
        problem(api.client(name, role, teams[name]).post(f"/v1/jobs/{job}{path}"), status)
        problem(api.anonymous().post(f"/v1/jobs/{job}{path}"), 401)
    assert api.book.control(job).state is JobState.QUEUED
    assert api.client("boss", Role.REVIEWER, "news").post(f"/v1/jobs/{job}{path}").status_code == 200


def test_nobody_waits_for_a_job_that_they_dont_see(api: Api, film: str) -> None:
    job = submit(api.book, owner="lee")
    answer = api.client("kim").post("/v1/jobs", json={"source": film, "after": [job]})
    problem(answer, 404)


def test_a_store_that_is_away_is_told_as_such(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    kim = api.client("kim")
    job = submit(api.book, owner="kim")
    kim.get("/v1/me")

    def away(key: str) -> bytes:
        raise Unreachable("nobody answers at store.example")

    monkeypatch.setattr(api.store, "read", away)
    answer = kim.get(f"/v1/jobs/{job}")
    problem(answer, 503)
    assert answer.headers["retry-after"]

    def refused(key: str) -> bytes:
        raise StoreError("the secret detail")

    monkeypatch.setattr(api.store, "read", refused)
    assert "secret detail" not in problem(kim.get(f"/v1/jobs/{job}"), 500)


def test_a_bug_tells_nothing(api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    kim = api.client("kim")

    def bug(*_: object) -> None:
        raise RuntimeError("inner workings")

    monkeypatch.setattr(api.index, "page", bug)
    assert "inner workings" not in problem(kim.get("/v1/jobs"), 500)
    assert "inner workings" in caplog.text


def test_ids_are_made_as_jobs_have_them(api: Api) -> None:
    assert api.client("kim").get(f"/v1/jobs/{new_id()}").status_code == 404
