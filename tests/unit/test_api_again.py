"""Jobs that are asked for twice, that are only looked at, and that have names and ids of their own."""

from pathlib import Path
from typing import Any

import pytest
from apiclient import Api
from apifarm import a_film

from cluster.job import id_after, new_id
from cluster.users import Role
from storage.folder import FolderStore
from storage.objects import AlreadyThere


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, FolderStore(tmp_path / "store"))


@pytest.fixture
def film(tmp_path: Path) -> str:
    return str(a_film(tmp_path / "films", "talk.mp4"))


def bring(client: Any, film: bytes = b"film", name: str = "dGFsay5tcDQ=") -> str:
    """An upload that is complete; its id."""
    tus = {"Tus-Resumable": "1.0.0"}
    begun = client.post(
        "/v1/uploads", headers={**tus, "Upload-Length": str(len(film)), "Upload-Metadata": f"filename {name}"}
    )
    octets = {**tus, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    assert client.patch(begun.headers["location"], content=film, headers=octets).status_code == 204
    return str(begun.headers["location"]).rpartition("/")[2]


def test_the_same_id_and_wish_are_the_same_job(api: Api, film: str) -> None:
    kim, job = api.client("kim"), new_id()
    body = {"source": film, "job": job, "quality": "draft"}
    assert kim.post("/v1/jobs", json=body).status_code == 201
    again = kim.post("/v1/jobs", json=body)
    assert (again.status_code, again.json()["job"]) == (200, job)
    assert api.book.jobs() == (job,)
    for other in ({"quality": "best"}, {"veil": "mosaic"}, {"source": str(a_film(Path(film).parent, "b.mp4"))}):
        refused = kim.post("/v1/jobs", json={**body, **other})
        assert refused.status_code == 422, refused.text
        assert f"there is a job {job} already" in refused.json()["detail"]
    assert "with another veil" in kim.post("/v1/jobs", json={**body, "veil": "mosaic"}).json()["detail"]


def test_looking_at_what_is_there_already(api: Api, film: str) -> None:
    kim, job = api.client("kim"), new_id()
    body = {"source": film, "job": job}
    assert kim.post("/v1/jobs?check=true", json=body).status_code == 204
    kim.post("/v1/jobs", json=body)
    assert kim.post("/v1/jobs?check=true", json=body).status_code == 204
    assert kim.post("/v1/jobs?check=true", json={**body, "veil": "solid"}).status_code == 422
    assert kim.post("/v1/jobs?check=true", json={"name": "talk.mp4", "job": job}).status_code == 409
    assert api.client("lee").post("/v1/jobs?check=true", json={"name": "talk.mp4", "job": job}).status_code == 409


def test_a_film_that_has_gone_since_is_still_the_same_job(api: Api, film: str) -> None:
    kim, job = api.client("kim"), new_id()
    kim.post("/v1/jobs", json={"source": film, "job": job})
    Path(film).unlink()
    assert kim.post("/v1/jobs", json={"source": film, "job": job}).status_code == 200


def test_the_same_id_of_an_upload(api: Api) -> None:
    kim, job = api.client("kim"), new_id()
    upload = bring(kim)
    body = {"upload": upload, "job": job}
    assert kim.post("/v1/jobs", json=body).status_code == 201
    assert kim.post("/v1/jobs", json=body).status_code == 200
    assert kim.post("/v1/jobs", json={**body, "upload": bring(kim)}).status_code == 409
    assert kim.post("/v1/jobs", json={**body, "codec": "hevc"}).status_code == 422


def test_an_id_of_somebody_else_or_of_the_future_is_refused(api: Api, film: str) -> None:
    kim, job = api.client("kim"), new_id()
    api.client("lee", Role.ADMIN).post("/v1/jobs", json={"source": film, "job": job})
    assert kim.post("/v1/jobs", json={"source": film, "job": job}).json()["detail"] == "this id is taken; take another"
    future = id_after(4e9)
    assert "in the future" in kim.post("/v1/jobs", json={"source": film, "job": future}).json()["detail"]


def test_two_who_make_the_same_job_at_once(api: Api, film: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def first(*_: object, **__: object) -> None:
        raise AlreadyThere("spec.json")

    monkeypatch.setattr(api.book, "submit", first)
    answer = api.client("kim").post("/v1/jobs", json={"source": film, "job": new_id()})
    assert (answer.status_code, answer.headers["retry-after"]) == (409, "2")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"source": "FILM"}, 204),
        ({"name": "new.mov"}, 204),
        ({"name": "new.mov", "codec": "av1"}, 422),
        ({}, 422),
        ({"source": "FILM", "upload": "0" * 26}, 422),
        ({"source": "/etc/passwd"}, 403),
        ({"source": "FOLDER/none.mp4"}, 422),
        ({"source": "FILM", "to": "FILM"}, 422),
        ({"name": "x.mp4", "to": "/elsewhere/"}, 403),
        ({"source": "FILM", "after": ["0" * 26]}, 404),
        ({"upload": "0" * 26}, 404),
    ],
)
def test_looking_makes_no_job(api: Api, film: str, body: dict[str, Any], status: int) -> None:
    told = str(Path(film).parent)
    body = {k: v.replace("FILM", film).replace("FOLDER", told) if isinstance(v, str) else v for k, v in body.items()}
    assert api.client("kim").post("/v1/jobs?check=true", json=body).status_code == status
    assert api.book.jobs() == ()


def test_an_upload_is_looked_at(api: Api) -> None:
    kim = api.client("kim")
    assert kim.post("/v1/jobs?check=true", json={"upload": bring(kim)}).status_code == 204


@pytest.mark.parametrize(
    ("name", "card", "out"),
    [
        ("Tuesday", "Tuesday.mp4", "Tuesday.mp4"),
        ("Dr. Who", "Dr. Who.mp4", "Dr. Who.mp4"),
        ("../../a.mov", "a.mov", "a.mov"),
        ("a.avi", "a.avi", "a.mp4"),
    ],
)
def test_a_film_has_the_name_that_was_given(api: Api, film: str, name: str, card: str, out: str) -> None:
    made = api.client("kim").post("/v1/jobs", json={"source": film, "name": name}).json()
    assert (made["name"], made["source"], made["source_bytes"]) == (card, film, 4)
    publish = api.book.ledger(made["job"]).spec().publish
    assert publish is not None
    assert publish.name == out
