"""Pores and grain: what an identity's texture is too coarse to hold, made up for faces that are seen from near.

Pores are one made pattern for all, laid on where the identity's seed says: they are the same over the whole film and
move with the skin. Grain belongs to the picture and is new on each. Of the person only strengths are known, three
numbers for a picture: how much fine detail plain skin has there, and how much of it may be noise.

Bands are those of a Laplacian pyramid (Burt and Adelson, 1983), the finest first.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.appearance import near_mask
from pipeline.identity import Seed
from pipeline.primitives import convolve, enlarge, fetch, shrink

TILE = 1024  # px on each side of the pattern, and in one unit: the distance between the eyes' outer corners
SIZES = (  # px between pores: two of these are a millimetre's and half of it; how much are pits, furrows, unevenness
    (5.0, (-0.6, -0.3, 0.7)),
    (10.0, (-0.9, -0.5, 0.5)),
    (20.0, (-0.6, -0.3, 0.8)),
    (40.0, (-0.2, 0.0, 1.0)),
    (80.0, (0.0, 0.0, 1.0)),
)
WIDE = 0.75  # octaves; sigma of what is of one size
PATCHES, UNEVEN = 2, 0.2  # skin differs that much between as many places across the tile
TALL = 2.4  # a face's height in units, about
SMALLEST, FULL = 200.0, 300.0  # px of a face's height, about: none below the one, all from the other on
MOST = 0.02  # of white; how strong a band of pores may be
GRAIN = (0.03, 0.02)  # the same for the grain's
STEEP = 2.0  # how much stronger a band of pores may be than the picture's next finer one: blurred skin gets none
USUAL, LEAST = 0.4, 0.1  # quantiles over blocks of plain skin: wrinkles and beards lie above, only noise below
FLOOR = 0.0016  # of white; what rounding to 8 bits makes by itself, 1 / 255 / sqrt(12), and a little more
GRAINY = 512  # px; over as many rows and columns is grain drawn from
BLOCK = 16  # px
STRIPS = 5  # of that height are measured
_NOT_PLAIN = ("left_brow", "right_brow", "left_eye", "right_eye", "lips_outer")


@dataclass(frozen=True, slots=True)
class Bands:
    """How strong one face's finest bands are to be."""

    pores: tuple[float, float, float]  # factors for the pattern times brightness
    grain: tuple[float, float]  # root mean squares, in samples


NOTHING = Bands((0.0, 0.0, 0.0), (0.0, 0.0))


def near(height: float) -> bool:
    """Whether faces in crops of this height get pores at all."""
    return height > SMALLEST


def plain(place: Tensor, step: int) -> Tensor:
    """(F, 1, H, W) 1 on skin, 0 on eyes, brows and lips. `place` (F, 2, h, w) is where in the texture a point of the
    grid lies, -0.5..0.5, with `step` pixels between them."""
    mask = 1 - near_mask(_NOT_PLAIN, 128, place.device)
    return enlarge(fetch([mask] * len(place), place * 128 + 63.5), step)


