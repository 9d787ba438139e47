"""A farm without processes, files or time: workers that leave small objects, a clock that a test turns, a store that
lets its caller die at any operation, and users who change their minds."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.account import Account
from cluster.book import Book, Card, Control
from cluster.commits import Commits
from cluster.controller import Controller
from cluster.edits import Edits
from cluster.farm import Farm
from cluster.health import Health
from cluster.job import (
    AnalysisFacts,
    ChunkRecord,
    Encoding,
    Facts,
    Failure,
    IndexFacts,
    JobSpec,
    LinkFacts,
    MendFacts,
    Plan,
    Publish,
    PublishFacts,
    RenderFacts,
    Source,
    SourceFacts,
    Step,
    StitchFacts,
    Veil,
)
from cluster.lead import Lead
from cluster.ledger import Ledger, Unit
from cluster.pace import Pace
from cluster.schedule import Seat
from cluster.states import JobState
from cluster.workers import Order, Outcome
from storage import layout
from storage.memory import MemoryStore
from storage.objects import NoSuchObject, ObjectStore, StoreError, Transient, Unreachable

CHUNKS = 2


class Clock:
    """Time as a test wants it. Ids are made by it, too, once it is `everywhere`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def everywhere(self, monkeypatch: pytest.MonkeyPatch) -> "Clock":
        monkeypatch.setattr("cluster.job.time", SimpleNamespace(time_ns=lambda: int(self.now * 1e9)))
        return self


class KilledError(BaseException):
    """The process is gone: nothing catches this."""


_OPERATIONS = frozenset(
    {"create", "read", "read_versioned", "replace", "delete", "list", "keys", "children", "stat", "erase"}
)


