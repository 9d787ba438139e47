"""One face for another, in place: the person's movements and light, another one's shape and skin.

The frame is warped from the person's mesh to the mesh that the identity would have in the same pose and with the same
expression; the identity's skin is laid over it in the frame's own light and sharpness; eyeballs and the inside of the
mouth stay the frame's. After Cootes, Edwards and Taylor, "Active appearance models", ECCV 1998.

Faces are worked on in square crops of a few fixed sizes, all crops of one size at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.appearance import EPS, LIGHT
from pipeline.filters import blur, match_bands, spread
from pipeline.identity import Identity, NobodyModel
from pipeline.models import topology
from pipeline.picture import Picture, even_box, read_rgb, write_rgb
from pipeline.raster import rasterise
from pipeline.shape import align, eye_distance

GRID = 192  # longest side of the grid on which meshes are drawn; between its points everything is smooth
REACH = 3.0  # side of a crop in distances between the eyes' outer corners: the outer ring and some room
EXCHANGE = 0.8  # how much of the identity's shape is taken, inside the face
EXCHANGE_EDGE = 0.25  # and at the oval, where hair and neck must still fit
ODD = 0.35  # logarithms; a difference from the light around that counts half
DEPTH = 0.3  # and of its depth, which one look from the front tells badly: turned heads would show the error
BATCH_PIXELS = 4_000_000  # crops of one batch together: bounds memory

# Points of upper and lower lids and of the inner lips that touch when they close.
_PAIRS = (
    [246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398, 191, 80, 81, 82, 13, 312, 311, 310, 415],
    [7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382, 95, 88, 178, 87, 14, 317, 402, 318, 324],
)


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one picture, and who takes its place."""

    picture: Picture
    mesh: Tensor  # (468, 3) pixels
    neutral: Tensor  # (468, 3) the person's shape at rest
    identity: Identity


@dataclass(frozen=True, slots=True)
class _Crop:
    """A face with its square: `side` pixels from `x`, `y`, which may lie outside the picture."""

    face: Face
    target: Tensor  # (468, 3) the mesh that the identity has here
    scale: Tensor  # () pixels between the eyes' outer corners
    x: int
    y: int
    side: int


@dataclass(frozen=True, slots=True)
class _Maps:
    """What is where in the crops; all (F, C, side, side)."""

    shift: Tensor  # 2: pixels from here to where the frame's content comes from
    place: Tensor  # 2: where in the texture, -1..1
    alive: Tensor  # 1: eyeballs and the inside of the mouth
    face: Tensor  # 1: inside the oval


class Replacer:
    """Replaces faces on one device, with one model."""

    def __init__(self, model: NobodyModel, device: torch.device) -> None:
        self.model, self.device = model, device

    def apply(self, faces: Sequence[Face]) -> None:
        """Replace each face in its picture, in place. Where two faces of one picture overlap, the later lies above."""
        if not faces:
            return
        crops = _crops(faces)
        for layer in _layers(crops):
            for batch in _batches(layer):
                _draw(batch)


def _crops(faces: Sequence[Face]) -> list[_Crop]:
    meshes = torch.stack([f.mesh for f in faces])
    neutrals = torch.stack([f.neutral for f in faces])
    shapes = torch.stack([f.identity.shape for f in faces])
    targets = _exchange(meshes, neutrals, shapes)
    scales = eye_distance(targets)
    middle = (targets[..., :2].amin(1) + targets[..., :2].amax(1)) / 2
    table = torch.cat([middle, scales[:, None]], 1).tolist()  # one copy from the device
    result = []
    for face, target, scale, (x, y, eyes) in zip(faces, targets, scales, table, strict=True):
        side = _side(REACH * eyes)
        result.append(_Crop(face, target, scale, _even(x - side / 2), _even(y - side / 2), side))
    return result


