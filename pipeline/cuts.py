"""Where a new shot begins.

Each frame leaves a signature: a 16 x 32 luma thumbnail and histograms of luma and chroma. Its distance from the frame
before is the mean of the thumbnails' absolute difference and of the histograms' half L1 distance, both in 0..1. A cut
is a distance that is high in itself and several times what it is around it (as PySceneDetect's adaptive detector does),
so fast pans don't count; and not a flash, after which the picture is again what it was before.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.planes import Planes

Float = npt.NDArray[np.float32]
Samples = npt.NDArray[np.integer[Any]]

_ROWS, _COLUMNS = 16, 32
_FLOOR = 0.03  # below it nothing is a cut; a hard cut between two dark shots of Sintel makes 0.07
_RATIO = 4.0  # how many times the distances around it
_AROUND = 5  # frames on either side: more than a repeated frame in a film of another rate leaves still
_APART = 0.035  # of pictures that need not be a film's: from here on each stands alone
_FLASH = 0.5  # distance over the gap, as a part of the distance itself, below which it is a flash


class CutFinder:
    """Feed every frame in order; `finish` gives the frame numbers. Keeps two signatures and two numbers per frame."""

    def __init__(self, apart: bool = False) -> None:
        """`apart`: the frames may be pictures of different things, each of which is a shot of its own."""
        self._apart = apart
        self._last: list[tuple[Float, Float]] = []  # of the two frames before
        self._steps: list[float] = []  # distance to the frame before
        self._skips: list[float] = []  # distance to the one before that

    def add(self, planes: Planes, depth: int) -> None:
        """The next frame's planes, with samples of `depth` bits."""
        now = _signature(planes, depth)
        self._steps.append(_distance(now, self._last[-1]) if self._last else 0.0)
        self._skips.append(_distance(now, self._last[-2]) if len(self._last) > 1 else 0.0)
        self._last = [*self._last[-1:], now]

    def finish(self) -> tuple[int, ...]:
        """Frame numbers at which a new shot begins; 0 isn't in it."""
        steps = np.array(self._steps, np.float32)
        found: list[int] = []
        for number in np.flatnonzero(steps >= _FLOOR):
            n = int(number)
            if self._apart and n > 0 and steps[n] >= _APART:
                found.append(n)
                continue
            around = np.concatenate([steps[max(1, n - _AROUND) : n], steps[n + 1 : n + 1 + _AROUND]])
            # The next distance is as high at a flash; leave the highest neighbour out, two cuts in a row are two cuts.
            calm = float(np.sort(around)[:-1].mean()) if len(around) > 1 else 0.0
            if n == 0 or steps[n] < _RATIO * calm:
                continue
            flash_in = n + 1 < len(steps) and self._skips[n + 1] < _FLASH * steps[n]
            flash_out = n > 1 and self._skips[n] < _FLASH * steps[n]
            if not (flash_in or flash_out):
                found.append(n)
        return tuple(found)


def _signature(planes: Planes, depth: int) -> tuple[Float, Float]:
    luma, *chroma = (_rows(plane.numpy()) for plane in planes)
    scale = np.float32(1 / (1 << depth))
    width = luma.shape[1]
    columns = min(_COLUMNS, width)
    edges = np.arange(columns) * width // columns
    counts = np.diff(np.append(edges, width)).astype(np.float32)
    thumbnail = np.add.reduceat(luma, edges, axis=1, dtype=np.float32) / counts * scale
    shift = depth - 5
    parts = [_histogram(luma, shift)] + [_histogram(plane, shift) for plane in chroma]
    return thumbnail.astype(np.float32), np.concatenate(parts)


def _rows(plane: Samples) -> Samples:
    """At most 16 rows, evenly spread: enough for a whole-picture change, and little memory traffic."""
    rows = min(_ROWS, plane.shape[0])
    chosen: Samples = plane[(2 * np.arange(rows) + 1) * plane.shape[0] // (2 * rows)]
    return chosen


def _histogram(samples: Samples, shift: int) -> Float:
    counts = np.bincount((samples[:, ::2] >> shift).ravel(), minlength=32)[:32].astype(np.float32)
    return np.asarray(counts / counts.sum(), np.float32)


def _distance(a: tuple[Float, Float], b: tuple[Float, Float]) -> float:
    pixels = float(np.abs(a[0] - b[0]).mean())
    colours = float(np.abs(a[1] - b[1]).sum()) / 6  # three histograms, each at most 2 apart
    return (pixels + colours) / 2
