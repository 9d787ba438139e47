"""The pool on this machine, without a Ray: who works on, and with how much of a GPU."""

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from doubles import DrySteps

from cluster.farm import FarmError
from cluster.job import Failure, Step
from cluster.ledger import Unit
from cluster.localray import EXTRAS, LocalPool, PoolSettings, gpu_share, without_extras
from cluster.workers import Order, Outcome


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    gone: list[Any] = []
    ray, exceptions = ModuleType("ray"), ModuleType("ray.exceptions")
    vars(exceptions)["RayError"] = type("RayError", (Exception,), {})
    vars(ray).update(
        wait=lambda references, **_: (references, []),
        get=lambda outcome: outcome,
        kill=gone.append,
        exceptions=exceptions,
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)
    monkeypatch.setattr(LocalPool, "_new_actor", lambda self: "new")
    return gone


@pytest.mark.parametrize(
    ("cause", "idle"),
    [(None, "old"), ("VerifyError", "old"), ("OutOfMemoryError", "new"), ("AcceleratorError", "new")],
)
def test_a_worker_whose_device_failed_is_replaced(
    tmp_path: Path, killed: list[Any], cause: str | None, idle: str
) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    order = Order(tmp_path, "job", Unit(Step.RENDER, 0), "try", tmp_path / "secret", 1)
    outcome = Outcome(order, 1.0, None if cause is None else Failure(cause, "", "", "", ""))
    pool._busy[outcome] = ("old", order)
    try:
        assert pool._collect(0) == [outcome]
        assert pool._idle == [idle]
        assert killed == ([] if idle == "old" else ["old"])
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


def test_a_first_film_is_indexed_while_workers_load_their_networks(tmp_path: Path, killed: list[Any]) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    pool._up.set()
    pool._idle = [SimpleNamespace(run=SimpleNamespace(remote=lambda order: Outcome(order, 1.0, None)))]
    try:
        early, late = (Order(tmp_path, "job", Unit(*u), u[0], tmp_path / "secret", 1) for u in _UNITS)
        pool._thread = threading.current_thread()
        assert pool.takes(early.unit)
        pool.submit(early)
        assert len(pool._idle) == 1
        assert not pool.takes(early.unit)  # one at a time
        assert pool.takes(late.unit)
        pool.submit(late)
        assert pool._idle == []
        assert not pool.takes(early.unit)  # from now on workers are quick to answer
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


def test_a_step_that_needs_no_ray_is_ended_without_one(tmp_path: Path, killed: list[Any]) -> None:
    pool = LocalPool(DrySteps(), PoolSettings(1, 1, 0))
    pool._thread = threading.current_thread()
    early = Order(tmp_path, "job", Unit(*_UNITS[0]), "try", tmp_path / "secret", 1)
    try:
        pool.submit(early)
        pool._error = ConnectionError("no Ray")
        pool._up.set()
        assert [o.order for o in pool.poll(5)] == [early]
        with pytest.raises(FarmError, match="did not start"):
            pool.poll(0)
    finally:
        pool.close()
