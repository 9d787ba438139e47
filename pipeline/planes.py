"""From the decoder's frame to planes, and back to a frame for the encoder. No pixel is copied where that can be."""

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipeline.errors import Unsupported
from pipeline.picture import PixelLayout
from pipeline.transfer import Transfer, transfer_of

Planes = tuple[Tensor, Tensor, Tensor]

# H.273 matrix coefficients. 7 (SMPTE 240M) is nearer to BT.709 than to anything else here.
_MATRICES = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 7: "bt709", 9: "bt2020", 10: "bt2020"}
_PLAIN = frozenset(
    f"yuv{j}{c}p{d}" for c in (420, 422, 444) for j, d in (("", ""), ("j", ""), ("", "10le"), ("", "12le"))
)
_SWS_MATRIX = {"bt709": Colorspace.ITU709, "bt601": Colorspace.ITU601, "bt2020": Colorspace.BT2020}


def matrix_of(colorspace: int, width: int, height: int) -> str:
    """The matrix of Y'CbCr; where the file doesn't say, players take BT.709 for HD and BT.601 for smaller pictures."""
    return _MATRICES.get(colorspace) or ("bt709" if width >= 1280 or height > 576 else "bt601")


def layout_of_frame(frame: av.VideoFrame) -> PixelLayout:
    """`layout_of` what a decoder gave."""
    return layout_of(
        frame.format, frame.width, frame.height, frame.colorspace, frame.color_range, transfer_of(frame.color_trc)
    )


def layout_of(
    pix_fmt: av.VideoFormat, width: int, height: int, colorspace: int, color_range: int, transfer: Transfer = "sdr"
) -> PixelLayout:
    """The nearest planar Y'CbCr layout. Alpha is dropped; 4:1:1 becomes 4:2:2, 4:4:0 and RGB become 4:4:4.

    Raises Unsupported for raw sensor data.
    """
    if pix_fmt.is_bayer:
        raise Unsupported("the video holds raw sensor data", pix_fmt.name, "develop it first")
    bits = max(c.bits for c in pix_fmt.components)
    depth = 8 if bits <= 8 else 10 if bits <= 10 else 12
    rgb = pix_fmt.is_rgb or pix_fmt.has_palette
    if rgb:
        return PixelLayout(width, height, depth, 0, 0, "bt709", False, transfer=transfer)
    gray = len([c for c in pix_fmt.components if not c.is_alpha]) == 1
    sub_x = 1 if gray or pix_fmt.chroma_width(16) < 16 else 0
    sub_y = 1 if gray or (sub_x and pix_fmt.chroma_height(16) < 16) else 0
    full = color_range == 2 or pix_fmt.name.startswith("yuvj") or (gray and color_range == 0)
    matrix = matrix_of(colorspace, width, height)
    return PixelLayout(width, height, depth, sub_x, sub_y, matrix, full, transfer=transfer)


def writable(frame: av.VideoFrame, layout: PixelLayout) -> av.VideoFrame:
    """The frame in that layout, in memory of its own. Raises Unsupported when it has another size."""
    frame = in_layout(frame, layout)
    frame.make_writable()  # copies only what the decoder still needs as a reference
    return frame


def in_layout(frame: av.VideoFrame, layout: PixelLayout) -> av.VideoFrame:
    """The frame in that layout; the same one where it has it already."""
    if (frame.width, frame.height) != (layout.width, layout.height):
        raise Unsupported(
            "the picture's size changes in the middle of the video",
            f"from {layout.width}x{layout.height} to {frame.width}x{frame.height}",
            "split it at the change, or bring it to one size first",
        )
    if frame.format.name in _PLAIN and frame.format.name.replace("j", "") == layout.av_name:
        return frame
    return _convert(frame, layout)


def of_frame(frame: av.VideoFrame) -> Planes:
    """Views of a frame's three planes: uint8, or int16 above 8 bits. They keep its memory alive."""
    y, u, v = (from_dlpack(plane) for plane in frame.planes)
    return (y, u, v) if y.dtype == torch.uint8 else (y.view(torch.int16), u.view(torch.int16), v.view(torch.int16))


def _convert(frame: av.VideoFrame, layout: PixelLayout) -> av.VideoFrame:
    matrix = _SWS_MATRIX[layout.matrix]
    wanted = ColorRange.JPEG if layout.full_range else ColorRange.MPEG
    rgb = frame.format.is_rgb or frame.format.has_palette
    return frame.reformat(
        format=layout.av_name,
        src_colorspace=None if rgb else matrix,
        dst_colorspace=matrix,
        src_color_range=ColorRange.JPEG if rgb else wanted,
        dst_color_range=wanted,
    )


def from_frame(frame: av.VideoFrame, layout: PixelLayout) -> Planes:
    """Planes of a decoded frame in that layout: writable, and of nobody else."""
    return of_frame(writable(frame, layout))


def to_frame(planes: Planes, layout: PixelLayout, carrier: object = None) -> av.VideoFrame:
    """A frame for the encoder, over the same memory where that can be. It is `carrier`, if that is a frame of the same
    kind: so captions and the like stay with their picture. An odd width or height gets one more column or row: encoders
    of subsampled pictures know even sizes only."""
    odd_x, odd_y = layout.width & layout.sub_x, layout.height & layout.sub_y
    if isinstance(carrier, av.VideoFrame) and carrier.format.name == layout.av_name and not (odd_x or odd_y):
        for own, plane in zip(of_frame(carrier), planes, strict=True):
            if own.data_ptr() != plane.data_ptr():
                own.copy_(plane)
        carrier.pict_type = av.video.frame.PictureType.NONE  # the encoder chooses anew
        return carrier
    on_cpu = [plane.cpu() for plane in planes]
    if odd_x or odd_y:
        luma = torch.from_numpy(np.pad(on_cpu[0].numpy(), ((0, odd_y), (0, odd_x)), mode="edge"))
        on_cpu[0] = luma
    if layout.depth > 8:
        on_cpu = [plane.view(torch.uint16) for plane in on_cpu]
    # One column of a plane can't be told from one row by its strides.
    on_cpu = [plane if plane.stride(1) == 1 else plane.contiguous() for plane in on_cpu]
    return av.VideoFrame.from_dlpack(tuple(on_cpu), format=layout.av_name)
