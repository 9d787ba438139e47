"""How fast the farm is, measured: from it, how long chunks should be."""

from cluster.job import PER_CHUNK, Step

TARGET = 45.0
"""Seconds that one chunk should keep a worker busy in one step: what a crash costs at most, and long against what each
chunk costs beside its frames."""

_NEW = 0.3  # weight of the latest measurement


class Pace:
    """Worker seconds per frame and megapixel, by step and device, as a moving average."""

    def __init__(self) -> None:
        self._known: dict[tuple[Step, str], float] = {}

    def note(self, step: Step, device: str, frames: int, megapixels: float, seconds: float) -> None:
        """What one chunk took."""
        if step in PER_CHUNK and frames > 0 and megapixels > 0:
            now = seconds / frames / megapixels
            old = self._known.get((step, device), now)
            self._known[step, device] = old + _NEW * (now - old)

    def chunk_frames(self, megapixels: float) -> int | None:
        """How many frames of this size the slower step does in TARGET, on the fastest device that was seen; None while
        nothing was measured."""
        slowest = 0.0
        for step in PER_CHUNK:
            known = [value for (of, _), value in self._known.items() if of is step]
            if not known:
                return None
            slowest = max(slowest, min(known) * megapixels)
        return max(1, round(TARGET / slowest)) if slowest > 0 else None

    def seconds(self, frames: int, megapixels: float) -> float | None:
        """Worker seconds that so many frames will take in all; None while nothing was measured."""
        total = 0.0
        for step in PER_CHUNK:
            known = [value for (of, _), value in self._known.items() if of is step]
            if not known:
                return None
            total += min(known) * megapixels * frames
        return total
