"""What sharp photos show around bare eyes and must not be taken for glasses. For `build_glasses.py`.

Folds of lids, bags, lines, the sides of the nose, brows that are heavy or meet, and shine on bones.
"""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from pipeline import uv
from pipeline.glasses import SIZE

FINE = SIZE * 2  # pixels of what is drawn and then shrunk
UNIT = uv.PIXELS_PER_UNIT * FINE / uv.SIZE
CPU = torch.device("cpu")
Lines = list[np.ndarray]  # each (n, 2), for the right half of the picture, about the middle between the eyes, in units


def _arc(dice: random.Random, x: float, y: float, wide: float, high: float) -> np.ndarray:
    """An arc about an eye's middle; `high` is how far its middle is from its ends, upwards."""
    t = np.linspace(dice.uniform(-1, -0.6), dice.uniform(0.6, 1), 15)
    return np.stack([x + t * wide, y - high * (1 - t**2)], 1)


def _line(dice: random.Random, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    bend, t = dice.uniform(-0.02, 0.02), np.linspace(0, 1, 9)[:, None]
    return np.asarray((1 - t) * start + t * end + bend * np.sin(math.pi * t))


def _dark(dice: random.Random, eye: tuple[float, float]) -> list[tuple[Lines, float]]:
    """Groups of lines, and how thick each group is, in units."""
    x, y = eye
    d, groups = dice.uniform, list[tuple[Lines, float]]()
    if dice.random() < 0.5:  # folds of the lid
        groups.append(([_arc(dice, x, y - d(0.02, 0.1), d(0.16, 0.28), d(0.03, 0.1))], d(0.006, 0.03)))
    if dice.random() < 0.6:  # bags
        low = [_arc(dice, x + d(-0.05, 0.05), y + d(0.04, 0.2), d(0.12, 0.28), -d(0.03, 0.12)) for _ in range(3)]
        groups.append((low[: dice.randint(1, 3)], d(0.006, 0.03)))
    if dice.random() < 0.4:  # a frown, between the brows
        lines = [_line(dice, (d(0.01, 0.1), y - d(0.1, 0.35)), (d(0.01, 0.08), y - d(-0.1, 0.1))) for _ in range(2)]
        groups.append((lines[: dice.randint(1, 2)], d(0.006, 0.025)))
    if dice.random() < 0.5:  # over the root of the nose
        heights = [y + d(-0.15, 0.15) for _ in range(3)]
        lines = [_line(dice, (-0.02, h), (d(0.04, 0.12), h + d(-0.04, 0.04))) for h in heights]
        groups.append((lines[: dice.randint(1, 3)], d(0.006, 0.02)))
    if dice.random() < 0.6:  # the sides of the nose
        groups.append(([_line(dice, (d(0.06, 0.14), y - d(0, 0.2)), (d(0.05, 0.16), y + d(0.1, 0.4)))], d(0.01, 0.05)))
    if dice.random() < 0.4:  # beside the eye
        feet = [_line(dice, (x + d(0.2, 0.25), y), (x + d(0.3, 0.5), y + d(-0.15, 0.15))) for _ in range(4)]
        groups.append((feet[: dice.randint(1, 4)], d(0.006, 0.015)))
    if dice.random() < 0.4:  # brows, which may meet
        inner, high = dice.choice([d(-0.02, 0.03), d(0.05, 0.15)]), y - d(0.14, 0.24)
        t = np.linspace(0, 1, 15)
        brow = np.stack([inner + t * d(0.35, 0.5), high - d(0.02, 0.12) * np.sin(math.pi * t**1.3)], 1)
        groups.append(([brow], d(0.02, 0.07)))
    return groups


def _shining(dice: random.Random, eye: tuple[float, float]) -> list[tuple[Lines, float]]:
    x, y = eye
    d, groups = dice.uniform, list[tuple[Lines, float]]()
    if dice.random() < 0.5:  # on the nose, ...
        groups.append(([_line(dice, (d(0, 0.04), y - d(-0.05, 0.15)), (d(0, 0.04), y + d(0.1, 0.4)))], d(0.015, 0.06)))
    if dice.random() < 0.4:  # ... over and under the brows, ...
        groups.append(([_arc(dice, x, y - d(0.08, 0.3), d(0.1, 0.25), d(0.0, 0.08))], d(0.01, 0.05)))
    if dice.random() < 0.4:  # ... between them, ...
        high = y - d(0.05, 0.3)
        groups.append(([_line(dice, (-0.02, high), (d(0.02, 0.2), high + d(-0.05, 0.05)))], d(0.02, 0.08)))
    if dice.random() < 0.4:  # ... and on the cheekbones
        groups.append(([_arc(dice, x + d(0, 0.15), y + d(0.12, 0.3), d(0.08, 0.2), d(-0.08, 0.02))], d(0.01, 0.08)))
    return groups


def _drawn(dice: random.Random, lines: Lines, thick: float, middle: np.ndarray) -> np.ndarray:
    """(FINE, FINE) both halves, which differ a little; one may lack the group."""
    image = Image.new("L", (FINE, FINE))
    pen, only = ImageDraw.Draw(image), dice.choice([0, 0, 0, 0, 0, 0, -1, 1])
    for side in (-1, 1):
        for line in lines if only != side else []:
            moved = line * [side * dice.gauss(1, 0.03), 1] + [0, dice.gauss(0, 0.01)]
            points = [tuple(p) for p in (moved * UNIT + middle).tolist()]
            pen.line(points, fill=255, width=max(1, round(thick * UNIT)), joint="curve")
    soft = image.filter(ImageFilter.GaussianBlur(max(0.5, thick * UNIT * dice.uniform(0.2, 0.8))))
    grey = np.asarray(soft, np.float32) / 255
    return grey / max(0.2, float(grey.max()))


def draw(dice: random.Random) -> np.ndarray:
    """(1, SIZE, SIZE) what is added to a face, in logarithms."""
    where = uv.coordinates(CPU) * FINE / uv.SIZE
    right, left = where[[33, 133]].mean(0).numpy(), where[[263, 362]].mean(0).numpy()
    middle, result = (right + left) / 2, np.zeros((FINE, FINE), np.float32)
    eye = (float(left[0] - right[0]) / 2 / UNIT, 0.0)
    for lines, thick in _dark(dice, eye):
        deep = _drawn(dice, lines, thick, middle)
        if dice.random() < 0.4:  # the lit edge of a fold
            deep = deep - dice.uniform(0.2, 0.8) * np.roll(deep, max(1, round(thick * UNIT)), 0)
        result -= deep * math.exp(dice.uniform(math.log(0.1), math.log(0.9)))
    for lines, thick in _shining(dice, eye):
        result += _drawn(dice, lines, thick, middle) * math.exp(dice.uniform(math.log(0.1), math.log(0.8)))
    return result.reshape(1, SIZE, 2, SIZE, 2).mean((2, 4)).clip(-1.5, 1.2).astype(np.float16)


def bank(seed: int, count: int) -> np.ndarray:
    """(N, 1, SIZE, SIZE)."""
    dice = random.Random(seed)
    return np.stack([draw(dice) for _ in range(count)])
