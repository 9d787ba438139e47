"""A farm as its users run it: `veilfarm serve` as a process, and what its store says about it."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from command import VEILFARM, Ran, alive, named, veilfarm

from cluster.book import Book
from cluster.desk import Desk, Wish
from cluster.job import PER_CHUNK, Veil
from cluster.states import JobState
from storage.address import open_store

PATIENCE = float(
    os.environ.get("VEILFARM_TEST_PATIENCE", "180")
)  # seconds that anything may take before a test fails: a shared machine may be slow


def until(what: Callable[[], object], seconds: float = PATIENCE, every: float = 0.05) -> None:
    """Return when `what` holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it didn't come to pass"
        time.sleep(every)


@dataclass
class Serving:
    """A controller at work."""

    process: "subprocess.Popen[bytes]"
    mark: str
    log: Path

    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)

    def kill(self) -> None:
        """SIGKILL to it and to nothing else."""
        self.process.kill()
        self.process.wait()

    def workers(self) -> list[int]:
        """Its workers, on a Ray of its own."""
        return named(self.mark, "ray::ActorWorker")

    def alive(self) -> list[int]:
        """Its processes, and all that they have started."""
        return alive(self.mark)


@dataclass
class FarmStore:
    """A store, and what a test wants of it."""

    place: str
    folder: Path  # for logs
    serving: Serving | None = None
    env: dict[str, str] = field(default_factory=dict)  # of its controllers, besides that of the test

    @property
    def book(self) -> Book:
        """Its jobs."""
        return Book(open_store(self.place))

    @contextmanager
    def serve(self, *options: str) -> Iterator[Serving]:
        """A controller with two workers, on a Ray of its own unless `options` say otherwise."""
        common = [VEILFARM, "serve", "--store", self.place]
        if not any("listen" in option for option in options):
            common.append("--no-listen")
        with self.process([*common, *(options or ("--workers", "2"))]) as serving:
            yield serving

    @contextmanager
    def process(self, command: Sequence[str]) -> Iterator[Serving]:
        """A controller by another command."""
        mark = f"VEILFARM_TEST_RUN={os.getpid()}-{time.monotonic_ns()}"
        name, _, value = mark.partition("=")
        log = self.folder / f"serve-{time.monotonic_ns()}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env, name: value},
                start_new_session=True,  # or, once one of a group is stopped, the kernel may hang up on all of it
            )
        try:
            self.serving = Serving(process, mark, log)
            yield self.serving
        finally:
            self.serving = None
            for pid in alive(mark):
                os.kill(pid, signal.SIGKILL)
            process.wait()

    def command(self, *arguments: str | Path) -> Ran:
        """A subcommand on this store, to its end."""
        return veilfarm(*arguments, "--store", self.place)

    def submit(self, source: str | Path, to: str = "", **wish: object) -> str:
        """A film as a job, each face a mosaic: quick, and all that a farm does is the same."""
        return Desk(self.book, self.place).submit(str(source), Wish(to=to, veil=Veil.MOSAIC, **wish))  # type: ignore[arg-type]

    def submit_with_key(self, source: str | Path, key: bytes) -> str:
        """The same with a project key: two runs give the same film."""
        return Desk(self.book, self.place).submit(str(source), Wish(veil=Veil.MOSAIC, key_fingerprint="0" * 16), key)

    def state(self, job: str) -> JobState:
        """Where it is."""
        return self.book.control(job).state

    def reached(self, job: str, state: JobState) -> None:
        """Wait for it. Fails with the job's history when it ends in another way."""
        final = (JobState.FAILED, JobState.CANCELLED, JobState.DONE)

        def there() -> bool:
            assert self.serving is None or self.serving.process.poll() is None, self.serving.said()
            now = self.state(job)
            assert now is state or now not in final, [entry.what for entry in self.book.history(job)]
            return now is state

        until(there)

    def committed(self, job: str) -> dict[str, str]:
        """The try that counts, by unit that is done."""
        ledger = self.book.ledger(job)
        found = {str(unit): ledger.done(unit) for unit in ledger.units()}
        return {unit: done.attempt for unit, done in found.items() if done is not None}

    def chunks_done(self, job: str) -> int:
        """Units of chunks that are done."""
        ledger = self.book.ledger(job)
        return sum(unit.step in PER_CHUNK and ledger.done(unit) is not None for unit in ledger.units())

    def tries(self, job: str) -> Counter[str]:
        """How many tries at each unit came to an end, committed or not: each leaves a log."""
        return Counter(key.rpartition("/log/")[0] for key in self.objects(f"jobs/{job}") if "/log/" in key)

    def objects(self, prefix: str = "") -> list[str]:
        """What it holds."""
        return list(self.book.store.keys(prefix))


def address(serving: Serving) -> tuple[str, str]:
    """(URL, the first admin's token) of a farm that has just begun."""
    until(lambda: "vf_" in serving.said())
    url, token = re.search(r"http://[\d.:]+", serving.said()), re.search(r"vf_[\w-]+", serving.said())
    assert url is not None
    assert token is not None
    return url[0], token[0]


def times(path: Path) -> list[Fraction]:
    """When each frame of a film is shown, from its first on, in the order of showing."""
    with av.open(path) as film:
        shown = sorted(frame.pts * frame.time_base for frame in film.decode(video=0))
    return [time - shown[0] for time in shown]
