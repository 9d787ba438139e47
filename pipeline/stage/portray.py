"""Draw a puppet on a canvas: from every pixel of the frame back to a place in the portrait."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models import topology
from pipeline.picture import Box
from pipeline.raster import rasterise
from pipeline.stage.canvas import Canvas
from pipeline.stage.mouth import paint_mouth
from pipeline.stage.puppet import Floats, Moves, Puppet

BODY_CELLS, FACE_CELLS = 80, 128  # longest sides of the grids on which the two meshes are drawn
OUTSIDE = -1e4  # a place that is nowhere in a portrait


@dataclass(frozen=True, slots=True)
class Place:
    """Where the middle between a puppet's eyes lies in the frame before it moves, and how large the puppet is."""

    x: float
    y: float
    scale: float  # pixels of the frame per pixel of the portrait
    light: float = 1.0  # gain of the picture
    soft: float = 0.0  # levels of the portrait's pyramid by which it is out of focus


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn."""

    mesh: Floats  # (468, 3) pixels of the frame
    box: Box  # of what was drawn; may be empty
    alpha: Tensor  # (h, w) of that box


def put(puppet: Puppet, place: Place, points: Floats) -> Floats:
    """Points of the portrait to the frame: (V, 3)."""
    shift = np.array([place.x, place.y, 0], np.float32)
    centre = np.array([*puppet.centre, puppet.pivot[2]], np.float32)
    return ((points - centre) * np.float32(place.scale) + shift).astype(np.float32)


def draw(puppet: Puppet, moves: Moves, place: Place, canvas: Canvas) -> Drawn:
    """Draw the puppet, in place."""
    mesh = put(puppet, place, puppet.move(puppet.mesh, moves))
    grid = put(puppet, place, puppet.move(puppet.grid, moves))
    lo, hi = grid[:, :2].min(0), grid[:, :2].max(0)
    box = canvas.clip(float(lo[0]), float(lo[1]), float(hi[0]), float(hi[1]))
    width, height = box[2] - box[0], box[3] - box[1]
    if width < 4 or height < 4:
        return Drawn(mesh, (0, 0, 0, 0), torch.zeros(0, 0))
    where = _body(puppet, grid, box)
    if not puppet.flat:
        _face(puppet, mesh, moves, place, box, where)
    luma, alpha, chroma = _sample(puppet, place, where)
    if not puppet.flat and moves.jaw > 0.01:
        shut = put(puppet, place, puppet.move(puppet.mesh, replace(moves, jaw=0.0)))
        paint_mouth(mesh, shut, moves.jaw, place.scale * puppet.unit, box, luma, chroma)
    luma = (luma - 16) * (_lighting(width, height, place.light)) + 16
    canvas.lay(box, luma, chroma, alpha)
    return Drawn(mesh, box, alpha)


@lru_cache(maxsize=1)
def _skin() -> tuple[Tensor, Tensor]:
    """Triangles of the face: skin, then the inside of the mouth, then copies of the eyes that no lid moves; and the
    numbers of the points that are copied (added behind the 468)."""
    filled = topology.filled()
    rings = np.concatenate([topology.ring("left_eye"), topology.ring("right_eye")])
    eyes = filled[852:880].copy()
    lookup = {int(p): 468 + i for i, p in enumerate(rings)}
    eyes = np.array([[lookup[int(p)] for p in t] for t in eyes], np.int64)
    faces = np.concatenate([filled[:852], filled[880:], eyes])
    return torch.from_numpy(faces), torch.from_numpy(rings)


@lru_cache(maxsize=1)
def _inner() -> Tensor:
    """(500, 1) how far each point of the face is inside its oval: 0 there, 1 two rows of triangles further in. The two
    meshes see another depth at the oval, and the change from one to the other must not show."""
    weight = np.full(topology.POINTS, 2.0, np.float32)
    weight[topology.ring("oval")] = 0
    for row in topology.triangles():
        weight[row[weight[row] == 2]] = np.where((weight[row] == 0).any(), 1, 2)
    t = weight / 2
    whole = np.concatenate([t * t * (3 - 2 * t), np.ones(len(_skin()[1]), np.float32)])
    return torch.from_numpy(whole.astype(np.float32))[:, None]


def _body(puppet: Puppet, grid: Floats, box: Box) -> Tensor:
    """(2, h, w) places in the portrait for each pixel of the box, from the grid."""
    width, height = box[2] - box[0], box[3] - box[1]
    step = max(2, -(-max(width, height) // BODY_CELLS))
    w, h = -(-width // step), -(-height // step)
    points = grid - np.array([box[0], box[1], 0], np.float32)
    triangles = puppet.cells
    drawn = rasterise(torch.from_numpy(points / np.array([step, step, 1], np.float32))[None], triangles, h, w)
    source = torch.from_numpy(puppet.grid.points[:, :2]).clone()
    where = drawn.interpolate(source[None], triangles)
    known = (drawn.triangle[:, None] >= 0).float()
    stack = torch.cat([where * known, known], 1)
    full = F.interpolate(stack, size=(h * step, w * step), mode="bilinear", align_corners=False)
    full = full[0, :, :height, :width]
    return torch.where(full[2:] > 0.5, full[:2] / full[2:].clamp_min(0.5), torch.full_like(full[:2], OUTSIDE))


def _face(puppet: Puppet, mesh: Floats, moves: Moves, place: Place, box: Box, where: Tensor) -> None:
    """Replace the places of the face by those of its own mesh, in place."""
    lo, hi = mesh[:, :2].min(0) - 2, mesh[:, :2].max(0) + 2
    x0, y0 = max(box[0], int(lo[0])), max(box[1], int(lo[1]))
    x1, y1 = min(box[2], int(hi[0]) + 1), min(box[3], int(hi[1]) + 1)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    faces, copied = _skin()
    calm = put(puppet, place, puppet.move(puppet.mesh, replace(moves, blink=0.0)))[copied.numpy()]
    behind = np.float32(0.15 * puppet.unit * place.scale)
    calm = calm + np.array([0, 0, behind], np.float32)
    step = max(1, -(-max(x1 - x0, y1 - y0) // FACE_CELLS))
    w, h = -(-(x1 - x0) // step), -(-(y1 - y0) // step)
    points = np.concatenate([mesh, calm]) - np.array([x0, y0, 0], np.float32)
    drawn = rasterise(torch.from_numpy(points / np.array([step, step, 1], np.float32))[None], faces, h, w)
    source = torch.from_numpy(puppet.mesh.points[:, :2])
    values = torch.cat([torch.cat([source, source[copied]]), _inner()], 1)
    both = drawn.interpolate(values[None], faces)
    places, inner = both[:, :2], both[:, 2:]
    eyes = drawn.triangle[:, None] >= len(faces) - 28
    places = torch.where(eyes, _gaze(puppet, places, moves.gaze), places)
    known = (drawn.triangle[:, None] >= 0).float()
    size = (h * step, w * step)
    stack = torch.cat([places * known, known, inner], 1)
    wide = F.interpolate(stack, size=size, mode="bilinear", align_corners=False)
    wide = wide[0, :, : y1 - y0, : x1 - x0]
    region = where[:, y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
    certain = wide[2:3]
    share = torch.where((certain > 0.5) & (region[:1] > OUTSIDE), wide[3:], (certain > 0.5).float())
    region.lerp_(wide[:2] / certain.clamp_min(0.5), share)


def _gaze(puppet: Puppet, places: Tensor, gaze: float) -> Tensor:
    """Places (1, 2, h, w) inside the eyes, shifted so that the irises look aside."""
    moved = places.clone()
    for x, y, radius in puppet.irises.tolist():
        shift = gaze * 0.75 * radius
        middle = torch.tensor([x + shift, y]).reshape(1, 2, 1, 1)
        distance = (places - middle).norm(dim=1) / radius
        near = 1 - ((distance - 1.05) / 1.0).clamp(0, 1)
        moved[:, 0] -= shift * near * near * (3 - 2 * near)
    return moved


def _sample(puppet: Puppet, place: Place, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Luma (h, w), alpha (h, w) and chroma (2, h / 2, w / 2) at places (2, h, w)."""
    level = int(np.clip(round(float(np.log2(1 / place.scale)) - 0.15 + place.soft), 0, len(puppet.levels) - 1))
    texture = puppet.levels[level]
    width, height = puppet.size
    across = torch.tensor([2 / width, 2 / height]).reshape(2, 1, 1)
    at = (where * across - 1).permute(1, 2, 0)[None]
    fine = F.grid_sample(texture[:, :2], at, padding_mode="zeros", align_corners=False)[0]
    coarse = (at[:, ::2, ::2] + at[:, 1::2, 1::2]) / 2
    chroma = F.grid_sample(texture[:, 2:], coarse, padding_mode="border", align_corners=False)[0]
    return fine[0], fine[1], chroma


@lru_cache(maxsize=64)
def _ramp(length: int) -> Tensor:
    return torch.linspace(-1, 1, length)


def _lighting(width: int, height: int, light: float) -> Tensor:
    """(h, w) gain: a little brighter towards the window on the left, a little darker below."""
    return light * (1 - 0.07 * _ramp(width)[None] - 0.05 * _ramp(height)[:, None])
