"""What servers of the tests have in common: a free port, a process that ends with the test, and patience."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def process(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that is killed at the end of the block, and by the kernel when this process dies before it."""
    with open(log, "wb") as out:
        started = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def wait_for(ready: Callable[[], bool], server: "subprocess.Popen[bytes]", log: Path, seconds: float = 60) -> None:
    """Return when the server is ready; fail with its log when it dies or takes too long."""
    end = time.monotonic() + seconds
    while not ready():
        if server.poll() is not None or time.monotonic() > end:
            pytest.fail(f"{server.args} didn't start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def needed(programs: tuple[str, ...], packages: str, promise: str) -> None:
    """Skip the test where programs are missing; fail it where the environment promises them."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        text = f"{', '.join(missing)} not found; on Debian: apt-get install {packages}"
        if os.environ.get(promise) == "1":
            pytest.fail(f"{promise}=1, but {text}")
        pytest.skip(text)
