"""The controller, with all that can happen to it, over a store in memory and a clock that a test turns."""

import contextlib
import random
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest
from simfarm import AWAY, Clock, Head, KilledError, MemoryStore, Mortal, a_spec, one_at_a_time, submit, until

from cluster.book import Book, Card, NoSuchJob, NotNow
from cluster.closing import KEEP_FAILED, LATE, erasing
from cluster.controller import HALF, SCAN_EVERY
from cluster.job import Step
from cluster.lead import LEASE
from cluster.ledger import Ledger, Unit
from cluster.states import OVER, JobState, Move
from cluster.workers import Order
from storage import layout
from storage.objects import StoreError, Transient

UNITS = frozenset(Unit(step) for step in Step if step not in (Step.ANALYSE, Step.RENDER)) | frozenset(
    Unit(step, chunk) for step in (Step.ANALYSE, Step.RENDER) for chunk in range(2)
)


class World:
    """One store, its controllers, its users and its bad luck. Everything is drawn from `rng`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int = 0, heads: int = 1, size: int = 4) -> None:
        self.rng, self.clock, self.store = random.Random(seed), Clock().everywhere(monkeypatch), MemoryStore()
        one_at_a_time(monkeypatch)
        self.book = Book(self.store, self.clock)
        self.size = size
        self.told: list[tuple[str, JobState, int]] = []
        self.heads = [self.head() for _ in range(heads)]
        self.poison: dict[str, set[Unit]] = {}
        self.luck: Counter[tuple[str, Unit]] = Counter()  # failures that pass
        self.bad_luck = 0.0
        self.jobs: list[str] = []
        self.calls: Counter[tuple[str, Unit]] = Counter()
        self.spare: Counter[tuple[str, Unit]] = Counter()  # times that a unit may be done again
        self.late: list[tuple[Head, Order]] = []

    def head(self) -> Head:
        head = Head(self.store, self.clock, self.rng, self.size, on_change=self._tell)
        head.pool.trouble = self.trouble
        return head

    def _tell(self, job: str, card: object, control: object) -> None:
        self.told.append((job, control.state, control.round))  # type: ignore[attr-defined]

    @property
    def lead(self) -> Head:
        return self.heads[0]

    def submit(self, number: int = 0, **more: object) -> str:
        self.clock.now += 0.01  # ids are told apart by their time
        self.jobs.append(submit(self.book, number, **more))  # type: ignore[arg-type]
        return self.jobs[-1]

    def state(self, job: str) -> JobState:
        return self.book.control(job).state

    def trouble(self, order: Order, worker: str) -> tuple[str, bool] | None:
        unit = (order.job, order.unit)
        self.calls[unit] += 1
        if order.unit in self.poison.get(order.job, ()):
            return "VerifyError", False
        if self.rng.random() < self.bad_luck and self.luck[unit] < 2:
            self.luck[unit] += 1
            self.spare[unit] += 1
            causes = ["WorkerDied", "WorkerHung", "WorkerLost", "OutOfMemoryError", "VerifyError", "Unreachable"]
            return self.rng.choice([*causes, "AcceleratorError", "KeyError"]), self.rng.random() < 0.3
        return None

    def crash(self, head: Head) -> Head:
        """It is gone with its workers; another one is started over the same store."""
        for run in head.farm._runs:
            self.spare.update((run.job.ledger.job_id, unit) for unit in run.running.values())
        self.late += [(head, order) for order in head.pool.orders.values()]
        self.heads[self.heads.index(head)] = new = self.head()
        return new

    def turn(self, head: Head | None = None) -> None:
        head = head or self.rng.choice(self.heads)
        try:
            if not head.turn():
                self.clock.now += 0.5
        except KilledError:
            self.crash(head)
        except Transient:
            self.clock.now += 1

    def write_late(self, count: int) -> None:
        """Workers of dead controllers write on, though not after an hour."""
        for _ in range(min(count, len(self.late))):
            head, order = self.late.pop()
            control = self.book.control(order.job)
            if control.state not in OVER or self.clock.now - control.since < LATE / 2:
                with contextlib.suppress(StoreError):
                    head.pool.write(order)

    def settle(self, turns: int = 20_000) -> None:
        """Turn without further trouble until nothing is left to do."""
        for number in range(turns):
            self.turn(self.heads[number % len(self.heads)])
            busy = number % 20 or any(head.farm.jobs for head in self.heads)
            if not busy and all(self.state(job) in {*OVER, JobState.WAITING} for job in self.jobs):
                break
        else:
            raise AssertionError(Counter(self.state(job) for job in self.jobs))
        for _ in range(60):  # the last ends are written, the last notices read
            self.turn(self.heads[_ % len(self.heads)])

    def wait(self, seconds: float) -> None:
        """Time goes by, and everything is looked at."""
        self.clock.now += seconds
        for _ in range(50):
            for head in self.heads:
                self.turn(head)
            self.clock.now += 1

    def keys(self, job: str) -> list[str]:
        return list(self.store.keys(layout.job(job)))

    def work(self, job: str) -> list[str]:
        return [key for key in self.keys(job) if "/try/" in key or key == layout.secret(job)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def check_the_end(world: World) -> None:
    """What must hold when everything is quiet, and was looked at once more."""
    world.wait(SCAN_EVERY)
    for job in world.jobs:
        control = world.book.control(job)
        if control.state is JobState.WAITING:
            others = [world.state(other) for other in world.book.card(job).after]
            assert "it waits for" in control.reason or JobState.WAITING in others
            continue
        results = [world.book.result(job, number) for number in range(1, control.round + 1)]
        assert all(results), f"round {results.index(None) + 1} of {job} has no result"
        assert results[-1] is not None
        assert results[-1].state is control.state
        assert {r.state for r in results[:-1] if r} <= {JobState.FAILED, JobState.CANCELLED}
        done = {unit for unit in UNITS if Ledger(world.store, job).done(unit)}
        if control.state is JobState.DONE:
            assert done == UNITS
            assert not (world.poison.get(job, set()) & done) or control.round > 1
        elif control.state is JobState.FAILED:
            assert world.poison[job], world.book.history(job)
            assert layout.secret(job) in world.work(job)
    open_jobs = [job for job in world.jobs if world.state(job) is JobState.WAITING]
    assert sorted(world.book.open_jobs()) == sorted(open_jobs)
    assert not world.store.list("notices")
    over = [job for job in world.jobs if world.state(job) not in (JobState.WAITING, JobState.FAILED)]
    world.write_late(len(world.late))
    world.wait(LATE + SCAN_EVERY)
    assert not [key for job in over for key in world.work(job)]
    cancelled = [job for job in over if world.state(job) is JobState.CANCELLED]
    assert not [unit for job in cancelled for unit in UNITS if Ledger(world.store, job).done(unit)]
    kept = [job for job in world.jobs if world.state(job) is JobState.FAILED]
    assert all(world.work(job) for job in kept)
    assert sorted(world.book.kept_jobs()) == sorted(kept)
    world.wait(KEEP_FAILED + SCAN_EVERY)
    assert not [key for job in kept for key in world.work(job)]
    assert not list(world.book.kept_jobs())


def fill(world: World, count: int) -> None:
    for number in range(count):
        after = world.rng.sample(world.jobs, min(len(world.jobs), world.rng.choice([0, 0, 0, 1, 2])))
        limit = world.rng.choice([None, None, 1, 2])
        priority = world.rng.choice([-1, 0, 0, 5])
        job = world.submit(number, owner=f"owner-{number % 3}", priority=priority, after=after, limit=limit)
        if world.rng.random() < 0.15:
            world.poison[job] = {world.rng.choice(sorted(UNITS, key=str))}


def meddle(world: World) -> None:
    """A user does something to a job, and may break off in the middle."""
    hand = Mortal(world.store)
    if world.rng.random() < 0.2:
        hand.die_at(world.rng.randrange(8), world.rng.choice(["before", "after"]))
    job = world.rng.choice(world.jobs)
    move = world.rng.choice([Move.PAUSE, Move.RESUME, Move.RESUME, Move.CANCEL, Move.RETRY, Move.RETRY, None])
    if move is Move.CANCEL and world.rng.random() < 0.5:
        return
    fields = {} if move else {"priority": world.rng.randrange(-2, 6)}
    with contextlib.suppress(NotNow, KilledError):
        Book(hand, world.clock).change(job, "user", move, **fields)  # type: ignore[arg-type]
        if move is Move.RETRY and world.rng.random() < 0.7:
            world.poison.pop(job, None)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_every_job_comes_to_its_end_once(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Controllers die at any operation on the store, or it doesn't answer; two of them are there, and one may sleep and
    go on as if it led; workers fail in every way; users pause, resume, cancel, retry."""
    world = World(monkeypatch, seed, heads=1 + seed % 2)
    world.bad_luck = 0.15
    fill(world, 40 if seed == 0 else 20)
    for _ in range(260):
        head = world.rng.choice(world.heads)
        dice = world.rng.random()
        if dice < 0.15:
            head.mortal.die_at(world.rng.randrange(60), world.rng.choice(["before", "after"]))
        elif dice < 0.25:
            head.mortal.die_at(world.rng.randrange(60), world.rng.choice(["before", "after"]), AWAY)
        elif dice < 0.45:
            meddle(world)
        elif dice < 0.5:
            world.clock.now += world.rng.choice([LEASE + 1, SCAN_EVERY])
        elif dice < 0.55:  # it slept after it had asked whether it leads
            sleeper, renewed = world.rng.choice(world.heads), world.clock.now
            world.clock.now += LEASE + 1
            for _ in range(3):
                for other in [head for head in world.heads if head is not sleeper]:
                    world.turn(other)
                world.clock.now += LEASE
            sleeper.lead._renewed = world.clock.now if sleeper.lead._renewed <= renewed else sleeper.lead._renewed
        elif dice < 0.6:
            world.write_late(1)
        world.turn(head if head in world.heads else None)
    world.bad_luck = 0.0
    for head in world.heads:
        head.mortal.fate = lambda name, when: None
    for _ in range(3):
        for job in world.jobs:
            with contextlib.suppress(NotNow):
                world.book.change(job, "user", Move.RESUME)
        world.settle()
    check_the_end(world)


