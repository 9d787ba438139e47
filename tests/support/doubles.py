"""Doubles for the farm: steps without pictures, a pool without processes, a listener that remembers."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from cluster.job import (
    AnalysisFacts,
    ChunkRecord,
    Encoding,
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
    TrackFacts,
    Veil,
    source_of,
)
from cluster.ledger import Ledger, Unit
from cluster.roles import Job
from cluster.schedule import Seat
from cluster.workers import Order, Outcome, Setup, Tick, Worker
from pipeline.edits import Edit
from storage.folder import FolderStore

FRAMES = 10  # of each chunk


class DrySteps:
    """Every step leaves small files and plausible facts. `trouble` may raise before a step does anything."""

    def __init__(self, chunks: int = 3, trouble: Callable[[Unit, int], None] | None = None) -> None:
        self.chunks, self._trouble = chunks, trouble
        self.calls: Counter[Unit] = Counter()
        self.before: Path | None = None  # what the last mending was given

    def _begin(self, step: Step, chunk: int | None = None) -> None:
        unit = Unit(step, chunk)
        self.calls[unit] += 1
        if self._trouble is not None:
            self._trouble(unit, self.calls[unit])

    def prepare(self, device: str, threads: int) -> None:
        return

    def ingest(self, spec: JobSpec, source: Path, into: Path) -> SourceFacts:
        self._begin(Step.INGEST)
        return SourceFacts("0" * 64, "mov", "h264", "yuv420p", 64, 48, 0, Fraction(25), ())

    def index(self, setup: Setup, into: Path, tick: Tick) -> IndexFacts:
        self._begin(Step.INDEX)
        tick(FRAMES * self.chunks)
        return IndexFacts(FRAMES * self.chunks, Fraction(FRAMES * self.chunks, 25), 1, 0)

    def plan(self, setup: Setup, sharers: int) -> Plan:
        self._begin(Step.PLAN)
        chunks = [
            ChunkRecord(i, i * FRAMES, (i + 1) * FRAMES, i * FRAMES, (i + 1) * FRAMES, "") for i in range(self.chunks)
        ]
        return Plan(0, FRAMES * self.chunks, tuple(chunks))

    def analyse(self, setup: Setup, chunk: ChunkRecord, into: Path, tick: Tick) -> AnalysisFacts:
        self._begin(Step.ANALYSE, chunk.index)
        (into / "faces").write_text(str(chunk.index))
        tick(chunk.frames)
        return AnalysisFacts(1, 0, {"detect": 0.5})

    def link(self, setup: Setup, plan: Plan, analyses: tuple[Path, ...], into: Path) -> LinkFacts:
        self._begin(Step.LINK)
        assert [(folder / "faces").read_text() for folder in analyses] == [str(c.index) for c in plan.chunks]
        assert setup.secret
        track = TrackFacts(0, 0, 0, plan.last, plan.last, 40, 60, {"replace": plan.last - 2, "cover_small": 2})
        return LinkFacts(1, {"0": "0123456789abcdef"}, (track,))

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
        """A box changes the chunk that it is in, everything else all chunks."""
        self._begin(Step.MEND)
        assert setup.secret
        self.before = before
        (into / "edits").write_text(" ".join(edit.id for edit in edits))
        track = TrackFacts(0, 0, 0, plan.last, plan.last, 40, 60, {"replace": plan.last - 2, "kept": 2})
        renders = {}
        for chunk in plan.chunks:
            here = [e.id for e in edits if e.frame is None or chunk.start <= e.frame < chunk.stop]
            if here:
                renders[str(chunk.index)] = hashlib.sha256("".join(here).encode()).hexdigest()[:8]
        film = hashlib.sha256(repr(renders).encode()).hexdigest()[:8] if renders else ""
        return MendFacts(LinkFacts(1, {"0": "0123456789abcdef"}, (track,)), renders, film, {})

    def render(
        self, setup: Setup, chunk: ChunkRecord, analysis: Path, linked: Path, into: Path, tick: Tick
    ) -> RenderFacts:
        self._begin(Step.RENDER, chunk.index)
        edits = (linked / "edits").read_text() if (linked / "edits").exists() else ""
        (into / "segment.nut").write_text(f"segment {chunk.index} {edits}".rstrip() + "\n")
        tick(chunk.frames)
        return RenderFacts(
            segment="segment.nut",
            frames=chunk.frames,
            first_pts=chunk.start,
            last_pts=chunk.stop - 1,
            sha256="1" * 64,
            bytes=10,
            delay=0,
            encoder="h264 yuv420p CRF 18 veryfast",
            treated={"replace": 9, "cover_small": 1},
            failures={},
            leaks=0,
            stages={"encode": 1.0},
        )

    def stitch(
        self, setup: Setup, plan: Plan, segments: tuple[tuple[Path, RenderFacts], ...], into: Path
    ) -> StitchFacts:
        self._begin(Step.STITCH)
        film = "".join(path.read_text() for path, _ in segments).encode()
        (into / "film.mp4").write_bytes(film)
        sha256 = hashlib.sha256(film).hexdigest()
        return StitchFacts("film.mp4", sha256, len(film), plan.frames, plan.frames, True, True, Fraction(0), (), ())


class DryPool:
    """Workers in this thread: an order is done when somebody polls. `size` workers, by name "0", "1", …"""

    def __init__(self, steps: DrySteps, size: int = 2, devices: str = "cpu") -> None:
        self.size = size
        self.most = 0  # orders that were out at once
        self.stopped: list[str] = []
        self._workers = {str(i): Worker(steps, 1, devices, str(i)) for i in range(size)}
        self._devices = devices
        self._orders: deque[tuple[str, Order]] = deque()

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        busy = {name for name, _ in self._orders}
        return tuple(Seat(name, name not in busy, self._devices) for name in self._workers)

    def submit(self, order: Order, seat: Seat) -> None:
        assert seat.name not in {name for name, _ in self._orders}
        self._orders.append((seat.name, order))
        self.most = max(self.most, len(self._orders))

    def poll(self, timeout: float) -> list[Outcome]:
        if not self._orders:
            return []
        name, order = self._orders.popleft()
        return [self._workers[name].run(order)]

    def frames(self) -> dict[str, int]:
        return {}

    def stop(self, attempt: str) -> None:
        self.stopped.append(attempt)
        self._orders = deque((name, order) for name, order in self._orders if order.attempt != attempt)


class Ear:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Step, int, int]] = []
        self.retries: list[tuple[Unit, Failure]] = []
        self.notices: list[str] = []

    def step(self, job: Job, step: Step, done: int, total: int, seconds: float) -> None:
        self.steps.append((job.name, step, done, total))

    def retry(self, job: Job, unit: Unit, failure: Failure) -> None:
        self.retries.append((unit, failure))

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def result(self, text: str, **facts: object) -> None:
        self.notices.append(text)

    def error(self, text: str, **facts: object) -> None:
        self.notices.append(text)

    def trace(self, text: str) -> None:
        self.notices.append(text)

    def close(self) -> None:
        return


def a_spec(source: Path, target: Path) -> JobSpec:
    """A plain job."""
    encoding = Encoding(None, None, 0, "veryfast")
    return JobSpec(source_of(source), str(target), Veil.NOBODY, encoding, None, None, "cpu", None)


def a_job(folder: Path, name: str = "film.mp4") -> Job:
    """A new job with a store of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / name
    source.write_bytes(b"film")
    root = folder / "work"
    ledger = Ledger.create(FolderStore(root), a_spec(source, folder / "out.mp4"))
    ledger.give_secret()
    return Job(name, str(root), ledger, None)
