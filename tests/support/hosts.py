"""Throw-away hosts: network namespaces with processes, mounts and shared memory of their own, on one bridge.

The bridge has a namespace of its own and no way out. A host is the namespaces of one `sleep`: when that is killed,
everything on the host is gone. Needs root and iproute2.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import needed

_TAG = f"vf{os.getpid()}"
_SWITCH = f"{_TAG}sw"
BRIDGE = "10.77.0.254"  # an address of the switch itself: a cable that is pulled cuts one host from it, and no other
_CLONE_NEWNET = 0x40000000  # linux/sched.h


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Hosts:
    """By name: addresses, commands on them, and their cables."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self.address = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        self._folder = folder
        self._inits: dict[str, int] = {}

    def boot(self, stack: contextlib.ExitStack) -> None:
        """Make the switch and all hosts; `stack` takes them down."""
        stack.callback(subprocess.run, ["ip", "netns", "del", _SWITCH], capture_output=True)
        _ip("netns", "add", _SWITCH)
        _ip("-n", _SWITCH, "link", "add", "br0", "type", "bridge")
        _ip("-n", _SWITCH, "link", "set", "br0", "up")
        _ip("-n", _SWITCH, "addr", "add", f"{BRIDGE}/24", "dev", "br0")
        for name in self.address:
            self._boot(name, stack)

    def _boot(self, name: str, stack: contextlib.ExitStack) -> None:
        space = f"{_TAG}{name}"
        stack.callback(subprocess.run, ["ip", "netns", "del", space], capture_output=True)
        _ip("netns", "add", space)
        _ip("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", name, "netns", _SWITCH)
        _ip("-n", _SWITCH, "link", "set", "dev", name, "master", "br0")
        _ip("-n", _SWITCH, "link", "set", "dev", name, "up")
        _ip("-n", space, "addr", "add", f"{self.address[name]}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "route", "add", "default", "dev", "eth0")  # programs look there for their own address
        # Names must fail at once, or everything waits for a server of names that isn't there.
        own = self._folder / name
        own.mkdir()
        known = "".join(f"{address} {other}\n" for other, address in self.address.items())
        (own / "hosts").write_text(f"127.0.0.1 localhost\n{known}")
        (own / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        up = own / "up"
        setup = [
            "mount --make-rprivate /",
            f"mount --bind {own}/hosts /etc/hosts",
            f"mount --bind {own}/resolv.conf /etc/resolv.conf",
            "mount -t tmpfs -o size=1g tmpfs /dev/shm",
            f"hostname {name}",
            f"touch {up}",
            "exec sleep infinity",
        ]
        spaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        host = subprocess.Popen(
            ["ip", "netns", "exec", space, *spaces, "sh", "-ec", "; ".join(setup)], stdin=subprocess.DEVNULL
        )
        stack.callback(host.wait)
        stack.callback(host.kill)
        end = time.monotonic() + 30
        while not up.exists():
            assert host.poll() is None, f"{name} didn't come up"
            assert time.monotonic() < end, f"{name} didn't come up"
            time.sleep(0.02)
        children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
        self._inits[name] = int(children[0])
        stack.callback(_end, self._inits[name])

    def on(self, name: str, command: list[str]) -> list[str]:
        """The command as one that runs on a host."""
        return ["nsenter", "-t", str(self._inits[name]), "-n", "-m", "-p", "-i", "-u", "--", *command]

    def listener(self) -> socket.socket:
        """A socket on the switch, from which this process accepts what hosts send to `BRIDGE` and its port."""
        found = list[socket.socket]()

        def there() -> None:  # a thread of its own, since it stays in that namespace
            with open(f"/run/netns/{_SWITCH}") as space:
                if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns failed")
            found.append(socket.create_server((BRIDGE, 0)))

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        return found[0]

    def cable(self, name: str, plugged: bool) -> None:
        """Pull a host's cable, or put it back."""
        _ip("-n", _SWITCH, "link", "set", "dev", name, "up" if plugged else "down")


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Hosts of these names. Skips the test where there can't be any, unless VEILFARM_REQUIRE_HOSTS is 1."""
    needed(("ip", "unshare", "nsenter"), "iproute2 util-linux", "VEILFARM_REQUIRE_HOSTS")
    if os.geteuid() != 0:
        pytest.skip("only root can make hosts")
    folder = Path(tempfile.mkdtemp(prefix="vfh-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        found = Hosts(folder, names)
        try:
            found.boot(stack)
        except subprocess.CalledProcessError as error:
            if os.environ.get("VEILFARM_REQUIRE_HOSTS") == "1":
                raise
            pytest.skip(f"no namespaces here: {error.stderr.decode(errors='replace').strip()}")
        yield found
