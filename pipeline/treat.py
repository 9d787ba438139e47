"""Replace or cover: decided per face and frame, looking both ways in time so that nothing pops."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.smooth import FILL
from pipeline.track import Floats, Treatment


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what can be replaced well. Angles in degrees, widths in px."""

    presence: float
    yaw: float
    pitch: float
    width: float


# A run of replaced frames needs some that pass the firm bounds, and goes on as long as the loose ones hold.
FIRM = Limits(presence=0.8, yaw=52, pitch=42, width=15)
LOOSE = Limits(presence=0.5, yaw=60, pitch=52, width=14)
_FIRM_FRAMES = 4
_FADE = 6  # frames in which a cover comes, over a face that is replaced
_LEAST_REPLACED, _LEAST_COVERED = 12, 6  # frames; shorter runs flash


def treat(
    boxes: Floats, presence: Floats, turned: Floats, filled: NDArray[np.bool_], damaged: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Treatment (n,) of one face on consecutive frames: boxes (n, 4), presence (n,), turned (n, 3) yaw, pitch, roll
    (NaN without landmarks), `filled` and `damaged` (n,)."""
    reason = _reasons(boxes, presence, turned, filled, damaged, LOOSE)
    loose = reason == Treatment.REPLACE
    firm = _reasons(boxes, presence, turned, filled, damaged, FIRM) == Treatment.REPLACE
    replaced = _bridge(loose, boxes, damaged)
    for start, stop in runs(replaced):
        enough = int(firm[start:stop].sum()) >= min(_FIRM_FRAMES, stop - start)
        long = stop - start >= _LEAST_REPLACED or stop - start == len(replaced)
        replaced[start:stop] = enough and long
    replaced = _lengthen(replaced)
    return np.where(replaced, np.uint8(Treatment.REPLACE), _spread(reason)).astype(np.uint8)


def _reasons(
    boxes: Floats,
    presence: Floats,
    turned: Floats,
    filled: NDArray[np.bool_],
    damaged: NDArray[np.bool_],
    limits: Limits,
) -> NDArray[np.uint8]:
    reason = np.full(len(boxes), Treatment.REPLACE, np.uint8)
    with np.errstate(invalid="ignore"):
        reason[~((np.abs(turned[:, 0]) <= limits.yaw) & (np.abs(turned[:, 1]) <= limits.pitch))] = (
            Treatment.COVER_PROFILE
        )
    reason[presence < limits.presence] = Treatment.COVER_PRESENCE
    reason[np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) < limits.width] = Treatment.COVER_SMALL
    reason[filled] = Treatment.COVER_FILLED
    reason[damaged] = Treatment.COVER_DAMAGED
    return reason


def fades(treatment: NDArray[np.uint8]) -> Floats:
    """(n,) from 0 to 1 while a replaced face nears a stretch in which it is covered, and back after it: a cover that
    came at once would draw the eye. 0 on covered frames. Frames for which a cover is a matter of damage don't count."""
    index = np.arange(len(treatment))
    covers = index[~np.isin(treatment, [Treatment.REPLACE, Treatment.COVER_DAMAGED, Treatment.COVER_GATE])]
    if not len(covers):
        return np.zeros(len(treatment), np.float32)
    after = np.searchsorted(covers, index).clip(0, len(covers) - 1)
    distance = np.minimum(np.abs(covers[after] - index), np.abs(covers[(after - 1).clip(0)] - index))
    veiled = np.clip(1 - distance / (_FADE + 1), 0, 1)
    return np.where(treatment == Treatment.REPLACE, veiled, 0).astype(np.float32)


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[start, stop) of the stretches that are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _bridge(good: NDArray[np.bool_], boxes: Floats, damaged: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Gaps of up to FILL frames between good ones are good where the face hardly moved: landmarks are filled there."""
    out = good.copy()
    for start, stop in runs(~good):
        if start == 0 or stop == len(good) or stop - start > FILL or damaged[start:stop].any():
            continue
        a, b = boxes[start - 1], boxes[stop]
        size = float(np.sqrt(np.prod(a[2:] - a[:2])))
        out[start:stop] = float(np.linalg.norm((a[:2] + a[2:] - b[:2] - b[2:]) / 2)) < 0.35 * size
    return out


def _lengthen(replaced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Covers between two replaced stretches last at least _LEAST_COVERED frames."""
    out = replaced.copy()
    for start, stop in runs(~replaced):
        missing = _LEAST_COVERED - (stop - start)
        if start > 0 and stop < len(replaced) and missing > 0:
            out[max(0, start - missing // 2) : stop + missing - missing // 2] = False
    # What is left of a short replaced stretch would flash.
    for start, stop in runs(out):
        if stop - start < _LEAST_REPLACED and stop - start < len(out):
            out[start:stop] = False
    return out


def _spread(reason: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames that are covered only for steadiness take the reason of the nearest frame that has one."""
    own = np.flatnonzero(reason != Treatment.REPLACE)
    if not len(own):
        return np.full_like(reason, Treatment.COVER_PRESENCE)
    index = np.arange(len(reason))
    right = np.searchsorted(own, index).clip(0, len(own) - 1)
    left = (right - 1).clip(0)
    nearest = np.where(np.abs(own[left] - index) <= np.abs(own[right] - index), own[left], own[right])
    return np.asarray(reason[nearest], np.uint8)
