"""Requests that are made once, however often they are sent: by the key that the client gives them."""

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster import records
from cluster.api.problems import Problem
from cluster.book import Book, NoSuchJob
from cluster.job import new_id
from storage import layout
from storage.objects import AlreadyThere, Conflict, NoSuchObject

PATIENCE = 600.0  # seconds after which a request that made no job is taken for dead
KEPT = 7 * 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class Made:
    """Which job a request has made, or is about to."""

    digest: str  # of what was asked for
    job: str
    at: float  # Unix time


class Once:
    """The keys of one store."""

    def __init__(self, book: Book, clock: Callable[[], float] = time.time) -> None:
        self._book, self._clock = book, clock

    def claim(self, user: str, key: str, asked: bytes) -> tuple[str, bool]:
        """(id of the job, whether it is to be made now). Raises Problem 409 while another request with this key is
        under way, 422 when that asked for something else."""
        place, digest = _place(user, key), hashlib.sha256(asked).hexdigest()
        new = Made(digest, new_id(), self._clock())
        try:
            self._book.store.create(place, records.dumps(new))
            return new.job, True
        except AlreadyThere:
            pass
        busy = Problem(409, "a request with this Idempotency-Key is under way; ask again", {"Retry-After": "2"})
        try:
            data, etag = self._book.store.read_versioned(place)
        except NoSuchObject as error:  # it was refused just now
            raise busy from error
        before = records.loads(Made, data)
        if before.digest != digest:
            raise Problem(422, "this Idempotency-Key was used for another request; take a new one")
        with contextlib.suppress(NoSuchJob):
            self._book.control(before.job)
            return before.job, False
        if self._clock() - before.at < PATIENCE:
            raise busy
        # What that request left has no control record, so no controller ever begins it.
        try:
            self._book.store.replace(place, records.dumps(new), etag)
        except (Conflict, NoSuchObject) as error:
            raise busy from error
        return new.job, True

    def give_up(self, user: str, key: str) -> None:
        """The request was refused: the key may be used again."""
        self._book.store.delete(_place(user, key))

    def tidy(self) -> None:
        """Forget what is old."""
        store = self._book.store
        for place in store.keys("farm/requests"):
            with contextlib.suppress(NoSuchObject):
                if self._clock() - store.stat(place).modified > KEPT:
                    store.delete(place)


def _place(user: str, key: str) -> str:
    return layout.request(hashlib.sha256(f"{user}\n{key}".encode()).hexdigest())
