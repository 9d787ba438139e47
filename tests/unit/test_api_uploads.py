"""/v1/uploads: tus, over a store in memory."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from apiclient import Api
from fastapi.testclient import TestClient

from cluster.api import incoming
from cluster.api.incoming import Incoming, NoSuchUpload, Upload
from cluster.api.limits import Limits
from cluster.users import Role
from storage import layout
from storage.objects import AlreadyThere

TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
def kim(api: Api) -> TestClient:
    return api.client("kim")


def begin(client: TestClient, length: int, name: str = "talk.mp4") -> str:
    """Where the bytes go."""
    told = f"filename {base64.b64encode(name.encode()).decode()},filetype dmlkZW8vbXA0"
    answer = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(length), "Upload-Metadata": told})
    assert answer.status_code == 201, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer.headers["location"]


def send(client: TestClient, place: str, offset: int, data: bytes, **headers: str) -> Any:
    told = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream", **headers}
    return client.patch(place, content=data, headers=told)


def offset(client: TestClient, place: str) -> int:
    answer = client.head(place, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def test_what_the_server_can(api: Api) -> None:
    answer = api.anonymous().options("/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,termination,expiration"
    assert int(answer.headers["tus-max-size"]) == 1 << 40


def test_a_film_in_pieces_becomes_one_file(api: Api, kim: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "PART", 1000)
    data = bytes(range(256)) * 20
    place = begin(kim, len(data), "Kims Gespräch.mp4")
    assert offset(kim, place) == 0
    answer = send(kim, place, 0, data[:3333])
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "3333")
    assert offset(kim, place) == 3333
    assert kim.get(place).json()["complete"] is False
    assert send(kim, place, 3333, data[3333:]).headers["upload-offset"] == str(len(data))
    assert offset(kim, place) == len(data)
    shown = kim.get(place).json()
    assert (shown["name"], shown["complete"], shown["job"]) == ("Kims Gespräch.mp4", True, None)
    (key,) = api.store.keys("uploads")
    assert key.endswith("/Kims_Gespr_ch.mp4")
    assert api.store.read(key) == data
    assert not list(api.store.keys(f"{layout.incoming(shown['id'])}/parts"))


def test_an_offset_survives_a_restart(api: Api, kim: TestClient, tmp_path: Path) -> None:
    place = begin(kim, 10)
    send(kim, place, 0, b"01234")
    again = Api(tmp_path, api.store)
    token = again.users.issue("kim")[0]
    client = again.anonymous(headers={"Authorization": f"Bearer {token}"})
    assert offset(client, place) == 5
    assert send(client, place, 5, b"56789").status_code == 204
    (key,) = api.store.keys("uploads")
    assert api.store.read(key) == b"0123456789"


def test_a_wrong_offset_is_refused(kim: TestClient) -> None:
    place = begin(kim, 10)
    send(kim, place, 0, b"0123")
    for wrong in (0, 3, 5, 10):
        answer = send(kim, place, wrong, b"x")
        assert (answer.status_code, answer.headers["upload-offset"]) == (409, "4")
    assert offset(kim, place) == 4


def test_more_than_was_announced_is_refused(api: Api, kim: TestClient) -> None:
    place = begin(kim, 4)
    assert send(kim, place, 0, b"01234").status_code == 413
    assert offset(kim, place) == 0
    assert list(api.store.keys("uploads")) == []


def test_a_film_may_be_so_large_and_no_larger(tmp_path: Path) -> None:
    api = Api(tmp_path, limits=Limits(upload=100, rate=1e6, burst=10**6))
    kim = api.client("kim")
    begin(kim, 100)
    answer = kim.post("/v1/uploads", headers={**TUS, "Upload-Length": "101"})
    assert answer.status_code == 413
    assert "100 bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Upload-Length": "1"}, 412),
        ("POST", {"Upload-Length": "1", "Tus-Resumable": "0.2.2"}, 412),
        ("POST", TUS, 422),
        ("POST", {**TUS, "Upload-Length": "-1"}, 422),
        ("POST", {**TUS, "Upload-Length": "many"}, 422),
        ("POST", {**TUS, "Upload-Length": "1", "Upload-Metadata": "filename *"}, 422),
        ("PATCH", {**TUS, "Upload-Offset": "0", "Content-Type": "text/plain"}, 415),
        ("PATCH", {**TUS, "Content-Type": "application/offset+octet-stream"}, 422),
        ("PATCH", {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}, 412),
        ("HEAD", {}, 412),
        ("DELETE", {}, 412),
    ],
)
def test_what_isnt_tus(kim: TestClient, method: str, headers: dict[str, str], status: int) -> None:
    place = "/v1/uploads" if method == "POST" else begin(kim, 5)
    answer = kim.request(method, place, headers=headers)
    assert answer.status_code == status
    if method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
    if status == 412:
        assert answer.headers["tus-version"] == "1.0.0"


def test_one_writer_at_a_time(api: Api, kim: TestClient) -> None:
    place = begin(kim, 5)
    with api.incoming.writing(api.incoming.find(place.rpartition("/")[2])) as free:
        assert free
        assert send(kim, place, 0, b"01234").status_code == 423
        assert kim.delete(place, headers=TUS).status_code == 423
    assert send(kim, place, 0, b"01234").status_code == 204


def test_what_came_before_a_cut_is_kept(api: Api, kim: TestClient) -> None:
    import asyncio

    place = begin(kim, 100)
    messages = [
        {"type": "http.request", "body": b"0123456789", "more_body": True},
        {"type": "http.disconnect"},
    ]
    answers: list[Any] = []
    headers = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", **kim.headers}

    async def receive() -> Any:
        return messages.pop(0)

    async def answer(message: Any) -> None:
        answers.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PATCH",
        "scheme": "http",
        "path": place,
        "raw_path": place.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    asyncio.run(api.app(scope, receive, answer))
    assert offset(kim, place) == 10


def test_deleting(api: Api, kim: TestClient) -> None:
    place = begin(kim, 5)
    send(kim, place, 0, b"01")
    assert kim.delete(place, headers=TUS).status_code == 204
    assert kim.head(place, headers=TUS).status_code == 404
    assert list(api.store.keys("incoming")) == []
    done = begin(kim, 2)
    send(kim, done, 0, b"01")
    kim.delete(done, headers=TUS)
    assert list(api.store.keys("uploads")) == []


def test_an_upload_that_isnt_complete_is_no_film_yet(api: Api, kim: TestClient) -> None:
    place = begin(kim, 5)
    send(kim, place, 0, b"01")
    answer = kim.post("/v1/jobs", json={"upload": place.rpartition("/")[2]})
    assert (answer.status_code, answer.json()["detail"]) == (409, "2 of the upload's 5 bytes have come")
    assert api.book.jobs() == ()


def test_uploads_of_others_arent_there(api: Api, kim: TestClient) -> None:
    place = begin(kim, 5)
    for other in (api.client("lee"), api.client("ann", Role.ADMIN)):
        assert other.head(place, headers=TUS).status_code == 404
        assert send(other, place, 0, b"0").status_code == 404
        assert other.delete(place, headers=TUS).status_code == 404
        assert other.post("/v1/jobs", json={"upload": place.rpartition("/")[2]}).status_code == 404
    assert api.client("joe", Role.VIEWER).post("/v1/uploads", headers={**TUS, "Upload-Length": "1"}).status_code == 403


@pytest.mark.parametrize(
    ("name", "shown", "suffix"),
    [
        ("../../etc/passwd", "passwd", "passwd"),
        ("C:\\films\\talk.mp4", "talk.mp4", "talk.mp4"),
        ("a" * 300 + ".mp4", "a" * 200, "a" * 60),
        ("", "film", "film"),
        ("..", "..", "_"),
        (".mp4", ".mp4", "mp4"),
        ("tab\there.mp4", "tabhere.mp4", "tabhere.mp4"),
    ],
)
def test_names_of_films_lead_nowhere(api: Api, kim: TestClient, name: str, shown: str, suffix: str) -> None:
    place = begin(kim, 0, name)
    found = kim.get(place).json()
    assert (found["name"], found["complete"]) == (shown, True)
    assert list(api.store.keys("uploads")) == [f"uploads/{found['id']}/{suffix}"]


# Without HTTP.


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def part(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "part"
    path.write_bytes(data)
    return path


def test_of_overlapping_parts_the_longer_counts(api: Api, tmp_path: Path) -> None:
    """Two servers that took the same bytes at once leave that behind."""
    uploads, upload = api.incoming, api.incoming.begin("kim", "talk.mp4", 8)
    uploads.add(upload, 0, part(tmp_path, b"01"))
    uploads.add(upload, 0, part(tmp_path, b"0123"))
    uploads.add(upload, 2, part(tmp_path, b"23"))
    assert uploads.offset(upload) == 4
    uploads.add(upload, 6, part(tmp_path, b"67"))
    assert uploads.offset(upload) == 4
    with pytest.raises(NoSuchUpload):
        uploads.finish(upload)
    uploads.add(upload, 4, part(tmp_path, b"45"))
    assert api.store.read(uploads.finish(upload)) == b"01234567"
    assert api.store.read(uploads.finish(upload)) == b"01234567"
    another = uploads.begin("kim", "walk.mp4", 12)
    for length in (10, 9):  # whose keys sort the other way round
        uploads.add(another, 0, part(tmp_path, b"x" * length))
    assert uploads.offset(another) == 10


def test_an_upload_serves_one_job(api: Api) -> None:
    upload = api.incoming.begin("kim", "talk.mp4", 0)
    api.incoming.finish(upload)
    api.incoming.take(upload, "A")
    api.incoming.take(upload, "A")
    with pytest.raises(AlreadyThere, match="another job's source"):
        api.incoming.take(upload, "B")
    api.incoming.drop(upload)
    assert len(list(api.store.keys("uploads"))) == 1  # the job works on it


def test_uploads_that_nobody_wants_any_more_go(api: Api, tmp_path: Path) -> None:
    clock = Clock()
    uploads = Incoming(api.store, 7.0, clock)
    old = uploads.begin("kim", "old.mp4", 2)
    uploads.add(old, 0, part(tmp_path, b"0"))
    unused = uploads.begin("kim", "unused.mp4", 0)
    uploads.finish(unused)
    clock.now += 7 * 86400 + 1
    young = uploads.begin("kim", "young.mp4", 2)
    assert uploads.tidy() == 2
    assert api.store.children("incoming") == (young.id,)
    assert list(api.store.keys("uploads")) == []
    assert uploads.tidy() == 0


@pytest.mark.parametrize("upload_id", ["", "..", "x" * 26, "../../farm", "0" * 25])
def test_ids_that_are_none(api: Api, upload_id: str) -> None:
    with pytest.raises(NoSuchUpload):
        api.incoming.find(upload_id)


def test_times_are_told(api: Api, kim: TestClient) -> None:
    answer = kim.post("/v1/uploads", headers={**TUS, "Upload-Length": "1"})
    assert answer.headers["upload-expires"].endswith("GMT")
    upload = api.incoming.find(answer.headers["location"].rpartition("/")[2])
    assert isinstance(upload, Upload)
    assert api.incoming.expires(upload) - time.time() > 6.9 * 86400
