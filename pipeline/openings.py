"""Lids and lips as far apart as they are.

The network of landmarks shows less than happens. Of an eye that is shut its points stay some 0.72 of the usual opening
apart, and lips that show the teeth are said to nearly touch. A new face that followed them would blink by half and
speak with closed lips. So the points are moved to where lid and lip must be: in the mesh of the person, too, so that
what is kept of the frame there is eyeball and mouth, and no skin.

The numbers were measured on clips of people who speak, by a network that sees one eye only, and on enlarged pictures.
"""

from functools import lru_cache

import torch
from torch import Tensor

from pipeline.shape import LOWER_LIDS, UPPER_LIDS, Pose, eye_distance, lid_gaps

# How far the lids' points are apart against the usual, and how much of that is really left.
_OPEN, _HALF, _SHUT = (0.97, 1.0), (0.86, 0.8), (0.73, 0.0)
_SEAM = 0.1  # where shut lids meet, from the lower one (0) to the upper one: the upper one does most of it
_OVER = 0.2  # of their opening by which the upper lid then covers the lower: textures have a white rim there
_NEARER = 0.12  # of the eye's width by which it is then nearer to the camera
_UNFOLDED = (1.0, 0.6, 0.25)  # share of the lid's way that its rim goes, and two lines of points above it
_ABOVE = (
    UPPER_LIDS,
    ((247, 30, 29, 27, 28, 56, 190), (467, 260, 259, 257, 258, 286, 414)),
    ((113, 225, 224, 223, 222, 221, 189), (342, 445, 444, 443, 442, 441, 413)),
)

# Lines of points along the lips, from the upper one's outer edge to the lower one's; the inner ones are in the middle.
LIPS = (
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
    (184, 74, 73, 72, 11, 302, 303, 304, 408),
    (183, 42, 41, 38, 12, 268, 271, 272, 407),
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
    (95, 88, 178, 87, 14, 317, 402, 318, 324),
    (96, 89, 179, 86, 15, 316, 403, 319, 325),
    (77, 90, 180, 85, 16, 315, 404, 320, 307),
    (146, 91, 181, 84, 17, 314, 405, 321, 375),
)
_SHARES = (0.0, -1 / 3, -2 / 3, -1.0, 1.0, 2 / 3, 1 / 3, 0.0)  # how far each goes of what an inner edge does, downwards
_TOUCH, _PART = 0.004, 0.042  # distance of the inner points, in units, at which lips touch, and are surely apart
_MORE = 0.045  # units; how much farther they are apart then
_MOST = 0.6  # of a lip's height, by which it becomes thinner at most


def corrected(meshes: Tensor, neutrals: Tensor, placed: Pose) -> Tensor:
    """(F, 468, 3) the meshes with lids and lips where they are; `placed` are the poses of `neutrals` (F, 468, 3), the
    people's own shapes at rest, in them."""
    result = meshes.clone()
    _part(result)
    usual = lid_gaps(neutrals).clamp_min(1e-3)
    _shut(result, lid_gaps(placed.undo(meshes)) / usual)
    return result


@lru_cache(maxsize=16)
def _points(lines: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    """Numbers of points on a device. Lists of numbers are slow to index with."""
    return torch.tensor(lines, device=device)


@lru_cache(maxsize=4)
def _shares(device: torch.device) -> Tensor:
    return torch.tensor(_SHARES, device=device)[:, None, None]


def _part(meshes: Tensor) -> None:
    """Move lips that are a little apart farther apart, in place."""
    lines = _points(LIPS, meshes.device)
    found = meshes[:, lines]  # (F, 8, 9, 3)
    unit = eye_distance(meshes)[:, None]
    across = (found[:, 4] - found[:, 3])[..., :2]
    gap = torch.linalg.vector_norm(across, dim=2)
    t = ((gap / unit - _TOUCH) / (_PART - _TOUCH)).clamp(0, 1)
    edges = found[:, [0, 7], :, :2] - found[:, [3, 4], :, :2]
    most = _MOST * torch.linalg.vector_norm(edges, dim=3).repeat_interleave(4, 1)
    farther = torch.minimum((_MORE / 2 * unit * t * t * (3 - 2 * t))[:, None], most)
    way = across / gap.clamp_min(1e-6)[..., None]
    found[..., :2] += _shares(meshes.device) * farther[..., None] * way[:, None]
    meshes[:, lines] = found


def _shut(meshes: Tensor, opening: Tensor) -> None:
    """Bring the lids of each eye together, in place, as far as `opening` (F, 2) of the landmarks means."""
    left = torch.minimum(_line(opening, _SHUT, _HALF), _line(opening, _HALF, _OPEN)).clamp(0, 1)
    shut = (1 - left)[..., None, None]
    nearly = (2 * shut - 1).clamp_min(0)
    lower = _points(LOWER_LIDS, meshes.device)
    above, below = meshes[:, _points(UPPER_LIDS, meshes.device)], meshes[:, lower]  # (F, 2, 7, 3)
    gap = below - above
    way = (shut * (1 - _SEAM) + nearly * _OVER) * gap
    width = torch.linalg.vector_norm(above[:, :, -1] - above[:, :, 0], dim=2)[..., None]
    way[..., 2] -= _NEARER * width * nearly[..., 0]
    meshes[:, lower] = below - shut * _SEAM * gap
    for line, share in zip(_ABOVE, _UNFOLDED, strict=True):
        meshes[:, _points(line, meshes.device)] += share * way


def _line(value: Tensor, a: tuple[float, float], b: tuple[float, float]) -> Tensor:
    """The straight line through two points."""
    return a[1] + (value - a[0]) * ((b[1] - a[1]) / (b[0] - a[0]))
