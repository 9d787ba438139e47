"""A private Ray on this machine, and the pool of workers on it: started for one command, and gone with it.

Quiet, offline, no dashboard. Starting takes seconds, so it happens in a thread; until then the one order that a film
begins with is done in this process.
"""

import contextlib
import fcntl
import logging
import os
import queue
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import exits, processes
from cluster.actors import Actors, Patience, Place, new_actor
from cluster.job import Step
from cluster.ledger import Unit
from cluster.roles import FarmError
from cluster.schedule import Seat
from cluster.workers import Order, Outcome, Steps, Worker

EARLY = frozenset({Step.INGEST, Step.INDEX, Step.PLAN})
"""Steps that need no worker of their own: decoding and numbers, no network."""

_EARLY = "here"  # the name of this process as a worker
_NAME = "worker-"
_HELD = ".held"  # a file that is locked as long as the folder's process lives
# A machine under load is slow, not lost; but a decoder that hangs is ended.
_PATIENCE = Patience(silent=300, born=600, stuck=900)
_LITTER = 3600.0  # seconds after which a folder that nobody holds is nobody's
_SWEEPS = 20  # of its folder, a tenth of a second apart
_STARTS = 3  # of Ray, until it is given up
_STORE_BYTES = 80 * 1024**2  # Ray's smallest is 75 MiB; only small records go through it


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many workers, and what each may use."""

    workers: int
    threads: int  # of one worker
    gpus: int  # of the machine; 0: no GPU is used


def quiet_environment(threads_each: int) -> dict[str, str]:
    """Ray reads these when it is imported, and hands them to its workers. Own token: HOME may be shared."""
    threads = str(threads_each)
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
        # On a machine under load a worker may not be up after 60 s: then Ray kills it and begins anew, for ever. Its
        # own start waits for the first workers, and then for ever, too.
        "RAY_worker_register_timeout_seconds": "600",
        "RAY_prestart_worker_first_driver": "0",
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


def without_messages() -> None:
    """Keep Ray from writing on stdout what its servers say of workers that died: `log_to_driver` doesn't."""
    from ray._private import worker

    module: Any = worker
    if hasattr(module, "print_to_stdstream"):
        module.print_to_stdstream = lambda *_, **__: None


