"""Drawn things that get before faces: hands, microphones, cups, cards, hair, glasses. For `build_objects.py`.

A sprite is (3, 192, 192): how much it covers, its light in logarithms, and how much of a second colour it has.
"""

import math
import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from pipeline import uv

SIZE, FINE = 192, 384  # pixels of a sprite, and of what is drawn and then halved
PALM = 42.0 * FINE / SIZE  # width of a palm as it is drawn
Point = tuple[float, float]
Light = tuple[float, float, float, float]  # direction, strength, darkness of the rim


class Sprite:
    """Parts drawn one over the other, each round and lit from one side."""

    def __init__(self) -> None:
        self.alpha, self.shade, self.tint = (np.zeros((FINE, FINE), np.float32) for _ in range(3))

    def part(
        self, mask: Image.Image, soft: float, light: Light, contact: float = 0, shift: float = 0, tint: float = 0
    ) -> None:
        """Lay a part over the others. `soft` px of its roundness, `contact` darkens what is under its edge."""
        m, height = _array(mask), _array(mask.filter(ImageFilter.GaussianBlur(soft)))
        if contact:
            self.shade -= contact * _array(mask.filter(ImageFilter.GaussianBlur(soft * 0.5)))
        down, across = np.gradient(height)
        lit = light[2] * (across * light[0] + down * light[1]) * soft * 1.2
        lit += shift - light[3] * (1 - height.clip(0.5, 1)) * 2
        self.shade += (lit - self.shade) * m
        self.tint += (tint - self.tint) * m
        self.alpha = np.maximum(self.alpha, m)

    def packed(self) -> np.ndarray:
        parts = np.stack([self.alpha, self.shade, self.tint])
        return parts.reshape(3, SIZE, 2, SIZE, 2).mean((2, 4)).astype(np.float16)


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32) / 255


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (FINE, FINE))
    return image, ImageDraw.Draw(image)


def _light(dice: random.Random, low: float, high: float, rim: float) -> Light:
    angle = dice.uniform(0, 2 * math.pi)
    return math.cos(angle), math.sin(angle), dice.uniform(low, high), dice.uniform(0, rim)


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, across: float, down: float) -> None:
    pen.ellipse([x - across, y - down, x + across, y + down], fill=255)


def _capsules(points: list[Point], radii: list[float]) -> Image.Image:
    """A chain of rods with round ends."""
    image, pen = _canvas()
    for a, b, ra, rb in zip(points, points[1:], radii, radii[1:], strict=False):
        count = max(2, int(math.dist(a, b) / 3))
        for i in range(count + 1):
            t = i / count
            r = ra + (rb - ra) * t
            _disc(pen, a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, r, r)
    return image.filter(ImageFilter.GaussianBlur(0.8))


def hand(dice: random.Random) -> np.ndarray:
    """A hand with its forearm, fingers up, in one of many gestures."""
    sprite, light = Sprite(), _light(dice, 0.1, 0.9, 0.5)
    squash = dice.choice([1, 1, dice.uniform(0.55, 1)])

    def at(x: float, y: float) -> Point:
        return FINE * 0.5 + x * PALM * squash, FINE * 0.42 + y * PALM

    wrist, tilt = dice.uniform(0.28, 0.36), dice.uniform(-0.4, 0.4)
    arm = [wrist * PALM, wrist * PALM, (wrist + 0.12) * PALM]
    sprite.part(_capsules([at(0, 0.45), at(tilt * 0.5, 1.3), at(tilt, 3.2)], arm), 0.2 * PALM, light)
    if dice.random() < 0.4:
        ends = [at(tilt * 0.5, dice.uniform(0.9, 1.6)), at(tilt, 3.4)]
        sleeve = _capsules(ends, [(wrist + 0.14) * PALM, (wrist + 0.25) * PALM])
        sprite.part(sleeve, 0.15 * PALM, light, 0.1, dice.uniform(-0.3, 0.3), 1)
    image, pen = _canvas()
    outline = [(-0.5, -0.45), (-0.2, -0.58), (0.2, -0.56), (0.5, -0.38), (0.42, 0.5), (-0.38, 0.5)]
    pen.polygon([at(x, y) for x, y in outline], fill=255)
    image = image.filter(ImageFilter.GaussianBlur(0.12 * PALM)).point(lambda v: 255 if v > 128 else 0)
    sprite.part(image.filter(ImageFilter.GaussianBlur(1)), 0.18 * PALM, light, 0.1)
    gesture, spread = dice.choice(["open", "open", "fist", "folded", "folded", "point", "mixed"]), dice.uniform(0, 22)
    nails = dice.random() < 0.3
    for finger in dice.sample(range(4), 4):
        _finger(sprite, dice, light, at, finger, gesture, spread, nails)
    if dice.random() < 0.8:
        side, out = dice.choice([-1, 1]), dice.uniform(-0.25, 0.35)
        tip = at(side * (0.6 + out), -0.45 * dice.uniform(0.3, 1.1))
        thumb = _capsules(
            [at(side * 0.3, 0.3), at(side * (0.55 + out * 0.4), -0.05), tip], [k * PALM for k in (0.2, 0.17, 0.13)]
        )
        sprite.part(thumb, 0.08 * PALM, light, dice.uniform(0.1, 0.4))
    return sprite.packed()


