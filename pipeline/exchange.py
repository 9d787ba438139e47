"""The mesh that an identity has in a person's place: its shape, the person's pose and movements."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.openings import corrected
from pipeline.shape import LOWER_LIDS, UPPER_LIDS, align, at_rest

EXCHANGE = 0.8  # how much of the identity's shape is taken, inside the face
EXCHANGE_EDGE = 0.5  # and at the oval, where hair and neck must still fit: the outline tells who it is, too
MOST = 0.0225  # units; how far the points of a face go on average, at most: 3.1 % of the distance of the eyes' middles
DEPTH = 0.3  # and of its depth, which one look from the front tells badly: turned heads would show the error

# Points of upper and lower lids and of the inner lips that touch when they close.
PAIRS = (
    [*UPPER_LIDS[0], *UPPER_LIDS[1], 191, 80, 81, 82, 13, 312, 311, 310, 415],
    [*LOWER_LIDS[0], *LOWER_LIDS[1], 95, 88, 178, 87, 14, 317, 402, 318, 324],
)


@lru_cache(maxsize=4)
def _weights(device: torch.device) -> Tensor:
    """(468, 1) how much of the identity's shape each point takes: less towards the oval."""
    mask = uv.blend_mask(torch.device("cpu"))
    where = uv.coordinates(torch.device("cpu"))[:468] / uv.SIZE * 2 - 1
    inside = F.grid_sample(mask[None, None], where[None, None], align_corners=False)[0, 0, 0]
    return (EXCHANGE_EDGE + (EXCHANGE - EXCHANGE_EDGE) * inside)[:, None].to(device)


@lru_cache(maxsize=4)
def _pairs(device: torch.device) -> Tensor:
    """(2, P) PAIRS. Lists of numbers are slow to index with."""
    return torch.tensor(PAIRS, device=device)


def exchange(meshes: Tensor, neutrals: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
    """Twice (F, 468, 3): the meshes of people with `neutrals`, with lids and lips as far apart as they are, and those
    that identities with `shapes` would have in their place."""
    offset = (shapes - at_rest(neutrals)) * _weights(meshes.device)
    # A long face doesn't become a round one: how the face moves must be read off it as before.
    moved = torch.linalg.vector_norm(offset[..., :2], dim=2).mean(1)
    offset = offset * (MOST / moved.clamp_min(MOST))[:, None, None]
    offset[..., 2] *= DEPTH
    pairs = _pairs(meshes.device)  # a lid or lip may move, but never open or close what the person opens or closes
    offset[:, pairs] = offset[:, pairs].mean(1, keepdim=True)
    placed = align(meshes, neutrals)
    person = corrected(meshes, neutrals, placed)
    return person, person + placed.turn(offset)
