"""The controller at its jobs: rounds, users who change their minds, jobs that wait, in a world in memory."""

import contextlib

import pytest
from simfarm import KilledError, until
from simworld import World, check_the_end

from cluster.book import NoSuchJob, NotNow
from cluster.job import Step
from cluster.ledger import Ledger, Unit
from cluster.states import JobState, Move
from storage import layout
from storage.objects import StoreError


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_an_end_that_was_written_counts(world: World) -> None:
    """How it ended is settled, the job's state not yet: it isn't worked on again, and can't be cancelled any more."""
    job = world.submit()
    until(world.lead, lambda: world.lead.farm.jobs)
    while world.book.control(job).ending is None:
        world.lead.mortal.fate = lambda name, when: (
            KilledError() if name == "replace" and when == "after" and world.book.control(job).ending else None
        )
        world.turn()
    assert world.state(job) is JobState.RUNNING
    with pytest.raises(NotNow, match="just ended"):
        world.book.change(job, "user", Move.CANCEL)
    before = world.calls.total()
    world.settle()
    assert world.state(job) is JobState.DONE
    assert world.calls.total() == before


def test_a_failure_that_was_written_is_not_tried_away(world: World) -> None:
    """A controller that died between a unit's last failure and the job's: its successor doesn't try again."""
    job = world.submit()
    unit = Unit(Step.ANALYSE, 1)
    world.poison[job] = {unit}
    while len(Ledger(world.store, job).failures(unit)) < 3:
        world.turn()
    world.crash(world.lead)
    world.poison.clear()
    world.settle()
    assert world.state(job) is JobState.FAILED
    assert world.calls[job, unit] == 3
    world.book.change(job, "user", Move.RETRY)
    world.settle()
    assert world.state(job) is JobState.DONE
    assert world.calls[job, unit] == 4
    assert world.calls[job, Unit(Step.INGEST)] == 1  # what was done is kept
    results = [world.book.result(job, number) for number in (1, 2, 3)]
    assert [r and r.state for r in results] == [JobState.FAILED, JobState.DONE, None]


def test_earlier_rounds_count_for_nothing_whatever_the_users_clock(world: World) -> None:
    """Who retries may have a clock that goes wrong by an hour in either direction."""
    job = world.submit()
    unit = Unit(Step.ANALYSE, 0)
    for number, wrong in enumerate([-3600.0, 3600.0]):
        world.poison[job] = {unit}
        world.settle()
        assert world.state(job) is JobState.FAILED
        assert world.calls[job, unit] == 3 * (number + 1)
        now, world.clock.now = world.clock.now, world.clock.now + wrong
        world.book.change(job, "user", Move.RETRY)
        world.clock.now = now
        until(world.lead, lambda n=number: world.calls[job, unit] > 3 * (n + 1))
        world.crash(world.lead)
    world.settle()
    assert world.state(job) is JobState.FAILED
    assert world.calls[job, unit] == 9  # one before the last crash counts, too


def test_the_history_tells_every_retry_with_its_class(world: World) -> None:
    job = world.submit()
    world.poison[job] = {Unit(Step.LINK)}
    world.settle()
    history = world.book.history(job)
    assert [e.cause for e in history if e.cause] == ["VerifyError"] * 3
    assert {e.state for e in history if e.state} == {JobState.QUEUED, JobState.RUNNING, JobState.FAILED}
    assert sum("link failed on w" in e.what and "is tried again" in e.what for e in history) == 2


def test_cancelled_while_it_runs(world: World) -> None:
    world.lead.pool.haste = 0.1
    job, other = world.submit(), world.submit()
    until(world.lead, lambda: world.calls[job, Unit(Step.PLAN)])
    until(world.lead, lambda: any(order.job == job for order in world.lead.pool.orders.values()))
    world.book.change(job, "user", Move.CANCEL)
    world.clock.now += 1
    world.settle()
    assert [order.job for order in world.lead.pool.stopped] == [job] * len(world.lead.pool.stopped)
    assert world.lead.pool.stopped
    assert (world.state(job), world.state(other)) == (JobState.CANCELLED, JobState.DONE)
    assert not world.work(job)
    for order in world.lead.pool.stopped:
        with contextlib.suppress(StoreError):
            world.lead.pool.write(order)
    check_the_end(world)


def test_a_cancelled_job_begins_anew_when_it_is_retried(world: World) -> None:
    job = world.submit()
    until(world.lead, lambda: world.calls[job, Unit(Step.LINK)])
    world.book.change(job, "user", Move.CANCEL)
    world.settle()
    world.book.change(job, "user", Move.RETRY)
    world.settle()
    assert world.state(job) is JobState.DONE
    assert world.calls[job, Unit(Step.INGEST)] == 2


def test_cancelled_and_retried_before_anybody_saw_it(world: World) -> None:
    job = world.submit()
    until(world.lead, lambda: world.calls[job, Unit(Step.LINK)])
    world.book.change(job, "user", Move.CANCEL)
    world.book.change(job, "user", Move.RETRY)
    world.settle()
    assert world.state(job) is JobState.DONE
    assert world.calls[job, Unit(Step.INGEST)] == 1
    check_the_end(world)


