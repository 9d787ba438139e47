"""Faces as textures in the plane of `uv`: logarithms of colour against the light around them.

In logarithms, light is added and not multiplied: taking a wide local mean away takes the light away, and adding another
scene's mean puts its light on.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.filters import spread
from pipeline.models import recogniser, topology
from pipeline.models.recogniser import Recogniser
from pipeline.raster import Raster, rasterise
from pipeline.shape import mean_shape

EPS = 0.12  # added before logarithms, in RGB of 0..1: keeps dark noise from becoming contrast
LIGHT = 0.24  # sigma of what counts as light, in distances between the eyes' outer corners
SKIN = (0.62, 0.48, 0.40)  # a middle skin, to look at textures by themselves
SMALL = 128  # pixels of textures that are only compared
BROWS, LIDS = ("left_brow", "right_brow"), ("left_eye", "right_eye")
BESIDE = (0.05, 0.11)  # how far a part of the face reaches from its points, and its soft edge, in units
BEYOND = 0.25  # how much is left of what brows and lids are darker than may be


def flatten(logs: Tensor, weight: Tensor, sigma: float) -> Tensor:
    """Take the light away: (F, 3, H, W) minus its own wide mean where `weight` (F, 1, H, W) says skin."""
    h, w = logs.shape[-2:]
    step = max(1, int(sigma / 4))  # a wide Gaussian leaves nothing that a small copy can't hold
    small = F.avg_pool2d(torch.cat([logs * weight, weight], 1), step, ceil_mode=True, count_include_pad=False)
    values = small[:, :3] / small[:, 3:].clamp_min(1e-3)
    mean = spread(values, small[:, 3:], torch.full((len(logs),), sigma / step, device=logs.device))
    return logs - F.interpolate(mean, scale_factor=step, mode="bilinear", align_corners=False)[..., :h, :w]


@lru_cache(maxsize=4)
def _drawn(size: int, device: torch.device) -> Raster:
    points = torch.cat([uv.coordinates(device), torch.zeros(540, 1, device=device)], 1)
    points[:468, 2] = mean_shape()[:, 2].to(device)
    points[468:, 2] = 5.0
    points[:, :2] *= size / uv.SIZE
    return rasterise(points[None], uv.triangles(device), size, size)


@lru_cache(maxsize=4)
def face_mask(size: int, device: torch.device) -> Tensor:
    """(1, 1, size, size) 1 inside the oval."""
    index = _drawn(size, device).triangle[:, None]
    return ((index >= 0) & (index < uv.MESH_TRIANGLES + uv.EYE_TRIANGLES + uv.MOUTH_TRIANGLES)).float()


@lru_cache(maxsize=4)
def alive_mask(size: int, device: torch.device) -> Tensor:
    """(1, 1, size, size) 1 where eyeballs and the inside of the mouth are."""
    index = _drawn(size, device).triangle[:, None]
    last = uv.MESH_TRIANGLES + uv.EYE_TRIANGLES + uv.MOUTH_TRIANGLES
    return ((index >= uv.MESH_TRIANGLES) & (index < last)).float()


@lru_cache(maxsize=4)
def plain_mask(size: int, device: torch.device) -> Tensor:
    """(1, 1, size, size) 1 on forehead, cheeks and chin: skin without brows, eyes, nostrils, lips."""
    axis = (torch.arange(size) + 0.5) * uv.SIZE / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    mask = (uv.blend_mask(torch.device("cpu")) > 0.5).float()[None, None]
    mask = F.interpolate(mask, size=(size, size), mode="area").gt(0.9).float()
    named = [topology.ring("left_eye"), topology.ring("right_eye"), topology.ring("lips_outer")]
    named += [topology.points("left_brow"), topology.points("right_brow"), np.array([2, 98, 327])]
    for px, py in uv.coordinates(torch.device("cpu"))[torch.from_numpy(np.concatenate(named))].tolist():
        mask *= (torch.hypot(x - px, y - py) > 0.09 * uv.PIXELS_PER_UNIT).float()
    return mask.to(device)


@lru_cache(maxsize=8)
def near_mask(named: tuple[str, ...], size: int, device: torch.device) -> Tensor:
    """(1, 1, size, size) 1 on a part of the face, softly ending beside it. `named` are points and rings of `topology`,
    as "left_brow" or "lips_outer"."""
    axis = (torch.arange(size) + 0.5) * uv.SIZE / size / uv.PIXELS_PER_UNIT
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    of_points = [topology.points(n) if n.endswith("brow") else topology.ring(n) for n in named]
    places = uv.coordinates(torch.device("cpu"))[torch.from_numpy(np.concatenate(of_points))] / uv.PIXELS_PER_UNIT
    far = torch.stack([torch.hypot(x - px, y - py) for px, py in places.tolist()]).amin(0)
    return ((BESIDE[1] - far) / (BESIDE[1] - BESIDE[0])).clamp(0, 1)[None, None].to(device)


def darkness(textures: Tensor, named: tuple[str, ...]) -> Tensor:
    """(F,) how much darker than plain skin a part of textures (F, 3, s, s) is, in logarithms."""
    size, device = textures.shape[-1], textures.device
    core = (near_mask(named, size, device) == 1).float() * (1 - alive_mask(size, device))
    plain, grey = plain_mask(size, device), textures.mean(1, keepdim=True)
    return (grey * plain).sum((1, 2, 3)) / plain.sum() - (grey * core).sum((1, 2, 3)) / core.sum()


def natural(textures: Tensor, most: Tensor) -> Tensor:
    """Textures (F, 3, s, s) with brows and lids that are no darker than they are on people, against plain skin: made
    portraits are made up. `most` (F, 2) says how dark brows and lids may be, in logarithms."""
    size, device = textures.shape[-1], textures.device
    plain = plain_mask(size, device)
    skin = (textures * plain).sum((2, 3), keepdim=True) / plain.sum()
    factor = torch.ones(len(textures), 1, size, size, device=device)
    for named, limit in zip((BROWS, LIDS), most.T, strict=True):
        dark = darkness(textures, named)
        share = torch.where(dark > limit, limit / dark * (1 - BEYOND) + BEYOND, 1.0)[:, None, None, None]
        factor = torch.minimum(factor, 1 - near_mask(named, size, device) * (1 - share))
    return textures + (factor - 1) * (textures - skin).clamp_max(0)


def unwrap(image: Tensor, mesh: Tensor, size: int) -> Tensor:
    """The face of an RGB image (3, H, W) with its mesh (468, 3) in the image's pixels, as a texture (3, size, size)."""
    h, w = image.shape[-2:]
    source = _drawn(size, image.device).interpolate(uv.extend(mesh[None, :, :2]), uv.triangles(image.device))
    grid = source.permute(0, 2, 3, 1) / torch.tensor([w, h], device=image.device) * 2 - 1
    return F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]


