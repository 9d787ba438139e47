"""One face for another, in place: the person's movements and light, another one's shape and skin.

The frame is warped from the person's mesh to the mesh that the identity would have in the same pose and with the same
expression; the identity's skin is laid over it in the frame's own light and sharpness; eyeballs and the inside of the
mouth stay the frame's. After Cootes, Edwards and Taylor, "Active appearance models", ECCV 1998.

Faces are worked on in crops of a few fixed sizes, all crops of one size at once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import pores, uv
from pipeline.appearance import EPS, LIGHT
from pipeline.exchange import exchange
from pipeline.filters import blur, match_bands, spread
from pipeline.identity import Identity, NobodyModel, brightness
from pipeline.models import topology
from pipeline.occlude import edged, hold, put_back
from pipeline.picture import Picture, PixelLayout
from pipeline.primitives import enlarge, exponential, fetch, repeat
from pipeline.raster import rasterise
from pipeline.region import Region, black_and_white, shown, stored, to_chroma, to_rgb
from pipeline.shape import eye_distance
from pipeline.transfer import brightest

GRID = 192  # longest side of the grid on which meshes are drawn; between its points everything is smooth
TALL = 2.4  # height of a crop in distances between the eyes' outer corners, about
ODD = 0.35  # logarithms; a difference from the light around that counts half
FINE = 256  # px; crops that are lower get their colours at every pixel: the eyes of small faces are few pixels wide
TINY = 64  # px; in crops that are no higher, an eye is a pixel or two, which more contrast makes a hole
SHARP, SOFT = (2.0, 1.5), (1.0, 1.0)  # how much stronger fine and middle detail may become, against the texture's
PALE = 1.6  # times the frame's variety of colours, from which on a face's are muted
THIN = 3  # every so many pixels tell of a face's colours
RIM = 0.02  # units within which the edge of glasses is looked for
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
BATCH_PIXELS = 4_000_000  # crops of one batch together: bounds memory


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one picture, and who takes its place."""

    picture: Picture
    mesh: Tensor  # (468, 3) pixels
    neutral: Tensor  # (468, 3) the person's shape at rest
    identity: Identity
    before: Tensor | None = None  # what is before it, as `occlude.Lookout` tells
    worn: Tensor | None = None  # its glasses, as `glasses.Optician` tells


@dataclass(frozen=True, slots=True)
class _Crop:
    """A face with the region around it."""

    face: Face
    target: Tensor  # (468, 3) the mesh that the identity has here
    scale: Tensor  # () pixels between the eyes' outer corners
    region: Region


@dataclass(frozen=True, slots=True)
class _Maps:
    """What is where in the crops, on a grid with one point for every `step` pixels."""

    grid: Tensor  # (F, 5, H, W): see the slices below
    touched: Tensor  # (F, 1, H, W) uint8: where anything may change; what lies further out keeps its bits
    step: int

    def from_frame(self, step: int, height: int, width: int) -> Tensor:
        """(F, 2, height, width) for every `step`-th pixel of a crop, where the frame's content comes from, in such."""
        place = enlarge(self.grid[:, _SHIFT] / step, self.step / step)[..., :height, :width]
        place[:, 0] += torch.arange(width, device=place.device)
        place[:, 1] += torch.arange(height, device=place.device)[:, None]
        return place

    def from_texture(self, step: int, part: "_Part", size: int) -> Tensor:
        """(F, 2, h, w) the same in a part of it, where in textures of `size` px to look, in their pixels."""
        return enlarge(self.grid[:, _PLACE, part[0], part[1]] * size + (size - 1) / 2, self.step / step)

    def skin(self, step: int, part: "_Part") -> Tensor:
        """(F, 1, h, w) the same, how much is skin."""
        return enlarge(self.grid[:, _SKIN, part[0], part[1]], self.step / step)

    def changed(self, step: int, height: int, width: int) -> Tensor:
        """(F, height, width) uint8 the same, where anything may change."""
        return repeat(self.touched, self.step / step)[:, 0, :height, :width]


