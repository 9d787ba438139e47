"""A real S3 server that things are done to: behind a line that can be harmed, with copies on a disk that can fill."""

import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flaky import Harm, flaky
from hosts import BRIDGE, Hosts
from rgw import Gateway, gateway

_DISK = 96 << 20  # bytes
_PIECE = 1 << 20


@dataclass
class Shaky:
    """What a farm's processes reach, and what can happen to it. The test itself reaches the server directly."""

    gateway: Gateway
    harm: Harm
    host: str
    folder: Path
    stack: contextlib.ExitStack

    @property
    def env(self) -> dict[str, str]:
        """How the farm reaches it."""
        endpoint = f"http://{self.host}:{self.harm.port}"
        return self.gateway.environment(self.folder / "cache") | {"VEILFARM_S3_ENDPOINT": endpoint}

    def disk(self, name: str) -> Path:
        """A small disk of its own, mounted. Only root can have one: others get a folder."""
        folder = self.folder / name
        folder.mkdir()
        if os.geteuid() == 0:
            options = ["-o", f"size={_DISK},mode=700"]
            subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], check=True)
            self.stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)
        return folder

    def stopped(self, seconds: float) -> None:
        """It takes connections and doesn't answer."""
        pids = self.gateway.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def killed(self, seconds: float) -> None:
        """Nobody takes connections; then there is a new process."""
        self.gateway.kill()
        time.sleep(seconds)
        self.stack.enter_context(self.gateway.again())

    def moody(self, mood: str, seconds: float) -> None:
        """The line to it, or the server, is as `Harm` says."""
        self.harm.mood = mood
        try:
            time.sleep(seconds)
        finally:
            self.harm.mood = "fine"


def full(disk: Path, seconds: float) -> None:
    """Somebody else's file takes all the room that there is and that is freed, until it is deleted."""
    file = disk / "somebody-elses"
    end = time.monotonic() + seconds
    try:
        with open(file, "wb", buffering=0) as out:
            while time.monotonic() < end:
                try:
                    out.write(bytes(_PIECE))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    with contextlib.suppress(OSError):
                        out.write(bytes(4096))
                    time.sleep(0.05)
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def shaky(folder: Path, hosts: Hosts | None = None) -> Iterator[Shaky]:
    """A fresh server. With `hosts` it is reached over their switch."""
    (folder / "rgw").mkdir()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(gateway(folder / "rgw"))
        listener = stack.enter_context(hosts.listener()) if hosts else None
        harm = stack.enter_context(flaky(server.port, listener))
        yield Shaky(server, harm, BRIDGE if hosts else "127.0.0.1", folder, stack)
