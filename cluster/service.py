"""The farm as a service: a controller and its workers on a store, until somebody ends it."""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cluster import records
from cluster.account import Account, FarmStatus
from cluster.actors import Place
from cluster.book import Book, Card, Control
from cluster.closing import REVIEW
from cluster.controller import Controller
from cluster.farm import Farm
from cluster.health import Health
from cluster.lead import Lead
from cluster.pace import Pace
from cluster.roles import Pool
from cluster.states import JobState
from storage import layout
from storage.objects import Conflict, NoSuchObject, ObjectStore, StoreError, Transient

_LOG = logging.getLogger(__name__)

STATUS_EVERY = 2.0  # seconds between status records
DRAIN_EVERY = 2.0  # seconds between looks at what shall be drained
_AWAY = (1.0, 30.0)  # seconds of waiting while the store is away: at first, and at most
_STANDBY = 2.0  # seconds between looks of one that doesn't lead
_STEADY = 8  # workers for whom a film is cut that shall be cut the same way each time, however many there are


class ServicePool(Pool, Protocol):
    """A pool that can show its workers."""

    @property
    def places(self) -> tuple[Place, ...]:
        """The workers."""

    def drain(self, workers: frozenset[str]) -> None:
        """These get no more orders."""

    def rest(self) -> None:
        """Let go of what another controller's workers need: this one doesn't lead any more."""

    def want(self, units: int, on_gpus: int) -> None:
        """How many units could be worked on at once, and how many of them on GPUs only, for an autoscaler."""


@dataclass(slots=True)
class _Due:
    """Something that is done every so often."""

    every: float
    last: float = float("-inf")

    def now(self, clock: float) -> bool:
        if clock - self.last < self.every:
            return False
        self.last = clock
        return True


class Service:
    """`run` until `stop` was called and the running chunks are through."""

    def __init__(
        self,
        store: ObjectStore,
        place: str,
        pool: ServicePool,
        on_change: Callable[[str, Card, Control], None] = lambda *_: None,
        grace: float = 90.0,
        steady: bool = False,
        review: float = REVIEW,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`grace`: seconds that running chunks get to end when the service is stopped. `steady`: the length of chunks
        follows from the film alone, not from measured speed, nor from how many workers there are just now. `review`:
        seconds for which a film is kept that nobody approves."""
        self._clock, self._sleep = clock, sleep
        self.book, self.health, self.pool = Book(store), Health(clock), pool
        self.pace = Pace()
        self.account = Account(self.book, pace=self.pace, workers=lambda: pool.size)
        self._store, self._grace, self.review = store, grace, review
        self._on_change = on_change
        self.lead = Lead(store, clock)
        farm = Farm(pool, self.account, self.account, self.health, self.pace, clock, _STEADY if steady else None)
        self._farm = farm
        self.controller = Controller(self.book, place, farm, self.lead, self._changed, clock, review)
        self._drained = frozenset[str]()
        self._status, self._drains = _Due(STATUS_EVERY), _Due(DRAIN_EVERY)
        self._stopping: float | None = None
        self.leads = False

    def _changed(self, job: str, card: Card, control: Control) -> None:
        if control.state is not JobState.RUNNING:
            self.account.forget(job)
        _LOG.info("job %s is %s", job, control.state, extra={"job": job, "state": control.state.value})
        self._on_change(job, card, control)

    def stop(self) -> None:
        """Take nothing new; end when what runs is through, at the latest after the grace. Safe in a signal handler."""
        if self._stopping is None:
            self._stopping = self._clock()

    def run(self) -> None:
        """The loop. Raises FarmError, and StoreError when the store refuses for good."""
        try:
            self._run()
        except BaseException:
            # Another one needn't wait for its lease to run out. The workers aren't stopped: Ray may be gone.
            with contextlib.suppress(StoreError):
                self.lead.give_up()
            raise
        with contextlib.suppress(StoreError):
            self.controller.close()

    def _run(self) -> None:
        away = 0.0
        while not self._over():
            try:
                led, self.leads = self.leads, self.controller.turn()
                if led and not self.leads:
                    self.pool.rest()
                away = 0.0
                if self.leads:
                    self._look_around()
                else:
                    self._wait(_STANDBY)
            except Transient as error:
                away = min(max(away * 2, _AWAY[0]), _AWAY[1])
                _LOG.warning("the store is away, another look in %.0f s: %s", away, error)
                self._wait(away)

    def _wait(self, seconds: float) -> None:
        """Not longer than until somebody wants it to stop, and not beyond its grace then."""
        until = self._clock() + seconds
        stopping = self._stopping
        while self._clock() < until and self._stopping is stopping and not self._over():
            self._sleep(0.1)

    def _over(self) -> bool:
        if self._stopping is None:
            return False
        self.controller.drain()
        waited = self._clock() - self._stopping
        return self.controller.drained() or waited > self._grace or not self.leads

    def _look_around(self) -> None:
        now = self._clock()
        if self._drains.now(now):
            names = {key.rpartition("/")[2] for key in self._store.list("farm/drain")}
            self._drained = frozenset(place.name for place in self.pool.places if layout.safe(place.name) in names)
            self.pool.drain(self._drained)
            for key in self._store.list("farm/unblock"):
                for name in self.health.blocked():  # a key may spell it in another way
                    if layout.unblock(name) == key:
                        self.health.unblock(name)
                self._store.delete(key)
            self.pool.want(self._farm.demand(), self._farm.demand("cuda"))
        if self._status.now(now):
            self._write_status()

    def status(self) -> FarmStatus:
        """How it goes now."""
        workers = self.account.workers(self.pool.places, self.health.blocked(), self._drained)
        return FarmStatus(time.time(), self.lead.host, workers, self.account.progress())

    def _write_status(self) -> None:
        write_status(self._store, self.status())


def write_status(store: ObjectStore, status: FarmStatus) -> None:
    """For those who ask the store and not the service."""
    data = records.dumps(status)
    with contextlib.suppress(Conflict):  # another controller wrote; the next one is due soon
        try:
            _, etag = store.read_versioned(layout.status())
            store.replace(layout.status(), data, etag)
        except NoSuchObject:
            with contextlib.suppress(StoreError):
                store.create(layout.status(), data)


def read_status(store: ObjectStore) -> FarmStatus | None:
    """What a controller wrote last; None when there was none."""
    try:
        return records.loads(FarmStatus, store.read(layout.status()))
    except NoSuchObject:
        return None
