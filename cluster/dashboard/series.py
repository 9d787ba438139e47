"""How fast the farm was during the last hour: frames per second, measured at what jobs have done. In memory only."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cluster.account import Progress
from cluster.job import PER_CHUNK, Step

EVERY = 5.0  # seconds between samples
KEPT = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """Frames per second in the seconds before."""

    at: float  # monotonic
    fps: dict[Step, float]


class Series:
    """Safe to read from several threads."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=round(KEPT / EVERY))
        self._before: dict[tuple[str, Step], int] = {}
        self._at: float | None = None

    def note(self, now: float, progress: Iterable[Progress]) -> None:
        """What the jobs have done until now."""
        done = {(each.job, each.step): each.done for each in progress if each.step in PER_CHUNK}
        if self._at is not None and now > self._at:
            fps = dict.fromkeys((Step.ANALYSE, Step.RENDER), 0.0)
            for (job, step), count in done.items():
                before = self._before.get((job, step))
                if before is not None:  # else it was begun meanwhile, or read from a store: nobody knows when
                    fps[step] += max(0, count - before) / (now - self._at)
            self._samples.append(Sample(now, fps))
        self._before, self._at = done, now

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Oldest first."""
        return tuple(self._samples)

    def watch(self, progress: Callable[[], Iterable[Progress]], stop: threading.Event) -> None:
        """Take samples in a thread, until `stop`."""

        def look() -> None:
            while not stop.wait(EVERY):
                self.note(time.monotonic(), progress())

        threading.Thread(target=look, name="speed", daemon=True).start()


def steady(samples: Iterable[Sample], now: float, points: int = 120) -> list[tuple[float, dict[Step, float]]]:
    """The last hour in even pieces: (share of the hour, mean of each step). Progress is told in jumps."""
    size = KEPT / points
    found: dict[int, list[Sample]] = {}
    for sample in samples:
        age = now - sample.at
        if 0 <= age < KEPT:
            found.setdefault(points - 1 - int(age / size), []).append(sample)
    return [
        (
            (index + 0.5) / points,
            {step: sum(each.fps[step] for each in of) / len(of) for step in (Step.ANALYSE, Step.RENDER)},
        )
        for index, of in sorted(found.items())
    ]
