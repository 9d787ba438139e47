"""Seeded numbers and noise of a square picture: of them scenes are drawn. For `object_scenes`, `glasses_scenes`."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Dice:
    """Random tensors for batches of b pictures of `size` pixels. The same seed gives the same ones."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.torch, self.numpy = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        axis = (torch.arange(size) + 0.5) / size * 2 - 1
        self.x, self.y = axis.expand(1, 1, size, size), axis[:, None].expand(1, 1, size, size)

    def flat(self, b: int, low: float = 0, high: float = 1, channels: int = 1) -> Tensor:
        return torch.rand(b, channels, 1, 1, generator=self.torch) * (high - low) + low

    def normal(self, b: int, spread: float, channels: int = 1) -> Tensor:
        return torch.randn(b, channels, 1, 1, generator=self.torch) * spread

    def chance(self, b: int, share: float) -> Tensor:
        return (self.flat(b) < share).float()

    def waves(self, b: int, channels: int, cells: int) -> Tensor:
        """Smooth noise (b, channels, size, size) with a deviation of about 1."""
        noise = torch.randn(b, channels, cells, cells, generator=self.torch)
        return F.interpolate(noise, size=(self.size, self.size), mode="bicubic", align_corners=True)
