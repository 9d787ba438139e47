"""Steady landmarks without lag.

The whole track is known, so every estimate looks both ways. A mesh is split into where the head is (rotation, scale,
shift) and its shape in the head's own frame, and each is smoothed by local linear regression: straight motion comes out
unchanged. How many frames it looks at is chosen per frame and part by Lepski's rule (Goldenshluger and Nemirovski,
1997): the widest window whose result does not contradict the narrower ones by more than the noise allows. So a still
face is averaged over many frames, and a blink, a syllable or a shaken head over none.

Everything is local: the result at a frame depends on the `REACH` frames around it and on nothing else, so two chunks
that overlap by as many frames agree where they meet.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.topology import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from pipeline.shape import Pose, align, mean_shape

Floats = NDArray[np.float32]

REACH = 8  # frames: `_WINDOW` for the estimate and 2 for steadying the choice of the window
_WINDOW = 6
_WIDTHS = (0.0, 0.7, 1.5)  # standard deviations of the Gaussian windows in frames; 0: as it was measured
_WIDEST = {"pose": 2, "rest": 2, "eye": 1, "mouth": 1}  # index into _WIDTHS
_LEAST_NOISE = 5e-4  # of the distance of the eyes' outer corners
_MOST_NOISE = {"pose": 3e-3, "rest": 3.5e-3, "eye": 2e-3, "mouth": 2e-3}  # more than that is motion
FILL = 3  # frames without landmarks that are filled from both sides


@lru_cache(maxsize=1)
def parts() -> dict[str, NDArray[np.int64]]:
    """Vertices that move together: each eye with its lids, the mouth with chin and jaw, and the rest."""
    shape = mean_shape().numpy()
    left = np.linalg.norm(shape[:, :2] - (shape[LEFT_EYE_OUTER, :2] + shape[362, :2]) / 2, axis=1) < 0.22
    right = np.linalg.norm(shape[:, :2] - (shape[RIGHT_EYE_OUTER, :2] + shape[133, :2]) / 2, axis=1) < 0.22
    mouth = shape[:, 1] > shape[2, 1]  # below the base of the nose
    rest = ~(left | right | mouth)
    return {name: np.flatnonzero(m) for name, m in {"eye": right, "eye_": left, "mouth": mouth, "rest": rest}.items()}


def smooth(meshes: Floats, trust: Floats) -> Floats:
    """Meshes (n, 468, 3) of consecutive frames, NaN where there are none, and how far each is to be trusted (n,) in
    0..1. Returns the steady ones; a gap of at most `FILL` frames is filled, longer ones stay NaN."""
    have: NDArray[np.bool_] = np.asarray(np.isfinite(meshes).all((1, 2)))
    if not have.any():
        return meshes.copy()
    weight = np.where(have, np.clip(trust, 0.05, 1) ** 2, 0).astype(np.float32)
    filled = torch.from_numpy(np.where(have[:, None, None], meshes, meshes[np.argmax(have)]))
    centre = torch.from_numpy(np.nanmean(np.where(have[:, None, None], meshes, np.nan), (0, 1)).astype(np.float32))
    placed = align(filled - centre, mean_shape()[None])
    unit = placed.scale.numpy().copy()  # pixels between the outer corners of the eyes
    unit[~have] = np.median(unit[have])
    matrix = (placed.rotation * placed.scale[:, None, None]).flatten(1).numpy() * 0.5  # moves of points 0.5 units away
    where = np.concatenate([matrix, placed.shift.numpy()], 1)
    estimator = _Estimator(weight)
    where = estimator.best(where, unit, "pose")
    shapes = placed.undo(filled - centre).numpy().reshape(len(meshes), -1, 3)
    for name, vertices in parts().items():
        part = shapes[:, vertices].reshape(len(meshes), -1)
        steady = estimator.best(part, np.ones_like(unit), name.rstrip("_"))
        shapes[:, vertices] = steady.reshape(len(meshes), -1, 3)
    linear = torch.from_numpy(where[:, :9].reshape(-1, 3, 3) * 2)
    ones = torch.ones(len(meshes))
    result = Pose(linear, ones, torch.from_numpy(where[:, 9:])).apply(torch.from_numpy(shapes)) + centre
    out = result.numpy().astype(np.float32)
    out[~_bridged(have)] = np.nan
    return out


def _bridged(have: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames that have landmarks, and short gaps with landmarks on both sides."""
    index = np.arange(len(have))
    before = np.maximum.accumulate(np.where(have, index, -len(have)))
    after = np.minimum.accumulate(np.where(have, index, 2 * len(have))[::-1])[::-1]
    return np.asarray(have | ((after - before - 1 <= FILL) & (before >= 0) & (after < len(have))))


