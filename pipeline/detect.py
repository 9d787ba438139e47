"""Finds the faces of consecutive pictures, looking hard where and when it pays.

A network that sees every pixel of every picture finds everything, and spends nearly all of its time on what it has just
seen. Three kinds of looks find as much (`bench/recall.py`):

- a full look, at the picture's own resolution, at pictures that the caller chooses: small faces;
- a scan of the whole picture, shrunk, at every third picture: new faces that aren't small;
- windows around faces that a neighbouring picture has, in pictures where no other look found them. They run forwards
  and then backwards through the batch, so that a face is also followed to where it was before it was found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.detections import Detections as Detections
from pipeline.detections import join, nothing, overlaps
from pipeline.look import back, look, upright
from pipeline.picture import Box, Picture, PixelLayout

PIXELS = 8_000_000  # of one batch: the detector's largest results take 50 to 100 bytes for each
SAME = 0.3  # intersection over union from which on two boxes are one face
CLEAR = 36.0  # px of a face's longer side, as the detector sees it, from which on it is found for sure


class Detector(Protocol):
    """A face detector. Images are upright RGB 0..1; boxes come back in the image's own pixels."""

    @property
    def multiple(self) -> int:
        """Images whose sides are multiples of this it takes as they are; others it would have to copy."""
        ...

    def detect(self, image: Tensor) -> Detections:
        """(3, H, W)."""
        ...

    def detect_batch(self, images: Tensor) -> list[Detections]:
        """(B, 3, H, W)."""
        ...


@dataclass(frozen=True, slots=True)
class Looks:
    """How to look. The defaults were chosen with `bench/recall.py`."""

    full: int = 2560  # longer side of a full look at most, px; larger pictures are shrunk to it
    scan: int = 640  # longer side of a scan, px
    every: int = 3  # pictures from scan to scan
    window: int = 192  # side of a window, px as the detector sees them
    face: int = 80  # longer side of a face in a window at most, px as the detector sees them
    patience: int = 3  # pictures in a row through which a face is looked for after it was lost
    turned: bool = False  # scan for faces that lie or stand on their head too, whenever a full look is due


@dataclass(frozen=True, slots=True)
class _Job:
    picture: int
    box: Box
    width: int
    height: int
    turn: int  # extra quarters clockwise


@dataclass(frozen=True, slots=True)
class _Place:
    box: np.ndarray
    turn: int
    missed: int = 0


def full_every(layout: PixelLayout) -> int:
    """Pictures from full look to full look that keep their cost near 8 ms of CPU time per picture: 8 up to 720p, 18 at
    1080p, 24 at most. Windows follow what they find through the pictures between them. The end of a batch
    comes sooner where that is shorter."""
    return max(8, min(24, round(8 * layout.width * layout.height / (1280 * 720))))


