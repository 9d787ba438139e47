"""Workers on a Ray cluster that others have started: as many on each machine as its processors and GPUs allow, on
machines that come and go.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.actors import Actors, Patience, Place, new_actor
from cluster.ledger import Unit
from cluster.localray import quiet_environment
from cluster.roles import FarmError
from cluster.schedule import Seat
from cluster.workers import Order, Outcome, Steps

_LOG = logging.getLogger(__name__)

LOOK_EVERY = 2.0  # seconds between looks at the machines
ASK_EVERY = 10.0  # seconds between requests for more machines
KEEPALIVE = {"RAY_grpc_client_keepalive_time_ms": "5000", "RAY_grpc_client_keepalive_timeout_ms": "5000"}
"""Without these, a call to a machine that is cut off waits for five minutes, whatever Ray knows. Machines need them,
too: see `docs/operations.md`."""
_GONE = 60.0  # seconds without any machine, after which the farm gives up


@dataclass(frozen=True, slots=True)
class Shape:
    """One worker: what it needs of a machine."""

    device: str  # "cpu" or "cuda"
    cpus: int
    gpus: float


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How machines are divided among workers."""

    address: str  # of the Ray cluster: "auto", or HOST:PORT
    threads: int = 1  # of a worker on CPUs; it takes as many processors
    gpu_share: float = 1.0  # of a GPU, per worker on GPUs
    gpu_threads: int = 4  # processors of a worker on GPUs: decoding and encoding are done there
    leave_file: str | None = None  # while it exists on a machine, the machine's workers take no orders
    most: int | None = None  # workers to ask an autoscaler for


