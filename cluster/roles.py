"""The parts that a farm is played with: jobs, the workers' pool, and those who are told how it goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.job import Failure, Step
from cluster.ledger import Ledger, Unit
from cluster.outlook import Film
from cluster.schedule import Seat
from cluster.workers import Order, Outcome


class Pool(Protocol):
    """Workers that take one order each."""

    @property
    def size(self) -> int:
        """How many workers there are, when all are up."""

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        """The workers that there are for such a unit."""

    def submit(self, order: Order, seat: Seat) -> None:
        """Give it to a free worker."""

    def poll(self, timeout: float) -> list[Outcome]:
        """What ended since the last call; waits up to `timeout` seconds for something. A worker that died, hangs or was
        lost is replaced, and its order ends with a failure. Raises FarmError when no worker can ever come up."""

    def frames(self) -> dict[str, int]:
        """Frames done so far, by attempt, of orders that are being worked on."""

    def stop(self, attempt: str) -> None:
        """End an order whose outcome nobody wants any more."""


class FarmError(Exception):
    """The farm itself can't go on; the jobs can be resumed."""


@dataclass(frozen=True, slots=True)
class Job:
    """One film on its way through the farm."""

    name: str  # for people
    store: str  # a folder, or "s3://bucket/prefix"
    ledger: Ledger
    secret: Path | None  # a file with a project key; None: the ledger has the secret
    owner: str = ""
    priority: int = 0
    limit: int | None = None  # most orders at once
    deadline: float | None = None  # Unix time
    since: str = ""  # failures with earlier ids are of an earlier round
    edits: int = 0  # version of reviewers' edits that it is done with; 0: none
    hold: bool = False  # it isn't to be published yet


class Listener(Protocol):
    """Whoever shows how it goes."""

    def step(self, job: Job, step: Step, done: int, total: int, seconds: float) -> None:
        """`done` of `total` frames (or of 1, for a step without frames); `seconds` since the step began here."""

    def retry(self, job: Job, unit: Unit, failure: Failure) -> None:
        """A unit failed and is tried again."""


class Watch:
    """Whoever keeps account of everything: the service does, with history and metrics. This one doesn't."""

    def handed(self, job: Job, order: Order, seat: Seat) -> None:
        """A unit was given to a worker."""

    def ended(self, job: Job, outcome: Outcome, frames: int) -> None:
        """A try ended, well or not; `frames` of film it stood for, 0 for steps without."""

    def learned(self, job: Job, film: Film) -> None:
        """More is known of the film that is being worked on."""

    def blocked(self, worker: str, failure: Failure) -> None:
        """A worker gets no more orders for a while."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job is through: every step is done, or `failure` says why not. `seconds` by step, of this farm's time."""

    job: Job
    failure: Failure | None
    seconds: dict[Step, float]
