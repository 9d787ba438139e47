"""A film with the portrait of nobody moving through a plain room, and the steps up to linking it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from portrait import scene

from pipeline.analyse import Eyes, analyse
from pipeline.analysis import ChunkAnalysis
from pipeline.chunk import Chunk, plan
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.identity import Seed
from pipeline.link import Linked, link
from pipeline.video import index, ingest

Places = Callable[[int], Sequence[tuple[int, int, int]]]
CPU = torch.device("cpu")
WIDTH, HEIGHT, SIDE, FRAMES = 320, 240, 150, 28


def where(number: int) -> tuple[int, int, int]:
    """Upper left corner and side of the portrait on a frame."""
    return 20 + 3 * number, 40 + number % 3, SIDE


def face_box(number: int) -> np.ndarray:
    """Roughly the face's box on a frame: xyxy px."""
    x, y, side = where(number)
    return np.array([x + 0.35 * side, y + 0.13 * side, x + 0.63 * side, y + 0.54 * side], np.float32)


def make(
    path: Path, frames: int = FRAMES, faces: Callable[[int], Sequence[tuple[int, int, int]]] | None = None
) -> Path:
    """H.264 at 25 frames per second, all but lossless."""
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "8", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            image = scene(WIDTH, HEIGHT, *(faces(number) if faces else [where(number)]))
            pixels = (image.permute(1, 2, 0).clamp(0, 1).numpy() * 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    return path


@dataclass(frozen=True)
class Seen:
    """A film after looking and linking."""

    info: VideoInfo
    index: FrameIndex
    chunks: tuple[Chunk, ...]
    analyses: tuple[ChunkAnalysis, ...]
    linked: Linked


def by_key(model: object, secret: bytes, key: str, samples: object, taken: object, *_: bool) -> Seed:
    """A choice of identity that doesn't look at anyone."""
    return Seed.derive(secret, key)


def see(source: Path, work: Path, eyes: Eyes, target: Fraction = Fraction(10)) -> Seen:
    """Ingest, index, plan, analyse, link."""
    info = ingest(source, work)
    found = index(info)
    chunks = plan(found, target=target)
    analyses = tuple(analyse(info, found, chunk, device=CPU, eyes=eyes) for chunk in chunks)
    linked = link(analyses, found, veil="nobody", secret=b"secret", model=None, choose=by_key)  # type: ignore[arg-type]
    return Seen(info, found, chunks, analyses, linked)


def passing(path: Path, shown: range, frames: int, gop: int, codec: str = "libx264", speed: int = 2) -> Path:
    """A room in which somebody is for a while, in closed groups of `gop` pictures. A bar moves on by `speed` px a
    frame, so that no two pictures are the same."""
    params = f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
    quiet = ":log-level=none" if codec == "libx265" else ""
    options = {"crf": "12", "preset": "veryfast", f"{codec[3:]}-params": params + quiet}
    with av.open(path, "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            image = scene(WIDTH, HEIGHT, *[(80, 40, SIDE)] * (number in shown))
            image[:, 220:, speed * number : speed * number + 20] = 0.9
            pixels = (image.permute(1, 2, 0).clamp(0, 1).numpy() * 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    return path
