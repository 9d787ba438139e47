"""When a job will be through: what is left of its step at the speed that it has, and its later steps as the farm's pace
has it. Smoothed, so that it doesn't jump about."""

import math
from dataclasses import dataclass

from cluster.job import PER_CHUNK, Step
from cluster.pace import BEGIN, Load, Pace

_SURE = 0.3  # share of a step that must have been done for its own speed alone to tell how long the rest takes
_CALM = 0.15  # share of the time left in which what is told comes near what is reckoned
_QUICK, _SLOW = 1.5, 20.0  # seconds, at least and at most, for that
_MOST = 5.0  # times by which the running step may change what is thought of the later ones
_STEPS = [step for step in Step if step in BEGIN]


@dataclass(frozen=True, slots=True)
class Film:
    """What is known of a job's film."""

    load: Load
    chunks: int = 0  # 0: not planned yet
    limit: int | None = None  # most workers at once
    devices: tuple[str, ...] = ()  # that it may be done on; (): any


@dataclass(slots=True)
class _Told:
    at: float
    ends: float


class Outlook:
    """Of all jobs that are being worked on."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._films: dict[str, Film] = {}
        self._told: dict[str, _Told] = {}

    def learned(self, job: str, film: Film) -> None:
        """More is known of a job's film."""
        self._films[job] = film

    def forget(self, job: str) -> None:
        """It is over."""
        self._films.pop(job, None)
        self._told.pop(job, None)

    def cost(self, job: str) -> float | None:
        """Worker seconds that it takes in all; None while that isn't known."""
        film = self._films.get(job)
        return self._pace.seconds(film.load, film.devices) if film is not None else None

    def left(self, job: str, step: Step, share: float, own: float | None, workers: float, now: float) -> float | None:
        """Seconds to the end of the job; None while nobody knows. `share` of the step is done; `own`: seconds that the
        rest of it takes at its own speed. `workers`: how many it has, about. `now`: any clock in seconds."""
        film = self._films.get(job)
        if film is None or not film.load.frames:
            return None
        rest, slower = self._step(film, step, workers) * (1 - share), 1.0
        if own is not None and math.isfinite(own):
            sure = min(1.0, share / _SURE)
            if step in PER_CHUNK and rest > 0:  # as the machine is now, other chunks take long, too
                slower = 1 + sure * (min(_MOST, max(1 / _MOST, own / rest)) - 1)
            rest = sure * own + (1 - sure) * rest
        later = [each for each in _STEPS if list(Step).index(each) > list(Step).index(step)]
        return self._calm(job, rest + slower * sum(self._step(film, each, workers) for each in later), now)

    def _step(self, film: Film, step: Step, workers: float) -> float:
        if step not in BEGIN:
            return 0.0
        seconds = self._pace.step(step, film.load, film.devices)
        if step not in PER_CHUNK:
            return seconds
        most = min(workers, film.chunks or workers, film.limit or workers)
        return seconds / max(1.0, most)

    def _calm(self, job: str, left: float, now: float) -> float:
        told = self._told.get(job)
        if told is None:
            told = self._told[job] = _Told(now, now + left)
        calm = min(_SLOW, max(_QUICK, _CALM * left))
        near = 1 - math.exp(-max(0.0, now - told.at) / calm)
        told.ends += near * (now + left - told.ends)
        told.at = now
        return max(0.0, told.ends - now)
