"""Steps without pictures that fail as their source says: it is JSON, `Script`'s. Importable on every worker.

As a program it is a farm of such steps: `faults.py CONFIG`, JSON with `store`, `ray` (an address) and `patience`.
"""

import ctypes
import dataclasses
import json
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from doubles import DrySteps

from cluster import log
from cluster.actors import Patience
from cluster.job import AnalysisFacts, ChunkRecord, IndexFacts, JobSpec, Plan, RenderFacts, SourceFacts, Step
from cluster.ledger import Unit
from cluster.raypool import ClusterSettings, RayPool
from cluster.service import Service
from cluster.workers import Setup, Tick
from pipeline.errors import VerifyError
from storage.address import open_store
from storage.objects import Transient


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a step of a chunk, the first `times` times."""

    kind: str
    step: str = "analyse"
    chunk: int = 1
    times: int = 1


@dataclass(frozen=True)
class Script:
    """How a job goes. `notes`: a folder; each begun chunk leaves a file there, named by step, chunk, process, time."""

    notes: str
    chunks: int = 4
    seconds: float = 0.2  # that each chunk takes in each step
    faults: tuple[Fault, ...] = field(default=())

    def write(self, path: Path) -> Path:
        """As a source."""
        Path(self.notes).mkdir(exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "Script":
        """From a source."""
        found = json.loads(path.read_text())
        return cls(**{**found, "faults": tuple(Fault(**each) for each in found["faults"])})


def begun(notes: Path, step: str, chunk: int) -> list[int]:
    """Processes that have begun a chunk, in this order."""
    found = sorted((path.name.split(".") for path in notes.glob(f"{step}.{chunk}.*")), key=lambda parts: parts[3])
    return [int(parts[2]) for parts in found]


class FaultySteps(DrySteps):
    """Does what the source says."""

    def ingest(self, spec: JobSpec, source: Path, into: Path) -> SourceFacts:
        self.chunks = Script.read(source).chunks
        return super().ingest(spec, source, into)

    def index(self, setup: Setup, into: Path, tick: Tick) -> IndexFacts:
        self.chunks = Script.read(setup.source).chunks
        return super().index(setup, into, tick)

    def plan(self, setup: Setup, sharers: int) -> Plan:
        self.chunks = Script.read(setup.source).chunks
        return super().plan(setup, sharers)

    def analyse(self, setup: Setup, chunk: ChunkRecord, into: Path, tick: Tick) -> AnalysisFacts:
        _go_through(Script.read(setup.source), Unit(Step.ANALYSE, chunk.index), tick)
        return super().analyse(setup, chunk, into, tick)

    def render(
        self, setup: Setup, chunk: ChunkRecord, analysis: Path, linked: Path, into: Path, tick: Tick
    ) -> RenderFacts:
        _go_through(Script.read(setup.source), Unit(Step.RENDER, chunk.index), tick)
        return super().render(setup, chunk, analysis, linked, into, tick)


def _go_through(script: Script, unit: Unit, tick: Tick) -> None:
    (Path(script.notes) / f"{unit.step}.{unit.chunk}.{os.getpid()}.{time.time_ns()}").touch()
    steps = max(1, round(script.seconds / 0.1))
    for number in range(steps):
        time.sleep(script.seconds / steps)
        tick(9 * number // steps)
    for fault in script.faults:
        tries = len(begun(Path(script.notes), unit.step, unit.chunk or 0))
        if (fault.step, fault.chunk) == (unit.step, unit.chunk) and tries <= fault.times:
            _fail(fault.kind)


def _fail(kind: str) -> None:
    if kind.startswith("wait "):  # no fault: it only takes so many seconds more
        time.sleep(float(kind.removeprefix("wait ")))
        return
    if kind == "exit":
        os._exit(3)
    if kind == "segv":
        ctypes.string_at(0)
    if kind == "memory":
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (64 << 20), resource.RLIM_INFINITY))
        held = []
        while True:
            held.append(bytearray(16 << 20))
    if kind == "hang":
        while True:
            time.sleep(0.1)
    if kind == "stop":  # as a machine that swaps: its threads don't answer either
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "verify":
        raise VerifyError("a frame is missing", "a test wants it", "")
    if kind == "storage":
        raise Transient("the store is away; a test wants it")
    raise AssertionError(kind)


def main() -> int:
    """A farm until it is told to stop."""
    config = json.loads(sys.argv[1])
    log.to_stream()
    settings = ClusterSettings(config["ray"], leave_file=config.get("leave_file"))
    pool = RayPool(FaultySteps(), settings, Patience(**config.get("patience", {})))
    service = Service(open_store(config["store"]), config["store"], pool, grace=60)
    signal.signal(signal.SIGTERM, lambda *_: service.stop())
    try:
        service.run()
    finally:
        pool.close()
    return 0


if __name__ == "__main__":
    # So that workers find the steps by the name of this module, which they import.
    from faults import main as imported

    sys.exit(imported())
