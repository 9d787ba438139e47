"""A decoded frame as planes of numbers on a device, and the way between its colours and RGB.

Faces are read and written where they are: only their region ever becomes RGB, so every pixel outside stays bit for bit
what the decoder gave. Samples are kept in the file's own depth.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.transfer import Transfer

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the luma plane; half-open."""

# Luma weights of red and blue. ITU-R BT.601, BT.709, BT.2020 (non-constant luminance).
_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How planes hold a picture. Planar Y'CbCr only; anything else is converted on decoding."""

    width: int
    height: int
    depth: int  # bits per sample: 8, 10 or 12
    sub_x: int  # log2 of the horizontal chroma subsampling: 0 or 1
    sub_y: int  # log2 of the vertical one
    matrix: str  # "bt601", "bt709" or "bt2020"
    full_range: bool
    rotation: int = 0  # degrees clockwise, 0/90/180/270, that a player turns the picture by to show it upright
    transfer: Transfer = "sdr"  # what signals mean: see `transfer`

    @property
    def av_name(self) -> str:
        """FFmpeg's name of the pixel format that holds this layout."""
        chroma = {(1, 1): "420", (1, 0): "422", (0, 0): "444"}[self.sub_x, self.sub_y]
        return f"yuv{chroma}p" + ("" if self.depth == 8 else f"{self.depth}le")

    @property
    def wide(self) -> bool:
        """Whether it is an HDR film with the primaries of BT.2020."""
        return self.transfer != "sdr" and self.matrix == "bt2020"


@dataclass(slots=True)
class Picture:
    """One frame. `planes` are written in place by the renderer."""

    number: int  # which frame of the film, from 0, in presentation order
    pts: int  # in the stream's time base
    planes: tuple[Tensor, Tensor, Tensor]  # Y (H, W), Cb (h, w), Cr (h, w); uint8 at 8 bits, int16 above
    layout: PixelLayout
    damaged: bool = False  # the decoder had to conceal a part of it
    frame: object = None  # the decoder's own: what else it carries (captions) reaches the encoder with it


@lru_cache(maxsize=32)
def _matrices(matrix: str, full_range: bool, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    """(to_rgb (3, 3), to_yuv (3, 3), offset (3,)): RGB in 0..1 = to_rgb @ (samples - offset)."""
    kr, kb = _WEIGHTS[matrix]
    kg = 1 - kr - kb
    rgb_to_ycc = torch.tensor(
        [
            [kr, kg, kb],
            [-kr / (2 * (1 - kb)), -kg / (2 * (1 - kb)), 0.5],
            [0.5, -kg / (2 * (1 - kr)), -kb / (2 * (1 - kr))],
        ],
        dtype=torch.float64,
    )
    top, unit = 2**depth - 1, 2 ** (depth - 8)
    luma, chroma, black = (top, top, 0) if full_range else (219 * unit, 224 * unit, 16 * unit)
    to_yuv = torch.diag(torch.tensor([luma, chroma, chroma], dtype=torch.float64)) @ rgb_to_ycc
    offset = torch.tensor([black, 128 * unit, 128 * unit], dtype=torch.float64)
    return torch.linalg.inv(to_yuv).float(), to_yuv.float(), offset.float()


def matrices(layout: PixelLayout, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(to_rgb (3, 3), to_yuv (3, 3), offset (3,)) of a layout: RGB in 0..1 = to_rgb @ (samples - offset)."""
    to_rgb, to_yuv, offset = _matrices(layout.matrix, layout.full_range, layout.depth)
    return to_rgb.to(device), to_yuv.to(device), offset.to(device)


def even_box(layout: PixelLayout, box: tuple[float, float, float, float]) -> Box:
    """The smallest box around `box` that lies inside the picture and on whole chroma samples. May be empty."""
    sx, sy = 1 << layout.sub_x, 1 << layout.sub_y
    x0, y0 = max(0, int(box[0] // sx) * sx), max(0, int(box[1] // sy) * sy)
    x1, y1 = min(layout.width, int(-(-box[2] // sx)) * sx), min(layout.height, int(-(-box[3] // sy)) * sy)
    return x0, y0, max(x0, x1), max(y0, y1)


def to_rgb(ycc: Tensor, layout: PixelLayout) -> Tensor:
    """Samples (3, h, w) float32 of the layout's own scale to RGB, 0..1 for legal colours."""
    matrix, _, offset = matrices(layout, ycc.device)
    # One matrix product with the offset folded in: a third of an einsum's time.
    flat = torch.addmm(-(matrix @ offset)[:, None], matrix, ycc.reshape(3, -1))
    return flat.reshape(ycc.shape)


def read_rgb(picture: Picture, box: Box) -> Tensor:
    """The region as RGB (3, h, w) float32. In 0..1 for legal colours; values outside are kept, so writing them gives
    the same samples again. `box` comes from `even_box`."""
    layout = picture.layout
    x0, y0, x1, y1 = box
    sx, sy = layout.sub_x, layout.sub_y
    luma = picture.planes[0][y0:y1, x0:x1].float()
    # An odd width or height ends in a chroma sample that covers only what is there.
    chroma = torch.stack([p[y0 >> sy : -(-y1 >> sy), x0 >> sx : -(-x1 >> sx)].float() for p in picture.planes[1:]])
    if sx or sy:
        size = (chroma.shape[1] << sy, chroma.shape[2] << sx)
        # Each sample for all its pixels: writing the mean of those gives the same sample again, bit for bit.
        chroma = F.interpolate(chroma[None], size=size, mode="nearest")[0]
    return to_rgb(torch.cat([luma[None], chroma[:, : y1 - y0, : x1 - x0]]), layout)


def write_rgb(picture: Picture, box: Box, rgb: Tensor, mask: Tensor) -> None:
    """Blend `rgb` (3, h, w) over the region by `mask` (h, w) in 0..1, in the picture's own samples, in place.
    Samples where the mask is 0 keep their bits."""
    layout = picture.layout
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return
    sx, sy = layout.sub_x, layout.sub_y
    _, to_yuv, offset = matrices(layout, rgb.device)
    ycc = torch.addmm(offset[:, None], to_yuv, rgb.reshape(3, -1)).reshape(rgb.shape)
    _blend(picture.planes[0][y0:y1, x0:x1], ycc[0], mask, layout)
    chroma, weight = ycc[1:], mask
    if sx or sy:
        pad = (0, chroma.shape[2] & sx, 0, chroma.shape[1] & sy)
        chroma = F.pad(chroma[None], pad, mode="replicate")[0] if any(pad) else chroma
        weight = F.pad(weight[None, None], pad, mode="replicate")[0, 0] if any(pad) else weight
        chroma = F.avg_pool2d(chroma[None], (1 << sy, 1 << sx))[0]
        weight = F.avg_pool2d(weight[None, None], (1 << sy, 1 << sx))[0, 0]
    for plane, new in zip(picture.planes[1:], chroma, strict=True):
        _blend(plane[y0 >> sy : -(-y1 >> sy), x0 >> sx : -(-x1 >> sx)], new, weight, layout)


def _blend(samples: Tensor, new: Tensor, mask: Tensor, layout: PixelLayout) -> None:
    old = samples.float()
    mixed = torch.lerp(old, new, mask).round_().clamp_(0, 2**layout.depth - 1)
    samples.copy_(torch.where(mask > 0, mixed, old).to(samples.dtype))
