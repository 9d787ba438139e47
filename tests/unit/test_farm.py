"""The farm over dry steps: order, retries, resuming, and that no failure lets anything through."""

import dataclasses
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from doubles import FRAMES, DryPool, DrySteps, Ear, a_job

from cluster.farm import Farm
from cluster.health import Health
from cluster.job import ChunkRecord, Plan, Step, StitchFacts, new_id
from cluster.ledger import Ledger, Unit
from cluster.roles import Ended, Job
from cluster.trouble import REFUSING, TRIES
from cluster.workers import FULL, Outcome, Setup
from pipeline import errors
from storage.folder import FolderStore
from storage.objects import StoreFull


def run(jobs: list[Job], steps: DrySteps, size: int = 2) -> tuple[list[Ended], Ear, DryPool]:
    ear, pool = Ear(), DryPool(steps, size)
    return list(Farm(pool, ear).run(jobs)), ear, pool


def test_a_job_goes_through_every_step_once(tmp_path: Path) -> None:
    job, steps = a_job(tmp_path), DrySteps(chunks=3)
    (ended,), ear, _ = run([job], steps)
    assert ended.failure is None
    assert set(ended.seconds) == set(Step) - {Step.MEND, Step.PUBLISH}
    assert set(steps.calls.values()) == {1}
    assert len(steps.calls) == 5 + 2 * 3
    assert job.ledger.facts(StitchFacts).frames_out == 3 * FRAMES
    order = list(dict.fromkeys(step for _, step, _, _ in ear.steps))
    assert order == [step for step in Step if step not in (Step.MEND, Step.PUBLISH)]
    assert (job.name, Step.RENDER, 3 * FRAMES, 3 * FRAMES) in ear.steps


