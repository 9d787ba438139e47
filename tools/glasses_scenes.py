"""Faces of nobody with drawn glasses on them, and without. For `build_glasses.py`.

Everything happens in the plane of `uv`, in logarithms of colour. A pair of glasses is (5, 192, 192): how much frame
covers, its light in logarithms, where lenses are, the shadow it throws on the skin, and where a rim is only hinted at.
"""

import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from dice import Dice
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from pipeline import uv
from pipeline.appearance import EPS, plain_mask
from pipeline.filters import blur
from pipeline.glasses import BAND, SIZE, inputs

FINE = SIZE * 4  # pixels of what is drawn and then shrunk
UNIT = uv.PIXELS_PER_UNIT * FINE / uv.SIZE
CPU = torch.device("cpu")
Points = list[tuple[float, float]]


def _outline(dice: random.Random) -> tuple[np.ndarray, float, float]:
    """A lens (n, 2) about its middle, for the right half of the picture; half its width and height. In units."""
    w, h = dice.uniform(0.21, 0.36), dice.uniform(0.12, 0.30)
    if dice.random() < 0.2:
        h = w * dice.uniform(0.9, 1.05)  # round ones
    power = dice.choice([2, 2.4, 3, 4, 7])
    t = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    x, y = (np.sign(f(t)) * np.abs(f(t)) ** (2 / power) for f in (np.cos, np.sin))
    taper, lift, droop = dice.uniform(-0.25, 0.1), dice.uniform(-0.15, 0.3), dice.choice([0, dice.uniform(0, 0.3)])
    x = x * (1 - taper * y * (y > 0))
    y = y - lift * x * (y < 0) * 0.5 + droop * x * (y > 0)  # a cat's eye, an aviator's
    return np.stack([x * w, y * h], 1), w, h


class _Layer:
    """One grey picture of FINE pixels."""

    def __init__(self) -> None:
        self.image = Image.new("L", (FINE, FINE))
        self.pen = ImageDraw.Draw(self.image)

    def line(self, points: Points, thick: float) -> None:
        width = max(1, round(thick))
        self.pen.line(points, fill=255, width=width, joint="curve")
        for x, y in (points[0], points[-1]):
            self.pen.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=255)

    def array(self, soft: float = 0) -> np.ndarray:
        image = self.image.filter(ImageFilter.GaussianBlur(soft)) if soft else self.image
        return np.asarray(image, np.float32) / 255


def draw(dice: random.Random) -> np.ndarray:
    """(5, 192, 192) a pair of glasses where the texture has its eyes."""
    where = uv.coordinates(CPU) * FINE / uv.SIZE
    right, left = where[[33, 133]].mean(0).numpy(), where[[263, 362]].mean(0).numpy()
    middle = (right + left) / 2
    outline, w, h = _outline(dice)
    apart = dice.uniform(max(0.30, w + 0.03), max(0.36, w + 0.09))  # from the nose to a lens' middle
    down = dice.uniform(-0.03, 0.12)
    kind = dice.choices(["full", "top", "brow", "none"], [0.62, 0.12, 0.12, 0.14])[0]
    thick = math.exp(dice.uniform(math.log(0.009), math.log(0.07))) * UNIT
    thin = min(thick, dice.uniform(0.008, 0.016) * UNIT)
    frame, lens, hint = _Layer(), _Layer(), _Layer()
    for side in (-1, 1):
        centre = middle + np.array([side * apart, down]) * UNIT
        points: Points = [tuple(p) for p in (outline * [side, 1] * UNIT + centre).tolist()]
        lens.pen.polygon(points, fill=255)
        upper = points[47:] + points[:1]
        if kind == "full":
            frame.line([*points, points[0]], thick)
        elif kind == "none":
            hint.line([*points, points[0]], thin)
        else:
            frame.line(upper, thick if kind == "top" else thick * dice.uniform(1.2, 2))
            (hint if kind == "top" else frame).line([*points, points[0]], thin)
        _arm(dice, frame, centre, side, (w, h), thick if kind != "none" else thin * 1.5)
        if dice.random() < 0.35:  # pads on the nose
            x, y = centre + np.array([-side * (w - 0.01), dice.uniform(0.0, 0.12)]) * UNIT
            frame.line([(x, y), (x - side * 0.02 * UNIT, y + dice.uniform(0.02, 0.06) * UNIT)], thin)
    _bridge(dice, frame, middle, (apart - w, down, h), thick if kind == "full" else max(thin * 1.3, thick * 0.6))
    cover = frame.array(0.7)
    noise = np.random.default_rng(dice.randrange(1 << 30)).normal(size=(dice.choice([5, 9, 16]),) * 2)
    smooth = Image.fromarray(noise.astype(np.float32)).resize((FINE, FINE), Image.Resampling.BICUBIC)
    shine = np.asarray(smooth)
    round_ = np.gradient(frame.array(max(1.0, thick * 0.3)))[0] * dice.uniform(0, 2) * thick * 0.3
    shade = shine * dice.choice([0.05, 0.2, 0.5]) + round_
    shadow = np.roll(frame.array(thick * 0.5 + dice.uniform(2, 14)), int(dice.uniform(0, 0.08) * UNIT), 0)
    parts = np.stack([cover, shade * (cover > 0), lens.array(), shadow, hint.array(0.7)])
    return parts.reshape(5, SIZE, 4, SIZE, 4).mean((2, 4)).astype(np.float16)


