"""A person of nobody who can move: a cut-out portrait, its face mesh, and how both follow the head and the face.

Lengths are pixels of the portrait. Face units are distances between the outer corners of the eyes; face coordinates
have their origin between the eyes, x to the right in the portrait and y down the face.
"""

import io
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.models import topology, weights
from pipeline.raster import rasterise
from pipeline.shape import pose

Floats = NDArray[np.float32]

CELL = 24  # pixels between points of the grid that carries hair, neck and body
FLAT_YAW = 35.0  # a portrait turned further has no usable mesh: the grid alone carries its face
_DEPTH = 1.15  # the mesh is flatter than a head

# Rows of points around the eyes: upper edge, then the row above it, and lower edge; from the outer to the inner corner.
_LIDS = (
    (
        (246, 161, 160, 159, 158, 157, 173),
        (247, 30, 29, 27, 28, 56, 190),
        (113, 225, 224, 223, 222, 221, 189),
        (7, 163, 144, 145, 153, 154, 155),
    ),
    (
        (466, 388, 387, 386, 385, 384, 398),
        (467, 260, 259, 257, 258, 286, 414),
        (342, 445, 444, 443, 442, 441, 413),
        (249, 390, 373, 374, 380, 381, 382),
    ),
)
_CHEEKS = [50, 280, 205, 425, 187, 411, 117, 346]
_INNER_UPPER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
_INNER_LOWER = (95, 88, 178, 87, 14, 317, 402, 318, 324)


@dataclass(frozen=True, slots=True)
class Moves:
    """What one person does on one frame. Angles in degrees, added to those of the portrait; the rest 0..1 or -1..1."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    blink: float = 0.0
    gaze: float = 0.0  # -1..1, to the left or right in the picture
    jaw: float = 0.0
    wide: float = 0.0  # -1 rounded .. 1 spread lips
    smile: float = 0.0
    brows: float = 0.0
    breath: float = 0.0  # -1..1
    lean: float = 0.0  # of the whole body, degrees

    def leaning(self, degrees: float) -> "Moves":
        """The same with the body leaning further."""
        return replace(self, lean=self.lean + degrees)


@dataclass(frozen=True, eq=False)
class Part:
    """Points that move together: the mesh, or the grid."""

    points: Floats  # (V, 3)
    head: Floats  # (V,) 1 where the head carries the point, 0 where the body does
    bases: dict[str, Floats]  # displacement (V, 3) for a full move of each name


@dataclass(frozen=True, eq=False)
class Puppet:
    """One person."""

    name: str
    levels: tuple[Tensor, ...]  # (1, 4, h, w) Y, alpha, Cb, Cr (BT.709, 8-bit limited range); each half the size before
    mesh: Part
    grid: Part
    cells: Tensor  # (T, 3) int64 the grid's triangles, only those in which there is anything
    centre: Floats  # (2,) between the eyes
    axes: Floats  # (2, 2) face x and y in the portrait, unit vectors
    unit: float  # pixels between the outer corners of the eyes
    pivot: Floats  # (3,) what the head turns about
    irises: Floats  # (2, 3) x, y, radius
    yaw: float  # degrees by which the portrait looks aside

    @property
    def flat(self) -> bool:
        """Whether the grid alone carries the face."""
        return abs(self.yaw) > FLAT_YAW

    @property
    def skin(self) -> tuple[float, float, float]:
        """Y, Cb, Cr of the cheeks."""
        x, y = (self.mesh.points[_CHEEKS, :2]).round().astype(int).T
        luma, _, blue, red = self.levels[0][0, :, y, x].median(1).values.tolist()
        return luma, blue, red

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the portrait."""
        return self.levels[0].shape[3], self.levels[0].shape[2]

    def move(self, part: Part, moves: Moves) -> Floats:
        """(V, 3) the part's points after the moves."""
        points = part.points.copy()
        if not self.flat:
            for name, amount in (("jaw", moves.jaw), ("wide", moves.wide), ("smile", moves.smile)):
                points += np.float32(amount) * part.bases[name]
            points += np.float32(moves.brows) * part.bases["brows"] + np.float32(moves.blink) * part.bases["blink"]
        turned = _turn(points - self.pivot, part.head, moves) + self.pivot
        turned[:, 1] += np.float32(moves.breath * 0.012 * self.unit) * (0.3 + 0.7 * (1 - part.head))
        width, height = self.size
        angle = np.float32(np.deg2rad(moves.lean))
        dx, dy = turned[:, 0] - width / 2, turned[:, 1] - height
        turned[:, 0] = width / 2 + dx * np.cos(angle) - dy * np.sin(angle)
        turned[:, 1] = height + dx * np.sin(angle) + dy * np.cos(angle)
        return turned


