"""The set: a plain room with a window, a hatch to another room, and a table at which people sit.

Room coordinates are pixels of a wide shot of 1280 x 720.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.filters import blur
from pipeline.stage.canvas import Canvas, to_planes

WIDTH, HEIGHT = 1280.0, 720.0
TABLE = 560.0  # where its far edge is
HATCH = (1042.0, 158.0, 1152.0, 252.0)
_WINDOW = (545.0, 40.0, 765.0, 285.0)
_FLOOR = 500.0


@dataclass(frozen=True, slots=True)
class Camera:
    """What a shot shows: the point of the room in the middle of the picture, and how near it is."""

    x: float = WIDTH / 2
    y: float = HEIGHT / 2
    zoom: float = 1.0
    blur: float = 1.3  # pixels of the wide shot by which the background is out of focus

    def scale(self, height: int) -> float:
        """Pixels of the frame per pixel of the room."""
        return self.zoom * height / HEIGHT

    def place(self, x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
        """A point of the room in a frame of `size` (width, height)."""
        scale = self.scale(size[1])
        return (x - self.x) * scale + size[0] / 2, (y - self.y) * scale + size[1] / 2


@dataclass(frozen=True, slots=True)
class Set:
    """What of a shot doesn't move."""

    back: Canvas
    table: Canvas
    table_cover: Tensor  # (H, W) 0..1


def build(camera: Camera, size: tuple[int, int], seed: int) -> Set:
    """The set as the camera sees it."""
    width, height = size
    scale = camera.scale(height)
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    y, x = torch.meshgrid(
        (rows - height / 2) / scale + camera.y, (columns - width / 2) / scale + camera.x, indexing="ij"
    )
    pixel = 1 / scale
    back = _hatch(_window(_wall(x, y, pixel, seed), x, y, pixel), x, y, pixel)
    table, cover = _table(x, y, pixel, seed)
    soft = _defocus(back, camera.blur * scale)
    return Set(to_planes(soft.clamp(0, 1)), to_planes(table.clamp(0, 1)), cover)


def _defocus(image: Tensor, sigma: float) -> Tensor:
    """Blur (3, H, W); wide blurs on a smaller copy, which can hold all that they leave."""
    step = max(1, int(sigma / 2))
    small = F.avg_pool2d(image[None], step, ceil_mode=True, count_include_pad=False)
    wide = blur(small, sigma / step)
    if step == 1:
        return wide[0]
    size = (small.shape[2] * step, small.shape[3] * step)
    full = F.interpolate(wide, size=size, mode="bilinear", align_corners=False)
    return full[0, :, : image.shape[1], : image.shape[2]]


def _step(value: Tensor, pixel: float) -> Tensor:
    """0 below 0, 1 above, soft over a pixel."""
    return (value / pixel + 0.5).clamp(0, 1)


def _within(x: Tensor, y: Tensor, box: tuple[float, float, float, float], pixel: float) -> Tensor:
    x0, y0, x1, y1 = box
    return _step(x - x0, pixel) * _step(x1 - x, pixel) * _step(y - y0, pixel) * _step(y1 - y, pixel)


def _colour(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).reshape(3, 1, 1)


def _waves(x: Tensor, y: Tensor, seed: int, count: int = 5) -> Tensor:
    """Smooth unevenness, about -1..1."""
    dice = torch.Generator().manual_seed(seed)
    result = torch.zeros_like(x)
    for i in range(count):
        a, b, phase = (torch.rand(3, generator=dice) * 2 - 1).tolist()
        result += torch.sin((x * a + y * b) * 0.006 * (i + 1) + phase * 6.3) / (i + 1)
    return result / 1.6


def _wall(x: Tensor, y: Tensor, pixel: float, seed: int) -> Tensor:
    near = torch.exp(-(((x - 655) / 520) ** 2) - ((y - 160) / 420) ** 2)
    light = 0.76 + 0.22 * near + 0.012 * _waves(x, y, seed)
    result = _colour(0.80, 0.785, 0.74) * light
    below = _step(y - _FLOOR, pixel)
    boards = 0.9 + 0.1 * _waves(x * 0.2, y * 9, seed + 1)
    result = torch.lerp(result, _colour(0.46, 0.36, 0.27) * boards * light, below)
    skirting = _within(x, y, (-9e3, _FLOOR - 20, 9e3, _FLOOR), pixel)
    result = torch.lerp(result, _colour(0.86, 0.85, 0.82) * light, skirting)
    shadow = torch.exp(-((y - _FLOOR - 3).abs() / 10))
    return result * (1 - 0.25 * shadow)


