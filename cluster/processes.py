"""The processes that this one has started, directly or not: find them all, and end them all. Linux only.

Ray starts its servers and workers, workers start ffmpeg. A worker that is killed leaves its ffmpeg an orphan, which by
default goes to process 1 and writes on. Once `adopt_orphans` is called, orphans become children of this process
instead, so that walking down the parents' ids finds every one.
"""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PROC = Path("/proc")


def adopt_orphans() -> None:
    """From now on, what our descendants leave behind becomes our child."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def descendants() -> set[int]:
    """Ids of all living processes below this one."""
    children: dict[int, list[int]] = {}
    dead = set[int]()
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            # A process may end while we look.
            with contextlib.suppress(OSError, ValueError, IndexError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                children.setdefault(int(parent), []).append(int(entry.name))
                if state == "Z":  # its other threads may live on for a moment, and keep its children theirs
                    dead.add(int(entry.name))
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        below = [pid for pid in children.get(todo.pop(), []) if pid not in found]
        found.update(below)
        todo += below
    return found - dead


def name_of(pid: int) -> str:
    """The name of a living process, at most 15 characters; "" when it is gone or a zombie."""
    try:
        name, _, rest = (_PROC / str(pid) / "stat").read_text().rpartition(")")
    except OSError:
        return ""
    return "" if rest.split()[0] == "Z" else name.partition("(")[2]


def _place() -> str:
    """This machine since its last start, and the space in which its process ids hold: a container has its own."""
    return f"{(_PROC / 'sys/kernel/random/boot_id').read_text().strip()}/{os.stat(_PROC / 'self/ns/pid').st_ino}"


def name_for_ever(pid: int) -> str:
    """A name that no other process will ever have, by which `has_died` knows it; "" where there is none."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        return f"{_place()}/{pid}/{stat.rpartition(')')[2].split()[19]}"  # the time at which it was started
    except OSError:
        return ""


def has_died(name: str) -> bool:
    """Whether it is certain that the process of this name runs no more: it was one of this machine, and is gone."""
    place, _, rest = name.rpartition("/")[0].rpartition("/")
    try:
        return bool(name) and place == _place() and (name_for_ever(int(rest)) != name or not name_of(int(rest)))
    except (OSError, ValueError):
        return False


def end_all(timeout: float = 3.0) -> set[int]:
    """Kill every descendant and wait until it is gone. Returns those that are left after `timeout` seconds.

    SIGKILL at once: nothing that they hold is needed, since what counts is committed in the ledger, and a server that
    is asked politely takes over a second. Kept up until none is found, for what is being started meanwhile.
    """
    deadline = time.monotonic() + timeout
    while (alive := descendants()) and time.monotonic() < deadline:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.01)
    _reap()
    return alive


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def cores() -> int:
    """Processors that this process may use: its affinity, and the quota of its control group (v2, then v1)."""
    allowed = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, int(quota) / int(period))
    with contextlib.suppress(OSError, ValueError):
        v1 = Path("/sys/fs/cgroup/cpu")
        quota_us = int((v1 / "cpu.cfs_quota_us").read_text())
        if quota_us > 0:
            allowed = min(allowed, quota_us / int((v1 / "cpu.cfs_period_us").read_text()))
    return max(1, int(allowed))


def memory() -> int:
    """Bytes of memory that this process and its children may use: the machine's, or its control group's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path("/sys/fs/cgroup", limit).read_text()))
    return total