def test_the_film_is_its_segments_in_order(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    run([job], DrySteps(chunks=3))
    film = job.ledger.folder(Unit(Step.STITCH)) / "film.mp4"
    assert film.read_text() == "segment 0\nsegment 1\nsegment 2\n"


def test_no_more_orders_are_out_than_there_are_workers(tmp_path: Path) -> None:
    _, _, pool = run([a_job(tmp_path / str(i)) for i in range(4)], DrySteps(chunks=20), size=3)
    assert pool.most == 3


def test_the_longest_chunks_go_first(tmp_path: Path) -> None:
    class Uneven(DrySteps):
        def plan(self, setup: Setup, sharers: int) -> Plan:
            self._begin(Step.PLAN)
            edges = [0, 5, 12, 15, 22]
            chunks = [ChunkRecord(i, a, b, a, b, "") for i, (a, b) in enumerate(pairwise(edges))]
            return Plan(0, edges[-1], tuple(chunks))

    job, steps = a_job(tmp_path), Uneven()
    (ended,), _, _ = run([job], steps)
    assert ended.failure is None
    for step in (Step.ANALYSE, Step.RENDER):
        assert [unit.chunk for unit in steps.calls if unit.step is step] == [1, 3, 0, 2]


def test_a_second_run_does_nothing_again(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    run([job], DrySteps())
    again = DrySteps()
    (ended,), _, _ = run([job], again)
    assert ended.failure is None
    assert not again.calls


@pytest.mark.parametrize("stop", [Unit(Step.INDEX), Unit(Step.ANALYSE, 1), Unit(Step.LINK), Unit(Step.RENDER, 2)])
def test_resuming_does_what_is_missing_and_no_more(tmp_path: Path, stop: Unit) -> None:
    job = a_job(tmp_path)

    class KilledError(BaseException):
        pass

    def die(unit: Unit, call: int) -> None:
        if unit == stop:
            raise KilledError

    first = DrySteps(trouble=die)
    with pytest.raises(KilledError):
        run([job], first)
    ledger = next(Ledger.found_in(FolderStore(Path(job.store))))
    second = DrySteps()
    (ended,), ear, _ = run([Job(job.name, job.store, ledger, job.secret)], second)
    assert ended.failure is None
    done_before = {unit for unit in first.calls if unit != stop}
    assert not done_before & set(second.calls)
    assert second.calls[stop] == 1
    if stop.chunk is not None:  # progress begins where it stopped
        assert (job.name, stop.step, stop.chunk * FRAMES, 3 * FRAMES) in ear.steps


def test_a_passing_failure_is_tried_again(tmp_path: Path) -> None:
    def fail(unit: Unit, call: int) -> None:
        if unit == Unit(Step.RENDER, 1) and call < TRIES:
            raise errors.VerifyError("a frame is missing")

    steps = DrySteps(trouble=fail)
    job = a_job(tmp_path)
    (ended,), ear, _ = run([job], steps)
    assert ended.failure is None
    assert steps.calls[Unit(Step.RENDER, 1)] == TRIES
    assert [unit for unit, _ in ear.retries] == [Unit(Step.RENDER, 1)] * (TRIES - 1)
    assert [f.what for f in job.ledger.failures(Unit(Step.RENDER, 1))] == ["a frame is missing"] * (TRIES - 1)


@pytest.mark.parametrize("step", [Step.ANALYSE, Step.RENDER])
def test_a_chunk_that_keeps_failing_fails_the_job_with_its_reason(tmp_path: Path, step: Step) -> None:
    def fail(unit: Unit, call: int) -> None:
        if unit == Unit(step, 1):
            raise RuntimeError("the device is gone")

    steps = DrySteps(trouble=fail)
    job = a_job(tmp_path)
    (ended,), _, _ = run([job], steps)
    assert ended.failure is not None
    assert "the device is gone" in ended.failure.line
    assert "RuntimeError" in ended.failure.trace
    assert steps.calls[Unit(step, 1)] == TRIES == 3
    # Nothing after it: no film without the chunk, none with its frames as they were.
    assert Unit(Step.STITCH) not in steps.calls
    assert job.ledger.done(Unit(Step.STITCH)) is None
    assert not (tmp_path / "out.mp4").exists()


FOREVER = [
    errors.NotAVideo("not a video"),
    errors.Truncated("cut off"),
    errors.Unsupported("encrypted"),
    errors.InputError("no"),
    errors.OutputError("disk full"),
    errors.ModelError("another file"),
    errors.NoIdentity("nobody"),
    errors.LeakError("a face may still show"),
]


@pytest.mark.parametrize("error", FOREVER, ids=lambda e: type(e).__name__)
def test_what_another_try_cannot_mend_is_not_tried_again(tmp_path: Path, error: Exception) -> None:
    def fail(unit: Unit, call: int) -> None:
        if unit.step is Step.ANALYSE:
            raise error

    (ended,), ear, _ = run([a_job(tmp_path)], DrySteps(trouble=fail))
    assert ended.failure is not None
    assert ended.failure.cause == type(error).__name__
    assert not ear.retries


def test_the_table_of_final_failures_is_complete() -> None:
    """Whoever adds an error to the pipeline decides here whether it is tried again."""
    again = {"PipelineError", "DeviceError", "VerifyError"}
    known = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert known == again | REFUSING


@pytest.mark.parametrize(
    "error", [StoreFull("no room"), OSError(28, "No space left on device"), OSError(27, "too big")]
)
def test_a_full_disk_is_told_in_one_way(tmp_path: Path, error: Exception) -> None:
    def fail(unit: Unit, call: int) -> None:
        if unit.step is Step.RENDER:
            raise error

    (ended,), ear, _ = run([a_job(tmp_path)], DrySteps(trouble=fail))
    assert ended.failure is not None
    assert (ended.failure.cause, ended.failure.what) == ("OutputError", "the disk is full")
    assert "--resume" in ended.failure.todo
    assert not ear.retries


def _written() -> Exception:
    """As the encoder tells it."""
    error = errors.OutputError("segment.nut can't be written", "the disk is full")
    error.__cause__ = OSError(28, "No space left on device")
    return error


@pytest.mark.parametrize(
    "error", [StoreFull("no room"), OSError(28, "No space left on device"), _written(), errors.OutputError(FULL)]
)
def test_a_full_disk_of_a_worker_is_not_the_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Work for a bucket lies on the worker's disk first: another worker may have room, or this one later."""
    monkeypatch.setattr("cluster.workers.is_object", lambda place: True)

    def no_room() -> None:
        raise StoreFull("no room")

    def full(unit: Unit, call: int) -> None:
        if call == 1 and unit.step is Step.RENDER:
            raise error

    monkeypatch.setattr("cluster.workers.release", no_room)
    (ended,), ear, _ = run([a_job(tmp_path)], DrySteps(chunks=1, trouble=full))
    assert ended.failure is None
    assert [failure.cause for _, failure in ear.retries] == ["DiskFull"]


def test_one_jobs_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    class Picky(DrySteps):
        def ingest(self, spec, source, into):  # type: ignore[no-untyped-def]
            if source.name == "bad.mp4":
                raise errors.NotAVideo("bad.mp4 is no video")
            return super().ingest(spec, source, into)

    jobs = [a_job(tmp_path / "1"), a_job(tmp_path / "2", "bad.mp4"), a_job(tmp_path / "3")]
    ended, _, _ = run(jobs, Picky())
    assert {e.job.name: e.failure and e.failure.cause for e in ended} == {"film.mp4": None, "bad.mp4": "NotAVideo"}
    assert len(ended) == 3


def test_a_failed_try_leaves_no_files(tmp_path: Path) -> None:
    class Half(DrySteps):
        def render(self, setup, chunk, analysis, linked, into, tick):  # type: ignore[no-untyped-def]
            (into / "segment.nut").write_bytes(b"half a segment")
            raise errors.OutputError("disk full")

    job = a_job(tmp_path)
    run([job], Half())
    assert not list(Path(job.store).rglob("segment.nut"))


def test_a_job_is_done_by_one_version_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it is done by one; then all workers are of another."""
    version = ["one"]
    monkeypatch.setattr("cluster.workers.made_by", lambda: version[0])

    def upgrade(unit: Unit, call: int) -> None:
        if unit.step is Step.LINK:
            version[0] = "two"

    job = a_job(tmp_path)
    (ended,), ear, _ = run([job], DrySteps(trouble=upgrade))
    assert ended.failure is not None
    assert ended.failure.cause == "OtherVersion"
    assert "one began it, and this is two" in ended.failure.line
    assert len(ear.retries) >= 9
    assert not any(job.ledger.done(Unit(Step.RENDER, chunk)) for chunk in range(3))
    version[0] = "one"
    (ended,), _, _ = run([job], DrySteps())
    assert ended.failure is not None  # those failures count still; a retry of the job begins a new round
    (ended,), _, _ = run([dataclasses.replace(job, since=new_id())], DrySteps())
    assert ended.failure is None


def test_while_a_farm_is_upgraded_work_goes_to_who_has_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = threading.local()

    class Mixed(DryPool):
        def poll(self, timeout: float) -> list[Outcome]:
            older.version = "one" if self._orders and self._orders[0][0] == "0" else "two"
            return super().poll(timeout)

    monkeypatch.setattr("cluster.workers.made_by", lambda: older.version)
    ear = Ear()
    (ended,) = Farm(Mixed(DrySteps(), 2), ear).run([a_job(tmp_path)])
    assert ended.failure is None
    assert {failure.worker for _, failure in ear.retries} == {"1"}


def test_what_only_a_gpu_may_do_is_counted_by_itself(tmp_path: Path) -> None:
    jobs = []
    for device in ("any", "cuda"):
        job = a_job(tmp_path / device)
        spec = dataclasses.replace(job.ledger.spec(), device=device)
        jobs.append(dataclasses.replace(job, ledger=Ledger.create(job.ledger.store, spec)))
        jobs[-1].ledger.give_secret()
    farm = Farm(DryPool(DrySteps(chunks=3), 1, "cuda"), Ear())
    for job in jobs:
        farm.add(job)
    seen = set[tuple[int, int]]()
    while farm.jobs:
        farm.turn()
        seen.add((farm.demand(), farm.demand("cuda")))
    assert max(gpu for _, gpu in seen) == 3
    assert max(units for units, _ in seen) > 3
    assert farm.demand() == farm.demand("cuda") == 0


def test_a_farm_whose_workers_are_all_taken_out_goes_on(tmp_path: Path) -> None:
    """A disk that all share was full for a moment: each failed what the others had done, and nobody was left."""
    full = {Unit(Step.RENDER, chunk) for chunk in range(2, 8)}

    def fail(unit: Unit, call: int) -> None:
        if unit in full and call == 1:
            raise KeyError("a bug")

    health = Health()
    (ended,) = Farm(DryPool(DrySteps(8, fail)), Ear(), health=health).run([a_job(tmp_path)])
    assert ended.failure is None
    assert health.blocked() == {"0", "1"}
