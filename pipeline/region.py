"""A rectangle of a picture, which may reach out of it: brightness in full, colours as coarse as they are stored.

Two thirds of an RGB picture are colours that the file never held: video keeps one colour for four pixels. Working on
brightness at every pixel and on colours at every other takes half the time, and loses nothing.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import transfer
from pipeline.picture import Picture, PixelLayout, matrices
from pipeline.primitives import put, shrink


@dataclass(frozen=True, slots=True)
class Region:
    """`x` and `y` are even and may be negative, `width` and `height` multiples of 16; all in px of the picture."""

    picture: Picture
    x: int
    y: int
    width: int
    height: int

    def luma(self) -> Tensor:
        """(height, width) float32 samples of Y; the picture's border is repeated outside of it."""
        return self._read(0)

    def colours(self, step: int) -> Tensor:
        """(3, height / step, width / step) float32 samples of Y, Cb and Cr; `step` is 1 or 2."""
        size = (self.height // step, self.width // step)
        return torch.stack([_fit(self._read(k), size) for k in range(3)])

    def write_luma(self, luma: Tensor, where: Tensor) -> None:
        """Put samples of Y (height, width) into the picture where the mask (height, width) uint8 says so. `luma` is
        used up."""
        self._write(0, luma, where)

    def write_chroma(self, chroma: Tensor, where: Tensor) -> None:
        """The same for samples of Cb and Cr (2, h, w) at any size, and a mask (h, w) of theirs."""
        layout = self.picture.layout
        size = (self.height >> layout.sub_y, self.width >> layout.sub_x)
        if chroma.shape[1:] != size:
            where = (_fit(where.float(), size) > 0).byte()
        for k in (0, 1):
            self._write(k + 1, _fit(chroma[k], size), where)

    def _inside(self, plane: int) -> tuple[int, int, int, int, int, int]:
        """The part of a plane that lies in the region, x0 x1 y0 y1, and where the region begins in it."""
        layout = self.picture.layout
        sx, sy = (layout.sub_x, layout.sub_y) if plane else (0, 0)
        x, y = self.x >> sx, self.y >> sy
        height, width = self.picture.planes[plane].shape
        x0, x1 = max(0, x), min(width, x + (self.width >> sx))
        y0, y1 = max(0, y), min(height, y + (self.height >> sy))
        return x0, max(x0, x1), y0, max(y0, y1), x, y

    def _read(self, plane: int) -> Tensor:
        layout = self.picture.layout
        x0, x1, y0, y1, x, y = self._inside(plane)
        width = self.width >> (layout.sub_x if plane else 0)
        height = self.height >> (layout.sub_y if plane else 0)
        samples = self.picture.planes[plane]
        if x1 == x0 or y1 == y0:
            return torch.zeros(height, width, device=samples.device)
        inside = samples[y0:y1, x0:x1].float()
        pad = (x0 - x, x + width - x1, y0 - y, y + height - y1)
        return F.pad(inside[None, None], pad, mode="replicate")[0, 0] if any(pad) else inside

    def _write(self, plane: int, new: Tensor, where: Tensor) -> None:
        x0, x1, y0, y1, x, y = self._inside(plane)
        part = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
        samples = self.picture.planes[plane][y0:y1, x0:x1]
        put(samples, new[part], where[part], 2**self.picture.layout.depth - 1)


def _fit(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w) at another size: means of whole blocks, or each sample for all its pixels."""
    down, across = max(1, plane.shape[0] // size[0]), max(1, plane.shape[1] // size[1])
    plane = shrink(plane[None, None], down, across)[0, 0]
    if tuple(plane.shape) != size:
        plane = F.interpolate(plane[None, None], size=size, mode="nearest")[0, 0]
    return plane


def black_and_white(layout: PixelLayout) -> tuple[float, float]:
    """The samples of Y that black and white have."""
    _, to_yuv, offset = matrices(layout, torch.device("cpu"))
    black = float(offset[0])
    return black, black + float(to_yuv[0].sum())


def to_rgb(samples: Tensor, layout: PixelLayout) -> Tensor:
    """(F, 3, ...) Y, Cb, Cr to RGB, 0..1 for legal colours. Of an HDR film as an SDR film has them, and beyond 1."""
    matrix, _, offset = matrices(layout, samples.device)
    rgb = torch.matmul(matrix, samples.flatten(2)).sub_((matrix @ offset)[:, None])
    if layout.transfer != "sdr":
        rgb = transfer.colours(rgb, layout.transfer, layout.wide)
    return rgb.reshape(samples.shape)


def to_chroma(rgb: Tensor, layout: PixelLayout) -> Tensor:
    """(F, 3, ...) RGB to samples of Cb and Cr (F, 2, ...)."""
    _, to_yuv, offset = matrices(layout, rgb.device)
    flat = rgb.flatten(2)
    if layout.transfer != "sdr":
        flat = transfer.signals(flat, layout.transfer, layout.wide)
    chroma = torch.matmul(to_yuv[1:], flat).add_(offset[1:, None])
    return chroma.reshape(len(rgb), 2, *rgb.shape[2:])


def shown(luma: Tensor, layout: PixelLayout) -> Tensor:
    """Samples of Y as an SDR film has them, of the same black and white; the very same ones of an SDR film. Beyond
    white lies what is brighter than SDR knows."""
    if layout.transfer == "sdr":
        return luma
    black, white = black_and_white(layout)
    signal = (luma - black).div_(white - black)
    return transfer.shown(signal, layout.transfer).mul_(white - black).add_(black)


def stored(luma: Tensor, layout: PixelLayout) -> Tensor:
    """The way back from `shown`."""
    if layout.transfer == "sdr":
        return luma
    black, white = black_and_white(layout)
    value = (luma - black).div_(white - black)
    return transfer.stored(value, layout.transfer).mul_(white - black).add_(black)
