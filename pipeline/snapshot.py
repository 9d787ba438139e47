"""One face as a small picture for people, cut out of one frame."""

import io
import math
from pathlib import Path

from PIL import Image

from pipeline import planes
from pipeline.decode import read
from pipeline.errors import VerifyError
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.picture import Picture, even_box, read_rgb
from pipeline.reading import decoded, open_input, video_stream
from pipeline.transfer import viewed

Box = tuple[float, float, float, float]

_AROUND = 0.6  # of the box's size, on every side: hair, ears and neck tell where one is
_SIDE = 384  # px of the longer side
_QUALITY = 88


def from_film(info: VideoInfo, index: FrameIndex, frame: int, box: Box, threads: int = 1) -> bytes:
    """JPEG of the place around `box` (xyxy px of the coded picture) on a frame of the film. Raises VerifyError when the
    film isn't what it was, ValueError for a frame outside of it."""
    picture = next(read(info, index, frame, frame + 1, threads=threads))
    return _jpeg(picture, box, info.layout.rotation)


def from_segment(path: Path, number: int, box: Box, rotation: int, threads: int = 1) -> bytes:
    """The same of a chunk that was rendered: of its frame `number`, from 0. Raises VerifyError when there is none."""
    with open_input(path) as container:
        stream = video_stream(container, 0)
        for at, (frame, _) in enumerate(decoded(container, stream, threads)):
            if at == number:
                layout = planes.layout_of_frame(frame)
                parts = planes.of_frame(planes.in_layout(frame, layout))
                return _jpeg(Picture(number, 0, parts, layout), box, rotation)
    raise VerifyError(f"{path.name} has no frame {number}", "", "render it again")


def _jpeg(picture: Picture, box: Box, rotation: int) -> bytes:
    wide, high = (box[2] - box[0]) * _AROUND, (box[3] - box[1]) * _AROUND
    around = even_box(picture.layout, (box[0] - wide, box[1] - high, box[2] + wide, box[3] + high))
    if around[2] - around[0] < 2 or around[3] - around[1] < 2:
        around = even_box(picture.layout, (0, 0, picture.layout.width, picture.layout.height))
    layout, rgb = picture.layout, read_rgb(picture, around)
    if layout.transfer != "sdr":
        rgb = viewed(rgb, layout.transfer, layout.wide)
    rgb = (rgb.clamp(0, 1) * 255).round().byte()
    image = Image.fromarray(rgb.permute(1, 2, 0).contiguous().cpu().numpy(), "RGB")
    if rotation:
        image = image.rotate(-rotation, expand=True)
    scale = _SIDE / max(image.size)
    if scale < 1 or max(image.size) * 3 < _SIDE:
        size = (max(1, math.ceil(image.width * scale)), max(1, math.ceil(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
