"""A Ray without processes: actors that answer with what a test gave them, and a record of who was killed."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cluster.actors import Status


class Pending:
    """A reference whose value is not there yet."""

    def __init__(self) -> None:
        self.value: Any = None
        self.ready = False

    def give(self, value: Any) -> None:
        self.value, self.ready = value, True


class FakeActor:
    """`answer` is what `run` gives, at once when it is set before; `state` what `status` gives; None: no answer."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.state: Status | None = Status("", 0, False)
        self.orders: list[Any] = []
        self.runs: list[Pending] = []
        self.run = SimpleNamespace(remote=self._run)
        self.status = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._status))

    def _run(self, order: Any) -> Pending:
        self.orders.append(order)
        pending = Pending()
        if self.answer is not None:
            pending.give(self.answer)
        self.runs.append(pending)
        return pending

    def _status(self) -> Pending:
        pending = Pending()
        if self.state is not None:
            pending.give(self.state)
        return pending


class FakeRay:
    """What `actors` and the pools use of Ray."""

    def __init__(self) -> None:
        self.killed: list[Any] = []
        self.machines: list[dict[str, Any]] = []
        self.error = type("RayError", (Exception,), {})

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ray, exceptions = ModuleType("ray"), ModuleType("ray.exceptions")
        vars(exceptions)["RayError"] = self.error
        vars(ray).update(wait=self._wait, get=self._get, kill=self.killed.append, exceptions=exceptions)
        vars(ray).update(init=lambda **_: None, shutdown=lambda: None, nodes=lambda: self.machines)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)

    @staticmethod
    def _wait(references: list[Pending], num_returns: int = 1, timeout: float = 0) -> tuple[list[Pending], list[Any]]:
        ready = [each for each in references if each.ready][:num_returns]
        return ready, [each for each in references if each not in ready]

    def _get(self, pending: Pending) -> Any:
        if isinstance(pending.value, Exception):
            raise pending.value
        return pending.value