class FaceFinder:
    """Looks at the pictures of one shot after another, in order. Remembers where faces were between calls."""

    def __init__(
        self, detector: Detector, layout: PixelLayout, device: torch.device, looks: Looks | None = None, batch: int = 16
    ) -> None:
        self._detector, self._layout, self._batch, self._multiple = detector, layout, batch, detector.multiple
        # A GPU sees everything in the time in which the host would plan windows.
        self._always = device.type != "cpu" and looks is None
        self.looks = looks or Looks()
        self._known: list[_Place] = []

    def find(
        self, pictures: Sequence[Picture], full: Sequence[bool], hints: Sequence[np.ndarray] | None = None
    ) -> list[Detections]:
        """Faces of each picture in px of the coded picture, every score that the detector gives, best first.

        `full[i]`: also look at full resolution; wanted at the first picture, at each new shot and now and then.
        `hints[i]` (N, 4): places where a face may be in picture i.
        """
        jobs = [job for i, p in enumerate(pictures) for job in self._whole(i, p, self._always or full[i])]
        found: list[dict[int, Detections]] = [{} for _ in pictures]
        self._look(pictures, jobs, found)
        tried: list[list[np.ndarray]] = [[] for _ in pictures]
        extra = [[_Place(box, 0, self.looks.patience) for box in h] for h in hints] if hints is not None else None
        known = self._known
        for i in range(len(pictures)):
            known = self._follow(pictures, i, known + (extra[i] if extra else []), found, tried)
        self._known, known = known, []
        for i in reversed(range(len(pictures))):
            known = self._follow(pictures, i, known, found, tried)
        return [join(list(f.values()), SAME) for f in found]

    def _whole(self, i: int, picture: Picture, full: bool) -> list[_Job]:
        """Looks at the whole picture."""
        width, height = self._layout.width, self._layout.height
        box, longer = (0, 0, width, height), max(width, height)
        sizes = []
        if full:
            sizes.append(min(1.0, self.looks.full / longer))
        if full or self._always or picture.number % self.looks.every == 0:
            sizes.append(min(1.0, self.looks.scan / longer))
        scales = [(s, 0) for s in dict.fromkeys(sizes)]
        if full and self.looks.turned:
            scales += [(min(1.0, self.looks.scan / longer), turn) for turn in (1, 2, 3)]
        return [_Job(i, box, round(width * s), round(height * s), turn) for s, turn in scales]

    def _follow(
        self,
        pictures: Sequence[Picture],
        i: int,
        known: list[_Place],
        found: list[dict[int, Detections]],
        tried: list[list[np.ndarray]],
    ) -> list[_Place]:
        """Looks in picture i around the known places that nothing was found at. Returns the places for the next one."""
        missing = [p for p in known if not _among(p.box, found[i]) and not _seen(p.box, tried[i])]
        if missing:
            self._look(pictures, self._windows(i, missing), found)
            tried[i] += [p.box for p in missing]
        here = [_Place(box, turn) for turn, f in found[i].items() for box in f.boxes]
        lost = [p for p in known if p.missed + 1 < self.looks.patience and not _among(p.box, found[i])]
        return here + [_Place(p.box, p.turn, p.missed + 1) for p in lost]

    def _windows(self, i: int, places: list[_Place]) -> list[_Job]:
        """Windows that hold all places, several in one where they are near; a full look where that is cheaper."""
        jobs: list[_Job] = []
        width, height = self._layout.width, self._layout.height
        for place in places:
            low, high = place.box[:2], place.box[2:]
            size = float((high - low).max())
            step = max(1, int(np.ceil(size / self.looks.face)))
            margin = size / 4
            if any(
                j.turn == place.turn
                and (j.box[2] - j.box[0]) <= self.looks.window * step
                and (low - margin >= j.box[:2]).all()
                and (high + margin <= j.box[2:]).all()
                for j in jobs
            ):
                continue
            x0, x1 = _span(float(low[0] + high[0]) / 2, self.looks.window, step, width)
            y0, y1 = _span(float(low[1] + high[1]) / 2, self.looks.window, step, height)
            jobs.append(_Job(i, (x0, y0, x1, y1), max(1, (x1 - x0) // step), max(1, (y1 - y0) // step), place.turn))
        # Many large faces: one scan that shows them all is cheaper. Only two sizes, since every size costs memory.
        smallest = min(float((p.box[2:] - p.box[:2]).max()) for p in places)
        for longer in (self.looks.scan, self.looks.full):
            scale = min(1.0, longer / max(width, height))
            enough = scale == 1.0 or longer == self.looks.full or smallest * scale >= CLEAR
            cheaper = width * height * scale**2 < len(jobs) * self.looks.window**2
            if enough and cheaper and all(p.turn == places[0].turn for p in places):
                return [_Job(i, (0, 0, width, height), round(width * scale), round(height * scale), places[0].turn)]
        return jobs

    def _look(self, pictures: Sequence[Picture], jobs: list[_Job], found: list[dict[int, Detections]]) -> None:
        """Runs the jobs, those of one size together, and adds what they find."""
        groups: dict[tuple[int, int], list[_Job]] = {}
        for job in jobs:
            odd = (self._layout.rotation // 90 + job.turn) % 2
            size = (job.height, job.width) if odd else (job.width, job.height)
            groups.setdefault(size, []).append(job)
        for (width, height), same in groups.items():
            number = max(1, min(self._batch, PIXELS // (width * height)))
            for start in range(0, len(same), number):
                part = same[start : start + number]
                images = self._images([pictures[job.picture] for job in part], part, width, height)
                for job, seen in zip(part, self._detector.detect_batch(images), strict=True):
                    turn = self._layout.rotation // 90 + job.turn
                    placed = _inside(seen, job, self._layout, turn).moved(*back(turn, job.box, job.width, job.height))
                    before = found[job.picture].get(job.turn, nothing())
                    within = placed.clipped(self._layout.width, self._layout.height)
                    found[job.picture][job.turn] = join([before, within], SAME)

    def _images(self, pictures: Sequence[Picture], jobs: Sequence[_Job], width: int, height: int) -> Tensor:
        """What jobs of one size look at, (B, 3, H, W), black on the right and below where it is larger. A runtime keeps
        what it has prepared for each size of image: windows at an edge are filled up."""
        sides = [-(-max(side, self.looks.window) // self._multiple) * self._multiple for side in (height, width)]
        images = torch.empty(len(jobs), 3, *sides, device=pictures[0].planes[0].device)
        images[:, :, height:], images[:, :, :height, width:] = 0, 0
        for picture, job, image in zip(pictures, jobs, images[:, :, :height, :width], strict=True):
            turn = self._layout.rotation // 90 + job.turn
            if turn % 4:
                image.copy_(upright(look(picture, job.box, job.width, job.height), turn))
            else:
                look(picture, job.box, job.width, job.height, image)
        return images


def _inside(seen: Detections, job: _Job, layout: PixelLayout, turn: int) -> Detections:
    """Without the faces that a window cuts off: their boxes would be too small."""
    if (job.box[2] - job.box[0], job.box[3] - job.box[1]) == (layout.width, layout.height) or not len(seen):
        return seen
    linear, shift = back(turn, job.box, job.width, job.height)
    boxes = seen.moved(linear, shift).boxes
    edge = np.array(job.box)
    outer = np.array([edge[0] > 0, edge[1] > 0, edge[2] < layout.width, edge[3] < layout.height])
    touching = np.abs(boxes - edge) <= 1.5 * np.abs(linear).max()
    return seen.take(~(touching & outer).any(1))


def _span(centre: float, window: int, step: int, length: int) -> tuple[int, int]:
    """An even interval of window * step pixels around the centre, moved into 0..length; all of it if that is short."""
    side = window * step
    if side >= length:
        return 0, length
    start = int(min(max(0.0, centre - side / 2), length - side)) & ~1
    return start, start + side


def _among(box: np.ndarray, found: dict[int, Detections]) -> bool:
    return any(len(f) and bool((overlaps(box[None], f.boxes) >= SAME).any()) for f in found.values())


def _seen(box: np.ndarray, tried: list[np.ndarray]) -> bool:
    return bool(tried) and bool((overlaps(box[None], np.stack(tried)) >= 0.5).any())
