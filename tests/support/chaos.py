"""Seeded faults against a real farm: films go in, things break, and what comes out is compared with an undisturbed run.

    .venv/bin/python tests/support/chaos.py --faults 20 --seed 1 [--store folder|s3]

Each fault gets a new film on the same farm. After each: the film's decoded frames, their times and its sound are those
of the undisturbed run, nothing of the work is left in the store, and at the end no process is left. Prints a line for
each, and a summary; exits with 1 when anything was wrong.
"""

import argparse
import contextlib
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

import av
from command import alive
from filmgen import Film, make
from rgw import Gateway, gateway
from serving import FarmStore, Serving, until

from cluster.states import OVER, JobState

FILM = Film(frames=250, gop=25, sound=1)  # four chunks or more
KEY = b"the same faces in each run, please"
OPTIONS = ("--workers", "2", "--steady-chunks", "--no-listen", "--grace", "60")


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
class Chaos:
    """A farm that things are done to."""

    farm: FarmStore
    stack: contextlib.ExitStack
    random: random.Random
    server: Gateway | None = None
    serving: Serving | None = None
    marks: list[str] = field(default_factory=list)
    count: int = 0

    def start(self) -> None:
        """A controller, if none lives."""
        if self.serving is None or self.serving.process.poll() is not None:
            self.serving = self.stack.enter_context(self.farm.serve(*OPTIONS))
            self.marks.append(self.serving.mark)

    def workers(self) -> list[int]:
        """Processes of workers that are up."""
        assert self.serving is not None
        return [pid for pid in self.serving.alive() if "ActorWorker" in title(pid)]

    # What can happen. Each returns when the worst is over; the farm then has to mend itself.

    def worker_killed(self) -> None:
        """As the kernel does it when memory is short."""
        for pid in self.random.sample(self.workers(), k=min(1, len(self.workers()))):
            _kill(pid, signal.SIGKILL)

    def all_workers_killed(self) -> None:
        """All at once."""
        for pid in self.workers():
            _kill(pid, signal.SIGKILL)

    def worker_stopped_for_a_while(self) -> None:
        """A machine that swaps, a disk that hangs."""
        stopped = self.workers()[:1]
        for pid in stopped:
            _kill(pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(1, 4))
        for pid in stopped:
            _kill(pid, signal.SIGCONT)

    def controller_killed(self) -> None:
        """The farm's process, and nothing else."""
        assert self.serving is not None
        self.serving.kill()
        self.start()

    def everything_killed(self) -> None:
        """A power cut, but for the store."""
        assert self.serving is not None
        for pid in self.serving.alive():
            _kill(pid, signal.SIGKILL)
        self.serving.process.wait()
        self.start()

    def farm_ended_politely(self) -> None:
        """SIGTERM, and on again."""
        assert self.serving is not None
        assert self.serving.end() == 0, self.serving.said()[-2000:]
        self.start()

    def ray_killed(self) -> None:
        """A server of Ray's dies: the farm ends with 1, and whoever watches it starts it again."""
        assert self.serving is not None
        for pid in self.serving.alive():
            if title(pid).split(" ")[0].endswith(self.random.choice(("raylet", "gcs_server"))):
                _kill(pid, signal.SIGKILL)
        time.sleep(1)
        with contextlib.suppress(Exception):
            self.serving.process.wait(timeout=60)
        self.start()

    def two_controllers(self) -> None:
        """Another one is started on the same store; then the first is killed."""
        first = self.serving
        assert first is not None
        self.serving = None
        self.start()
        time.sleep(self.random.uniform(0, 3))
        for pid in first.alive():
            _kill(pid, signal.SIGKILL)
        first.process.wait()

    def store_away(self) -> None:
        """The S3 server doesn't answer for some seconds."""
        pids = _server_pids(self.farm.folder)
        for pid in pids:
            _kill(pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(1, 8))
        for pid in pids:
            _kill(pid, signal.SIGCONT)

    def paused_and_resumed(self) -> None:
        """Somebody changes their mind."""
        jobs = [job for job in self.farm.book.open_jobs() if self.farm.state(job) is JobState.RUNNING]
        for job in jobs:
            self.farm.command("pause", job)
        time.sleep(self.random.uniform(0, 2))
        for job in jobs:
            self.farm.command("resume", job)

    def kinds(self) -> list[Callable[[], None]]:
        """All that can happen to this farm."""
        found = [self.worker_killed, self.all_workers_killed, self.worker_stopped_for_a_while, self.controller_killed]
        found += [self.everything_killed, self.farm_ended_politely, self.ray_killed, self.two_controllers]
        return [*found, self.paused_and_resumed] + ([self.store_away] if self.server else [])

    def film(self, source: Path, fault: Callable[[], None] | None) -> tuple[str, list[str]]:
        """One film through the farm; its fingerprint, and what was wrong."""
        self.count += 1
        out = self.farm.folder / f"out-{self.count}.mp4"
        job = self.farm.submit_with_key(source, KEY)
        if fault is not None:
            at = self.random.randint(0, 8)  # units of chunks that are done, before it happens
            until(lambda: self.farm.chunks_done(job) >= at or self.farm.state(job) in OVER)
            time.sleep(self.random.uniform(0, 0.5))
            fault()
        self.farm.reached(job, JobState.DONE)
        until(lambda: not self.farm.objects("queue"))
        result = self.farm.book.result(job, 1)
        assert result is not None
        self.farm.book.store.fetch(result.film, out)
        wrong = [key for key in self.farm.objects(f"jobs/{job}") if "/try/" in key or key.endswith("/secret")]
        if result.frames != FILM.frames:
            wrong.append(f"{result.frames} frames instead of {FILM.frames}")
        mark = prints(out)
        out.unlink()
        assert self.farm.command("erase", job).code == 0
        return mark, wrong


