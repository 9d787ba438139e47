"""What can happen to a farm on a Ray cluster, and to one whose machines have a network between them.

A supervisor's part is played here: what has ended by itself is started again, as systemd and Kubernetes do it. That it
ends by itself, with all that it had started, is looked at.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaosfarm import EVERY, Chaos, Fault, kill, title
from command import named
from hosts import Hosts, hosts
from raycluster import Cluster, Node, head_options, machines
from serving import Serving, until
from shaky import Shaky

ENDS = 150.0  # seconds in which what has lost its head, or was given up by it, ends by itself


@dataclass
class OnCluster(Chaos):
    """A head without processors, and two machines with one worker each."""

    cluster: Cluster = None  # type: ignore[assignment]
    head: Node = None  # type: ignore[assignment]
    nodes: list[Node] = field(default_factory=list)
    caches: dict[str, Path] = field(default_factory=dict)  # of machines, by name

    def pool(self) -> list[str]:
        """Options for its workers."""
        return ["--ray", self.cluster.address]

    def up(self) -> None:
        """The whole cluster."""
        self.head = self.machine(0, "head", head_options(self.cluster.port))
        for name in ("near", "far"):
            self.nodes.append(self.machine(1, name))

    def machine(self, cpus: int, name: str, options: list[str] | None = None) -> Node:
        """A machine joins."""
        cache = {"VEILFARM_CACHE": str(self.caches[name])} if name in self.caches else {}
        node = self.cluster.start(cpus, options or (), name, (self.store.env if self.store else {}) | cache)
        self.cluster.up(node)
        return node

    def again(self, node: Node, patience: float = 60) -> None:
        """What a supervisor does when a machine's Ray has ended: first nothing of it may be left."""
        with contextlib.suppress(AssertionError):
            until(lambda: not node.alive(), patience, EVERY)
        self.blame(bool(node.alive()), f"a machine's Ray has ended, but not {[title(pid) for pid in node.alive()]}")
        node.kill()
        self.nodes[self.nodes.index(node)] = self.machine(1, node.host)

    def ends(self, what: Node | Serving) -> None:
        """Wait until it has ended by itself."""
        with contextlib.suppress(AssertionError):
            until(lambda: what.process.poll() is not None, ENDS, EVERY)
        name = what.host if isinstance(what, Node) else "the controller"
        self.blame(what.process.poll() is None, f"{name} didn't see that Ray is gone")
        kill(what.alive())
        what.process.wait()

    def workers(self) -> list[int]:
        """Processes of workers that are up."""
        return [pid for node in self.nodes for pid in node.workers()]

    def node_killed(self) -> None:
        """A machine loses its power, and is back after a while."""
        node = self.random.choice(self.nodes)
        node.kill()
        time.sleep(self.random.uniform(0, 5))
        self.again(node)

    def raylet_killed(self) -> None:
        """Ray's own process on a machine; what it has started may not live on."""
        node = self.random.choice(self.nodes)
        kill([pid for pid in node.alive() if title(pid).split(" ")[0].endswith("/raylet")])
        self.ends(node)
        self.again(node)

    def head_killed(self) -> None:
        """The head loses its power and is started again: everything else ends by itself, and is started again."""
        self.head.kill()
        time.sleep(self.random.uniform(0, 3))
        self.head = self.machine(0, self.head.host, head_options(self.cluster.port))
        self.ends(self.leader())
        for node in list(self.nodes):
            self.ends(node)
            self.again(node)
        self.start()

    def kinds(self) -> tuple[list[Fault], list[Fault]]:
        """See Chaos."""
        often = [self.worker_killed, self.all_workers_killed, self.worker_stopped_for_a_while, self.controller_killed]
        often += [self.two_controllers, self.node_killed, self.raylet_killed, self.farm_ended_politely]
        often += [self.poisonous_chunk, *([self.disk_full] if self.disk else [])]
        return often, [self.head_killed, self.leader_asleep]

    def mend(self) -> None:
        """See Chaos."""
        for node in list(self.nodes):
            if node.process.poll() is not None:
                self.again(node)
        super().mend()


@dataclass
class OnHosts(OnCluster):
    """Two machines with a network between them; the head and the controller are on the near one."""

    hosts: Hosts = None  # type: ignore[assignment]

    def command(self) -> list[str]:
        """See Chaos."""
        return self.hosts.on("near", super().command())

    def up(self) -> None:
        """The whole cluster."""
        self.head = self.machine(0, "near", head_options(self.cluster.port))
        self.nodes.append(self.machine(1, "far"))

    def machine(self, cpus: int, name: str, options: list[str] | None = None) -> Node:
        """The near one has the head and a processor."""
        return super().machine(1 if name == "near" else cpus, name, options)

    def workers(self) -> list[int]:
        """Processes of workers that are up."""
        return [*super().workers(), *self.head.workers()]

    def end(self, serving: Serving) -> None:
        """The process that waits for one in a host doesn't hand signals on."""
        kill(named(serving.mark, sys.executable), signal.SIGTERM)
        code = serving.process.wait(timeout=120)
        self.ended_well(serving, code if code < 128 else 128 - code)

    def cut(self, seconds: float) -> None:
        """The far one loses its cable: it reaches neither the head nor the store."""
        self.hosts.cable("far", plugged=False)
        time.sleep(seconds)
        self.hosts.cable("far", plugged=True)

    def link_cut_5_s(self) -> None:
        """Not long enough for anybody to be given up."""
        self.cut(5)

    def link_cut_60_s(self) -> None:
        """The far one is given up: its Ray ends when it hears of it, and is started again."""
        self.cut(60)
        (far,) = self.nodes
        self.ends(far)
        self.again(far)

    def kinds(self) -> tuple[list[Fault], list[Fault]]:
        """See Chaos."""
        often = [self.link_cut_5_s, self.link_cut_5_s, self.link_cut_60_s, self.worker_killed, self.node_killed]
        return often, []


@contextlib.contextmanager
def on_cluster(chaos: OnCluster) -> Iterator[OnCluster]:
    """Its machines, up, for the rest of the block."""
    with contextlib.ExitStack() as stack:
        chaos.cluster = stack.enter_context(machines(chaos.hosts if isinstance(chaos, OnHosts) else None))
        chaos.farm.env |= chaos.cluster.env
        chaos.up()
        yield chaos
        chaos.marks += [node.mark for node in chaos.cluster.nodes]


__all__ = ["OnCluster", "OnHosts", "Shaky", "hosts", "on_cluster"]