_Part = tuple[slice, slice]  # rows and columns, in points of the grid
_SHIFT = slice(0, 2)  # pixels from here to where the frame's content comes from
_PLACE = slice(2, 4)  # where in the texture, -0.5..0.5
_SKIN = slice(4, 5)  # 1 inside the oval, without eyeballs and the inside of the mouth


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
            things = [hold(f.picture, f.mesh, f.before) for f in (c.face for c in layer) if f.before is not None]
            for batch in _batches(layer):
                _draw(batch)
            for thing in things:
                put_back(thing)


def _crops(faces: Sequence[Face]) -> list[_Crop]:
    meshes = torch.stack([f.mesh for f in faces])
    neutrals = torch.stack([f.neutral for f in faces])
    shapes = torch.stack([f.identity.shape for f in faces])
    meshes, targets = exchange(meshes, neutrals, shapes)
    faces = [replace(face, mesh=mesh) for face, mesh in zip(faces, meshes, strict=True)]
    scales = eye_distance(targets)
    outer = uv.extend(targets[..., :2])
    table = torch.cat([outer.amin(1) - 2, outer.amax(1) + 2], 1).tolist()  # one copy from the device
    result = []
    for face, target, scale, (x0, y0, x1, y1) in zip(faces, targets, scales, table, strict=True):
        width, height = _side(x1 - x0), _side(y1 - y0)
        x, y = _even((x0 + x1 - width) / 2), _even((y0 + y1 - height) / 2)
        result.append(_Crop(face, target, scale, Region(face.picture, x, y, width, height)))
    return result