def _side(wanted: float) -> int:
    """The next of the sides that crops may have: steps of an eighth or finer, multiples of 16."""
    step = 16
    while step * 8 < wanted:
        step *= 2
    return max(32, int(-(-wanted // step)) * step)


def _even(value: float) -> int:
    return int(value // 2) * 2  # crops begin on whole chroma samples


@lru_cache(maxsize=4)
def _weights(device: torch.device) -> Tensor:
    """(468, 1) how much of the identity's shape each point takes: less towards the oval."""
    mask = uv.blend_mask(torch.device("cpu"))
    where = uv.coordinates(torch.device("cpu"))[:468] / uv.SIZE * 2 - 1
    inside = F.grid_sample(mask[None, None], where[None, None], align_corners=False)[0, 0, 0]
    return (EXCHANGE_EDGE + (EXCHANGE - EXCHANGE_EDGE) * inside)[:, None].to(device)


def _exchange(meshes: Tensor, neutrals: Tensor, shapes: Tensor) -> Tensor:
    """(F, 468, 3) the meshes that identities with `shapes` would have in the place of people with `neutrals`."""
    offset = (shapes - neutrals) * _weights(meshes.device)
    offset[..., 2] *= DEPTH
    upper, lower = _PAIRS  # a lid or lip may move, but never open or close what the person opens or closes
    offset[:, upper] = offset[:, lower] = (offset[:, upper] + offset[:, lower]) / 2
    return meshes + align(meshes, neutrals).turn(offset)


def _layers(crops: Sequence[_Crop]) -> Iterator[list[_Crop]]:
    """Crops that may be drawn at the same time: of one picture, only such as don't touch."""
    waiting = list(crops)
    while waiting:
        now, later = list[_Crop](), list[_Crop]()
        for crop in waiting:
            (later if any(_touch(crop, other) for other in (*now, *later)) else now).append(crop)
        yield now
        waiting = later


def _touch(a: _Crop, b: _Crop) -> bool:
    if a.face.picture is not b.face.picture:
        return False
    return a.x < b.x + b.side and b.x < a.x + a.side and a.y < b.y + b.side and b.y < a.y + a.side


def _batches(crops: Sequence[_Crop]) -> Iterator[list[_Crop]]:
    """Crops of one size, at most BATCH_PIXELS together."""
    by_side = dict[int, list[_Crop]]()
    for crop in crops:
        by_side.setdefault(crop.side, []).append(crop)
    for side, group in by_side.items():
        count = max(1, BATCH_PIXELS // side**2)
        for start in range(0, len(group), count):
            yield group[start : start + count]


def _read(crop: _Crop) -> Tensor:
    """(3, side, side) the picture's colours; its border is repeated outside of it."""
    layout = crop.face.picture.layout
    box = even_box(layout, (crop.x, crop.y, crop.x + crop.side, crop.y + crop.side))
    if box[2] <= box[0] or box[3] <= box[1]:
        return torch.zeros(3, crop.side, crop.side, device=crop.target.device)
    inside = read_rgb(crop.face.picture, box)
    pad = (box[0] - crop.x, crop.x + crop.side - box[2], box[1] - crop.y, crop.y + crop.side - box[3])
    return F.pad(inside[None], pad, mode="replicate")[0] if any(pad) else inside


def _write(crop: _Crop, colours: Tensor, mask: Tensor) -> None:
    layout = crop.face.picture.layout
    x0, y0, x1, y1 = even_box(layout, (crop.x, crop.y, crop.x + crop.side, crop.y + crop.side))
    rows, columns = slice(y0 - crop.y, y1 - crop.y), slice(x0 - crop.x, x1 - crop.x)
    write_rgb(crop.face.picture, (x0, y0, x1, y1), colours[:, rows, columns], mask[rows, columns])


def _maps(crops: Sequence[_Crop]) -> _Maps:
    """Draw the target meshes on a coarse grid over the crops and enlarge what they say to every pixel."""
    device, side = crops[0].target.device, crops[0].side
    step = max(1, -(-side // GRID))
    grid = -(-side // step)
    target = torch.stack([c.target for c in crops])
    person = torch.stack([c.face.mesh for c in crops])
    origin = torch.tensor([[c.x, c.y] for c in crops], dtype=torch.float32, device=device)
    points = (uv.extend(target[..., :2]) - origin[:, None]) / step
    behind = 10 * torch.stack([c.scale for c in crops])
    depth = torch.cat([target[..., 2], behind[:, None].expand(-1, points.shape[1] - 468)], 1)
    drawn = rasterise(torch.cat([points, depth[..., None]], 2), uv.triangles(device), grid, grid)
    shift = person[..., :2] - target[..., :2]
    edge = shift[:, torch.from_numpy(topology.ring("oval")).to(device)]
    shift = torch.cat([shift, edge * 0.5, torch.zeros_like(edge)], 1)
    place = (uv.coordinates(device) / uv.SIZE * 2 - 1).expand(len(crops), -1, -1)
    smooth = drawn.interpolate(torch.cat([shift, place], 2), uv.triangles(device))
    index = drawn.triangle[:, None]
    face = (index >= 0) & (index < uv.MESH_TRIANGLES + uv.EYE_TRIANGLES + uv.MOUTH_TRIANGLES)
    masks = blur(torch.cat([face & (index >= uv.MESH_TRIANGLES), face], 1).float(), 0.7)
    full = torch.cat([smooth, masks], 1)
    if step > 1:
        full = F.interpolate(full, scale_factor=step, mode="bilinear", align_corners=False)[..., :side, :side]
    return _Maps(full[:, :2], full[:, 2:4], full[:, 4:5], full[:, 5:6])


@lru_cache(maxsize=32)
def _pixels(side: int, device: torch.device) -> Tensor:
    """(2, side, side) x and y of the pixels' centres."""
    axis = torch.arange(side, device=device) + 0.5
    return torch.stack([axis.expand(side, side), axis[:, None].expand(side, side)])


def _pull(image: Tensor, shift: Tensor) -> Tensor:
    """The image (F, C, side, side) with each pixel fetched from `shift` (F, 2, side, side) pixels away."""
    side = image.shape[-1]
    grid = ((_pixels(side, image.device) + shift) * (2 / side) - 1).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def _skins(crops: Sequence[_Crop], place: Tensor) -> Tensor:
    """(F, 4, side, side) each identity's texture where the maps say."""
    level = [c.face.identity.level(c.side / REACH) for c in crops]
    texture = level[0] if len(level) == 1 else torch.cat(level)
    return F.grid_sample(texture, place.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _light(logs: Tensor, skin: Tensor, crops: Sequence[_Crop]) -> Tensor:
    """(F, 3, side, side) the light on the face, from how the frame differs from the texture, `logs`. What differs far
    more than light does (glasses, hair, a hand) counts less."""
    sigma = LIGHT * torch.stack([c.scale for c in crops])
    step = max(1, int(LIGHT * crops[0].side / REACH / 4))
    small = F.avg_pool2d(torch.cat([logs * skin, skin], 1), step, ceil_mode=True, count_include_pad=False)
    weight = small[:, 3:]
    values = small[:, :3] / weight.clamp_min(1e-3)
    rough = spread(values, weight, sigma / step)
    odd = (values - rough).mean(1, keepdim=True) / ODD
    fine = spread(values, weight / (1 + odd.square()), sigma / step)
    side = logs.shape[-1]
    return F.interpolate(fine, scale_factor=step, mode="bilinear", align_corners=False)[..., :side, :side]


def _draw(crops: Sequence[_Crop]) -> None:
    maps = _maps(crops)
    frame = torch.stack([_read(c) for c in crops])
    warped = _pull(frame, maps.shift)
    texture = _skins(crops, maps.place)
    skin, cover = texture[:, :3], texture[:, 3:4] * maps.face
    steady = (cover > 0.02).float() * (1 - maps.alive)
    light = _light(torch.log(warped.clamp(0, 1) + EPS) - skin, steady, crops)
    relit = match_bands(torch.exp(skin + light) - EPS, warped, steady)
    mixed = torch.lerp(warped, relit, cover * (1 - maps.alive))
    touched = (maps.shift.abs().amax(1, keepdim=True) > 1e-3).float()
    for crop, colours, mask in zip(crops, mixed, torch.maximum(touched, cover)[:, 0], strict=True):
        _write(crop, colours, mask)
