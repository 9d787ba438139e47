"""How far one controller reaches: workers that only sleep, the real controller, scheduler, ledger and a folder store.

    .venv/bin/python bench/scale.py [--workers 200] [--jobs 12] [--chunks 100] [--seconds 10]   # overhead
    .venv/bin/python bench/scale.py --rebuild [--jobs 1000] [--chunks 100]                       # a new controller
    .venv/bin/python bench/scale.py --commits [--jobs 20] [--chunks 100]                         # as fast as it goes

Overhead is the share of the workers' time in which they had nothing to do although there was work.
"""

import argparse
import heapq
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cluster.controller
from cluster.account import Account
from cluster.book import Book, Card, Control
from cluster.controller import Controller
from cluster.farm import Farm
from cluster.health import Health
from cluster.job import (
    AnalysisFacts,
    ChunkRecord,
    Encoding,
    Facts,
    IndexFacts,
    JobSpec,
    LinkFacts,
    Plan,
    Publish,
    PublishFacts,
    RenderFacts,
    Source,
    SourceFacts,
    Step,
    StitchFacts,
    Veil,
)
from cluster.lead import Lead
from cluster.ledger import Ledger, Unit
from cluster.pace import Pace
from cluster.schedule import Seat
from cluster.states import JobState
from cluster.workers import Order, Outcome
from storage.folder import FolderStore
from storage.objects import ObjectStore

FRAMES = 250  # of a chunk: 10 s at 25 frames a second


def facts(unit: Unit, chunks: int) -> Facts:
    """What a real worker would tell, more or less."""
    if unit.step is Step.INGEST:
        return SourceFacts("0" * 64, "mov", "h264", "yuv420p", 1920, 1080, 0, Fraction(25), ())
    if unit.step is Step.INDEX:
        return IndexFacts(FRAMES * chunks, Fraction(10 * chunks), 1, 0)
    if unit.step is Step.PLAN:
        edges = [(i * FRAMES, (i + 1) * FRAMES) for i in range(chunks)]
        return Plan(0, FRAMES * chunks, tuple(ChunkRecord(i, a, b, a, b, "0" * 64) for i, (a, b) in enumerate(edges)))
    if unit.step is Step.ANALYSE:
        return AnalysisFacts(3, 0, {"detect": 5.0, "track": 1.0})
    if unit.step is Step.LINK:
        return LinkFacts(3, {str(i): "0" * 16 for i in range(3)}, ())
    if unit.step is Step.RENDER:
        treated = {"replace": 700, "cover_small": 20}
        return RenderFacts("segment.nut", FRAMES, 0, 249, "1" * 64, 10**6, 2, "h264", treated, {}, 0, {"draw": 5.0})
    if unit.step is Step.STITCH:
        return StitchFacts("film.mp4", "2" * 64, 10**8, FRAMES, FRAMES, True, True, Fraction(0), (), ())
    return PublishFacts("outputs/x/film.mp4", "outputs/x/film.mp4.report.json", 10**8)


class Sleepers:
    """A pool whose workers only wait. `seconds` for a chunk, a tenth of it for everything else."""

    def __init__(self, size: int, seconds: float, chunks: int) -> None:
        self.size, self._seconds, self._chunks = size, seconds, chunks
        self._free = {f"sleeper-{i}": time.perf_counter() for i in range(size)}
        self._out: list[tuple[float, str, Order]] = []
        self.idle = 0.0  # seconds of workers who waited for an order
        self.work = 0.0
        self.units = 0
        self.counting = False

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        """See Pool."""
        busy = [Seat(name, False) for _, name, _ in self._out]
        return (*(Seat(name, True) for name in self._free), *busy)

    def submit(self, order: Order, seat: Seat) -> None:
        """See Pool."""
        now = time.perf_counter()
        took = self._seconds if order.unit.chunk is not None else self._seconds / 10
        since = self._free.pop(seat.name)
        if self.counting:
            self.idle += now - since
            self.work += took
        heapq.heappush(self._out, (now + took, seat.name, order))

    def poll(self, timeout: float) -> list[Outcome]:
        """See Pool."""
        now = time.perf_counter()
        if self._out and self._out[0][0] > now:
            time.sleep(min(timeout, self._out[0][0] - now))
        elif not self._out:
            time.sleep(timeout)
        ended, now = [], time.perf_counter()
        while self._out and self._out[0][0] <= now:
            due, name, order = heapq.heappop(self._out)
            self._free[name] = due  # idle from when it was done, not from when somebody looked
            self.units += 1
            ended.append(Outcome(order, self._seconds, None, facts(order.unit, self._chunks), name))
        return ended

    def frames(self) -> dict[str, int]:
        """See Pool."""
        return {}

    def stop(self, attempt: str) -> None:
        """See Pool."""

    def waiting(self) -> int:
        """Workers without an order."""
        return len(self._free)


