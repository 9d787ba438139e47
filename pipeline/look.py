"""A part of a picture as a detector wants it: shrunk, RGB, upright."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.picture import Box, Picture, even_box, to_rgb
from pipeline.transfer import viewed

_STRIP = 100_000  # pixels of a strip of `look`


def look(picture: Picture, box: Box, width: int, height: int, into: Tensor | None = None) -> Tensor:
    """The region `box` (even coordinates) as RGB (3, height, width) float32 in 0..1, averaged over areas, not turned.
    It is written to `into`, if that is given. Of an HDR film it is what an SDR screen would show.

    Sums of samples come first, as whole numbers: every device gives the same pixels.
    """
    layout = picture.layout
    x0, y0, x1, y1 = box
    sx, sy = layout.sub_x, layout.sub_y
    inside = (slice(y0 >> sy, -(-y1 >> sy)), slice(x0 >> sx, -(-x1 >> sx)))
    luma = _fitted(_shrink(picture.planes[0][y0:y1, x0:x1], width, height)[None], width, height)[0]
    chroma = torch.stack([_shrink(plane[inside], width, height) for plane in picture.planes[1:]])
    half = chroma.shape[1:] == (height / 2, width / 2)
    if not half:
        chroma = _fitted(chroma, width, height)
    target = torch.empty(3, height, width, device=luma.device) if into is None else into
    # Strips that stay in a core's cache: whole planes of a large picture take twice the time.
    rows = max(2, _STRIP // width & ~1) if target.device.type == "cpu" else height
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = torch.empty(3, bottom - top, width, device=target.device)
        strip[0] = luma[top:bottom]
        if half:
            _double(chroma, top, strip[1:])
        else:
            strip[1:] = chroma[:, top:bottom]
        rgb = to_rgb(strip, layout)
        if layout.transfer != "sdr":
            rgb = viewed(rgb, layout.transfer, layout.wide)
        target[:, top:bottom] = rgb.clamp_(0, 1)
    return target


def _shrink(plane: Tensor, width: int, height: int) -> Tensor:
    """Means over boxes of whole samples, to the size or somewhat more; the plane itself where it is no larger."""
    down, across = max(1, plane.shape[0] // height), max(1, plane.shape[1] // width)
    rows, columns = plane.shape[0] // down, plane.shape[1] // across
    plane = plane[: rows * down, : columns * across]
    # 16 bits hold the sum of that many rows of 8 bits.
    whole = torch.int16 if plane.dtype == torch.uint8 and down < 128 else torch.int32
    if down > 1:
        lines = plane.reshape(rows, down, -1)
        plane = lines[:, 0].to(whole)
        for i in range(1, down):
            plane += lines[:, i]
    if across > 1:
        cells = plane.reshape(rows, columns, across)
        plane = cells[:, :, 0].to(torch.float32 if whole == torch.int16 else torch.int32)
        for i in range(1, across):
            plane += cells[:, :, i]
    return plane / (down * across) if down * across > 1 else plane


def _fitted(planes: Tensor, width: int, height: int) -> Tensor:
    """Planes (C, h, w) blended to the size that is wanted, where they haven't it."""
    if planes.shape[1:] == (height, width):
        return planes
    return F.interpolate(planes.float()[None], (height, width), mode="bilinear", align_corners=False)[0]


def _double(planes: Tensor, top: int, into: Tensor) -> None:
    """The rows from `top` (even) on of planes (C, h, w) at twice their size, into (C, rows, 2 * w): three quarters of
    the nearest sample and one of the next, as bilinear interpolation has it, in a quarter of its time."""
    count, rows = len(planes), into.shape[1]
    first, last = top // 2, (top + rows) // 2
    above, below = int(first == 0), int(last == planes.shape[1])
    near = F.pad(planes[None, :, first - 1 + above : last + 1 - below].float(), (1, 1, above, below), "replicate")[0]
    tall = torch.empty(count, last - first, 2, near.shape[2], device=near.device)
    torch.lerp(near[:, 1:-1], near[:, :-2], 0.25, out=tall[:, :, 0])
    torch.lerp(near[:, 1:-1], near[:, 2:], 0.25, out=tall[:, :, 1])
    tall = tall.reshape(count, rows, -1)
    wide = into.view(count, rows, -1, 2)
    torch.lerp(tall[:, :, 1:-1], tall[:, :, :-2], 0.25, out=wide[..., 0])
    torch.lerp(tall[:, :, 1:-1], tall[:, :, 2:], 0.25, out=wide[..., 1])


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
    # grid_sample counts -1..1 over the region. A sum of rows and columns: affine_grid takes longer than the sampling.
    scale = torch.tensor([2 / (width * step), 2 / (height * step)])
    places = torch.arange(size) + 0.5
    across, down = (places[:, None] * (matrix[:, i] * scale) for i in (0, 1))
    shift = (matrix[:, 2] - torch.tensor([float(x0), float(y0)])) * scale - 1
    grid = across[None].to(region.device) + (down + shift)[:, None].to(region.device)
    return F.grid_sample(region[None], grid[None], padding_mode="zeros", align_corners=False)[0]
