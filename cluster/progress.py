"""How it goes, told to whoever looks: bars on a terminal, plain lines elsewhere, JSON lines for programs.

Progress goes to stderr and results to stdout; JSON lines go to stdout, results among them.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from cluster.job import Failure, Step
from cluster.ledger import Unit
from cluster.roles import Job

LINE_EVERY = 5.0  # seconds between plain lines of one step
EVENT_EVERY = 0.5  # seconds between JSON lines of one step


class Voice(Protocol):
    """A farm's Listener that can also say other things."""

    def step(self, job: Job, step: Step, done: int, total: int, seconds: float) -> None:
        """See Listener. A total of 0 is not known yet."""

    def retry(self, job: Job, unit: Unit, failure: Failure) -> None:
        """See Listener."""

    def notice(self, text: str) -> None:
        """Something that a person should know; nothing failed."""

    def result(self, text: str, **facts: Any) -> None:
        """A film is finished."""

    def error(self, text: str, **facts: Any) -> None:
        """Something failed: one line."""

    def trace(self, text: str) -> None:
        """A stack, for whoever asked to see it."""

    def close(self) -> None:
        """Nothing more will be said."""


def rate(done: int, total: int, seconds: float) -> tuple[float | None, float | None]:
    """(frames per second, seconds to go), None where not known."""
    if done <= 0 or seconds <= 0:
        return None, None
    fps = done / seconds
    return fps, (total - done) / fps if total > 0 else None


class _Pace:
    """The rate of the running step, counted from where this run of the command found it."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, Step], int] = {}

    def of(self, job: Job, step: Step, done: int, total: int, seconds: float) -> tuple[float | None, float | None]:
        before = self._begun.setdefault((job.name, step), done if seconds == 0 else 0)
        return rate(done - before, total - before if total else 0, seconds)


class Lines:
    """Plain lines: one when a step begins, one when it ends, and one every few seconds in between."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out, self._err = out, err
        self._pace, self._last = _Pace(), dict[str, tuple[tuple[Step, int] | None, float]]()

    def step(self, job: Job, step: Step, done: int, total: int, seconds: float) -> None:
        """See Listener."""
        fps, eta = self._pace.of(job, step, done, total, seconds)
        now = time.monotonic()
        over = total > 0 and done >= total
        before, then = self._last.get(job.name, (None, now))
        if not over and now - then < LINE_EVERY:
            self._last.setdefault(job.name, (None, now))
            return
        if over and before == (step, total):
            return
        self._last[job.name] = ((step, total) if over else None, now)
        amount = f"{done}/{total} frames" if total else f"{done} frames"
        text = amount if total != 1 else "done" if over else f"{seconds:.0f} s so far"
        text += f", {fps:.1f} fps" if fps and total != 1 else ""
        text += f", {seconds:.1f} s" if over else f", {_clock(eta)} to go" if eta else ""
        self._say(f"{job.name}: {step}: {text}")

    def _say(self, text: str) -> None:
        print(text, file=self._err, flush=True)

    def retry(self, job: Job, unit: Unit, failure: Failure) -> None:
        """See Listener."""
        self._say(f"{job.name}: {unit} failed and is tried again: {failure.line}")

    def notice(self, text: str) -> None:
        """See Voice."""
        self._say(f"veilfarm: {text}")

    def result(self, text: str, **facts: Any) -> None:
        """See Voice."""
        print(text, file=self._out, flush=True)

    def error(self, text: str, **facts: Any) -> None:
        """See Voice."""
        self._say(f"veilfarm: {text}")

    def trace(self, text: str) -> None:
        """See Voice."""
        self._say(text)

    def close(self) -> None:
        """See Voice."""


