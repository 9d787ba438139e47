"""The farm: from jobs to finished films. The whole story of a job is `_story`; the rest hands out its units.

The farm keeps no state that matters. What is done stands in each job's ledger; a farm that is killed and started again
goes on where the ledger says.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cluster.job import PER_CHUNK, Failure, IndexFacts, Plan, Step, new_id
from cluster.ledger import Ledger, Unit
from cluster.workers import FINAL, TRIES, Order, Outcome

AHEAD = 2
"""Jobs that are worked on at once: while one is linked or stitched, the next one's chunks keep the workers busy."""


class Pool(Protocol):
    """Workers that take one order each."""

    size: int  # workers, when all are up

    def takes(self, unit: Unit) -> bool:
        """Whether a worker is free for it now."""

    def submit(self, order: Order) -> None:
        """Give it to a free worker."""

    def poll(self, timeout: float) -> list[Outcome]:
        """What ended since the last call; waits up to `timeout` seconds for something. A worker that died is replaced,
        and its order ends with the failure `WorkerDied`. Raises FarmError when no worker can ever come up."""

    def frames(self) -> dict[str, int]:
        """Frames done so far, by attempt, of orders that are being worked on."""


class FarmError(Exception):
    """The farm itself can't go on; the jobs can be resumed."""


class Listener(Protocol):
    """Whoever shows how it goes."""

    def step(self, job: "Job", step: Step, done: int, total: int, seconds: float) -> None:
        """`done` of `total` frames (or of 1, for a step without frames); `seconds` since the step began here."""

    def retry(self, job: "Job", unit: Unit, failure: Failure) -> None:
        """A unit failed and is tried again."""


@dataclass(frozen=True, slots=True)
class Job:
    """One film on its way through the farm."""

    name: str  # for people
    root: Path  # its store
    ledger: Ledger
    secret: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """A job is through: every step is done, or `failure` says why not. `seconds` by step, of this farm's time."""

    job: Job
    failure: Failure | None
    seconds: dict[Step, float]


@dataclass(slots=True)
class _Run:
    """A job while the farm works on it."""

    job: Job
    story: Iterator[tuple[Unit, ...]]
    waiting: deque[Unit] = field(default_factory=deque)
    running: dict[str, Unit] = field(default_factory=dict)
    tries: dict[Unit, int] = field(default_factory=dict)
    seconds: dict[Step, float] = field(default_factory=dict)
    plan: Plan | None = None
    step: Step | None = None
    step_began: float = 0.0
    done: int = 0  # frames of the step that are done
    total: int = 1
    failure: Failure | None = None
    ended: bool = False


def _story(ledger: Ledger) -> Iterator[tuple[Unit, ...]]:
    """What a job goes through. Each batch is handed out when the one before is done."""
    yield (Unit(Step.INGEST),)
    yield (Unit(Step.INDEX),)
    yield (Unit(Step.PLAN),)
    chunks = ledger.chunks()
    yield tuple(Unit(Step.ANALYSE, chunk.index) for chunk in chunks)
    yield (Unit(Step.LINK),)
    yield tuple(Unit(Step.RENDER, chunk.index) for chunk in chunks)
    yield (Unit(Step.STITCH),)


class Farm:
    """Brings jobs through. One farm at a time works on a job."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        self._pool, self._listener = pool, listener
        self._runs: list[_Run] = []

    def run(self, jobs: Iterable[Job]) -> Iterator[Ended]:
        """Work until every job is done or has failed; each is handed out as it ends. One's failure doesn't stop the
        others. Raises FarmError."""
        queue = iter(jobs)
        more = True
        while more or self._runs:
            while more and len(self._runs) < AHEAD:
                job = next(queue, None)
                more = job is not None
                if job is not None:
                    self._runs.append(_Run(job, _story(job.ledger)))
            for run in self._runs:
                self._advance(run)
            self._hand_out()
            over = [run for run in self._runs if run.ended or run.failure]
            for run in over:
                self._runs.remove(run)
                yield Ended(run.job, run.failure, run.seconds)
            if self._runs and not over:
                for outcome in self._pool.poll(0.25):
                    self._take_in(outcome)
                self._tell()

    def _advance(self, run: _Run) -> None:
        """Take the next batch when the last one is through, and leave out what the ledger has already."""
        while not (run.failure or run.ended or run.waiting or run.running):
            if run.step is not None:
                run.seconds[run.step] = run.seconds.get(run.step, 0.0) + time.perf_counter() - run.step_began
                self._listener.step(run.job, run.step, run.total, run.total, time.perf_counter() - run.step_began)
            batch = next(run.story, None)
            if batch is None:
                run.ended = True
                return
            run.step, run.step_began = batch[0].step, time.perf_counter()
            todo = [unit for unit in batch if run.job.ledger.done(unit) is None]
            run.total = max(1, sum(self._weight(run, unit) for unit in batch))
            run.done = run.total - sum(self._weight(run, unit) for unit in todo)
            # The longest first: short ones at the end keep workers from waiting for each other.
            run.waiting.extend(sorted(todo, key=lambda unit: -self._weight(run, unit)))
            self._listener.step(run.job, run.step, run.done, run.total, 0.0)

    @staticmethod
    def _weight(run: _Run, unit: Unit) -> int:
        """How many frames a unit stands for."""
        if unit.step in PER_CHUNK:
            run.plan = run.plan or run.job.ledger.facts(Plan)
            assert unit.chunk is not None
            return run.plan.chunks[unit.chunk].frames
        return 1

    def _hand_out(self) -> None:
        """Free workers get the next units; an earlier job's come first."""
        for run in self._runs:
            while run.waiting and self._pool.takes(run.waiting[0]):
                unit = run.waiting.popleft()
                job = run.job
                order = Order(job.root, job.ledger.job_id, unit, new_id(), job.secret, self._pool.size)
                run.running[order.attempt] = unit
                self._pool.submit(order)

    def _take_in(self, outcome: Outcome) -> None:
        attempt, unit = outcome.order.attempt, outcome.order.unit
        run = next((run for run in self._runs if attempt in run.running), None)
        if run is None:
            return  # its job has failed meanwhile
        del run.running[attempt]
        if outcome.failure is None:
            run.done += self._weight(run, unit)
            return
        tries = run.tries[unit] = run.tries.get(unit, 0) + 1
        if outcome.failure.cause in FINAL or tries >= TRIES:
            # Chunks that are being worked on may still be committed, for --resume.
            run.failure = run.failure or outcome.failure
        else:
            run.waiting.append(unit)  # last: another worker may be the next to be free
            self._listener.retry(run.job, unit, outcome.failure)

    def _tell(self) -> None:
        frames = self._pool.frames()
        for run in self._runs:
            if run.step is None or run.ended:
                continue
            done, total = run.done, run.total
            under_way = sum(frames.get(attempt, 0) for attempt in run.running)
            if run.step is Step.INDEX:  # its length is what it finds out
                done, total = under_way, 0
            elif run.step in PER_CHUNK:
                done = min(total, done + under_way)
            self._listener.step(run.job, run.step, done, total, time.perf_counter() - run.step_began)


def frames_of(job: Job, step: Step) -> int:
    """How many frames a finished step went through: the film's for INDEX, the output's for the steps per chunk."""
    if step is Step.INDEX:
        return job.ledger.facts(IndexFacts).frames
    return job.ledger.facts(Plan).frames if step in PER_CHUNK else 0
