"""Cover a face so that nothing comes back.

A blur keeps what was there, only weaker, and can be undone (Todt et al., "Fantômas: Understanding face anonymization
reversibility", PoPETs 2024). Here a face becomes a handful of cells, each with one roughly rounded colour and a fixed
error, or one plain colour that has nothing to do with it.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.picture import Box, Picture, even_box, read_rgb, write_rgb

Style = Literal["mosaic", "solid"]

CELLS = 6  # along the longer side of the box: too few for a recogniser, enough to look like a mosaic
STEPS = 12  # levels to which each colour is rounded
NOISE = 0.05  # standard deviation of each cell's fixed error, in RGB of 0..1
PLAIN = 0.42  # the solid cover's grey
_FEATHER = 0.06  # of the box's size, outside of what must be hidden


def cover(
    picture: Picture, box: Sequence[float] | np.ndarray, mesh: np.ndarray | None, style: Style, seed: int,
    share: float = 1.0,
) -> None:  # fmt: skip
    """Cover the region of `box` (xyxy px), and of `mesh` (468, 3) px where it reaches further, in place. Everything in
    a rounded box (superellipse) that fills the region is hidden entirely; a thin soft rim lies outside.
    `seed` fixes the mosaic's error for one face, so that it does not flicker. A `share` below 1 hides nothing: it
    is for fading a cover in over what may be seen."""
    hidden = _hull(box, mesh)
    width, height = hidden[2] - hidden[0], hidden[3] - hidden[1]
    edge_x, edge_y = width * _FEATHER + 1, height * _FEATHER + 1
    region = even_box(picture.layout, (hidden[0] - edge_x, hidden[1] - edge_y, hidden[2] + edge_x, hidden[3] + edge_y))
    if region[2] <= region[0] or region[3] <= region[1]:
        return
    device = picture.planes[0].device
    mask = _mask(hidden, region, device) * share
    shape = (3, region[3] - region[1], region[2] - region[0])
    if style == "solid":
        colour = torch.full(shape, PLAIN, device=device)
    else:
        colour = _mosaic(read_rgb(picture, region).clamp_(0, 1), hidden, region, seed)
    write_rgb(picture, region, colour, mask)


def _hull(box: Sequence[float] | np.ndarray, mesh: np.ndarray | None) -> tuple[float, float, float, float]:
    low, high = [float(box[0]), float(box[1])], [float(box[2]), float(box[3])]
    if mesh is not None and np.isfinite(mesh).all():
        for axis in (0, 1):
            # A mesh far outside its own box went astray, and must not cover half the picture.
            reach = (high[axis] - low[axis]) * 0.5
            low[axis] = max(min(low[axis], float(mesh[:, axis].min())), low[axis] - reach)
            high[axis] = min(max(high[axis], float(mesh[:, axis].max())), high[axis] + reach)
    return low[0], low[1], high[0], high[1]


def _mask(hidden: tuple[float, float, float, float], region: Box, device: torch.device) -> Tensor:
    """(h, w) 1 in a rounded box (superellipse of degree 4) that fills `hidden`, falling to 0 just outside of it."""
    x = torch.arange(region[0], region[2], device=device) + 0.5
    y = torch.arange(region[1], region[3], device=device) + 0.5
    rx, ry = max(1.0, (hidden[2] - hidden[0]) / 2), max(1.0, (hidden[3] - hidden[1]) / 2)
    u, v = (x - (hidden[0] + hidden[2]) / 2) / rx, (y - (hidden[1] + hidden[3]) / 2) / ry
    radius = (u[None] ** 4 + v[:, None] ** 4) ** 0.25
    soft = 2 * _FEATHER + 1 / min(rx, ry)
    return ((1 + soft - radius) / soft).clamp(0, 1)


def _mosaic(rgb: Tensor, hidden: tuple[float, float, float, float], region: Box, seed: int) -> Tensor:
    """The region as cells whose grid moves with the face."""
    h, w = rgb.shape[1:]
    side = max(hidden[2] - hidden[0], hidden[3] - hidden[1]) / CELLS
    count_x, count_y = max(1, round((hidden[2] - hidden[0]) / side)), max(1, round((hidden[3] - hidden[1]) / side))
    x = ((torch.arange(w) + 0.5 + region[0] - hidden[0]) / (hidden[2] - hidden[0]) * count_x).long()
    y = ((torch.arange(h) + 0.5 + region[1] - hidden[1]) / (hidden[3] - hidden[1]) * count_y).long()
    cell = (y.clamp(0, count_y - 1)[:, None] * count_x + x.clamp(0, count_x - 1)[None]).to(rgb.device).reshape(-1)
    number = count_x * count_y
    total = torch.zeros(3, number, device=rgb.device).index_add_(1, cell, rgb.reshape(3, -1))
    size = torch.zeros(number, device=rgb.device).index_add_(0, cell, torch.ones_like(cell, dtype=torch.float32))
    error = torch.randn(4, CELLS * CELLS * 2, generator=torch.Generator().manual_seed(seed)) * NOISE
    error = error[:1] + 0.3 * error[1:]  # mostly brightness: wrong colours would draw the eye
    mean = total / size.clamp_min(1) + error[:, :number].to(rgb.device)
    return ((mean * STEPS).round() / STEPS).clamp(0, 1)[:, cell].reshape(3, h, w)
