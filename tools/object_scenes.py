"""Scenes from which a network learns what is before a face: people of nobody, with drawn things before them. For
`build_objects.py`.

Everything happens in the plane of `uv`, in logarithms of colour. The way of making such pictures follows Voo, Jiang and
Loy, "Delving into high-quality synthetic face occlusion segmentation datasets", CVPR workshops 2022.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from dice import Dice
from torch import Tensor

from pipeline.appearance import EPS, face_mask, plain_mask
from pipeline.filters import blur
from pipeline.occlude import SIZE, inputs

CPU = torch.device("cpu")
# Pixels of a sprite, usual size, where its reference point is, how far it is turned, how often it has skin's colour.
KINDS = {
    "hand": (192, 1.3, (0.0, -0.35), 1.3, 0.88),
    "blob": (96, 0.8, (0.0, 0.0), 1.8, 0.45),
    "thing": (192, 1.1, (0.0, 0.0), 0.9, 0.08),
    "strands": (110, 1.0, (0.0, -0.9), 0.25, 0.05),
    "glasses": (96, 1.0, (0.0, 0.0), 0.0, 0.04),
}
SHARES = (("hand", 0.36), ("blob", 0.10), ("thing", 0.12), ("strands", 0.05))  # of scenes; the rest has nothing new
GLASSES, STRANDS = 0.16, 0.08  # of scenes in which the person wears them all the time


class Scenes(Dice):
    """Draws batches. The same arguments give the same scenes."""

    def __init__(self, frames: np.ndarray, unsure: np.ndarray, sprites: dict[str, np.ndarray], seed: int) -> None:
        """`frames` (P, K, 3, s, s) uint8: K looks at each of P people; `unsure` (P, 1, s, s) bool: where hair is."""
        super().__init__(SIZE, seed)
        self.frames, self.unsure, self.sprites = frames, torch.from_numpy(unsure), sprites
        self.plain, self.face = plain_mask(SIZE, CPU), face_mask(SIZE, CPU)

    def colour(self, b: int) -> Tensor:
        return torch.log(self.flat(b, channels=3) ** 1.5 + EPS)

    def looks(self, who: np.ndarray) -> Tensor:
        """(b, 3, s, s) logarithms, one look at each."""
        which = self.numpy.integers(0, self.frames.shape[1], len(who))
        return torch.log(torch.from_numpy(self.frames[who, which]).float() / 255 + EPS)

    def moved(self, image: Tensor, much: Tensor, by: tuple[float, float, float, float]) -> Tensor:
        """As if landmarks lay beside their places: `by` scale, turn, shift and waves, the latter two `much` times."""
        b, (scale, turn, shift, wave) = len(image), by
        size, angle = 1 + self.normal(b, scale), self.normal(b, turn)
        cos, sin = (torch.cos(angle) / size)[:, 0, 0, 0], (torch.sin(angle) / size)[:, 0, 0, 0]
        linear = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
        offset = torch.randn(b, 2, 1, generator=self.torch) * shift * much[:, :, 0]
        grid = F.affine_grid(torch.cat([linear, offset], 2), [b, 1, SIZE, SIZE], align_corners=False)
        grid = grid + (self.waves(b, 2, 5) * wave * much).permute(0, 2, 3, 1)
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)

    def placed(self, kind: str, b: int) -> Tensor:
        """(b, 3, SIZE, SIZE) sprites somewhere over the face."""
        bank = self.sprites[kind]
        sprites = torch.from_numpy(bank[self.numpy.integers(0, len(bank), b)]).float()
        if kind == "glasses":
            return self.moved(sprites, torch.ones(b, 1, 1, 1), (0.05, 0.04, 0.03, 0))
        pixels, usual, centre, turned, _ = KINDS[kind]
        zoom = SIZE / pixels / usual * torch.exp(torch.randn(b, generator=self.torch) * 0.25)
        turn, flip = torch.randn(b, generator=self.torch) * turned, self.chance(b, 0.5).flatten() * 2 - 1
        cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
        angle = torch.rand(b, generator=self.torch) * 2 * math.pi
        radius = torch.rand(b, generator=self.torch) ** 0.7 * 0.75
        at = torch.stack([torch.cos(angle) * radius, torch.sin(angle) * radius + 0.1], 1)
        if kind == "strands":
            at = torch.randn(b, 2, generator=self.torch) * torch.tensor([0.4, 0.15]) - torch.tensor([0, 0.75])
        linear = torch.stack([torch.stack([cos * flip, -sin * flip], 1), torch.stack([sin, cos], 1)], 1)
        offset = torch.tensor(centre) - (linear @ at[:, :, None])[:, :, 0]
        aspect = torch.exp(torch.randn(b, generator=self.torch) * 0.12)
        linear = linear * torch.stack([aspect, 1 / aspect], 1)[:, None]
        grid = F.affine_grid(torch.cat([linear, offset[:, :, None]], 2), [b, 3, SIZE, SIZE], align_corners=False)
        grid = grid + (self.waves(b, 2, 4) * 0.03).permute(0, 2, 3, 1)
        return F.grid_sample(sprites, grid, padding_mode="zeros", align_corners=False)

    def pieces(self, b: int) -> Tensor:
        """(b, 3, SIZE, SIZE) parts of photographs: skin, hair, cloth."""
        image = self.looks(self.numpy.integers(0, len(self.frames), b))
        zoom, angle = self.flat(b, 0.15, 0.65)[:, 0, 0, 0], self.flat(b, 0, 2 * math.pi)[:, 0, 0, 0]
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        linear = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
        offset = torch.rand(b, 2, 1, generator=self.torch) * 1.2 - 0.6
        grid = F.affine_grid(torch.cat([linear, offset], 2), [b, 3, SIZE, SIZE], align_corners=False)
        return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)

    def stuff(self, kind: str, tone: Tensor) -> Tensor:
        """(b, 3, SIZE, SIZE) what things are made of; `tone` (b, 3, 1, 1) is the person's skin."""
        b = len(tone)
        warm = self.normal(b, 0.06) * torch.tensor([1.0, -0.2, -0.5]).reshape(1, 3, 1, 1)
        skin = tone + 0.1 + self.normal(b, 0.25) + self.normal(b, 0.06, 3) + warm
        base = torch.where(self.chance(b, KINDS[kind][4]) > 0, skin, self.colour(b))
        if kind in ("strands", "glasses", "thing"):
            dark = torch.log(self.flat(b) * 0.25 + EPS) + self.normal(b, 0.05, 3)
            base = torch.where(self.chance(b, 0.65) > 0, dark, base)
        base = base.expand(-1, -1, SIZE, SIZE)
        piece = self.pieces(b)
        if kind in ("blob", "thing"):
            other = piece - piece.mean((2, 3), keepdim=True) + skin  # somebody else's skin, in this one's light
            piece = torch.where(self.chance(b, 0.5) > 0, other, piece)
            base = torch.lerp(base, piece, self.chance(b, 0.6))
        if kind == "hand":
            base = base + (piece - blur(piece, 4.0)) * self.flat(b, 0, 0.5)
        slope = self.x * self.normal(b, 0.2) + self.y * self.normal(b, 0.2)
        return base + slope + self.waves(b, 1, 4) * 0.12 + self.waves(b, 3, 4) * 0.03

    def laid(self, logs: Tensor, kind: str, tone: Tensor) -> tuple[Tensor, Tensor]:
        """Things over faces (b, 3, SIZE, SIZE), with their shadows; and how much they cover (b, 1, SIZE, SIZE)."""
        b = len(logs)
        sprite = self.placed(kind, b)
        cover, shade, tint = sprite[:, :1].clamp(0, 1), sprite[:, 1:2], sprite[:, 2:]
        base, second = self.stuff(kind, tone), self.colour(b)
        if kind == "glasses":
            glare = (self.waves(b, 1, 4) * 0.5).clamp_min(0) * self.chance(b, 0.4)
            lens = tint * (1 - cover) * self.chance(b, 0.35) * self.flat(b, 0, 0.8)
            logs = logs + (second * 0.35 + glare) * lens
        else:
            base = torch.lerp(base, second, tint)
        if kind in ("hand", "blob", "thing"):
            cover = self.swept(cover)
            where = tuple(int(v) for v in self.numpy.integers(-6, 7, 2))
            shadow = torch.roll(blur(cover, float(self.numpy.uniform(1.5, 6))), where, (2, 3))
            logs = logs - shadow * self.flat(b, 0, 0.6) * self.chance(b, 0.7)
        before = torch.exp(base + shade * self.flat(b, 0.2, 1.2)) - EPS
        mixed = torch.lerp(torch.exp(logs) - EPS, before, cover)
        return torch.log(mixed.clamp(0, 1.2) + EPS), cover

    def swept(self, cover: Tensor) -> Tensor:
        """As half of the things that move are: blurred along a line."""
        length = int(self.numpy.integers(0, 9)) if self.numpy.random() < 0.5 else 0
        if length < 2:
            return cover
        kernel, angle = torch.zeros(1, 1, length, length), self.numpy.random() * math.pi
        for t in np.linspace(-0.5, 0.5, 4 * length) * (length - 1):
            row, column = (round(length / 2 - 0.5 + t * f(angle)) for f in (math.sin, math.cos))
            kernel[0, 0, row, column] = 1
        before, after = length // 2, (length - 1) // 2
        return F.conv2d(F.pad(cover, (before, after, before, after), mode="replicate"), kernel / kernel.sum())

    def lit(self, logs: Tensor, much: Tensor) -> Tensor:
        """In another light: from a side, through waves, with the edge of a shadow now and then."""
        b = len(logs)
        light = (self.x * self.normal(b, 0.2) + self.y * self.normal(b, 0.15) + self.waves(b, 1, 4) * 0.04) * much
        edge = torch.sigmoid((self.waves(b, 1, 3) + self.normal(b, 0.5)) * self.flat(b, 2, 25))
        light = light - edge * self.flat(b, 0.1, 0.7) * self.chance(b, 0.1) * much
        return logs + light + (self.normal(b, 0.12) + self.normal(b, 0.03, 3)) * much + self.waves(b, 3, 3) * 0.02

    def filmed(self, logs: Tensor, coarse: list[float], haze: tuple[Tensor, Tensor, Tensor], grey: Tensor) -> Tensor:
        """As a camera and a codec leave it. `coarse` pixels of SIZE are one pixel of the film."""
        share, level, gain = haze
        rgb = (torch.exp(logs) - EPS) * gain * (1 - share) + level * share
        logs = torch.log(rgb.clamp(0, 1.1) + EPS)
        logs = torch.lerp(logs, logs.mean(1, keepdim=True).expand_as(logs), grey)
        rows = []
        for row, step in zip(logs.split(1), coarse, strict=True):
            if step > 1.3:
                small = F.interpolate(row, size=(max(12, int(SIZE / step)),) * 2, mode="area")
                row = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
            rows.append(row)
        logs, b = torch.cat(rows), len(logs)
        logs = logs + torch.randn(logs.shape, generator=self.torch) * self.flat(b, 0, 0.035)
        blocks = torch.randn(b, 3, SIZE // 4, SIZE // 4, generator=self.torch)
        return logs + F.interpolate(blocks, scale_factor=4.0, mode="nearest") * self.flat(b, 0, 0.02)

    def tone(self, logs: Tensor) -> Tensor:
        return (logs * self.plain).sum((2, 3), keepdim=True) / self.plain.sum()

    def batch(self, b: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees, what it should say, and where it counts: (b, 8 / 1 / 1, SIZE, SIZE)."""
        who, one = self.numpy.integers(0, len(self.frames), b), torch.ones(b, 1, 1, 1)
        calm = [self.moved(self.looks(who), one * 0.5, (0.012, 0.015, 0.015, 0.008)) for _ in range(3)]
        usual = torch.where(self.chance(b, 0.5) > 0, torch.stack(calm).median(0).values, calm[0])
        now = torch.cat([self.looks(who), self.unsure[who].float()], 1)
        now = self.moved(now, torch.where(self.chance(b, 0.2) > 0, one * 2.5, one), (0.02, 0.03, 0.025, 0.014))
        mirror = self.chance(b, 0.5) > 0
        usual, now = (torch.where(mirror, t.flip(3), t) for t in (usual, now))
        frame, hair, label = now[:, :3], now[:, 3:], torch.zeros(b, 1, SIZE, SIZE)
        frame, usual, label = self._worn(frame, usual, label)
        scene = self.lit(torch.zeros_like(frame), one)
        frame = self.lit(frame + scene, torch.where(self.chance(b, 0.2) > 0, one * 1.4, one * 0.4))
        usual = usual + scene + self.normal(b, 0.05)
        frame, usual, label = self._before(frame, usual, label)
        haze = (self.flat(b, 0, 0.5) * self.chance(b, 0.5), self.flat(b, 0.2, 0.7), self.flat(b, 0.6, 1))
        grey, steps = self.chance(b, 0.06), torch.exp(self.flat(b, -0.3, 1.3)).flatten().tolist()
        frame = self.filmed(frame, steps, haze, grey)
        usual = self.filmed(usual, [s * float(self.numpy.uniform(0.7, 1.2)) for s in steps], haze, grey)
        counts = self.face * ((hair < 0.5) | (label > 0.6)).float()
        return inputs(frame, usual), label, counts

    def _worn(self, frame: Tensor, usual: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is always there is in the reference, too, as a rule."""
        draw = self.flat(len(frame)).flatten()
        for kind, low, high in (("glasses", 0.0, GLASSES), ("strands", GLASSES, GLASSES + STRANDS)):
            rows = torch.where((draw >= low) & (draw < high))[0]
            if not len(rows):
                continue
            tone = self.tone(usual[rows])
            state = self.torch.get_state(), self.numpy.bit_generator.state
            changed, cover = self.laid(frame[rows], kind, tone)
            self.torch.set_state(state[0])
            self.numpy.bit_generator.state = state[1]
            same, _ = self.laid(usual[rows], kind, tone)
            frame = frame.index_copy(0, rows, changed)
            label = label.index_copy(0, rows, torch.maximum(label[rows], cover))
            keep = self.flat(len(rows)).flatten() < 0.85
            usual = usual.index_copy(0, rows[keep], same[keep])
        return frame, usual, label

    def _before(self, frame: Tensor, usual: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What comes before the face now; and, seldom, what was there whenever the reference was taken."""
        draw, tone, low = self.flat(len(frame)).flatten(), self.tone(usual), 0.0
        for kind, share in SHARES:
            rows = torch.where((draw >= low) & (draw < low + share))[0]
            low += share
            for some in (rows, rows[: len(rows) // 3] if kind == "hand" else rows[:0]):  # some have two hands there
                if len(some):
                    changed, cover = self.laid(frame[some], kind, tone[some])
                    frame = frame.index_copy(0, some, changed)
                    label = label.index_copy(0, some, torch.maximum(label[some], cover))
        rows = torch.where(self.flat(len(frame)).flatten() < 0.06)[0]
        if len(rows):
            usual = usual.index_copy(0, rows, self.laid(usual[rows], "hand", tone[rows])[0])
        return frame, usual, label
