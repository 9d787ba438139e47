"""The inside of an open mouth: darkness, upper teeth that stay with the skull, a tongue."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models import topology
from pipeline.picture import Box
from pipeline.stage.puppet import Floats

_TOOTH = 0.098  # width of a middle incisor in face units
# Y, Cb, Cr.
_CAVITY, _TONGUE, _TEETH = (24.0, 125.0, 138.0), (74.0, 120.0, 151.0), (168.0, 117.0, 134.0)


def paint_mouth(mesh: Floats, shut: Floats, jaw: float, unit: float, box: Box, luma: Tensor, chroma: Tensor) -> None:
    """Paint over luma (h, w) and chroma (2, h / 2, w / 2) of `box`, in place. `mesh` is the face, `shut` the same with
    its jaw closed, both (468, 3) pixels of the frame; `unit` the distance between the eyes' corners in those pixels."""
    ring = mesh[topology.ring("lips_inner"), :2]
    lo, hi = ring.min(0) - 2, ring.max(0) + 2
    x0, y0 = max(box[0], int(lo[0]) // 2 * 2), max(box[1], int(lo[1]) // 2 * 2)
    x1, y1 = min(box[2], int(hi[0]) // 2 * 2 + 2), min(box[3], int(hi[1]) // 2 * 2 + 2)
    if x1 <= x0 or y1 <= y0:
        return
    y, x = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    polygon = torch.from_numpy(ring.copy())
    opened = float(np.linalg.norm(mesh[13, :2] - mesh[14, :2])) - float(np.linalg.norm(shut[13, :2] - shut[14, :2]))
    cover = (distance_inside(polygon, x, y) / 1.4 + 0.5).clamp(0, 1) * min(1.0, max(0.0, opened / (0.03 * unit)))
    painted = _inside(mesh, shut, unit, x, y)
    rows, columns = slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0])
    luma[rows, columns] = torch.lerp(luma[rows, columns], painted[0], cover)
    half_rows = slice((y0 - box[1]) // 2, (y1 - box[1]) // 2)
    half_columns = slice((x0 - box[0]) // 2, (x1 - box[0]) // 2)
    small = F.avg_pool2d(torch.cat([painted[1:], cover[None]])[None], 2)[0]
    chroma[:, half_rows, half_columns] = torch.lerp(chroma[:, half_rows, half_columns], small[:2], small[2])


def _inside(mesh: Floats, shut: Floats, unit: float, x: Tensor, y: Tensor) -> Tensor:
    """(3, h, w) what there is to see behind the lips."""
    middle, lower = (shut[13, :2] + shut[14, :2]) / 2, mesh[14, :2]
    across = shut[291, :2] - shut[61, :2]
    half = float(np.linalg.norm(across)) / 2
    across = across / (2 * half)
    u = ((x - float(middle[0])) * float(across[0]) + (y - float(middle[1])) * float(across[1])) / unit
    v = ((y - float(middle[1])) * float(across[0]) - (x - float(middle[0])) * float(across[1])) / unit
    pixel = 1.0 / unit
    wide = half / unit
    cavity, tongue, teeth = (torch.tensor(c).reshape(3, 1, 1) for c in (_CAVITY, _TONGUE, _TEETH))
    depth = float(np.linalg.norm(lower - middle)) / unit
    bulge = torch.exp(-((u / (0.75 * wide)) ** 2) - ((v - depth) / 0.07) ** 2)
    result = cavity + (tongue - cavity) * 0.8 * bulge
    edge = 0.045 - 0.05 * (u / wide) ** 2
    turn = torch.asin((u / (1.02 * wide)).clamp(-1, 1)) * 1.02 * wide  # the arch of the teeth turns away sideways
    gap = (torch.remainder(turn / _TOOTH, 1) - 0.5).abs()
    edge = edge - 0.006 * (gap * 2) ** 4
    shade = (1 - 0.55 * (u.abs() / wide).clamp(0, 1) ** 1.5) * (0.72 + 0.28 * ((v + 0.05) / 0.09).clamp(0, 1))
    shade = shade * (1 - 0.22 * ((gap - 0.42) / 0.08).clamp(0, 1))
    visible = ((edge - v) / (1.5 * pixel + 0.006) + 0.5).clamp(0, 1) * (1 - ((u.abs() / wide - 0.7) / 0.25).clamp(0, 1))
    shaded = torch.cat([((teeth[:1] - 16) * shade + 16), 128 + (teeth[1:] - 128).expand(2, *u.shape)])
    return torch.lerp(result, shaded, visible)


def distance_inside(polygon: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Distance to the line of a closed polygon (n, 2), positive inside (even-odd rule), at x, y (h, w)."""
    a, b = polygon[:, :, None, None], polygon.roll(-1, 0)[:, :, None, None]
    ab = b - a
    t = ((x - a[:, 0]) * ab[:, 0] + (y - a[:, 1]) * ab[:, 1]) / (ab.square().sum(1) + 1e-9)
    t = t.clamp(0, 1)
    distance = torch.hypot(x - a[:, 0] - t * ab[:, 0], y - a[:, 1] - t * ab[:, 1]).amin(0)
    slope = torch.where(ab[:, 1] == 0, torch.ones_like(ab[:, 1]), ab[:, 1])
    crosses = ((a[:, 1] > y) != (b[:, 1] > y)) & (x < ab[:, 0] * (y - a[:, 1]) / slope + a[:, 0])
    return torch.where(crosses.sum(0) % 2 == 1, distance, -distance)
