"""Things before a face: hands, microphones, cups, glasses, hair. They stay, and the face behind them stays replaced.

A small network looks at each face in the plane of `uv`, beside a reference of how this person looks at other times of
the same shot, and says where something else than the face shows (`tools/build_objects.py` made it). What it says
becomes a mask that is closed when in doubt, because where it is open the source shows:

- it opens only where the network is sure, and only in regions that reach the face's outline, since things come before
  a face from outside of it: a mole, an opened mouth or a shadow in the middle of a face opens nothing;
- it opens at most over MOST of the face; what hides more is painted over as if nothing were there;
- without a reference it stays closed.

In the picture the mask's edge is moved to the edge that the frame has there (He, Sun and Tang, "Guided image
filtering", PAMI 35(6), 2013), but never beyond a narrow band.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.appearance import EPS, face_mask, plain_mask, unwrap
from pipeline.filters import guided, spread
from pipeline.look import look
from pipeline.models.graph import Runtime, runtime
from pipeline.picture import Box, Picture, even_box
from pipeline.raster import rasterise
from pipeline.track import Sample

SIZE = 96  # pixels of the textures that the network sees
MOST = 0.6  # share of the face that may be open; up to ...
CLOSED = 0.75  # ... this it closes
LEAST = 0.004  # share of the face below which nothing opens: dust
SEED, GROW = 0.6, 0.35  # probability at the outline from which a region begins, and up to which it goes on
_DETAIL = 2  # pixels of the picture, at most, for one of the texture: what the network sees isn't aliased
_DARKER = 2.5  # how many times darker or brighter than its reference a frame may be
_SOME = 0.4  # probability in one frame that makes the next one worth a look
_GRID = 96  # longest side of the grid on which meshes are drawn
_BAND = 0.035  # units (distances between the eyes' outer corners) within which an edge is looked for
_FLAT = 2e-4  # variance of brightness below which there is no edge
_STEEP = 2.5  # how much an edge is sharpened
_UNIT = uv.PIXELS_PER_UNIT * SIZE / uv.SIZE  # pixels of SIZE per unit


def texture(picture: Picture, mesh: Tensor, size: int = SIZE) -> Tensor:
    """(3, size, size) logarithms of the frame's colours on the face with a mesh (468, 3) in px of the picture."""
    outer = uv.extend(mesh[None, :, :2])[0]
    lo, hi = (outer.amin(0) - 2).tolist(), (outer.amax(0) + 2).tolist()
    x0, y0, x1, y1 = even_box(picture.layout, (lo[0], lo[1], hi[0], hi[1]))
    if x1 - x0 < 4 or y1 - y0 < 4:
        return torch.zeros(3, size, size, device=mesh.device)
    step = max(1, int(max(hi[0] - lo[0], hi[1] - lo[1]) / (size * _DETAIL)))
    width, height = (x1 - x0) // step, (y1 - y0) // step
    seen = look(picture, (x0, y0, x0 + width * step, y0 + height * step), width, height)
    inside = (mesh - torch.tensor([x0, y0, 0], device=mesh.device)) / step
    return torch.log(unwrap(seen, inside, size) + EPS)


def reference(samples: Iterable[Sample]) -> Tensor | None:
    """(3, SIZE, SIZE) how a person looks when nothing is in the way: the median of good looks. None without any."""
    looks = list[Tensor]()
    for sample in samples:
        crop = torch.from_numpy(sample.whole().crop).float() / 255
        looks.append(torch.log(unwrap(crop, torch.from_numpy(sample.mesh), SIZE) + EPS))
    if not looks:
        return None
    return torch.from_numpy(np.median(torch.stack(looks).numpy(), axis=0).astype(np.float32))


@lru_cache(maxsize=4)
def _places(device: torch.device) -> Tensor:
    """(1, 2, SIZE, SIZE) x and y in -1..1."""
    axis = (torch.arange(SIZE, device=device) + 0.5) / SIZE * 2 - 1
    return torch.stack([axis[None].expand(SIZE, SIZE), axis[:, None].expand(SIZE, SIZE)])[None]


def inputs(frames: Tensor, references: Tensor) -> Tensor:
    """What the network sees, (F, 8, SIZE, SIZE): frames (F, 3, SIZE, SIZE) and references (F or 1, 3, SIZE, SIZE) in
    logarithms, against the reference's mean skin, and the place."""
    plain = plain_mask(SIZE, frames.device)
    mean = (references * plain).sum((2, 3), keepdim=True) / plain.sum()
    where = _places(frames.device).expand(len(frames), -1, -1, -1)
    face = face_mask(SIZE, frames.device)
    contrast = (
        ((references - mean).square().mean(1, keepdim=True) * face).sum((2, 3), keepdim=True) / face.sum()
    ).sqrt()
    unit = 3 * contrast.clamp_min(0.08)
    usual = ((references - mean) / unit).expand(len(frames), -1, -1, -1)
    return torch.cat([(frames - mean) / unit, usual, where], 1)


