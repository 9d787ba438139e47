"""Seeded faults against a real farm: films go in, things break, and what comes out is compared with an undisturbed run.

    .venv/bin/python tests/support/chaos.py --faults 20 --seed 1 [--on local,cluster,hosts] [--only KIND,KIND]

Each film meets one fault or two. After it: its decoded frames, their times and its sound are those of the undisturbed
run, and nothing of the work is left in the store; at the end neither is anything that a late worker wrote, once the
farm has tidied up, and no process is left. Prints a line for each fault, and a summary; exits with 1 when anything was
wrong. `--first N` begins with the film of that number: the same things happen to it as in the whole run.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import av
import pytest
from chaoscluster import OnCluster, OnHosts, hosts, on_cluster
from chaosfarm import FILM, KEY, UNITS, Chaos, Fault, kill, title
from command import alive, named
from filmgen import make
from serving import FarmStore, until
from shaky import shaky

from cluster.book import Book
from cluster.closing import LATE, tidying
from storage.cache import Cache

GROUNDS = ("local", "cluster", "hosts")
SUPPORT = str(Path(__file__).parent)
Say = Callable[[str], None]


def prints(path: Path) -> str:
    """A fingerprint of what a film shows and when, and of its sound, packet by packet."""
    found = hashlib.sha256()
    with av.open(str(path)) as film:
        for frame in film.decode(video=0):
            found.update(f"{frame.pts * frame.time_base}".encode())
            found.update(frame.to_ndarray(format="yuv420p").tobytes())
    with av.open(str(path)) as film:
        for packet in film.demux(audio=0):
            found.update(f"{packet.pts}".encode() + bytes(packet))
    return found.hexdigest()


@dataclass
class Run:
    """A number of films on one ground."""

    ground: str
    seed: int
    chaos: Chaos
    say: Say
    only: tuple[str, ...] = ()  # kinds; without, all that there are
    usual: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def faults(self, film: int) -> list[Fault]:
        """Those of the film of this number. Each kind comes once in as many faults as there are kinds; one that takes a
        minute in every third such round."""
        if self.only:
            names = [self.only[place % len(self.only)] for place in (2 * film, 2 * film + 1)]
            return [getattr(self.chaos, name) for name in names]
        often, seldom = self.chaos.kinds()
        deck, number = list[Fault](), 0
        while len(deck) < 2 * film + 2:
            chance = random.Random(f"{self.seed}/{self.ground}/{number}")
            kinds = [*often, *(seldom if number % 3 == 0 else [])]
            deck += chance.sample(kinds, k=len(kinds))
            number += 1
        return deck[2 * film : 2 * film + 2]

    def film(self, number: int, faults: list[Fault]) -> None:
        """One film, and what happens to it."""
        chaos = self.chaos
        chaos.random = random.Random(f"{self.seed}/{self.ground}/film/{number}")
        chaos.found.clear()
        moments = sorted(chaos.random.sample(range(UNITS), k=len(faults)))
        began, wrong = list[tuple[str, int, float]](), list[str]()
        try:
            job = chaos.farm.submit_with_key(chaos.source, KEY)
            for fault, units in zip(faults, moments, strict=True):
                chaos.at(job, units)
                began.append((fault.__name__, units, time.monotonic()))
                fault()
                if chaos.missed:
                    began.pop()
                    chaos.missed = False
            chaos.job_done(job)
            wrong += self.compared(job)
        except Exception as error:  # noqa: BLE001  whatever it is, the next film tells whether the farm is well
            wrong.append(f"{type(error).__name__}: {error}"[:1500])
            self.evidence(number)
        with contextlib.suppress(Exception):
            for job in list(chaos.farm.book.open_jobs()):
                chaos.farm.command("cancel", job)
            if wrong:  # a failed job's work is kept for a retry
                chaos.farm.command("erase", job)
        chaos.mend()
        wrong += chaos.found
        self.tell(number, began, wrong)

    def compared(self, job: str) -> list[str]:
        """What is wrong with a film that is done."""
        farm, out = self.chaos.farm, self.chaos.farm.folder / "out.mp4"
        result = farm.book.result(job, 1)
        assert result is not None
        farm.book.store.fetch(result.film, out)
        mark, wrong = prints(out), list[str]()
        self.usual = self.usual or mark
        if mark != self.usual:
            wrong.append("the film is another than that of the undisturbed run")
        if result.frames != FILM.frames:
            wrong.append(f"{result.frames} frames instead of {FILM.frames}")
        left = [key for key in farm.objects(f"jobs/{job}") if "/try/" in key or key.endswith("/secret")]
        kept = farm.objects("kept")
        return wrong + [f"left: {key}" for key in left if not any(key.split("/")[1] in each for each in kept)]

    def tell(self, number: int, began: list[tuple[str, int, float]], wrong: list[str]) -> None:
        """A line for each fault. What is wrong is said of the last one; the film had all of them."""
        now = time.monotonic()
        for place, (name, units, moment) in enumerate(began):
            until_when = began[place + 1][2] if place + 1 < len(began) else now
            self.counts[name] += 1
            self.bad[name] += bool(wrong)
            line = {"on": self.ground, "seed": self.seed, "film": number, "what": name, "at": units}
            line |= {"seconds": round(until_when - moment, 1), "right": not wrong}
            self.say(json.dumps(line | ({"wrong": wrong} if wrong and place + 1 == len(began) else {})))
        self.wrong += [f"{self.ground} {number} {[name for name, _, _ in began]}: {each}" for each in wrong]

    def evidence(self, number: int) -> None:
        """What may tell why a film got stuck."""
        chaos = self.chaos
        with contextlib.suppress(Exception):
            jobs = {job: [entry.what for entry in chaos.farm.book.history(job)] for job in chaos.farm.book.open_jobs()}
            found = {"jobs": jobs, "workers": chaos.farm.command("workers").out, "log": chaos.leader().said()[-6000:]}
            found["processes"] = "\n".join(f"{pid} {title(pid)}" for mark in chaos.marks for pid in alive(mark))
            kill([*chaos.workers(), *named(chaos.leader().mark, sys.executable)], signal.SIGUSR1)
            time.sleep(1)
            found["stacks"] = {path.stem: path.read_text() for path in chaos.farm.folder.glob("*.stacks")}
            logs = Path(tempfile.gettempdir()).glob(f"veil-{chaos.leader().process.pid}-*/session_latest/logs/*.out")
            found["ray"] = {path.name: path.read_text(errors="replace")[-6000:] for path in logs}
            place = os.environ.get("VEILFARM_CHAOS_EVIDENCE", tempfile.gettempdir())
            path = Path(place) / f"chaos-{self.ground}-{self.seed}-{number}.json"
            path.write_text(json.dumps(found, indent=1))
            self.say(json.dumps({"evidence": str(path)}))

    def close(self) -> None:
        """End the farm; nothing may be left."""
        chaos, book = self.chaos, self.chaos.farm.book
        chaos.found.clear()
        chaos.close()
        self.wrong += chaos.found
        later = Book(book.store, clock=lambda: time.time() + 2 * LATE)
        for job in list(later.kept_jobs()):
            for _ in tidying(later, job):
                pass
        left = [key for key in book.store.keys("") if "/try/" in key or key.endswith("/secret")]
        self.wrong += [f"left at the end: {key}" for key in [*left, *book.store.keys("queue")]]


def orphans(marks: list[str]) -> list[str]:
    """Processes that have outlived their farm. Ray's agents look every so often whether their raylet, which dies with
    the farm, is still there."""
    with contextlib.suppress(AssertionError):
        until(lambda: not any(alive(mark) for mark in marks), 90, 0.5)
    return [f"a process is left: {title(pid)}" for mark in marks for pid in alive(mark)]


@contextlib.contextmanager
def prepared(ground: str, kind: str, folder: Path) -> Iterator[Chaos]:
    """A farm on this ground, not started yet; only where machines have disks of their own, these are small."""
    source = folder / "film.mp4"
    make(FILM, source)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ))
        found = stack.enter_context(hosts("near", "far")) if ground == "hosts" else None
        store = stack.enter_context(shaky(folder, found)) if kind == "s3" else None
        place, env = str(folder / "store"), {}
        if store is not None:
            os.environ |= store.gateway.environment(folder / "own-cache")
            place, env = f"s3://{store.gateway.new_bucket(folder / 'own-cache')}/farm", store.env
        env["VEILFARM_TEST_STACKS"] = str(folder)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [SUPPORT, os.environ.get("PYTHONPATH")]))
        farm = FarmStore(place, folder, env=env)
        chaos_stack = stack.enter_context(contextlib.ExitStack())
        if ground == "local":
            disk = store.disk("cache") if store else None
            yield Chaos(farm, chaos_stack, source, store, disk)
            return
        disk = store.disk("far") if store else None
        caches = {"near": folder / "near", "far": disk or folder / "far"} if store else {}
        common = {"store": store, "disk": disk, "caches": caches}
        if found is not None:
            chaos: OnCluster = OnHosts(farm, chaos_stack, source, hosts=found, **common)  # type: ignore[arg-type]
        else:
            chaos = OnCluster(farm, chaos_stack, source, **common)  # type: ignore[arg-type]
        chaos_stack.enter_context(on_cluster(chaos))
        yield chaos


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    ground: str
    faults: int
    seed: int = 1
    store: str = "s3"  # or "folder"
    first: int = 0  # number of the film to begin with
    only: tuple[str, ...] = ()


def run(plan: Plan, folder: Path, say: Say) -> list[str]:
    """Everything that was wrong."""
    ground, faults = plan.ground, plan.faults
    with prepared(ground, plan.store, folder) as chaos:
        found = Run(ground, plan.seed, chaos, say, plan.only)
        chaos.start()
        found.film(-1, [])
        number = plan.first
        while sum(found.counts.values()) < faults:
            found.film(number, found.faults(number)[: faults - sum(found.counts.values())])
            number += 1
        found.close()
        marks = chaos.marks
    found.wrong += orphans(marks)
    if (folder / "cache").is_dir():
        Cache(folder / "cache", 0)  # whoever comes next removes what the dead have left
        found.wrong += [f"left in the cache: {path.name}" for path in (folder / "cache").glob("*.part-*")]
    table = {name: f"{count - found.bad[name]} of {count}" for name, count in sorted(found.counts.items())}
    say(json.dumps({"on": ground, "right": table, "wrong": len(found.wrong)}))
    return found.wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=20, help="in all, shared among the grounds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--on", default=",".join(GROUNDS), help="local, cluster, hosts, or several with commas")
    parser.add_argument("--store", choices=("folder", "s3"), default="s3")
    parser.add_argument("--first", type=int, default=0, help="number of the film to begin with")
    parser.add_argument("--only", default="", help="kinds of faults, with commas")
    given = parser.parse_args()
    grounds, wrong, say = given.on.split(","), list[str](), functools.partial(print, flush=True)
    if unknown := set(grounds) - set(GROUNDS):
        parser.error(f"unknown: {unknown}")
    for place, ground in enumerate(grounds):
        share = given.faults * (place + 1) // len(grounds) - given.faults * place // len(grounds)
        only = tuple(filter(None, given.only.split(",")))
        plan = Plan(ground, share, given.seed, given.store, given.first, only)
        with tempfile.TemporaryDirectory(prefix="veil-chaos-", ignore_cleanup_errors=True) as folder:
            try:
                wrong += run(plan, Path(folder), say)
            except pytest.skip.Exception as error:  # no Ceph, or nobody who may make hosts
                say(json.dumps({"on": ground, "left out": str(error)}))
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.path.insert(0, SUPPORT)
    sys.exit(main())
