"""What the farm does, as Prometheus wants it: https://prometheus.io/docs/practices/naming/.

Everything is read when it is asked for; nothing is counted twice. Labels are bounded: states, steps and classes are
enumerations, and after MOST_WORKERS names further workers share one.
"""

import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cluster.account import Account, FarmStatus
from cluster.counted import CountedStore
from cluster.job import Step
from cluster.jobindex import JobIndex
from cluster.states import JobState
from cluster.trouble import Trouble
from cluster.webhooks import Webhooks

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_WORKERS = 500
OTHERS = "other"

_WORKER_STATES = ("idle", "busy", "starting", "leaving", "drained", "blocked")
_OUTCOMES = ("done", "failed")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the numbers come from. `status`: of the workers, as they were lately."""

    account: Account
    index: JobIndex
    store: CountedStore
    webhooks: Webhooks | None
    status: Callable[[], FarmStatus | None]
    leads: Callable[[], bool]


class FarmMetrics(Collector):
    """Collects when it is asked to."""

    def __init__(self, sources: Sources, clock: Callable[[], float] = time.time) -> None:
        self._from, self._clock = sources, clock
        self._workers: dict[str, str] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Prometheus' text format, in UTF-8; its media type is CONTENT_TYPE."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        version = importlib.metadata.version("veilfarm")
        yield InfoMetricFamily("veilfarm_build", "What runs.", {"version": version})
        leads = float(self._from.leads())
        yield GaugeMetricFamily("veilfarm_leader", "1 while this process' controller leads the store.", leads)
        yield from self._of_jobs()
        yield from self._of_work()
        yield from self._of_workers()
        yield from self._of_store()
        if self._from.webhooks is not None:
            yield from self._of_webhooks(self._from.webhooks)

    def _of_jobs(self) -> Iterator[Metric]:
        counts = self._from.index.by_state()
        yield _gauge("veilfarm_jobs", "Jobs that the store has, by state.", ["state"], _counted(JobState, counts))
        oldest = self._from.index.oldest()
        age = max(0.0, self._clock() - oldest) if oldest is not None else 0.0
        text = "For how long the job has been queued that waits longest; 0 when none is."
        yield GaugeMetricFamily("veilfarm_queue_age_seconds", text, age)

    def _of_work(self) -> Iterator[Metric]:
        account = self._from.account
        units = dict(account.units)
        known = {(step.value, outcome): 0 for step in Step for outcome in _OUTCOMES} | units
        text = "Tries at steps of films and of chunks that ended, since this process began."
        yield _counter("veilfarm_units", text, ["step", "outcome"], known.items())
        retries = {trouble.value: 0 for trouble in Trouble} | dict(account.retries)
        text = "Tries that failed and were tried again, by class of trouble."
        yield _counter("veilfarm_retries", text, ["class"], (((name,), n) for name, n in retries.items()))
        labels = ["worker", "device", "step"]
        text = "Frames of film in tries that were done."
        yield _counter("veilfarm_frames", text, labels, self._by_worker(dict(account.frames)))
        text = "Time that workers took for tries that were done."
        yield _counter("veilfarm_work_seconds", text, labels, self._by_worker(dict(account.seconds)))

    def _of_workers(self) -> Iterator[Metric]:
        status = self._from.status()
        workers = status.workers if status is not None else ()
        counts = dict.fromkeys(((state, device) for state in _WORKER_STATES for device in ("cpu", "cuda")), 0)
        speeds: dict[tuple[str, ...], float] = {}
        for worker in workers:
            counts[worker.state, worker.device] = counts.get((worker.state, worker.device), 0) + 1
            key = (self._name(worker.name), worker.device)
            speeds[key] = speeds.get(key, 0.0) + worker.fps
        yield _gauge("veilfarm_workers", "Workers of the farm, by state.", ["state", "device"], counts.items())
        text = "Frames per second of the chunks that a worker has done, in its own time."
        yield _gauge("veilfarm_worker_frames_per_second", text, ["worker", "device"], speeds.items())

    def _of_store(self) -> Iterator[Metric]:
        store = self._from.store
        text = "Bytes that this process read from the store; workers read more."
        yield CounterMetricFamily("veilfarm_store_read_bytes", text, store.read_bytes)
        text = "Bytes that this process wrote to the store; workers write more."
        yield CounterMetricFamily("veilfarm_store_written_bytes", text, store.written_bytes)
        text = "Calls to the store by this process. A call may be several requests."
        yield _counter("veilfarm_store_calls", text, ["operation", "outcome"], dict(store.requests).items())

    def _of_webhooks(self, hooks: Webhooks) -> Iterator[Metric]:
        outcomes = (((name,), number) for name, number in hooks.outcomes().items())
        yield _counter("veilfarm_webhooks", "Webhooks by what became of them.", ["outcome"], outcomes)
        yield GaugeMetricFamily("veilfarm_webhooks_waiting", "Webhooks that aren't delivered yet.", hooks.waiting())

    def _name(self, worker: str) -> str:
        """Its label. Who has a name keeps it, so that counters never go back."""
        if worker not in self._workers:
            self._workers[worker] = worker if len(self._workers) < MOST_WORKERS else OTHERS
        return self._workers[worker]

    def _by_worker(self, found: dict[tuple[str, str, str], float]) -> Iterable[tuple[tuple[str, ...], float]]:
        sums: dict[tuple[str, ...], float] = {}
        for (worker, device, step), value in found.items():
            key = (self._name(worker), device, step)
            sums[key] = sums.get(key, 0) + value
        return sums.items()


def _counted(kinds: Iterable[JobState], counts: dict[JobState, int]) -> Iterable[tuple[tuple[str, ...], float]]:
    return [((kind.value,), counts.get(kind, 0)) for kind in kinds]


_Samples = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, labels: list[str], samples: _Samples) -> Metric:
    found = GaugeMetricFamily(name, text, labels=labels)
    for key, value in samples:
        found.add_metric(list(key), value)
    return found


def _counter(name: str, text: str, labels: list[str], samples: _Samples) -> Metric:
    found = CounterMetricFamily(name, text, labels=labels)
    for key, value in samples:
        found.add_metric(list(key), value)
    return found