def _side(wanted: float) -> int:
    """The next of the sides that crops may have: steps of an eighth or finer, multiples of 16."""
    step = 16
    while step * 8 < wanted:
        step *= 2
    return max(32, int(-(-wanted // step)) * step)


def _even(value: float) -> int:
    return int(value // 2) * 2  # crops begin on whole chroma samples


def _layers(crops: Sequence[_Crop]) -> Iterator[list[_Crop]]:
    """Crops that may be drawn at the same time: of one picture, only such as don't touch."""
    waiting = list(crops)
    while waiting:
        now, later = list[_Crop](), list[_Crop]()
        for crop in waiting:
            (later if any(_touch(crop, other) for other in (*now, *later)) else now).append(crop)
        yield now
        waiting = later


def _touch(one: _Crop, other: _Crop) -> bool:
    a, b = one.region, other.region
    if a.picture is not b.picture:
        return False
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def _batches(crops: Sequence[_Crop]) -> Iterator[list[_Crop]]:
    """Crops of one size, at most BATCH_PIXELS together."""
    by_size = dict[tuple[int, int], list[_Crop]]()
    for crop in crops:
        by_size.setdefault((crop.region.height, crop.region.width), []).append(crop)
    for (height, width), group in by_size.items():
        count = max(1, BATCH_PIXELS // (height * width))
        for start in range(0, len(group), count):
            yield group[start : start + count]


def _maps(crops: Sequence[_Crop]) -> _Maps:
    """Draw the target meshes on a coarse grid over the crops."""
    device, height, width = crops[0].target.device, crops[0].region.height, crops[0].region.width
    step = max(1, -(-max(height, width) // GRID))
    target = torch.stack([c.target for c in crops])
    person = torch.stack([c.face.mesh for c in crops])
    origin = torch.tensor([[c.region.x, c.region.y] for c in crops], dtype=torch.float32, device=device)
    points = (uv.extend(target[..., :2]) - origin[:, None]) / step
    behind = 10 * torch.stack([c.scale for c in crops])
    depth = torch.cat([target[..., 2], behind[:, None].expand(-1, points.shape[1] - 468)], 1)
    drawn = rasterise(
        torch.cat([points, depth[..., None]], 2), uv.triangles(device), -(-height // step), -(-width // step)
    )
    shift = person[..., :2] - target[..., :2]
    edge = shift[:, torch.from_numpy(topology.ring("oval")).to(device)]
    shift = torch.cat([shift, edge * 0.5, torch.zeros_like(edge)], 1)
    place = (uv.coordinates(device) / uv.SIZE - 0.5).expand(len(crops), -1, -1)
    smooth = drawn.interpolate(torch.cat([shift, place], 2), uv.triangles(device))
    index = drawn.triangle[:, None]
    skin = (index >= 0) & (index < uv.MESH_TRIANGLES)
    soft = blur(skin.float(), 0.7)
    moved = smooth[:, _SHIFT].abs().amax(1, keepdim=True) > 1e-3
    return _Maps(torch.cat([smooth, soft], 1), _grown(moved | (soft > 0)).byte(), step)


def _grown(mask: Tensor) -> Tensor:
    """(F, 1, h, w) bool, one pixel larger on all sides."""
    tall = mask.clone()
    tall[..., 1:, :] |= mask[..., :-1, :]
    tall[..., :-1, :] |= mask[..., 1:, :]
    wide = tall.clone()
    wide[..., 1:] |= tall[..., :-1]
    wide[..., :-1] |= tall[..., 1:]
    return wide


def _inner(crops: Sequence[_Crop], maps: _Maps) -> _Part:
    """Rows and columns of the grid that hold every oval: outside of it textures are not laid on. On multiples of 4,
    which `match_bands` halves twice."""
    oval = torch.from_numpy(topology.ring("oval")).to(crops[0].target.device)
    points = torch.stack([c.target for c in crops])[:, oval, :2]
    origin = torch.tensor([[c.region.x, c.region.y] for c in crops], dtype=torch.float32, device=points.device)
    places = (points - origin[:, None]) / maps.step
    x0, y0, x1, y1 = torch.cat([places.amin((0, 1)) - 2, places.amax((0, 1)) + 2]).tolist()
    rows, columns = (length // maps.step // 4 * 4 for length in (crops[0].region.height, crops[0].region.width))
    return _span(y0, y1, rows), _span(x0, x1, columns)


def _span(low: float, high: float, size: int) -> slice:
    start = min(max(0, int(low // 4) * 4), max(0, size - 4))
    return slice(start, max(start + 4, min(size, int(-(-high // 4)) * 4)))


def _free(crops: Sequence[_Crop], maps: _Maps, step: int, inner: _Part) -> Tensor | float:
    """(F, 1, h, w) 1 where what the frame has for a place is face, 0 where it is something before it."""
    masks = [c.face.before for c in crops]
    some = next((mask for mask in masks if mask is not None), None)
    if some is None:
        return 1.0
    all_of_them = [(torch.zeros_like(some) if mask is None else mask)[None] for mask in masks]
    return 1 - fetch(all_of_them, maps.from_texture(step, inner, some.shape[-1]))


def _bare(cover: Tensor, crops: Sequence[_Crop], place: Callable[[int], Tensor], luma: Tensor, step: int) -> Tensor:
    """`cover` (F, 1, h, w) without what is glasses: there the frame shows, warped as the face is. `luma` (F, 1, h, w)
    are the warped frame's samples at every `step`-th pixel, and `place` where they lie in textures of some size."""
    for n, crop in enumerate(crops):
        if crop.face.worn is not None:
            told = fetch([crop.face.worn[None]], place(crop.face.worn.shape[-1])[n : n + 1])
            white = 2**crop.region.picture.layout.depth - 1
            crisp = edged(told, luma[n : n + 1] / white, RIM * float(crop.scale) / step)
            # A frame may be as bright as skin in places, where the edge leads nowhere.
            cover[n : n + 1] *= 1 - torch.maximum(crisp, (2 * told - 1).clamp_min(0))
    return cover


def _light(frame: Tensor, skin: Tensor, cover: Tensor, crops: Sequence[_Crop], step: int) -> Tensor:
    """(F, 4, h, w) the light on the face, in logarithms of red, green, blue and brightness, on few points: how the
    frame's samples (F, 3, H, W) differ from the texture `skin` where `cover` says that both show skin. What differs far
    more than light does (glasses, hair, a hand) counts less. A wide Gaussian leaves nothing that few points can't hold.
    """
    layout = crops[0].region.picture.layout
    cell = _cell(crops[0], step)
    thin = max(1, cell // 4)  # every so many pixels are enough for a mean over a cell
    parts = torch.cat([part[..., ::thin, ::thin] for part in (frame, skin, (cover > 0.02).float())], 1)
    small = F.avg_pool2d(parts, cell // thin, ceil_mode=True, count_include_pad=False)
    rgb, logs = to_rgb(small[:, :3], layout), small[:, 3:6]
    luma = (rgb * LUMA.to(rgb.device)).sum(1, keepdim=True)
    most = brightest(layout.transfer)
    differ = torch.log(torch.cat([rgb, luma], 1).clamp(0, most) + EPS) - torch.cat([logs, brightness(logs)], 1)
    sigma = LIGHT / (cell * step) * torch.stack([c.scale for c in crops])
    weight = small[:, 6:] ** 2  # cells that are half something else tell of that, too
    odd = (differ - spread(differ, weight, sigma))[:, :3].mean(1, keepdim=True) / ODD
    return spread(differ, weight / (1 + odd.square()), sigma)


def _cell(crop: _Crop, step: int) -> int:
    """Pixels of a picture with every `step`-th pixel that share one point of light."""
    cell = max(1, int(LIGHT * crop.region.height / TALL / 4 / step))
    thin = max(1, cell // 4)
    return cell // thin * thin


def _laid(light: Tensor, cell: int, like: Tensor) -> Tensor:
    """Light at every pixel of `like` (F, C, h, w)."""
    return enlarge(light, cell)[..., : like.shape[-2], : like.shape[-1]]


def _draw(crops: Sequence[_Crop]) -> None:
    """Colours first, at every other pixel where the crop is large enough, then brightness at every pixel."""
    maps, region = _maps(crops), crops[0].region
    inner = _inner(crops, maps)
    step = 2 if maps.step % 2 == 0 or region.height >= FINE else 1
    light, laid = _draw_colours(crops, maps, inner, step)
    _draw_luma(crops, maps, inner, enlarge(laid, step), light, _cell(crops[0], step) * step)


def _part(inner: _Part, maps: _Maps, step: int) -> _Part:
    """The same part in pixels of a picture with every `step`-th pixel."""
    rows, columns = (slice(s.start * maps.step // step, s.stop * maps.step // step) for s in inner)
    return rows, columns


def _draw_colours(crops: Sequence[_Crop], maps: _Maps, inner: _Part, step: int) -> tuple[Tensor, Tensor]:
    """Cb and Cr. Returns the light, and how much of the textures is laid on: smooth, so that it may be enlarged."""
    frame = torch.stack([c.region.colours(step) for c in crops])
    size, layout = (frame.shape[2], frame.shape[3]), crops[0].region.picture.layout
    warped = fetch(list(frame[:, None]), maps.from_frame(step, *size))
    rows, columns = _part(inner, maps, step)
    levels = [c.face.identity.levels[c.face.identity.level(c.region.height / TALL / step)] for c in crops]
    texture = fetch(levels, maps.from_texture(step, inner, levels[0].shape[-1]))
    skin, laid, part = texture[:, :3], texture[:, 3:], warped[..., rows, columns]
    cover = _bare(laid * maps.skin(step, inner), crops, partial(maps.from_texture, step, inner), part[:, :1], step)
    light = _light(part, skin, cover * _free(crops, maps, step, inner), crops, step)
    relit = exponential(skin + _laid(light[:, :3], _cell(crops[0], step), skin)).sub_(EPS)
    part[:, 1:].lerp_(_coloured(relit, part, cover, layout), cover)
    for crop, colours, where in zip(crops, warped[:, 1:], maps.changed(step, *size), strict=True):
        crop.region.write_chroma(colours, where)
    return light, laid


def _coloured(relit: Tensor, frame: Tensor, cover: Tensor, layout: PixelLayout) -> Tensor:
    """Samples of Cb and Cr for new skin, RGB (F, 3, h, w), in a frame's samples (F, 3, h, w)."""
    if layout.transfer == "sdr":
        return _muted(to_chroma(relit, layout), frame[:, 1:], cover)
    # PQ and HLG store more colour where it is brighter: its variety is that of the picture as it is shown.
    luma, seen = LUMA.to(relit.device), to_rgb(frame, layout)
    grey, usual = ((rgb * luma).sum(1, keepdim=True) for rgb in (relit, seen))
    return to_chroma(_muted(relit - grey, seen - usual, cover).add_(grey), layout)


def _muted(chroma: Tensor, frame: Tensor, cover: Tensor) -> Tensor:
    """New skin's Cb and Cr (F, 2, h, w), or other differences of colour, with no more variety than the frame's, where
    they are laid on: lips are not red in a film that is black and white, or brown all over."""
    weight = cover[..., ::THIN, ::THIN]
    total = weight.sum((2, 3), keepdim=True).clamp_min(1e-3)
    (middle, own), (_, usual) = (_spread_of(c[..., ::THIN, ::THIN], weight, total) for c in (chroma, frame))
    share = (PALE * usual / own.clamp_min(1e-6)).clamp_max(1)
    return middle + share * (chroma - middle)


def _spread_of(values: Tensor, weight: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F, C, 1, 1) of weighted values (F, C, h, w), and their deviation, all kinds together (F, 1, 1, 1)."""
    mean = (values * weight).sum((2, 3), keepdim=True) / total
    square = ((values - mean).square() * weight).sum((1, 2, 3), keepdim=True) / total
    return mean, square.sqrt()


def _draw_luma(crops: Sequence[_Crop], maps: _Maps, inner: _Part, laid: Tensor, light: Tensor, cell: int) -> None:
    """Y, in its own samples."""
    frame = torch.stack([c.region.luma() for c in crops])[:, None]
    size = (frame.shape[2], frame.shape[3])
    warped = fetch(list(frame[:, None]), maps.from_frame(1, *size))
    rows, columns = _part(inner, maps, 1)
    levels = [c.face.identity.grey[c.face.identity.level(c.region.height / TALL)] for c in crops]
    skin = fetch([level[:, :1] for level in levels], maps.from_texture(1, inner, levels[0].shape[-1]))
    part, layout = warped[..., rows, columns], crops[0].region.picture.layout
    seen = shown(part, layout)
    cover = _bare(laid * maps.skin(1, inner), crops, partial(maps.from_texture, 1, inner), seen, 1)
    black, white = black_and_white(layout)
    unit = white - black
    relit = exponential(skin.add_(_laid(light[:, 3:] + math.log(unit), cell, skin))).add_(black - EPS * unit)
    most = SOFT if crops[0].region.height <= TINY else SHARP
    new = match_bands(relit, seen, cover, unit, most)
    if pores.near(crops[0].region.height):
        _detail(new, shown(frame[..., rows, columns], layout), cover, crops, maps, inner, unit)
    part.lerp_(stored(new, layout), cover)
    for crop, luma, where in zip(crops, warped[:, 0], maps.changed(1, *size), strict=True):
        crop.region.write_luma(luma, where)


def _detail(
    new: Tensor, frame: Tensor, cover: Tensor, crops: Sequence[_Crop], maps: _Maps, inner: _Part, unit: float
) -> None:
    """Pores and grain for the new skin (F, 1, h, w), in place, as the frame (F, 1, h, w) has them."""
    scale, place = crops[0].region.height / TALL, maps.grid[:, _PLACE, inner[0], inner[1]]
    where, scales = pores.plain(place, maps.step), torch.stack([c.scale for c in crops]).tolist()
    bands = pores.measure(new, frame, (where, cover), unit, (scale, scales))
    if all(b == pores.NOTHING for b in bands):
        return
    seeds = [c.face.identity.seed for c in crops]
    pattern = pores.shown(place, seeds, maps.step, scale).mul_(where).mul_(new)
    pores.add(
        new, pattern, bands, [pores.grain_of(s, c.face.picture.number) for s, c in zip(seeds, crops, strict=True)]
    )
