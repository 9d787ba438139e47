"""Workers as Ray actors: one order each, asked again and again how it goes, given up when they fall silent.

What Ray says of an actor isn't enough: a machine that is cut off is silent for minutes before Ray calls it dead, and a
decoder that hangs is alive to Ray for ever. So each worker is asked for its status on a thread of its own, and a worker
that doesn't answer, or that makes no progress, is killed and its order goes to another. What it might still make is
never committed, since only the farm commits.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.job import PER_CHUNK, Failure, Step
from cluster.schedule import Seat
from cluster.trouble import treatment
from cluster.workers import Order, Outcome, Steps, Worker

_LOG = logging.getLogger(__name__)

BIRTHS = 10  # workers in a row that die before they can answer: then none will ever come up
_LAST_WORDS = 10.0  # seconds in which the order of a worker that Ray calls dead must end
_COUNTING = PER_CHUNK | {Step.INDEX}


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds after which a worker is given up."""

    silent: float = 30.0  # without an answer, of one that has answered before
    born: float = 300.0  # without a first answer: it loads its networks before it can
    stuck: float = 900.0  # with answers, in a step that counts frames, but without another one
    whole: float = 86400.0  # with answers, in one of the other steps: they take as long as the film is long


@dataclass(frozen=True, slots=True)
class Status:
    """What a worker says of itself."""

    attempt: str  # of the order that it does; "" when it does none
    frames: int  # of that order, done
    leaving: bool  # its machine is going away: it takes no more orders


class ActorWorker(Worker):
    """A worker in a process of its own: what can be loaded before the first order is loaded at its birth."""

    def __init__(self, steps: Steps, threads: int, device: str, name: str, leave_file: str | None = None) -> None:
        super().__init__(steps, threads, device, name)
        self._attempt = ""
        self._leaving = threading.Event()
        self._leave_file = Path(leave_file) if leave_file else None
        # SIGTERM is how machines that go away tell their processes. Ray's own handler would end this one at once.
        with contextlib.suppress(ValueError):  # not the main thread: then Ray's own way stays
            signal.signal(signal.SIGTERM, lambda *_: self._leaving.set())
        # What fails here fails again in the first order, which can tell.
        with contextlib.suppress(Exception):
            steps.prepare(device, threads)

    def run(self, order: Order) -> Outcome:
        """See Worker."""
        self._attempt = order.attempt
        try:
            return super().run(order)
        finally:
            self._attempt = ""

    def status(self) -> Status:
        """How it goes. Answered by another thread than the one that works."""
        leaving = self._leaving.is_set() or bool(self._leave_file and self._leave_file.exists())
        return Status(self._attempt, self.frames(), leaving)

    def pid(self) -> int:
        """Its process."""
        return os.getpid()


@dataclass(slots=True)
class Place:
    """One worker, as the pool sees it."""

    name: str
    actor: Any
    device: str
    node: str = ""
    order: Order | None = None
    outcome: Any = None  # reference of it
    asked: Any = None  # reference of a status
    born: float = 0.0  # since when it is waited for; it may be there for long before anybody asks
    heard: float | None = None
    frames: int = 0
    moved: float = 0.0
    leaving: bool = False
    died: float | None = None  # since when Ray calls it dead
    why: str = ""  # what Ray says that it died of
    called: bool = False  # whether its status was ever asked for
    note: Any = None  # the pool's own


