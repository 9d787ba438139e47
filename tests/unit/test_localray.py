"""The pool on this machine, without a Ray: who works on, and with how much of a GPU."""

import collections
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from doubles import DrySteps
from fakeray import FakeActor, FakeRay

from cluster.actors import Status
from cluster.job import Failure, Step
from cluster.ledger import Unit
from cluster.localray import EXTRAS, LocalPool, PoolSettings, gpu_share, own_folder, without_extras
from cluster.roles import FarmError
from cluster.schedule import Seat
from cluster.workers import Order, Outcome

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    fake.install(monkeypatch)
    monkeypatch.setattr("cluster.localray.new_actor", lambda *_, **__: FakeActor())
    return fake


def an_order(unit: Unit, attempt: str = "try") -> Order:
    return Order("/nowhere", "job", unit, attempt, None, 1)


@pytest.mark.parametrize(
    ("cause", "kept"),
    [(None, True), ("VerifyError", True), ("OutOfMemoryError", False), ("AcceleratorError", False)],
)
def test_a_worker_whose_device_failed_is_replaced(ray: FakeRay, cause: str | None, kept: bool) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    pool._up.set()
    pool._add_worker()
    order = an_order(Unit(Step.RENDER, 0))
    outcome = Outcome(order, 1.0, None if cause is None else Failure(cause, "", "", "", ""))
    (place,) = pool.places
    place.actor.answer = outcome
    try:
        (seat,) = pool.seats(order.unit)
        pool.submit(order, seat)
        assert not pool.seats(order.unit)[0].free
        assert pool.poll(0) == [outcome]
        assert ray.killed == ([] if kept else [place.actor])
        (after,) = pool.seats(order.unit)
        assert after.free
        assert (after.name == seat.name) is kept
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("workers", "gpus", "share"),
    [(4, 0, 0), (4, 1, 0.25), (3, 1, 0.3333), (3, 2, 0.5), (2, 2, 1), (1, 4, 1), (7, 1, 0.1428)],
)
def test_every_worker_finds_room_on_a_gpu(workers: int, gpus: int, share: float) -> None:
    assert gpu_share(workers, gpus) == share
    if gpus:
        assert int(1 / gpu_share(workers, gpus)) * gpus >= workers


def test_what_ray_would_start_besides_is_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.node import Node

    for name in EXTRAS:
        monkeypatch.setattr(Node, name, getattr(Node, name))  # fails for a Ray that has another name for it
    monkeypatch.setattr(Node, "_webui_url", None, raising=False)
    without_extras()
    assert [getattr(Node, name)(None, include_dashboard=False) for name in EXTRAS] == [None] * 3


def test_a_first_film_is_indexed_while_workers_load_their_networks(ray: FakeRay) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    pool._up.set()
    pool._add_worker()
    try:
        early, late = (an_order(Unit(*u), u[0]) for u in _UNITS)
        pool._thread = threading.current_thread()
        (seat,) = pool.seats(early.unit)
        assert seat.free
        pool.submit(early, seat)
        assert not pool.seats(early.unit)[0].free  # one at a time
        (worker,) = pool.seats(late.unit)
        assert worker.free
        assert worker.name != seat.name
        pool.submit(late, worker)
        # From now on workers are quick to answer.
        assert [(s.name, s.free) for s in pool.seats(early.unit)] == [(worker.name, False)]
    finally:
        pool.close()


def test_where_no_step_may_be_done_here_the_first_one_waits_for_a_worker(ray: FakeRay) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0), early=False)
    pool._add_worker()
    pool._thread = threading.current_thread()
    try:
        assert pool.seats(Unit(Step.INGEST)) == ()  # Ray isn't up
        assert pool.frames() == {}
        pool._up.set()
        (seat,) = pool.seats(Unit(Step.INGEST))
        assert seat.free
        assert seat.name in {place.name for place in pool.places}
    finally:
        pool.close()


_UNITS = ((Step.INDEX,), (Step.ANALYSE, 0))


class Reluctant:
    """A Ray that fails to start so many times."""

    def __init__(self, failures: int) -> None:
        self.failures, self.starts, self.stops = failures, 0, 0

    def init(self, **_: object) -> None:
        self.starts += 1
        if self.starts <= self.failures:
            raise ConnectionError("servers that didn't find each other")

    def shutdown(self) -> None:
        self.stops += 1