def _turn(points: Floats, head: Floats, moves: Moves) -> Floats:
    """Rotate each point by its share of the head's turn: roll, then pitch, then yaw."""
    x, y, z = points.T
    for angle, a, b in ((moves.roll, 0, 1), (moves.pitch, 1, 2), (-moves.yaw, 0, 2)):
        radians = np.deg2rad(angle) * head
        cos, sin = np.cos(radians), np.sin(radians)
        axes = [x, y, z]
        p, q = axes[a], axes[b]
        axes[a], axes[b] = p * cos - q * sin, p * sin + q * cos
        x, y, z = axes
    return np.stack([x, y, z], 1).astype(np.float32)


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The people that there are. Raises ModelError."""
    return tuple(str(n) for n in weights.arrays("people")["names"])


@lru_cache(maxsize=8)
def load(name: str) -> Puppet:
    """One of the people by name. Raises ModelError."""
    stored = weights.arrays("people")
    if name not in names():
        raise ModelError(f"nobody in the films is called {name}", "known: " + ", ".join(names()))
    which = names().index(name)
    ends = np.cumsum(stored["lengths"])
    content = stored["pictures"][ends[which] - stored["lengths"][which] : ends[which]].tobytes()
    picture = np.array(Image.open(io.BytesIO(content)).convert("RGBA"), np.float32)
    return _puppet(name, torch.from_numpy(picture).permute(2, 0, 1), stored["meshes"][which].astype(np.float32))


def _puppet(name: str, picture: Tensor, mesh: Floats) -> Puppet:
    yaw = float(pose(torch.from_numpy(mesh)[None]).angles()[0, 0])
    right, left = mesh[topology.RIGHT_EYE_OUTER], mesh[topology.LEFT_EYE_OUTER]
    unit = float(np.linalg.norm(left - right))
    across = (left - right)[:2] / np.linalg.norm((left - right)[:2])
    axes = np.stack([across, np.array([-across[1], across[0]], np.float32)])
    centre = (left + right)[:2] / 2
    mesh = mesh * np.array([1, 1, _DEPTH], np.float32)
    middle = mesh[[127, 356, 234, 454]].mean(0)
    chin = mesh[topology.CHIN]
    pivot = np.array([chin[0] * 0.5 + middle[0] * 0.5, chin[1] + 0.25 * unit, middle[2] + 0.1 * unit], np.float32)
    grid, cells = _grid(picture, mesh, pivot, unit), _cells(picture[3])
    bases = [_bases(p, mesh, centre, axes, unit) for p in (mesh, grid)]
    bases[0]["blink"] = _blink(mesh)
    parts = [Part(p, _head(p, chin, unit), b) for p, b in zip((mesh, grid), bases, strict=True)]
    irises = np.stack([_iris(picture, mesh, eye) for eye in ("right_eye", "left_eye")])
    return Puppet(name, _levels(picture), parts[0], parts[1], cells, centre, axes, unit, pivot, irises, yaw)


def _levels(picture: Tensor) -> tuple[Tensor, ...]:
    red, green, blue, alpha = picture
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = [luma * (219 / 255) + 16, alpha / 255]
    planes += [(blue - luma) / 1.8556 * (224 / 255) + 128, (red - luma) / 1.5748 * (224 / 255) + 128]
    levels = [torch.stack(planes)[None].contiguous()]
    while min(levels[-1].shape[2:]) > 32:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True, count_include_pad=False))
    return tuple(levels)


def _smooth(t: Floats) -> Floats:
    t = t.clip(0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _head(points: Floats, chin: Floats, unit: float) -> Floats:
    """Head and hair turn as one; the neck twists; shoulders stay."""
    return 1 - _smooth((points[:, 1] - chin[1] + 0.05 * unit) / np.float32(1.0 * unit))


def _grid(picture: Tensor, mesh: Floats, pivot: Floats, unit: float) -> Floats:
    """(G, 3) a regular grid over the portrait: the mesh's depth inside the face, from there smoothly to the depth at
    which the head's outline lies."""
    height, width = picture.shape[1:]
    columns, rows = -(-width // CELL) + 1, -(-height // CELL) + 1
    x, y = np.meshgrid(np.arange(columns, dtype=np.float32) * CELL, np.arange(rows, dtype=np.float32) * CELL)
    points = torch.from_numpy(mesh / np.array([CELL, CELL, 1], np.float32))[None]
    points[..., :2] += 0.5
    triangles = torch.from_numpy(topology.filled())
    drawn = rasterise(points, triangles, rows, columns)
    inside = (drawn.triangle[0] >= 0).numpy()
    depth = drawn.interpolate(points[..., 2:], triangles)[0, 0].numpy()
    cover = F.interpolate(picture[3:][None] / 255, size=(rows, columns), mode="area")[0, 0].numpy()
    fixed = inside | (cover < 0.3)
    z = np.where(inside, depth, pivot[2]).astype(np.float32)
    for _ in range(300):  # Jacobi iterations of Laplace's equation
        around = np.pad(z, 1, mode="edge")
        z = np.where(fixed, z, (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4)
    return np.stack([x, y, z], 2).reshape(-1, 3).astype(np.float32)


def _cells(alpha: Tensor) -> Tensor:
    cover = F.max_pool2d(alpha[None], CELL, ceil_mode=True)
    filled = F.max_pool2d(cover, 3, 1, 1)[0] > 2  # and one cell around: places are mixed at the outer edge
    at = torch.arange((filled.shape[0] + 1) * (filled.shape[1] + 1)).reshape(filled.shape[0] + 1, -1)
    a, b, c, d = (t[filled] for t in (at[:-1, :-1], at[:-1, 1:], at[1:, :-1], at[1:, 1:]))
    return torch.cat([torch.stack([a, b, c], 1), torch.stack([b, d, c], 1)])


def _bases(points: Floats, mesh: Floats, centre: Floats, axes: Floats, unit: float) -> dict[str, Floats]:
    """What jaw, lips, corners of the mouth and brows do to points near them, as smooth fields over the face."""

    def place(p: Floats) -> Floats:
        return ((p[:, :2] - centre) @ axes.T / unit).astype(np.float32)

    x, y = place(points).T
    marks = place(mesh)
    mouth = (marks[13] + marks[14]) / 2
    half = float(np.abs(marks[61] - marks[291])[0]) / 2
    chin, brow = float(marks[152, 1]), float(marks[[105, 334], 1].mean())
    x = x - mouth[0]
    t = np.abs(x) / half
    below = _smooth((y - mouth[1]) / (0.03 + 0.6 * _smooth((t - 0.75) / 0.9)) * 0.5 + 0.5)
    if len(points) == len(mesh):
        arch = np.sqrt((1 - t**2).clip(0, 1))
        below[list(_INNER_LOWER)] = 0.5 + 0.5 * arch[list(_INNER_LOWER)]
        below[list(_INNER_UPPER)] = 0.5 - 0.5 * arch[list(_INNER_UPPER)]
    jaw = below * _smooth((y - 0.1) / 0.6) * np.exp(-((x / 0.72) ** 4)) * (1 - _smooth((y - chin) / 0.5))
    lift = np.exp(-(t**2) - ((y - mouth[1] + 0.05) / 0.11) ** 2) * (1 - below)
    near = np.exp(-((x / (1.7 * half)) ** 2) - ((y - mouth[1]) / 0.24) ** 2)
    corner = np.exp(-((np.abs(x) - half) ** 2 + (y - mouth[1]) ** 2) / 0.16**2)
    forehead = np.exp(-(((y - brow) / 0.15) ** 2) - (x / 0.62) ** 4)
    nothing = np.zeros_like(x)
    flat = {
        "jaw": (nothing, 0.25 * jaw - 0.035 * lift),
        "wide": (0.14 * x / half * near * half * 2, nothing),
        "smile": (0.05 * np.sign(x) * corner, -0.05 * corner),
        "brows": (nothing, -0.06 * forehead),
        "blink": (nothing, nothing),
    }
    result = {}
    for name, (dx, dy) in flat.items():
        shift = np.stack([dx, dy], 1) @ axes * unit
        result[name] = np.concatenate([shift, nothing[:, None]], 1).astype(np.float32)
    return result


def _blink(mesh: Floats) -> Floats:
    """The upper lid comes down over the eye, unrolling the skin above it; the lower one rises a little."""
    shift = np.zeros_like(mesh)
    for upper, crease, above, lower in _LIDS:
        way = mesh[list(lower)] - mesh[list(upper)]
        shift[list(upper)] = 0.9 * way
        shift[list(crease)] = 0.45 * way
        shift[list(above)] = 0.08 * way
        shift[list(lower)] = -0.1 * way
    return shift * np.array([1, 1, 0], np.float32)


def _iris(picture: Tensor, mesh: Floats, eye: str) -> Floats:
    """(3,) centre and radius of the iris: the middle of what is dark inside the lids."""
    ring = mesh[topology.ring(eye), :2]
    lo, hi = ring.min(0), ring.max(0)
    x0, y0, x1, y1 = int(lo[0]), int(lo[1]), int(hi[0]) + 2, int(hi[1]) + 2
    light = picture[:3, y0:y1, x0:x1].mean(0).numpy()
    x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
    middle, half = (lo + hi) / 2, (hi - lo) / 2
    inside = np.hypot((x - middle[0]) / (half[0] * 0.75), (y - middle[1]) / (half[1] * 1.1)) < 1
    level = np.quantile(light[inside], 0.35)
    dark = inside * (level - light).clip(0)
    total = dark.sum() + 1e-6
    return np.array([(dark * x).sum() / total, (dark * y).sum() / total, 0.21 * 2 * half[0]], np.float32)
