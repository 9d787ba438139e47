"""The controller with all that can happen to it: deaths at any operation, two that lead, what is left behind."""

import contextlib

import pytest
from simfarm import AWAY, KilledError, Mortal, a_spec, submit, until
from simworld import UNITS, World, check_the_end, fill, meddle

from cluster.book import Book, Card, NotNow
from cluster.closing import erasing
from cluster.controller import HALF, SCAN_EVERY
from cluster.job import Step
from cluster.lead import LEASE
from cluster.ledger import Ledger, Unit
from cluster.states import JobState, Move
from storage import layout


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


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
