"""Cut a film into pieces that can be done apart."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from pipeline.errors import InputError
from pipeline.facts import FrameIndex

_LEAST, _MOST = Fraction(1, 2), Fraction(3, 2)  # of the target length, within which a keyframe is taken


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames [start, stop) of the film."""

    index: int  # its place among the chunks, from 0
    start: int
    stop: int
    first_pts: int
    end_pts: int  # exclusive: where the last frame's duration ends
    pts_sha256: str  # of the frames' time stamps


def plan(index: FrameIndex, *, target: Fraction, first: int = 0, last: int | None = None) -> tuple[Chunk, ...]:
    """Chunks of about `target` seconds that cover the frames [first, last) without a gap.

    A chunk begins on a keyframe where one lies within half and one and a half targets. Where none does, the GOP is
    split at the target, and reading decodes from the keyframe before and drops. Raises ValueError for an empty range.
    """
    last = len(index) if last is None else last
    if not 0 <= first < last <= len(index):
        raise ValueError(f"frames [{first}, {last}) are not in a film of {len(index)} frames")
    if target <= 0:
        raise ValueError(f"a chunk of {target} seconds")
    ticks = target / index.time_base
    keys = np.flatnonzero(index.keys)
    borders = [first]
    while (border := _next(index, keys, borders[-1], last, ticks)) < last:
        borders.append(border)
    borders.append(last)
    return tuple(_chunk(index, i, a, b) for i, (a, b) in enumerate(pairwise(borders)))


def _next(index: FrameIndex, keys: "np.typing.NDArray[np.intp]", start: int, last: int, ticks: Fraction) -> int:
    begin = int(index.pts[start])
    end = int(index.pts[last - 1] + index.durations[last - 1])
    if end - begin <= _MOST * ticks:
        return last
    times = index.pts[keys]
    low, high = begin + int(_LEAST * ticks), begin + int(_MOST * ticks)
    near = keys[(times >= low) & (times <= high) & (keys > start) & (keys < last)]
    if len(near):
        return int(near[np.argmin(np.abs(index.pts[near] - int(begin + ticks)))])
    inside = int(np.searchsorted(index.pts, int(begin + ticks)))
    return min(max(inside, start + 1), last)


def _chunk(index: FrameIndex, number: int, start: int, stop: int) -> Chunk:
    end = int(index.pts[stop]) if stop < len(index) else int(index.pts[stop - 1] + index.durations[stop - 1])
    return Chunk(number, start, stop, int(index.pts[start]), end, index.pts_sha256(start, stop))


def frame_range(index: FrameIndex, start: Fraction | None, stop: Fraction | None) -> tuple[int, int]:
    """Frames whose time lies in [start, stop) seconds, counted from the first frame. Raises InputError for none."""
    if start is not None and start < 0:
        raise InputError(f"the range begins at {float(start):g} s", "a film begins at 0", "give a time of 0 or more")
    origin = int(index.pts[0])
    first, last = (
        default if time is None else int(np.searchsorted(index.pts, origin + -(-time // index.time_base)))
        for time, default in ((start, 0), (stop, len(index)))
    )
    if first >= last:
        raise InputError(
            f"no frame lies between {_show(start, 'the start')} and {_show(stop, 'the end')}",
            f"the film is {float(index.seconds()):.3f} s long",
            "give a range inside it",
        )
    return first, last


def _show(time: Fraction | None, default: str) -> str:
    return default if time is None else f"{float(time):g} s"
