"""A farm on a Ray cluster of several machines, all on this one: workers, every class of failure, machines that go and
come."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest
from faults import Fault, Script, begun
from filmgen import Film, make
from raycluster import Cluster, cluster
from serving import FarmStore, Serving, times, until

from cluster.job import Step
from cluster.ledger import Unit
from cluster.service import read_status
from cluster.states import JobState
from storage import layout

PATIENCE = {"silent": 6, "born": 120, "stuck": 12}
LEAVE = "leave"


@pytest.fixture(scope="module")
def machines() -> Iterator[Cluster]:
    """A head and two machines of one processor each."""
    with cluster(1, 1) as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.env.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def dry(machines: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FarmStore, Serving]]:
    """A farm of faulty steps, for the rest of the file."""
    place = tmp_path_factory.mktemp("dry")
    farm, leave = FarmStore(str(place / "store"), place), str(place / LEAVE)
    settings = {"store": farm.place, "ray": machines.address, "patience": PATIENCE, "leave_file": leave}
    with farm.process([sys.executable, faults.__file__, json.dumps(settings)]) as serving:
        yield farm, serving
        assert serving.end() == 0, serving.said()


def new_job(farm: FarmStore, folder: Path, **script: object) -> tuple[str, Path]:
    """A job of faulty steps: its id, and the folder of what its chunks note."""
    folder.mkdir(exist_ok=True)
    source = Script(str(folder / "notes"), **script).write(folder / "film.mp4")  # type: ignore[arg-type]
    return farm.submit(source), folder / "notes"


def ready(farm: FarmStore) -> None:
    """Wait until both workers are up and have nothing to do; give those another chance that failed too often."""

    def are() -> bool:
        found = workers(farm)
        for name, state in found.items():
            if state == "blocked":
                farm.book.mark(layout.unblock(name))
        return list(found.values()) == ["idle", "idle"]

    until(are)


def workers(farm: FarmStore) -> dict[str, str]:
    """State by name, as the controller last wrote it."""
    status = read_status(farm.book.store)
    return {worker.name: worker.state for worker in status.workers} if status else {}


def test_real_films(machines: Cluster, tmp_path: Path) -> None:
    film = Film(frames=200, gop=25, sound=1)
    make(film, tmp_path / "film.mp4")
    farm = FarmStore(str(tmp_path / "store"), tmp_path)
    with farm.serve("--ray", machines.address) as serving:
        job = farm.submit(tmp_path / "film.mp4", f"{tmp_path}/out/")
        farm.reached(job, JobState.DONE)
        ledger = farm.book.ledger(job)
        done = [ledger.done(unit) for unit in ledger.units()]
        assert len({each.worker for each in done if each is not None}) == 2
        assert serving.end() == 0, serving.said()
    assert times(tmp_path / "out" / "film.mp4") == film.times()
    until(lambda: not any(node.workers() for node in machines.nodes))  # the cluster stays, and nothing of the farm


@pytest.mark.parametrize(
    ("kind", "trouble", "cause"),
    [
        ("exit", "crash", "WorkerDied"),
        ("segv", "crash", "WorkerDied"),
        ("memory", "memory", "MemoryError"),
        ("hang", "hang", "WorkerHung"),
        ("stop", "lost", "WorkerLost"),
        ("verify", "wrong output", "VerifyError"),
        ("storage", "storage", "Transient"),
    ],
)
def test_a_failure_of_each_class(
    dry: tuple[FarmStore, Serving], tmp_path: Path, kind: str, trouble: str, cause: str
) -> None:
    """It is tried again, on another worker where the worker may be to blame, and the history says what it was."""
    farm, _ = dry
    ready(farm)
    job, notes = new_job(farm, tmp_path, faults=(Fault(kind),))
    farm.reached(job, JobState.DONE)
    (failure,) = farm.book.ledger(job).failures(Unit(Step.ANALYSE, 1))
    assert failure.cause == cause, failure
    told = [entry for entry in farm.book.history(job) if entry.cause]
    assert [entry.cause for entry in told] == [cause]
    assert re.fullmatch(rf"analyse of chunk 1 failed on \S+ \({trouble}\) and is tried again: .+", told[0].what)
    ran = begun(notes, "analyse", 1)
    assert len(ran) == 2
    if kind != "storage":  # anyone may do that again
        assert len(set(ran)) == 2
    if kind not in ("verify", "storage"):
        until(lambda: not os.path.exists(f"/proc/{ran[0]}"))  # the process isn't trusted any more
    done = farm.book.ledger(job).done(Unit(Step.ANALYSE, 1))
    assert done is not None
    if trouble in ("crash", "hang", "wrong output"):
        assert done.worker != failure.worker


def test_a_chunk_that_kills_its_workers_fails_its_job_and_no_other(
    dry: tuple[FarmStore, Serving], tmp_path: Path
) -> None:
    farm, _ = dry
    poison, notes = new_job(farm, tmp_path / "bad", faults=(Fault("exit", "render", 2, times=99),))
    good, _ = new_job(farm, tmp_path / "good", chunks=8)
    until(lambda: farm.state(poison) is JobState.FAILED)
    farm.reached(good, JobState.DONE)
    control = farm.book.control(poison)
    assert control.reason.startswith("a worker process died; it was killed or it crashed")
    assert 3 <= len(begun(notes, "render", 2)) <= 6
    assert farm.book.ledger(poison).done(Unit(Step.STITCH)) is None
    assert not farm.objects(f"outputs/{poison}")
    ready(farm)  # no worker is taken out for it


def test_machines_go_and_come(machines: Cluster, dry: tuple[FarmStore, Serving], tmp_path: Path) -> None:
    farm, _ = dry
    ready(farm)
    job, notes = new_job(farm, tmp_path / "job", chunks=6, seconds=3)
    until(lambda: begun(notes, "analyse", 0) and begun(notes, "analyse", 1))
    doomed = begun(notes, "analyse", 0)[0]
    node = next(node for node in machines.nodes if doomed in node.alive())
    node.kill()
    until(lambda: len(workers(farm)) == 1)

    fresh = machines.start(1)
    machines.up(fresh)
    until(lambda: len(workers(farm)) == 2)
    farm.reached(job, JobState.DONE)
    assert len(begun(notes, "analyse", 0)) == 2
    causes = {entry.cause for entry in farm.book.history(job) if entry.cause}
    assert causes
    assert causes <= {"WorkerDied", "WorkerLost"}
    assert begun(notes, "analyse", 0)[1] != doomed

    ready(farm)
    second, notes = new_job(farm, tmp_path / "second", chunks=6, seconds=1)
    farm.reached(second, JobState.DONE)
    assert {pid for n in range(6) for pid in begun(notes, "render", n)} & set(fresh.workers())  # it has its share

    leave = farm.folder / LEAVE
    leave.touch()
    until(lambda: set(workers(farm).values()) == {"leaving"})
    waiting, notes = new_job(farm, tmp_path / "waiting")
    farm.reached(waiting, JobState.RUNNING)
    assert begun(notes, "analyse", 0) == []
    leave.unlink()
    farm.reached(waiting, JobState.DONE)


def test_a_worker_that_is_told_to_leave_ends_its_chunk(
    machines: Cluster, dry: tuple[FarmStore, Serving], tmp_path: Path
) -> None:
    """SIGTERM, as a spot machine gets it: no order is lost."""
    farm, _ = dry
    ready(farm)
    job, notes = new_job(farm, tmp_path, seconds=3, chunks=4)
    until(lambda: begun(notes, "analyse", 0))
    leaver = begun(notes, "analyse", 0)[0]
    os.kill(leaver, signal.SIGTERM)
    until(lambda: "leaving" in workers(farm).values())
    farm.reached(job, JobState.DONE)
    assert not [entry for entry in farm.book.history(job) if entry.cause]
    assert leaver in begun(notes, "analyse", 0)
    assert leaver not in [pid for number in (0, 1, 2, 3) for pid in begun(notes, "render", number)]
