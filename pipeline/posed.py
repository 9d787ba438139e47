"""Meshes of faces that are too small for the network of landmarks.

A detector still gives five points for them: eyes, nose, corners of the mouth. A shape is turned, scaled and shifted
until its own five points meet these, seen from afar (weak perspective); of so few and so coarse points, what heads
usually do is part of the fit. The mesh has no expression: on a few pixels, none can be told.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.follow import PRESENT
from pipeline.models.topology import (
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_TIP,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
)
from pipeline.smooth import local_lines
from pipeline.track import START, Floats, overlap

_Doubles = NDArray[np.float64]

# The vertices whose middle each point is. The detector puts the noses of small faces above the tip.
_POINTS = (
    (RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
    (LEFT_EYE_INNER, LEFT_EYE_OUTER),
    (NOSE_TIP, 5),
    (MOUTH_RIGHT,),
    (MOUTH_LEFT,),
)
# How far the points are from a shape's, across and along the face, in distances of the eyes' outer corners: standard
# deviations on faces of 16 to 26 px against the network's landmarks, with people's differences from the mean.
_NOISE = np.array([[0.04, 0.04], [0.04, 0.04], [0.06, 0.15], [0.05, 0.07], [0.05, 0.07]])
_USUAL = np.deg2rad([25.0, 15.0])  # standard deviations of yaw and pitch of people who are filmed
_FARTHEST = np.deg2rad([48.0, 40.0])  # beyond, five points of a small face don't tell a head from something else
_ROUNDS = 12
_MISFIT = 2.0  # root mean square of the distances that are left, in _NOISE, from which on it is no face
_STEADY = (2.5, 1.2)  # frames, standard deviations: how long angles are averaged, and size and place
SMALL = 32.0  # px of the box's longer side up to which five points tell about as much as the network
WEAK = 0.35  # score of the detector from which on its points may be used, among others of START
SURE, LIKELY = 0.9, 0.6  # presence of a mesh from a detection of START, and from a weaker one
_INSIDE = 0.5  # overlap with the detector's box below which the points belong to something else
_AROUND, _MOSTLY = 4, 0.8  # frames on both sides, and the share of them on which the network must see a face, too
_REACH = 4  # frames on both sides that are averaged at most


@dataclass(frozen=True, slots=True)
class Stance:
    """How n heads are placed. NaN throughout where the points fit no head."""

    angles: _Doubles  # (n, 3) yaw, pitch, roll: radians, turned in this order about y, x and z
    place: _Doubles  # (n, 3) logarithm of px per unit, x and y in px
    misfit: _Doubles  # (n,) root mean square of what is left, in standard deviations of the detector's points

    def meshes(self, shape: Floats) -> Floats:
        """(n, 468, 3) px of a `shape` (468, 3) so placed; z has its origin at the head's own."""
        shift = np.concatenate([self.place[:, 1:], np.zeros((len(self.place), 1))], 1)
        turned = shape.astype(np.float64) @ _rotation(self.angles).transpose(0, 2, 1)
        return np.asarray(np.exp(self.place[:, 0])[:, None, None] * turned + shift[:, None], np.float32)


def fall_back(
    meshes: Floats, presence: Floats, boxes: Floats, scores: Floats, points: Floats, shape: Floats
) -> tuple[Floats, Floats]:
    """Meshes (n, 468, 3) and presence (n,) of one face on consecutive frames, where a small face of which the network
    is not sure, or only now and then, has the person's `shape` (468, 3) in its place. `boxes` (n, 4) and `points`
    (n, 5, 2) px, NaN where nothing was detected; `scores` (n,) of the detector. Where the detector is not sure or its
    points fit no head, all stays as it is."""
    small = (boxes[:, 2:] - boxes[:, :2]).max(1) <= SMALL
    looked = small & np.isfinite(points).all((1, 2)) & (scores >= WEAK)
    wanted = looked & ~_settled(presence >= PRESENT, looked)
    if not wanted.any():
        return meshes, presence
    stance = steady(fit(np.where(looked[:, None, None], points, np.nan).astype(np.float32), shape))
    with np.errstate(invalid="ignore"):
        found = stance.meshes(shape)
        outline = np.concatenate([found[:, :, :2].min(1), found[:, :, :2].max(1)], 1)
        inside = np.array([overlap(a[None], b[None])[0, 0] for a, b in zip(outline, boxes, strict=True)]) >= _INSIDE
        trust = np.where(scores >= START, SURE, LIKELY)
        take = wanted & inside & np.isfinite(stance.misfit)
    return (
        np.where(take[:, None, None], found, meshes).astype(np.float32),
        np.where(take, trust, presence).astype(np.float32),
    )