def test_paused_and_resumed_while_a_chunk_runs(world: World) -> None:
    world.lead.pool.haste = 0.1
    job = world.submit()
    until(world.lead, lambda: any(o.unit.step is Step.ANALYSE for o in world.lead.pool.orders.values()))
    world.book.change(job, "user", Move.PAUSE)
    out = list(world.lead.pool.orders.values())
    until(world.lead, lambda: not world.lead.pool.orders)
    for _ in range(5):
        world.turn()
    assert all(Ledger(world.store, job).done(order.unit) for order in out)  # what was running is kept
    assert not world.lead.farm.jobs
    world.book.change(job, "user", Move.RESUME)
    until(world.lead, lambda: any(o.unit.step is Step.RENDER for o in world.lead.pool.orders.values()))
    world.book.change(job, "user", Move.PAUSE)
    world.clock.now += 1
    world.turn()
    world.book.change(job, "user", Move.RESUME)
    world.settle()
    assert world.state(job) is JobState.DONE
    assert set(world.calls.values()) == {1}


def test_paused_and_resumed_before_anybody_saw_it(world: World) -> None:
    job = world.submit()
    until(world.lead, lambda: world.lead.pool.orders)
    world.book.change(job, "user", Move.PAUSE)
    world.book.change(job, "user", Move.RESUME)
    world.clock.now += 1
    world.turn()
    assert world.state(job) is JobState.RUNNING
    world.settle()
    assert set(world.calls.values()) == {1}


def test_a_job_after_one_that_failed_waits_and_says_so(world: World) -> None:
    first = world.submit()
    second, third = world.submit(after=[first]), world.submit(after=[first])
    last = world.submit(after=[second, third])
    world.poison[first] = {Unit(Step.INDEX)}
    world.settle()
    assert world.state(second) is JobState.WAITING
    assert world.book.control(second).reason == f"it waits for job {first}, which is failed; retry that one"
    assert world.book.control(last).reason == ""
    assert any("it waits for" in entry.what for entry in world.book.history(second))
    before = world.lead.mortal.operations.total()
    for _ in range(20):
        world.turn()
    assert world.lead.mortal.operations.total() - before < 100  # nobody asks for it again and again
    world.poison.clear()
    world.book.change(first, "user", Move.RETRY)
    world.clock.now += 1
    world.turn()
    world.turn()
    assert world.book.control(second).reason == ""
    world.settle()
    assert {world.state(job) for job in world.jobs} == {JobState.DONE}


def test_a_job_after_one_that_was_erased_says_so(world: World) -> None:
    first = world.submit()
    second = world.submit(after=[first])
    world.book.change(first, "user", Move.CANCEL)
    world.settle()
    world.book.erase(first)
    world.jobs.remove(first)
    world.crash(world.lead)
    world.settle()
    assert world.book.control(second).reason == f"it waits for job {first}, which was erased"


def test_a_job_that_is_erased_while_it_runs_is_let_go(world: World) -> None:
    job, other = world.submit(), world.submit()
    until(world.lead, lambda: world.calls[job, Unit(Step.PLAN)])
    world.book.change(job, "user", Move.CANCEL)
    world.book.erase(job)
    world.jobs.remove(job)
    world.settle()
    assert world.state(other) is JobState.DONE
    assert world.book.jobs() == (other,)
    assert not list(world.book.open_jobs())
    with pytest.raises(NoSuchJob):
        world.book.control(job)


def test_a_thousand_notices_and_more(world: World) -> None:
    """A store lists a page of them at once."""
    jobs = [world.submit(number) for number in range(3)]
    for number in range(2500):
        world.book.tell(jobs[number % 3])
    world.book.store.create("notices/garbage", b"")
    world.settle()
    assert {world.state(job) for job in jobs} == {JobState.DONE}
    assert not world.store.list("notices")


def test_a_damaged_job_stops_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = world.submit(priority=9), world.submit()
    until(world.lead, lambda: world.calls[bad, Unit(Step.INGEST)])
    _, etag = world.store.read_versioned(layout.control(bad))
    world.store.replace(layout.control(bad), b"{", etag)
    world.jobs.remove(bad)
    world.book.tell(bad)
    world.settle()
    assert world.state(good) is JobState.DONE
    assert f"job {bad} can't be read" in caplog.text


def test_priorities_change_while_jobs_run(world: World) -> None:
    world.size = 1
    world.crash(world.lead)
    slow = [world.submit(number, owner="a") for number in range(6)]
    until(world.lead, lambda: world.calls[slow[0], Unit(Step.ANALYSE, 0)])
    world.book.change(slow[5], "user", None, priority=9)
    world.clock.now += 1
    until(world.lead, lambda: world.state(slow[5]) is JobState.DONE)
    assert [world.state(job) for job in slow[1:5]].count(JobState.DONE) == 0


def test_a_job_at_its_limit_or_without_a_worker_for_it_holds_up_no_other(world: World) -> None:
    slow = [world.submit(number, limit=1, priority=5) for number in range(2)]
    others = [world.submit(number) for number in range(2, 6)]
    until(world.lead, lambda: len(world.lead.farm.jobs) > 2)
    world.settle()
    assert {world.state(job) for job in slow + others} == {JobState.DONE}
    assert world.lead.pool.most == 4
