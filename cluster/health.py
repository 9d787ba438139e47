"""Which workers are taken out, and until when."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.job import Step
from cluster.trouble import WORKER_CAP

PAUSE = 900.0
"""Seconds after which a worker that was taken out gets another chance: most causes pass, and a farm whose workers are
all out would wait for ever."""


@dataclass(slots=True)
class _Record:
    row: dict[Step, set[str]] = field(default_factory=dict)  # different units that failed since the last success
    until: float = 0.0


class Health:
    """The blocklist. In memory only: a farm that is started again gives everyone a new chance."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def worked(self, worker: str, step: Step) -> None:
        """A unit of this step was done."""
        if worker in self._records:
            self._records[worker].row.pop(step, None)

    def failed(self, worker: str, step: Step, unit: str) -> bool:
        """A unit failed by what may be the worker's fault. True when that takes it out."""
        record = self._records.setdefault(worker, _Record())
        row = record.row.setdefault(step, set())
        row.add(unit)
        if len(row) < WORKER_CAP:
            return False
        record.row.clear()
        record.until = self._clock() + PAUSE
        return True

    def unblock(self, worker: str) -> None:
        """Give it another chance now."""
        self._records.pop(worker, None)

    def blocked(self) -> frozenset[str]:
        """Those that get no orders now."""
        now = self._clock()
        return frozenset(name for name, record in self._records.items() if record.until > now)