class Actors:
    """The workers of a pool, on whatever machines."""

    def __init__(self, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience, clock
        self.places: dict[str, Place] = {}
        self._stillborn = 0  # in a row
        self.hopeless = ""
        """Why no worker will ever come up: one after the other died before it could say anything. "": one may."""

    def add(self, name: str, actor: Any, device: str, node: str = "", note: Any = None) -> None:
        """A new worker."""
        self.places[name] = Place(name, actor, device, node, born=self._clock(), note=note)

    def seats(self) -> tuple[Seat, ...]:
        """Those that can be given orders, now or when they are free."""
        return tuple(Seat(p.name, p.order is None, p.device) for p in self.places.values() if not p.leaving)

    def submit(self, order: Order, name: str) -> None:
        """Give it to a free worker."""
        place = self.places[name]
        assert place.order is None, f"{name} has an order already"
        place.order, place.outcome = order, place.actor.run.remote(order)
        place.frames, place.moved = 0, self._clock()

    def busy(self) -> bool:
        """Whether any order is out."""
        return any(place.order is not None for place in tuple(self.places.values()))

    def frames(self) -> dict[str, int]:
        """Frames done so far, by attempt."""
        places = tuple(self.places.values())  # a pool that starts up adds to them in another thread
        return {place.order.attempt: place.frames for place in places if place.order is not None}

    def collect(self, timeout: float) -> tuple[list[Outcome], list[Place]]:
        """What ended, and the workers that are gone with it or can't be trusted any more: they are out of `places`, and
        their processes are killed. Waits up to `timeout` seconds for something."""
        import ray
        from ray.exceptions import RayError

        self._ask()
        waiting = {place.outcome: place for place in self.places.values() if place.order is not None}
        ready = ray.wait(list(waiting), num_returns=1, timeout=timeout)[0] if waiting else []
        if ready:  # many may end at once
            ready = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)[0]
        outcomes, gone = [], []
        for place in [waiting[reference] for reference in ready]:
            order = place.order
            assert order is not None
            try:
                outcome = ray.get(place.outcome)
                broken = outcome.failure is not None and treatment(outcome.failure).renew
            except RayError as error:
                outcome, broken = Outcome(order, 0.0, _died(error, place.name), None, place.name), True
                place.why = str(error)
            outcomes.append(outcome)
            place.order = place.outcome = None
            if broken:
                gone.append(place)
        names = {place.name for place in gone}
        for place, failure in self._given_up():
            if place.name in names:
                continue
            if place.order is not None:
                outcomes.append(Outcome(place.order, 0.0, failure, None, place.name))
            gone.append(place)
        self.remove(gone)
        self._count_births(gone)
        return outcomes, gone

    def _count_births(self, gone: Iterable[Place]) -> None:
        for place in gone:
            if place.heard is None and place.why:
                self._stillborn += 1
                why = place.why.strip().splitlines()[-1]
                _LOG.warning("a worker died before it was up: %s", why)
                if self._stillborn >= BIRTHS:
                    self.hopeless = why

    def lost(self, places: Iterable[Place], why: str) -> list[Outcome]:
        """Their machines are gone: what becomes of their orders. They are out of `places`."""
        places = list(places)
        failure = Failure("WorkerLost", "a worker's machine went away", why, "", "")
        ends = [Outcome(p.order, 0.0, _by(failure, p.name), None, p.name) for p in places if p.order is not None]
        self.remove(places)
        return ends

    def remove(self, places: Iterable[Place]) -> None:
        """Kill them."""
        import ray
        from ray.exceptions import RayError

        for place in places:
            self.places.pop(place.name, None)
            with contextlib.suppress(RayError, ValueError):
                ray.kill(place.actor)

    def of(self, attempt: str) -> Place | None:
        """Who does it."""
        return next((p for p in self.places.values() if p.order is not None and p.order.attempt == attempt), None)

    def _ask(self) -> None:
        """Take in what workers say of themselves, and ask again those that have answered: one in a long call answers
        late."""
        import ray
        from ray.exceptions import RayError

        asked = {place.asked: place for place in self.places.values() if place.asked is not None}
        ready = ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else []
        for place in [asked[reference] for reference in ready]:
            try:
                self._heard(place, ray.get(place.asked))
            except RayError as error:  # any other than this one: it may be cut off only
                if type(error).__name__ == "ActorDiedError" and place.died is None:
                    place.died, place.why = self._clock(), str(error)
            place.asked = None
        for place in self.places.values():
            if place.asked is None:
                if not place.called:
                    place.called, place.born = True, self._clock()
                place.asked = place.actor.status.options(concurrency_group="status").remote()

    def _heard(self, place: Place, status: Status) -> None:
        now = self._clock()
        place.heard, self._stillborn = now, 0
        place.leaving = status.leaving
        if place.order is not None and status.attempt == place.order.attempt and status.frames != place.frames:
            place.frames, place.moved = status.frames, now

    def _given_up(self) -> list[tuple[Place, Failure]]:
        now, patience, found = self._clock(), self._patience, []
        for place in self.places.values():
            # One that has an order tells by that how it died.
            if place.died is not None and (place.order is None or now - place.died > _LAST_WORDS):
                found.append((place, Failure("WorkerDied", "a worker process died", "", "", place.why, place.name)))
                continue
            quiet = now - (place.born if place.heard is None else place.heard)
            if quiet > (patience.born if place.heard is None else patience.silent):
                failure = Failure("WorkerLost", "a worker fell silent", f"no answer for {quiet:.0f} s", "", "")
                found.append((place, _by(failure, place.name)))
            elif place.order is not None:
                counts = place.order.unit.step in _COUNTING
                if now - place.moved > (patience.stuck if counts else patience.whole):
                    what = "no frame was done" if counts else f"{place.order.unit} isn't through"
                    failure = Failure("WorkerHung", "a worker hangs", f"{what} for {now - place.moved:.0f} s", "", "")
                    found.append((place, _by(failure, place.name)))
        return found


def new_actor(steps: Steps, threads: int, device: str, name: str, leave_file: str | None = None, **options: Any) -> Any:
    """A worker as a Ray actor. `options` are Ray's: resources, and where it has to be."""
    import ray

    remote: Any = ray.remote  # its overloads don't know options with a class
    actor = remote(concurrency_groups={"status": 1}, **options)(ActorWorker)
    return actor.remote(steps, threads, device, name, leave_file)


def _by(failure: Failure, worker: str) -> Failure:
    return Failure(failure.cause, failure.what, failure.why, failure.todo, failure.trace, worker)


def _died(error: Exception, worker: str) -> Failure:
    name, text = type(error).__name__, str(error).strip()
    trace = "\n".join(text.splitlines())
    if name in ("ActorUnavailableError", "NodeDiedError") or any(words in text for words in _NODE):
        why = "its machine went away, or can't be reached"
        return Failure("WorkerLost", "a worker was lost", why, "", trace, worker)
    memory = "OutOfMemory" in name
    cause = "WorkerOutOfMemory" if memory else "WorkerDied"
    why = "it ran out of memory" if memory else "it was killed or it crashed"
    return Failure(cause, "a worker process died", why, "try fewer --workers", trace, worker)


_NODE = ("its node has died", "actor's node was terminated")  # what Ray says of an actor whose machine went away
