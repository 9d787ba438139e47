"""The API over a real S3 server: uploads, links, and films in allowed buckets."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from apiclient import Api
from rgw import Gateway, gateway

from cluster.api import incoming
from cluster.api.allowed import Allowed
from cluster.book import JobResult
from cluster.desk import Desk
from cluster.states import JobState
from storage import layout
from storage.address import open_store

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = {**TUS, "Content-Type": "application/offset+octet-stream"}
FILM = bytes(range(256)) * 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("rgw")) as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment(tmp_path_factory.mktemp("cache")).items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def place(server: Gateway, tmp_path: Path) -> str:
    """A farm's folder in a new bucket."""
    return f"s3://{server.new_bucket(tmp_path / 'cache')}/farm"


@pytest.fixture
def api(place: str, tmp_path: Path) -> Api:
    found = Api(tmp_path, open_store(place))
    found.place(Desk(found.book, place), Allowed([f"{place.removesuffix('farm')}films"]))
    return found


def test_an_upload_becomes_a_job_whose_source_is_in_the_bucket(
    api: Api, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "PART", 10_000)
    kim = api.client("kim")
    upload = kim.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(FILM))}).headers["location"]
    kim.patch(upload, content=FILM[:15_000], headers={**OCTETS, "Upload-Offset": "0"})
    assert kim.head(upload, headers=TUS).headers["upload-offset"] == "15000"
    answer = kim.patch(upload, content=FILM[15_000:], headers={**OCTETS, "Upload-Offset": "15000"})
    assert answer.status_code == 204, answer.text
    made = kim.post("/v1/jobs", json={"upload": upload.rpartition("/")[2]})
    assert made.status_code == 201, made.text
    source = api.book.ledger(made.json()["job"]).spec().source
    assert source.place.startswith(f"{place}/uploads/")
    assert source.bytes == len(FILM)
    assert api.store.read(source.place.removeprefix(f"{place}/")) == FILM
    assert not any("/parts/" in key for key in api.store.keys("incoming"))


def finished(api: Api, film: str) -> str:
    from apifarm import submit

    job = submit(api.book, "talk.mp4", "kim")
    api.book.close(job, 1, JobResult(JobState.DONE, "", 0.0, film, f"{film}.report.json"))
    return job


def test_a_link_needs_no_token_and_gives_ranges(api: Api, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(FILM)
    key = layout.output("0" * 26, "film.mp4")
    api.store.put_file(key, tmp_path / "film")
    job, kim = finished(api, key), api.client("kim")
    link = kim.get(f"/v1/jobs/{job}/film/link").json()["url"]
    asked = urllib.request.Request(link, headers={"Range": "bytes=100-199"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert (answer.status, answer.read()) == (206, FILM[100:200])
    answer = kim.get(f"/v1/jobs/{job}/film", params={"redirect": True})
    assert answer.status_code == 307
    with urllib.request.urlopen(answer.headers["location"], timeout=60) as direct:
        assert direct.read() == FILM
    assert kim.get(f"/v1/jobs/{job}/film", headers={"Range": "bytes=-5"}).content == FILM[-5:]


def test_films_of_other_buckets_only_where_it_is_allowed(api: Api, place: str, tmp_path: Path) -> None:
    bucket = place.removesuffix("/farm")
    (tmp_path / "film").write_bytes(FILM)
    for folder in ("films", "private"):
        open_store(bucket).put_file(f"{folder}/talk.mp4", tmp_path / "film")
    kim = api.client("kim")
    assert kim.post("/v1/jobs", json={"source": f"{bucket}/films/talk.mp4"}).status_code == 201
    assert kim.post("/v1/jobs", json={"source": f"{bucket}/private/talk.mp4"}).status_code == 403
    missing = kim.post("/v1/jobs", json={"source": f"{bucket}/films/none.mp4"})
    assert (missing.status_code, "no such object" in missing.text) == (422, True)
    assert kim.get(f"/v1/jobs/{finished(api, f'{bucket}/films/talk.mp4')}/film").content == FILM
    assert kim.get(f"/v1/jobs/{finished(api, f'{bucket}/private/talk.mp4')}/film").status_code == 403
