"""The metrics, as Prometheus reads them."""

import dataclasses
import time
from pathlib import Path

import pytest
from apifarm import submit
from prometheus_client.parser import text_string_to_metric_families

from cluster import metrics
from cluster.account import Account, FarmStatus, WorkerStatus
from cluster.book import Book
from cluster.counted import CountedStore
from cluster.jobindex import JobIndex
from cluster.metrics import FarmMetrics, Sources
from cluster.states import Move
from storage.memory import MemoryStore
from storage.objects import NoSuchObject, StoreError


def worker(name: str, state: str = "idle", device: str = "cpu", fps: float = 0.0) -> WorkerStatus:
    return WorkerStatus(name, device, state, "", "", 0, fps, "")


class Seen:
    """A farm's numbers, and how Prometheus reads them."""

    def __init__(self) -> None:
        self.store = CountedStore(MemoryStore())
        self.book = Book(self.store)
        self.index = JobIndex(self.book)
        self.account = Account(self.book)
        self.workers: list[WorkerStatus] = []
        self.now = time.time()
        sources = Sources(self.account, self.index, self.store, None, self._status, lambda: True)
        self.metrics = FarmMetrics(sources, lambda: self.now)

    def _status(self) -> FarmStatus:
        return FarmStatus(0.0, "here", tuple(self.workers), ())

    def read(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        families = list(text_string_to_metric_families(self.metrics.text().decode()))
        assert all(family.documentation for family in families if family.name.startswith("veilfarm"))
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.read()[name, frozenset(labels.items())]


@pytest.fixture
def farm() -> Seen:
    return Seen()


def test_jobs_by_state_and_the_age_of_the_queue(farm: Seen) -> None:
    jobs = [submit(farm.book) for _ in range(3)]
    farm.book.change(jobs[0], "x", Move.PAUSE)
    farm.index.refresh()
    assert farm.value("veilfarm_jobs", state="queued") == 2
    assert farm.value("veilfarm_jobs", state="paused") == 1
    assert farm.value("veilfarm_jobs", state="failed") == 0
    farm.now = farm.book.control(jobs[1]).since + 60
    assert farm.value("veilfarm_queue_age_seconds") == pytest.approx(60)
    for job in jobs[1:]:
        farm.book.change(job, "x", Move.CANCEL)
    farm.index.refresh()
    assert farm.value("veilfarm_queue_age_seconds") == 0


def test_work_is_counted_by_worker_device_and_step(farm: Seen) -> None:
    farm.account.frames["w1", "cuda", "render"] += 120
    farm.account.seconds["w1", "cuda", "render"] = 4.5
    farm.account.units["render", "done"] += 2
    farm.account.retries["hang"] += 1
    labels = {"worker": "w1", "device": "cuda", "step": "render"}
    assert farm.value("veilfarm_frames_total", **labels) == 120
    assert farm.value("veilfarm_work_seconds_total", **labels) == 4.5
    assert farm.value("veilfarm_units_total", step="render", outcome="done") == 2
    assert farm.value("veilfarm_units_total", step="stitch", outcome="failed") == 0
    assert farm.value("veilfarm_retries_total", **{"class": "hang"}) == 1
    assert farm.value("veilfarm_retries_total", **{"class": "memory"}) == 0


def test_workers_by_state_and_their_speed(farm: Seen) -> None:
    farm.workers = [worker("a", "busy", "cuda", 12.5), worker("b"), worker("c")]
    assert farm.value("veilfarm_workers", state="idle", device="cpu") == 2
    assert farm.value("veilfarm_workers", state="busy", device="cuda") == 1
    assert farm.value("veilfarm_workers", state="blocked", device="cpu") == 0
    assert farm.value("veilfarm_worker_frames_per_second", worker="a", device="cuda") == 12.5
    assert farm.value("veilfarm_leader") == 1


def test_further_workers_share_a_name_and_no_counter_goes_back(farm: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_WORKERS", 2)
    for number in range(5):
        farm.account.frames[f"w{number}", "cpu", "render"] += 10
        farm.read()  # who comes first is known by name
    found = {dict(labels)["worker"]: n for (name, labels), n in farm.read().items() if name == "veilfarm_frames_total"}
    assert found == {"w0": 10, "w1": 10, "other": 30}


def test_the_store_is_counted(farm: Seen, tmp_path: Path) -> None:
    before = farm.value("veilfarm_store_written_bytes_total")
    farm.store.create("a", b"12345")
    (tmp_path / "b").write_bytes(b"123")
    farm.store.put_file("b", tmp_path / "b")
    farm.store.read("a")
    farm.store.read_range("a", 1, 2)
    with pytest.raises(NoSuchObject):
        farm.store.read("nothing")
    assert farm.value("veilfarm_store_written_bytes_total") - before == 8
    assert farm.value("veilfarm_store_read_bytes_total") == 7
    assert farm.value("veilfarm_store_calls_total", operation="read", outcome="ok") == 2
    assert (
        "veilfarm_store_calls_total",
        frozenset({"operation": "read", "outcome": "error"}.items()),
    ) not in farm.read()


def test_a_store_that_fails_is_counted_as_such(farm: Seen) -> None:
    class Away(MemoryStore):
        def read(self, key: str) -> bytes:
            raise StoreError("away")

    farm.store.inner = Away()
    with pytest.raises(StoreError, match="away"):
        farm.store.read("a")
    assert farm.value("veilfarm_store_calls_total", operation="read", outcome="error") == 1


def test_names_follow_the_conventions(farm: Seen) -> None:
    farm.workers = [dataclasses.replace(worker('odd "name"\n'), fps=1.0)]
    kinds = {}
    for line in farm.metrics.text().decode().splitlines():
        if line.startswith("# TYPE veilfarm"):
            _, _, name, kind = line.split()
            kinds[name] = kind
    assert len(kinds) >= 12
    for name, kind in kinds.items():
        assert name.endswith("_total") == (kind == "counter"), name
    assert farm.value("veilfarm_worker_frames_per_second", worker='odd "name"\n', device="cpu") == 1.0
