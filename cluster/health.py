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
    # Different units that failed since the last success, by step: (job, unit), and whether others can do such.
    row: dict[Step, dict[tuple[str, str], bool]] = field(default_factory=dict)
    until: float = 0.0


class Health:
    """The blocklist. In memory only: a farm that is started again gives everyone a new chance.

    A worker is taken out by failures of jobs that other workers get through in the same step. A film that nobody gets
    through says nothing about workers, however many of its chunks they fail.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._able: dict[tuple[str, Step], set[str]] = {}  # two workers at most that have done a unit of it

    def worked(self, worker: str, step: Step, job: str) -> None:
        """A unit of this step was done."""
        able = self._able.setdefault((job, step), set())
        if len(able) < 2:
            able.add(worker)
        for name, record in self._records.items():
            row = record.row.get(step)
            if row and name == worker:
                del record.row[step]
            elif row:
                row.update((failed, True) for failed in row if failed[0] == job)

    def failed(self, worker: str, step: Step, job: str, unit: str) -> bool:
        """A unit failed by what may be the worker's fault. True when that takes it out."""
        record = self._records.setdefault(worker, _Record())
        row = record.row.setdefault(step, {})
        row[job, unit] = bool(self._able.get((job, step), set()) - {worker})
        if sum(row.values()) < WORKER_CAP:
            return False
        record.row.clear()
        record.until = self._clock() + PAUSE
        return True

    def forget(self, job: str) -> None:
        """It is worked on no more. What others couldn't do either is forgotten."""
        for step in Step:
            self._able.pop((job, step), None)
        for record in self._records.values():
            for step, row in record.row.items():
                record.row[step] = {failed: known for failed, known in row.items() if known or failed[0] != job}

    def unblock(self, worker: str) -> None:
        """Give it another chance now."""
        self._records.pop(worker, None)

    def blocked(self) -> frozenset[str]:
        """Those that get no orders now."""
        now = self._clock()
        return frozenset(name for name, record in self._records.items() if record.until > now)
