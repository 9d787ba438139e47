"""Identities of nobody: points in a statistical model, drawn by a seed.

A seed is all that goes in. There is no way to give a photo, an embedding or a name: coefficients come from
HMAC-SHA256 of the job's secret and the number that the person has in the job, and the model's file is read only when
its hash is the pinned one.
"""

import hashlib
import hmac
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import av
import av.error
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import uv
from pipeline.appearance import SKIN, SMALL
from pipeline.errors import ModelError
from pipeline.models import weights

COLOUR = 0.7  # how much colour textures keep beside their brightness: portraits are more colourful than films
CLIP = 2.0  # standard deviations at which coefficients end: beyond lie faces that look like no one could


@dataclass(frozen=True, slots=True)
class Seed:
    """Where an identity's coefficients come from. Its name says which identity it is, and nothing about the secret."""

    key: bytes  # 32 bytes

    @classmethod
    def derive(cls, secret: bytes, person: str, attempt: int = 0) -> "Seed":
        """The seed of a person's `attempt`-th candidate. RFC 2104."""
        return cls(hmac.new(secret, f"veilfarm identity 1|{person}|{attempt}".encode(), hashlib.sha256).digest())

    @property
    def name(self) -> str:
        """16 hex digits."""
        return hashlib.sha256(b"veilfarm seed name|" + self.key).hexdigest()[:16]

    def normals(self, count: int) -> Tensor:
        """(count,) float32 from a normal distribution cut off at CLIP; the same on every machine and version."""
        lo, hi = NormalDist().cdf(-CLIP), NormalDist().cdf(CLIP)
        stream = b"".join(
            hmac.new(self.key, i.to_bytes(4, "big"), hashlib.sha256).digest() for i in range(count // 4 + 1)
        )
        uniform = np.frombuffer(stream[: count * 8], ">u8").astype(np.float64) / 2**64
        return torch.tensor([NormalDist().inv_cdf(lo + (hi - lo) * float(u)) for u in uniform], dtype=torch.float32)


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
    """The statistical model. Textures are drawn by adding components one after the other, so that only one of them is
    in memory at a time."""

    pictures: tuple[bytes, ...]  # mean and components as WebP
    limits: Tensor  # (1 + K,) what full scale of each picture stands for
    shape_mean: Tensor  # (468, 3)
    shape_basis: Tensor  # (S, 468, 3) one standard deviation each
    female: Tensor  # (K + S,) apparent sex as a dot product with all coefficients; above 0 looks female
    portraits: Tensor  # (N, 128) what the recogniser says of the portraits that the model was made of

    @property
    def sizes(self) -> tuple[int, int]:
        """How many coefficients a texture has, and a shape."""
        return len(self.pictures) - 1, len(self.shape_basis)

    def draw(self, seed: Seed) -> Tensor:
        """(K + S,) the coefficients that a seed stands for."""
        return seed.normals(sum(self.sizes))

    def components(self) -> Iterator[Tensor]:
        """Mean, then components, each (3, 512, 512) and scaled to one standard deviation."""
        for content, limit in zip(self.pictures, self.limits, strict=True):
            yield (_pixels(content).permute(2, 0, 1).float() - 128) * (limit / 127)

    def small_components(self) -> Tensor:
        """(1 + K, 3, 128, 128) all of them, shrunk. Kept by the process: candidates are drawn from it."""
        return _small(self)

    def shapes(self, coefficients: Tensor) -> Tensor:
        """(P, 468, 3) from (P, K + S)."""
        return self.shape_mean + torch.einsum("ps,svc->pvc", coefficients[:, self.sizes[0] :], self.shape_basis)

    def textures(self, coefficients: Tensor, *, small: bool = False) -> Tensor:
        """(P, 3, s, s) from (P, K + S); s is 512, or 128."""
        k = self.sizes[0]
        if small:
            parts = _small(self)
            return parts[0] + torch.einsum("pk,kchw->pchw", coefficients[:, :k], parts[1:])
        result = torch.zeros(len(coefficients), 3, uv.SIZE, uv.SIZE)
        for i, part in enumerate(self.components()):
            result += part if i == 0 else coefficients[:, i - 1, None, None, None] * part
        return result

    def identities(self, seeds: Sequence[Seed], *, small: bool = False) -> list[Identity]:
        """The identities that the seeds stand for, on the CPU. Small ones are for comparing candidates."""
        if not seeds:
            return []
        drawn = torch.stack([self.draw(s) for s in seeds])
        shapes, textures = self.shapes(drawn), self.textures(drawn, small=small)
        grey = textures.mean(1, keepdim=True)
        textures = grey + COLOUR * (textures - grey)
        mask = F.interpolate(uv.blend_mask(torch.device("cpu"))[None, None], size=textures.shape[-1], mode="area")
        whole = torch.cat([textures, mask.expand(len(seeds), -1, -1, -1)], 1)
        return [_identity(s, shape, t[None]) for s, shape, t in zip(seeds, shapes, whole, strict=True)]


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
def _small(model: NobodyModel) -> Tensor:
    return torch.stack([F.interpolate(c[None], size=SMALL, mode="area")[0] for c in model.components()])


@lru_cache(maxsize=1)
def load() -> NobodyModel:
    """The bundled model. Raises ModelError when its file isn't the pinned one."""
    stored = weights.arrays("nobody")
    try:
        ends = np.cumsum(stored["lengths"])
        content = stored["pictures"].tobytes()
        pictures = tuple(content[e - n : e] for n, e in zip(stored["lengths"], ends, strict=True))
        floats = {k: torch.from_numpy(stored[k].astype(np.float32)) for k in ("limits", "shape_mean", "shape_basis")}
        others = {k: torch.from_numpy(stored[k].astype(np.float32)) for k in ("female", "portraits")}
    except KeyError as error:
        raise ModelError(
            "the model of nobody can't be read", f"it has no {error}", "install the package again"
        ) from error
    return NobodyModel(pictures, **floats, **others)
