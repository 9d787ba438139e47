"""One face for another, in place: the person's movements and light, another one's shape and skin.

The frame is warped from the person's mesh to the mesh that the identity would have in the same pose and with the same
expression; the identity's skin is laid over it in the frame's own light and sharpness; eyeballs and the inside of the
mouth stay the frame's. After Cootes, Edwards and Taylor, "Active appearance models", ECCV 1998.

Faces are worked on in crops of a few fixed sizes, all crops of one size at once.
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
EXCHANGE = 0.8  # how much of the identity's shape is taken, inside the face
EXCHANGE_EDGE = 0.25  # and at the oval, where hair and neck must still fit
TALL = 2.4  # height of a crop in distances between the eyes' outer corners, about
ODD = 0.35  # logarithms; a difference from the light around that counts half
DEPTH = 0.3  # and of its depth, which one look from the front tells badly: turned heads would show the error
BATCH_PIXELS = 4_000_000  # crops of one batch together: bounds memory

# Points of upper and lower lids and of the inner lips that touch when they close.
_PAIRS = (
    [246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398, 191, 80, 81, 82, 13, 312, 311, 310, 415],
    [7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382, 95, 88, 178, 87, 14, 317, 402, 318, 324],
)
_EYES = ([33, 133], [263, 362])  # corners, in the order of _PAIRS
_OPEN, _CLOSED = (
    0.9,
    0.7,
)  # how far the lids' landmarks are apart against a rested eye, when they begin to close, and end


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one picture, and who takes its place."""

    picture: Picture
    mesh: Tensor  # (468, 3) pixels
    neutral: Tensor  # (468, 3) the person's shape at rest
    identity: Identity


@dataclass(frozen=True, slots=True)
class _Crop:
    """A face with the box around it, from `x`, `y`; may reach out of the picture."""

    face: Face
    target: Tensor  # (468, 3) the mesh that the identity has here
    scale: Tensor  # () pixels between the eyes' outer corners
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Maps:
    """What is where in the crops; all (F, C, height, width)."""

    shift: Tensor  # 2: pixels from here to where the frame's content comes from
    place: Tensor  # 2: where in the texture, -1..1
    alive: Tensor  # 1: eyeballs and the inside of the mouth
    face: Tensor  # 1: inside the oval, these included


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
    outer = uv.extend(targets[..., :2])
    table = torch.cat([outer.amin(1) - 2, outer.amax(1) + 2], 1).tolist()  # one copy from the device
    result = []
    for face, target, scale, (x0, y0, x1, y1) in zip(faces, targets, scales, table, strict=True):
        width, height = _side(x1 - x0), _side(y1 - y0)
        x, y = _even((x0 + x1 - width) / 2), _even((y0 + y1 - height) / 2)
        result.append(_Crop(face, target, scale, x, y, width, height))
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
    target = meshes + align(meshes, neutrals).turn(offset)
    for number, corners in enumerate(_EYES):
        _close(target, meshes, neutrals, [p[7 * number : 7 * number + 7] for p in _PAIRS], corners)
    return target