class Bars(Lines):
    """A bar per step on a terminal."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        super().__init__(out, err)
        self._console = Console(file=err, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[text]}"))
        self._progress = Progress(*columns, console=self._console, refresh_per_second=5)
        self._tasks: dict[tuple[str, Step], TaskID] = {}
        self._progress.start()

    def step(self, job: Job, step: Step, done: int, total: int, seconds: float) -> None:
        """See Listener."""
        fps, eta = self._pace.of(job, step, done, total, seconds)
        key = (job.name, step)
        if key not in self._tasks:
            label = f"{job.name[-40:]}  {step:<8}"
            self._tasks[key] = self._progress.add_task(label, total=total or None, text="")
        over = total > 0 and done >= total and seconds > 0
        text = f"{done}/{total} " if total > 1 else ""
        text += f"{fps:.1f} fps " if fps and total != 1 else ""
        text += f"{seconds:.1f} s" if over else f"{_clock(eta)} to go" if eta else ""
        self._progress.update(self._tasks[key], completed=done, total=total or None, text=text)

    def _say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, soft_wrap=True)

    def result(self, text: str, **facts: Any) -> None:
        """See Voice. On a terminal both streams are one screen: the bars must make room."""
        if self._out.isatty():
            self._say(text)
        else:
            super().result(text, **facts)

    def close(self) -> None:
        """See Voice."""
        self._progress.stop()


class JsonLines:
    """One JSON object per line, as docs/guide.md describes. Errors go to stderr, too, as one line for people."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out, self._err = out, err
        self._pace, self._last = _Pace(), dict[str, tuple[Step, float]]()

    def _say(self, event: str, **facts: Any) -> None:
        self._out.write(json.dumps({"event": event, **facts}, ensure_ascii=False) + "\n")
        self._out.flush()

    def step(self, job: Job, step: Step, done: int, total: int, seconds: float) -> None:
        """See Listener."""
        fps, eta = self._pace.of(job, step, done, total, seconds)
        last, now = self._last.get(job.name), time.monotonic()
        over = total > 0 and done >= total
        if not over and last is not None and last[0] is step and now - last[1] < EVENT_EVERY:
            return
        self._last[job.name] = (step, now)
        facts = {"fps": fps and round(fps, 2), "eta_s": eta and round(eta, 1), "seconds": round(seconds, 2)}
        self._say("step", job=job.name, step=str(step), done=done, total=total or None, **facts)

    def retry(self, job: Job, unit: Unit, failure: Failure) -> None:
        """See Listener."""
        self._say("retry", job=job.name, step=str(unit.step), chunk=unit.chunk, cause=failure.cause, text=failure.line)

    def notice(self, text: str) -> None:
        """See Voice."""
        self._say("notice", text=text)

    def result(self, text: str, **facts: Any) -> None:
        """See Voice."""
        self._say("done", text=text, **facts)

    def error(self, text: str, **facts: Any) -> None:
        """See Voice."""
        self._say("error", text=text, **facts)
        print(f"veilfarm: {text}", file=self._err, flush=True)

    def trace(self, text: str) -> None:
        """See Voice."""
        print(text, file=self._err, flush=True)

    def close(self) -> None:
        """See Voice."""


@contextlib.contextmanager
def own_streams(debug: bool) -> Iterator[tuple[TextIO, TextIO]]:
    """(stdout, stderr) for what this project says, and for nothing else. Libraries write to descriptors 1 and 2 as they
    please, and Ray's servers to their last breath: that goes nowhere, or with `debug` to stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(2 if debug else nowhere, 1)
    os.dup2(2 if debug else nowhere, 2)
    os.close(nowhere)
    out, err = (os.fdopen(os.dup(fd), "w", 1, encoding="utf-8", errors="replace") for fd in kept)
    try:
        yield out, err
    finally:
        for stream, fd, number in ((out, kept[0], 1), (err, kept[1], 2)):
            with contextlib.suppress(OSError):  # nobody reads any more
                stream.close()
            os.dup2(fd, number)
            os.close(fd)


def voice(as_json: bool, out: TextIO, err: TextIO) -> Voice:
    """The one that fits."""
    if as_json:
        return JsonLines(out, err)
    return Bars(out, err) if err.isatty() else Lines(out, err)


def _clock(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
