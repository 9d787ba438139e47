"""A worker: set up once, then one order after the other. It knows how a unit of work is done, and not who asked or why.

The same class runs in a Ray actor and, until Ray is up, in a thread of the command itself. Orders and outcomes are
small records; what is large stays in the store.
"""

import contextlib
import errno
import logging
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from cluster import log, records
from cluster.edits import Edits, mended_before
from cluster.job import (
    AnalysisFacts,
    ChunkRecord,
    Facts,
    Failure,
    IndexFacts,
    JobSpec,
    LinkFacts,
    MendFacts,
    Plan,
    RenderFacts,
    SourceFacts,
    Step,
    StitchFacts,
)
from cluster.ledger import Ledger, Unit
from cluster.made import made_by
from cluster.places import publish, release, source_file
from pipeline.edits import Edit
from pipeline.errors import PipelineError
from storage.address import is_object, open_store
from storage.objects import NoSuchObject, StoreError, StoreFull

_LOG = logging.getLogger(__name__)

Tick = Callable[[int], None]
"""Called with the number of frames that a step has done so far."""


@dataclass(frozen=True, slots=True)
class Order:
    """One unit to do. `attempt` is its own id, also under which the tries' files lie."""

    store: str  # a folder, or "s3://bucket/prefix"
    job: str
    unit: Unit
    attempt: str
    secret: Path | None  # file with a project key; None: the ledger has the secret. Its bytes are never in an order
    sharers: int  # workers among whom the film is divided
    lean: int = 0  # how often this unit ran out of memory: batches are halved as often
    chunk_frames: int | None = None  # how many frames a chunk should have; None: by the length of the film
    edits: int = 0  # version of reviewers' edits that the job is done with; 0: none


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order. `seconds` is the worker's own time."""

    order: Order
    seconds: float
    failure: Failure | None
    facts: Facts | None = None  # None with a failure, or when the unit was done before
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Setup:
    """What every step of a job may need to know."""

    spec: JobSpec
    source: Path  # the source, on this machine
    film: Path  # folder that INGEST filled
    index: Path  # folder that INDEX filled
    device: str  # "cpu" or "cuda"
    threads: int
    secret: bytes = field(default=b"", repr=False)  # LINK and MEND have it, no other step
    lean: int = 0  # batches are halved as often
    chunk_frames: int | None = None


class Steps(Protocol):
    """What a worker needs of the pipeline. A step fills the folder `into`; folders of earlier steps are read only."""

    def prepare(self, device: str, threads: int) -> None:
        """Called once in a worker of its own, before the first order: load what takes long."""

    def ingest(self, spec: JobSpec, source: Path, into: Path) -> SourceFacts:
        """Look at the source, a file on this machine; refuse what can't be done."""

    def index(self, setup: Setup, into: Path, tick: Tick) -> IndexFacts:
        """Find every frame and its time."""

    def plan(self, setup: Setup, sharers: int) -> Plan:
        """Cut the film into chunks."""

    def analyse(self, setup: Setup, chunk: ChunkRecord, into: Path, tick: Tick) -> AnalysisFacts:
        """Find and follow the faces of a chunk."""

    def link(self, setup: Setup, plan: Plan, analyses: tuple[Path, ...], into: Path) -> LinkFacts:
        """Join the tracklets of all chunks, and give each person a face of nobody."""

    def mend(
        self,
        setup: Setup,
        plan: Plan,
        analyses: tuple[Path, ...],
        linked: Path,
        edits: tuple[Edit, ...],
        before: Path | None,
        into: Path,
        tick: Tick,
    ) -> MendFacts:
        """Apply reviewers' edits to what was linked. `before`: what an earlier version of the edits led to; faces that
        were drawn then stay."""

    def render(
        self, setup: Setup, chunk: ChunkRecord, analysis: Path, linked: Path, into: Path, tick: Tick
    ) -> RenderFacts:
        """Write a chunk's segment and prove that it is complete."""

    def stitch(
        self, setup: Setup, plan: Plan, segments: tuple[tuple[Path, RenderFacts], ...], into: Path
    ) -> StitchFacts:
        """Write the film and compare it with its source."""


class OtherVersion(PipelineError):
    """Two versions don't cut, draw and encode alike: one film isn't made of the work of both."""