def _close(target: Tensor, meshes: Tensor, neutrals: Tensor, lids: Sequence[list[int]], corners: list[int]) -> None:
    """Bring the lids of one eye together, in place, where the person's are. The landmarks of a closed eye stay some way
    apart: measured on blinks, at 0.68 of how far they are when it is open."""
    openness = []
    for points in (meshes, neutrals):
        gap = torch.linalg.vector_norm(points[:, lids[0], :2] - points[:, lids[1], :2], dim=2).mean(1)
        openness.append(gap / torch.linalg.vector_norm(points[:, corners[0]] - points[:, corners[1]], dim=1))
    t = ((_OPEN - openness[0] / openness[1].clamp_min(1e-3)) / (_OPEN - _CLOSED)).clamp(0, 1)
    closed = (t * t * (3 - 2 * t))[:, None, None]
    upper, lower = target[:, lids[0]], target[:, lids[1]]
    seam = torch.lerp(lower, upper, 0.2)  # the upper lid does most of it
    target[:, lids[0]], target[:, lids[1]] = torch.lerp(upper, seam, closed), torch.lerp(lower, seam, closed)


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
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def _batches(crops: Sequence[_Crop]) -> Iterator[list[_Crop]]:
    """Crops of one size, at most BATCH_PIXELS together."""
    by_size = dict[tuple[int, int], list[_Crop]]()
    for crop in crops:
        by_size.setdefault((crop.height, crop.width), []).append(crop)
    for (height, width), group in by_size.items():
        count = max(1, BATCH_PIXELS // (height * width))
        for start in range(0, len(group), count):
            yield group[start : start + count]


def _read(crop: _Crop) -> Tensor:
    """(3, height, width) the picture's colours; its border is repeated outside of it."""
    layout = crop.face.picture.layout
    box = even_box(layout, (crop.x, crop.y, crop.x + crop.width, crop.y + crop.height))
    if box[2] <= box[0] or box[3] <= box[1]:
        return torch.zeros(3, crop.height, crop.width, device=crop.target.device)
    inside = read_rgb(crop.face.picture, box)
    pad = (box[0] - crop.x, crop.x + crop.width - box[2], box[1] - crop.y, crop.y + crop.height - box[3])
    return F.pad(inside[None], pad, mode="replicate")[0] if any(pad) else inside


def _write(crop: _Crop, colours: Tensor, mask: Tensor) -> None:
    layout = crop.face.picture.layout
    x0, y0, x1, y1 = even_box(layout, (crop.x, crop.y, crop.x + crop.width, crop.y + crop.height))
    rows, columns = slice(y0 - crop.y, y1 - crop.y), slice(x0 - crop.x, x1 - crop.x)
    write_rgb(crop.face.picture, (x0, y0, x1, y1), colours[:, rows, columns], mask[rows, columns])


def _maps(crops: Sequence[_Crop]) -> _Maps:
    """Draw the target meshes on a coarse grid over the crops and enlarge what they say to every pixel."""
    device, height, width = crops[0].target.device, crops[0].height, crops[0].width
    step = max(1, -(-max(height, width) // GRID))
    target = torch.stack([c.target for c in crops])
    person = torch.stack([c.face.mesh for c in crops])
    origin = torch.tensor([[c.x, c.y] for c in crops], dtype=torch.float32, device=device)
    points = (uv.extend(target[..., :2]) - origin[:, None]) / step
    behind = 10 * torch.stack([c.scale for c in crops])
    depth = torch.cat([target[..., 2], behind[:, None].expand(-1, points.shape[1] - 468)], 1)
    drawn = rasterise(
        torch.cat([points, depth[..., None]], 2), uv.triangles(device), -(-height // step), -(-width // step)
    )
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
        full = F.interpolate(full, scale_factor=step, mode="bilinear", align_corners=False)[..., :height, :width]
    return _Maps(full[:, :2], full[:, 2:4], full[:, 4:5], full[:, 5:6])


@lru_cache(maxsize=32)
def _pixels(height: int, width: int, device: torch.device) -> Tensor:
    """(2, height, width) x and y of the pixels' centres in grid_sample's coordinates."""
    y, x = torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5
    return torch.stack(
        [(x * (2 / width) - 1).expand(height, width), (y * (2 / height) - 1)[:, None].expand(height, width)]
    )


def _pull(image: Tensor, shift: Tensor) -> Tensor:
    """The image (F, C, height, width) with each pixel fetched from `shift` (F, 2, height, width) pixels away."""
    height, width = image.shape[-2:]
    unit = torch.tensor([2 / width, 2 / height], device=image.device)[:, None, None]
    grid = torch.addcmul(_pixels(height, width, image.device), shift, unit)
    return F.grid_sample(image, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _skins(crops: Sequence[_Crop], place: Tensor) -> Tensor:
    """(F, 4, height, width) each identity's texture where the maps say."""
    level = [c.face.identity.level(c.height / TALL) for c in crops]
    texture = level[0] if len(level) == 1 else torch.cat(level)
    return F.grid_sample(texture, place.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _light(warped: Tensor, skin: Tensor, steady: Tensor, crops: Sequence[_Crop]) -> Tensor:
    """(F, 3, height, width) the light on the face, in logarithms: how the frame `warped` differs from the texture
    `skin` where `steady` says that both show skin. What differs far more than light does (glasses, hair, a hand) counts
    less. On small copies: a wide Gaussian leaves nothing that they can't hold."""
    height, width = warped.shape[-2:]
    step = max(1, int(LIGHT * crops[0].height / TALL / 4))
    thin = max(1, step // 4)  # every so many pixels are enough for a mean over `step`
    step = step // thin * thin
    sigma = LIGHT / step * torch.stack([c.scale for c in crops])
    parts = torch.cat([part[..., ::thin, ::thin] for part in (warped, skin, steady)], 1)
    small = F.avg_pool2d(parts, step // thin, ceil_mode=True, count_include_pad=False)
    logs = torch.log(small[:, :3].clamp(0, 1) + EPS) - small[:, 3:6]
    weight = small[:, 6:] ** 2  # cells that are half something else tell of that, too
    odd = (logs - spread(logs, weight, sigma)).mean(1, keepdim=True) / ODD
    light = spread(logs, weight / (1 + odd.square()), sigma)
    return F.interpolate(light, scale_factor=step, mode="bilinear", align_corners=False)[..., :height, :width]


def _inner(crops: Sequence[_Crop]) -> tuple[slice, slice]:
    """Rows and columns of the crops that hold every oval: outside of it textures are not laid on."""
    oval = torch.from_numpy(topology.ring("oval"))
    points = torch.stack([c.target for c in crops])[:, oval.to(crops[0].target.device), :2]
    origin = torch.tensor([[c.x, c.y] for c in crops], dtype=torch.float32, device=points.device)
    places = points - origin[:, None]
    x0, y0, x1, y1 = torch.cat([places.amin((0, 1)) - 2, places.amax((0, 1)) + 2]).tolist()
    return _span(y0, y1, crops[0].height), _span(x0, x1, crops[0].width)


def _span(low: float, high: float, size: int) -> slice:
    """On multiples of 4, which `match_bands` halves twice; crops' sides are such, too."""
    return slice(max(0, int(low // 4) * 4), min(size, int(-(-high // 4)) * 4))


def _draw(crops: Sequence[_Crop]) -> None:
    maps = _maps(crops)
    warped = _pull(torch.stack([_read(c) for c in crops]), maps.shift)
    touched = maps.shift.abs().amax(1) > 1e-3
    rows, columns = _inner(crops)
    part = warped[..., rows, columns]
    texture = _skins(crops, maps.place[..., rows, columns])
    skin, cover = texture[:, :3], texture[:, 3:] * (maps.face - maps.alive)[..., rows, columns].clamp_min(0)
    steady = (cover > 0.02).float()
    relit = torch.exp(skin + _light(part, skin, steady, crops)).sub_(EPS)
    warped[..., rows, columns] = torch.lerp(part, match_bands(relit, part, steady), cover)
    touched[..., rows, columns] |= cover[:, 0] > 0
    for crop, colours, mask in zip(crops, warped, touched.float(), strict=True):
        _write(crop, colours, mask)
