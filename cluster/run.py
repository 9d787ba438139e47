"""One job while the farm works on it: which steps and units are left, and what these follow from."""

from collections import deque
from dataclasses import dataclass, field, replace

from cluster.job import PER_CHUNK, Failure, JobSpec, Plan, SourceFacts, Step
from cluster.ledger import Unit
from cluster.outlook import Film
from cluster.pace import Load, film_load
from cluster.roles import Job


@dataclass(slots=True)
class Run:
    """A job while the farm works on it."""

    job: Job
    left: deque[Step] = field(default_factory=lambda: deque(Step))  # steps that it hasn't come to
    waiting: deque[Unit] = field(default_factory=deque)
    later: list[tuple[float, Unit]] = field(default_factory=list)  # units that failed, and when they go again
    running: dict[str, Unit] = field(default_factory=dict)
    failures: dict[Unit, list[Failure]] = field(default_factory=dict)
    seconds: dict[Step, float] = field(default_factory=dict)
    plan: Plan | None = None
    spec: JobSpec | None = None
    load: Load = field(default_factory=lambda: Load(0, 0.0))
    step: Step | None = None
    step_began: float = 0.0
    done: int = 0  # frames of the step that are done
    total: int = 1
    failure: Failure | None = None
    fresh: bool = False  # nothing of it was done when this farm began it
    ended: bool = False
    away: float = 0.0  # the store is away: no look at it before this time
    dropped: bool = False  # what is being worked on is still taken in, and nothing comes after it

    @property
    def device(self) -> str:
        """ "cpu", "cuda", or "any" where nobody asked for one."""
        return self.spec.device if self.spec is not None else "any"

    def learn(self, step: Step) -> None:
        """Read what the weights and chunks of a step follow from, when it comes to it. Raises StoreError."""
        ledger = self.job.ledger
        if step is Step.INGEST:
            self.spec = ledger.spec()
        if step is Step.INDEX:
            assert self.spec is not None
            self.load = film_load(ledger.facts(SourceFacts), veil=self.spec.veil)
        if step in PER_CHUNK and self.plan is None:
            self.plan = ledger.facts(Plan)
            self.load = replace(self.load, frames=self.plan.frames)

    def film(self) -> Film | None:
        """What is known of it by now, for an outlook."""
        if not self.load.megapixels:
            return None
        chunks = len(self.plan.chunks) if self.plan is not None else 0
        return Film(self.load, chunks, self.job.limit, () if self.device == "any" else (self.device,))

    def batch(self, step: Step) -> tuple[Unit, ...]:
        """The units of a step; each step is handed out when the one before is done. Empty: this job has no such step.
        Raises StoreError."""
        ledger, edits = self.job.ledger, self.job.edits
        if step in PER_CHUNK:
            return ledger.units_of(step, edits)
        if step is Step.MEND and not edits:
            return ()
        if step is Step.PUBLISH and (self.job.hold or ledger.spec().publish is None):
            return ()
        return (ledger.unit(step, None, edits),)

    def weight(self, unit: Unit) -> int:
        """How many frames a unit stands for."""
        if unit.step in PER_CHUNK:
            assert unit.chunk is not None
            assert self.plan is not None
            return self.plan.chunks[unit.chunk].frames
        return 1
