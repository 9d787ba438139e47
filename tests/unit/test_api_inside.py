"""What is inside a job, its film, events and workers, over a store in memory."""

import json
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from apiclient import Api
from apifarm import submit

from cluster.account import FarmStatus, Progress, WorkerStatus
from cluster.api.events import _Stream as stream
from cluster.api.hub import KEPT, Hub
from cluster.api.limits import Limits
from cluster.book import JobResult
from cluster.job import ChunkRecord, LinkFacts, Plan, RenderFacts, Step, TrackFacts
from cluster.ledger import Ledger, Unit
from cluster.states import JobState, Move
from cluster.users import Role
from storage import layout
from storage.memory import MemoryStore
from storage.objects import Unreachable


def rendered(chunk: int, leaks: int = 0, failures: dict[str, int] | None = None) -> RenderFacts:
    return RenderFacts("s.nut", 10, chunk * 10, chunk * 10 + 9, "1" * 64, 10, 0, "h264", {}, failures or {}, leaks, {})


@pytest.fixture
def job(api: Api) -> str:
    """Kim's, with three chunks, of which two are rendered."""
    found = submit(api.book, "talk.mp4", "kim")
    ledger = Ledger(api.store, found)
    chunks = tuple(ChunkRecord(i, i * 10, i * 10 + 10, i * 10, i * 10 + 10, "") for i in range(3))
    ledger.commit(Unit(Step.PLAN), "A", Plan(0, 30, chunks), 0.1)
    tracks = (
        TrackFacts(0, 0, 0, 20, 20, 40, 60, {"replace": 18, "cover_small": 2}),
        TrackFacts(1, 1, 5, 9, 4, 12, 14, {"cover_small": 4}),
        TrackFacts(2, 0, 25, 30, 5, 30, 90, {"replace": 5}),
    )
    ledger.commit(Unit(Step.LINK), "B", LinkFacts(2, {"0": "0123456789abcdef"}, tracks), 0.2)
    ledger.commit(Unit(Step.RENDER, 0), "C", rendered(0, leaks=2), 1.5, "worker-1")
    ledger.commit(Unit(Step.RENDER, 1), "D", rendered(1), 1.5, "worker-1")
    ledger.keep_log(Unit(Step.RENDER, 0), "C", b'{"text": "rendering"}\nnot JSON\n[1]\n')
    return found


def test_people(api: Api, job: str) -> None:
    answer = api.client("kim", Role.REVIEWER).get(f"/v1/jobs/{job}/people")
    first, second = answer.json()
    assert (first["person"], first["identity"], first["frames"]) == (0, "0123456789abcdef", 25)
    assert (first["smallest"], first["largest"]) == (30, 90)
    assert (first["replaced"], first["covered"], first["why_covered"]) == (23, 2, {"cover_small": 2})
    assert [(t["id"], t["first"], t["last"]) for t in first["tracks"]] == [(0, 0, 20), (2, 25, 30)]
    assert (second["identity"], second["replaced"], second["covered"]) == (None, 0, 4)


def test_findings(api: Api, job: str) -> None:
    kim = api.client("kim", Role.REVIEWER)
    found = kim.get(f"/v1/jobs/{job}/findings").json()
    assert found == {
        "findings": [{"chunk": 0, "first": 0, "last": 10, "leaks": 2, "failures": {}}],
        "looked": 2,
        "chunks": 3,
    }
    assert kim.get(f"/v1/jobs/{job}/findings", params={"offset": 1}).json()["findings"] == []


@pytest.mark.parametrize("path", ["people", "findings"])
def test_people_and_findings_are_for_reviewers(api: Api, job: str, path: str) -> None:
    assert api.client("kim", Role.SUBMITTER).get(f"/v1/jobs/{job}/{path}").status_code == 403
    early = submit(api.book, owner="lee")
    assert api.client("lee", Role.REVIEWER).get(f"/v1/jobs/{early}/{path}").status_code == 409


