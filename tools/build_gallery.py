"""The gallery of `docs/gallery.md`: before and after, as pictures and as short clips, side by side.

    python tools/build_gallery.py VIDEOS   # the folder with the clips that are named below

Only material that may be shown: public domain, CC0, CC-BY or as free. The clips go through `veilfarm swap` as they are.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

DOCS = Path(__file__).resolve().parent.parent / "docs"
PICTURES, CLIPS = DOCS / "images", DOCS / "clips"
WIDTH = 480  # px of each side


@dataclass(frozen=True, slots=True)
class Shown:
    """One clip of the gallery."""

    name: str
    file: str
    part: tuple[float, float]  # seconds
    crop: tuple[float, float, float, float]  # x0, y0, x1, y1 as shares of the picture
    frames: tuple[float, float, float]  # moments of the pictures, as shares of the part


GALLERY = (
    Shown("speaker", "grid_bbaf2n.mpg", (0, 2.8), (0.1, 0, 0.9, 1), (0.2, 0.5, 0.7)),
    Shown("call", "callgrid_dev_3x2.mp4", (0, 2.8), (0, 0, 1, 1), (0.1, 0.5, 0.9)),
    Shown("signing", "asl_book.mkv", (0, 3), (0.25, 0.05, 0.75, 0.6), (0.1, 0.5, 0.9)),
    Shown("turning", "head-pose-face-detection-female-and-male.mp4", (0, 4), (0, 0, 1, 1), (0.0, 0.4, 0.9)),
    Shown("smiling", "pyfeat_single_face.mp4", (0, 2.4), (0.1, 0, 0.9, 1), (0.0, 0.5, 0.95)),
)


def pictures(path: Path, first: int = 0, count: int = 10_000) -> tuple[list[Image.Image], Fraction]:
    """Frames of a clip of a few seconds, and its rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [frame.to_image() for n, frame in enumerate(container.decode(stream)) if first <= n < first + count]
        return found, stream.average_rate or Fraction(25)


def side_by_side(before: Image.Image, after: Image.Image, crop: tuple[float, float, float, float]) -> Image.Image:
    """Both, cropped, on even sides."""
    box = tuple(round(v * s) for v, s in zip(crop, before.size * 2, strict=True))
    height = round((box[3] - box[1]) / (box[2] - box[0]) * WIDTH) // 2 * 2
    whole = Image.new("RGB", (2 * WIDTH, height))
    for k, image in enumerate((before, after)):
        part = image.crop((box[0], box[1], box[2], box[3])).resize((WIDTH, height), Image.Resampling.LANCZOS)
        whole.paste(part, (k * WIDTH, 0))
    ImageDraw.Draw(whole).line((WIDTH, 0, WIDTH, height), fill="white", width=2)
    return whole


def write(images: list[Image.Image], rate: Fraction, target: Path) -> None:
    """A small film that every browser plays."""
    with av.open(str(target), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "25", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = images[0].width, images[0].height, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image))))
        container.mux(stream.encode(None))


def build(shown: Shown, videos: Path, work: Path) -> None:
    """One clip and one sheet."""
    target = work / f"{shown.name}.mp4"
    start, stop = shown.part
    command = [str(Path(sys.executable).with_name("veilfarm")), "swap", str(videos / shown.file), "-o", str(target)]
    subprocess.run([*command, "--from", str(start), "--to", str(stop), "--quality", "best"], check=True)
    after, rate = pictures(target)
    before, _ = pictures(videos / shown.file, round(start * rate), len(after))
    pairs = [side_by_side(a, b, shown.crop) for a, b in zip(before, after, strict=False)]
    write(pairs, rate, CLIPS / f"{shown.name}.mp4")
    chosen = [pairs[round(share * (len(pairs) - 1))] for share in shown.frames]
    sheet = Image.new("RGB", (pairs[0].width, sum(p.height for p in chosen)))
    for k, pair in enumerate(chosen):
        sheet.paste(pair, (0, k * pair.height))
    sheet.save(PICTURES / f"gallery-{shown.name}.jpg", quality=88)


def main() -> None:
    """All of them, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    CLIPS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for shown in GALLERY:
            if not options.only or shown.name in options.only:
                build(shown, options.videos, Path(work))


if __name__ == "__main__":
    main()
