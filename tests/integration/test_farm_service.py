"""`veilfarm serve` as its users run it, on a Ray of its own: a folder and a real S3 server as stores."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filmgen import Film, make
from rgw import Gateway, gateway
from serving import FarmStore, times, until

from cluster import report
from cluster.states import JobState, Move
from storage.address import open_store

LONG = Film(frames=1800, gop=25, sound=1)  # six chunks or more
SHORT = Film(frames=60, gop=10, sound=1, pattern="vfr")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    make(SHORT, folder / "short.mp4")
    make(LONG, folder / "long.mp4")
    return folder


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("rgw")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment(tmp_path_factory.mktemp("cache")).items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def bucket(ceph: Gateway, tmp_path: Path) -> FarmStore:
    """A farm in a new bucket."""
    return FarmStore(f"s3://{ceph.new_bucket(tmp_path / 'cache')}/farm", tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> FarmStore:
    """A farm in a new folder."""
    return FarmStore(str(tmp_path / "store"), tmp_path)


def nothing_is_left(farm: FarmStore, job: str) -> None:
    """No pictures, no measures of faces, no secret: records and logs only."""
    left = [key for key in farm.objects(f"jobs/{job}") if not key.endswith((".json", ".jsonl"))]
    assert left == []
    assert not any("/try/" in key for key in farm.objects())
    assert farm.objects("uploads") == []
    assert farm.objects("queue") == []
    assert farm.objects("notices") == []


def test_films_of_a_folder(folder: FarmStore, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with folder.serve() as serving:
        ran = folder.command("submit", films / "short.mp4", "--to", f"{out}/", "--veil", "mosaic", "--wait")
        assert ran.code == 0, ran.err + serving.said()
        job = ran.out.split()[0]
        assert times(out / "short.mp4") == times(films / "short.mp4") == SHORT.times()
        found = report.read(out / "short.mp4.report.json")
        assert found is not None
        assert (found["frames"]["out"], found["pts_equal"], found["audio_equal"]) == (SHORT.frames, True, True)
        nothing_is_left(folder, job)
        assert job in folder.command("jobs", "--json").out
        assert "worker-2" in folder.command("workers").out
        controls(folder, films, out)
        assert serving.end() == 0, serving.said()
        assert serving.alive() == []
    assert folder.objects("farm") == ["farm/status.json"]  # another controller may lead at once


def controls(farm: FarmStore, films: Path, out: Path) -> None:
    """Pause, resume, priority, cancel and retry, while jobs are being worked on. Where a command would take longer than
    the job, the test does what the command does."""
    first, second = (farm.submit(films / "long.mp4", f"{out}/{n}.mp4") for n in (1, 2))
    until(lambda: farm.chunks_done(first))
    farm.book.change(first, "test", Move.PAUSE)
    farm.reached(second, JobState.DONE)  # what was out of the first is through by now
    paused = farm.committed(first)
    assert farm.command("priority", "9", first[-8:]).code == 0
    assert farm.command("cancel", second).code == 2
    assert farm.committed(first) == paused
    assert farm.command("resume", first).code == 0
    farm.reached(first, JobState.DONE)
    after = farm.committed(first)
    assert len(after) > len(paused)
    assert {unit: after[unit] for unit in paused} == paused
    assert times(out / "1.mp4") == times(out / "2.mp4") == LONG.times()
    assert "priority 0 → 9" in [entry.what for entry in farm.book.history(first)]

    third = farm.submit(films / "long.mp4", f"{out}/3.mp4")
    until(lambda: farm.chunks_done(third))
    farm.book.change(third, "test", Move.CANCEL)
    until(lambda: farm.book.result(third, 1))
    until(lambda: not farm.objects("queue"))
    assert farm.command("resume", third).code == 2
    assert not (out / "3.mp4").exists()
    assert not farm.committed(third)
    assert farm.command("retry", third).code == 0
    farm.reached(third, JobState.DONE)
    assert times(out / "3.mp4") == LONG.times()
    said = [entry.what for entry in farm.book.history(third)]
    assert said == ["submitted", "running", "cancelled", "waiting", "queued", "running", "done"]
    nothing_is_left(farm, first)
    nothing_is_left(farm, third)


def test_films_of_a_bucket(bucket: FarmStore, films: Path, tmp_path: Path) -> None:
    base = bucket.place.removesuffix("/farm")
    top = open_store(base)
    top.put_file("in/film.mp4", films / "short.mp4")
    with bucket.serve() as serving:
        ran = bucket.command("submit", f"{base}/in/film.mp4", "--to", f"{base}/out/", "--veil", "mosaic", "--wait")
        assert ran.code == 0, ran.err + serving.said()
        job = ran.out.split()[0]
        top.fetch("out/film.mp4", tmp_path / "film.mp4")
        assert times(tmp_path / "film.mp4") == SHORT.times()
        top.fetch("out/film.mp4.report.json", tmp_path / "film.mp4.report.json")
        found = report.read(tmp_path / "film.mp4.report.json")
        assert found is not None
        assert found["frames"]["out"] == SHORT.frames
        nothing_is_left(bucket, job)

        uploaded = bucket.command("submit", films / "short.mp4", "--veil", "mosaic", "--wait").out.split()[0]
        nothing_is_left(bucket, uploaded)
        ran = bucket.command("fetch", uploaded, "-o", tmp_path / "own.mp4")
        assert ran.code == 0, ran.err
        assert times(tmp_path / "own.mp4") == SHORT.times()
        assert '"pts_equal": true' in bucket.command("report", uploaded).out
        assert top.stat("in/film.mp4").size == (films / "short.mp4").stat().st_size  # a source is nobody's to delete
        assert serving.end() == 0, serving.said()
    assert bucket.command("erase", uploaded).code == 0
    assert not any(uploaded in key for key in bucket.objects())


def test_a_farm_that_is_told_to_stop_ends_what_it_has_begun(folder: FarmStore, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with folder.serve() as serving:
        job = folder.submit(films / "long.mp4", str(out))
        until(lambda: folder.chunks_done(job) > 1)
        assert serving.end(signal.SIGTERM) == 0, serving.said()
        assert serving.alive() == []
    committed = folder.committed(job)
    done = [key.rpartition("/try/")[2].partition("/")[0] for key in folder.objects(f"jobs/{job}") if "/try/" in key]
    assert set(done) <= set(committed.values())  # no try was cut short
    assert sum(folder.tries(job).values()) == len(committed)  # every step is done by a worker, and leaves a log
    assert folder.state(job) is JobState.RUNNING
    with folder.serve() as serving:
        folder.reached(job, JobState.DONE)
        assert serving.end() == 0
    assert times(out) == LONG.times()
    after = folder.committed(job)
    assert {unit: after[unit] for unit in committed} == committed


def test_a_farm_that_is_killed_goes_on_where_it_was(bucket: FarmStore, films: Path, tmp_path: Path) -> None:
    with bucket.serve() as serving:
        job = bucket.submit(films / "long.mp4")
        until(lambda: bucket.chunks_done(job) > 2)
        serving.kill()
        until(lambda: not serving.workers())  # nobody is left who could go on; Ray's agents stay for a minute
    before = bucket.committed(job)
    assert bucket.state(job) is JobState.RUNNING
    with bucket.serve() as serving:
        bucket.reached(job, JobState.DONE)
        assert serving.end() == 0
    after = bucket.committed(job)
    assert {unit: after[unit] for unit in before} == before
    again = [unit for unit, count in bucket.tries(job).items() if count > 1]
    assert len(again) <= 2  # what the two workers had just made, but what wasn't committed yet
    nothing_is_left(bucket, job)
    result = bucket.book.result(job, 1)
    assert result is not None
    bucket.book.store.fetch(result.film, tmp_path / "film.mp4")
    assert times(tmp_path / "film.mp4") == LONG.times()
    assert os.path.getsize(tmp_path / "film.mp4") == result.bytes


def test_a_source_that_changes_while_it_is_worked_on_ends_its_job(bucket: FarmStore, films: Path) -> None:
    """At the next unit, though each machine has a copy of what it was."""
    base = bucket.place.removesuffix("/farm")
    top = open_store(base)
    top.put_file("in/film.mp4", films / "long.mp4")
    with bucket.serve() as serving:
        job = bucket.submit(f"{base}/in/film.mp4")
        until(lambda: bucket.chunks_done(job) > 1)
        top.put_file("in/film.mp4", films / "short.mp4")
        until(lambda: bucket.state(job) is JobState.FAILED)
        assert "has changed since the job was made; submit it again" in bucket.book.control(job).reason
        assert not [entry for entry in bucket.book.history(job) if "tried again" in entry.what]
        assert not bucket.objects(f"outputs/{job}")
        assert serving.end() == 0, serving.said()


def test_a_store_that_is_away_for_a_while_costs_nothing(
    ceph: Gateway, bucket: FarmStore, films: Path, tmp_path: Path
) -> None:
    with bucket.serve() as serving:
        job = bucket.submit(films / "long.mp4")
        until(lambda: bucket.chunks_done(job) > 1)
        before = bucket.committed(job)
        ceph.kill()
        time.sleep(10)  # longer than a chunk takes: what workers make meanwhile can't be stored
        assert serving.process.poll() is None, serving.said()
        with ceph.again():
            bucket.reached(job, JobState.DONE)
            after = bucket.committed(job)
            assert {unit: after[unit] for unit in before} == before
            causes = {entry.cause for entry in bucket.book.history(job)}
            assert causes <= {"", "Transient", "Unreachable", "Interrupted"}
            nothing_is_left(bucket, job)
            result = bucket.book.result(job, 1)
            assert result is not None
            bucket.book.store.fetch(result.film, tmp_path / "film.mp4")
            assert serving.end() == 0, serving.said()
    assert times(tmp_path / "film.mp4") == LONG.times()


def test_workers_that_start_slowly_come_up(folder: FarmStore, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray kills those that take longer than a limit, which is nothing against a machine under load, and begins anew."""
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", "1")
    with folder.serve() as serving:
        job = folder.submit(films / "short.mp4")
        folder.reached(job, JobState.DONE)
        assert serving.end() == 0, serving.said()


def test_a_farm_that_cannot_work_says_why(folder: FarmStore) -> None:
    """Its own words, though what libraries say goes nowhere."""
    ran = folder.command("serve", "--no-listen", "--webhook", "https://desk.example/hook")
    assert ran.code == 2
    assert "--webhook needs --webhook-secret" in ran.complaint