def _settled(sure: NDArray[np.bool_], looked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) where the network sees the face, and nearly always around: two kinds of meshes in turn would flicker."""
    window = np.ones(2 * _AROUND + 1)
    seen, asked = (np.convolve(m.astype(float), window)[_AROUND:-_AROUND] for m in (looked & sure, looked))
    return sure & (seen >= _MOSTLY * asked)


def fit(points: Floats, shape: Floats) -> Stance:
    """Places a head with `shape` (468, 3) at each of `points` (n, 5, 2) px, as in Detections. NaN where points are
    missing (NaN), lie on one another, or fit no head that looks about into the camera."""
    model = np.stack([shape[list(v)].mean(0) for v in _POINTS]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        roll, size, centre = _similar(points.astype(np.float64), model)
        there = (points - centre[:, None]) @ _rotation2(roll) / size[:, None, None]
        usable = np.isfinite(there).all((1, 2)) & (size > 1e-3)
        there = np.where(usable[:, None, None], there, model[None, :, :2])
        turn = np.zeros((len(points), 6))  # yaw, pitch, roll, log of size, x, y against the first guess
        for _ in range(_ROUNDS):
            turn = turn + np.clip(_step(turn, there, model), -0.3, 0.3)
        left = (there - _project(turn, model)) / _NOISE
        misfit = np.sqrt(np.square(left).sum((1, 2)) / 4)  # ten numbers, six unknowns
        angles = turn[:, :3] + np.stack([0 * roll, 0 * roll, roll], 1)
        shift = centre + size[:, None] * (_rotation2(roll) @ turn[:, 4:, None])[..., 0]
        place = np.concatenate([(np.log(size) + turn[:, 3])[:, None], shift], 1)
        good = usable & (misfit < _MISFIT) & (np.abs(turn[:, :2]) <= _FARTHEST).all(1)
    keep = np.where(good, 1.0, np.nan)
    return Stance(angles * keep[:, None], place * keep[:, None], np.where(usable, misfit, np.nan) * keep)


def steady(stance: Stance) -> Stance:
    """The same heads on consecutive frames, made steady: the detector's points jump by a part of a pixel, which is much
    of a small face. Local linear regression in time, so that straight motion stays; NaN stays, too."""
    have = np.isfinite(stance.misfit)
    angles, place = stance.angles.copy(), stance.place.copy()
    if not have.any():
        return stance
    angles[have] = np.unwrap(angles[have], axis=0)
    for values, width in ((angles, _STEADY[0]), (place, _STEADY[1])):
        clean = np.where(have[:, None], values, 0.0)
        values[:] = np.where(have[:, None], local_lines(have.astype(np.float32), width, _REACH) @ clean, np.nan)
    return Stance(angles, place, stance.misfit)


def _similar(points: _Doubles, model: _Doubles) -> tuple[_Doubles, _Doubles, _Doubles]:
    """Roll (n,), px per unit (n,) and place of the origin (n, 2) that bring the model seen from the front nearest."""
    weight = 1 / np.square(_NOISE).mean(1)
    weight /= weight.sum()
    x, m = points[..., 0] + 1j * points[..., 1], model[:, 0] + 1j * model[:, 1]
    x0, m0 = (x * weight).sum(1), (m * weight).sum()
    factor = ((x - x0[:, None]) * np.conj(m - m0) * weight).sum(1) / (np.abs(m - m0) ** 2 * weight).sum()
    origin = x0 - factor * m0
    return np.angle(factor), np.abs(factor), np.stack([origin.real, origin.imag], 1)


def _step(turn: _Doubles, there: _Doubles, model: _Doubles) -> _Doubles:
    """(n, 6) Gauss and Newton's step, where yaw and pitch are drawn to what is usual."""
    base, small = _project(turn, model), 1e-5
    slopes = [(_project(turn + small * e, model) - base) / small / _NOISE for e in np.eye(6)]
    jacobian = np.stack([s.reshape(len(turn), 10) for s in slopes], 2)
    rest = ((there - base) / _NOISE).reshape(len(turn), 10)
    usual = np.concatenate([1 / _USUAL**2, np.full(4, 1e-6)])
    normal = jacobian.transpose(0, 2, 1) @ jacobian + np.diag(usual)
    right = (jacobian.transpose(0, 2, 1) @ rest[..., None])[..., 0] - usual * turn
    return np.asarray(np.linalg.solve(normal, right[..., None])[..., 0], np.float64)


def _project(turn: _Doubles, model: _Doubles) -> _Doubles:
    """(n, 5, 2) the model's points, turned, scaled and shifted by (n, 6)."""
    turned = model @ _rotation(turn[:, :3]).transpose(0, 2, 1)
    return np.asarray(np.exp(turn[:, 3])[:, None, None] * turned[..., :2] + turn[:, None, 4:], np.float64)


def _rotation(angles: _Doubles) -> _Doubles:
    """(n, 3, 3) of yaw, pitch and roll (n, 3)."""
    (a, b, c), (p, q, r) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [c * a - r * q * p, -r * b, c * p + r * q * a],
        [r * a + c * q * p, c * b, r * p - c * q * a],
        [-b * p, q, b * a],
    ]
    return np.stack([np.stack(row, 1) for row in rows], 1)


def _rotation2(roll: _Doubles) -> _Doubles:
    """(n, 2, 2) in the plane."""
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1)
