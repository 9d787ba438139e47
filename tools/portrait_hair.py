"""Hair over foreheads and brows of portraits: told by its darkness, and taken out. For `build_nobody.py`.

Strands that a portrait lends to a mixture show as dark streaks over a brow, and make a face look like somebody else's.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.appearance import face_mask
from pipeline.filters import blur

SMALL = 128  # pixels on which hair is told
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)  # points along the brows' upper edge
UNDER_BROWS = (46, 53, 52, 65, 55, 276, 283, 282, 295, 285)
EYES = (33, 133, 159, 145, 263, 362, 386, 374)
ABOVE = 0.17  # units above the brows, where no brow is, nor any hair in a face that is bare
DARK, DARKER = 0.16, 0.30  # logarithms below what is usual there: from where hair is taken out, and from where wholly
BRIGHTER = 0.6  # how much less that counts in what is brighter: shine, a scarf


def _near(points: tuple[int, ...], radius: float, up: float = 0.0) -> Tensor:
    """(SMALL, SMALL) 1 within `radius` units of points of the mesh, moved up by some units."""
    axis = torch.arange(SMALL) + 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    unit, mask = uv.PIXELS_PER_UNIT * SMALL / uv.SIZE, torch.zeros(SMALL, SMALL)
    for px, py in (uv.coordinates(torch.device("cpu"))[list(points)] * SMALL / uv.SIZE).tolist():
        mask = torch.maximum(mask, (torch.hypot(x - px, y - py + up * unit) < radius * unit).float())
    return mask


@lru_cache(maxsize=1)
def forehead() -> Tensor:
    """(1, 1, SMALL, SMALL) 1 on forehead and temples down to the eyes, but for brows and eyes."""
    eyes = uv.coordinates(torch.device("cpu"))[33, 1] * SMALL / uv.SIZE
    upper = ((torch.arange(SMALL) + 0.5) < eyes).float()[:, None].expand(SMALL, SMALL)
    bare = upper * (1 - _near(BROWS + UNDER_BROWS, 0.085)) * (1 - _near(EYES, 0.17))
    return bare[None, None] * face_mask(SMALL, torch.device("cpu"))


def over_brows(small: Tensor) -> Tensor:
    """(N,) of textures (N, 3, SMALL, SMALL): how dark it is closely above the darker of both brows, in logarithms."""
    dark = (-blur(small.mean(1, keepdim=True), 1.5) - 0.12).clamp_min(0)
    sides = []
    for brow in (BROWS[:5], BROWS[5:]):
        band = _near(brow, 0.07, ABOVE)
        sides.append((dark[:, 0] * band).sum((1, 2)) / band.sum())
    return torch.maximum(*sides)


def bared(textures: Tensor, group: Tensor) -> Tensor:
    """Textures (N, 3, s, s) with what is usual in their group (N,) in place of hair on forehead and temples."""
    small = F.interpolate(textures, size=SMALL, mode="area")
    medians = [small[group == g].median(0).values for g in (0, 1)]
    usual = torch.stack(medians)[group]
    differs, zone = blur(small - usual, 1.5), forehead()
    off = torch.maximum((-differs).amax(1, keepdim=True), BRIGHTER * differs.amax(1, keepdim=True))
    amount = ((off - DARK) / (DARKER - DARK)).clamp(0, 1) * zone
    amount = blur(F.max_pool2d(amount, 5, 1, 2) * F.max_pool2d(zone, 3, 1, 1), 1.0)
    size = textures.shape[-1]
    amount, usual = (F.interpolate(t, size=size, mode="bilinear", align_corners=False) for t in (amount, usual))
    return textures + (usual - textures) * amount * face_mask(size, textures.device)
