"""The film as a strip of chunks: how far each is, and which worker did it. What is done stays known."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cluster.account import FarmStatus
from cluster.api.context import Context
from cluster.job import ChunkRecord, IndexFacts, MendFacts, Plan, RenderFacts, SourceFacts, Step
from cluster.jobindex import Row
from cluster.ledger import Done, Unit
from cluster.states import JobState

READERS = 8  # records that are read at once
FRESH = 1.0  # seconds for which a look counts, whoever looks
_MOST = 40  # films that are remembered
AHEAD = 64  # chunks after the first that isn't done, that are asked for at each look
_UNIT = re.compile(r"(analyse|render) of chunk (\d+)(?: with edits)?")


@dataclass(frozen=True, slots=True)
class Cell:
    """One chunk."""

    chunk: ChunkRecord
    state: str  # "open", "analysing", "analysed", "rendering" or "rendered"
    worker: str
    seconds: float  # of workers, so far
    leaks: int
    failures: int


@dataclass(frozen=True, slots=True)
class Strip:
    """All of a film."""

    source: SourceFacts | None
    index: IndexFacts | None
    cells: tuple[Cell, ...]
    workers: tuple[str, ...]

    def share(self, state: str) -> int:
        """How many chunks are so."""
        return sum(cell.state == state for cell in self.cells)

    @property
    def seconds(self) -> float:
        """Of workers, for chunks."""
        return sum(cell.seconds for cell in self.cells)

    @property
    def frames(self) -> int:
        """Of the output."""
        return sum(cell.chunk.frames for cell in self.cells)

    @property
    def rate(self) -> float:
        """Frames per second of the film; 25 where it isn't known."""
        if self.index is not None and self.index.duration > 0:
            return float(self.index.frames / self.index.duration)
        return 25.0


@dataclass(slots=True)
class _Known:
    of: tuple[int, bool, int]  # round, whether the job is over, and reviewers' edits
    done: dict[Unit, Done] = field(default_factory=dict)
    looked: float = float("-inf")


class Strips:
    """Of the films that somebody looked at lately. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[_Known, threading.Lock]] = OrderedDict()

    def strip(self, ctx: Context, row: Row) -> Strip:
        """As it is now. Raises StoreError."""
        over = row.control.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
        with self._lock:
            known, lock = self._known.get(row.job, (None, threading.Lock()))
            of = (row.control.round, over, row.control.edits)
            if known is None or known.of != of:
                known = _Known(of)
            self._known[row.job] = known, lock
            self._known.move_to_end(row.job)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        with lock:
            if time.monotonic() - known.looked > FRESH:
                self._look(ctx, row.job, known)
                known.looked = time.monotonic()
        return _strip(known.done, _now(ctx.status(), row.job), _editions(known))

    def _look(self, ctx: Context, job: str, known: _Known) -> None:
        ledger = ctx.book.ledger(job)
        self._ask(ledger.done, known, [Unit(step) for step in (Step.INGEST, Step.INDEX, Step.PLAN)])
        plan = _plan(known.done)
        if plan is None:
            return
        if known.of[2]:
            self._ask(ledger.done, known, [_mend(known)])
        editions = _editions(known)
        for step in (Step.ANALYSE, Step.RENDER):
            units = (_unit(step, chunk.index, editions) for chunk in plan.chunks)
            missing = [unit for unit in units if unit not in known.done]
            while missing:
                some, missing = missing[:AHEAD], missing[AHEAD:]
                before = len(known.done)
                self._ask(ledger.done, known, some)
                if len(known.done) == before:
                    break  # the farm goes on from here

    @staticmethod
    def _ask(ask: "object", known: _Known, units: Iterable[Unit]) -> None:
        wanted = [unit for unit in units if unit not in known.done]
        if not wanted:
            return
        assert callable(ask)
        with ThreadPoolExecutor(READERS, "strip") as pool:
            for unit, done in zip(wanted, pool.map(ask, wanted), strict=True):
                if done is not None:
                    known.done[unit] = done


def _mend(known: _Known) -> Unit:
    return Unit(Step.MEND, None, f"{known.of[2]:06d}")


def _editions(known: _Known) -> dict[str, str]:
    """Of chunks that reviewers' edits have changed; until it is known which these are, all are as they were."""
    done = known.done.get(_mend(known)) if known.of[2] else None
    return done.facts.renders if done is not None and isinstance(done.facts, MendFacts) else {}


def _unit(step: Step, chunk: int, editions: dict[str, str]) -> Unit:
    return Unit(step, chunk, editions.get(str(chunk), "") if step is Step.RENDER else "")


def _plan(done: dict[Unit, Done]) -> Plan | None:
    found = done.get(Unit(Step.PLAN))
    return found.facts if found is not None and isinstance(found.facts, Plan) else None


def _now(status: FarmStatus | None, job: str) -> dict[Unit, str]:
    """Which worker does which chunk, in any edition."""
    found = {}
    for worker in status.workers if status is not None else ():
        match = _UNIT.fullmatch(worker.unit) if worker.job == job else None
        if match is not None:
            found[Unit(Step(match[1]), int(match[2]))] = worker.name
    return found


def _strip(done: dict[Unit, Done], now: dict[Unit, str], editions: dict[str, str]) -> Strip:
    plan, source, index = _plan(done), done.get(Unit(Step.INGEST)), done.get(Unit(Step.INDEX))
    cells = tuple(_cell(chunk, done, now, editions) for chunk in plan.chunks) if plan is not None else ()
    return Strip(
        source.facts if source and isinstance(source.facts, SourceFacts) else None,
        index.facts if index and isinstance(index.facts, IndexFacts) else None,
        cells,
        tuple(sorted({cell.worker for cell in cells} - {""})),
    )


def _cell(chunk: ChunkRecord, done: dict[Unit, Done], now: dict[Unit, str], editions: dict[str, str]) -> Cell:
    analysis, render = Unit(Step.ANALYSE, chunk.index), Unit(Step.RENDER, chunk.index)
    found, drawn = done.get(analysis), done.get(_unit(Step.RENDER, chunk.index, editions))
    seconds = sum(each.seconds for each in (found, drawn) if each is not None)
    if drawn is not None and isinstance(drawn.facts, RenderFacts):
        facts = drawn.facts
        return Cell(chunk, "rendered", drawn.worker, seconds, facts.leaks, sum(facts.failures.values()))
    if render in now:
        return Cell(chunk, "rendering", now[render], seconds, 0, 0)
    if found is not None:
        return Cell(chunk, "analysed", found.worker, seconds, 0, 0)
    return Cell(chunk, "analysing" if analysis in now else "open", now.get(analysis, ""), seconds, 0, 0)
