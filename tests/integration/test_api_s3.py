"""The API over a real S3 server: uploads, links, and films in allowed buckets."""

import dataclasses
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from apiclient import Api
from apifarm import submit
from doubles import FRAMES, DryPool, DrySteps, Ear
from rgw import Gateway, gateway

from cluster import records
from cluster.api import incoming
from cluster.api.allowed import Allowed
from cluster.book import JobResult
from cluster.desk import Desk
from cluster.farm import Farm
from cluster.job import IndexFacts, JobSpec, LinkFacts, Plan, SourceFacts, Step
from cluster.places import look_up
from cluster.roles import Job
from cluster.states import JobState
from cluster.users import Role
from cluster.workers import Setup, Tick
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


class Written(DrySteps):
    """Every step leaves a file: a bucket has no empty folders."""

    def ingest(self, spec: JobSpec, source: Path, into: Path) -> SourceFacts:
        (into / "film").touch()
        return super().ingest(spec, source, into)

    def index(self, setup: Setup, into: Path, tick: Tick) -> IndexFacts:
        (into / "index").touch()
        return super().index(setup, into, tick)

    def link(self, setup: Setup, plan: Plan, analyses: tuple[Path, ...], into: Path) -> LinkFacts:
        (into / "linked").touch()
        return super().link(setup, plan, analyses, into)


def test_edits_and_what_is_rendered_with_them_are_objects_that_are_made_once(
    api: Api, place: str, tmp_path: Path
) -> None:
    job = submit(api.book, "talk.mp4", "kim", review=True)
    ledger, steps, kim = api.book.ledger(job), Written(), api.client("kim", Role.REVIEWER)
    (tmp_path / "film.mp4").write_bytes(b"film")
    open_store(place).put_file("in.mp4", tmp_path / "film.mp4")
    spec = dataclasses.replace(ledger.spec(), source=look_up(f"{place}/in.mp4"))
    api.store.put_file(layout.spec(job), _record(spec, tmp_path))

    def run(edits: int) -> list[str]:
        order = Job("talk", place, ledger, None, edits=edits, hold=True)
        (ended,) = Farm(DryPool(steps), Ear()).run([order])
        assert ended.failure is None, ended.failure.trace
        found = [ledger.done(unit) for unit in ledger.units_of(Step.RENDER, edits)]
        return [done.attempt for done in found if done is not None]

    first = run(0)
    where = f"/v1/jobs/{job}/edits"
    tag = kim.get(where).headers["ETag"]
    box = {"kind": "box", "frame": FRAMES + 2, "box": [1, 1, 9, 9]}
    with ThreadPoolExecutor(8) as pool:  # eight reviewers who have seen the same
        answers = list(pool.map(lambda _: kim.post(where, json=box, headers={"If-Match": tag}).status_code, range(8)))
    assert sorted(answers) == [201, *[412] * 7]
    assert [a == b for a, b in zip(first, run(1), strict=True)] == [True, False, True]
    assert {unit.step for unit in ledger.units() if unit.edition} == {Step.MEND, Step.RENDER, Step.STITCH}
    ledger.erase_work()
    assert not [key for key in api.store.keys(layout.job(job)) if "/try/" in key]


def _record(spec: JobSpec, folder: Path) -> Path:
    path = folder / "spec.json"
    path.write_bytes(records.dumps(spec))
    return path