@pytest.mark.parametrize("seed", range(5))
def test_a_crash_costs_no_more_than_what_was_running(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    world = World(monkeypatch, 100 + seed, size=3)
    world.bad_luck = 0.1
    fill(world, 12)
    world.poison.clear()
    for _ in range(150):
        if world.rng.random() < 0.2:
            world.lead.mortal.die_at(world.rng.randrange(80), world.rng.choice(["before", "after"]))
        world.turn()
    world.lead.mortal.fate = lambda name, when: None
    world.settle()
    assert {world.state(job) for job in world.jobs} == {JobState.DONE}
    for unit, count in world.calls.items():
        assert count <= 1 + world.spare[unit], unit
    check_the_end(world)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_controller_may_die_at_every_single_operation(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """One job, one failure: whatever the operation, the next controller brings it to the same end."""
    for poisoned in (False, True):
        number, more = 0, True
        while more:
            world = World(monkeypatch, number)
            job = world.submit()
            if poisoned:
                world.poison[job] = {Unit(Step.RENDER, 1)}
            head = world.lead
            head.mortal.die_at(number, when)
            for _ in range(80):
                world.turn(world.lead)
            more = world.lead is not head
            assert world.state(job) is (JobState.FAILED if poisoned else JobState.DONE), number
            result = world.book.result(job, 1)
            assert result is not None
            assert result.state is world.state(job)
            assert not list(world.book.open_jobs())
            assert bool(world.work(job)) is poisoned
            assert sum(count - 1 for unit, count in world.calls.items()) <= (4 if more else 2 if poisoned else 0)
            number += 11  # the others differ by the unit only
        assert number > 100


def test_a_submission_that_breaks_off_is_one_or_none_and_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for when in ("before", "after"):
        for number in range(9):
            world = World(monkeypatch, number)
            hand = Mortal(world.store)
            hand.die_at(number, when)
            with contextlib.suppress(KilledError):
                submit(Book(hand, world.clock))  # type: ignore[arg-type]
            other = world.submit(1)
            world.settle()
            assert world.state(other) is JobState.DONE
            (half,) = set(world.book.jobs()) - {other} or {None}
            submitted = half is not None and layout.control(half) in world.keys(half)
            if submitted and half is not None:  # the notice may be missing: it is found by its place in the queue
                world.wait(SCAN_EVERY)
                world.jobs.append(half)
                world.settle()
                assert world.state(half) is JobState.DONE
            else:
                world.wait(HALF + SCAN_EVERY)
                assert world.book.jobs() == (other,)
            assert not list(world.book.open_jobs())


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


def turns_cost(world: World, turns: int, each: Callable[[], None] = lambda: None) -> float:
    """Operations on the store in a turn, on average."""
    before = world.lead.mortal.operations.total()
    for _ in range(turns):
        each()
        world.turn()
    return (world.lead.mortal.operations.total() - before) / turns


def lines(world: World) -> int:
    """Lines of Python that twenty turns take."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        for _ in range(20):
            world.turn()
    finally:
        sys.settrace(None)
    return count


def test_five_thousand_waiting_jobs_cost_a_turn_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither operations on the store nor work of this process, and little memory."""
    world = World(monkeypatch, size=1)
    gate = world.submit()
    world.poison[gate] = {Unit(Step.INGEST)}
    for number in range(2500):
        world.submit(number, owner=f"owner-{number % 3}", priority=number % 2)
        world.submit(number, after=[gate])
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    until(world.lead, lambda: len(world.lead.controller.tickets) > 4900)
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    ours = [s for s in after.compare_to(before, "filename") if "storage/memory" not in s.traceback[0].filename]
    assert sum(stat.size_diff for stat in ours) < 3000 * 5000
    until(world.lead, lambda: not world.lead.controller._waiting.check and not world.store.list("notices"))
    few = World(monkeypatch, size=1)
    for number in range(20):
        few.submit(number)
    for _ in range(5):
        few.turn()
    assert turns_cost(world, 40) < 2 * turns_cost(few, 40) + 2
    assert lines(world) < 2 * lines(few) + 2000


def test_two_controllers_and_one_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, heads=2)
    for number in range(6):
        world.submit(number)
    first, second = world.heads
    first.pool.haste = 0.1
    for _ in range(10):
        world.turn(first)
        world.turn(second)
    assert first.farm.jobs
    assert not second.farm.jobs
    world.clock.now += LEASE + 1
    world.turn(second)
    world.clock.now += LEASE + 1  # the first is silent
    world.turn(second)
    assert second.farm.jobs
    world.turn(first)
    assert not first.farm.jobs
    assert first.pool.stopped or not first.pool.orders
    world.settle()
    assert {world.state(job) for job in world.jobs} == {JobState.DONE}


def test_one_that_slept_since_an_earlier_round_ends_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has settled that a round failed, and sleeps. Another controller writes that down, and the job is retried."""
    world = World(monkeypatch, heads=2)
    sleeper, other = world.heads
    job = world.submit()
    world.poison[job] = {Unit(Step.INGEST)}
    sleeper.mortal.fate = lambda name, when: AWAY if name == "create" and world.book.control(job).ending else None
    while not world.book.control(job).ending:
        world.turn(sleeper)
    for _ in range(2):
        world.turn(other)
        world.clock.now += LEASE + 1
    until(other, lambda: world.state(job) is JobState.FAILED)
    world.poison.clear()
    world.book.change(job, "user", Move.RETRY)
    until(other, lambda: world.calls[job, Unit(Step.PLAN)])
    sleeper.mortal.fate = lambda name, when: None
    sleeper.controller._write_ends()  # as if it had slept right before
    assert world.state(job) is JobState.RUNNING
    world.settle()
    assert world.state(job) is JobState.DONE


def done_and_there(world: World, job: str) -> set[Unit]:
    """What is recorded as done; its files must be there."""
    ledger = Ledger(world.store, job)
    found = {unit for unit in UNITS if ledger.done(unit)}
    for unit in found:
        done = ledger.done(unit)
        assert done is not None
        assert world.store.list(layout.attempt(job, unit.step, unit.chunk, done.attempt)), unit
    return found


def test_at_each_moment_of_deleting_what_is_recorded_is_there(world: World) -> None:
    """And it stops where the job goes on."""
    job = world.submit()
    until(world.lead, lambda: world.calls[job, Unit(Step.STITCH)])
    world.book.change(job, "user", Move.CANCEL)
    control, before = world.book.control(job), done_and_there(world, job)
    pieces = erasing(world.book, job, control, keep_records=False)
    for _ in range(6):
        next(pieces)
        left = done_and_there(world, job)
    assert left < before
    world.book.change(job, "user", Move.RETRY)
    assert sum(pieces) <= 1
    assert done_and_there(world, job) >= {Unit(Step.INGEST), Unit(Step.INDEX)}
    assert list(erasing(world.book, job, control, keep_records=False)) == []
    world.settle()
    assert world.state(job) is JobState.DONE


def test_a_job_that_is_told_of_is_in_the_queue(world: World) -> None:
    """Who saw the last round end may take it out of there after somebody has let it go on."""
    world.lead.pool.haste = 0.0
    job = world.submit()
    world.turn()
    world.store.delete(layout.queued(job))
    world.book.tell(job)
    world.clock.now += 1
    world.turn()
    assert list(world.book.open_jobs()) == [job]


def test_a_job_for_workers_that_are_not_there_holds_up_no_other(world: World) -> None:
    world.clock.now += 1
    card = Card("gpu.mp4", "", world.clock.now)
    for_gpus = world.book.submit(a_spec(device="cuda"), card)
    others = [world.submit(number) for number in range(5)]
    world.turn()
    until(world.lead, lambda: {world.state(job) for job in others} == {JobState.DONE})
    assert world.state(for_gpus) is JobState.RUNNING
