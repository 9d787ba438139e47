"""A face of nobody on a plain ground, with a mesh that is known exactly."""

import math

import torch

from pipeline.identity import Identity, Seed, load
from pipeline.picture import Picture, PixelLayout
from pipeline.replace import Face, Replacer
from pipeline.shape import Pose, mean_shape

SKIN = (150, 112, 146)  # Y'CbCr of a middle skin, BT.709


def identities(*names: str) -> list[Identity]:
    return load().identities([Seed.derive(b"tests", name) for name in names])


def mesh(scale: float, x: float, y: float, roll: float = 0.0, yaw: float = 0.0) -> torch.Tensor:
    """(468, 3) the mean shape with `scale` pixels between the eyes, its middle at x, y; angles in degrees."""
    r, w = math.radians(roll), math.radians(yaw)
    in_plane = torch.tensor([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    aside = torch.tensor([[math.cos(w), 0, math.sin(w)], [0, 1, 0], [-math.sin(w), 0, math.cos(w)]])
    placed = Pose((in_plane @ aside)[None], torch.tensor([scale]), torch.tensor([[x, y, 0.0]]))
    return placed.apply(mean_shape()[None])[0]


def ground(width: int, height: int, depth: int = 8, device: str = "cpu") -> Picture:
    """A plain picture in skin's colour, 4:2:0."""
    layout = PixelLayout(width, height, depth, 1, 1, "bt709", False)
    dtype, unit = (torch.uint8, 1) if depth == 8 else (torch.int16, 1 << (depth - 8))
    sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    y, u, v = (torch.full(s, c * unit, dtype=dtype, device=device) for s, c in zip(sizes, SKIN, strict=True))
    return Picture(0, 0, (y, u, v), layout)


def portrait(width: int = 320, height: int = 240, scale: float = 80, name: str = "sitter", depth: int = 8) -> Picture:
    """The ground with a face of nobody drawn on it at the mean shape, in the middle."""
    picture = ground(width, height, depth)
    (sitter,) = identities(name)
    where = mesh(scale, width / 2, height / 2)
    Replacer(load(), torch.device("cpu")).apply([Face(picture, where, mean_shape(), sitter)])
    draw = torch.Generator().manual_seed(5)  # a camera's noise, or there is no sharpness to match
    noise = torch.randn(height, width, generator=draw) * 2
    picture.planes[0].copy_((picture.planes[0] + noise).round().to(picture.planes[0].dtype))
    return picture


def turned(yaw: float, pitch: float, roll: float) -> torch.Tensor:
    """(3, 3) a rotation by degrees, about y, then x, then z."""
    y, p, r = (math.radians(a) for a in (yaw, pitch, roll))
    about_y = torch.tensor([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_x = torch.tensor([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_z = torch.tensor([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y