def shapes(resources: Mapping[str, float], settings: ClusterSettings) -> tuple[Shape, ...]:
    """The workers of a machine: those on its GPUs first, then one for every `threads` processors that are left."""
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    places = gpus * int(1 / settings.gpu_share + 1e-6)
    each = max(1, min(settings.gpu_threads, cpus // places)) if places else 0  # with few processors, no GPU stays idle
    found = [Shape("cuda", each, settings.gpu_share)] * (min(places, cpus // each) if places else 0)
    cpus -= each * len(found)
    found += [Shape("cpu", settings.threads, 0.0)] * (cpus // settings.threads)
    return tuple(found)


class RayPool:
    """A farm's Pool on a cluster. `close` ends its workers; the cluster stays."""

    def __init__(
        self,
        steps: Steps,
        settings: ClusterSettings,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects. Raises FarmError."""
        self._steps, self._settings, self._clock, self._sleep = steps, settings, clock, sleep
        self._actors = Actors(patience or Patience(), clock)
        self._nodes: dict[str, tuple[Shape, ...]] = {}
        self._missing: dict[str, tuple[str, str, Shape]] = {}  # workers to start: by name, node, host and shape
        self._looked = self._asked = float("-inf")
        self._seen = clock()
        self._lost: list[Outcome] = []
        self._drained = frozenset[str]()
        self._demand = self._on_gpus = 0
        self._connect()

    def _connect(self) -> None:
        environment = quiet_environment(self._settings.threads)
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):  # the cluster's own
            environment.pop(name)
        environment |= KEEPALIVE
        os.environ.update({name: value for name, value in environment.items() if name not in os.environ})
        import ray

        try:
            ray.init(
                address=self._settings.address,
                namespace="veilfarm",
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:
            raise FarmError(f"no Ray cluster at {self._settings.address}: {error}") from error

    @property
    def size(self) -> int:
        """See Pool."""
        return max(1, len(self._actors.places) + len(self._missing))

    @property
    def places(self) -> tuple[Place, ...]:
        """The workers, for those who show them."""
        return tuple(self._actors.places.values())

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        """See Pool. Those that aren't up yet count as busy: what failed on another waits for them, and nothing is given
        to one whose machine may be gone."""
        coming = [Seat(name, False, shape.device) for name, (_, _, shape) in self._missing.items()]
        up = {name for name, place in self._actors.places.items() if place.heard is not None}
        there = [Seat(seat.name, seat.free and seat.name in up, seat.device) for seat in self._actors.seats()]
        return tuple(seat for seat in (*there, *coming) if seat.name not in self._drained)

    def submit(self, order: Order, seat: Seat) -> None:
        """See Pool."""
        self._actors.submit(order, seat.name)

    def frames(self) -> dict[str, int]:
        """See Pool."""
        return self._actors.frames()

    def stop(self, attempt: str) -> None:
        """See Pool."""
        place = self._actors.of(attempt)
        if place is not None:
            self._again([place])
            self._actors.remove([place])

    def drain(self, workers: frozenset[str]) -> None:
        """These get no more orders."""
        self._drained = workers

    def want(self, units: int, on_gpus: int) -> None:
        """How many units could be worked on at once, and how many of them on GPUs only, for an autoscaler."""
        self._demand, self._on_gpus = units, on_gpus

    def poll(self, timeout: float) -> list[Outcome]:
        """See Pool."""
        now = self._clock()
        if now - self._looked >= LOOK_EVERY:
            self._look()
            self._looked = now
        if now - self._asked >= ASK_EVERY:
            self._ask_for_machines()
            self._asked = now
        outcomes, gone = self._actors.collect(timeout)
        if self._actors.hopeless:
            raise FarmError(f"no worker comes up: {self._actors.hopeless}")
        self._again(gone)
        lost, self._lost = self._lost, []
        if not (outcomes or lost or self._actors.busy()):
            self._sleep(min(timeout, 0.25))
        return outcomes + lost

    def rest(self) -> None:
        """Give all processors and GPUs back, for another controller's workers. The next `poll` starts anew."""
        self._actors.remove(list(self._actors.places.values()))
        self._nodes.clear()
        self._missing.clear()
        self._lost.clear()
        self._looked = float("-inf")

    def _again(self, places: list[Place]) -> None:
        """Workers that are gone get successors, where their machines still are."""
        for place in places:
            host, number, shape = place.note
            if place.node in self._nodes and not place.leaving:
                self._missing[f"{host}-{number}"] = (place.node, host, shape)

    def _look(self) -> None:
        """Which machines there are; start workers on new ones, give up those of machines that are gone."""
        import ray

        try:
            nodes: Any = ray.nodes
            alive = {node["NodeID"]: node for node in nodes() if node["Alive"]}
        except Exception as error:  # Ray raises what it likes when its head is gone
            raise FarmError(f"the Ray cluster is gone: {error}") from error
        if alive:
            self._seen = self._clock()
        elif self._clock() - self._seen > _GONE:
            raise FarmError("the Ray cluster has no machine")
        for node in [node for node in self._nodes if node not in alive]:
            gone = [place for place in self._actors.places.values() if place.node == node]
            _LOG.warning("a machine is gone, and %d workers with it", len(gone))
            self._lost += self._actors.lost(gone, "Ray lost its machine")
            del self._nodes[node]
            self._missing = {name: each for name, each in self._missing.items() if each[0] != node}
        for node, facts in alive.items():
            if node not in self._nodes:
                self._nodes[node] = shapes(facts["Resources"], self._settings)
                host = facts["NodeManagerHostname"]
                _LOG.info("machine %s has room for %d workers", host, len(self._nodes[node]))
                for number, shape in enumerate(self._nodes[node], 1):
                    self._missing[f"{host}-{node[:4]}-{number}"] = (node, f"{host}-{node[:4]}", shape)
        self._start_missing()

    def _start_missing(self) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for name, (node, host, shape) in list(self._missing.items()):
            if name in self._actors.places:
                continue
            actor = new_actor(
                self._steps,
                shape.cpus,
                shape.device,
                name,
                self._settings.leave_file,
                num_cpus=shape.cpus,
                num_gpus=shape.gpus,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            self._actors.add(name, actor, shape.device, node, (host, name.rpartition("-")[2], shape))
            del self._missing[name]

    def _ask_for_machines(self) -> None:
        """Tell the cluster's autoscaler, if it has one, how much could be used."""
        if self._settings.most is None:
            return
        from ray.autoscaler.sdk import request_resources

        wanted = min(self._settings.most, self._demand)
        on_gpus = min(wanted, self._on_gpus)
        gpu = {"CPU": self._settings.gpu_threads, "GPU": self._settings.gpu_share}
        bundles: Any = [gpu] * on_gpus + [{"CPU": self._settings.threads}] * (wanted - on_gpus)
        with contextlib.suppress(Exception):  # no autoscaler
            request_resources(bundles=bundles)

    def close(self) -> None:
        """End the workers, leave the cluster."""
        import ray

        self._actors.remove(list(self._actors.places.values()))
        with contextlib.suppress(Exception):
            ray.shutdown()
