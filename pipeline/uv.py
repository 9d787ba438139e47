"""The plane of textures: every point of the mesh, and a little beyond its oval, has a place in a square picture.

The plane is the mean shape seen from the front. Two rings of points around the oval carry the warp of the picture out
to where nothing moves any more, and let textures reach beyond the line at which they are blended.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from pipeline.models import topology
from pipeline.shape import mean_shape

SIZE = 512  # pixels on each side of a texture
PIXELS_PER_UNIT = 247.0  # a unit is the distance between the outer corners of the eyes
RINGS = (1.12, 1.28)  # how far out the rings lie, as a multiple of the oval
MESH_TRIANGLES, EYE_TRIANGLES, MOUTH_TRIANGLES = 852, 28, 18


def extend(points: Tensor) -> Tensor:
    """(F, 468, C) values at the mesh's points to (F, 540, C): the rings are the oval, scaled about its middle."""
    oval = points[:, torch.from_numpy(topology.ring("oval")).to(points.device)]
    middle = oval.mean(1, keepdim=True)
    return torch.cat([points, *(middle + (oval - middle) * k for k in RINGS)], 1)


@lru_cache(maxsize=4)
def triangles(device: torch.device) -> Tensor:
    """(T, 3) int64: 852 of the face, 28 in the eyes, 18 in the mouth, then those of the rings."""
    n = len(topology.ring("oval"))
    lines = [topology.ring("oval"), 468 + np.arange(n), 468 + n + np.arange(n)]
    around = []
    for inner, outer in pairwise(lines):
        for i in range(n):
            j = (i + 1) % n
            around += [(inner[i], outer[i], inner[j]), (inner[j], outer[i], outer[j])]
    return torch.from_numpy(np.concatenate([topology.filled(), np.array(around, np.int64)])).to(device)


@lru_cache(maxsize=4)
def coordinates(device: torch.device) -> Tensor:
    """(540, 2) where the mesh and its rings lie in a texture, in its pixels."""
    shape = mean_shape()
    oval = shape[torch.from_numpy(topology.ring("oval")), 1]
    middle = torch.stack([torch.zeros(()), (oval.amin() + oval.amax()) / 2])
    flat = (shape[:, :2] - middle) * PIXELS_PER_UNIT + SIZE / 2
    return extend(flat[None])[0].to(device)


@lru_cache(maxsize=4)
def blend_mask(device: torch.device) -> Tensor:
    """(512, 512) how much of a texture is laid over the picture: 1 inside the face, falling to 0 at the oval."""
    oval = coordinates(torch.device("cpu"))[torch.from_numpy(topology.ring("oval"))]
    return _soft_inside(oval, _EDGE * PIXELS_PER_UNIT).to(device)


_EDGE = 0.20  # width of the blend inside the oval, in units


def _soft_inside(polygon: Tensor, width: float) -> Tensor:
    """1 further than `width` inside the closed polygon (n, 2), smoothly 0 at its line and outside."""
    axis = torch.arange(SIZE) + 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    distance = torch.full((SIZE, SIZE), float("inf"))
    inside = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for a, b in zip(polygon, polygon.roll(-1, 0), strict=True):
        ab = b - a
        t = (((x - a[0]) * ab[0] + (y - a[1]) * ab[1]) / ab.square().sum()).clamp(0, 1)
        distance = torch.minimum(distance, torch.hypot(x - a[0] - t * ab[0], y - a[1] - t * ab[1]))
        crosses = ((a[1] > y) != (b[1] > y)) & (x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1] + 1e-12) + a[0])
        inside ^= crosses
    t = (distance / width).clamp(0, 1) * inside
    return t * t * (3 - 2 * t)
