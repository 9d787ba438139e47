"""The face mesh as a shape: where the head is, how it is turned, what it looks like at rest, and another one's instead.

A mesh is (468, 3) float32: x and y in pixels of the picture, z in the same scale, towards the camera negative.
A shape is a mesh in the model's own frame: centred, frontal, one unit between the outer corners of the eyes.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pipeline.models import weights
from pipeline.models.topology import LEFT_EYE_OUTER, RIGHT_EYE_OUTER

# Vertices that speech, blinks and brows hardly move: the bridge and sides of the nose, the temples, the cheekbones.
STEADY = (
    6,
    197,
    195,
    5,
    168,
    8,
    9,
    151,
    10,
    127,
    356,
    234,
    454,
    116,
    345,
    117,
    346,
    50,
    280,
    114,
    343,
    188,
    412,
    33,
    263,
)

# The edges of the lids of both eyes, from the outer corner to the inner one: points that touch when they close.
UPPER_LIDS = ((246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398))
LOWER_LIDS = ((7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382))
_AWAKE = 0.8  # of a person's frames show lids that are less far apart: blinks and looks downwards are no rest

REST = (-0.005, 0.008)  # lift of the corners of the mouth and gap of the lips in a face at rest, units


@dataclass(frozen=True, slots=True)
class Pose:
    """mesh = scale * shape @ rotation.T + shift, for F faces at once."""

    rotation: Tensor  # (F, 3, 3)
    scale: Tensor  # (F,) pixels per unit
    shift: Tensor  # (F, 3) pixels

    def apply(self, shapes: Tensor) -> Tensor:
        """(F, V, 3) shapes to meshes."""
        return self.scale[:, None, None] * shapes @ self.rotation.mT + self.shift[:, None]

    def undo(self, meshes: Tensor) -> Tensor:
        """(F, V, 3) meshes to shapes."""
        return (meshes - self.shift[:, None]) @ self.rotation / self.scale[:, None, None]

    def turn(self, offsets: Tensor) -> Tensor:
        """(F, V, 3) differences of shapes to differences of meshes, in pixels."""
        return self.scale[:, None, None] * offsets @ self.rotation.mT

    def angles(self) -> Tensor:
        """(F, 3) yaw, pitch and roll in degrees; all 0 for a head that looks into an upright camera."""
        r = self.rotation
        yaw = torch.atan2(r[:, 0, 2], r[:, 2, 2])
        pitch = torch.asin((-r[:, 1, 2]).clamp(-1, 1))
        roll = torch.atan2(r[:, 1, 0], r[:, 1, 1])
        return torch.rad2deg(torch.stack([yaw, pitch, roll], 1))


@lru_cache(maxsize=1)
def mean_shape() -> Tensor:
    """(468, 3) the mean of the people of whom the model of nobody is made, looking ahead. Raises ModelError."""
    return weights.load("mean_shape")["shape"]


@lru_cache(maxsize=1)
def expressions() -> Tensor:
    """(2, 468, 3) how a shape changes with each unit of `expression`; learned from the portraits of the model of
    nobody. Raises ModelError."""
    return weights.load("mean_shape")["expressions"]


def expression(shapes: Tensor) -> Tensor:
    """(F, 2) of shapes (F, 468, 3): how far the corners of the mouth are lifted, and how far the lips are apart, both
    against a mouth at rest."""
    lift = shapes[:, [13, 14], 1].mean(1) - shapes[:, [61, 291], 1].mean(1)
    return torch.stack([lift - REST[0], shapes[:, 14, 1] - shapes[:, 13, 1] - REST[1]], 1)


def at_rest(shapes: Tensor) -> Tensor:
    """(F, 468, 3) shapes of people who smile or talk, with the mouth at rest: somebody who smiles in all that is seen
    of them is no one whose mouth is wide."""
    return shapes - torch.einsum("fk,kvc->fvc", expression(shapes), expressions().to(shapes.device))


def align(meshes: Tensor, shapes: Tensor, vertices: tuple[int, ...] = STEADY) -> Pose:
    """The pose that takes `shapes` (F or 1, V, 3) nearest to `meshes` (F, V, 3) at the given vertices.
    Least squares over rotation, one scale and shift: Umeyama, PAMI 13(4), 1991."""
    chosen = torch.tensor(vertices, device=meshes.device)
    target, origin = meshes[:, chosen], shapes[:, chosen].expand(len(meshes), -1, -1)
    target_mean, origin_mean = target.mean(1), origin.mean(1)
    target, origin = target - target_mean[:, None], origin - origin_mean[:, None]
    u, s, vt = torch.linalg.svd(target.mT @ origin)
    sign = torch.ones_like(s)
    x, y, z = (u @ vt).unbind(1)
    sign[:, 2] = torch.sign((torch.linalg.cross(x, y) * z).sum(1))  # whether it turns or mirrors: the determinant
    rotation = u @ (sign[:, :, None] * vt)
    scale = (s * sign).sum(1) / origin.square().sum((1, 2)).clamp_min(1e-12)
    shift = target_mean - scale[:, None] * (rotation @ origin_mean[:, :, None])[:, :, 0]
    return Pose(rotation, scale, shift)


def pose(meshes: Tensor) -> Pose:
    """Where the heads of (F, 468, 3) meshes are and how they are turned."""
    return align(meshes, mean_shape().to(meshes.device)[None])


def eye_distance(meshes: Tensor) -> Tensor:
    """(F,) pixels between the outer corners of the eyes, as if seen from the front."""
    distance: Tensor = torch.linalg.vector_norm(meshes[:, LEFT_EYE_OUTER] - meshes[:, RIGHT_EYE_OUTER], dim=1)
    return distance


def neutral(meshes: Tensor, rounds: int = 3) -> Tensor:
    """(468, 3) the shape of one person at rest from (F, 468, 3) meshes of that person: the mean over the frames in the
    head's own frame, where frames that are far from it count less (opened mouths, turned heads); the eyes are open."""
    shape = mean_shape().to(meshes.device)
    for _ in range(rounds):
        placed = align(meshes, shape[None])
        shapes = placed.undo(meshes)
        error = (shapes - shape).square().sum(2).mean(1)
        frontal = placed.rotation[:, 2, 2].clamp(0.05, 1) ** 4
        weight = frontal / (error / error.median().clamp_min(1e-9) + 1)
        shape = (weight[:, None, None] * shapes).sum(0) / weight.sum()
    return _awake(shape, torch.quantile(lid_gaps(shapes[frontal >= frontal.median()]), _AWAKE, dim=0))


def lid_gaps(shapes: Tensor) -> Tensor:
    """(F, 2) how far the lids of each eye are apart, in units, of shapes (F, 468, 3)."""
    return shapes[:, _lids(LOWER_LIDS, shapes.device), 1].mean(2) - shapes[:, _lids(UPPER_LIDS, shapes.device), 1].mean(
        2
    )


@lru_cache(maxsize=8)
def _lids(points: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    return torch.tensor(points, device=device)


def _awake(shape: Tensor, gaps: Tensor) -> Tensor:
    """The shape (468, 3) with lids that are as far apart as `gaps` (2,) says."""
    upper, lower = _lids(UPPER_LIDS, shape.device), _lids(LOWER_LIDS, shape.device)
    wider = (gaps / lid_gaps(shape[None])[0].clamp_min(1e-3)).clamp(0.7, 1.6)[:, None, None]
    middle, half = (shape[lower] + shape[upper]) / 2, (shape[lower] - shape[upper]) / 2
    result = shape.clone()
    result[lower], result[upper] = middle + wider * half, middle - wider * half
    return result
