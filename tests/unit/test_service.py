"""The service around the controller: status, drained workers, a store that is away, and how it stops."""

import logging
import random
from collections.abc import Callable

import pytest
from simfarm import AWAY, Clock, KilledError, MemoryStore, Mortal, SimWorkers, one_at_a_time, submit

from cluster.actors import Place
from cluster.book import Book
from cluster.job import Step
from cluster.ledger import Unit
from cluster.service import STATUS_EVERY, Service, read_status, write_status
from cluster.states import JobState, Move
from storage import layout
from storage.objects import NotPermitted


class Running:
    """A service whose time goes by when it sleeps or waits for workers. `each` is called at every moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, grace: float = 90.0) -> None:
        one_at_a_time(monkeypatch)
        self.clock, self.store = Clock().everywhere(monkeypatch), MemoryStore()
        self.mortal, self.slept = Mortal(self.store), 0.0
        self.book = Book(self.store, self.clock)
        self.pool = SimWorkers(self.store, 2, random.Random(1), self.clock)
        self.drained: list[frozenset[str]] = []
        self.pool.drain = self.drained.append  # type: ignore[method-assign,assignment]
        self.pool.places = (Place("host-1", None, "cpu", heard=0.0), Place("odd name", None, "cuda"))
        self.service = Service(self.mortal, "/store", self.pool, grace=grace, clock=self.clock, sleep=self._sleep)  # type: ignore[arg-type]
        self.each: Callable[[], None] = lambda: None
        poll = self.pool.poll

        def polled(timeout: float) -> object:
            self.each()
            return poll(timeout)

        self.pool.poll = polled  # type: ignore[method-assign,assignment]

    def _sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        self.slept += seconds
        self.each()

    def until(self, what: Callable[[], object]) -> None:
        """Run until it holds, and stop then."""
        end = self.clock.now + 5000

        def each() -> None:
            assert self.clock.now < end, "it didn't come to pass"
            if what():
                self.service.stop()

        self.each = each
        self.service.run()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    return Running(monkeypatch)


def test_it_works_until_it_is_stopped_and_lets_another_lead(running: Running) -> None:
    jobs = [submit(running.book, number) for number in range(3)]
    running.until(lambda: all(running.book.control(job).state is JobState.DONE for job in jobs))
    assert not running.store.list(layout.lead())
    assert "farm/controller.json" not in running.store._objects
    status = read_status(running.store)
    assert status is not None
    assert {worker.name: worker.state for worker in status.workers} == {"host-1": "idle", "odd name": "starting"}


def test_the_status_is_written_every_so_often(running: Running) -> None:
    assert read_status(running.store) is None
    times: list[float] = []

    def look() -> bool:
        status = read_status(running.store)
        if status is not None and status.at not in times:
            times.append(status.at)
        return len(times) > 3

    begun = running.clock.now
    running.until(look)
    assert running.clock.now - begun >= 3 * STATUS_EVERY


def test_two_that_write_the_status_harm_nothing(running: Running) -> None:
    for _ in range(2):
        write_status(running.store, running.service.status())
    assert read_status(running.store) is not None


def test_workers_are_drained_and_get_another_chance_by_markers(running: Running) -> None:
    running.book.mark(layout.drain("host-1"))
    for number in range(3):
        running.service.health.worked("good", Step.LINK, "job")
        running.service.health.failed("odd name", Step.LINK, "job", str(number))
    assert running.service.health.blocked() == {"odd name"}
    running.book.mark(layout.unblock("odd name"))  # spelt otherwise in a key
    running.until(lambda: running.drained and not running.service.health.blocked())
    assert running.drained[-1] == {"host-1"}
    assert not running.store.list("farm/unblock")
    running.store.delete(layout.drain("host-1"))


def test_a_store_that_is_away_is_waited_for_longer_and_longer(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit(running.book)
    away_until = running.clock.now + 120
    running.mortal.fate = lambda name, when: AWAY if running.clock.now < away_until else None
    with caplog.at_level(logging.WARNING):
        running.until(lambda: running.book.control(job).state is JobState.DONE)
    waits = [record.args[0] for record in caplog.records if "another look" in record.msg]  # type: ignore[index]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_store_that_goes_away_in_the_middle_costs_no_work(running: Running) -> None:
    job = submit(running.book)
    moments = [running.clock.now + 1 + n for n in range(3)]

    def fate(name: str, when: str) -> BaseException | None:
        if moments and running.clock.now > moments[0]:
            moments.pop(0)
            return AWAY
        return None

    running.mortal.fate = fate
    running.until(lambda: running.book.control(job).state is JobState.DONE)
    assert set(running.pool.calls.values()) == {1}


def test_a_store_that_refuses_ends_it_and_another_may_lead(running: Running) -> None:
    refused = NotPermitted("no")
    running.mortal.fate = lambda name, when: refused if name == "list" else None
    with pytest.raises(NotPermitted):
        running.service.run()
    assert "farm/controller.json" not in running.store._objects


def test_stopping_ends_what_was_begun_and_begins_nothing(running: Running) -> None:
    running.pool.haste = 0.1
    jobs = [submit(running.book, number) for number in range(4)]
    out: list[object] = []

    def busy() -> bool:
        if not out and len(running.pool.orders) == 2:
            out.extend(running.pool.orders.values())
            return True
        return False

    running.until(busy)
    assert not running.pool.orders
    assert not running.pool.stopped
    done = [(job, unit) for job in jobs for unit in map(Unit, Step) if running.book.ledger(job).done(unit)]
    for order in out:
        assert (order.job, order.unit) in done  # type: ignore[attr-defined]
    assert running.pool.calls.total() == len(done)


def test_stopping_takes_no_longer_than_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(monkeypatch, grace=10.0)
    running.pool.haste = 0.0
    submit(running.book)
    asked: list[float] = []
    running.until(lambda: running.pool.orders and (asked or asked.append(running.clock.now) or True))
    assert 10 <= running.clock.now - asked[0] < 11
    assert len(running.pool.stopped) == 1


def test_stopping_is_heard_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(monkeypatch, grace=5.0)
    begun = running.clock.now
    running.mortal.fate = lambda name, when: AWAY if running.clock.now > begun + 1 else None
    running.until(lambda: running.clock.now > begun + 60)
    assert running.clock.now < begun + 70


def test_one_that_waits_for_the_lead_stops_at_once(running: Running) -> None:
    running.store.create(layout.lead(), b"{}")
    begun = running.clock.now
    running.until(lambda: running.clock.now > begun + 5)
    assert running.clock.now < begun + 6
    assert "farm/controller.json" in running.store._objects


def test_the_progress_of_a_job_that_is_not_worked_on_is_not_shown(running: Running) -> None:
    running.pool.haste = 0.2
    job = submit(running.book)

    def paused() -> bool:
        if running.pool.orders and running.book.control(job).state is JobState.RUNNING:
            assert running.service.status().progress
            running.book.change(job, "u", Move.PAUSE)
        return running.book.control(job).state is JobState.PAUSED and not running.service._farm.jobs

    running.until(paused)
    assert running.service.status().progress == ()


def test_a_crash_is_no_end_in_peace(running: Running) -> None:
    job = submit(running.book)
    running.mortal.die_at(40)
    with pytest.raises(KilledError):
        running.service.run()
    assert running.book.control(job).state is JobState.RUNNING
