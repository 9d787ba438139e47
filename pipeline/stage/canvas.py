"""One frame in the making: planes of Y'CbCr 4:2:0 (BT.709, limited range, 8-bit scale) as float32, and how things are
laid over it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.picture import Box


@dataclass(frozen=True, slots=True)
class Canvas:
    """Width and height are even."""

    luma: Tensor  # (H, W)
    chroma: Tensor  # (2, H / 2, W / 2)

    @property
    def size(self) -> tuple[int, int]:
        """Width, height."""
        return self.luma.shape[1], self.luma.shape[0]

    def clip(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """The part of a box that lies inside, on whole chroma samples."""
        width, height = self.size
        left, top = max(0, int(x0 // 2) * 2), max(0, int(y0 // 2) * 2)
        return left, top, max(left, min(width, int(-(-x1 // 2)) * 2)), max(top, min(height, int(-(-y1 // 2)) * 2))

    def lay(self, box: Box, luma: Tensor, chroma: Tensor, alpha: Tensor) -> None:
        """Lay luma (h, w) and chroma (2, h / 2, w / 2) over the box by alpha (h, w)."""
        x0, y0, x1, y1 = box
        self.luma[y0:y1, x0:x1].lerp_(luma, alpha)
        half = F.avg_pool2d(alpha[None, None], 2)[0]
        self.chroma[:, y0 // 2 : y1 // 2, x0 // 2 : x1 // 2].lerp_(chroma, half)


def to_planes(rgb: Tensor) -> Canvas:
    """A canvas from RGB (3, H, W) in 0..1."""
    red, green, blue = rgb
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    chroma = torch.stack([(blue - luma) / 1.8556, (red - luma) / 1.5748]) * 224 + 128
    return Canvas((luma * 219 + 16).contiguous(), F.avg_pool2d(chroma[None], 2)[0].contiguous())
