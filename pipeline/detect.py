"""Finds the faces of consecutive pictures, looking hard where and when it pays.

A network that sees every pixel of every picture finds everything, and spends nearly all of its time on what it has just
seen. Three kinds of looks find as much (`bench/recall.py`):

- a full look, at the picture's own resolution, at pictures that the caller chooses: small faces;
- a scan of the whole picture, shrunk, at every third picture: new faces that aren't small;
- windows around faces that a neighbouring picture has, in pictures where no other look found them. They run forwards
  and then backwards through the batch, so that a face is also followed to where it was before it was found.

Faces that lie or stand on their head are seen less well, small ones hardly. So the picture is turned, too: by all
quarters where a shot begins, by one of them now and then; and what was found turned is followed turned.
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
TURNS = (2, 1, 3)  # quarters, those first at which the detector sees least
_LYING = 60.0  # degrees of roll from which on a face is looked for in a turned picture
_ROLLED = 0.3  # score from which on the five points tell the roll
_SURE = 0.6  # score from which on a look at the whole turned picture is believed: knees and hands get up to 0.55
_DOUBTED = 3  # places of one picture, at most, that are looked at turned because an upright look half sees a face
_UPRIGHT = 0.1  # score by which a look at the turned picture must be better, to be believed against the upright one


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
    turned: bool = False  # look for faces that lie or stand on their head, too
    around: int = 960  # longer side of such looks where a shot begins, px; later they are scans
    rest: int = 32  # pictures, at least, from one such scan to the next


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
        self,
        detector: Detector,
        layout: PixelLayout,
        device: torch.device,
        looks: Looks | None = None,
        batch: int = 16,
        keen: bool = False,
    ) -> None:
        """`keen`: with every full look, look for faces that lie on any side."""
        self._keen = keen
        self._detector, self._layout, self._batch, self._multiple = detector, layout, batch, detector.multiple
        # A GPU sees everything in the time in which the host would plan windows.
        self._always = device.type != "cpu" and looks is None
        self.looks = looks or Looks(turned=True)
        self._known: list[_Place] = []
        self._turned: tuple[int, int] | None = None  # picture of the last turned scan, and how many there were
        self.surprised = False  # a scan in the middle of a shot found a turned face that was there unseen

    def find(
        self,
        pictures: Sequence[Picture],
        full: Sequence[bool],
        hints: Sequence[np.ndarray] | None = None,
        begins: Sequence[bool] | None = None,
        all_round: Sequence[bool] | None = None,
    ) -> list[Detections]:
        """Faces of each picture in px of the coded picture, every score that the detector gives, best first.

        `full[i]`: also look at full resolution; wanted at the first picture, at each new shot and now and then.
        `hints[i]` (N, 4): places where a face may be in picture i. `begins[i]`: a shot begins with picture i; the
        first picture of all counts as such. `all_round[i]`: where `full[i]` holds, look for faces that lie on any side.
        """
        found: list[dict[int, Detections]] = [{} for _ in pictures]
        jobs = [job for i, p in enumerate(pictures) for job in self._whole(i, p, self._always or full[i])]
        new = [bool(begins and begins[i]) for i in range(len(pictures))]
        every = [new[i] or self._keen or bool(all_round and all_round[i]) for i in range(len(pictures))]
        lying = [job for i, p in enumerate(pictures) if full[i] for job in self._lying(i, p, every[i])]
        self._look(pictures, jobs + lying, found)
        self._doubted(pictures, sorted({job.picture for job in lying}), found)
        for seen in found:
            seen |= {turn: _sure(faces, seen.get(0, nothing())) for turn, faces in seen.items() if turn}
        tried: list[list[_Place]] = [[] for _ in pictures]
        extra = [[_Place(box, 0, self.looks.patience) for box in h] for h in hints] if hints is not None else None
        known = self._known
        for i in range(len(pictures)):
            self.surprised |= not new[i] and _news(found[i], known)
            known = self._follow(pictures, i, known + (extra[i] if extra else []), found, tried)
        self._known, known = known, []
        for i in reversed(range(len(pictures))):
            known = self._follow(pictures, i, known, found, tried)
        return [_together(f) for f in found]

    def _whole(self, i: int, picture: Picture, full: bool) -> list[_Job]:
        """Looks at the whole picture."""
        width, height = self._layout.width, self._layout.height
        box, longer = (0, 0, width, height), max(width, height)
        sizes = []
        if full:
            sizes.append(min(1.0, self.looks.full / longer))
        if full or self._always or picture.number % self.looks.every == 0:
            sizes.append(min(1.0, self.looks.scan / longer))
        return [_Job(i, box, round(width * s), round(height * s), 0) for s in dict.fromkeys(sizes)]

    def _lying(self, i: int, picture: Picture, every: bool) -> list[_Job]:
        """Looks at the whole picture, turned: all three if `every`, as where a shot begins; later one at a time."""
        if not self.looks.turned:
            return []
        last, count = self._turned or (picture.number, 0)
        turns: Sequence[int] = TURNS
        if not (every or self._turned is None):
            if picture.number - last < self.looks.rest:
                return []
            turns, count = (TURNS[count % 3],), count + 1
        self._turned = picture.number, count
        width, height = self._layout.width, self._layout.height
        scale = min(1.0, (self.looks.around if len(turns) > 1 else self.looks.scan) / max(width, height))
        box = (0, 0, width, height)
        return [_Job(i, box, round(width * scale), round(height * scale), turn) for turn in turns]

    def _doubted(self, pictures: Sequence[Picture], which: Sequence[int], found: list[dict[int, Detections]]) -> None:
        """Turned windows at what the upright look half sees in some of the pictures: a few, the largest."""
        for i in which:
            seen = found[i].get(0, nothing())
            boxes = seen.boxes[seen.scores < _SURE]
            boxes = boxes[np.argsort(-(boxes[:, 2:] - boxes[:, :2]).max(1), kind="stable")][:_DOUBTED]
            if len(boxes):
                jobs = [job for turn in TURNS for job in self._windows(i, [_Place(box, turn) for box in boxes])]
                self._look(pictures, jobs, found)

    def _follow(
        self,
        pictures: Sequence[Picture],
        i: int,
        known: list[_Place],
        found: list[dict[int, Detections]],
        tried: list[list[_Place]],
    ) -> list[_Place]:
        """Looks in picture i around the known places that nothing was found at. Returns the places for the next one."""
        # A face that lies is looked for as it lies, even where an upright look has seen something of it.
        missing = [p for p in known if not _among(p.box, _of(found[i], p.turn)) and not _seen(p, tried[i])]
        if missing:
            for turn in sorted({p.turn for p in missing}):
                self._look(pictures, self._windows(i, [p for p in missing if p.turn == turn]), found)
            tried[i] += missing
        here = [p for turn, f in found[i].items() for p in self._places(f, turn)]
        lost = [p for p in known if p.missed + 1 < self.looks.patience and not _among(p.box, found[i])]
        return here + [_Place(p.box, p.turn, p.missed + 1) for p in lost]

    def _places(self, found: Detections, turn: int) -> list[_Place]:
        """Where faces are, and how the picture must be turned to have them upright."""
        turns = np.full(len(found), turn)
        if self.looks.turned and len(found):
            eyes = found.points[:, 1] - found.points[:, 0]
            roll = np.rad2deg(np.arctan2(eyes[:, 1], eyes[:, 0])) + self._layout.rotation + 90 * turn
            roll = (roll + 180) % 360 - 180  # as it was seen in the look
            lying = (np.abs(roll) > _LYING) & (found.scores >= _ROLLED)
            turns = np.where(lying, turn - np.rint(roll / 90).astype(int), turn) % 4
        return [_Place(box, int(quarter)) for box, quarter in zip(found.boxes, turns, strict=True)]

    def _windows(self, i: int, places: list[_Place]) -> list[_Job]:
        """Windows that hold all places, several in one where they are near; a full look where that is cheaper. All
        places are turned the same."""
        jobs: list[_Job] = []
        width, height = self._layout.width, self._layout.height
        for place in places:
            low, high = place.box[:2], place.box[2:]
            size = float((high - low).max())
            step = max(1, int(np.ceil(size / self.looks.face)))
            margin = size / 4
            if any(
                (j.box[2] - j.box[0]) <= self.looks.window * step
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
            if enough and cheaper:
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


def _sure(seen: Detections, upright_one: Detections) -> Detections:
    """Of what a look at the whole turned picture sees, what it is sure of, or what the upright look sees there, too."""
    twice = (overlaps(seen.boxes, upright_one.boxes) >= SAME).any(1)
    return seen.take(np.flatnonzero((seen.scores >= _SURE) | twice))


def _of(found: dict[int, Detections], turn: int) -> dict[int, Detections]:
    """What counts for a face that is looked for turned by `turn`: for an upright one, whatever was found."""
    return {turn: found[turn]} if turn and turn in found else {} if turn else found


def _among(box: np.ndarray, found: dict[int, Detections]) -> bool:
    return any(len(f) and bool((overlaps(box[None], f.boxes) >= SAME).any()) for f in found.values())


def _news(found: dict[int, Detections], known: list[_Place]) -> bool:
    """Whether a turned look has found a face where none was in the picture before."""
    before = np.stack([place.box for place in known]) if known else np.zeros((0, 4), np.float32)
    return any(bool((overlaps(seen.boxes, before) < SAME).all(1).any()) for turn, seen in found.items() if turn)


def _seen(place: _Place, tried: list[_Place]) -> bool:
    same = [p.box for p in tried if p.turn == place.turn]
    return bool(same) and bool((overlaps(place.box[None], np.stack(same)) >= 0.5).any())


def _together(found: dict[int, Detections]) -> Detections:
    """All that was found in one picture, by turn, each face once. What a turned look sees about as well as the upright
    one is the upright one's: its five points would be upside down."""
    upright_one = found.get(0, nothing())
    parts = [upright_one]
    for turn, seen in found.items():
        if turn and len(seen):
            shared = overlaps(seen.boxes, upright_one.boxes) >= SAME
            as_good = shared & (upright_one.scores >= seen.scores[:, None] - _UPRIGHT)
            parts.append(seen.take(np.flatnonzero(~as_good.any(1))))
    return join(parts, SAME)
