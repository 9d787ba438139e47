"""A worker: set up once, then one order after the other. It knows how a unit of work is done, and not who asked or why.

The same class runs in a Ray actor and, until Ray is up, in a thread of the command itself. Orders and outcomes are
small records; what is large stays in the store.
"""

import errno
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster import records
from cluster.job import (
    AnalysisFacts,
    ChunkRecord,
    Facts,
    Failure,
    IndexFacts,
    JobSpec,
    LinkFacts,
    Plan,
    RenderFacts,
    SourceFacts,
    Step,
    StitchFacts,
)
from cluster.ledger import Ledger, Unit
from pipeline.errors import PipelineError
from storage.folder import FolderStore
from storage.objects import StoreError, StoreFull

Tick = Callable[[int], None]
"""Called with the number of frames that a step has done so far."""

FINAL = frozenset(
    {"InputError", "NotAVideo", "Truncated", "Unsupported", "OutputError", "ModelError", "NoIdentity", "LeakError"}
)
"""Failures that another try can't mend: the source, the place of the output, the model's file, a face that the leak
gate still sees (rendering again gives the same pixels). The job ends at once."""

TRIES = 3
"""How often a unit is tried when its failure is none of FINAL: a worker that died, a device that failed, a bug."""


BROKEN = frozenset({"OutOfMemoryError", "AcceleratorError"})
"""Failures after which a process can't be trusted with its device: memory stays taken, or every later call fails."""


@dataclass(frozen=True, slots=True)
class Order:
    """One unit to do. `attempt` is its own id, also under which the tries' files lie."""

    root: Path  # the store
    job: str
    unit: Unit
    attempt: str
    secret: Path  # file with the secret that seeds are drawn from; its bytes are never part of an order
    sharers: int  # workers among whom the film is divided


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order. `seconds` is the worker's own time."""

    order: Order
    seconds: float
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Setup:
    """What every step of a job may need to know."""

    spec: JobSpec
    film: Path  # folder that INGEST filled
    index: Path  # folder that INDEX filled
    secret: Path
    threads: int


class Steps(Protocol):
    """What a worker needs of the pipeline. A step fills the folder `into`; folders of earlier steps are read only."""

    def prepare(self, threads: int) -> None:
        """Called once in a worker of its own, before the first order: load what takes long."""

    def ingest(self, spec: JobSpec, into: Path) -> SourceFacts:
        """Look at the source, refuse what can't be done."""

    def index(self, setup: Setup, into: Path, tick: Tick) -> IndexFacts:
        """Find every frame and its time."""

    def plan(self, setup: Setup, sharers: int) -> Plan:
        """Cut the film into chunks."""

    def analyse(self, setup: Setup, chunk: ChunkRecord, into: Path, tick: Tick) -> AnalysisFacts:
        """Find and follow the faces of a chunk."""

    def link(self, setup: Setup, plan: Plan, analyses: tuple[Path, ...], into: Path) -> LinkFacts:
        """Join the tracklets of all chunks, and give each person a face of nobody."""

    def render(
        self, setup: Setup, chunk: ChunkRecord, analysis: Path, linked: Path, into: Path, tick: Tick
    ) -> RenderFacts:
        """Write a chunk's segment and prove that it is complete."""

    def stitch(
        self, setup: Setup, plan: Plan, segments: tuple[tuple[Path, RenderFacts], ...], into: Path
    ) -> StitchFacts:
        """Write the film and compare it with its source."""


class Worker:
    """Does orders. Not safe for two orders at once; `frames` may be asked meanwhile."""

    def __init__(self, steps: Steps, threads: int) -> None:
        self._steps, self._threads = steps, threads
        self._frames = 0

    def frames(self) -> int:
        """Frames of the current order that are done."""
        return self._frames

    def run(self, order: Order) -> Outcome:
        """Do it, and commit it in the job's ledger. Never raises: the outcome and the ledger tell what went wrong."""
        self._frames = 0
        begun = time.perf_counter()
        ledger = Ledger(FolderStore(order.root), order.job)
        scratch = None
        try:
            if ledger.done(order.unit) is None:
                scratch = ledger.begin(order.unit, order.attempt)
                facts = self._do(ledger, order, scratch)
                ledger.commit(order.unit, order.attempt, scratch, facts, time.perf_counter() - begun)
            failure = None
        except Exception as error:  # noqa: BLE001  the border of the worker: whatever it is becomes a record
            failure = failure_of(error)
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            _note(ledger, order, failure)
        return Outcome(order, time.perf_counter() - begun, failure)

    def _do(self, ledger: Ledger, order: Order, into: Path) -> Facts:
        spec, step = ledger.spec(), order.unit.step
        if step is Step.INGEST:
            return self._steps.ingest(spec, into)
        film = ledger.folder(Unit(Step.INGEST))
        # A step of the whole film has the others' share, too: they wait for it.
        threads = self._threads * (order.sharers if order.unit.chunk is None else 1)
        if step is Step.INDEX:
            return self._steps.index(Setup(spec, film, into, order.secret, threads), into, self._tick)
        setup = Setup(spec, film, ledger.folder(Unit(Step.INDEX)), order.secret, threads)
        if step is Step.PLAN:
            return self._steps.plan(setup, order.sharers)
        plan = ledger.facts(Plan)
        if order.unit.chunk is not None:
            return self._do_chunk(ledger, setup, order.unit, plan.chunks[order.unit.chunk], into)
        if step is Step.LINK:
            analyses = tuple(ledger.folder(Unit(Step.ANALYSE, chunk.index)) for chunk in plan.chunks)
            return self._steps.link(setup, plan, analyses, into)
        segments = tuple(self._segment(ledger, chunk) for chunk in plan.chunks)
        return self._steps.stitch(setup, plan, segments, into)

    def _do_chunk(self, ledger: Ledger, setup: Setup, unit: Unit, chunk: ChunkRecord, into: Path) -> Facts:
        if unit.step is Step.ANALYSE:
            return self._steps.analyse(setup, chunk, into, self._tick)
        analysis, linked = ledger.folder(Unit(Step.ANALYSE, chunk.index)), ledger.folder(Unit(Step.LINK))
        return self._steps.render(setup, chunk, analysis, linked, into, self._tick)

    @staticmethod
    def _segment(ledger: Ledger, chunk: ChunkRecord) -> tuple[Path, RenderFacts]:
        facts = ledger.facts(RenderFacts, chunk.index)
        return ledger.folder(Unit(Step.RENDER, chunk.index)) / facts.segment, facts

    def _tick(self, frames: int) -> None:
        self._frames = frames


def failure_of(error: BaseException) -> Failure:
    """Any error as a record. What the operating system says of a full disk gets its own words, wherever it came up."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, StoreFull) or (isinstance(error, OSError) and error.errno in _FULL):
        return Failure("OutputError", "the disk is full", str(error), "free some space and go on with --resume", trace)
    if isinstance(error, PipelineError):
        return Failure(type(error).__name__, error.what, error.why, error.todo, trace)
    if isinstance(error, StoreError | records.BadRecord):
        return Failure(type(error).__name__, "the work folder can't be used", str(error), "run without --resume", trace)
    todo = "run again with --debug and report what it says"
    return Failure(type(error).__name__, "something went wrong inside", f"{type(error).__name__}: {error}", todo, trace)


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _note(ledger: Ledger, order: Order, failure: Failure) -> None:
    try:
        ledger.fail(order.unit, order.attempt, failure)
    except StoreError:
        return  # on a full disk even this has no room; the outcome still says it
