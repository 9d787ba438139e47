"""Faces that were left as they were: each given box, source against output.

    python bench/left.py [--videos FOLDER] [--only NAME ...]

A face counts as left when the inner part of its box changed hardly more than the encoder changes everything: by less
than LEAST levels of luma on average, or by less than twice what changed outside all boxes.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from clips import OUT, VIDEOS, truth
from processes import run

LEAST = 3.0  # levels of 255
SIZES = ((8, 16), (16, 24), (24, 32), (32, 64), (64, 128), (128, 10_000))  # px, the box's height


@dataclass(slots=True)
class Left:
    """Counts of one clip: per size, boxes and those left; and where."""

    boxes: list[int] = field(default_factory=lambda: [0] * len(SIZES))
    left: list[int] = field(default_factory=lambda: [0] * len(SIZES))
    places: list[str] = field(default_factory=list)


def compare(source: Path, output: Path) -> Left:
    """Frame by frame; both films must have the frames of the list of boxes."""
    result, boxes = Left(), truth(source)
    assert boxes is not None
    with av.open(str(source)) as a, av.open(str(output)) as b:
        for number, (before, after, faces) in enumerate(zip(a.decode(video=0), b.decode(video=0), boxes, strict=False)):
            change = np.abs(_luma(before) - _luma(after))
            mask = np.ones(change.shape, bool)
            for x0, y0, x1, y1 in faces:
                w, h = x1 - x0, y1 - y0
                mask[max(0, int(y0 - h)) : int(y1 + h), max(0, int(x0 - w)) : int(x1 + w)] = False
            usual = float(change[mask].mean()) if mask.any() else 0.0
            for box in faces:
                _count(result, change, box, usual, f"{source.name} frame {number}")
    return result


def _count(result: Left, change: np.ndarray, box: np.ndarray, usual: float, place: str) -> None:
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    inner = change[max(0, int(y0 + h / 5)) : int(y1 - h / 5) + 1, max(0, int(x0 + w / 5)) : int(x1 - w / 5) + 1]
    size = next((k for k, (lo, hi) in enumerate(SIZES) if lo <= h < hi), None)
    if size is None or inner.size == 0:
        return
    result.boxes[size] += 1
    if inner.mean() < max(LEAST, 2 * usual):
        result.left[size] += 1
        result.places.append(
            f"{place}, box {[round(float(v)) for v in box]}: {inner.mean():.2f}, elsewhere {usual:.2f}"
        )


def _luma(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="gray").astype(np.float32)


def measure(videos: Path = VIDEOS, only: list[str] | None = None) -> tuple[list[str], bool]:
    """Lines of a table, and whether no face of 24 px and more was left."""
    tools, lines = Path(sys.executable).parent, ["| clip | " + " | ".join(f"{lo}+" for lo, _ in SIZES) + " |"]
    lines.append("|---" * (len(SIZES) + 1) + "|")
    total = Left()
    OUT.mkdir(exist_ok=True)
    for source in sorted(p for p in videos.iterdir() if p.with_name(p.name + ".gt.json").exists()):
        if truth(source) is None or (only and source.name not in only):
            continue
        output = OUT / f"left_{source.stem}.mp4"
        done = run([str(tools / "veilfarm"), "swap", str(source), "-o", str(output), "--overwrite"])
        if done.code != 0:
            raise SystemExit(f"{source.name} failed:\n{done.output[-2000:]}")
        found = compare(source, output)
        cells = [f"{left} of {n}" if n else "" for n, left in zip(found.boxes, found.left, strict=True)]
        lines.append(f"| {source.name} | " + " | ".join(cells) + " |")
        total.boxes = [a + b for a, b in zip(total.boxes, found.boxes, strict=True)]
        total.left = [a + b for a, b in zip(total.left, found.left, strict=True)]
        total.places += found.places
    cells = [f"**{left} of {n}**" for n, left in zip(total.boxes, total.left, strict=True)]
    lines.append("| all | " + " | ".join(cells) + " |")
    lines += ["", *total.places[:40]]
    return lines, not any(n for n, (lo, _) in zip(total.left, SIZES, strict=True) if lo >= 24)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=VIDEOS)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    table, clean = measure(options.videos, options.only)
    print("\n".join(table))
    sys.exit(0 if clean else 1)
