"""Which triangle of a mesh each pixel shows, for many meshes at once, on any device."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Raster:
    """For F meshes on a grid of height H and width W."""

    triangle: Tensor  # (F, H, W) int64; -1 where there is none
    weights: Tensor  # (F, H, W, 3) barycentric, 0 where there is no triangle

    def interpolate(self, values: Tensor, triangles: Tensor) -> Tensor:
        """Values of the vertices, (F, V, C) or (1, V, C), at each pixel: (F, C, H, W); 0 outside the mesh."""
        f, h, w = self.triangle.shape
        values = values.expand(f, -1, -1)
        shown = self.triangle.reshape(f, -1).clamp_min(0)
        # One gather per corner of the triangles: a third of the time of one for all three.
        parts = []
        for k in range(3):
            corner = triangles[:, k][shown][..., None].expand(-1, -1, values.shape[2])
            parts.append(torch.gather(values, 1, corner) * self.weights[..., k].reshape(f, -1, 1))
        return (parts[0] + parts[1] + parts[2]).mT.reshape(f, -1, h, w)


def rasterise(points: Tensor, triangles: Tensor, height: int, width: int) -> Raster:
    """`points` (F, V, 3): x, y in grid pixels (pixel centres at halves), z with the nearer one smaller; `triangles`
    (T, 3) int64. The nearest triangle wins; ties go to the lower index, so that every device gives the same picture.

    All pixels of all triangles' bounding boxes are tried at once: a face has some 900 triangles of a few pixels each.
    """
    f, device = len(points), points.device
    corner = points[:, triangles]  # (F, T, 3, 3)
    xy = corner[..., :2]
    lo = (xy.amin(2) - 0.5).ceil().clamp_min(0).long()
    limit = torch.tensor([width - 1, height - 1], device=device)
    hi = torch.minimum((xy.amax(2) - 0.5).floor().long(), limit)
    size = (hi - lo + 1).clamp_min(0)
    count = (size[..., 0] * size[..., 1]).reshape(-1)
    owner = torch.repeat_interleave(torch.arange(len(count), device=device), count)
    start = torch.cumsum(count, 0) - count
    place = torch.arange(len(owner), device=device) - start[owner]
    size, lo, corner = size.reshape(-1, 2)[owner], lo.reshape(-1, 2)[owner], corner.reshape(-1, 3, 3)[owner]
    x, y = lo[:, 0] + place % size[:, 0].clamp_min(1), lo[:, 1] + place // size[:, 0].clamp_min(1)
    bary, inside = _barycentric(corner, x + 0.5, y + 0.5)
    owner, x, y, bary, corner = owner[inside], x[inside], y[inside], bary[inside], corner[inside]
    face, triangle = owner // len(triangles), owner % len(triangles)
    pixel = (face * height + y) * width + x
    depth = (bary * corner[..., 2]).sum(1)
    # Depth and triangle in one sortable integer: scatter's minimum is exact and in no particular order on any device.
    near, far = (depth.min(), depth.max()) if len(depth) else (depth.new_zeros(()), depth.new_ones(()))
    level = ((depth - near) / (far - near).clamp_min(1e-9) * (2**30 - 1)).long()
    key = level * len(triangles) + triangle
    best = torch.full((f * height * width,), torch.iinfo(torch.int64).max, device=device)
    best.scatter_reduce_(0, pixel, key, "amin")
    won = key == best[pixel]
    index = torch.full((f * height * width,), -1, dtype=torch.int64, device=device)
    weights = torch.zeros(f * height * width, 3, device=device)
    index[pixel[won]] = triangle[won]
    weights[pixel[won]] = bary[won]
    return Raster(index.reshape(f, height, width), weights.reshape(f, height, width, 3))


def _barycentric(corner: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (N, 3) of the points in their triangles (N, 3, 3), and whether they lie inside."""
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    safe = torch.where(area.abs() < 1e-9, torch.ones_like(area), area)
    wb = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (y - a[:, 1]) * (c[:, 0] - a[:, 0])) / safe
    wc = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])) / safe
    weights = torch.stack([1 - wb - wc, wb, wc], 1)
    return weights, (weights.amin(1) >= -1e-4) & (area.abs() >= 1e-9)