def shown(place: Tensor, seeds: Sequence[Seed], step: int, scale: float) -> Tensor:
    """(F, 1, H, W) the pattern on faces with `scale` pixels per unit; the rest is as in `plain`."""
    sheet = _sheet(_level(scale), place.device)
    turn, shift = (torch.tensor(v, device=place.device) for v in zip(*(_placed(s) for s in seeds), strict=True))
    units = torch.einsum("fij,fjhw->fihw", turn, place) * (uv.SIZE / uv.PIXELS_PER_UNIT) + shift[:, :, None, None]
    return fetch([sheet] * len(place), enlarge(units * (sheet.shape[-1] // 3), step))


def _level(scale: float) -> int:
    """How often the pattern is halved for faces with `scale` pixels per unit."""
    return min(4, max(0, round(math.log2(TILE / max(scale, 1.0)))))


@lru_cache(maxsize=64)
def _strengths(scale: float) -> tuple[float, float, float]:
    """How strong the pattern's bands are on faces with `scale` pixels per unit."""
    axis = (torch.arange(256) - 127.5) / scale
    place = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))[None] * (uv.PIXELS_PER_UNIT / uv.SIZE)
    part, found = shown(place, [Seed(bytes(32))], 1, scale), []
    for _ in range(3):
        half = shrink(part, 2, 2)
        found.append(float((part - enlarge(half, 2)).std()))
        part = half
    return found[0], found[1], found[2]


@lru_cache(maxsize=64)
def _placed(seed: Seed) -> tuple[tuple[tuple[float, float], tuple[float, float]], tuple[float, float]]:
    """How an identity's pattern is turned, and where in the sheet its middle lies, in units."""
    angle, x, y = seed.uniforms(19)[16:]
    c, s = math.cos(2 * math.pi * angle), math.sin(2 * math.pi * angle)
    return ((c, -s), (s, c)), (1 + x, 1 + y)  # textures reach a unit to all sides


def measure(
    image: Tensor, frame: Tensor, masks: Sequence[Tensor], unit: float, scales: tuple[float, Sequence[float]]
) -> list[Bands]:
    """What is missing in `image` (F, 1, H, W) against the frame, on plain skin: where the `masks` are near
    1. `unit` is how far white is from black; `scales` are how many pixels per unit the faces have, all about and each.
    """
    parts = _strips((image, frame))
    found, rest = [], parts
    for rows in (BLOCK, BLOCK // 2, BLOCK // 4):
        half = shrink(rest, 2, 2)
        found.append(_energies(rest - enlarge(half, 2), rows))
        rest = half
    bright = shrink(rest[:, :1], 2, 2).flatten(1)
    skin = _strips(masks, 4).amin(1, keepdim=True)
    some = shrink(skin, BLOCK // 4, BLOCK // 4).flatten(1) > 0.9
    table = torch.cat([torch.stack(found, 1).flatten(1, 2), bright[:, None]], 1)  # (F, 7, N)
    ordered, count = torch.where(some[:, None], table, torch.inf).sort(2).values, some.sum(1)
    places = [((count - 1).clamp_min(0) * q).long()[:, None, None].expand(-1, 7, 1) for q in (USUAL, LEAST)]
    values = ordered.gather(2, torch.cat(places, 2)).tolist()  # the one copy from the device
    return [_bands(v, unit, scales[0], own) for v, own in zip(values, scales[1], strict=True)]


def _bands(values: list[list[float]], unit: float, scale: float, own: float) -> Bands:
    """What one face gets. `values` are those two quantiles of mean squares: of the new skin's finest band and the
    frame's, of the next two, and of brightness. `scale`
    is that of the crop, `own` the face's."""
    if not math.isfinite(values[0][0]):
        return NOTHING  # no skin to be seen
    share = min(1.0, max(0.0, (TALL * own - SMALLEST) / (FULL - SMALLEST)))
    missing = [max(0.0, values[2 * k + 1][0] - values[2 * k][0] - (FLOOR * unit) ** 2) for k in range(3)]
    first = min(missing[0], values[1][1])
    grain = (first, min(missing[1], values[3][1], first), 0.0)
    bright, bound, pores = max(values[6][0], 0.05 * unit), math.inf, []
    for k, strength in enumerate(_strengths(scale)):
        wanted = min(math.sqrt(max(0.0, missing[k] - grain[k])), bound, MOST * unit)
        pores.append(share * wanted / (strength * bright))
        bound = STEEP * min(bound, math.sqrt(values[2 * k + 1][0]))
    fine, middle = (share * min(math.sqrt(g), m * unit) for g, m in zip(grain[:2], GRAIN, strict=True))
    return Bands((pores[0], pores[1], pores[2]), (fine, middle))


def _strips(images: Sequence[Tensor], thin: int = 1) -> Tensor:
    """Several (F, 1, H, W) to (F, C, h, w): some five strips of 16 rows, of which every `thin`-th pixel."""
    h, w = images[0].shape[-2:]
    count, some = h // BLOCK, slice(thin // 2, None, thin)
    rows = slice(count % STRIPS // 2, None, max(1, count // STRIPS))
    cut = [
        v[:, :, : count * BLOCK, : w // BLOCK * BLOCK].reshape(len(v), 1, count, BLOCK, w // BLOCK * BLOCK)
        for v in images
    ]
    return torch.cat([v[:, :, rows, some, some] for v in cut], 1).flatten(2, 3)


def _energies(band: Tensor, rows: int) -> Tensor:
    """(F, C, N) mean squares of a band (F, C, H, W) in blocks of strips that have so many rows. The first and last row
    of a strip have strange neighbours and don't count."""
    band.square_()
    band[:, :, ::rows] = 0
    band[:, :, rows - 1 :: rows] = 0
    return shrink(band, rows, rows).flatten(2) * (rows / (rows - 2))


def add(image: Tensor, pattern: Tensor, bands: Sequence[Bands], keys: Sequence[int]) -> Tensor:
    """`image` (F, 1, H, W), sides multiples of 4, with pores and grain, in place. `keys` say which grain each gets."""
    table = torch.tensor([b.pores for b in bands], device=image.device)
    fine, middle, coarse = table.T[..., None, None, None]
    half = shrink(pattern, 2, 2)
    quarter = shrink(half, 2, 2)
    low = enlarge(shrink(quarter, 2, 2), 2)
    h, w = quarter.shape[-2:]
    low = F.pad(low, (0, w - low.shape[-1], 0, h - low.shape[-2]), mode="replicate")
    # fine * the finest band + middle * the next one + coarse * the third, with as little as possible at full size
    rest = enlarge(coarse * (quarter - low) - middle * _crisp(quarter), 2)
    rest.addcmul_(half, middle).addcmul_(_crisp(half), -fine)
    for n, (band, key) in enumerate(zip(bands, keys, strict=True)):
        if band.grain[0]:
            finest, second = _grain(image.device)
            y, x = key % 997 % (GRAINY // 2), key // 997 % (GRAINY // 2)
            rest[n].add_(_cut(second, y, x, half), alpha=band.grain[1])
            image[n].add_(_cut(finest, 2 * y, 2 * x, image), alpha=band.grain[0])
    return image.add_(enlarge(rest, 2)).addcmul_(pattern, fine)


def _crisp(half: Tensor) -> Tensor:
    """What must be enlarged for the result's means over 2 x 2 px to be `half`, nearly: means of what is enlarged are
    `half` under the kernel 1/8, 3/4, 1/8. Without it, a fine band holds much of the next one."""
    return convolve(half, torch.tensor([[-0.125, 1.25, -0.125]], device=half.device))


def grain_of(seed: Seed, number: int) -> int:
    """Which grain an identity gets on a frame."""
    return zlib.crc32(f"{seed.name}|{number}".encode())


def _cut(noise: Tensor, y: int, x: int, like: Tensor) -> Tensor:
    """(1, H, W) as large as `like` (F, 1, H, W), from y and x on; repeated where the noise ends."""
    h, w = like.shape[-2:]
    down, across = -(-(y + h) // noise.shape[-2]), -(-(x + w) // noise.shape[-1])
    if down > 1 or across > 1:
        noise = noise.repeat(1, down, across)
    return noise[:, y : y + h, x : x + w]


@lru_cache(maxsize=2)
def _grain(device: torch.device) -> tuple[Tensor, Tensor]:
    """(1, s, s) the finest band of white noise and (1, s / 2, s / 2) the next one, each of strength 1."""
    draw = torch.Generator().manual_seed(20)
    result = []
    for size in (4 * GRAINY, 2 * GRAINY):
        noise = torch.randn(1, 1, size, size, generator=draw)
        band = (noise - enlarge(_crisp(shrink(noise, 2, 2)), 2))[0]
        result.append((band / band.std()).to(device))
    return result[0], result[1]


@lru_cache(maxsize=8)
def _sheet(level: int, device: torch.device) -> Tensor:
    """(1, 1, 3 * s, 3 * s) the pattern with TILE / 2 ** level px to the unit, repeated for three units."""
    return shrink(_pattern(), 2**level, 2**level).repeat(1, 1, 3, 3).to(device)


@lru_cache(maxsize=1)
def _pattern() -> Tensor:
    """(1, 1, TILE, TILE) pores of all sizes, to be repeated without a seam."""
    draw = torch.Generator().manual_seed(19)
    sheet = torch.zeros(TILE, TILE)
    for spacing, shares in SIZES:
        sheet += _octave(round(TILE / spacing), shares, draw)
    patches = _band(torch.randn(TILE, TILE, generator=draw), PATCHES)
    sheet *= (1 + UNEVEN * patches).clamp_min(0.2)  # skin is coarser here than there
    return sheet[None, None]


def _octave(count: int, shares: tuple[float, float, float], draw: torch.Generator) -> Tensor:
    """(TILE, TILE) of strength 1: `count` times `count` cells with furrows between them, a pore in each, some deeper
    than others, and unevenness of that size. After Worley, "A cellular texture basis function", SIGGRAPH 1996."""
    corner = torch.arange(count).float()
    points = torch.stack(torch.meshgrid(corner, corner, indexing="ij"), 2)
    points += 1.3 * torch.rand(count, count, 2, generator=draw)  # more than a cell, or rows of them would show
    y, x = ((points * (TILE / count)).long() % TILE).reshape(-1, 2).T
    pits = torch.zeros(TILE, TILE)
    pits[y, x] = 0.2 + torch.rand(count * count, generator=draw) ** 2
    parts = (pits, _furrows(pits > 0, 3 * TILE // count), torch.randn(TILE, TILE, generator=draw))
    mixed = torch.zeros(TILE, TILE)
    for part, share in zip(parts, shares, strict=True):
        mixed += part * (share / part.std())
    return _band(mixed, count)


def _furrows(points: Tensor, margin: int) -> Tensor:
    """(s, s) 1 where another of the points (s, s) bool becomes the nearest; `margin` px reach round the edge."""
    wide = F.pad(points[None, None].float(), (margin,) * 4, mode="circular")[0, 0]
    holes = (1 - wide).to(torch.uint8).numpy()
    _, label = cv2.distanceTransformWithLabels(holes, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = torch.from_numpy(label)[margin : margin + len(points) + 1, margin : margin + len(points) + 1]
    inner = nearest[:-1, :-1]
    return ((inner != nearest[1:, :-1]) | (inner != nearest[:-1, 1:])).float()


def _band(image: Tensor, count: int) -> Tensor:
    """(TILE, TILE), of strength 1: of the image only what is about as large as a `count`-th of it."""
    rate = torch.hypot(torch.fft.fftfreq(TILE)[:, None], torch.fft.rfftfreq(TILE)[None]) * TILE / count
    keep = torch.exp(-0.5 * (torch.log2(rate.clamp_min(1e-6)) / WIDE) ** 2)
    found: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * keep, s=(TILE, TILE))
    return found / found.std()