def _finger(
    sprite: Sprite, dice: random.Random, light: Light, at: Callable[[float, float], Point],
    number: int, gesture: str, spread: float, nails: bool,
) -> None:  # fmt: skip
    ranges = {"open": (0.8, 1), "fist": (0.25, 0.45), "point": (0.25, 0.4), "mixed": (0.2, 1), "folded": (0.5, 0.7)}
    curl = 1.0 if gesture == "point" and number == 0 else dice.uniform(*ranges[gesture])
    length = (0.88, 1.0, 0.92, 0.72)[number] * curl * dice.uniform(0.9, 1.1)
    radius = (0.14, 0.145, 0.135, 0.115)[number] * PALM * dice.uniform(0.9, 1.12)
    angle = math.radians((number - 1.5) * spread * 0.6 + dice.uniform(-6, 6))
    bend = math.radians(dice.uniform(-12, 12))
    if gesture == "folded":  # the fingers lie on the palm
        angle, bend, radius = math.pi + angle * 0.3, bend * 0.3, radius * 1.1
    x, y = -0.38 + 0.25 * number, (-0.42, -0.52, -0.5, -0.4)[number]
    joints = [at(x, y + 0.15)]
    for share in (0.45, 0.3, 0.25):
        x, y = x + math.sin(angle) * length * share, y - math.cos(angle) * length * share
        angle += bend
        joints.append(at(x, y))
    rods = _capsules(joints, [radius * k for k in (1.05, 1, 0.95, 0.85)])
    sprite.part(rods, 0.07 * PALM, light, dice.uniform(0.1, 0.5), dice.uniform(-0.08, 0.08))
    if nails:
        image, pen = _canvas()
        _disc(pen, *joints[-1], radius * 0.55, radius * 0.7)
        sprite.part(image, 0.04 * PALM, light, 0, 0.15, 0.5)
    for px, py in joints[1:3]:
        if dice.random() < 0.6:
            image, pen = _canvas()
            pen.line([px - radius * 0.7, py, px + radius * 0.7, py], fill=255, width=max(2, int(0.02 * PALM)))
            crease = _array(image.filter(ImageFilter.GaussianBlur(1.5)))
            sprite.shade -= crease * dice.uniform(0.05, 0.3) * sprite.alpha