def test_units(api: Api, job: str) -> None:
    kim = api.client("kim")
    found = kim.get(f"/v1/jobs/{job}/units").json()
    assert len(found) == len(Step) - 3 + 2 * 3
    by_name = {(unit["step"], unit["chunk"]): unit for unit in found}
    assert by_name["render", 0] == {
        "step": "render", "chunk": 0, "edited": False, "frames": 10, "done": True, "worker": "worker-1", "seconds": 1.5
    }  # fmt: skip
    assert by_name["render", 2]["done"] is False
    assert kim.get(f"/v1/jobs/{job}/units", params={"offset": 2, "limit": 3}).json() == found[2:5]


def test_logs(api: Api, job: str) -> None:
    kim = api.client("kim")
    (found,) = kim.get(f"/v1/jobs/{job}/logs", params={"step": "render", "chunk": 0}).json()
    assert found["attempt"] == "C"
    assert found["lines"] == [{"text": "rendering"}, {"text": "not JSON"}, {"text": "[1]"}]
    assert kim.get(f"/v1/jobs/{job}/logs", params={"step": "link"}).json() == []
    for wrong in ({"step": "render"}, {"step": "link", "chunk": 0}, {"step": "../x"}, {}):
        assert kim.get(f"/v1/jobs/{job}/logs", params=wrong).status_code == 422


# The film.

FILM = bytes(range(256)) * 10


@pytest.fixture
def done(api: Api, tmp_path: Path) -> str:
    """A job of Kim's whose film is in the store."""
    found = submit(api.book, 'Kims "Gespräch".mov', "kim")
    api.book.change(found, "x", Move.START)
    api.book.change(found, "x", Move.FINISH)
    key = layout.output(found, "film.mp4")
    (tmp_path / "film").write_bytes(FILM)
    api.store.put_file(key, tmp_path / "film")
    (tmp_path / "report").write_text('{"version": 2}')
    api.store.put_file(f"{key}.report.json", tmp_path / "report")
    api.book.close(
        found, 1, JobResult(JobState.DONE, "", time.time(), key, f"{key}.report.json", 30, 1.0, 1, len(FILM))
    )
    return found


def test_the_whole_film(api: Api, done: str) -> None:
    answer = api.client("kim", Role.VIEWER).get(f"/v1/jobs/{done}/film")
    assert (answer.status_code, answer.content) == (200, FILM)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(FILM))
    assert answer.headers["accept-ranges"] == "bytes"
    name = "attachment; filename*=UTF-8''Kims%20%22Gespr%C3%A4ch%22.mp4"
    assert answer.headers["content-disposition"] == name
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("wanted", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-199", 206, 100, 200),
        ("bytes=2500-", 206, 2500, 2560),
        ("bytes=-60", 206, 2500, 2560),
        ("bytes=-9999", 206, 0, 2560),
        ("bytes=2559-9999", 206, 2559, 2560),
        ("bytes=0-1,5-6", 200, 0, 2560),
        ("bytes=5-4", 200, 0, 2560),
        ("bytes=-", 200, 0, 2560),
        ("lines=1-2", 200, 0, 2560),
        ("nonsense", 200, 0, 2560),
        ("bytes=2560-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
    ],
)
def test_ranges(api: Api, done: str, wanted: str, status: int, start: int, stop: int) -> None:
    answer = api.client("kim").get(f"/v1/jobs/{done}/film", headers={"Range": wanted})
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["content-range"] == "bytes */2560"
        return
    assert answer.content == FILM[start:stop]
    assert answer.headers["content-length"] == str(stop - start)
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/2560"


def test_conditions(api: Api, done: str) -> None:
    kim = api.client("kim")
    path = f"/v1/jobs/{done}/film"
    etag = kim.head(path).headers["etag"]
    assert kim.get(path, headers={"If-None-Match": etag}).status_code == 304
    assert kim.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    part = {"Range": "bytes=0-9"}
    assert kim.get(path, headers={**part, "If-Range": etag}).status_code == 206
    assert kim.get(path, headers={**part, "If-Range": '"other"'}).content == FILM
    assert kim.head(path).content == b""


def test_the_report(api: Api, done: str, job: str) -> None:
    kim = api.client("kim", Role.VIEWER)
    assert kim.get(f"/v1/jobs/{done}/report").json() == {"version": 2}
    assert kim.get(f"/v1/jobs/{job}/report").status_code == 409
    assert kim.get(f"/v1/jobs/{job}/film").status_code == 409