def _arm(
    dice: random.Random, frame: _Layer, centre: np.ndarray, side: int, size: tuple[float, float], thick: float
) -> None:
    """From the lens' outer end over the temple to the picture's edge; it leaves the face."""
    if dice.random() < 0.06:
        return
    w, h = size
    y = -h * dice.uniform(0.0, 0.8)
    start, length = np.array([side * w * dice.uniform(0.92, 1.02), y]), dice.uniform(0.04, 0.5)
    bend = start + np.array([side * 0.07, dice.uniform(-0.03, 0.03)])
    ends = [start, bend, bend + np.array([side * length, dice.uniform(-0.06, 0.12) * length / 0.3])]
    frame.line([tuple(p) for p in (np.array(ends) * UNIT + centre).tolist()], thick * dice.uniform(0.7, 1.3))


def _bridge(
    dice: random.Random, frame: _Layer, middle: np.ndarray, size: tuple[float, float, float], thick: float
) -> None:
    gap, down, h = size
    gap = max(gap, 0.02) + 0.03
    for y in [-h * dice.uniform(0.0, 0.7), -h * 0.8][: 2 if dice.random() < 0.15 else 1]:
        arch, t = dice.uniform(-0.01, 0.08), np.linspace(-1, 1, 15)
        points = np.stack([t * gap, down + y - arch * (1 - t**2)], 1)
        frame.line([tuple(p) for p in (points * UNIT + middle).tolist()], thick)


def bank(seed: int, count: int) -> np.ndarray:
    """(N, 5, 192, 192) pairs of glasses."""
    dice = random.Random(seed)
    return np.stack([draw(dice) for _ in range(count)])


