"""The command as its users run it: a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VEILFARM = str(Path(sys.executable).with_name("veilfarm"))


@dataclass(frozen=True)
class Ran:
    """How it ended, and what it said."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def events(self) -> list[dict[str, Any]]:
        """stdout of a run with --json."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaint(self) -> str:
        """The one line of a failure."""
        lines = [line for line in self.err.splitlines() if line.startswith("veilfarm: ")]
        assert len(lines) == 1, self.err
        return lines[0]


def veilfarm(*arguments: str | Path, env: dict[str, str] | None = None) -> Ran:
    """Run it to its end, and hold it to what every run must keep: no traceback, no process, no folder left behind."""
    begun = time.monotonic()
    with started(*arguments, env=env) as (process, mark):
        out, err = process.communicate(timeout=240)
        seconds = time.monotonic() - begun
        assert alive(mark) == []
        assert ray_folders(process) == set()
        assert "Traceback" not in err, err
    return Ran(process.returncode, out, err, seconds)


@contextmanager
def started(*arguments: str | Path, env: dict[str, str] | None = None) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command at work, and the mark by which `alive` finds its processes. What is left at the end is killed."""
    mark = f"VEILFARM_TEST_RUN={os.getpid()}-{time.monotonic_ns()}"
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        [VEILFARM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(env or {}), name: value},
    )
    try:
        yield process, mark
    finally:
        for pid in alive(mark):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def alive(mark: str) -> list[int]:
    """Ids of the run's processes, whoever their parents are by now: all have inherited its environment."""
    return [pid for pid in _pids() if mark.encode() in _read(pid, "environ").split(b"\0") and _state(pid) != "Z"]


def named(mark: str, name: str) -> list[int]:
    """Ids of those whose command line begins with `name`."""
    return [pid for pid in alive(mark) if _read(pid, "cmdline").startswith(name.encode())]


def ray_folders(process: "subprocess.Popen[str]") -> set[Path]:
    """Where the run's private Ray keeps its sockets."""
    return set(Path("/tmp").glob(f"veil-{process.pid}-*"))


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _state(pid: int) -> str:
    return _read(pid, "stat").decode().rpartition(")")[2].split()[0] if _read(pid, "stat") else "Z"
