"""The mesh that an identity has in a person's place: its shape, the person's pose and movements."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.shape import align, at_rest

EXCHANGE = 0.8  # how much of the identity's shape is taken, inside the face
EXCHANGE_EDGE = 0.5  # and at the oval, where hair and neck must still fit: the outline tells who it is, too
MOST = 0.025  # units; how far the points of a face go on average, at most: 3.5 % of the distance of the eyes' middles
DEPTH = 0.3  # and of its depth, which one look from the front tells badly: turned heads would show the error

# Points of upper and lower lids and of the inner lips that touch when they close.
PAIRS = (
    [246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398, 191, 80, 81, 82, 13, 312, 311, 310, 415],
    [7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382, 95, 88, 178, 87, 14, 317, 402, 318, 324],
)
_EYES = ([33, 133], [263, 362])  # corners, in the order of PAIRS
_OPEN, _CLOSED = (
    0.9,
    0.7,
)  # how far the lids' landmarks are apart against a rested eye, when they begin to close, and end


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


@lru_cache(maxsize=4)
def _corners(device: torch.device) -> Tensor:
    """(2, 2) the corners of each eye."""
    return torch.tensor(_EYES, device=device)


def exchange(meshes: Tensor, neutrals: Tensor, shapes: Tensor) -> Tensor:
    """(F, 468, 3) the meshes that identities with `shapes` would have in the place of people with `neutrals`."""
    offset = (shapes - at_rest(neutrals)) * _weights(meshes.device)
    # A long face doesn't become a round one: how the face moves must be read off it as before.
    moved = torch.linalg.vector_norm(offset[..., :2], dim=2).mean(1)
    offset = offset * (MOST / moved.clamp_min(MOST))[:, None, None]
    offset[..., 2] *= DEPTH
    pairs = _pairs(meshes.device)  # a lid or lip may move, but never open or close what the person opens or closes
    offset[:, pairs] = offset[:, pairs].mean(1, keepdim=True)
    target = meshes + align(meshes, neutrals).turn(offset)
    _close(target, meshes, neutrals)
    return target


def _close(target: Tensor, meshes: Tensor, neutrals: Tensor) -> None:
    """Bring the lids of each eye together, in place, where the person's are. The landmarks of a closed eye stay some
    way apart: measured on blinks, at 0.68 of how far they are when it is open."""
    above, below = _pairs(target.device)[:, :14].reshape(2, 2, 7)  # (2, 7) for each eye
    corners = _corners(target.device)
    both = torch.stack([meshes, neutrals])
    gap = torch.linalg.vector_norm(both[:, :, above, :2] - both[:, :, below, :2], dim=4).mean(3)
    width = torch.linalg.vector_norm(both[:, :, corners[:, 0]] - both[:, :, corners[:, 1]], dim=3)
    now, rest = gap / width  # (F, 2)
    t = ((_OPEN - now / rest.clamp_min(1e-3)) / (_OPEN - _CLOSED)).clamp(0, 1)
    closed = (t * t * (3 - 2 * t))[..., None, None]
    upper, lower = target[:, above], target[:, below]
    seam = torch.lerp(lower, upper, 0.2)  # the upper lid does most of it
    target[:, above], target[:, below] = torch.lerp(upper, seam, closed), torch.lerp(lower, seam, closed)
