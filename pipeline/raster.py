"""Which triangle of a mesh each pixel shows, for many meshes at once, on any device."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Raster:
    """For F meshes on a grid of height H and width W."""

    triangle: Tensor  # (F, H, W) int64; -1 where there is none
    weights: Tensor  # (F, H, W, 3) barycentric, 0 where there is no triangle

    def interpolate(self, values: Tensor, triangles: Tensor) -> Tensor:
        """Values of the vertices, (F, V, C) or (1, V, C), at each pixel: (F, C, H, W); 0 outside the mesh."""
        f, h, w = self.triangle.shape
        # (C, F * T) for each corner, so that one short gather of whole rows serves all faces.
        corners = values.expand(f, -1, -1).permute(2, 0, 1)[:, :, triangles.T]
        shown = self.triangle.reshape(f, -1).clamp_min(0)
        if f > 1:
            shown = shown + torch.arange(f, device=shown.device)[:, None] * len(triangles)
        weights = self.weights.permute(3, 0, 1, 2).reshape(3, -1)
        result = torch.zeros(values.shape[2], f * h * w, device=values.device)
        for k in range(3):
            corner = corners[:, :, k].reshape(len(result), -1).index_select(1, shown.flatten())
            result.addcmul_(corner, weights[k])
        return result.reshape(-1, f, h, w).transpose(0, 1)


def rasterise(points: Tensor, triangles: Tensor, height: int, width: int) -> Raster:
    """`points` (F, V, 3): x, y in grid pixels (pixel centres at halves), z with the nearer one smaller; `triangles`
    (T, 3) int64. The nearest triangle wins; ties go to the lower index, so that every device gives the same picture.

    All rows of all triangles are cut out at once, then all their pixels: a face has some 900 triangles of a few pixels.
    """
    f, device, t = len(points), points.device, len(triangles)
    corner = points[:, triangles].reshape(-1, 3, 3)
    lo = (corner[..., :2].amin(1) - 0.5).ceil().clamp_min(0)
    limit = torch.tensor([width - 1, height - 1], device=device)
    size = (torch.minimum((corner[..., :2].amax(1) - 0.5).floor(), limit) - lo + 1).clamp_min(0)
    owner, down = _each(torch.where(size[:, 0] > 0, size[:, 1], 0.0).long())
    slope, level = _rows(_planes(corner, lo), owner, down)
    start, stop = _spans(slope, level, size[:, 0].index_select(0, owner))
    row, right = _each((stop - start).clamp_min(0).long())
    x = start.index_select(0, row) + right
    second, third, depth = torch.addcmul(level.index_select(1, row), slope.index_select(1, row), x).unbind()
    # Which one the box's first pixel is in all pictures, then the row's, then this one.
    above = torch.arange(f, device=device).repeat_interleave(t) * height
    begin = ((lo[:, 1].long() + above) * width + lo[:, 0].long()).index_select(0, owner) + down * width
    pixel, triangle = begin.index_select(0, row) + x.long(), (owner % t).index_select(0, row)
    # Depth and triangle in one sortable integer: scatter's minimum is exact and in no particular order on any device.
    near, far = depth.aminmax() if len(depth) else (depth.new_zeros(()), depth.new_ones(()))
    key = ((depth - near) * ((2**30 - 1) / (far - near).clamp_min(1e-9))).long() * t + triangle
    best = torch.full((f * height * width,), torch.iinfo(torch.int64).max, device=device)
    best.scatter_reduce_(0, pixel, key, "amin")
    won = (key == best.index_select(0, pixel)).nonzero()[:, 0]
    # Which of the tried pixels each pixel shows; one more, at the end, where there is nothing.
    shown = torch.full((f * height * width,), len(key), device=device)
    shown.index_copy_(0, pixel.index_select(0, won), won)
    weights = F.pad(torch.stack([1 - second - third, second, third]), (0, 1)).index_select(1, shown)
    index = F.pad(triangle, (0, 1), value=-1).index_select(0, shown)
    return Raster(index.reshape(f, height, width), weights.reshape(3, f, height, width).permute(1, 2, 3, 0))


def _each(count: Tensor) -> tuple[Tensor, Tensor]:
    """For things that have `count` (N,) parts: (M,) whose part each one is, and its number among them."""
    owner = torch.repeat_interleave(count)
    first = torch.cumsum(count, 0) - count
    return owner, torch.arange(len(owner), device=count.device) - first.index_select(0, owner)


def _planes(corner: Tensor, lo: Tensor) -> Tensor:
    """(3, 3, N) of triangles (N, 3, 3): what two barycentric weights and the depth grow by to the right and downwards,
    and what they are at the pixel `lo` (N, 2). A triangle without area has no pixel."""
    a, b, c = (corner[..., :2] - lo[:, None] - 0.5).permute(1, 2, 0)
    ab, ac = b - a, c - a
    area = ab[0] * ac[1] - ac[0] * ab[1]
    empty = area.abs() < 1e-9
    scale = torch.where(empty, 0.0, 1 / torch.where(empty, 1.0, area))
    second = torch.stack([ac[1], -ac[0], ac[0] * a[1] - ac[1] * a[0]]) * scale
    third = torch.stack([-ab[1], ab[0], ab[1] * a[0] - ab[0] * a[1]]) * scale
    second[2] -= empty.float()
    z = corner[..., 2].T
    depth = second * (z[1] - z[0]) + third * (z[2] - z[0])
    depth[2] += z[0]
    return torch.stack([second, third, depth], 1)


def _rows(planes: Tensor, owner: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """(3, R) what planes (3, 3, N) grow by to the right in rows of triangles `owner` (R,), `down` (R,) below the first
    one, and what they are at the row's first pixel."""
    right, below, first = planes.reshape(9, -1).index_select(1, owner).reshape(3, 3, -1)
    return right, torch.addcmul(first, below, down)


def _spans(slope: Tensor, level: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) the first pixel in each row of a triangle's box, `width` (R,) pixels wide, that lies in it, and the one
    after the last: where none of three weights, which begin at `level` and grow by `slope`, is below 0."""
    second, third = level[:2]
    level = torch.stack([second, third, 1 - second - third])
    slope = torch.stack([slope[0], slope[1], -slope[0] - slope[1]])
    level = level + 1e-4  # pixels on an edge belong to both sides: there are no holes
    place = -level / slope
    flat = torch.where(level < 0, -1.0, torch.inf)  # where a weight stays as it is: no pixel, or all
    start = torch.where(slope > 0, place, 0.0).amax(0).clamp_min(0).ceil()
    stop = torch.where(slope < 0, place, torch.where(slope > 0, torch.inf, flat)).amin(0)
    return start, torch.minimum(stop.floor() + 1, width)