def title(pid: int) -> str:
    """What a process calls itself."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _server_pids(folder: Path) -> list[int]:
    known = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [pid for pid in known if title(pid).startswith("radosgw") and str(folder) in title(pid)]


@contextlib.contextmanager
def _store(kind: str, folder: Path) -> Iterator[tuple[FarmStore, Gateway | None]]:
    if kind == "folder":
        yield FarmStore(str(folder / "store"), folder), None
        return
    (folder / "rgw").mkdir()
    with gateway(folder / "rgw") as server:
        os.environ |= server.environment(folder / "cache")
        yield FarmStore(f"s3://{server.new_bucket(folder / 'probe')}/farm", folder), server


def run(faults: int, seed: int, kind: str, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Everything that was wrong."""
    source, wrong, counts = folder / "film.mp4", list[str](), Counter[str]()
    make(FILM, source)
    with _store(kind, folder) as (farm, server), contextlib.ExitStack() as stack:
        chaos = Chaos(farm, stack, random.Random(seed), server)
        chaos.start()
        usual, left = chaos.film(source, None)
        wrong += left
        kinds = chaos.kinds()
        for number in range(faults):
            fault = kinds[number % len(kinds)] if number < len(kinds) else chaos.random.choice(kinds)
            began = time.monotonic()
            try:
                mark, left = chaos.film(source, fault)
            except AssertionError as error:
                mark, left = "", [f"{error}"[:500]]
                for job in list(farm.book.open_jobs()):
                    farm.command("cancel", job)
            bad = left + ([] if mark == usual else ["the film is another than that of the undisturbed run"])
            counts[fault.__name__] += 1
            wrong += [f"{number} {fault.__name__}: {each}" for each in bad]
            took = time.monotonic() - began
            say(json.dumps({"fault": number, "what": fault.__name__, "seconds": round(took, 1), "wrong": bad}))
            chaos.start()
        assert chaos.serving is not None
        if chaos.serving.end() != 0:
            wrong.append("the farm ended with an error")
        # Ray's agents look every so often whether their raylet, which dies with the farm, is still there.
        with contextlib.suppress(AssertionError):
            until(lambda: not any(alive(mark) for mark in chaos.marks), 90)
        for mark in chaos.marks:
            if orphans := [title(pid) for pid in alive(mark)]:
                wrong.append(f"processes are left: {orphans}")
    say(json.dumps({"faults": dict(counts), "wrong": len(wrong)}))
    return wrong


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=("folder", "s3"), default="s3")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="veil-chaos-") as folder:
        wrong = run(
            arguments.faults, arguments.seed, arguments.store, Path(folder), lambda text: print(text, flush=True)
        )
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