def own_folder() -> tuple[Path, int]:
    """A new folder for Ray, and the descriptor that holds it for this process. Those of killed processes go."""
    # Sockets lie in here, and a socket's path may have 107 bytes: a long TMPDIR would not do.
    place = Path("/tmp") if os.path.isdir("/tmp") else Path(tempfile.gettempdir())
    for old in place.glob(f"veil-*/{_HELD}"):
        with contextlib.suppress(OSError), open(old, "rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel has freed it
            if old.parent.lstat().st_uid == os.getuid():
                shutil.rmtree(old.parent, ignore_errors=True)
    for old in place.glob("veil-[0-9]*-*"):  # what was left when removing one was cut off
        with contextlib.suppress(OSError):
            facts = old.lstat()
            if time.time() - facts.st_mtime > _LITTER and facts.st_uid == os.getuid() and not (old / _HELD).exists():
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"veil-{os.getpid()}-", dir=place))
    held = os.open(folder / f"{_HELD}.new", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    (folder / f"{_HELD}.new").rename(folder / _HELD)  # nobody sees it before it is held
    return folder, held


class LocalPool:
    """A farm's Pool. `close` must be called; the process must not go on to use Ray afterwards."""

    def __init__(self, steps: Steps, settings: PoolSettings, early: bool = True) -> None:
        """`early`: until Ray is up, EARLY steps may be done in this process. A decoder that crashes ends it then."""
        self.size = settings.workers
        self._steps, self._settings = steps, settings
        self._device = "cuda" if settings.gpus else "cpu"
        self._early = Worker(steps, settings.threads, self._device) if early else None
        self._early_order: Order | None = None
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._actors = Actors(_PATIENCE)
        self._count = 0  # of workers that were started
        self._drained = frozenset[str]()
        self._begun = False  # whether a worker has ever been given an order
        self._servers: dict[int, str] = {}
        self._error: BaseException | None = None
        self._up, self._leaving, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._folder, self._held = own_folder()
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        try:
            os.environ.update(quiet_environment(self._settings.threads))
            import ray

            logging.getLogger("ray").setLevel(logging.CRITICAL)
            without_extras()
            without_messages()
            self._init(ray)
            names = {pid: processes.name_of(pid) for pid in processes.descendants()}
            self._servers = {pid: name for pid, name in names.items() if name in ("raylet", "gcs_server")}
            for _ in range(self.size):
                self._add_worker()
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

    def _add_worker(self) -> None:
        self._count += 1
        name, gpus = f"{_NAME}{self._count}", gpu_share(self.size, self._settings.gpus)
        actor = new_actor(self._steps, self._settings.threads, self._device, name, num_cpus=1, num_gpus=gpus)
        self._actors.add(name, actor, self._device)

    def seats(self, unit: Unit) -> tuple[Seat, ...]:
        """See Pool."""
        if self._for_workers(unit):
            return tuple(seat for seat in self._actors.seats() if seat.name not in self._drained)
        if self._thread is None:  # only now: a command that finds nothing to do doesn't start Ray
            self._thread = threading.Thread(target=self._start, name="ray-start", daemon=True)
            self._thread.start()
        if self._early is None:
            return ()
        return (Seat(_EARLY, unit.step in EARLY and self._early_order is None, self._device),)

    def _for_workers(self, unit: Unit) -> bool:
        """Workers that are up still have to load their networks, which the first film's early steps don't wait for."""
        return self._up.is_set() and (self._begun or self._early is None or unit.step not in EARLY)

    def submit(self, order: Order, seat: Seat) -> None:
        """See Pool."""
        if seat.name != _EARLY:
            self._begun = True
            self._actors.submit(order, seat.name)
            return
        self._early_order = order
        threading.Thread(target=self._run_early, args=(order,), name="early-step", daemon=True).start()

    def _run_early(self, order: Order) -> None:
        assert self._early is not None
        self._outcomes.put(self._early.run(order))

    def poll(self, timeout: float) -> list[Outcome]:
        """See Pool. Raises Interrupted, too."""
        exits.check()
        # A step that needs no Ray is ended in peace: it may find that there is nothing to do.
        if self._up.is_set() and self._error is not None and self._early_order is None:
            raise FarmError(f"Ray did not start: {self._error}") from self._error
        self._check_servers()
        if not self._up.is_set():
            if self._early_order is None:
                self._up.wait(timeout)
            return self._early_outcomes(timeout)
        if self._actors.busy():
            return self._early_outcomes(0) + self._collect(timeout)
        # Idle workers are asked, too: one that has died is replaced before it is needed.
        return self._collect(0) + self._early_outcomes(timeout)

    def _early_outcomes(self, timeout: float) -> list[Outcome]:
        try:
            outcome = self._outcomes.get(timeout=timeout) if timeout else self._outcomes.get_nowait()
        except queue.Empty:
            return []
        self._early_order = None
        return [outcome]

    def _collect(self, timeout: float) -> list[Outcome]:
        outcomes, gone = self._actors.collect(timeout)
        if self._actors.hopeless:
            raise FarmError(f"no worker comes up: {self._actors.hopeless}")
        # One that was told to end leaves when its order is done. There is no other machine: it gets a successor here.
        left = [place for place in self.places if place.leaving and place.order is None]
        self._actors.remove(left)
        for _ in [*gone, *left]:
            self._add_worker()
        return outcomes

    def drain(self, workers: frozenset[str]) -> None:
        """These get no more orders."""
        self._drained = workers

    def rest(self) -> None:
        """Nobody else could use this Ray."""

    def want(self, units: int, on_gpus: int) -> None:
        """There are no more machines than this one."""

    @property
    def places(self) -> tuple[Place, ...]:
        """The workers, for those who show them."""
        return tuple(self._actors.places.values())

    def _check_servers(self) -> None:
        """Without its servers Ray's calls would wait for a minute, and then end this process without a word."""
        gone = [name for pid, name in self._servers.items() if processes.name_of(pid) != name]
        if gone:
            raise FarmError(f"a server of Ray died: {gone[0]}")

    def frames(self) -> dict[str, int]:
        """See Pool."""
        order, worker = self._early_order, self._early
        early = {order.attempt: worker.frames()} if order is not None and worker is not None else {}
        return early | self._actors.frames()

    def stop(self, attempt: str) -> None:
        """See Pool."""
        place = self._actors.of(attempt)
        if place is not None:
            self._actors.remove([place])
            self._add_worker()

    def leave(self) -> None:
        """Start nothing any more. Comes before `processes.end_all`, at which a Ray that is being started fails."""
        self._leaving.set()

    def close(self) -> None:
        """Forget Ray and remove its folder. The caller ends the processes first (`leave`, `processes.end_all`)."""
        if not self._closed.is_set():
            self._closed.set()
            for _ in range(_SWEEPS):  # a start that is failing may still put something there
                shutil.rmtree(self._folder, ignore_errors=True)
                if not self._folder.exists() and not (self._thread and self._thread.is_alive()):
                    break
                time.sleep(0.1)
            os.close(self._held)


def gpu_share(workers: int, gpus: int) -> float:
    """What each worker asks of a GPU, so that all find room: Ray gives fractions of one GPU only, in steps of 1/10000.
    Rounded down, and no more than one: nobody uses two."""
    if not gpus:
        return 0
    share = -(-workers // gpus)  # workers on the fullest GPU
    return 1 if share == 1 else int(1e4 / share) / 1e4
