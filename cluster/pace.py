"""How fast the farm is: what a film will cost, and from that how long chunks should be.

A step's cost has three parts: by frame, by frame and megapixel, by face on a frame. They begin with figures that were
measured on one machine (`docs/benchmarks.md`). The first measurement here scales them all; of later ones each part
takes the share that it has in the estimate.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cluster.job import PER_CHUNK, IndexFacts, RenderFacts, SourceFacts, Step, Veil

TARGET = 45.0
"""Seconds that one chunk should keep a worker busy in one step: what a crash costs at most, and long against what each
chunk costs beside its frames."""

COVERED = 0.25  # of what a replaced face costs is a covered one
FACES = 1.0  # on a frame, where nobody has looked
_SMALL = 20  # px of a face's longer side, below which it is covered
_NEW = 0.3  # weight of the latest measurement
_MOST = 20.0  # times by which one measurement may change a part
_GPU = 0.25  # of a CPU's cost, until something was measured; nobody has yet

Parts = tuple[float, float, float]
"""Worker seconds by frame, by frame and megapixel, and by face on a frame."""

BEGIN: dict[Step, Parts] = {
    Step.INDEX: (0.0003, 0.002, 0.0),
    Step.ANALYSE: (0.012, 0.010, 0.0075),
    Step.LINK: (0.0, 0.0, 1.2),  # choosing a new face takes as long in a short film as in a long one
    Step.RENDER: (0.003, 0.022, 0.008),
    Step.STITCH: (0.0003, 0.002, 0.0),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What a cost follows from."""

    frames: int
    megapixels: float  # of a frame
    faces: float = FACES  # on a frame, on average; one that is covered counts as COVERED

    def parts(self, step: Step) -> Parts:
        """What the parts of a step's cost are multiplied by."""
        frames = 1 if step is Step.LINK else self.frames
        return frames, frames * self.megapixels, frames * self.faces


def film_load(source: SourceFacts, frames: int = 0, veil: Veil = Veil.NOBODY) -> Load:
    """Of a film of so many frames; 0: as many as the survey thinks."""
    survey, faces = source.survey, FACES
    if survey is not None and survey.looked:
        faces = sum(1.0 if side >= _SMALL else COVERED for side in survey.sides) / survey.looked
    if veil is not Veil.NOBODY:
        faces *= COVERED
    length = frames or (survey.frames if survey is not None else 0)
    return Load(length, source.width * source.height / 1e6, faces)


def of_unit(load: Load, frames: int, facts: object) -> Load:
    """The film's load as a unit of work has shown it: a chunk of so many frames when rendered, with its own faces; 0
    frames: all of the film."""
    if isinstance(facts, IndexFacts):
        return replace(load, frames=facts.frames)
    if isinstance(facts, RenderFacts) and facts.treated and frames:
        drawn = facts.treated.get("replace", 0)
        faces = (drawn + COVERED * (sum(facts.treated.values()) - drawn)) / frames
        return replace(load, frames=frames, faces=faces)
    return replace(load, frames=frames) if frames else load


class Pace:
    """What steps cost on each kind of device."""

    def __init__(self) -> None:
        self._known: dict[tuple[Step, str], Parts] = {}
        self._off: dict[tuple[Step, str], float] = {}  # logarithm of how much slower than at the beginning it is here

    def note(self, step: Step, device: str, load: Load, seconds: float) -> None:
        """What a unit took."""
        amounts = load.parts(step)
        before = self._of(step, device)
        told = [part * amount for part, amount in zip(before, amounts, strict=True)]
        if step not in BEGIN or seconds <= 0 or not sum(told) > 0:
            return
        off = math.log(seconds / sum(told))
        begin = sum(part * amount for part, amount in zip(self._begin(step, device), amounts, strict=True))
        slower = math.log(seconds / begin)
        self._off[step, device] = slower + (1 - _NEW) * (self._off.get((step, device), slower) - slower)
        if (step, device) in self._known:
            shares = [each / sum(told) for each in told]
            whole = sum(share * share for share in shares)
            steps = [_NEW * off * share / whole for share in shares]
        else:
            steps = [off] * 3
        limit = math.log(_MOST)
        a, b, c = (part * math.exp(min(limit, max(-limit, by))) for part, by in zip(before, steps, strict=True))
        self._known[step, device] = a, b, c

    def _of(self, step: Step, device: str) -> Parts:
        if (step, device) in self._known:
            return self._known[step, device]
        # Where another step is slower than it was thought to be, this one is, too.
        others = [off for (of, on), off in self._off.items() if of in PER_CHUNK and on == device]
        slower = math.exp(sum(others) / len(others)) if others else 1.0
        a, b, c = self._begin(step, device)
        return a * slower, b * slower, c * slower

    @staticmethod
    def _begin(step: Step, device: str) -> Parts:
        a, b, c = BEGIN.get(step, (0.0, 0.0, 0.0))
        quicker = _GPU if device == "cuda" and step in PER_CHUNK else 1.0
        return a * quicker, b * quicker, c * quicker

    def step(self, step: Step, load: Load, devices: Iterable[str] = ()) -> float:
        """Worker seconds that a step will take on the fastest of these devices; of those that were measured, where none
        is given."""
        measured = {device for of, device in self._known if of is step}
        chosen = set(devices) or measured or {"cpu"}
        amounts = load.parts(step)
        return min(
            sum(part * amount for part, amount in zip(self._of(step, device), amounts, strict=True))
            for device in chosen
        )

    def chunk_frames(self, load: Load) -> int | None:
        """How many frames of such a film the slower step does in TARGET, on the fastest device that was seen; None
        while nothing was measured."""
        if not all(any(of is step for of, _ in self._known) for step in PER_CHUNK):
            return None
        one = replace(load, frames=1)
        slowest = max(self.step(step, one) for step in PER_CHUNK)
        return max(1, round(TARGET / slowest)) if slowest > 0 else None

    def seconds(self, load: Load, devices: Iterable[str] = ()) -> float | None:
        """Worker seconds that a film will take in all; None where nobody knows how long it is."""
        chosen = tuple(devices)
        return sum(self.step(step, load, chosen) for step in BEGIN) if load.frames else None
