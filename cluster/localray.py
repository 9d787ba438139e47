"""A private Ray on this machine, and the pool of workers on it: started for one command, and gone with it.

Quiet, offline, no dashboard. Starting takes seconds, so it happens in a thread; until then the one order that a film
begins with is done in this process.
"""

import contextlib
import logging
import os
import queue
import secrets
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import exits, processes
from cluster.farm import FarmError
from cluster.job import Failure, Step
from cluster.ledger import Unit
from cluster.workers import BROKEN, Order, Outcome, Steps, Worker

EARLY = frozenset({Step.INGEST, Step.INDEX, Step.PLAN})
"""Steps that need no worker of their own: decoding and numbers, no network."""

_STARTS = 3  # of Ray, until it is given up
_STORE_BYTES = 80 * 1024**2  # Ray's smallest is 75 MiB; only small records go through it


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many workers, and what each may use."""

    workers: int
    threads: int  # of one worker
    gpus: int  # of the machine; 0: no GPU is used


def quiet_environment(settings: PoolSettings) -> dict[str, str]:
    """Ray reads these when it is imported, and hands them to its workers. Own token: HOME may be shared."""
    threads = str(settings.threads)
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_COLOR_PREFIX": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        # A list of all calls, progress among them, for a dashboard that isn't there: it would grow by 2 MB a minute.
        "RAY_task_events_report_interval_ms": "0",
        # Ray's own is 15: beside any other work, workers would get next to nothing. Who wants that gives `nice`.
        "RAY_worker_niceness": "0",
        # Pictures are megabytes: with huge pages, and with few arenas to scatter them over, a frame takes a quarter
        # less time (`docs/benchmarks.md`). glibc reads this at the start of a process only.
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=2",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }


EXTRAS = ("start_api_server", "start_monitor", "start_log_monitor")
"""What a node of Ray starts and nobody needs here."""


def without_extras() -> None:
    """Keep Ray from starting the dashboard's server (it does so even when told not to), the autoscaler and the reader
    of logs. No option does it. Ray waits for the first: without them it is up 1 to 3 s sooner, and 200 MB smaller."""
    from ray._private.node import Node

    node: Any = Node
    if all(hasattr(node, name) for name in (*EXTRAS, "webui_url")):  # else a newer Ray, which starts as it likes
        node._webui_url = None
        for name in EXTRAS:
            setattr(node, name, lambda *_, **__: None)


class PreparedWorker(Worker):
    """A worker in a process of its own: what can be loaded before the first order is loaded at its birth."""

    def __init__(self, steps: Steps, threads: int) -> None:
        super().__init__(steps, threads)
        # What fails here fails again in the first order, which can tell.
        with contextlib.suppress(Exception):
            steps.prepare(threads)


class LocalPool:
    """A farm's Pool. `close` must be called; the process must not go on to use Ray afterwards."""

    def __init__(self, steps: Steps, settings: PoolSettings) -> None:
        self.size = settings.workers
        self._steps, self._settings = steps, settings
        self._early = Worker(steps, settings.threads)
        self._early_order: Order | None = None
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._idle: list[Any] = []
        self._begun = False  # whether a worker has ever been given an order
        self._busy: dict[Any, tuple[Any, Order]] = {}  # reference of the outcome -> actor, order
        self._asked: dict[Any, Order] = {}  # reference of a number of frames -> order
        self._frames: dict[str, int] = {}
        self._servers: dict[int, str] = {}
        self._error: BaseException | None = None
        self._up, self._leaving, self._closed = threading.Event(), threading.Event(), threading.Event()
        # Sockets lie in here, and a socket's path may have 107 bytes: a long TMPDIR would not do.
        place = "/tmp" if os.path.isdir("/tmp") else None
        self._folder = Path(tempfile.mkdtemp(prefix=f"veil-{os.getpid()}-", dir=place))
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        try:
            os.environ.update(quiet_environment(self._settings))
            import ray

            logging.getLogger("ray").setLevel(logging.CRITICAL)
            without_extras()
            self._init(ray)
            names = {pid: processes.name_of(pid) for pid in processes.descendants()}
            self._servers = {pid: name for pid, name in names.items() if name in ("raylet", "gcs_server")}
            self._idle = [self._new_actor() for _ in range(self.size)]
        except Exception as error:  # noqa: BLE001  told by `poll`, in the main thread
            self._error = error
        self._up.set()
        # Ray's servers are bound to the life of the thread that started them (PR_SET_PDEATHSIG): it has to stay.
        self._closed.wait()

    def _init(self, ray: Any) -> None:
        """Under load, one start of some twenty fails: Ray's servers didn't find each other in time."""
        for left in reversed(range(_STARTS)):
            try:
                ray.init(
                    num_cpus=self.size,
                    num_gpus=self._settings.gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    object_store_memory=_STORE_BYTES,
                    _temp_dir=str(self._folder),
                    _node_ip_address="127.0.0.1",
                )
            except Exception:
                if not left or self._leaving.is_set():
                    raise
                with contextlib.suppress(Exception):
                    ray.shutdown()
            else:
                return

    def _new_actor(self) -> Any:
        import ray

        gpus = gpu_share(self.size, self._settings.gpus)
        remote: Any = ray.remote  # its overloads don't know options with a class
        actor = remote(num_cpus=1, num_gpus=gpus, concurrency_groups={"status": 1})(PreparedWorker)
        return actor.remote(self._steps, self._settings.threads)

    def takes(self, unit: Unit) -> bool:
        """See Pool."""
        if self._for_workers(unit):
            return bool(self._idle)
        if self._thread is None:  # only now: a command that finds nothing to do doesn't start Ray
            self._thread = threading.Thread(target=self._start, name="ray-start", daemon=True)
            self._thread.start()
        return unit.step in EARLY and self._early_order is None

    def _for_workers(self, unit: Unit) -> bool:
        """Workers that are up still have to load their networks, which the first film's early steps don't wait for."""
        return self._up.is_set() and (self._begun or unit.step not in EARLY)

    def submit(self, order: Order) -> None:
        """See Pool."""
        if self._for_workers(order.unit):
            self._begun = True
            actor = self._idle.pop(0)
            self._busy[actor.run.remote(order)] = (actor, order)
            return
        self._early_order = order
        threading.Thread(target=self._run_early, args=(order,), name="early-step", daemon=True).start()

    def _run_early(self, order: Order) -> None:
        self._outcomes.put(self._early.run(order))

    def poll(self, timeout: float) -> list[Outcome]:
        """See Pool. Raises Interrupted, too."""
        exits.check()
        # A step that needs no Ray is ended in peace: it may find that there is nothing to do.
        if self._up.is_set() and self._error is not None and self._early_order is None:
            raise FarmError(f"Ray did not start: {self._error}") from self._error
        self._check_servers()
        if self._busy:
            return self._early_outcomes(0) + self._collect(timeout)
        if self._early_order is None:
            self._up.wait(timeout)
        return self._early_outcomes(timeout)

    def _early_outcomes(self, timeout: float) -> list[Outcome]:
        try:
            outcome = self._outcomes.get(timeout=timeout) if timeout else self._outcomes.get_nowait()
        except queue.Empty:
            return []
        self._early_order = None
        return [outcome]

    def _collect(self, timeout: float) -> list[Outcome]:
        import ray
        from ray.exceptions import RayError

        ready, _ = ray.wait(list(self._busy), num_returns=1, timeout=timeout)
        outcomes = []
        for reference in ready:
            actor, order = self._busy.pop(reference)
            self._frames.pop(order.attempt, None)
            try:
                outcome = ray.get(reference)
                broken = outcome.failure is not None and outcome.failure.cause in BROKEN
            except RayError as error:
                outcome, broken = Outcome(order, 0.0, _died(error)), True
            outcomes.append(outcome)
            if broken:
                with contextlib.suppress(RayError):
                    ray.kill(actor)
            self._idle.append(self._new_actor() if broken else actor)
        return outcomes

    def _check_servers(self) -> None:
        """Without its servers Ray's calls would wait for a minute, and then end this process without a word."""
        gone = [name for pid, name in self._servers.items() if processes.name_of(pid) != name]
        if gone:
            raise FarmError(f"a server of Ray died: {gone[0]}")

    def frames(self) -> dict[str, int]:
        """See Pool. Asks each busy worker again only when it has answered: a worker in a long step answers late."""
        if self._early_order is not None:
            self._frames[self._early_order.attempt] = self._early.frames()
        if self._busy:
            self._ask()
        return dict(self._frames)

    def _ask(self) -> None:
        import ray
        from ray.exceptions import RayError

        waiting = {order.attempt for order in self._asked.values()}
        for actor, order in self._busy.values():
            if order.attempt not in waiting:
                self._asked[actor.frames.options(concurrency_group="status").remote()] = order
        ready, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        running = {order.attempt for _, order in self._busy.values()}
        for reference in ready:
            order = self._asked.pop(reference)
            with contextlib.suppress(RayError):
                frames = ray.get(reference)
                if order.attempt in running:
                    self._frames[order.attempt] = frames

    def leave(self) -> None:
        """Start nothing any more. Comes before `processes.end_all`, at which a Ray that is being started fails."""
        self._leaving.set()

    def close(self) -> None:
        """Forget Ray and remove its folder. The caller ends the processes first (`leave`, `processes.end_all`)."""
        self._closed.set()
        shutil.rmtree(self._folder, ignore_errors=True)


def gpu_share(workers: int, gpus: int) -> float:
    """What each worker asks of a GPU, so that all find room: Ray gives fractions of one GPU only, in steps of 1/10000.
    Rounded down, and no more than one: nobody uses two."""
    if not gpus:
        return 0
    share = -(-workers // gpus)  # workers on the fullest GPU
    return 1 if share == 1 else int(1e4 / share) / 1e4


def _died(error: Exception) -> Failure:
    text = str(error).strip().splitlines()
    why = "it ran out of memory" if "OutOfMemory" in type(error).__name__ else "it was killed or it crashed"
    return Failure("WorkerDied", "a worker process died", why, "try fewer --workers", "\n".join(text))
