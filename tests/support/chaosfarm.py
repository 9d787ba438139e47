"""What can happen to a farm on one machine, and one film after the other through it."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import poison
from filmgen import Film
from serving import FarmStore, Serving, until
from shaky import Shaky, full

from cluster.states import OVER, JobState

FILM = Film(frames=250, gop=25, sound=1)  # ten chunks
UNITS = 16  # of its 20 units of chunks, so many may be done before something happens
KEY = b"the same faces in each run, please"
OPTIONS = ("--steady-chunks", "--no-listen", "--grace", "60")
EVERY = 0.2  # seconds between looks
Fault = Callable[[], None]


@dataclass
class Chaos:
    """A farm that things are done to: its own Ray with two workers."""

    farm: FarmStore
    stack: contextlib.ExitStack
    source: Path
    store: Shaky | None = None
    disk: Path | None = None  # that of the workers' copies, if it can be filled
    random: Random = field(default_factory=Random)
    serving: Serving | None = None
    marks: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)  # what a fault itself has seen go wrong
    missed: bool = False  # whether the last fault found nothing that it could be done to

    def command(self) -> list[str]:
        """Which starts a controller."""
        options = ["--store", self.farm.place, *self.pool(), *OPTIONS]
        return [sys.executable, poison.__file__, "serve", *options]

    def pool(self) -> list[str]:
        """Options for its workers."""
        return ["--workers", "2"]

    def start(self) -> None:
        """A controller, if none lives."""
        if self.serving is None or self.serving.process.poll() is not None:
            self.serving = self.stack.enter_context(self.farm.process(self.command()))
            self.marks.append(self.serving.mark)

    def workers(self) -> list[int]:
        """Processes of workers that are up."""
        return [pid for pid in self.leader().alive() if "ActorWorker" in title(pid)]

    def leader(self) -> Serving:
        """The controller."""
        assert self.serving is not None
        return self.serving

    def another(self) -> Serving:
        """A second controller on the same store; the first one is returned."""
        first, self.serving = self.leader(), None
        self.start()
        return first

    def end(self, serving: Serving) -> None:
        """SIGTERM, and all of it is gone."""
        self.ended_well(serving, serving.end())

    def ended_well(self, serving: Serving, code: int) -> None:
        """It did what it had in hand. One that hasn't said anything yet was still being loaded."""
        early = code == -signal.SIGTERM and not serving.said()
        text = f"a farm that was told to end ended with {code}: {serving.said()[-1500:]}"
        self.blame(code != 0 and not early, text)

    def hit(self, pids: list[int], number: int = signal.SIGKILL) -> list[int]:
        """A signal to all of them, if there are any."""
        self.missed = not pids
        kill(pids, number)
        return pids

    def blame(self, wrong: bool, text: str) -> None:
        """Note what went wrong beside the film."""
        self.found += [text] if wrong else []

    # What can happen. Each returns when the worst is over; the farm then has to mend itself.

    def worker_killed(self) -> None:
        """As the kernel does it when memory is short."""
        workers = self.workers()
        self.hit(self.random.sample(workers, k=min(1, len(workers))))

    def all_workers_killed(self) -> None:
        """All at once."""
        self.hit(self.workers())

    def worker_stopped_for_a_while(self) -> None:
        """A machine that swaps, a disk that hangs."""
        stopped = self.hit(self.workers()[:1], signal.SIGSTOP)
        time.sleep(self.random.uniform(1, 4))
        kill(stopped, signal.SIGCONT)

    def controller_killed(self) -> None:
        """The farm's process, and nothing else."""
        self.leader().kill()
        self.start()

    def everything_killed(self) -> None:
        """A power cut, but for the store: the head of its Ray is killed with all the rest, and started again."""
        kill(self.leader().alive())
        self.leader().process.wait()
        self.start()

    def farm_ended_politely(self) -> None:
        """SIGTERM, and on again."""
        self.end(self.leader())
        self.start()

    def ray_killed(self) -> None:
        """A server of Ray's dies: the farm ends with 1, and whoever watches it starts it again."""
        server = self.random.choice(("raylet", "gcs_server"))
        if self.hit([pid for pid in self.leader().alive() if title(pid).split(" ")[0].endswith(server)]):
            time.sleep(1)
            self.leader().process.wait(timeout=60)
            self.start()

    def two_controllers(self) -> None:
        """Another one is started on the same store; then the first is killed."""
        first = self.another()
        time.sleep(self.random.uniform(0, 3))
        kill(first.alive())
        first.process.wait()

    def duplicate_controller(self) -> None:
        """Two for a while, longer than a lease; then either is told to end, and the other has to go on."""
        first = self.another()
        time.sleep(self.random.uniform(1, 25))
        goes, stays = self.random.sample((first, self.leader()), k=2)
        self.serving = self.farm.serving = stays
        self.end(goes)

    def leader_asleep(self) -> None:
        """A controller is stopped for longer than its lease, another leads, and the first wakes up and believes that it
        leads still."""
        first = self.another()
        kill([first.process.pid], signal.SIGSTOP)
        time.sleep(self.random.uniform(22, 28))
        kill([first.process.pid], signal.SIGCONT)
        time.sleep(self.random.uniform(0, 3))
        self.end(first)

    def paused_and_resumed(self) -> None:
        """Somebody changes their mind."""
        jobs = [job for job in self.farm.book.open_jobs() if self.farm.state(job) is JobState.RUNNING]
        self.missed = not jobs
        for job in jobs:
            self.farm.command("pause", job)
        time.sleep(self.random.uniform(0, 2))
        for job in jobs:
            self.farm.command("resume", job)

    def poisonous_chunk(self) -> None:
        """A job beside it has a chunk that kills its worker, each time: that job fails, and says why."""
        film = self.source.with_name("poison.mp4")
        film.write_bytes(self.source.read_bytes())
        job = self.farm.submit_with_key(film, KEY)
        until(lambda: self.farm.state(job) in OVER, every=EVERY)
        control = self.farm.book.control(job)
        reason = f"a poisonous job is {control.state}: {control.reason}"
        self.blame(control.state is not JobState.FAILED or "a worker process died" not in reason, reason)
        assert self.farm.command("erase", job).code == 0
        self.blame(bool(self.farm.objects(f"jobs/{job}")), "something is left of a poisonous job")

    def store_stopped(self) -> None:
        """The S3 server takes connections and doesn't answer."""
        assert self.store is not None
        self.store.stopped(self.random.uniform(1, 8))

    def store_killed(self) -> None:
        """The S3 server is away for some seconds."""
        assert self.store is not None
        self.store.killed(self.random.uniform(1, 10))

    def store_away_for_a_minute(self) -> None:
        """The same, for longer than any request is tried again."""
        assert self.store is not None
        self.store.killed(60)

    def store_says_503(self) -> None:
        """Each request is refused for a while."""
        assert self.store is not None
        self.store.moody("503", self.random.uniform(3, 20))

    def store_slow(self) -> None:
        """Each request takes seconds."""
        assert self.store is not None
        self.store.harm.delay = self.random.uniform(0.5, 2)
        self.store.moody("slow", self.random.uniform(3, 15))

    def store_bad_line(self) -> None:
        """Requests, or the answers to them, are lost, cut short, refused or late."""
        assert self.store is not None
        self.store.harm.delay = self.random.uniform(0.1, 1)
        self.store.harm.cut_after = self.random.choice((10, 300, 5000))
        self.store.moody("any", self.random.uniform(3, 15))

    def disk_full(self) -> None:
        """That of the workers' copies."""
        assert self.disk is not None
        full(self.disk, self.random.uniform(2, 8))

    def kinds(self) -> tuple[list[Fault], list[Fault]]:
        """All that can happen to this farm: often, and, since it takes a minute, seldom."""
        often = [self.worker_killed, self.all_workers_killed, self.worker_stopped_for_a_while, self.controller_killed]
        often += [self.everything_killed, self.farm_ended_politely, self.ray_killed, self.two_controllers]
        often += [self.paused_and_resumed, self.poisonous_chunk]
        seldom = [self.duplicate_controller, self.leader_asleep]
        if self.store is not None:
            often += [self.store_stopped, self.store_killed, self.store_says_503, self.store_slow, self.store_bad_line]
            seldom.append(self.store_away_for_a_minute)
        if self.disk is not None:
            often.append(self.disk_full)
        return often, seldom

    def done(self, job: str) -> int:
        """Units of chunks that are done."""
        return sum(key.endswith("/DONE.json") for key in self.farm.objects(f"jobs/{job}/chunks"))

    def at(self, job: str, units: int) -> None:
        """Wait until so many are done, and a moment that differs."""
        until(lambda: self.done(job) >= units or self.farm.state(job) in OVER, every=EVERY)
        time.sleep(self.random.uniform(0, 0.5))

    def mend(self) -> None:
        """What a supervisor does about whatever has ended."""
        code = self.leader().process.poll()
        self.blame(code is not None, f"the controller ended with {code}: {self.leader().said()[-1500:]}")
        self.start()

    def close(self) -> None:
        """End it in peace."""
        self.end(self.leader())

    def job_done(self, job: str) -> None:
        """Wait until the job is done, and nothing is left to do."""
        self.farm.reached(job, JobState.DONE)
        until(lambda: not self.farm.objects("queue"), every=EVERY)


def title(pid: int) -> str:
    """What a process calls itself."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def kill(pids: list[int], number: int = signal.SIGKILL) -> None:
    """A signal to all that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