def blob(dice: random.Random) -> np.ndarray:
    """Something of any shape."""
    sprite, draw, cells = Sprite(), np.random.default_rng(dice.randrange(1 << 30)), dice.choice([3, 4, 6, 9])
    noise = Image.fromarray(draw.normal(size=(cells, cells)).astype(np.float32))
    y, x = np.mgrid[:FINE, :FINE] / FINE * 2 - 1
    field = np.asarray(noise.resize((FINE, FINE), Image.Resampling.BICUBIC)) + 1.2 - 2.2 * np.hypot(x, y)
    image = Image.fromarray(((field > 0) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(dice.choice([1, 3])))
    sprite.part(image, dice.uniform(5, 30), _light(dice, 0, 0.9, 0.4))
    return sprite.packed()


def thing(dice: random.Random) -> np.ndarray:
    """A microphone, a cup, a card, a stick, a ball; its upper end in the middle."""
    sprite, light, c = Sprite(), _light(dice, 0.1, 1.2, 0.5), FINE / 2
    kind, w = dice.choice(["microphone", "microphone", "cup", "card", "stick", "ball"]), dice.uniform(0.25, 0.9) * PALM
    image, pen = _canvas()
    if kind in ("microphone", "stick"):
        r = (dice.uniform(0.07, 0.18) if kind == "microphone" else dice.uniform(0.03, 0.14)) * PALM
        end = (c + dice.uniform(-0.2, 0.2) * PALM, FINE * 1.1)
        sprite.part(_capsules([(c, c), end], [r, r * dice.uniform(0.6, 1)]), max(2, r * 0.5), light)
    if kind == "microphone":
        r = dice.uniform(0.12, 0.3) * PALM
        _disc(pen, c, c, r, r * dice.uniform(0.9, 1.3))
        sprite.part(image, r * 0.5, light, tint=1)
        grain = np.random.default_rng(dice.randrange(1 << 30)).normal(size=sprite.shade.shape)
        sprite.shade += (grain * sprite.tint * dice.uniform(0, 0.4)).astype(np.float32)
    elif kind == "cup":
        h, k = w * dice.uniform(1.4, 2.4), dice.uniform(0.7, 1)
        pen.polygon([(c - w, c), (c + w, c), (c + w * k, c + h), (c - w * k, c + h)], fill=255)
        _disc(pen, c, c, w, w * 0.25)
        sprite.part(image, w * 0.4, light)
    elif kind == "card":
        h = w * dice.uniform(1, 2)
        pen.rounded_rectangle([c - w, c - h, c + w, c + h], radius=dice.uniform(0, 0.2) * w, fill=255)
        sprite.part(image, 6, light)
        if dice.random() < 0.6:
            image, pen = _canvas()
            pen.rectangle([c - w * 0.8, c - h * 0.8, c + w * 0.8, c + h * 0.8], fill=255)
            sprite.part(image, 4, light, 0, dice.uniform(-0.5, 0.5), 1)
    elif kind == "ball":
        _disc(pen, c, c, w, w)
        sprite.part(image, w * 0.6, light)
    return sprite.packed()


def strands(dice: random.Random) -> np.ndarray:
    """Hair that falls in from above: a few strands, or many."""
    sprite, (image, pen) = Sprite(), _canvas()
    shade = Image.new("L", (FINE, FINE), 128)
    lines, count = ImageDraw.Draw(shade), dice.choice([3, 8, 25, 60])
    start, width, reach = dice.uniform(0.2, 0.8) * FINE, dice.uniform(0.05, 0.4) * FINE, dice.uniform(0.3, 0.9) * FINE
    lean, curl = dice.uniform(-0.6, 0.6), dice.uniform(-0.5, 0.5)
    for _ in range(count):
        x, length, k = start + dice.gauss(0, 0.5) * width, reach * dice.uniform(0.6, 1.1), lean + dice.gauss(0, 0.1)
        way = [(x + (k * t + curl * t * t) * length, t * length - 10) for t in np.linspace(0, 1, 12).tolist()]
        thick = dice.choice([2, 3, 5, 9])
        pen.line(way, fill=255, width=thick)
        lines.line(way, fill=int(np.clip(dice.gauss(128, 30), 0, 255)), width=thick)
    sprite.alpha = _array(image.filter(ImageFilter.GaussianBlur(1)))
    sprite.shade = (np.asarray(shade, np.float32) / 128 - 1) * dice.uniform(0.2, 0.9) * (sprite.alpha > 0)
    return sprite.packed()


def glasses(dice: random.Random) -> np.ndarray:
    """Frames where the texture has its eyes; the second colour is where the lenses are."""
    sprite, (image, pen), (lenses, fill) = Sprite(), _canvas(), _canvas()
    where = uv.coordinates(torch.device("cpu")) * FINE / uv.SIZE
    (rx, ry), (lx, ly) = where[[33, 133]].mean(0).tolist(), where[[263, 362]].mean(0).tolist()
    u = float((where[33] - where[263]).norm())
    w, h, drop = dice.uniform(0.26, 0.36) * u, dice.uniform(0.16, 0.3) * u, dice.uniform(-0.02, 0.1) * u
    thick, kind = max(2, int(dice.choice([0.012, 0.02, 0.035, 0.06]) * u)), dice.random()
    for x, y in ((rx, ry + drop), (lx, ly + drop)):
        box, corner = [x - w, y - h, x + w, y + h], dice.choice([0.2, 0.5, 0.8]) * h
        if kind < 0.4:
            pen.ellipse(box, outline=255, width=thick)
            fill.ellipse(box, fill=255)
        else:
            pen.rounded_rectangle(box, radius=corner, outline=255, width=thick)
            fill.rounded_rectangle(box, radius=corner, fill=255)
    if dice.random() < 0.15:
        pen.rectangle([0, ry + drop, FINE, FINE], fill=0)
    bridge = ry + drop - dice.uniform(0, 0.5) * h
    pen.line([(rx + w, bridge), ((rx + lx) / 2, bridge - 0.02 * u), (lx - w, bridge)], fill=255, width=thick)
    if dice.random() < 0.9:
        for x, side in ((rx, -1), (lx, 1)):
            ends = [(x + side * w, ry + drop - 0.3 * h), (x + side * (w + 0.4 * u), ry + drop - 0.4 * h)]
            pen.line(ends, fill=255, width=thick)
    sprite.part(image, max(1.5, thick * 0.4), (0.5, -0.7, dice.uniform(0, 1), 0))
    sprite.tint = _array(lenses)
    return sprite.packed()


COUNTS = {hand: 800, blob: 200, thing: 200, strands: 120, glasses: 200}


def bank(seed: int) -> dict[str, np.ndarray]:
    """(N, 3, 192, 192) sprites by kind."""
    dice = random.Random(seed)
    return {kind.__name__: np.stack([kind(dice) for _ in range(count)]) for kind, count in COUNTS.items()}
