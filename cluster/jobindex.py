"""All jobs of a store in memory: for lists, counts and events. It can be thrown away, and is built again at each start.

The controller of this process tells what it sees. What others change while another controller leads is found by looking
at the store again and again: at all open jobs, and at which jobs there are.
"""

import bisect
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.book import Book, Card, Control, NoSuchJob
from cluster.states import OVER, JobState
from storage.objects import StoreError

_LOG = logging.getLogger(__name__)

READERS = 16  # records that are read at once: a store far away answers in tens of milliseconds
LOOK_EVERY = 5.0  # seconds between looks at the store, at least
_SHARE = 10  # a look may take a tenth of the time


@dataclass(frozen=True, slots=True)
class Row:
    """A job, as lists show it."""

    job: str
    card: Card
    control: Control


@dataclass(frozen=True, slots=True)
class Query:
    """Which jobs a list shall have. What is left open matches all."""

    states: frozenset[JobState] = frozenset()
    owner: str | None = None
    team: str | None = None
    text: str = ""  # part of the film's name, in any case
    visible: Callable[[Card], bool] | None = None

    def of(self, rows: Iterable[Row]) -> list[Row]:
        """Those that it matches. One filter after another is faster than asking each row for all."""
        if self.states:
            rows = [row for row in rows if row.control.state in self.states]
        if self.owner is not None:
            rows = [row for row in rows if row.card.owner == self.owner]
        if self.team is not None:
            rows = [row for row in rows if row.card.team == self.team]
        if self.text:
            text = self.text.casefold()
            rows = [row for row in rows if text in row.card.name.casefold()]
        if self.visible is not None:
            rows = [row for row in rows if self.visible(row.card)]
        return list(rows)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, the newest first."""

    rows: tuple[Row, ...]
    next: str | None  # the cursor of the next page; None: this is the last
    total: int  # of all pages


class JobIndex:
    """Safe to use from several threads."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._lock = threading.RLock()
        self._rows: dict[str, Row] = {}
        self._ids: list[str] = []  # sorted, which is by time of birth
        self._stop = threading.Event()
        self.changed: Callable[[Row | None, Row | None], None] = lambda *_: None
        """Told of (before, after); None for a job that wasn't there before, or isn't any more."""
        self.ready = False

    def put(self, job: str, card: Card, control: Control) -> None:
        """What a job is now. An older record than what is known changes nothing."""
        row = Row(job, card, control)
        with self._lock:
            before = self._rows.get(job)
            if before is not None and before.control.revision >= control.revision:
                return
            self._rows[job] = row
            if before is None:
                bisect.insort(self._ids, job)
        self.changed(before, row)

    def seen(self, job: str, control: Control) -> None:
        """The same, of a job whose card is known. Of others nothing."""
        row = self._rows.get(job)
        if row is not None:
            self.put(job, row.card, control)

    def drop(self, job: str) -> None:
        """It was erased."""
        with self._lock:
            before = self._rows.pop(job, None)
            if before is None:
                return
            del self._ids[bisect.bisect_left(self._ids, job)]
        self.changed(before, None)

    def row(self, job: str) -> Row:
        """As the store has it now. Raises NoSuchJob, StoreError."""
        try:
            known = self._rows.get(job)
            row = Row(job, known.card if known else self._book.card(job), self._book.control(job))
        except NoSuchJob:
            self.drop(job)
            raise
        self.put(row.job, row.card, row.control)
        return row

    def known(self, job: str) -> Row | None:
        """As it was lately; asks nobody."""
        return self._rows.get(job)

    def rows(self) -> tuple[Row, ...]:
        """All, in no order."""
        with self._lock:
            return tuple(self._rows.values())

    def page(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        """The newest `limit` jobs that are older than `cursor`."""
        with self._lock:
            everything = list(map(self._rows.__getitem__, self._ids))
        found = query.of(everything)
        end = len(found) if cursor is None else bisect.bisect_left(found, cursor, key=lambda row: row.job)
        rows = tuple(reversed(found[max(0, end - limit) : end]))
        return Page(rows, rows[-1].job if end > limit else None, len(found))

    def by_state(self) -> Counter[JobState]:
        """How many there are."""
        return Counter(row.control.state for row in self.rows())

    def oldest(self, state: JobState = JobState.QUEUED) -> float | None:
        """Since when the job is waiting that has waited longest: Unix time."""
        return min((row.control.since for row in self.rows() if row.control.state is state), default=None)

    def refresh(self) -> None:
        """Find what has changed in the store: new and erased jobs, and the control of those that may still change.
        Raises StoreError."""
        there = frozenset(self._book.jobs())
        queued = frozenset(self._book.open_jobs())
        known = {row.job: row for row in self.rows()}
        for job in known.keys() - there:
            self.drop(job)
        moving = {job for job, row in known.items() if row.control.state not in OVER} | queued
        for row in self._read((there - known.keys()) | (moving & there)):
            self.put(row.job, row.card, row.control)
        self.ready = True

    def _read(self, jobs: Iterable[str]) -> Iterator[Row]:
        with ThreadPoolExecutor(READERS, "index") as pool:
            yield from (row for row in pool.map(self._one, sorted(jobs)) if row is not None)

    def _one(self, job: str) -> Row | None:
        known = self._rows.get(job)
        try:
            return Row(job, known.card if known else self._book.card(job), self._book.control(job))
        except NoSuchJob:
            return None  # half submitted, or being erased
        except ValueError as error:
            _LOG.error("job %s can't be read: %s", job, error)
            return None

    def start(self) -> None:
        """Keep it up to date in a thread, until `close`."""
        threading.Thread(target=self._watch, name="job-index", daemon=True).start()

    def _watch(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            began = time.monotonic()
            try:
                self.refresh()
            except StoreError as error:
                _LOG.warning("the list of jobs can't be brought up to date: %s", error)
            wait = max(LOOK_EVERY, _SHARE * (time.monotonic() - began))

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
