"""Pictures by construction, and their way through the pipeline with a place painted over instead of faces."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline import video
from pipeline.chunk import plan
from pipeline.compare import Comparison
from pipeline.decode import read
from pipeline.encode import EncoderSettings, SegmentWriter, verify_segment
from pipeline.stills import finish

WIDTH, HEIGHT = 131, 97
PLACE = (slice(20, 52), slice(30, 70))  # rows and columns that `carry` paints over
DELAYS = (50, 60, 70, 80, 90, 100)  # ms of an animation's pictures


def smooth(alpha: bool = False) -> Image.Image:
    """A picture of many colours."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rgb = np.stack([120 + 80 * np.sin(x / 30), 90 + y, 60 + (x + y) / 2], 2).astype(np.uint8)
    if not alpha:
        return Image.fromarray(rgb)
    return Image.fromarray(np.dstack([rgb, np.where(x % 32 < 20, 255, 0).astype(np.uint8)]))


def moving(alpha: bool = False) -> list[Image.Image]:
    """Six pictures of few colours, of which one has moved in each."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    found = []
    for number in range(len(DELAYS)):
        inside = (abs(y - 60) < 15) & (abs(x - 60 - 6 * number) < 10)
        rgb = np.where(inside[..., None], (200, 50, 20 * number), (40, 80, 120)).astype(np.uint8)
        clear = np.where(y > 85, 0, 255).astype(np.uint8)
        found.append(Image.fromarray(np.dstack([rgb, clear]) if alpha else rgb))
    return found


def animate(path: Path, alpha: bool = False, loop: int = 3) -> Path:
    """An animation of `moving`, in the format of the path's suffix. `loop` as the format says it."""
    first, *others = moving(alpha)
    how = {"lossless": True} if path.suffix == ".webp" else {}
    disposal = {"disposal": 2} if alpha and path.suffix == ".gif" else {}
    first.save(path, save_all=True, append_images=others, duration=list(DELAYS), loop=loop, **how, **disposal)
    return path


def carry(source: Path, work: Path, suffix: str, paint: bool = True) -> tuple[Path, Comparison]:
    """Ingest to the finished pictures; PLACE becomes something else in each."""
    info = video.ingest(source, work / "in")
    finish.check_target(info, work / "in", suffix)
    index = video.index(info, threads=1)
    settings = EncoderSettings.for_source(info, "h264", 0, "ultrafast")
    segments = []
    for chunk in plan(index, target=Fraction(1, 5)):
        with SegmentWriter(work / f"{chunk.index}.nut", info, settings, 1, chunk=chunk.index) as writer:
            for picture in read(info, index, chunk.start, chunk.stop):
                if paint:
                    place = picture.planes[0][PLACE]
                    place.copy_((torch.arange(place.numel()).reshape(place.shape) * 7 % 230).byte())
                    picture.planes[1][PLACE], picture.planes[2][PLACE] = 100, 170
                writer.write(picture)
            segments.append(writer.close())
        verify_segment(segments[-1], index, chunk)
    out = work / "out"
    out.mkdir()
    return finish.write(info, index, segments, out, suffix, 0, len(index))


def outside() -> np.ndarray:
    """(HEIGHT, WIDTH) what `carry` leaves alone."""
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[PLACE] = False
    return mask
