"""How far off the estimate of a film's cost is: before anything was measured, and after the other films were.

    .venv/bin/python bench/cost.py FILM...

One worker of one thread does each film; its cost is the worker's seconds in all steps, as `veilfarm show` tells them.
"""

import argparse
import copy
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from doubles import DryPool, Ear

from cluster.farm import Farm
from cluster.job import Encoding, JobSpec, Plan, Publish, SourceFacts, Veil, source_of
from cluster.ledger import Ledger
from cluster.made import made_by
from cluster.pace import Load, Pace, film_load
from cluster.roles import Job, Watch
from cluster.steps import PipelineSteps
from cluster.workers import Outcome
from storage.folder import FolderStore


class Account(Watch):
    """Adds up what a film costs."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def ended(self, job: Job, outcome: Outcome, frames: int) -> None:
        self.seconds += outcome.seconds


@dataclass(frozen=True)
class Done:
    """One film, and what it cost."""

    name: str
    frames: int
    load: Load  # as the survey saw it
    seconds: float


def one(film: Path, steps: PipelineSteps, pace: Pace) -> Done:
    """Do it."""
    root = Path(tempfile.mkdtemp(prefix="veil-cost-"))
    try:
        encoding = Encoding(None, None, 0, "veryfast")
        asked = Publish("out.mp4", overwrite=False)
        spec = JobSpec(source_of(film), "", Veil.NOBODY, encoding, None, None, "cpu", None, made_by(), asked)
        ledger = Ledger.create(FolderStore(root), spec)
        ledger.give_secret()
        account = Account()
        farm = Farm(DryPool(steps, 1), Ear(), account, pace=pace, sharers=1)  # type: ignore[arg-type]
        for ended in farm.run([Job(film.name, str(root), ledger, None)]):
            if ended.failure is not None:
                raise SystemExit(f"{film}: {ended.failure.line}")
        load = film_load(ledger.facts(SourceFacts))
        return Done(film.name, ledger.facts(Plan).frames, load, account.seconds)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="+", type=Path)
    options = parser.parse_args()
    steps, pace = PipelineSteps(), Pace()
    steps.prepare("cpu", 1)
    print("| film | frames | thought | MP | faces on a frame | measured, s | at first | of it | later | of it |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    one(options.films[0], steps, Pace())  # networks and memory are touched for the first time
    for film in options.films:
        earlier = copy.deepcopy(pace)
        done = one(film, steps, pace)
        first, later = Pace().seconds(done.load) or 0.0, earlier.seconds(done.load) or 0.0
        cells = [done.name, done.frames, done.load.frames, f"{done.load.megapixels:.2f}", f"{done.load.faces:.1f}"]
        cells += [f"{done.seconds:.1f}", f"{first:.1f}", f"{100 * first / done.seconds:.0f} %"]
        cells += [f"{later:.1f}", f"{100 * later / done.seconds:.0f} %"] if film != options.films[0] else ["-", "-"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