class Mortal:
    """An ObjectStore around another that counts operations. At the one for which `fate` gives an error, that is raised:
    before it is carried out, or after, when the answer is lost."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.operations: Counter[str] = Counter()
        self.fate: Callable[[str, str], BaseException | None] = lambda name, when: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in _OPERATIONS:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self.operations[name] += 1
            self._die(name, "before")
            result = method(*args, **kwargs)
            self._die(name, "after")
            return result

        return call

    def _die(self, name: str, when: str) -> None:
        error = self.fate(name, when)
        if error is not None:
            raise error

    def die_at(self, number: int, when: str = "before", error: BaseException | None = None) -> None:
        """The caller dies at the operation `number` from now on."""
        left = iter(range(number))

        def fate(_: str, moment: str) -> BaseException | None:
            if moment != when or next(left, None) is not None:
                return None
            self.fate = lambda name, when: None
            return KilledError() if error is None else error

        self.fate = fate


def facts_of(unit: Unit, chunks: int = CHUNKS) -> Facts:
    """What a step might find."""
    made: dict[Step, Facts] = {
        Step.INGEST: SourceFacts("0" * 64, "mov", "h264", "yuv420p", 64, 48, 0, Fraction(25), ()),
        Step.INDEX: IndexFacts(10 * chunks, Fraction(10 * chunks, 25), 1, 0),
        Step.PLAN: Plan(0, 10 * chunks, tuple(ChunkRecord(i, 10 * i, 10 * i + 10, 0, 0, "") for i in range(chunks))),
        Step.ANALYSE: AnalysisFacts(1, 0, {}),
        Step.LINK: LinkFacts(1, {"0": "seed"}, ()),
        Step.MEND: MendFacts(
            LinkFacts(1, {"0": "seed"}, ()), {"0": unit.edition} if unit.edition else {}, unit.edition, {}
        ),
        Step.RENDER: RenderFacts("s", 10, 0, 9, "", 1, 0, "", {}, {}, 0, {}),
        Step.STITCH: StitchFacts("f", "", 1, 20, 20, True, True, Fraction(0), (), ()),
        Step.PUBLISH: PublishFacts("outputs/film", "outputs/report", 1),
    }
    return made[unit.step]


class SimWorkers:
    """A ServicePool. Orders are done when somebody polls, in any order. `trouble` says what becomes of one: None, or
    the cause of its failure; with `wrote`, its files are there all the same."""

    def __init__(self, store: ObjectStore, size: int, rng: random.Random, clock: Clock) -> None:
        self.store, self.size, self._rng, self._clock = store, size, rng, clock
        self.trouble: Callable[[Order, str], tuple[str, bool] | None] = lambda order, worker: None
        self.calls: Counter[tuple[str, Unit]] = Counter()
        self.orders: dict[str, Order] = {}  # by worker
        self.stopped: list[Order] = []
        self.most = 0
        self.haste = 0.7  # how probable it is that an order is done when somebody polls
        self.places: tuple[Any, ...] = ()

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        return tuple(Seat(f"w{i}", f"w{i}" not in self.orders) for i in range(self.size))

    def submit(self, order: Order, seat: Seat) -> None:
        assert seat.name not in self.orders
        self.orders[seat.name] = order
        self.most = max(self.most, len(self.orders))

    def poll(self, timeout: float) -> list[Outcome]:
        self._clock.now += 0.05 if self.orders else 4 * timeout
        names = [name for name in sorted(self.orders) if self._rng.random() < self.haste]
        return [self._do(self.orders.pop(name), name) for name in names]

    def _do(self, order: Order, worker: str) -> Outcome:
        self.calls[order.job, order.unit] += 1
        trouble = self.trouble(order, worker)
        try:
            if trouble is None or trouble[1]:
                self.write(order)
        except StoreError as error:
            return Outcome(order, 1.0, Failure(type(error).__name__, str(error), "", "", "", worker), None, worker)
        if trouble is not None:
            return Outcome(order, 1.0, Failure(trouble[0], "trouble", "", "", "", worker), None, worker)
        return Outcome(order, 1.0, None, facts_of(order.unit), worker)

    def write(self, order: Order) -> None:
        """What a worker does: read what the step needs, leave a file of its own try."""
        ledger = Ledger(self.store, order.job)
        ledger.spec()
        needs: tuple[Unit, ...] = ()
        if order.unit.step is Step.LINK:
            ledger.secret()
            needs = tuple(Unit(Step.ANALYSE, c.index) for c in ledger.chunks())
        if order.unit.step is Step.MEND:
            ledger.secret()
            Edits(ledger).at(order.edits)
            needs = (Unit(Step.LINK), *(Unit(Step.ANALYSE, c.index) for c in ledger.chunks()))
        if order.unit.step is Step.RENDER:
            linked = ledger.unit(Step.MEND, None, order.edits) if order.unit.edition else Unit(Step.LINK)
            needs = (linked, Unit(Step.ANALYSE, order.unit.chunk))
        if order.unit.step is Step.STITCH:
            needs = ledger.units_of(Step.RENDER, order.edits)
        if order.unit.step is Step.PUBLISH:
            needs = (ledger.unit(Step.STITCH, None, order.edits),)
        for unit in needs:
            done = ledger.done(unit)
            if done is None:
                raise NoSuchObject(f"{unit} isn't done")
            self.store.read(f"{layout.attempt(order.job, unit.step, unit.chunk, done.attempt, unit.edition)}/face")
        unit = order.unit
        place = layout.attempt(order.job, unit.step, unit.chunk, order.attempt, unit.edition)
        self.store.create(f"{place}/face", b"face")

    def frames(self) -> dict[str, int]:
        return {}

    def stop(self, attempt: str) -> None:
        for name, order in list(self.orders.items()):
            if order.attempt == attempt:
                self.stopped.append(self.orders.pop(name))

    def drain(self, workers: frozenset[str]) -> None:
        return

    def rest(self) -> None:
        return

    def want(self, units: int, on_gpus: int) -> None:
        return


def a_spec(number: int = 0, **more: Any) -> JobSpec:
    """A film that nobody will open."""
    encoding = Encoding(None, None, 0, "veryfast")
    source = Source(f"/films/{number}.mp4", 1, "1")
    spec = JobSpec(source, "", Veil.NOBODY, encoding, None, None, "any", None, publish=Publish("film.mp4", False))
    return dataclasses.replace(spec, **more)


def submit(
    book: Book, number: int = 0, owner: str = "", priority: int = 0, after: Iterable[str] = (), **more: Any
) -> str:
    """A job; `more` is of its control record."""
    now = book.clock()
    control = Control(JobState.QUEUED, "", now, priority, **more)
    return book.submit(a_spec(number), Card(f"{number}.mp4", owner, now, tuple(after)), control)


class Head:
    """A controller's process: all that is lost when it dies, and the workers that die with it."""

    def __init__(self, store: MemoryStore, clock: Clock, rng: random.Random, size: int = 4, **more: Any) -> None:
        self.mortal = Mortal(store)
        self.pool = SimWorkers(store, size, rng, clock)
        self.book = Book(self.mortal, clock)  # type: ignore[arg-type]
        self.account = Account(self.book, clock)
        self.farm = Farm(self.pool, self.account, self.account, Health(clock), Pace(), clock)
        self.lead = Lead(self.mortal, clock)  # type: ignore[arg-type]
        self.controller = Controller(self.book, "/store", self.farm, self.lead, clock=clock, **more)
        self.turn = self.controller.turn


def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits in this thread, so that a seed gives the same run each time."""
    monkeypatch.setattr(Commits, "_each", lambda self, call, items: [call(item) for item in items])


def until(head: Head, what: Callable[[], object], turns: int = 2000) -> None:
    """Turn until it holds."""
    for _ in range(turns):
        if what():
            return
        head.turn()
    raise AssertionError("it didn't come to pass")


AWAY: Transient = Unreachable("nobody answers")