class Scenes(Dice):
    """Draws batches. The same arguments give the same scenes."""

    def __init__(
        self, faces: np.ndarray, glasses: np.ndarray, strands: np.ndarray, folds: np.ndarray, seed: int
    ) -> None:
        """`faces` (P, 3, s, s) uint8 without glasses, `glasses` as `bank` draws them; what is no glasses: `strands`
        (N, 3, 192, 192) hair as `object_sprites` draws it, `folds` (N, 1, 192, 192) as `glasses_folds` draws them."""
        super().__init__(SIZE, seed)
        self.faces, self.glasses, self.strands, self.folds = faces, glasses, strands, folds

    def moved(self, image: Tensor, scale: float, turn: float, shift: float, wave: float) -> Tensor:
        """Scaled, turned, shifted and pulled about at random."""
        b = len(image)
        size, angle = 1 + self.normal(b, scale), self.normal(b, turn)
        cos, sin = (torch.cos(angle) / size)[:, 0, 0, 0], (torch.sin(angle) / size)[:, 0, 0, 0]
        aspect = (1 + self.normal(b, scale))[:, 0, 0, 0]
        linear = torch.stack([torch.stack([cos * aspect, -sin], 1), torch.stack([sin, cos], 1)], 1)
        offset = torch.randn(b, 2, 1, generator=self.torch) * shift
        grid = F.affine_grid(torch.cat([linear, offset], 2), [b, 1, SIZE, SIZE], align_corners=False)
        grid = grid + (self.waves(b, 2, 5) * wave).permute(0, 2, 3, 1)
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)

    def worn(self, logs: Tensor, frame: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """Glasses on all of `logs` (b, 3, SIZE, SIZE); what is frame and dark lens (b, 2, SIZE, SIZE). `lens` (b, 1, 1,
        1) how much of the light a lens takes, in logarithms."""
        b, colour = len(logs), self.torch
        cover, shade, inside, shadow, hint = (t.clamp(-3, 3) for t in frame.split(1, 1))
        shadow = shadow * self.flat(b, 0, 0.6) * self.chance(b, 0.7)
        logs = logs - shadow * (1 - inside * self.flat(b, 0, 1))
        logs = logs + hint * self.normal(b, 0.35)
        linear = torch.exp(logs) - EPS
        tint = 1 + self.normal(b, 0.15, 3)
        fade = (1 + self.y * self.flat(b, -1.5, 1.5)).clamp(0.25, 1.5)
        through = torch.exp(-lens * fade.clamp_max(1.2) * tint.clamp_min(0.3))
        mirror = (self.waves(b, 1, 4) * 0.6).clamp_min(0) * self.flat(b, 0, 0.35) * self.chance(b, 0.4)
        linear = torch.lerp(linear, linear * through + mirror + self.flat(b, 0, 0.06) * (lens > 0), inside)
        dark = self.flat(b, 0.0, 0.16) * (1 + self.normal(b, 0.1, 3))
        any_ = torch.rand(b, 3, 1, 1, generator=colour) ** 1.3
        warm = self.flat(b) * torch.tensor([0.0, 0.15, 0.35]).reshape(1, 3, 1, 1)
        metal, pick = self.flat(b, 0.15, 0.8) * (1 - warm), self.flat(b)
        base = torch.where(pick < 0.48, dark, torch.where(pick < 0.8, metal, any_)).clamp(0, 1)
        before = torch.exp(torch.log(base + EPS) + shade * self.flat(b, 0.3, 1.4)) - EPS
        linear = torch.lerp(linear, before, cover * torch.where(self.chance(b, 0.15) > 0, self.flat(b, 0.6, 1), 1.0))
        # Thin rims are less than a pixel wide: what is half of one counts as all.
        told = torch.cat([(2 * cover).clamp_max(1), inside * (1 - cover) * (lens > 1.0)], 1)
        return torch.log(linear.clamp(0, 1.2) + EPS), told

    def aged(self, logs: Tensor) -> Tensor:
        """Faces (b, 3, SIZE, SIZE) with folds, shine and heavy brows, and as sharp as a close photo."""
        b = len(logs)
        fold = torch.from_numpy(self.folds[self.numpy.integers(0, len(self.folds), b)]).float()
        fold = self.moved(fold, 0.05, 0.03, 0.02, 0.01) * self.flat(b, 0.2, 1.2) * self.chance(b, 0.6)
        logs = logs + fold * (1 + self.normal(b, 0.12, 3))
        fine = logs - torch.lerp(blur(logs, 1.5), blur(logs, 5.0), self.flat(b))
        return logs + fine * self.flat(b, 0, 1.5) * self.chance(b, 0.5)

    def batch(self, b: int) -> tuple[Tensor, Tensor]:
        """What the network sees (b, 5, 96, SIZE), and what it should say (b, 2, 96, SIZE)."""
        who = self.numpy.integers(0, len(self.faces), b)
        logs = torch.log(torch.from_numpy(self.faces[who]).float() / 255 + EPS)
        logs = torch.where(self.chance(b, 0.5) > 0, logs.flip(3), logs)
        logs = self.moved(logs, 0.03, 0.03, 0.02, 0.01)
        tone = (logs * plain_mask(SIZE, CPU)).sum((2, 3), keepdim=True) / plain_mask(SIZE, CPU).sum()
        logs = self.aged(tone + self.normal(b, 0.25) + (logs - tone) * self.flat(b, 0.7, 1.3))
        pairs = torch.from_numpy(self.glasses[self.numpy.integers(0, len(self.glasses), b)]).float()
        pairs = self.moved(pairs, 0.05, 0.03, 0.025, 0.008)
        takes = torch.where(self.chance(b, 0.3) > 0, self.flat(b, 1.2, 4), self.flat(b, 0, 0.45) * self.chance(b, 0.5))
        with_, told = self.worn(logs, pairs, takes)
        has = self.chance(b, 0.62)
        logs, told = torch.lerp(logs, with_, has), told * has
        hair = torch.from_numpy(self.strands[self.numpy.integers(0, len(self.strands), b)]).float()
        hair = self.moved(hair, 0.2, 0.3, 0.3, 0.03)[:, :1] * self.chance(b, 0.2)
        logs = torch.lerp(logs, torch.log(self.flat(b) ** 2 * 0.4 * torch.ones(1, 3, 1, 1) + EPS), hair)
        told = told * (1 - hair)
        light = self.x * self.normal(b, 0.2) + self.y * self.normal(b, 0.15) + self.waves(b, 1, 4) * 0.06
        edge = torch.sigmoid((self.waves(b, 1, 3) + self.normal(b, 0.5)) * self.flat(b, 2, 40))
        logs = logs + light - edge * self.flat(b, 0.1, 0.8) * self.chance(b, 0.2) + self.waves(b, 3, 3) * 0.02
        logs = self.filmed(logs)
        return inputs(logs), told[..., BAND[0] : BAND[1], :]

    def filmed(self, logs: Tensor) -> Tensor:
        """As a camera and a codec leave it: coarse, hazy, grey, noisy, sharpened."""
        b, rows = len(logs), []
        share, level, gain = self.flat(b, 0, 0.4) * self.chance(b, 0.4), self.flat(b, 0.2, 0.7), self.flat(b, 0.5, 1.1)
        logs = torch.log((((torch.exp(logs) - EPS) * gain).clamp(0, 1) * (1 - share) + level * share) + EPS)
        logs = torch.lerp(logs, logs.mean(1, keepdim=True).expand_as(logs), self.chance(b, 0.08))
        for row in logs.split(1):
            step = math.exp(float(self.numpy.uniform(-0.5, 1.35)))
            if step > 1.2:
                small = F.interpolate(row, size=(int(SIZE / step),) * 2, mode="area")
                row = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
            elif self.numpy.random() < 0.5:
                row = blur(row, float(self.numpy.uniform(0.4, 1.0)))
            rows.append(row)
        logs = torch.cat(rows)
        logs = logs + (logs - blur(logs, 2.0)) * self.flat(b, 0, 0.8) * self.chance(b, 0.4)
        return logs + torch.randn(logs.shape, generator=self.torch) * self.flat(b, 0, 0.03)
