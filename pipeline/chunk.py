"""Cut a film into pieces that can be done apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.facts import FrameIndex

_NEAR = Fraction(1, 8)  # of a chunk's length, by which its border may be moved to a keyframe


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
    """Chunks of `target` seconds or a little less, as even as may be, that cover the frames [first, last) without gaps.

    A chunk begins on a keyframe where one lies within an eighth of a chunk of the even parts' border. Where none does,
    the GOP is split there, and reading decodes from a keyframe before and drops: a frame's decoding takes a thirtieth
    of its time, so that a worker that waits for another's longer chunk loses more. Raises ValueError for no frame.
    """
    last = len(index) if last is None else last
    if not 0 <= first < last <= len(index):
        raise ValueError(f"frames [{first}, {last}) are not in a film of {len(index)} frames")
    if target <= 0:
        raise ValueError(f"a chunk of {target} seconds")
    parts = -(-index.seconds(first, last) // target)
    part = index.seconds(first, last) / parts / index.time_base
    keys = np.flatnonzero(index.keys[:last])
    borders = {_border(index, keys, int(index.pts[first]) + i * part, part * _NEAR) for i in range(1, parts)}
    # Frames that are shown for longer than a part hold several borders.
    edges = [first, *sorted(border for border in borders if first < border < last), last]
    return tuple(_chunk(index, i, a, b) for i, (a, b) in enumerate(pairwise(edges)))


def plan_whole(
    index: FrameIndex, starts: Iterable[int], *, target: Fraction, most: int, first: int = 0, last: int | None = None
) -> tuple[Chunk, ...]:
    """Chunks that begin where groups of pictures do, at frames `starts`, so that each group lies whole in one: as many
    groups as make `target` seconds and `most` frames, at least one. A group of more frames than that is cut evenly.
    Raises ValueError for no frame."""
    last = len(index) if last is None else last
    if not 0 <= first < last <= len(index):
        raise ValueError(f"frames [{first}, {last}) are not in a film of {len(index)} frames")
    borders = [first, *sorted({start for start in starts if first < start < last}), last]
    edges = [first]
    for start, stop in pairwise(borders):
        full = stop - edges[-1] > most or index.seconds(edges[-1], stop) > target
        if full and start > edges[-1]:
            edges.append(start)
        parts = -(-(stop - start) // most)
        edges += [start + (stop - start) * part // parts for part in range(1, parts)]
    return tuple(_chunk(index, i, a, b) for i, (a, b) in enumerate(pairwise([*edges, last])))


def _border(index: FrameIndex, keys: NDArray[np.intp], time: Fraction, near: Fraction) -> int:
    """The keyframe that is nearest to that time, in ticks, if it is near; else the first frame from then on."""
    at = int(np.searchsorted(index.pts[keys], int(time)))
    around = [int(key) for key in keys[max(0, at - 1) : at + 2]]
    best = min(around, key=lambda key: abs(int(index.pts[key]) - time), default=None)
    if best is not None and abs(int(index.pts[best]) - time) <= near:
        return best
    return int(np.searchsorted(index.pts, -(-time // 1)))


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
