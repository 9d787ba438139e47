"""What happens on the farm, for event streams: the last few thousand changes of jobs, each with a number."""

import secrets
import threading
from collections import deque
from dataclasses import dataclass

from cluster.book import Card
from cluster.jobindex import Row

KEPT = 5000


@dataclass(frozen=True, slots=True)
class Happening:
    """One change."""

    number: int
    kind: str  # "job" or "gone"
    job: str
    card: Card
    row: Row | None  # as it is after that; None: it was erased


class Hub:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(4)
        """Of this run: numbers begin anew with each."""
        self._lock = threading.Lock()
        self._last = 0
        self._kept: deque[Happening] = deque(maxlen=KEPT)

    def tell(self, before: Row | None, after: Row | None) -> None:
        """A job has changed; see JobIndex.changed."""
        row = after or before
        assert row is not None
        with self._lock:
            self._last += 1
            self._kept.append(Happening(self._last, "job" if after else "gone", row.job, row.card, after))

    @property
    def last(self) -> int:
        """The number of the last change."""
        return self._last

    def since(self, number: int) -> tuple[Happening, ...] | None:
        """What came after `number`; None when some of that is forgotten."""
        with self._lock:
            if number > self._last or (self._last > number and self._kept[0].number > number + 1):
                return None
            behind = self._last - number
            return tuple(self._kept[-index] for index in range(behind, 0, -1))

    def place(self, text: str) -> int | None:
        """The number in an event's id; None when it isn't of this run."""
        name, _, number = text.partition("-")
        return int(number) if name == self.name and number.isascii() and number.isdigit() else None
