"""Whole commands, measured from outside: wall clock, processor time, memory of all their processes together."""

import os
import resource
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """What one command took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float  # proportional set size of the process and all its descendants, sampled
    code: int
    output: str


def run(command: list[str], *, interval: float = 0.25) -> Run:
    """Run to the end; output is kept, not shown."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    peak, spent, done = [0.0], dict[int, float](), threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, spent, done, interval))
        watcher.start()
        output, _ = process.communicate()
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processes that nobody waits for (Ray's are killed at the end) are missing in what the kernel sums up.
    waited = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(seconds, max(waited, sum(spent.values())), peak[0], process.returncode, output)


def _watch(root: int, peak: list[float], spent: dict[int, float], done: threading.Event, interval: float) -> None:
    while not done.wait(interval):
        found = _descendants(root)
        peak[0] = max(peak[0], sum(_pss(p) for p in found))
        spent.update({p: seconds for p in found if (seconds := _cpu(p))})


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found, todo = [], [root]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def _cpu(process: int) -> float:
    """Seconds of processor time that a process has used so far, without its children's."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss(process: int) -> float:
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    return 0.0
