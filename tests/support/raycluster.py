"""A Ray cluster of several machines on this one: each is a `ray start --block` with all of its processes.

Never `ray stop`, which ends every Ray on the machine: each node's processes are known by their environment.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from command import alive, named
from hosts import Hosts
from servers import free_port

RAY = str(Path(sys.executable).with_name("ray"))
SETTINGS = Path(__file__).parents[2] / "deploy" / "ray.env"
_STORE = 80 * 1024**2


def environment() -> dict[str, str]:
    """For every process of a cluster, the driver too: what a farm's machines have, and a token of its own."""
    lines = [line for line in SETTINGS.read_text().splitlines() if line and not line.startswith("#")]
    shipped = dict(line.split("=", 1) for line in lines)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return shipped | {"RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def start_command(folder: Path, cpus: int, ip: str, *more: str) -> list[str]:
    """`ray start` of a node. `folder`: a short path, since sockets lie in it."""
    common = ["--block", "--disable-usage-stats", f"--num-cpus={cpus}", "--num-gpus=0"]
    common += [f"--object-store-memory={_STORE}", f"--node-ip-address={ip}", f"--temp-dir={folder}"]
    return [RAY, "start", *common, *more]


def head_options(port: int) -> list[str]:
    """Of the node that the others join."""
    return ["--head", f"--port={port}", "--include-dashboard=false"]


@dataclass
class Node:
    """One "machine"."""

    process: "subprocess.Popen[bytes]"
    mark: str
    log: Path
    host: str = ""

    def alive(self) -> list[int]:
        """Its processes."""
        return alive(self.mark)

    def workers(self) -> list[int]:
        """Those of its processes that work for the farm."""
        return named(self.mark, "ray::ActorWorker")

    def kill(self) -> None:
        """The power is cut: all of its processes end at once."""
        while left := self.alive():
            for pid in left:
                with_pid(pid, signal.SIGKILL)
        self.process.wait()


def with_pid(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


@dataclass
class Cluster:
    """A head, and nodes. With `hosts` each node is on one of them, and the head on the first."""

    port: int
    env: dict[str, str]
    folder: Path
    nodes: list[Node] = field(default_factory=list)
    hosts: Hosts | None = None

    @property
    def address(self) -> str:
        """Where drivers find it."""
        ip = next(iter(self.hosts.address.values())) if self.hosts else "127.0.0.1"
        return f"{ip}:{self.port}"

    def start(
        self, cpus: int, options: Sequence[str] = (), host: str = "", env: Mapping[str, str] | None = None
    ) -> Node:
        """Another node; it joins when it is up."""
        mark = f"VEILFARM_TEST_NODE={os.getpid()}-{time.monotonic_ns()}"
        name, _, value = mark.partition("=")
        log = self.folder / f"node-{len(self.nodes)}.log"
        folder = self.folder / str(len(self.nodes))
        ip = self.hosts.address[host] if self.hosts else "127.0.0.1"
        command = start_command(folder, cpus, ip, *(options or (f"--address={self.address}",)))
        if self.hosts:
            command = self.hosts.on(host, command)
        with open(log, "wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env, **(env or {}), name: value},
                start_new_session=True,
            )
        self.nodes.append(Node(process, mark, log, host))
        return self.nodes[-1]

    def up(self, node: Node, seconds: float = 90) -> None:
        """Wait until it says that it is."""
        end = time.monotonic() + seconds
        while "Ray runtime started" not in (said := node.log.read_text(errors="replace")):
            assert node.process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.1)


@contextmanager
def machines(hosts: Hosts | None = None) -> Iterator[Cluster]:
    """A cluster without any node yet."""
    folder = Path(tempfile.mkdtemp(prefix="vfc-", dir="/tmp"))  # a short path: sockets lie in it
    found = Cluster(free_port(), environment(), folder, hosts=hosts)
    try:
        yield found
    finally:
        for node in found.nodes:
            node.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cluster(*cpus: int) -> Iterator[Cluster]:
    """A head without processors, and a node for each number of them."""
    with machines() as found:
        found.up(found.start(0, head_options(found.port)))
        for node in [found.start(each) for each in cpus]:
            found.up(node)
        yield found
