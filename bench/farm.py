"""What a farm costs beside the work itself: `veilfarm serve` as its users run it, and the controller alone.

    .venv/bin/python bench/farm.py [--only serve|workers|queue|units] [--s3]

serve: from submitting to the first chunk; one film by the farm and by `veilfarm swap`; started again after SIGKILL.
workers: films by one worker and by two of one core each. queue: a controller that has 1,000 jobs.
units: steps that do nothing, so that what is left is the store. --s3: with Ceph's gateway, which must be installed.
"""

import argparse
import contextlib
import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

import pytest
from command import veilfarm
from doubles import DryPool, DrySteps
from facefilm import make
from rgw import gateway
from serving import FarmStore, until

import cluster.workers
from cluster.account import Account
from cluster.book import Book
from cluster.controller import Controller
from cluster.counted import CountedStore
from cluster.desk import Desk, Wish
from cluster.farm import Farm
from cluster.job import IndexFacts, JobSpec, LinkFacts, Plan, SourceFacts
from cluster.lead import Lead
from cluster.ledger import Unit
from cluster.schedule import Seat
from cluster.states import JobState
from cluster.workers import Setup, Tick
from storage.address import open_store
from storage.cache import Cache
from storage.s3 import S3Store

FRAMES = 500
QUEUED = 1000


def tell(what: str, **figures: float) -> None:
    print(json.dumps({"what": what, **{name: round(value, 4) for name, value in figures.items()}}), flush=True)


def film(folder: Path, frames: int = FRAMES) -> Path:
    """One portrait that wanders through a room."""
    return make(folder / "film.mp4", frames, lambda number: [(20 + number % 100, 40, 150)])


def begun(farm: FarmStore, job: str, after: float = 0.0) -> float:
    """When the first chunk began after a moment, by the log of its try."""
    times = []
    for key in farm.objects(f"jobs/{job}/chunks"):
        if "/log/" in key:
            first = json.loads(farm.book.store.read(key).split(b"\n", 1)[0])
            times.append(datetime.fromisoformat(first["at"]).timestamp())
    return min(time for time in times if time > after)


def submit(farm: FarmStore, source: Path, to: str = "") -> str:
    return Desk(farm.book, farm.place).submit(str(source), Wish(to=to))


def serve(farm: FarmStore, folder: Path) -> None:
    source = film(folder)
    with farm.serve() as serving:
        cold = submit(farm, source)
        farm.reached(cold, JobState.DONE)
        warm = submit(farm, source)
        farm.reached(warm, JobState.DONE)
        for name, job in (("cold", cold), ("warm", warm)):
            history = farm.book.history(job)
            whole = history[-1].at - history[0].at
            tell(f"submit to first chunk, {name}", seconds=begun(farm, job) - history[0].at, whole=whole)
        swaps = []
        serving.end()
    for number in range(2):
        ran = veilfarm("swap", source, "-o", folder / f"swap{number}.mp4", "--workers", "2")
        assert ran.code == 0, ran.err
        swaps.append(ran.seconds)
    tell("the same film by veilfarm swap", seconds=min(swaps))
    with farm.serve() as serving:
        job = submit(farm, source)
        until(lambda: farm.chunks_done(job) > 2)
        serving.kill()
        until(lambda: not serving.workers())
        before, begin = farm.chunks_done(job), time.time()
    with farm.serve() as serving:
        farm.reached(job, JobState.DONE)
        serving.end()
    again = sum(count - 1 for count in farm.tries(job).values())
    tell("from starting again to the next chunk", seconds=begun(farm, job, begin) - begin, kept=before, again=again)


def workers(farm: FarmStore, folder: Path) -> None:
    """Each worker has one thread, so that two have twice as much."""
    source = film(folder, 300)
    times: dict[int, list[float]] = {1: [], 2: []}
    for count in (1, 2, 2, 1):
        with farm.serve("--workers", str(count)) as serving:
            farm.reached(submit(farm, source), JobState.DONE)  # everything is loaded
            begin = time.time()
            jobs = [submit(farm, source) for _ in range(4)]
            for job in jobs:
                farm.reached(job, JobState.DONE)
            times[count].append(max(farm.book.history(job)[-1].at for job in jobs) - begin)
            serving.end()
    one, two = (statistics.mean(times[count]) for count in (1, 2))
    tell("4 films by 1 and by 2 workers", one=one, two=two, ratio=one / two)


