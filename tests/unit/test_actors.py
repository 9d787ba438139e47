"""Workers as the farm sees them: who is given up, when, and that nothing of theirs counts afterwards."""

from pathlib import Path

import pytest
from doubles import Ear, a_job
from fakeray import FakeActor, FakeRay
from simfarm import Clock, facts_of

from cluster.actors import BIRTHS, Actors, Patience, Status
from cluster.farm import Farm
from cluster.job import Failure, Step
from cluster.ledger import Unit
from cluster.schedule import Seat
from cluster.trouble import Trouble, kind_of
from cluster.workers import Order, Outcome

PATIENCE = Patience(silent=30, born=300, stuck=900, whole=5000)


class Crew:
    """Actors over a Ray without processes, and a clock."""

    def __init__(self, ray: FakeRay, size: int = 2) -> None:
        self.ray, self.clock = ray, Clock(0.0)
        self.actors = Actors(PATIENCE, self.clock)
        self.workers = {f"w{n}": FakeActor() for n in range(size)}
        for name, worker in self.workers.items():
            self.actors.add(name, worker, "cpu")

    def order(self, name: str = "w0", step: Step = Step.RENDER, attempt: str = "try") -> Order:
        order = Order("/store", "job", Unit(step, 0 if step in (Step.RENDER, Step.ANALYSE) else None), attempt, None, 1)
        self.actors.submit(order, name)
        return order

    def after(self, seconds: float, every: float = 10.0) -> list[Outcome]:
        """What ends in this time."""
        found = []
        while seconds > 0:
            self.clock.now += min(every, seconds)
            seconds -= every
            outcomes, _ = self.actors.collect(0)
            found += outcomes
        return found

    def says(self, name: str, attempt: str = "try", frames: int = 0, leaving: bool = False) -> None:
        self.workers[name].state = Status(attempt, frames, leaving)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def crew(ray: FakeRay) -> Crew:
    crew = Crew(ray)
    crew.after(1)
    crew.after(1)
    return crew


def cause(outcomes: list[Outcome]) -> str:
    (outcome,) = outcomes
    assert outcome.failure is not None
    assert outcome.failure.worker == outcome.worker
    return outcome.failure.cause


def test_one_that_falls_silent_is_lost(crew: Crew) -> None:
    crew.order()
    crew.workers["w0"].state = None
    assert crew.after(30) == []
    assert cause(crew.after(20)) == "WorkerLost"
    assert crew.ray.killed == [crew.workers["w0"]]
    assert list(crew.actors.places) == ["w1"]


def test_one_that_answers_late_is_kept(crew: Crew) -> None:
    """The answer to an old question counts when it comes."""
    crew.order()
    crew.workers["w0"].state = None
    crew.after(25)
    pending = crew.actors.places["w0"].asked
    pending.give(Status("try", 1, False))
    crew.workers["w0"].state = Status("try", 2, False)
    assert crew.after(25) == []
    assert crew.actors.frames() == {"try": 2}


def test_what_is_said_of_an_earlier_order_is_no_progress(crew: Crew) -> None:
    crew.order(attempt="new")
    crew.says("w0", "old", 99)
    crew.after(30)
    assert crew.actors.frames() == {"new": 0}


def test_a_new_one_gets_longer_from_the_first_question_on(ray: FakeRay) -> None:
    """Workers of a farm that is idle may be there for long before anybody asks."""
    crew = Crew(ray)
    for worker in crew.workers.values():
        worker.state = None
    crew.clock.now += 10_000
    crew.order()
    assert crew.after(300) == []
    assert cause(crew.after(20)) == "WorkerLost"
    assert crew.actors.places == {}  # the idle one, too


@pytest.mark.parametrize("step", [Step.RENDER, Step.ANALYSE, Step.INDEX])
def test_one_without_another_frame_hangs(crew: Crew, step: Step) -> None:
    crew.order(step=step)
    crew.says("w0", frames=7)
    crew.after(890)
    crew.says("w0", frames=8)
    assert crew.after(890) == []
    assert cause(crew.after(60)) == "WorkerHung"


def test_a_step_without_frames_hangs_much_later(crew: Crew) -> None:
    crew.order(step=Step.STITCH)
    assert crew.after(4900) == []
    assert cause(crew.after(200)) == "WorkerHung"


def ray_error(ray: FakeRay, name: str, text: str = "") -> Exception:
    error: Exception = type(name, (ray.error,), {})(text)
    return error


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("ActorDiedError", "The actor is dead because its worker process has died.", Trouble.CRASH),
        ("WorkerCrashedError", "", Trouble.CRASH),
        ("OutOfMemoryError", "Task was killed due to the node running low on memory.", Trouble.MEMORY),
        ("ActorDiedError", "The actor died because its node has died. Node Id: 12", Trouble.LOST),
        ("ActorDiedError", "the actor's node was terminated unexpectedly: spot", Trouble.LOST),
        ("ActorUnavailableError", "The actor is temporarily unavailable", Trouble.LOST),
        ("NodeDiedError", "", Trouble.LOST),
    ],
)
def test_how_it_died_is_told_by_class(crew: Crew, name: str, text: str, kind: Trouble) -> None:
    crew.order()
    crew.workers["w0"].runs[0].give(ray_error(crew.ray, name, text))
    (outcome,) = crew.after(1)
    assert outcome.failure is not None
    assert kind_of(outcome.failure) is kind
    assert crew.ray.killed == [crew.workers["w0"]]