@pytest.mark.parametrize(("failures", "starts", "works"), [(0, 1, True), (2, 3, True), (3, 3, False)])
def test_ray_gets_another_chance_to_start(failures: int, starts: int, works: bool) -> None:
    pool, ray = LocalPool(DrySteps(), PoolSettings(1, 1, 0)), Reluctant(failures)
    try:
        if works:
            pool._init(ray)
        else:
            with pytest.raises(ConnectionError):
                pool._init(ray)
        assert (ray.starts, ray.stops) == (starts, starts - 1)
    finally:
        pool.close()


def test_a_command_that_ends_starts_no_ray_again() -> None:
    pool, ray = LocalPool(DrySteps(), PoolSettings(1, 1, 0)), Reluctant(3)
    pool.leave()
    try:
        with pytest.raises(ConnectionError):
            pool._init(ray)
        assert ray.starts == 1
    finally:
        pool.close()


def test_a_step_that_needs_no_ray_is_ended_without_one(ray: FakeRay) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    pool._thread = threading.current_thread()
    early = an_order(Unit(*_UNITS[0]))
    try:
        pool.submit(early, pool.seats(early.unit)[0])
        pool._error = ConnectionError("no Ray")
        pool._up.set()
        assert [o.order for o in pool.poll(5)] == [early]
        with pytest.raises(FarmError, match="did not start"):
            pool.poll(0)
    finally:
        pool.close()


def test_idle_workers_are_asked_and_one_that_died_is_replaced(ray: FakeRay) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    pool._up.set()
    pool._add_worker()
    (place,) = pool.places
    place.actor.state = type("ActorDiedError", (ray.error,), {})()
    try:
        pool.poll(0)
        pool.poll(0)
        (after,) = pool.places
        assert after.actor is not place.actor
        assert ray.killed == [place.actor]
    finally:
        pool.close()


def test_a_worker_that_was_told_to_end_gets_a_successor_when_its_order_is_done(ray: FakeRay) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    pool._up.set()
    pool._add_worker()
    (place,) = pool.places
    order = an_order(Unit(Step.RENDER, 0))
    try:
        pool.submit(order, Seat(place.name, True))
        place.actor.state = Status("try", 0, True)
        for _ in range(3):
            assert pool.poll(0) == []
        assert pool.seats(order.unit) == ()
        outcome = Outcome(order, 1.0, None)
        place.actor.runs[0].give(outcome)
        assert pool.poll(0) == [outcome]
        (after,) = pool.places
        assert after.actor is not place.actor
        assert pool.seats(order.unit)[0].free
    finally:
        pool.close()


def test_a_farm_whose_workers_all_die_at_birth_ends_and_says_why(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def stillborn(*_: object, **__: object) -> FakeActor:
        worker = FakeActor()
        worker.state = type("ActorDiedError", (ray.error,), {})("no such module")  # type: ignore[assignment]
        return worker

    monkeypatch.setattr("cluster.localray.new_actor", stillborn)
    pool = LocalPool(DrySteps(), PoolSettings(2, 1, 0))
    pool._up.set()
    pool._add_worker()
    pool._add_worker()
    try:
        with pytest.raises(FarmError, match="no worker comes up: no such module"):
            collections.deque((pool.poll(0) for _ in range(50)), maxlen=0)
    finally:
        pool.close()


_KILLED = """
import os, signal
from cluster.localray import own_folder
print(own_folder()[0], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_left_of_a_folder_that_was_half_removed_goes_after_a_while() -> None:
    old, new = (Path(tempfile.mkdtemp(prefix=f"veil-{n}-", dir="/tmp")) for n in (1, 2))
    os.utime(old, (0, 0))
    mine, held = own_folder()
    assert (old.exists(), new.exists(), mine.exists()) == (False, True, True)
    for folder in (new, mine):
        shutil.rmtree(folder)
    os.close(held)


def test_the_folder_of_a_farm_that_was_killed_goes_with_the_next_one() -> None:
    """And that of one that lives stays."""
    living, held = own_folder()
    done = subprocess.run([sys.executable, "-c", _KILLED], cwd=ROOT, capture_output=True, text=True, check=False)
    killed = Path(done.stdout.strip())
    assert killed.name.startswith("veil-")
    assert killed.exists()
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    assert not killed.exists()
    assert living.exists()
    assert pool._folder.exists()
    pool.close()
    assert not pool._folder.exists()
    shutil.rmtree(living)
    os.close(held)
