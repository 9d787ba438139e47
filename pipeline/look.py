"""A part of a picture as a detector wants it: shrunk, RGB, upright."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.picture import Box, Picture, even_box, to_rgb


def look(picture: Picture, box: Box, width: int, height: int) -> Tensor:
    """The region `box` (even coordinates) as RGB (3, height, width) float32 in 0..1, averaged over areas, not turned.

    Sums of whole samples come first, in float32, where they are exact: every device gives the same pixels.
    """
    layout = picture.layout
    x0, y0, x1, y1 = box
    luma = _shrink(picture.planes[0][y0:y1, x0:x1], width, height)
    sx, sy = layout.sub_x, layout.sub_y
    inside = (slice(y0 >> sy, -(-y1 >> sy)), slice(x0 >> sx, -(-x1 >> sx)))
    chroma = [_shrink(plane[inside], width, height) for plane in picture.planes[1:]]
    return to_rgb(torch.stack([luma, *chroma]), layout).clamp_(0, 1)


def _shrink(plane: Tensor, width: int, height: int) -> Tensor:
    """Boxes of whole samples first, then bilinear for the rest: several times as fast as an area filter."""
    down, across = max(1, plane.shape[0] // height), max(1, plane.shape[1] // width)
    rows, columns = plane.shape[0] // down, plane.shape[1] // across
    plane = plane[: rows * down, : columns * across]
    if down > 1:
        lines = plane.reshape(rows, down, -1)
        plane = lines[:, 0].float()
        for i in range(1, down):
            plane += lines[:, i]
    if across > 1:
        cells = plane.reshape(rows, columns, across)
        plane = cells[:, :, 0].float()
        for i in range(1, across):
            plane += cells[:, :, i]
    plane = plane.float()
    if down * across > 1:
        plane /= down * across
    if (rows, columns) != (height, width):
        plane = F.interpolate(plane[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    return plane


def upright(image: Tensor, quarters: int) -> Tensor:
    """(3, H, W) turned clockwise by quarters of a circle."""
    return torch.rot90(image, -quarters, (1, 2)) if quarters % 4 else image


def back(quarters: int, box: Box, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The map p -> linear (2, 2) @ p + shift (2,) from pixels of the upright look to pixels of the picture, for
    `Detections.moved`. Width and height are those of the look before it was turned."""
    turns = {0: ((1, 0), (0, 1)), 1: ((0, 1), (-1, 0)), 2: ((-1, 0), (0, -1)), 3: ((0, -1), (1, 0))}
    corner = {0: (0, 0), 1: (0, height), 2: (width, height), 3: (width, 0)}
    scale = np.array([(box[2] - box[0]) / width, (box[3] - box[1]) / height])
    linear = np.array(turns[quarters % 4], np.float64) * scale[:, None]
    return linear, np.array(corner[quarters % 4]) * scale + np.array(box[:2])


def warped(picture: Picture, matrix: Tensor, size: int) -> Tensor:
    """One square crop under an affine map: RGB (3, size, size) in 0..1, black outside of the picture.

    `matrix` (2, 3), on the CPU, takes pixels of the crop to pixels of the picture; a pixel's centre lies at halves. A
    large region is shrunk before it becomes RGB, which takes a third of the time."""
    layout = picture.layout
    corners = matrix[:, :2] @ torch.tensor([[0.0, size, 0, size], [0, 0, size, size]]) + matrix[:, 2:]
    lo, hi = corners.amin(1) - 2, corners.amax(1) + 2
    x0, y0, x1, y1 = even_box(layout, (float(lo[0]), float(lo[1]), float(hi[0]), float(hi[1])))
    step = max(1, int(float(torch.linalg.det(matrix[:, :2]).abs().sqrt()) + 0.25))
    width, height = (x1 - x0) // step, (y1 - y0) // step
    if width < 1 or height < 1:
        return torch.zeros(3, size, size, device=picture.planes[0].device)
    region = look(picture, (x0, y0, x0 + width * step, y0 + height * step), width, height)
    # grid_sample counts -1..1 over the crop and over the region.
    half = size / 2
    scale = torch.tensor([2 / (width * step), 2 / (height * step)])
    centre = matrix[:, :2].sum(1) * half + matrix[:, 2] - torch.tensor([float(x0), float(y0)])
    theta = torch.cat([matrix[:, :2] * half * scale[:, None], (centre * scale - 1)[:, None]], 1)
    grid = F.affine_grid(theta.to(region.device)[None], [1, 3, size, size], align_corners=False)
    return F.grid_sample(region[None], grid, padding_mode="zeros", align_corners=False)[0]
