"""What the farm is doing, kept up to date from what it tells: for the status record, the metrics and the histories."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cluster.actors import Place
from cluster.book import Book, Entry
from cluster.job import PER_CHUNK, Failure, Step
from cluster.ledger import Unit
from cluster.outlook import Film, Outlook
from cluster.pace import Pace
from cluster.roles import Job, Watch
from cluster.schedule import Seat
from cluster.trouble import kind_of
from cluster.workers import Order, Outcome
from storage.objects import StoreError

ME = "controller"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker, for people."""

    name: str
    device: str  # "cpu" or "cuda"
    state: str  # "idle", "busy", "starting", "leaving", "drained" or "blocked"
    job: str  # id, of what it does
    unit: str
    frames: int  # of that unit, done
    fps: float  # of the chunks that it has done, worker's own time; 0 where none
    why: str  # it is blocked


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is in its step."""

    job: str
    step: Step
    done: int
    total: int  # 0: not known yet
    seconds: float  # since the step began here
    fps: float  # frames per second in this step; 0 where not known
    eta: float | None  # seconds to the end of the step
    left: float | None = None  # seconds to the end of the job, about; None while nobody knows
    cost: float | None = None  # worker seconds that the job takes in all, about


@dataclass(frozen=True, slots=True)
class FarmStatus:
    """The whole farm, as the controller last wrote it down."""

    at: float  # Unix time
    controller: str
    workers: tuple[WorkerStatus, ...]
    progress: tuple[Progress, ...]


@dataclass(slots=True)
class _Doing:
    job: str
    unit: str
    attempt: str


class Account(Watch):
    """A Listener and a Watch in one. Holds numbers for what goes on and counters since it began, and no more."""

    def __init__(
        self,
        book: Book,
        clock: Callable[[], float] = time.time,
        pace: Pace | None = None,
        workers: Callable[[], int] = lambda: 1,
    ) -> None:
        """`workers`: how many there are."""
        self._book, self._clock, self._workers = book, clock, workers
        self._outlook = Outlook(pace or Pace())
        self._progress: dict[str, Progress] = {}
        self._first: dict[tuple[str, Step], int] = {}  # frames that were done when the step began here
        self._doing: dict[str, _Doing] = {}  # by worker: what it was given last
        # Worker and job by attempt: a worker gets its next order before what it made is committed.
        self._out: dict[str, tuple[str, str]] = {}
        self._speed: dict[str, tuple[int, float]] = {}  # frames and seconds by worker
        self._why: dict[str, str] = {}  # a worker was blocked
        self.frames: Counter[tuple[str, str, str]] = Counter()  # by worker, device and step
        self.seconds: dict[tuple[str, str, str], float] = {}
        self.units: Counter[tuple[str, str]] = Counter()  # by step and how they ended
        self.retries: Counter[str] = Counter()  # by class of trouble
        self._devices: dict[str, str] = {}

    def step(self, job: Job, step: Step, done: int, total: int, seconds: float) -> None:
        """See Listener."""
        name = job.ledger.job_id
        if seconds == 0:
            self._first[name, step] = done
        new = done - self._first.setdefault((name, step), done)
        fps = new / seconds if seconds > 0 else 0.0
        eta = (total - done) / fps if fps > 0 and total else None
        left = self._outlook.left(
            name, step, min(1.0, done / total) if total else 0.0, eta, self._share(), self._clock()
        )
        self._progress[name] = Progress(
            name, step, done, total, round(seconds, 1), round(fps, 2), eta, left, self._outlook.cost(name)
        )

    def _share(self) -> float:
        """Workers that a job has, where all that want some get as many."""
        wanting = {job for _, job in self._out.values()}
        return self._workers() / max(1, len(wanting))

    def learned(self, job: Job, film: Film) -> None:
        """See Watch."""
        self._outlook.learned(job.ledger.job_id, film)

    def retry(self, job: Job, unit: Unit, failure: Failure) -> None:
        """See Listener."""
        kind = kind_of(failure)
        self.retries[kind.value] += 1
        where = failure.worker or "a worker"
        text = f"{unit} failed on {where} ({kind.value}) and is tried again: {failure.line}"
        self._note(job, Entry(self._clock(), ME, text, None, failure.cause))

    def handed(self, job: Job, order: Order, seat: Seat) -> None:
        """See Watch."""
        self._doing[seat.name] = _Doing(order.job, str(order.unit), order.attempt)
        self._out[order.attempt] = seat.name, order.job
        self._devices[seat.name] = seat.device

    def ended(self, job: Job, outcome: Outcome, frames: int) -> None:
        """See Watch."""
        attempt = outcome.order.attempt
        worker, _ = self._out.pop(attempt, (outcome.worker, ""))
        if worker in self._doing and self._doing[worker].attempt == attempt:
            del self._doing[worker]
        self._count(worker, outcome, frames)

    def _count(self, worker: str, outcome: Outcome, frames: int) -> None:
        step = outcome.order.unit.step
        self.units[step.value, "failed" if outcome.failure else "done"] += 1
        if outcome.failure is None and outcome.facts is not None:
            key = (worker, self._devices.get(worker, ""), step.value)
            self.frames[key] += frames
            self.seconds[key] = self.seconds.get(key, 0.0) + outcome.seconds
            if step in PER_CHUNK:
                before = self._speed.get(worker, (0, 0.0))
                self._speed[worker] = before[0] + frames, before[1] + outcome.seconds

    def blocked(self, worker: str, failure: Failure) -> None:
        """See Watch."""
        self._why[worker] = failure.line

    def forget(self, job: str) -> None:
        """The job is over."""
        self._progress.pop(job, None)
        self._outlook.forget(job)
        self._first = {key: done for key, done in self._first.items() if key[0] != job}
        # Orders of a job that was cancelled end without a word.
        self._out = {attempt: each for attempt, each in self._out.items() if each[1] != job}
        self._doing = {worker: doing for worker, doing in self._doing.items() if doing.job != job}

    def workers(
        self, places: Iterable[Place], blocked: frozenset[str], drained: frozenset[str]
    ) -> tuple[WorkerStatus, ...]:
        """How each is."""
        return tuple(self._worker(place, blocked, drained) for place in places)

    def _worker(self, place: Place, blocked: frozenset[str], drained: frozenset[str]) -> WorkerStatus:
        doing = self._doing.get(place.name)
        if place.order is None or doing is None or doing.attempt != place.order.attempt:
            doing = None  # it was stopped: a successor may have its name
        frames, seconds = self._speed.get(place.name, (0, 0.0))
        state = "busy" if place.order else "starting" if place.heard is None else "idle"
        if place.leaving:
            state = "leaving"
        elif place.name in blocked:
            state = "blocked"
        elif place.name in drained:
            state = "drained"
        return WorkerStatus(
            name=place.name,
            device=place.device,
            state=state,
            job=doing.job if doing else "",
            unit=doing.unit if doing else "",
            frames=place.frames if doing else 0,
            fps=round(frames / seconds, 2) if seconds else 0.0,
            why=self._why.get(place.name, "") if place.name in blocked else "",
        )

    def progress(self) -> tuple[Progress, ...]:
        """Of the jobs that are being worked on."""
        return tuple(self._progress.values())

    def _note(self, job: Job, entry: Entry) -> None:
        with contextlib.suppress(StoreError):
            self._book.note(job.ledger.job_id, entry)
