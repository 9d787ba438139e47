"""Workers on machines that come and go, over a Ray without processes."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from doubles import DrySteps
from fakeray import FakeActor, FakeRay
from simfarm import Clock

from cluster.actors import Status
from cluster.job import Failure, Step
from cluster.ledger import Unit
from cluster.raypool import ClusterSettings, RayPool, Shape, shapes
from cluster.roles import FarmError
from cluster.workers import Order, Outcome

UNIT = Unit(Step.RENDER, 0)


def machine(name: str, cpus: float = 2, alive: bool = True, **more: float) -> dict[str, Any]:
    return {"NodeID": name * 8, "Alive": alive, "NodeManagerHostname": name, "Resources": {"CPU": cpus, **more}}


@pytest.mark.parametrize(
    ("resources", "more", "cuda", "cpu"),
    [
        ({"CPU": 4.0}, {}, [], 4),
        ({"CPU": 4.0}, {"threads": 3}, [], 1),
        ({}, {}, [], 0),
        ({"CPU": 0.0, "GPU": 1.0}, {}, [], 0),
        ({"CPU": 10.0, "GPU": 2.0}, {}, [4, 4], 2),
        ({"CPU": 10.0, "GPU": 1.0}, {"gpu_share": 0.5}, [4, 4], 2),
        ({"CPU": 8.0, "GPU": 4.0}, {}, [2, 2, 2, 2], 0),  # no GPU stays idle for want of processors
        ({"CPU": 3.0, "GPU": 4.0}, {}, [1, 1, 1], 0),
        ({"CPU": 16.0, "GPU": 1.0}, {"gpu_share": 1 / 3}, [4, 4, 4], 4),
    ],
)
def test_how_a_machine_is_divided(resources: dict[str, float], more: dict[str, Any], cuda: list[int], cpu: int) -> None:
    settings = ClusterSettings("auto", **more)
    found = shapes(resources, settings)
    assert (
        found
        == tuple(Shape("cuda", n, settings.gpu_share) for n in cuda) + (Shape("cpu", settings.threads, 0.0),) * cpu
    )
    assert sum(shape.cpus for shape in found) <= resources.get("CPU", 0)
    assert sum(shape.gpus for shape in found) <= resources.get("GPU", 0) + 1e-9


class Cluster:
    """A pool, the machines that it sees, and the actors that it starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.ray, self.clock, self.slept = FakeRay(), Clock(0.0), list[float]()
        self.ray.install(monkeypatch)
        strategies = ModuleType("ray.util.scheduling_strategies")
        vars(strategies)["NodeAffinitySchedulingStrategy"] = lambda node, soft: (node, soft)
        monkeypatch.setitem(sys.modules, "ray.util", ModuleType("ray.util"))
        monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
        self.asked = list[list[dict[str, float]]]()
        sdk = ModuleType("ray.autoscaler.sdk")
        vars(sdk)["request_resources"] = lambda bundles: self.asked.append(bundles)
        monkeypatch.setitem(sys.modules, "ray.autoscaler", ModuleType("ray.autoscaler"))
        monkeypatch.setitem(sys.modules, "ray.autoscaler.sdk", sdk)
        monkeypatch.setattr("cluster.raypool.new_actor", self._new)
        monkeypatch.setattr("cluster.raypool.os", type("Os", (), {"environ": {}}))
        self.options = dict[str, dict[str, Any]]()
        self.born = list[str]()
        self.pool = RayPool(DrySteps(), ClusterSettings("auto", **settings), None, self.clock, self.slept.append)

    def _new(self, steps: object, threads: int, device: str, name: str, leave: object, **options: Any) -> FakeActor:
        self.born.append(name)
        self.options[name] = {"threads": threads, "device": device, "leave": leave, **options}
        return FakeActor()

    def poll(self, seconds: float = 3.0) -> list[Outcome]:
        self.clock.now += seconds
        return self.pool.poll(0.25)

    def names(self) -> list[str]:
        return sorted(place.name for place in self.pool.places)

    def actor(self, name: str) -> Any:
        return next(place.actor for place in self.pool.places if place.name == name)

    def order(self, name: str, attempt: str = "try") -> Order:
        order = Order("/store", "job", UNIT, attempt, None, 1)
        self.pool.submit(order, next(seat for seat in self.pool.seats(UNIT) if seat.name == name))
        return order


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_machines_come(cluster: Cluster) -> None:
    cluster.ray.machines = [machine("a")]
    cluster.poll()
    assert cluster.names() == ["a-aaaa-1", "a-aaaa-2"]
    cluster.ray.machines.append(machine("b", 1))
    cluster.ray.machines.append(machine("c", 1, alive=False))
    assert cluster.names() == ["a-aaaa-1", "a-aaaa-2"]
    cluster.poll()
    assert cluster.names() == ["a-aaaa-1", "a-aaaa-2", "b-bbbb-1"]
    assert cluster.pool.size == 3
    where = cluster.options["b-bbbb-1"]
    assert where["scheduling_strategy"] == ("b" * 8, False)
    assert (where["num_cpus"], where["num_gpus"], where["threads"], where["device"]) == (1, 0.0, 1, "cpu")


