"""Jobs that are followed to their end, shown as bars on a terminal and as lines elsewhere."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from cluster import exits, records
from cluster.client.answers import Job
from cluster.states import OVER, JobState
from cluster.tables import bar, job_line, printable

LINE_EVERY = 5.0  # seconds between lines of one job that say nothing but how far it is
_MOST_BARS = 30
Sent = Callable[[int, int], None]


class Shown(Protocol):
    """Where it is told how jobs go."""

    def tell(self, job: Job) -> None:
        """It has changed or gone on."""


class Lines:
    """A line for every change, and one now and then for progress."""

    def __init__(self, out: TextIO, every: float = LINE_EVERY) -> None:
        self._out, self._every = out, every
        self._told: dict[str, tuple[str, float]] = {}

    def tell(self, job: Job) -> None:
        """See Shown."""
        mark = f"{job.state} {job.reason} {job.progress.step if job.progress else ''}"
        before, at = self._told.get(job.job, ("", 0.0))
        if mark == before and (job.state in OVER or time.monotonic() - at < self._every):
            return
        self._told[job.job] = (mark, time.monotonic())
        print(f"{job.job[-8:]}  {printable(job.name)}  {job_line(job)}", file=self._out, flush=True)


class JsonLines:
    """Every change as a JSON object."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def tell(self, job: Job) -> None:
        """See Shown."""
        print(json.dumps(records.plain(job), ensure_ascii=False), file=self._out, flush=True)


class OnTerminal:
    """A bar for each job, as many as there is room for."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def tell(self, job: Job) -> None:
        """See Shown."""
        now = job.progress
        total = now.total if now is not None and now.total > 1 else None
        done = now.done if now is not None and total else 0
        if job.state in OVER:
            total, done = 1, 1
        text = bar(now) if now is not None else f"{job.state}{': ' + job.reason if job.reason else ''}"
        if job.job not in self._tasks:
            if len(self._tasks) >= _MOST_BARS:
                return
            self._tasks[job.job] = self._bars.add_task("", name=printable(job.name)[:40], text="")
        self._bars.update(self._tasks[job.job], total=total, completed=done, text=printable(text))


@contextmanager
def shown(out: TextIO, as_json: bool = False) -> Iterator[Shown]:
    """As `out` can show it."""
    if as_json:
        yield JsonLines(out)
    elif out.isatty():
        columns = (TextColumn("{task.fields[name]}", markup=False), BarColumn(30))
        with Bars(*columns, TextColumn("{task.fields[text]}", markup=False), console=Console(file=out)) as bars:
            yield OnTerminal(bars)
    else:
        yield Lines(out)


@contextmanager
def sending(out: TextIO, name: str) -> Iterator[Sent]:
    """A bar for a film that is sent or fetched; nothing where there is no terminal."""
    if not out.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(30), TextColumn("{task.percentage:.0f} %"))
    with Bars(*columns, console=Console(file=out), transient=True) as bars:
        task = bars.add_task(printable(name)[:40], total=None)
        yield lambda done, total: bars.update(task, total=total, completed=done)


def follow(jobs: Iterable[Job], told: Shown) -> tuple[int, list[Job]]:
    """To the end: the exit code, and the jobs that didn't end well."""
    bad = []
    for job in jobs:
        told.tell(job)
        if job.state in OVER and job.state is not JobState.DONE:
            bad.append(job)
    return (exits.FAILED if bad else exits.DONE), bad
