"""Markdown out of figures, with the goals beside them."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure must reach."""

    limit: float
    kind: Literal["most", "least"]
    form: str  # a format of str.format

    def __str__(self) -> str:
        return ("≤ " if self.kind == "most" else "≥ ") + self.form.format(self.limit)

    def reached(self, value: float) -> bool:
        """A figure that isn't there reaches nothing."""
        if math.isnan(value):
            return False
        return value <= self.limit if self.kind == "most" else value >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, in several columns; the goal is for the first."""

    name: str
    values: tuple[float | str, ...]
    form: str = "{:.3f}"
    goal: Goal | None = None

    @property
    def missed(self) -> bool:
        """Whether there is a goal and it isn't reached."""
        value = self.values[0]
        return self.goal is not None and (isinstance(value, str) or not self.goal.reached(value))

    def line(self) -> str:
        """As a line of a table."""
        cells = [v if isinstance(v, str) else "-" if math.isnan(v) else self.form.format(v) for v in self.values]
        verdict = "" if self.goal is None else ("**missed**" if self.missed else "reached")
        return f"| {self.name} | {self.goal or ''} | {verdict} | " + " | ".join(cells) + " |"


def table(title: str, columns: list[str], rows: list[Row]) -> list[str]:
    """Lines with a heading."""
    head = ["", "goal", "", *columns]
    return [f"### {title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|", *[r.line() for r in rows], ""]