class FilledSteps(DrySteps):
    """A bucket has no empty folders."""

    def ingest(self, spec: JobSpec, source: Path, into: Path) -> SourceFacts:
        (into / "info").write_text("")
        return super().ingest(spec, source, into)

    def index(self, setup: Setup, into: Path, tick: Tick) -> IndexFacts:
        (into / "index").write_text("")
        return super().index(setup, into, tick)

    def link(self, setup: Setup, plan: Plan, analyses: tuple[Path, ...], into: Path) -> LinkFacts:
        (into / "linked").write_text("")
        return super().link(setup, plan, analyses, into)


class FullPool(DryPool):
    """Whose workers have something else to do."""

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        return tuple(Seat(seat.name, False, seat.device) for seat in super().seats(unit))


def controller(store: CountedStore, place: str, pool: DryPool) -> Controller:
    book = Book(store)
    account = Account(book)
    return Controller(book, place, Farm(pool, account, account), Lead(store))


def queue(farm: FarmStore, folder: Path) -> None:
    (folder / "film.mp4").write_bytes(b"film")
    desk, begin = Desk(farm.book, farm.place), time.perf_counter()
    for _ in range(QUEUED):
        desk.submit(str(folder / "film.mp4"), Wish())
    tell("submitting", jobs_per_s=QUEUED / (time.perf_counter() - begin))
    store = CountedStore(open_store(farm.place))
    at_work = controller(store, farm.place, FullPool(DrySteps()))
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    while len(at_work.tickets) < QUEUED:
        at_work.turn(0)
    seen = time.perf_counter() - begin
    tell(
        "a new controller has seen 1000 jobs",
        seconds=seen,
        requests_per_job=sum(store.requests.values()) / QUEUED,
        mib=(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    )
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < 5:
        at_work.turn(0)
        count += 1
    tell("turns with 1000 jobs that wait", per_s=count / (time.perf_counter() - begin))


def units(farm: FarmStore, folder: Path, jobs: int = 10, chunks: int = 20) -> None:
    (folder / "film.mp4").write_bytes(b"film")
    desk = Desk(farm.book, farm.place)
    names = [desk.submit(str(folder / "film.mp4"), Wish()) for _ in range(jobs)]
    store, theirs = CountedStore(open_store(farm.place)), CountedStore(open_store(farm.place))
    opened, cluster.workers.open_store = cluster.workers.open_store, lambda _: theirs  # type: ignore[assignment]
    at_work = controller(store, farm.place, DryPool(FilledSteps(chunks), 4))
    begin = time.perf_counter()
    while not all(farm.book.result(name, 1) for name in names):
        for _ in range(100):
            at_work.turn(0)
    assert {farm.state(name) for name in names} == {JobState.DONE}
    seconds, count = time.perf_counter() - begin, jobs * (2 * chunks + 6)
    cluster.workers.open_store = opened
    tell(
        "units that do nothing, one after the other",
        units_per_s=count / seconds,
        controllers_requests_per_unit=sum(store.requests.values()) / count,
        workers_requests_per_unit=sum(theirs.requests.values()) / count,
    )


@contextlib.contextmanager
def new_farm(folder: Path, s3: bool) -> Iterator[FarmStore]:
    if not s3:
        yield FarmStore(str(folder / "store"), folder)
        return
    (folder / "rgw").mkdir()
    with gateway(folder / "rgw") as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VEILFARM_S3_ENDPOINT", f"http://{server.settings.endpoint}")
        patch.setenv("VEILFARM_S3_ACCESS_KEY", server.access)
        patch.setenv("VEILFARM_S3_SECRET_KEY", server.secret)
        patch.setenv("VEILFARM_CACHE", str(folder / "cache"))
        S3Store(server.settings, "bench", "", Cache(folder / "own", 0)).bucket.client.make_bucket("bench")
        yield FarmStore("s3://bench/farm", folder)


PARTS = {"serve": serve, "workers": workers, "queue": queue, "units": units}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--s3", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.only or PARTS:
        folder = Path(tempfile.mkdtemp(prefix="vfb-"))
        try:
            with new_farm(folder, arguments.s3) as farm:
                PARTS[name](farm, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