def _window(image: Tensor, x: Tensor, y: Tensor, pixel: float) -> Tensor:
    x0, y0, x1, y1 = _WINDOW
    height = ((y - y0) / (y1 - y0)).clamp(0, 1)
    sky = torch.lerp(_colour(0.80, 0.88, 0.97), _colour(0.95, 0.96, 0.97), height)
    trees = _step(height - 0.66 - 0.07 * _waves(x * 6, y * 0, 5), 0.12)
    outside = torch.lerp(sky, _colour(0.52, 0.62, 0.47) * (0.9 + 0.18 * _waves(x * 7, y * 7, 9)), trees)
    casing = _colour(0.90, 0.90, 0.88) * 0.93
    result = torch.lerp(image, casing, _within(x, y, (x0 - 14, y0 - 14, x1 + 14, y1 + 14), pixel))
    result = torch.lerp(result, casing * 0.94, _within(x, y, (x0 - 24, y1 + 8, x1 + 24, y1 + 22), pixel))
    result = torch.lerp(result, outside, _within(x, y, _WINDOW, pixel))
    middle = (x0 + x1) / 2
    bars = _within(x, y, (middle - 5, y0, middle + 5, y1), pixel)
    bars = torch.maximum(bars, _within(x, y, (x0, y0 + 80, x1, y0 + 88), pixel))
    return torch.lerp(result, casing * 0.9, bars)


def _hatch(image: Tensor, x: Tensor, y: Tensor, pixel: float) -> Tensor:
    x0, y0, x1, y1 = HATCH
    frame = _colour(0.84, 0.83, 0.80)
    shadow = torch.exp(-(((x - (x0 + x1) / 2) / 75) ** 4) - ((y - y1 - 20) / 12) ** 2)
    result = image * (1 - 0.22 * shadow)
    result = torch.lerp(result, frame * 0.9, _within(x, y, (x0 - 8, y0 - 8, x1 + 8, y1), pixel))
    light = 1.0 - 0.3 * ((x - x0) / (x1 - x0)).clamp(0, 1) - 0.12 * ((y - y0) / (y1 - y0)).clamp(0, 1)
    room = _colour(0.83, 0.74, 0.58) * light
    cupboard = _within(x, y, (x0 + 66, y0 + 20, x1, y1), 4 * pixel)
    room = torch.lerp(room, _colour(0.50, 0.56, 0.52) * light, cupboard)
    tiles = (torch.remainder(x - x0, 13) < 1.2) | (torch.remainder(y - y0, 13) < 1.2)
    room = room * (1 - 0.06 * (tiles & (x < x0 + 66)))
    depth = torch.minimum(_step(x - x0 - 9, pixel), _step(y - y0 - 6, pixel))  # the wall is thick: seen from the left
    result = torch.lerp(result, torch.lerp(frame * 0.62, room, depth), _within(x, y, HATCH, pixel))
    sill = _within(x, y, (x0 - 16, y1 - 1, x1 + 16, y1 + 9), pixel)
    edge = (y - y1 - 2).clamp(0, 1)
    return torch.lerp(result, _colour(0.55, 0.41, 0.29) * (1.1 - 0.35 * edge), sill)


def _table(x: Tensor, y: Tensor, pixel: float, seed: int) -> tuple[Tensor, Tensor]:
    """Colours (3, H, W), and where it is."""
    depth = ((y - TABLE) / (HEIGHT - TABLE)).clamp(0, 1.2)
    grain = _waves(x * 0.35 / (0.6 + depth), (y - TABLE) * 14 / (0.5 + depth), seed + 2, 7)
    light = 0.80 + 0.22 * torch.exp(-(((x - 660) / 480) ** 2)) * (1 - 0.5 * depth)
    wood = _colour(0.50, 0.355, 0.245) * (light + 0.05 * grain)
    wood = torch.lerp(wood, wood * 1.3, torch.exp(-(((y - TABLE - 3) / 2.5) ** 2)))
    cover = _step(y - TABLE, pixel)
    left, right, top, foot = 642.0, 690.0, 528.0, 600.0  # a mug
    across = ((x - (left + right) / 2) / ((right - left) / 2)).clamp(-1, 1)
    shade = 0.62 + 0.38 * (1 - ((across + 0.35) / 1.35) ** 2).clamp(0, 1)
    bulge = 6 * (1 - across**2).clamp(0, 1).sqrt()
    body = _step(x - left, pixel) * _step(right - x, pixel) * _step(y - top, pixel) * _step(foot + bulge - 6 - y, pixel)
    cast = torch.exp(-(((x - 676) / 46) ** 2) - ((y - foot) / 11) ** 2)
    wood = wood * (1 - 0.5 * cast)
    result = torch.lerp(wood, _colour(0.30, 0.45, 0.56) * shade, body)
    rim = _step(1 - torch.hypot((x - 666) / 24, (y - top) / 6), 0.04 * pixel + 0.02)
    hole = _step(1 - torch.hypot((x - 666) / 21, (y - top) / 4.6), 0.04 * pixel + 0.02)
    result = torch.lerp(torch.lerp(result, _colour(0.45, 0.58, 0.68), rim), _colour(0.12, 0.09, 0.08), hole)
    return result, torch.maximum(cover, torch.maximum(body, rim))