def local_lines(weight: Floats, width: float, window: int) -> Floats:
    """(n, n) local linear regression over n frames with weights (n,): row f gives the estimate at frame f as weights of
    the frames within `window`, under a Gaussian of `width` frames."""
    u = (np.arange(len(weight))[None] - np.arange(len(weight))[:, None]).astype(np.float64)
    k = np.where(np.abs(u) <= window, np.exp(-0.5 * (u / width) ** 2), 0) * weight[None]
    s0, s1, s2 = k.sum(1), (k * u).sum(1), (k * u * u).sum(1)
    det = s0 * s2 - s1 * s1
    line = k * (s2[:, None] - s1[:, None] * u)
    flat = k / np.maximum(s0, 1e-12)[:, None]
    good = det > 1e-6 * np.maximum(s0, 1e-12) ** 2
    return np.asarray(np.where(good[:, None], line / np.where(good, det, 1)[:, None], flat), np.float32)


class _Estimator:
    """Local linear regression in time at all frames and widths, for one set of weights (n,)."""

    def __init__(self, weight: Floats) -> None:
        self._weight = weight
        self._have = weight > 0
        self._hats = [self._hat(width) for width in _WIDTHS]
        self._gain = [np.linalg.norm(h, axis=1) for h in self._hats]  # noise of the estimate, in noise of a sample

    def _hat(self, width: float) -> Floats:
        """(n, n): row f gives the estimate at frame f as weights of all frames."""
        return local_lines(self._weight, width, _WINDOW) if width else np.eye(len(self._weight), dtype=np.float32)

    def best(self, values: Floats, unit: Floats, kind: str) -> Floats:
        """`values` (n, c) by the widest window that fits; `unit` (n,) is the size that noise is measured by."""
        widest = _WIDEST[kind]
        noise = np.clip(self._noise(values), _LEAST_NOISE * unit[:, None], _MOST_NOISE[kind] * unit[:, None])
        # The largest of c normal numbers: one lid that moves must not drown among the vertices that don't.
        limit = np.sqrt(2 * np.log(values.shape[1])) + 0.3
        estimates = np.stack([hat @ values for hat in self._hats[: widest + 1]])
        level, fits = np.zeros(len(values), np.float32), np.ones(len(values), bool)
        for k in range(1, widest + 1):
            for narrower in range(k):
                apart = (np.abs(estimates[k] - estimates[narrower]) / noise).max(axis=1)
                # A frame without landmarks has no measurement to contradict.
                fits &= (apart <= limit * self._gain[narrower]) | ((narrower == 0) & ~self._have)
            level += fits
        level = np.where(self._have, _calm(level), np.maximum(level, min(2, widest)))
        low = np.clip(np.floor(level).astype(int), 0, widest)
        high, frames = np.minimum(low + 1, widest), np.arange(len(values))
        t = (level - low)[:, None]
        return np.asarray(estimates[low, frames] * (1 - t) + estimates[high, frames] * t, np.float32)

    def _noise(self, values: Floats) -> Floats:
        """(n, c) standard deviation of the measurement, half each value's own, half the mean of all: from second
        differences nearby. Straight motion has none, and the median overlooks a sudden one."""
        n = len(values)
        out = np.zeros(values.shape, np.float32)
        if n < 3:
            return out
        ok = self._have[:-2] & self._have[1:-1] & self._have[2:]
        second = np.abs(values[:-2] - 2 * values[1:-1] + values[2:])
        for f in range(n):
            lo, hi = max(0, f - _WINDOW), min(n - 2, f + _WINDOW - 1)
            near = second[lo:hi][ok[lo:hi]]
            if len(near):
                own = np.median(near, axis=0) / np.float32(0.6745 * np.sqrt(6))
                out[f] = np.sqrt((own**2 + np.mean(own**2)) / 2)
        return out


def _calm(level: Floats) -> Floats:
    """Levels (n,) averaged over 5 frames, so that the window doesn't pump."""
    total, count = np.zeros_like(level), np.zeros_like(level)
    for step, share in zip(range(-2, 3), (1, 2, 3, 2, 1), strict=True):
        lo, hi = max(0, -step), max(0, min(len(level), len(level) - step))
        total[lo:hi] += share * level[lo + step : hi + step]
        count[lo:hi] += share
    return total / count
