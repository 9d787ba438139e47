"""A world in memory for the controller: a store, its controllers, its users and its bad luck."""

import contextlib
import random
from collections import Counter

import pytest
from simfarm import Clock, Head, KilledError, MemoryStore, Mortal, one_at_a_time, submit

from cluster.book import Book, NotNow
from cluster.closing import KEEP_FAILED, LATE
from cluster.controller import SCAN_EVERY
from cluster.job import Step
from cluster.ledger import Ledger, Unit
from cluster.states import OVER, JobState, Move
from cluster.workers import Order
from storage import layout
from storage.objects import StoreError, Transient

UNITS = frozenset(Unit(step) for step in Step if step not in (Step.ANALYSE, Step.MEND, Step.RENDER)) | frozenset(
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