def portray(textures: Tensor, shapes: Tensor) -> Tensor:
    """Pictures (P, 3, 150, 150) in 0..1 as the recogniser wants them: each texture (P, 3, s, s) on its own shape
    (P, 468, 3), from the front, in even light before a grey ground."""
    device = textures.device
    maps = Recogniser.align(shapes.cpu().numpy()).to(device)  # from the crop to the shape's plane
    flat = (shapes[..., :2] - maps[:, None, :, 2]) @ torch.linalg.inv(maps[:, :, :2]).mT
    points = uv.extend(flat)
    depth = torch.cat([shapes[..., 2], torch.full_like(points[:, 468:, 0], 99.0)], 1)
    drawn = rasterise(torch.cat([points, depth[..., None]], 2), uv.triangles(device), recogniser.SIZE, recogniser.SIZE)
    place = drawn.interpolate(uv.coordinates(device)[None] / uv.SIZE * 2 - 1, uv.triangles(device))
    index = drawn.triangle[:, None]
    inside = (index >= 0) & (index < uv.MESH_TRIANGLES + uv.EYE_TRIANGLES + uv.MOUTH_TRIANGLES)
    # A face is half as large here as in its texture: fine detail would only alias.
    small = F.interpolate(textures, size=(SMALL, SMALL), mode="area") if textures.shape[-1] > SMALL else textures
    colour = F.grid_sample(small, place.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    skin = torch.tensor(SKIN, device=device).log()[:, None, None]
    return torch.where(inside, (torch.exp(colour + skin) - EPS).clamp(0, 1), torch.full_like(colour, 0.5))