def test_a_machine_goes_and_its_orders_are_lost(cluster: Cluster) -> None:
    cluster.ray.machines = [machine("a", 1), machine("b", 1)]
    cluster.poll()
    order = cluster.order("a-aaaa-1")
    cluster.ray.machines[0]["Alive"] = False
    (outcome,) = cluster.poll()
    assert outcome.order == order
    assert outcome.failure is not None
    assert (outcome.failure.cause, outcome.worker) == ("WorkerLost", "a-aaaa-1")
    assert cluster.names() == ["b-bbbb-1"]
    for _ in range(3):
        cluster.poll()
    assert cluster.born == ["a-aaaa-1", "b-bbbb-1"]  # nobody is started on a machine that is gone
    cluster.ray.machines[0]["Alive"] = True
    cluster.poll()
    assert cluster.names() == ["a-aaaa-1", "b-bbbb-1"]


def gives(failure: str) -> Callable[[Cluster, Order], None]:
    def give(cluster: Cluster, order: Order) -> None:
        cluster.actor("a-aaaa-1").runs[0].give(Outcome(order, 1.0, Failure(failure, "", "", "", "")))

    return give


def stopped(cluster: Cluster, order: Order) -> None:
    cluster.pool.stop(order.attempt)


@pytest.mark.parametrize("end", [gives("OutOfMemoryError"), gives("AcceleratorError"), stopped])
def test_a_worker_whose_process_is_ended_gets_a_successor(
    cluster: Cluster, end: Callable[[Cluster, Order], None]
) -> None:
    cluster.ray.machines = [machine("a", 1)]
    cluster.poll()
    first = cluster.actor("a-aaaa-1")
    end(cluster, cluster.order("a-aaaa-1"))
    cluster.poll(0.1)
    assert cluster.pool.size == 1
    cluster.poll()
    assert cluster.ray.killed == [first]
    assert cluster.names() == ["a-aaaa-1"]
    assert cluster.actor("a-aaaa-1") is not first


def test_drained_workers_get_no_orders(cluster: Cluster) -> None:
    cluster.ray.machines = [machine("a")]
    cluster.poll()
    cluster.pool.drain(frozenset({"a-aaaa-1"}))
    assert [seat.name for seat in cluster.pool.seats(UNIT)] == ["a-aaaa-2"]
    cluster.pool.drain(frozenset())
    assert len(cluster.pool.seats(UNIT)) == 2


def test_a_worker_that_leaves_and_dies_gets_no_successor(cluster: Cluster) -> None:
    cluster.ray.machines = [machine("a", 1)]
    cluster.poll()
    order = cluster.order("a-aaaa-1")
    cluster.actor("a-aaaa-1").state = Status("try", 0, True)
    for _ in range(3):
        cluster.poll(1)
    assert cluster.pool.seats(UNIT) == ()
    gives("OutOfMemoryError")(cluster, order)
    for _ in range(3):
        cluster.poll()
    assert cluster.names() == []


def test_it_waits_only_while_nothing_happens(cluster: Cluster) -> None:
    cluster.ray.machines = [machine("a", 1)]
    cluster.poll()
    assert cluster.slept == [0.25]
    order = cluster.order("a-aaaa-1")
    cluster.actor("a-aaaa-1").runs[0].give(Outcome(order, 1.0, None))
    assert len(cluster.poll()) == 1
    assert cluster.slept == [0.25]


def test_more_machines_are_asked_for_as_much_as_could_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, most=3, threads=2)
    cluster.pool.want(2, 0)
    cluster.poll(1)
    cluster.pool.want(50, 0)
    cluster.poll(1)
    cluster.poll(10)
    cluster.pool.want(0, 0)
    cluster.poll(10)
    cluster.pool.want(9, 2)
    cluster.poll(10)
    cluster.pool.want(9, 5)
    cluster.poll(10)
    gpu, cpu = {"CPU": 4, "GPU": 1.0}, {"CPU": 2}
    assert cluster.asked == [[cpu] * 2, [cpu] * 3, [], [gpu, gpu, cpu], [gpu] * 3]


def test_without_any_machine_it_gives_up_after_a_while(cluster: Cluster) -> None:
    cluster.poll(50)
    cluster.ray.machines = [machine("a", 1)]
    cluster.poll(50)
    cluster.ray.machines = []
    cluster.poll(50)
    with pytest.raises(FarmError, match="no machine"):
        cluster.poll(11)


def test_a_ray_that_is_gone_ends_the_farm(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConnectionError("GCS")

    monkeypatch.setattr(sys.modules["ray"], "nodes", fail)
    with pytest.raises(FarmError, match="gone"):
        cluster.poll()


def test_it_ends_its_workers_with_it(cluster: Cluster) -> None:
    cluster.ray.machines = [machine("a")]
    cluster.poll()
    cluster.pool.close()
    assert len(cluster.ray.killed) == 2


def test_at_rest_it_holds_no_processor_and_then_it_starts_anew(cluster: Cluster) -> None:
    cluster.ray.machines = [machine("a")]
    cluster.poll()
    cluster.order("a-aaaa-1")
    cluster.pool.rest()
    assert cluster.names() == []
    assert len(cluster.ray.killed) == 2
    assert cluster.poll() == []  # its order is another controller's to give
    assert cluster.names() == ["a-aaaa-1", "a-aaaa-2"]
