"""Identities of nobody: points in a statistical model, drawn by a seed.

A seed is all that goes in. There is no way to give a photo, an embedding or a name: which portraits of people who do
not exist are mixed, and in which shares, comes from HMAC-SHA256 of the job's secret and the number that the person has
in the job, and the model's file is read only when its hash is the pinned one.
"""

import hashlib
import hmac
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import av
import av.error
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.appearance import SKIN, natural, near_mask
from pipeline.errors import ModelError
from pipeline.models import weights

COLOUR = 0.7  # how much colour textures keep beside their brightness: portraits are more colourful than films
LIPS = 1.15  # the same of lips, which on people are redder
DARKEST = ((0.13, 0.28), (0.19, 0.30))  # brows and lids by group, in logarithms against skin; see `natural`
MIXED = 4  # portraits in one identity: with fewer, one of them would show
AMPLIFIED = 0.75  # of the portraits' own spread about their group's mean: more looks like no one could
MOST = 0.5  # logarithms; how far a texture differs from its group's mean anywhere
SHAPED = 1.2  # how much further shapes go than textures: they hold no light and no noise that would grow, too


@dataclass(frozen=True, slots=True)
class Seed:
    """Where an identity's coefficients come from. Its name says which identity it is, and nothing about the secret."""

    key: bytes  # 32 bytes

    @classmethod
    def derive(cls, secret: bytes, person: str, attempt: int = 0) -> "Seed":
        """The seed of a person's `attempt`-th candidate. RFC 2104."""
        return cls(hmac.new(secret, f"veilfarm identity 2|{person}|{attempt}".encode(), hashlib.sha256).digest())

    @property
    def name(self) -> str:
        """16 hex digits."""
        return hashlib.sha256(b"veilfarm seed name|" + self.key).hexdigest()[:16]

    def uniforms(self, count: int) -> list[float]:
        """Numbers in [0, 1), the same on every machine and version."""
        stream = b"".join(
            hmac.new(self.key, i.to_bytes(4, "big"), hashlib.sha256).digest() for i in range(count // 4 + 1)
        )
        return [int.from_bytes(stream[8 * i : 8 * i + 6], "big") / 2**48 for i in range(count)]


@dataclass(frozen=True, slots=True)
class Identity:
    """A face that belongs to nobody."""

    seed: Seed
    shape: Tensor  # (468, 3) at rest, in units of the distance between the eyes' outer corners
    levels: tuple[Tensor, ...]  # (1, 4, s, s) texture and how much of it is laid on; each level half the size before
    grey: tuple[Tensor, ...]  # (1, 2, s, s) the same with the texture's brightness only

    def level(self, scale: float) -> int:
        """Which level is as fine as a face with `scale` pixels per unit can show it."""
        ratio = self.levels[0].shape[-1] / uv.SIZE * uv.PIXELS_PER_UNIT / max(scale, 1.0)
        return min(len(self.levels) - 1, max(0, round(math.log2(ratio))))

    def to(self, device: torch.device) -> "Identity":
        """The same on another device."""
        levels, grey = (tuple(level.to(device) for level in kind) for kind in (self.levels, self.grey))
        return Identity(self.seed, self.shape.to(device), levels, grey)


def brightness(logs: Tensor) -> Tensor:
    """(F, 3, ...) textures to (F, 1, ...): the logarithm of brightness, to first order about a middle skin."""
    share = torch.tensor([0.299, 0.587, 0.114], device=logs.device) * torch.tensor(SKIN, device=logs.device)
    share = (share / share.sum()).reshape(-1, *[1] * (logs.ndim - 2))
    return (logs * share).sum(1, keepdim=True)


@dataclass(frozen=True, eq=False)
class NobodyModel:
    """The statistical model: N portraits of people who do not exist, as textures and shapes without expression, and
    the means of their G groups (those who look female, those who look male). An identity is a mixture of portraits of
    one group, amplified about the group's mean."""

    pictures: tuple[bytes, ...]  # (N + G) textures as WebP
    limits: Tensor  # (N + G,) what full scale of each stands for
    small: tuple[bytes, ...]  # the same, 128 px
    rest: Tensor  # (N + G, 468, 3) shapes
    traits: Tensor  # (N + G, T) see `traits`
    near: tuple[tuple[int, ...], ...]  # for each portrait, those of its group with the most similar traits
    groups: tuple[int, ...]  # (N,) 0 for those who look female, 1 for those who look male
    probes: Tensor  # (1 + 128, T) linear maps from the recogniser's vector of a photo to traits
    portraits: Tensor  # (N, 128) what the recogniser says of the portraits, drawn like identities

    def draw(self, seed: Seed) -> Tensor:
        """(N + G,) the weights that a seed stands for; they sum up to 1. After Newton, Sweeney and Malin, "Preserving
        privacy by de-identifying face images", IEEE TKDE 17(2), 2005: a face of k people is none of theirs."""
        first, *rest = seed.uniforms(2 * MIXED)
        anchor = int(first * len(self.groups))
        chosen, others = [anchor], list(self.near[anchor])
        for u in rest[: MIXED - 1]:
            chosen.append(others.pop(int(u * len(others))))
        shares = torch.tensor([0.25 + 0.75 * u for u in rest[MIXED - 1 :]], dtype=torch.float64)
        shares /= shares.sum()
        # A mean of several is paler than each: the factor gives back what averaging takes of the spread.
        shares *= AMPLIFIED / shares.square().sum().sqrt()
        weights = torch.zeros(len(self.pictures), dtype=torch.float64)
        weights[torch.tensor(chosen)] = shares
        weights[len(self.groups) + self.groups[anchor]] = 1 - shares.sum()
        return weights.float()

    def group(self, drawn: Tensor) -> Tensor:
        """(P,) which group each of the weights (P, N + G) is of."""
        return drawn[:, len(self.groups) :].abs().argmax(1)

    def shapes(self, drawn: Tensor) -> Tensor:
        """(P, 468, 3) from weights (P, N + G)."""
        middle = self.rest[len(self.groups) :][self.group(drawn)]
        return middle + SHAPED * (torch.einsum("pn,nvc->pvc", drawn, self.rest) - middle)

    def textures(self, drawn: Tensor, *, small: bool = False) -> Tensor:
        """(P, 3, s, s) from weights (P, N + G); s is 512, or 128. Memory: one texture besides the result."""
        if small:
            parts = _small(self)
            middle = parts[len(self.groups) + self.group(drawn)]
            return natural(_moderate(torch.einsum("pn,nchw->pchw", drawn, parts), middle), self._darkest(drawn))
        result = torch.zeros(len(drawn), 3, uv.SIZE, uv.SIZE)
        for n in drawn.abs().amax(0).nonzero()[:, 0].tolist():
            part = unpacked(self.pictures[n], self.limits[n])
            for face, weight in zip(result, drawn[:, n].tolist(), strict=True):
                if weight:
                    face.add_(part, alpha=weight)
        for group in sorted(set(self.group(drawn).tolist())):
            n, chosen = len(self.groups) + group, self.group(drawn) == group
            result[chosen] = _moderate(result[chosen], unpacked(self.pictures[n], self.limits[n]))
        return natural(result, self._darkest(drawn))

    def _darkest(self, drawn: Tensor) -> Tensor:
        return torch.tensor(DARKEST)[self.group(drawn)]

    def identities(self, seeds: Sequence[Seed], *, small: bool = False) -> list[Identity]:
        """The identities that the seeds stand for, on the CPU. Small ones are for comparing candidates."""
        if not seeds:
            return []
        drawn = torch.stack([self.draw(s) for s in seeds])
        shapes, textures = self.shapes(drawn), self.textures(drawn, small=small)
        grey = textures.mean(1, keepdim=True)
        lips = near_mask(("lips_outer", "lips_inner"), textures.shape[-1], torch.device("cpu"))
        textures = grey + (COLOUR + (LIPS - COLOUR) * lips) * (textures - grey)
        mask = F.interpolate(uv.blend_mask(torch.device("cpu"))[None, None], size=textures.shape[-1], mode="area")
        whole = torch.cat([textures, mask.expand(len(seeds), -1, -1, -1)], 1)
        return [_identity(s, shape, t[None]) for s, shape, t in zip(seeds, shapes, whole, strict=True)]


def _moderate(textures: Tensor, middle: Tensor) -> Tensor:
    """(P, 3, s, s) with what differs most from their group's mean drawn in: brows and shadows that no face has."""
    return middle + MOST * torch.tanh((textures - middle) / MOST)


@lru_cache(maxsize=1)
def _small(model: NobodyModel) -> Tensor:
    """(N + G, 3, 128, 128) all small textures. Only who compares candidates needs them, and unpacks them once."""
    return torch.stack([unpacked(content, limit) for content, limit in zip(model.small, model.limits, strict=True)])


def unpacked(content: bytes, limit: Tensor) -> Tensor:
    """(3, h, w) a stored texture; `limit` () is what 127 steps from the middle stand for."""
    return (_pixels(content).permute(2, 0, 1).float() - 128) * (limit / 127)


def _pixels(content: bytes) -> Tensor:
    """(H, W, 3) uint8 RGB of a WebP picture."""
    try:
        with av.open(io.BytesIO(content), "r", format="webp_pipe") as container:
            return torch.from_numpy(next(container.decode(video=0)).to_ndarray(format="rgb24"))
    except (av.error.FFmpegError, StopIteration) as error:
        raise ModelError("the model of nobody can't be read", str(error), "install the package again") from error


def _identity(seed: Seed, shape: Tensor, texture: Tensor) -> Identity:
    levels = _levels(texture)
    return Identity(seed, shape, levels, tuple(torch.cat([brightness(t[:, :3]), t[:, 3:]], 1) for t in levels))


def _levels(texture: Tensor) -> tuple[Tensor, ...]:
    levels = [texture]
    while levels[-1].shape[-1] > 16:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return tuple(levels)


@lru_cache(maxsize=1)
def load() -> NobodyModel:
    """The bundled model. Raises ModelError when its file isn't the pinned one."""
    stored = weights.arrays("nobody")
    try:
        large, small = (_cut(stored[k], stored[f"{k}_lengths"]) for k in ("pictures", "small"))
        limits = torch.from_numpy(stored["limits"].astype(np.float32))
        floats = {k: torch.from_numpy(stored[k].astype(np.float32)) for k in ("rest", "traits", "probes", "portraits")}
        near = tuple(tuple(int(n) for n in row) for row in stored["near"])
        groups = tuple(int(n) for n in stored["groups"])
    except KeyError as error:
        raise ModelError(
            "the model of nobody can't be read", f"it has no {error}", "install the package again"
        ) from error
    return NobodyModel(large, limits, small, near=near, groups=groups, **floats)


def _cut(stored: np.ndarray, lengths: np.ndarray) -> tuple[bytes, ...]:
    content, ends = stored.tobytes(), np.cumsum(lengths)
    return tuple(content[e - n : e] for n, e in zip(lengths, ends, strict=True))
