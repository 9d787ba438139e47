"""Small texts for people: tables, bars, times."""

import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from cluster.account import Progress


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print it to stdout; as wide as the terminal, or as needed where there is none."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold")
    for row in rows:
        made.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(made)


def bar(progress: Progress | None) -> str:
    """How far a step is, with rate and time to go: "render 120/300 (40 %), 12.5 fps, 14 s"."""
    if progress is None:
        return ""
    text = progress.step.value
    if progress.total > 1:
        text += f" {progress.done}/{progress.total} ({100 * progress.done // progress.total} %)"
    if progress.fps:
        text += f", {progress.fps:g} fps"
    if progress.eta is not None:
        text += f", {duration(progress.eta)} to go"
    return text


def duration(seconds: float) -> str:
    """ "14 s", "3 min", "2.5 h", "4 d"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.0f} d"


def ago(moment: float) -> str:
    """How long a Unix time is past."""
    return f"{duration(max(0.0, time.time() - moment))} ago"