@pytest.mark.parametrize(("what", "kept"), [("OutOfMemoryError", False), ("VerifyError", True), (None, True)])
def test_after_some_failures_its_process_is_not_trusted(crew: Crew, what: str | None, kept: bool) -> None:
    order = crew.order()
    failure = None if what is None else Failure(what, "", "", "", "")
    crew.workers["w0"].runs[0].give(Outcome(order, 1.0, failure))
    assert len(crew.after(1)) == 1
    assert ("w0" in crew.actors.places) is kept
    assert bool(crew.ray.killed) is not kept


def test_one_that_ran_out_of_memory_and_is_silent_goes_once(crew: Crew) -> None:
    order = crew.order()
    crew.workers["w0"].state = None
    crew.after(1)
    crew.workers["w0"].runs[0].give(Outcome(order, 1.0, Failure("OutOfMemoryError", "", "", "", "")))
    crew.clock.now += 1000
    crew.workers["w1"].state = None
    outcomes, gone = crew.actors.collect(0)
    assert len(outcomes) == 1
    assert sorted(place.name for place in gone) == ["w0"]


def test_an_idle_one_that_died_is_replaced_and_one_that_is_cut_off_is_not(crew: Crew) -> None:
    for name, error in (("w0", "ActorDiedError"), ("w1", "ActorUnavailableError")):
        crew.after(1)
        crew.workers[name].state = ray_error(crew.ray, error)  # type: ignore[assignment]
    crew.after(2, every=1)
    assert list(crew.actors.places) == ["w1"]


def test_one_that_is_dead_and_whose_order_never_ends_is_given_up(crew: Crew) -> None:
    """Ray should end the order, too; nobody's film waits for that."""
    crew.order()
    crew.workers["w0"].state = type("ActorDiedError", (crew.ray.error,), {})("killed")  # type: ignore[assignment]
    assert crew.after(9, every=1) == []
    (outcome,) = crew.after(9, every=1)
    assert cause([outcome]) == "WorkerDied"
    assert set(crew.actors.places) == {"w1"}


def test_workers_that_all_die_at_birth_are_told(crew: Crew) -> None:
    """A module that can't be imported, a network that can't be loaded: the next one would die, too."""

    def born(name: str, alive: bool) -> None:
        worker = FakeActor()
        if not alive:
            worker.state = type("ActorDiedError", (crew.ray.error,), {})("it died\nno such module")  # type: ignore[assignment]
        crew.actors.add(name, worker, "cpu")
        crew.after(2, every=1)

    crew.actors.remove(list(crew.actors.places.values()))
    for number in range(BIRTHS - 1):
        born(f"bad {number}", alive=False)
    assert not crew.actors.hopeless
    born("good", alive=True)
    crew.actors.remove(list(crew.actors.places.values()))
    for number in range(BIRTHS):
        assert not crew.actors.hopeless
        born(f"worse {number}", alive=False)
    assert crew.actors.hopeless == "no such module"


def test_all_that_ended_is_collected_at_once(ray: FakeRay) -> None:
    crew = Crew(ray, size=50)
    for name, worker in crew.workers.items():
        worker.runs.clear()
        order = crew.order(name, attempt=name)
        worker.runs[0].give(Outcome(order, 1.0, None))
    outcomes, gone = crew.actors.collect(0)
    assert len(outcomes) == 50
    assert not gone
    assert not crew.actors.busy()


def test_one_that_is_leaving_gets_no_orders_until_it_stays(crew: Crew) -> None:
    order = crew.order()
    crew.says("w0", leaving=True)
    crew.after(2, every=1)
    assert [seat.name for seat in crew.actors.seats()] == ["w1"]
    crew.workers["w0"].runs[0].give(Outcome(order, 1.0, None))
    assert len(crew.after(1)) == 1  # what it was doing counts
    crew.says("w0", "", leaving=False)
    crew.after(2, every=1)
    assert {seat.name for seat in crew.actors.seats()} == {"w0", "w1"}


def test_what_becomes_of_orders_on_a_machine_that_is_gone(crew: Crew) -> None:
    crew.order()
    outcomes = crew.actors.lost(list(crew.actors.places.values()), "Ray lost its machine")
    assert cause(outcomes) == "WorkerLost"
    assert crew.actors.places == {}


class OnePool:
    """A farm's pool over a crew, whose workers have no successors."""

    def __init__(self, crew: Crew) -> None:
        self.crew, self.size = crew, 2

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        return self.crew.actors.seats()

    def submit(self, order: Order, seat: Seat) -> None:
        self.crew.actors.submit(order, seat.name)

    def poll(self, timeout: float) -> list[Outcome]:
        self.crew.clock.now += 10
        return self.crew.actors.collect(0)[0]

    def frames(self) -> dict[str, int]:
        return self.crew.actors.frames()

    def stop(self, attempt: str) -> None:
        raise AssertionError


def test_what_a_worker_that_was_given_up_answers_later_is_never_committed(crew: Crew, tmp_path: Path) -> None:
    farm, job, unit = Farm(OnePool(crew), Ear(), clock=crew.clock), a_job(tmp_path), Unit(Step.INGEST)
    farm.add(job)
    farm.turn(0)
    (busy,) = [worker for worker in crew.workers.values() if worker.runs]
    busy.state = None
    while not crew.ray.killed:
        farm.turn(0)
    late = busy.orders[0]
    busy.runs[0].give(Outcome(late, 1.0, None, facts_of(unit)))
    (other,) = [worker for worker in crew.workers.values() if worker is not busy]
    while not other.runs:
        farm.turn(0)
    farm.turn(0)
    assert job.ledger.done(unit) is None
    other.runs[0].give(Outcome(other.orders[0], 1.0, None, facts_of(unit)))
    farm.turn(0)
    done = job.ledger.done(unit)
    assert done is not None
    assert done.attempt == other.orders[0].attempt != late.attempt
    assert [f.cause for f in job.ledger.failures(unit)] == ["WorkerLost"]
