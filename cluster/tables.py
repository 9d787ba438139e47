"""Small texts for people: tables, bars, times."""

import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.client.answers import Job, Progress


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print it to stdout; as wide as the terminal, or as needed where there is none."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(made)


def printable(text: str) -> str:
    """Without what a terminal would take for orders: names come from whoever submits films."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def bar(progress: Progress | None) -> str:
    """How far a step is, with its rate, and how long the job takes: "render 120/300 (40 %), 12.5 fps, about 3 min to
    go"."""
    if progress is None:
        return ""
    text = progress.step
    if progress.total > 1:
        text += f" {progress.done}/{progress.total} ({100 * progress.done // progress.total} %)"
    if progress.fps:
        text += f", {progress.fps:g} fps"
    if progress.left is not None:
        text += f", about {roughly(progress.left)} to go"
    return text


def job_line(job: Job) -> str:
    """Its state in one line."""
    return printable(f"{job.state} {bar(job.progress)}".rstrip() + (f": {job.reason}" if job.reason else ""))


def duration(seconds: float) -> str:
    """ "14 s", "3 min", "2.5 h", "4 d"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.0f} d"


def roughly(seconds: float) -> str:
    """The same, no finer than it can be known: seconds in tens, minutes in fives from 20 on."""
    if seconds < 90:
        return duration(max(10.0, round(seconds, -1)))
    return duration(300 * round(seconds / 300)) if 1200 <= seconds < 5400 else duration(seconds)


def clock(seconds: float) -> str:
    """A time of a film: "0:04.8", "1:02:03.2"."""
    tenths = round(max(0.0, seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    text = f"{rest // 10:02d}.{rest % 10}"
    return f"{minutes // 60}:{minutes % 60:02d}:{text}" if minutes >= 60 else f"{minutes}:{text}"


def ago(moment: float) -> str:
    """How long a Unix time is past."""
    return f"{duration(max(0.0, time.time() - moment))} ago"
