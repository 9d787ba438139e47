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
    corner = points[:, triangles].reshape(-1, 3, 3)
    lo = (corner[..., :2].amin(1) - 0.5).ceil().clamp_min(0).long()
    limit = torch.tensor([width - 1, height - 1], device=device)
    size = (torch.minimum((corner[..., :2].amax(1) - 0.5).floor().long(), limit) - lo + 1).clamp_min(0)
    count = size[:, 0] * size[:, 1]
    owner = torch.repeat_interleave(torch.arange(len(count), device=device), count)
    place = torch.arange(len(owner), device=device) - (torch.cumsum(count, 0) - count)[owner]
    across = size[:, 0].clamp_min(1)[owner]
    y = torch.div(place, across, rounding_mode="floor")
    x = place - y * across
    bary, inside = _barycentric(_edges(corner, lo), owner, x, y)
    owner, x, y, bary = owner[inside], x[inside], y[inside], bary[inside]
    face, triangle = owner // len(triangles), owner % len(triangles)
    pixel = (face * height + y + lo[owner, 1]) * width + x + lo[owner, 0]
    depth = (bary * corner[..., 2][owner]).sum(1)
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


def _edges(corner: Tensor, lo: Tensor) -> Tensor:
    """(N, 6) of triangles (N, 3, 3): two barycentric weights as planes, by pixels from `lo` (N, 2). A triangle without
    area has no pixel."""
    xy = corner[..., :2] - lo[:, None] - 0.5
    a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ac[:, 0] * ab[:, 1]
    empty = area.abs() < 1e-9
    scale = torch.where(empty, torch.zeros_like(area), 1 / torch.where(empty, torch.ones_like(area), area))
    second = torch.stack([ac[:, 1], -ac[:, 0], ac[:, 0] * a[:, 1] - ac[:, 1] * a[:, 0]], 1) * scale[:, None]
    third = torch.stack([-ab[:, 1], ab[:, 0], ab[:, 1] * a[:, 0] - ab[:, 0] * a[:, 1]], 1) * scale[:, None]
    second[:, 2] -= empty.float()
    return torch.cat([second, third], 1)


def _barycentric(edges: Tensor, owner: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (N, 3) of pixels in their triangles, and the numbers of those that lie inside."""
    second, third = (
        torch.addcmul(torch.addcmul(edges[:, k + 2][owner], edges[:, k][owner], x), edges[:, k + 1][owner], y)
        for k in (0, 3)
    )
    first = 1 - second - third
    inside = torch.minimum(torch.minimum(second, third), first).ge(-1e-4).nonzero()[:, 0]
    return torch.stack([first, second, third], 1), inside
