"""The mesh that an identity has in a person's place: its shape, the person's pose and movements."""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.shape import align

EXCHANGE = 0.8  # how much of the identity's shape is taken, inside the face
EXCHANGE_EDGE = 0.25  # and at the oval, where hair and neck must still fit
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


def exchange(meshes: Tensor, neutrals: Tensor, shapes: Tensor) -> Tensor:
    """(F, 468, 3) the meshes that identities with `shapes` would have in the place of people with `neutrals`."""
    offset = (shapes - neutrals) * _weights(meshes.device)
    offset[..., 2] *= DEPTH
    upper, lower = PAIRS  # a lid or lip may move, but never open or close what the person opens or closes
    offset[:, upper] = offset[:, lower] = (offset[:, upper] + offset[:, lower]) / 2
    target = meshes + align(meshes, neutrals).turn(offset)
    for number, corners in enumerate(_EYES):
        _close(target, meshes, neutrals, [p[7 * number : 7 * number + 7] for p in PAIRS], corners)
    return target


def _close(target: Tensor, meshes: Tensor, neutrals: Tensor, lids: Sequence[list[int]], corners: list[int]) -> None:
    """Bring the lids of one eye together, in place, where the person's are. The landmarks of a closed eye stay some way
    apart: measured on blinks, at 0.68 of how far they are when it is open."""
    openness = []
    for points in (meshes, neutrals):
        gap = torch.linalg.vector_norm(points[:, lids[0], :2] - points[:, lids[1], :2], dim=2).mean(1)
        openness.append(gap / torch.linalg.vector_norm(points[:, corners[0]] - points[:, corners[1]], dim=1))
    t = ((_OPEN - openness[0] / openness[1].clamp_min(1e-3)) / (_OPEN - _CLOSED)).clamp(0, 1)
    closed = (t * t * (3 - 2 * t))[:, None, None]
    upper, lower = target[:, lids[0]], target[:, lids[1]]
    seam = torch.lerp(lower, upper, 0.2)  # the upper lid does most of it
    target[:, lids[0]], target[:, lids[1]] = torch.lerp(upper, seam, closed), torch.lerp(lower, seam, closed)