def test_a_link_where_the_store_has_urls(api: Api, done: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kim = api.client("kim")
    assert kim.get(f"/v1/jobs/{done}/film/link").status_code == 501
    assert kim.get(f"/v1/jobs/{done}/film", params={"redirect": True}).content == FILM
    monkeypatch.setattr(MemoryStore, "presigned", lambda _, key, seconds: f"https://store/{key}?for={seconds}")
    url = f"https://store/{layout.output(done, 'film.mp4')}?for="
    found = kim.get(f"/v1/jobs/{done}/film/link", params={"seconds": 60}).json()
    assert found["url"] == f"{url}60"
    assert 0 < found["expires"] - time.time() <= 60
    answer = kim.get(f"/v1/jobs/{done}/film", params={"redirect": True})
    assert (answer.status_code, answer.headers["location"]) == (307, f"{url}3600")
    assert kim.get(f"/v1/jobs/{done}/film/link", params={"seconds": 10**7}).status_code == 422
    assert api.client("lee", Role.REVIEWER).get(f"/v1/jobs/{done}/film/link").status_code == 404


def test_a_film_on_this_machine_only_from_allowed_folders(api: Api, tmp_path: Path) -> None:
    kim = api.client("kim")
    for folder, status in ((tmp_path / "films", 200), (tmp_path / "private", 403)):
        folder.mkdir()
        (folder / "out.mp4").write_bytes(FILM)
        job = submit(api.book, "talk.mp4", "kim")
        place = str(folder / "out.mp4")
        api.book.close(job, 1, JobResult(JobState.DONE, "", 0.0, place, f"{place}.report.json"))
        assert kim.get(f"/v1/jobs/{job}/film").status_code == status
        (folder / "out.mp4").unlink()
        assert kim.get(f"/v1/jobs/{job}/film").status_code == (404 if status == 200 else 403)
        assert kim.get(f"/v1/jobs/{job}/report").status_code == (404 if status == 200 else 403)


# Events.


def events(answer: Any) -> list[tuple[str, str, Any]]:
    """(id, kind, facts)."""
    found = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return found


def test_events_of_jobs_that_one_may_see(api: Api) -> None:
    api.users.add("lee", Role.VIEWER)
    kim = api.client("kim")
    begin = f"{api.hub.name}-0"
    mine, other = submit(api.book, "mine.mp4", "kim"), submit(api.book, "other.mp4", "lee")
    api.index.refresh()
    api.book.change(mine, "x", Move.CANCEL)
    api.book.erase(mine)
    api.index.drop(mine)
    answer = kim.get("/v1/events", params={"seconds": 0.5}, headers={"Last-Event-ID": begin})
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer)
    assert [(kind, facts["job"], facts.get("state")) for _, kind, facts in found] == [
        ("job", mine, "queued"),
        ("job", mine, "cancelled"),
        ("gone", mine, None),
    ]
    again = kim.get("/v1/events", params={"seconds": 0.5}, headers={"Last-Event-ID": found[0][0]})
    assert events(again) == found[1:]
    assert kim.get("/v1/events", params={"job": other}).status_code == 404