class Crowd(Sleepers):
    """A pool that takes everything and never ends anything."""

    def __init__(self, chunks: int) -> None:
        super().__init__(1, 1.0, chunks)
        self.handed = 0

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        """See Pool."""
        return (Seat("crowd", True),)

    def submit(self, order: Order, seat: Seat) -> None:
        """See Pool."""
        self.handed += 1


def spec(number: int) -> JobSpec:
    """One of many films."""
    source = Source(f"/films/{number}.mp4", 10**9, "1")
    return JobSpec(
        source, "", Veil.NOBODY, Encoding(None, None, 0, None), None, None, "any", None, publish=Publish("a.mp4", True)
    )


def submit(book: Book, number: int, priority: int = 0) -> str:
    """A job."""
    now = time.time()
    card = Card(f"{number}.mp4", f"owner{number % 7}", now)
    return book.submit(spec(number), card, Control(JobState.QUEUED, "", now, priority))


def controller(store: ObjectStore, pool: Sleepers, on_change: Callable[..., None] = lambda *_: None) -> Controller:
    """As `veilfarm serve` makes it."""
    book = Book(store)
    account = Account(book)
    farm = Farm(pool, account, account, Health(), Pace())
    return Controller(book, "/store", farm, Lead(store), on_change)


def overhead(store: ObjectStore, arguments: argparse.Namespace) -> dict[str, float]:
    """The workers' idle time while there is more work than workers, and how soon a job that goes first begins."""
    book, pool = Book(store), Sleepers(arguments.workers, arguments.seconds, arguments.chunks)
    for number in range(arguments.jobs):
        submit(book, number)
    lead = controller(store, pool)
    began, urgent, reaction, busy = time.perf_counter(), "", 0.0, 0.0
    asked = 0.0
    while pool.units < arguments.workers * arguments.rounds:
        turned = time.process_time()
        lead.turn()
        busy += time.process_time() - turned
        if not pool.counting and pool.waiting() == 0:
            pool.counting, began, busy = True, time.perf_counter(), 0.0
            pool.idle = pool.work = 0.0
        if pool.counting and not urgent and time.perf_counter() - began > 2 * arguments.seconds:
            asked = time.perf_counter()
            urgent = submit(book, 10**6, priority=100)
        if urgent and not reaction and book.control(urgent).state is JobState.RUNNING:
            reaction = time.perf_counter() - asked
    wall = time.perf_counter() - began
    return {
        "workers": arguments.workers,
        "units": pool.units,
        "wall_seconds": wall,
        "idle_share_percent": 100 * pool.idle / (pool.idle + pool.work),
        "controller_cpu_percent": 100 * busy / wall,
        "urgent_job_starts_after_seconds": reaction,
    }


def commits(store: ObjectStore, arguments: argparse.Namespace) -> dict[str, float]:
    """Workers that need no time at all: what the controller itself can do."""
    book, pool = Book(store), Sleepers(arguments.workers, 0.0, arguments.chunks)
    jobs = [submit(book, number) for number in range(arguments.jobs)]
    lead, began = controller(store, pool), time.perf_counter()
    while any(book.control(job).state is not JobState.DONE for job in jobs):
        for _ in range(20):
            lead.turn(0.01)
    wall = time.perf_counter() - began
    return {"units": pool.units, "wall_seconds": wall, "commits_per_second": pool.units / wall}


def rebuild(store: ObjectStore, arguments: argparse.Namespace) -> dict[str, float]:
    """Jobs that are half done by another controller: how long until a new one has handed out as much as it can."""
    book = Book(store)
    sync, os.fsync = os.fsync, lambda _: None  # what is made here needn't outlive a power cut
    for number in range(arguments.jobs):
        ledger = Ledger(store, submit(book, number))
        units = [Unit(step) for step in (Step.INGEST, Step.INDEX, Step.PLAN, Step.LINK)]
        units += [Unit(Step.ANALYSE, i) for i in range(arguments.chunks)]
        units += [Unit(Step.RENDER, i) for i in range(arguments.chunks // 2)]
        for unit in units:
            ledger.commit(unit, "0" * 26, facts(unit, arguments.chunks), 1.0)
    os.fsync = sync
    pool = Crowd(arguments.chunks)
    cluster.controller.MOST_AT_ONCE = arguments.jobs  # it opens a few at a time; here all are asked for
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lead, began = controller(store, pool), time.perf_counter()
    wanted = arguments.jobs * (arguments.chunks - arguments.chunks // 2)
    while pool.handed < wanted:
        lead.turn(0.0)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "jobs": arguments.jobs,
        "chunks": arguments.jobs * arguments.chunks,
        "wall_seconds": wall,
        "more_memory_mib": (after - before) / 1024,
    }


def main() -> None:
    """Print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=6, help="orders per worker, about")
    parser.add_argument("--rebuild", action="store_true")
    parser.add_argument("--commits", action="store_true")
    arguments = parser.parse_args()
    what = rebuild if arguments.rebuild else commits if arguments.commits else overhead
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(what(FolderStore(Path(folder)), arguments), indent=1))


if __name__ == "__main__":
    main()
