"""One controller leads. The others of a store wait, and take over when it falls silent."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster import processes, records
from cluster.job import new_id
from storage import layout
from storage.objects import AlreadyThere, Conflict, NoSuchObject, ObjectStore

LEASE = 20.0
"""Seconds for which a controller leads unless it says so again. Clocks may differ by less than that: each measures how
long the record hasn't changed by its own clock, and never reads another's time."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads. `beat` counts on, so that a living leader's record is never the same twice."""

    controller: str
    host: str
    beat: int
    process: str = ""  # so that a controller beside it can tell that it has died


class Lead:
    """This process's claim to lead. Two that believe to lead at once do no harm, since a commit is made only once; the
    lease keeps them from doing the work twice."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self.id = new_id()
        self.host = f"{socket.gethostname()}:{os.getpid()}"
        self._seen: tuple[str, float] | None = None  # etag of another's record, and since when it is that
        self._beat = 0
        self._mine: str | None = None  # etag of the record by which this one leads
        self._renewed = 0.0

    def leads(self) -> bool:
        """Whether this process leads now; renews the lease, or takes it when nobody holds it any more."""
        now = self._clock()
        if self._mine is not None and now - self._renewed < LEASE / 4:
            return True
        self._beat += 1
        data = records.dumps(Lease(self.id, self.host, self._beat, processes.name_for_ever(os.getpid())))
        try:
            if self._mine is not None:
                self._mine = self._store.replace(layout.lead(), data, self._mine)
            elif not self._take(data, now):
                return False
        except NoSuchObject:
            self._mine = self._seen = None
            return False
        except Conflict:
            self._mine = self._seen = None
            if not self._is_mine_after_all():
                return False
        self._renewed = now
        return True

    def _is_mine_after_all(self) -> bool:
        """The answer to an earlier beat may have been lost: then its record is the one that is in the way."""
        try:
            data, etag = self._store.read_versioned(layout.lead())
        except NoSuchObject:
            return False
        lease = _read(data)
        if lease is None or lease.controller != self.id:
            return False
        self._mine = etag
        return True

    def _take(self, data: bytes, now: float) -> bool:
        try:
            before, etag = self._store.read_versioned(layout.lead())
        except NoSuchObject:
            try:
                self._store.create(layout.lead(), data)
            except AlreadyThere:
                return False
            self._mine = self._store.read_versioned(layout.lead())[1]
            return True
        if self._seen is None or self._seen[0] != etag:
            self._seen = (etag, now)
        held = _read(before)
        # Its own: the answer was lost.
        free = held is not None and (held.controller == self.id or processes.has_died(held.process))
        if now - self._seen[1] < LEASE and not free:
            return False
        self._mine = self._store.replace(layout.lead(), data, etag)
        return True

    def give_up(self) -> None:
        """Let another lead at once."""
        if self._mine is None:
            return
        # Renewed first: what is deleted must be this one's, and nobody takes it over so soon after.
        self._renewed = float("-inf")
        if self.leads():
            self._mine = None
            self._store.delete(layout.lead())

    def holder(self) -> str:
        """Who leads, for people; "" when nobody does."""
        try:
            lease = _read(self._store.read(layout.lead()))
        except NoSuchObject:
            return ""
        return lease.host if lease else "a controller of another version"


def _read(data: bytes) -> Lease | None:
    """None for what another version of this program has written."""
    try:
        return records.loads(Lease, data)
    except records.BadRecord:
        return None
