"""A farm whose network is cut: two hosts, of which one loses its cable in the middle of a chunk."""

import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import faults
import pytest
from command import named
from faults import Fault, Script, begun
from hosts import Hosts, hosts
from raycluster import environment, head_options, start_command, with_pid
from servers import process
from serving import FarmStore, until

from cluster.job import Step
from cluster.ledger import Unit
from cluster.service import read_status
from cluster.states import JobState
from storage import layout

PORT = 6379


@dataclass
class Network:
    """What runs on it."""

    hosts: Hosts
    folder: Path
    env: dict[str, str]

    @contextlib.contextmanager
    def node(self, name: str, *options: str) -> Iterator[None]:
        """Ray on a host, with one processor."""
        command = start_command(self.folder / name, 1, self.hosts.address[name], *options)
        log = self.folder / f"{name}.log"
        with process(self.hosts.on(name, command), log, self.env) as started:
            until(lambda: started.poll() is not None or "Ray runtime started" in log.read_text())
            assert started.poll() is None, log.read_text()
            yield


@pytest.fixture
def network() -> Iterator[Network]:
    """Two hosts with Ray."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="vfn-", dir="/tmp"))  # a short path: sockets lie in it
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        found = Network(stack.enter_context(hosts("near", "far")), folder, environment())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in found.env.items():
            patch.setenv(name, value)
        stack.enter_context(found.node("near", *head_options(PORT)))
        stack.enter_context(found.node("far", f"--address={found.hosts.address['near']}:{PORT}"))
        yield found


@pytest.mark.slow
def test_a_host_that_is_cut_off_is_given_up_and_commits_nothing(network: Network, tmp_path: Path) -> None:
    """The store is a folder, which the cut doesn't reach: the lost worker goes on and writes all that it has made."""
    farm = FarmStore(str(tmp_path / "store"), tmp_path)
    address = f"{network.hosts.address['near']}:{PORT}"
    settings = {"store": farm.place, "ray": address, "patience": {"silent": 10, "born": 120, "stuck": 300}}
    command = network.hosts.on("near", [sys.executable, faults.__file__, json.dumps(settings)])
    slow = tuple(Fault("wait 15", "analyse", chunk) for chunk in (0, 1))  # the first tries only
    script = Script(str(tmp_path / "notes"), chunks=2, faults=slow)
    with farm.process(command) as serving:
        until(lambda: len(_doing(farm)) == 2)
        job = farm.submit(script.write(tmp_path / "film.mp4"))
        until(lambda: sum(text.startswith("analyse") for text in _doing(farm).values()) == 2)
        lost, chunk = next((name, int(text[-1])) for name, text in _doing(farm).items() if name.startswith("far"))
        unit, ledger = Unit(Step.ANALYSE, chunk), farm.book.ledger(job)
        network.hosts.cable("far", plugged=False)
        until(lambda: ledger.done(unit) is not None)
        until(lambda: farm.tries(job)[layout.unit(job, "analyse", chunk)] == 2)
        network.hosts.cable("far", plugged=True)
        farm.reached(job, JobState.DONE)
        for pid in named(serving.mark, sys.executable):
            with_pid(pid, signal.SIGTERM)
        assert serving.process.wait(timeout=60) == 0, serving.said()
    (failure,) = ledger.failures(unit)
    assert (failure.cause, failure.worker) == ("WorkerLost", lost)
    done = ledger.done(unit)
    assert done is not None
    assert done.worker.startswith("near")
    assert len(begun(tmp_path / "notes", "analyse", chunk)) == 2
    assert not any("/try/" in key for key in farm.objects(f"jobs/{job}"))


def _doing(farm: FarmStore) -> dict[str, str]:
    """What each worker that is up does."""
    status = read_status(farm.book.store)
    return {worker.name: worker.unit for worker in status.workers if worker.state != "starting"} if status else {}
