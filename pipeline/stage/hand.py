"""A drawn hand with its forearm: capsules with a height, lit from the upper left.

Hand units are widths of a palm; x to the right, y down, the origin in the middle of the back of the hand, fingers up.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.filters import blur
from pipeline.picture import Box
from pipeline.stage.canvas import Canvas

_LEFT, _TOP, _RIGHT, _BOTTOM = -1.2, -1.9, 1.2, 4.6  # of the sprite
# Knuckle x and y, length, radius, degrees from straight up.
_FINGERS = (
    (-0.37, -0.50, 0.93, 0.140, -5),
    (-0.125, -0.57, 1.06, 0.143, -1),
    (0.12, -0.54, 0.98, 0.136, 2),
    (0.35, -0.44, 0.76, 0.118, 6),
)
_LIGHT = (-0.45, -0.55, 0.70)


def draw_hand(
    canvas: Canvas, skin: tuple[float, float, float], at: tuple[float, float], unit: float, degrees: float
) -> tuple[Box, Tensor]:
    """Draw a hand in a skin colour (Y, Cb, Cr) with the middle of its back at `at`, palms `unit` pixels wide, turned
    clockwise, and its shadow. Returns where it is: a box, which may be empty, and alpha (h, w)."""
    reach = 2.3 * unit
    far = (_BOTTOM + 1) * unit
    turn = math.radians(degrees)
    ends = (at[0] - math.sin(turn) * far, at[1] + math.cos(turn) * far)
    low, high = (min(at[0], ends[0]), min(at[1], ends[1])), (max(at[0], ends[0]), max(at[1], ends[1]))
    box = canvas.clip(low[0] - reach, low[1] - reach, high[0] + reach, high[1] + reach)
    x0, y0, x1, y1 = box
    if x1 - x0 < 2 or y1 - y0 < 2:
        return (0, 0, 0, 0), torch.zeros(0, 0)
    sprite = _sprite(max(8, round(unit)))
    y, x = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    dx, dy = (x - at[0]) / unit, (y - at[1]) / unit
    u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
    grid = torch.stack([(u - _LEFT) / (_RIGHT - _LEFT), (v - _TOP) / (_BOTTOM - _TOP)], 2) * 2 - 1
    shade, pink, alpha, shadow = F.grid_sample(sprite, grid[None], padding_mode="zeros", align_corners=False)[0]
    canvas.luma[y0:y1, x0:x1].sub_(16).mul_(1 - 0.4 * shadow * (1 - alpha)).add_(16)
    small = F.avg_pool2d(torch.stack([pink, shade])[None], 2)[0]
    chroma = torch.stack([skin[1] + (skin[1] - 128) * 0.1 * small[1], skin[2] + 4 * small[0]])
    canvas.lay(box, 16 + (skin[0] - 16) * shade, chroma, alpha)
    return box, alpha


@lru_cache(maxsize=4)
def _sprite(unit: int) -> Tensor:
    """(1, 4, h, w) light (1 is the skin's own), pinkness, alpha and shadow, at `unit` pixels per hand unit."""
    ys = torch.arange(round((_BOTTOM - _TOP) * unit)) / unit + _TOP
    xs = torch.arange(round((_RIGHT - _LEFT) * unit)) / unit + _LEFT
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    height, outside, detail, pink = _palm(x, y)
    for finger in _FINGERS:
        bump, distance, mark, nail = _finger(x, y, finger)
        detail = torch.where(bump > height, mark, detail)
        pink = torch.where(bump > height, nail, pink)
        height, outside = torch.maximum(height, bump), torch.minimum(outside, distance)
    for a, b, r, s in (((-0.40, 0.30), (-0.70, -0.12), 0.17, 0.14), ((-0.70, -0.12), (-0.74, -0.55), 0.14, 0.11)):
        bump, distance = _capsule(x, y, a, b, r, s)
        height, outside = _melt(height, bump, 0.10), torch.minimum(outside, distance)
    height = blur(height[None, None], max(0.6, 0.025 * unit))[0, 0]
    slope_y, slope_x = torch.gradient(height, spacing=1.0 / unit)
    normal = torch.stack([-slope_x, -slope_y, torch.ones_like(height)])
    normal = normal / normal.norm(dim=0)
    lit = (normal * torch.tensor(_LIGHT).reshape(3, 1, 1)).sum(0).clamp_min(0)
    dice = torch.Generator().manual_seed(5)
    fine, broad = (torch.randn(height.shape, generator=dice) for _ in range(2))
    fine, broad = blur(fine[None, None], max(0.6, 0.012 * unit))[0, 0], blur(broad[None, None], 0.12 * unit + 0.5)[0, 0]
    uneven = 1 + 0.045 * fine / fine.std() + 0.06 * broad / broad.std()
    gloss = 0.45 * ((lit - 0.80) / 0.2).clamp(0, 1) ** 3
    shade = ((0.30 + 0.80 * lit) * (0.62 + 0.38 * (height / 0.13).clamp(0, 1)) * detail + gloss) * uneven
    alpha = (0.5 - outside * unit / 1.3).clamp(0, 1)
    shift = max(1, round(0.08 * unit))
    shadow = blur(F.pad(alpha, (shift, 0, shift, 0))[None, None, :-shift, :-shift], 0.09 * unit + 0.5)[0, 0]
    return torch.stack([shade, pink, alpha, shadow])[None]


def _melt(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Smooth maximum."""
    h = (0.5 + 0.5 * (a - b) / width).clamp(0, 1)
    return torch.lerp(b, a, h) + width * h * (1 - h)


def _capsule(
    x: Tensor, y: Tensor, a: tuple[float, float], b: tuple[float, float], r: float, s: float
) -> tuple[Tensor, Tensor]:
    """Height of a capsule from a (radius r) to b (radius s), and distance to its outline, negative inside."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = (((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    radius = r + (s - r) * t
    distance = torch.hypot(x - a[0] - t * dx, y - a[1] - t * dy)
    return (radius**2 - distance**2).clamp_min(0).sqrt(), distance - radius


def _palm(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    corner = torch.hypot((x.abs() - 0.27).clamp_min(0), (y.abs() - 0.38).clamp_min(0)) - 0.24
    inside = (-corner / 0.24).clamp(0, 1)
    height = 0.15 * (1 - (1 - inside) ** 2).clamp_min(0).sqrt()
    tendons = 1 + 0.035 * torch.cos(x / 0.245 * 2 * math.pi + math.pi / 2) * torch.exp(-(((y + 0.2) / 0.35) ** 2))
    arm, edge = _capsule(x, y, (0.0, 0.72), (0.12, 5.0), 0.31, 0.50)
    height = _melt(height, arm * 0.55, 0.06)
    # Where a wrist is narrower than hand and forearm, the outline is drawn in smoothly.
    k = (0.5 + 0.5 * (corner - edge) / 0.16).clamp(0, 1)
    outside = torch.lerp(corner, edge, k) - 0.16 * k * (1 - k) * 0.5
    return height, outside, tendons, torch.zeros_like(x)


def _finger(x: Tensor, y: Tensor, finger: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Height, distance, a factor for creases, and how pink it is (nails)."""
    kx, ky, length, radius, degrees = finger
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    tip = (kx + sin * length, ky - cos * length)
    bump, distance = _capsule(x, y, (kx - sin * 0.25, ky + cos * 0.25), tip, radius * 1.08, radius * 0.86)
    along = (x - kx) * sin - (y - ky) * cos
    across = (x - kx) * cos + (y - ky) * sin
    crease, narrow = torch.zeros_like(x), torch.exp(-((across / (0.6 * radius)) ** 2))
    for joint in (0.42 * length, 0.74 * length):
        for offset in (-0.03, 0.0, 0.035):
            crease += torch.exp(-(((along - joint - offset) / 0.011) ** 2)) * narrow
        bump = bump + 0.012 * torch.exp(-(((along - joint) / 0.08) ** 2)) * (bump > 0)
    nail = torch.hypot(across / (0.60 * radius), (along - length + 0.02) / (0.82 * radius))
    plate = ((1 - nail) / 0.12 + 0.5).clamp(0, 1)
    rim = torch.exp(-(((nail - 1.02) / 0.08) ** 2))
    return bump, distance, 1 - 0.10 * crease + 0.14 * plate - 0.12 * rim, plate