def alike_lit(frames: Tensor, references: Tensor) -> Tensor:
    """The frames (F, 3, SIZE, SIZE) as bright as their references: by the median over plain skin, which something
    before less than half of it doesn't move."""
    plain = plain_mask(SIZE, frames.device)[0, 0] > 0
    colours, usual = torch.exp(frames) - EPS, torch.exp(references) - EPS
    ratio = usual.mean(1)[:, plain] / colours.mean(1)[:, plain].clamp_min(1e-3)
    gain = ratio.median(1).values.clamp(1 / _DARKER, _DARKER)
    return torch.log(colours * gain[:, None, None, None] + EPS)


class Lookout:
    """Finds what is before the faces of one chunk. Keeps the last look at each track, so that masks are steady over
    the borders of batches."""

    def __init__(self, references: dict[int, Tensor], device: torch.device, threads: int = 1) -> None:
        """`references` by track, as `reference` gives them. Raises ModelError, DeviceError."""
        self._references = {track: t.to(device) for track, t in references.items()}
        self._last = dict[int, Tensor]()  # probability by track
        self._run: Runtime = runtime("objects", device, threads=threads)

    def masks(self, faces: Sequence[tuple[Picture, int, Tensor]]) -> list[Tensor | None]:
        """For each face (picture, track, mesh (468, 3) px) the mask (1, SIZE, SIZE) of what is before it, in the plane
        of `uv`; None where nothing is. Frames of a track come in order, batch after batch."""
        result: list[Tensor | None] = [None] * len(faces)
        known = [i for i, (_, track, _) in enumerate(faces) if track in self._references]
        if not known:
            return result
        for track in sorted({faces[i][1] for i in known}):
            rows = [i for i in known if faces[i][1] == track]
            steady = self._steady(track, self._found([faces[i] for i in rows]))
            if float(steady.amax()) < SEED:
                continue
            for i, mask in zip(rows, settle(steady), strict=True):
                result[i] = mask if bool(mask.any()) else None
        return result

    def _found(self, faces: Sequence[tuple[Picture, int, Tensor]]) -> Tensor:
        """(F, 1, SIZE, SIZE) the network's word on one track's faces. It looks at every other frame, and between two of
        them when one shows something."""
        found = torch.zeros(len(faces), 1, SIZE, SIZE, device=faces[0][2].device)
        first = sorted({*range(0, len(faces), 2), len(faces) - 1})
        self._ask(faces, first, found)
        some = found.amax((1, 2, 3)).tolist()
        between = [k for k in range(len(faces)) if k not in first and max(some[k - 1], some[k + 1]) > _SOME]
        self._ask(faces, between, found)
        return found

    def _ask(self, faces: Sequence[tuple[Picture, int, Tensor]], rows: list[int], found: Tensor) -> None:
        if rows:
            frames = torch.stack([texture(faces[k][0], faces[k][2]) for k in rows])
            reference = self._references[faces[0][1]][None]
            (answer,) = self._run(inputs(alike_lit(frames, reference), reference))
            found[rows] = answer * face_mask(SIZE, answer.device)

    def _steady(self, track: int, found: Tensor) -> Tensor:
        """Each probability as the median of three looks in a row: what flashes for one is none."""
        before = self._last.get(track, found[0])
        self._last[track] = found[-1]
        chain = torch.cat([before[None], found, found[-1:]])
        a, b, c = chain[:-2], chain[1:-1], chain[2:]
        return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def settle(found: Tensor) -> Tensor:
    """Probabilities (F, 1, SIZE, SIZE), 0 outside the face, to masks 0..1 of what reaches the outline, and
    goes on beyond it."""
    face = face_mask(SIZE, found.device)
    outline = face * F.max_pool2d(1 - face, 7, 1, 3)
    allowed = (found > GROW).float()
    reached = (found > SEED).float() * outline
    for _ in range(SIZE // 2):
        grown = F.max_pool2d(reached, 5, 1, 2) * allowed
        if torch.equal(grown, reached):  # mostly after a few
            break
        reached = grown
    t = ((found - GROW) / (SEED - GROW)).clamp(0, 1)
    mask = t * t * (3 - 2 * t) * reached
    share = (mask * face).sum((1, 2, 3), keepdim=True) / face.sum()
    few = ((CLOSED - share) / (CLOSED - MOST)).clamp(0, 1) * (share >= LEAST)
    # Beyond the outline nothing is known but what is beside it.
    beyond = spread(mask, face.expand_as(mask), torch.full((len(mask),), 0.06 * _UNIT, device=mask.device))
    return torch.where(face > 0, mask, beyond) * few


@dataclass(frozen=True, slots=True)
class Held:
    """A piece of a picture as it was, to be laid back over what was drawn."""

    picture: Picture
    box: Box
    planes: tuple[Tensor, Tensor, Tensor]
    masks: tuple[Tensor, Tensor]  # (h, w) how much is laid back: of brightness, of colours


def hold(picture: Picture, mesh: Tensor, mask: Tensor) -> Held:
    """Remember what is before a face, before the face is replaced. `mesh` (468, 3) px, `mask` as from `Lookout`."""
    layout = picture.layout
    outer = uv.extend(mesh[None, :, :2])[0]
    lo, hi = (outer.amin(0) - 2).tolist(), (outer.amax(0) + 2).tolist()
    box = even_box(layout, (lo[0], lo[1], hi[0], hi[1]))
    where = _laid(mask, mesh, box)
    parts = [p[rows, columns].clone() for p, (rows, columns) in zip(picture.planes, _slices(picture, box), strict=True)]
    unit = float(torch.linalg.vector_norm(mesh[33] - mesh[263]))
    luma = parts[0].float()[None, None] / (2**layout.depth - 1)
    alpha = edged(where[None], luma, _BAND * unit)[0, 0]
    size = parts[1].shape
    small = F.interpolate(alpha[None, None], size=(size[0], size[1]), mode="area")[0, 0]
    return Held(picture, box, (parts[0], parts[1], parts[2]), (alpha, small))


def put_back(held: Held) -> None:
    """Lay it over what was drawn, in place."""
    masks = (held.masks[0], held.masks[1], held.masks[1])
    for plane, old, mask, (rows, columns) in zip(
        held.picture.planes, held.planes, masks, _slices(held.picture, held.box), strict=True
    ):
        part = plane[rows, columns]
        part.copy_(torch.lerp(part.float(), old.float(), mask).round_().to(part.dtype))


def _slices(picture: Picture, box: Box) -> list[tuple[slice, slice]]:
    """Rows and columns of the box in each plane."""
    x0, y0, x1, y1 = box
    sx, sy = picture.layout.sub_x, picture.layout.sub_y
    colours = slice(y0 >> sy, -(-y1 >> sy)), slice(x0 >> sx, -(-x1 >> sx))
    return [(slice(y0, y1), slice(x0, x1)), colours, colours]


def _laid(mask: Tensor, mesh: Tensor, box: Box) -> Tensor:
    """(1, h, w) the mask (1, SIZE, SIZE) where the face is in the picture."""
    device, width, height = mesh.device, box[2] - box[0], box[3] - box[1]
    step = max(1, -(-max(width, height) // _GRID))
    origin = torch.tensor([box[0], box[1]], device=device)
    points = (uv.extend(mesh[None, :, :2]) - origin) / step
    depth = torch.full((1, points.shape[1], 1), float(mesh[:, 2].amax()) + 1.0, device=device)
    depth[:, :468, 0] = mesh[:, 2]
    drawn = rasterise(torch.cat([points, depth], 2), uv.triangles(device), -(-height // step), -(-width // step))
    place = drawn.interpolate(uv.coordinates(device)[None] / uv.SIZE * 2 - 1, uv.triangles(device))
    small = F.grid_sample(mask[None], place.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    small = small * (drawn.triangle[:, None] >= 0)
    if step > 1:
        small = F.interpolate(small, scale_factor=float(step), mode="bilinear", align_corners=False)
    return small[0, :, :height, :width]


def edged(mask: Tensor, luma: Tensor, band: float) -> Tensor:
    """The mask (1, 1, h, w) with the edge that the brightness (1, 1, h, w), 0..1, has within `band` pixels."""
    radius = max(1, round(band))
    crisp = ((guided(mask, luma, 2 * radius, _FLAT) - 0.5) * _STEEP + 0.5).clamp(0, 1)
    step = max(1, radius // 2)
    small = F.avg_pool2d(mask, step, ceil_mode=True, count_include_pad=False)
    near = 2 * (-(-radius // step)) + 1
    bounds = torch.cat([-F.max_pool2d(-small, near, 1, near // 2), F.max_pool2d(small, near, 1, near // 2)], 1)
    if step > 1:
        bounds = F.interpolate(bounds, scale_factor=float(step), mode="bilinear", align_corners=False)
    bounds = bounds[..., : mask.shape[-2], : mask.shape[-1]]
    return torch.minimum(torch.maximum(crisp, bounds[:, :1]), bounds[:, 1:])