class Worker:
    """Does orders. Not safe for two orders at once; `frames` may be asked meanwhile."""

    def __init__(self, steps: Steps, threads: int, device: str = "cpu", name: str = "") -> None:
        self._steps, self._threads, self._device, self._name = steps, threads, device, name
        self._frames = 0

    def frames(self) -> int:
        """Frames of the current order that are done."""
        return self._frames

    def run(self, order: Order) -> Outcome:
        """Do it, and store what was made. It counts when the farm commits it. Never raises: the outcome tells."""
        self._frames = 0
        begun = time.perf_counter()
        ledger = scratch = facts = failure = None
        with log.captured(job=order.job, unit=str(order.unit), attempt=order.attempt, worker=self._name) as lines:
            _LOG.info("%s begins", order.unit)
            try:
                ledger = Ledger(open_store(order.store), order.job)
                if ledger.done(order.unit) is None:
                    scratch = ledger.begin(order.unit, order.attempt)
                    facts = self._do(ledger, order, scratch)
                    ledger.keep(order.unit, order.attempt, scratch)
                _LOG.info("%s is done", order.unit, extra={"seconds": round(time.perf_counter() - begun, 3)})
            except Exception as error:  # noqa: BLE001  the border of the worker: whatever it is becomes a record
                facts, failure = None, replace(_here(error, order), worker=self._name)
                _LOG.exception("%s failed: %s", order.unit, failure.line, extra={"cause": failure.cause})
                if scratch is not None:
                    shutil.rmtree(scratch, ignore_errors=True)
            finally:
                if is_object(order.store):
                    with contextlib.suppress(StoreError):  # no room to write down even this: it is held for longer
                        release()
        seconds = time.perf_counter() - begun
        if ledger is not None and self._name:
            _keep_log(ledger, order, lines.text())
        return Outcome(order, seconds, failure, facts, self._name)

    def _do(self, ledger: Ledger, order: Order, into: Path) -> Facts:
        spec, step, me = ledger.spec(), order.unit.step, made_by()
        if step is Step.PUBLISH:  # draws nothing: a film that was held for review meanwhile can still be approved
            return publish(ledger, order.edits)
        begun_by = ledger.maker(me)
        if begun_by != me:
            raise OtherVersion(
                f"the job was begun by another version than that of the worker {self._name}".rstrip(),
                f"{begun_by} began it, and this is {me}",
                "bring all machines to one version; or cancel the job and submit it again",
            )
        with source_file(spec.source) as source:
            if step is Step.INGEST:
                return self._steps.ingest(spec, source, into)
            # A step of the whole film has the others' share, too: they wait for it.
            threads = self._threads * (order.sharers if order.unit.chunk is None else 1)
            film = ledger.folder(Unit(Step.INGEST))
            setup = Setup(
                spec, source, film, into, self._device, threads, lean=order.lean, chunk_frames=order.chunk_frames
            )
            if step is Step.INDEX:
                return self._steps.index(setup, into, self._tick)
            return self._do_indexed(ledger, order, replace(setup, index=ledger.folder(Unit(Step.INDEX))), into)

    def _do_indexed(self, ledger: Ledger, order: Order, setup: Setup, into: Path) -> Facts:
        if order.unit.step is Step.PLAN:
            return self._steps.plan(setup, order.sharers)
        plan = ledger.facts(Plan)
        if order.unit.chunk is not None:
            return self._do_chunk(ledger, setup, order, plan.chunks[order.unit.chunk], into)
        if order.unit.step in (Step.LINK, Step.MEND):
            setup = replace(setup, secret=order.secret.read_bytes() if order.secret else ledger.secret())
            analyses = tuple(ledger.folder(Unit(Step.ANALYSE, chunk.index)) for chunk in plan.chunks)
            if order.unit.step is Step.LINK:
                return self._steps.link(setup, plan, analyses, into)
            edits, linked = Edits(ledger).at(order.edits).edits, ledger.folder(Unit(Step.LINK))
            before = mended_before(ledger, order.edits)
            return self._steps.mend(setup, plan, analyses, linked, edits, before, into, self._tick)
        segments = tuple(self._segment(ledger, unit) for unit in ledger.units_of(Step.RENDER, order.edits))
        return self._steps.stitch(setup, plan, segments, into)

    def _do_chunk(self, ledger: Ledger, setup: Setup, order: Order, chunk: ChunkRecord, into: Path) -> Facts:
        if order.unit.step is Step.ANALYSE:
            return self._steps.analyse(setup, chunk, into, self._tick)
        # What edits don't change is rendered as it was linked, and kept whatever is edited later.
        linked = ledger.unit(Step.MEND, None, order.edits) if order.unit.edition else Unit(Step.LINK)
        analysis = ledger.folder(Unit(Step.ANALYSE, chunk.index))
        return self._steps.render(setup, chunk, analysis, ledger.folder(linked), into, self._tick)

    @staticmethod
    def _segment(ledger: Ledger, unit: Unit) -> tuple[Path, RenderFacts]:
        done = ledger.done(unit)
        if done is None or not isinstance(done.facts, RenderFacts):
            raise NoSuchObject(f"{unit} isn't done")
        return ledger.folder(unit) / done.facts.segment, done.facts

    def _tick(self, frames: int) -> None:
        self._frames = frames


def failure_of(error: BaseException) -> Failure:
    """Any error as a record. What the operating system says of a full disk gets its own words, wherever it came up."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, StoreFull) or (isinstance(error, OSError) and error.errno in _FULL):
        return Failure("OutputError", FULL, str(error), "free some space and go on with --resume", trace)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):  # NumPy's and PyTorch's have other names
        why = str(error) or "there is no memory left"
        return Failure("MemoryError", "a worker ran out of memory", why, "try fewer --workers", trace)
    if isinstance(error, PipelineError):
        return Failure(type(error).__name__, error.what, error.why, error.todo, trace)
    if isinstance(error, StoreError | records.BadRecord):
        return Failure(type(error).__name__, "the work folder can't be used", str(error), "run without --resume", trace)
    todo = "run again with --debug and report what it says"
    return Failure(type(error).__name__, "something went wrong inside", f"{type(error).__name__}: {error}", todo, trace)


def _here(error: Exception, order: Order) -> Failure:
    """A store that is a folder is the same for all workers, and full for all of them. Work for a bucket lies on the
    worker's own disk first, and others may have room on theirs."""
    failure = failure_of(error)
    if is_object(order.store) and (_no_room(error) or failure.what == FULL):
        return replace(failure, cause="DiskFull", todo="free some space on the worker's machine, and retry")
    return failure


def _no_room(error: BaseException | None) -> bool:
    """Whether a full disk is behind it, whatever was made of that on the way."""
    while error is not None:
        if isinstance(error, StoreFull) or getattr(error, "errno", None) in _FULL:  # libav's errors have it, too
            return True
        error = error.__cause__
    return False


FULL = "the disk is full"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _keep_log(ledger: Ledger, order: Order, text: bytes) -> None:
    """What the try said goes into the store; without room there, the farm's own log still has it."""
    if text:
        with contextlib.suppress(StoreError):
            ledger.keep_log(order.unit, order.attempt, text)