def test_a_stream_shows_what_comes_and_ends_with_the_farm(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    kim = api.client("kim")
    job = submit(api.book, "mine.mp4", "kim")
    api.index.refresh()
    news, calls = stream.news, count()

    def play(self: stream) -> str:
        """What happens while the stream is open."""
        turn = next(calls)
        if turn == 1:
            api.book.change(job, "x", Move.START)
            api.progress = (Progress(job, Step.RENDER, 5, 10, 1.0, 5.0, 1.0),)
            self._looked = 0.0
        if turn == 2:
            api.context.stopping.set()
        return news(self)

    monkeypatch.setattr(stream, "news", play)
    found = events(kim.get("/v1/events", params={"job": job}))
    assert [kind for _, kind, _ in found] == ["job", "progress"]
    assert found[0][2]["state"] == "running"
    assert (found[1][2]["step"], found[1][2]["done"], found[1][2]["job"]) == ("render", 5, job)


@pytest.mark.parametrize("last", ["another-5", "nonsense", "{name}-999999", "{name}--1", "{name}-²"])
def test_who_missed_events_is_told_to_read_anew(api: Api, last: str) -> None:
    submit(api.book, owner="kim")
    api.index.refresh()
    header = {"Last-Event-ID": last.format(name=api.hub.name)} if last.isascii() else {"Last-Event-ID": "x"}
    found = events(api.client("kim").get("/v1/events", params={"seconds": 0.3}, headers=header))
    assert found == [(f"{api.hub.name}-1", "reset", {})]


def test_only_so_many_streams(tmp_path: Path) -> None:
    api = Api(tmp_path, limits=Limits(streams=0))
    assert api.client("kim").get("/v1/events").status_code == 503


def test_the_hub_forgets_what_is_old(api: Api) -> None:
    hub = Hub()
    submit(api.book)
    api.index.refresh()
    row = api.index.rows()[0]
    assert hub.since(0) == ()
    for _ in range(KEPT + 2):
        hub.tell(None, row)
    assert hub.since(1) is None
    kept = hub.since(2)
    assert kept is not None
    assert [each.number for each in kept] == list(range(3, KEPT + 3))
    assert hub.since(hub.last) == ()
    assert hub.since(hub.last + 1) is None


# Workers, store, metrics, health.


def test_workers(api: Api, job: str) -> None:
    lee, ann = api.client("lee", Role.VIEWER), api.client("ann", Role.ADMIN)
    assert lee.get("/v1/workers").json() == {"at": None, "controller": "", "workers": []}
    worker = WorkerStatus("node 1/w0", "cpu", "busy", job, "render of chunk 0", 5, 12.5, "")
    api.status = FarmStatus(1e9, "host:1", (worker,), ())
    api.index.refresh()
    assert lee.get("/v1/workers").json()["workers"][0]["job"] == ""  # Kim's
    shown = ann.get("/v1/workers").json()
    assert (shown["at"], shown["controller"]) == (1e9, "host:1")
    assert (shown["workers"][0]["job"], shown["workers"][0]["fps"]) == (job, 12.5)
    safe = layout.safe(worker.name)
    assert lee.put(f"/v1/workers/{safe}/drain").status_code == 403
    assert ann.put(f"/v1/workers/{safe}/drain").status_code == 204
    assert ann.put(f"/v1/workers/{safe}/drain").status_code == 204
    assert api.store.list("farm/drain") == (f"farm/drain/{safe}",)
    assert ann.delete(f"/v1/workers/{safe}/drain").status_code == 204
    assert api.store.list("farm/drain") == ()
    assert ann.post(f"/v1/workers/{safe}/unblock").status_code == 204
    assert api.store.list("farm/unblock") == (f"farm/unblock/{safe}",)
    for call in (ann.put("/v1/workers/nobody/drain"), ann.post("/v1/workers/nobody/unblock")):
        assert call.status_code == 404


def test_the_stores_health(api: Api) -> None:
    ann = api.client("ann", Role.ADMIN)
    found = ann.get("/v1/store").json()
    assert found["usable"] is True
    assert {each["name"] for each in found["findings"]} >= {"create once", "ranges"}
    assert api.client("kim", Role.REVIEWER).get("/v1/store").status_code == 403
    assert not any(key.startswith("probe") for key in api.store.keys(""))


def test_metrics_take_a_token(api: Api) -> None:
    assert api.anonymous().get("/metrics").status_code == 401
    answer = api.client("prom", Role.VIEWER).get("/metrics")
    assert answer.text == "veilfarm_leader 1.0\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_health_takes_none(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    client = api.anonymous()
    assert client.get("/healthz").json() == {"alive": True}
    assert client.get("/readyz").json() == {"ready": True, "index": True, "store": True, "leads": True}
    api.index.ready = False
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    api.index.ready = True

    def away(*_: object, **__: object) -> tuple[str, ...]:
        raise Unreachable("nobody answers")

    monkeypatch.setattr(api.store, "list", away)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["store"]) == (503, False)


# Users.
