"""One face for another, in place: the person's movements and light, another one's shape and skin.

The frame is warped from the person's mesh to the mesh that the identity would have in the same pose and with the same
expression; the identity's skin is laid over it in the frame's own light and sharpness; eyeballs and the inside of the
mouth stay the frame's. After Cootes, Edwards and Taylor, "Active appearance models", ECCV 1998.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.appearance import EPS, LIGHT
from pipeline.filters import blur, match_bands, spread
from pipeline.identity import Identity, NobodyModel
from pipeline.models import topology
from pipeline.picture import Box, Picture, even_box, read_rgb, write_rgb
from pipeline.raster import rasterise
from pipeline.shape import align, eye_distance, mean_shape

GRID = 224  # longest side of the grid on which meshes are drawn
EXCHANGE = 0.8  # how much of the identity's shape is taken, inside the face
EXCHANGE_EDGE = 0.25  # and at the oval, where hair and neck must still fit


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one picture, and who takes its place."""

    picture: Picture
    mesh: Tensor  # (468, 3) pixels
    neutral: Tensor  # (468, 3) the person's shape at rest
    identity: Identity


@dataclass(frozen=True, slots=True)
class _Maps:
    """What is where in a crop; all (F, C, H, W)."""

    shift: Tensor  # 2: pixels from here to where the frame's content comes from
    texture: Tensor  # 2: place in the texture, -1..1
    alive: Tensor  # 1: eyeballs and the inside of the mouth
    face: Tensor  # 1: inside the oval


class Replacer:
    """Replaces faces on one device, with one model."""

    def __init__(self, model: NobodyModel, device: torch.device) -> None:
        self.model, self.device = model, device

    def apply(self, faces: Sequence[Face]) -> None:
        """Replace each face in its picture, in place, in the order given: where two overlap, the later lies above."""
        for face in faces:
            target, person = _exchange(face)
            box = even_box(face.picture.layout, _around(target, person))
            if box[2] - box[0] >= 8 and box[3] - box[1] >= 8:
                _draw(face, target, person, box)


@lru_cache(maxsize=4)
def _weights(device: torch.device) -> Tensor:
    """(468, 1) how much of the identity's shape each point takes: less towards the oval."""
    mask = uv.blend_mask(torch.device("cpu"))
    where = uv.coordinates(torch.device("cpu"))[:468] / uv.SIZE * 2 - 1
    inside = F.grid_sample(mask[None, None], where[None, None], align_corners=False)[0, 0, 0]
    return (EXCHANGE_EDGE + (EXCHANGE - EXCHANGE_EDGE) * inside)[:, None].to(device)


def _exchange(face: Face) -> tuple[Tensor, Tensor]:
    """(1, 468, 3) the mesh that the identity would have, and the person's own."""
    mesh = face.mesh[None]
    device = mesh.device
    placed = align(mesh, face.neutral[None])
    offset = (face.identity.shape.to(device) - face.neutral) * _weights(device)
    return mesh + placed.turn(offset[None]), mesh


def _around(target: Tensor, person: Tensor) -> tuple[float, float, float, float]:
    outer = torch.cat([uv.extend(target[..., :2]), person[..., :2]], 1)[0]
    lo, hi = outer.amin(0) - 2, outer.amax(0) + 2
    return float(lo[0]), float(lo[1]), float(hi[0]), float(hi[1])


def _maps(target: Tensor, person: Tensor, box: Box) -> _Maps:
    """Draw the target mesh on a coarse grid over the box; smooth enough to be enlarged to every pixel."""
    device = target.device
    width, height = box[2] - box[0], box[3] - box[1]
    step = max(1, -(-max(width, height) // GRID))
    w, h = -(-width // step), -(-height // step)
    origin = torch.tensor([box[0], box[1]], dtype=torch.float32, device=device)
    points = uv.extend(target[..., :2])
    scale = eye_distance(target)
    depth = torch.cat([target[..., 2], (10 * scale)[:, None].expand(-1, points.shape[1] - 468)], 1)
    drawn = rasterise(torch.cat([(points - origin) / step, depth[..., None]], 2), uv.triangles(device), h, w)
    shift = person[..., :2] - target[..., :2]
    oval = torch.from_numpy(topology.ring("oval")).to(device)
    shift = torch.cat([shift, shift[:, oval] * 0.5, torch.zeros_like(shift[:, oval])], 1)
    place = (uv.coordinates(device) / uv.SIZE * 2 - 1)[None]
    values = torch.cat([shift, place.expand(len(shift), -1, -1)], 2)
    smooth = drawn.interpolate(values, uv.triangles(device))
    last_eye = uv.MESH_TRIANGLES + uv.EYE_TRIANGLES
    index = drawn.triangle[:, None]
    alive = ((index >= uv.MESH_TRIANGLES) & (index < last_eye + uv.MOUTH_TRIANGLES)).float()
    face = ((index >= 0) & (index < last_eye + uv.MOUTH_TRIANGLES)).float()
    masks = blur(torch.cat([alive, face], 1), 0.7)
    full = F.interpolate(torch.cat([smooth, masks], 1), size=(h * step, w * step), mode="bilinear", align_corners=False)
    full = full[..., :height, :width]
    return _Maps(full[:, :2], full[:, 2:4], full[:, 4:5], full[:, 5:6])


def _pull(image: Tensor, shift: Tensor) -> Tensor:
    """The image (F, C, H, W) with each pixel fetched from `shift` (F, 2, H, W) pixels away."""
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(h, device=image.device) + 0.5, torch.arange(w, device=image.device) + 0.5, indexing="ij"
    )
    grid = torch.stack([(x + shift[:, 0]) / w * 2 - 1, (y + shift[:, 1]) / h * 2 - 1], -1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def _draw(face: Face, target: Tensor, person: Tensor, box: Box) -> None:
    maps = _maps(target, person, box)
    frame = read_rgb(face.picture, box)[None]
    warped = _pull(frame, maps.shift)
    scale = float(eye_distance(target)[0])
    texture = face.identity.sample(maps.texture, scale)
    skin, cover = texture[:, :3], texture[:, 3:4] * maps.face
    steady = (cover > 0.02).float() * (1 - maps.alive)
    logs = torch.log(warped.clamp(0, 1) + EPS)
    light = spread(logs - skin, steady, LIGHT * scale)
    relit = torch.exp(skin + light) - EPS
    relit = match_bands(relit, warped, steady)
    mixed = torch.lerp(warped, relit, cover * (1 - maps.alive))
    touched = (maps.shift.abs().amax(1, keepdim=True) > 1e-3).float()
    write_rgb(face.picture, box, mixed[0], torch.maximum(touched, cover)[0, 0])
