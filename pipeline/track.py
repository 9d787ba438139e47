"""Faces over time: single detections become tracklets (one face, one shot, one chunk).

The association follows ByteTrack (Zhang et al., ECCV 2022): boxes above a high score start and carry tracks, boxes
above a low one only carry them. Motion is a constant velocity per track (an alpha-beta filter on centre and log size),
which needs no tuning per film, and gates use the distance of centres beside IoU, since small or fast faces do not
overlap from one frame to the next.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.detections import Detections

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

START = 0.5  # a detection of at least this score starts a tracklet, alone if it must
KEEP = 0.2  # one of at least this score carries a tracklet on
PATIENCE = 20  # frames that a tracklet waits for its face: more than two of the detector's full looks (every 8th frame)
_WEAK_COUNT, _WEAK_SCORE = 5, 0.3  # a face that never scores START needs this many detections of this median score
_REACH, _REACH_PER_FRAME, _REACH_MAX = 0.5, 0.08, 1.5  # how far a face may be from where it should be, in face sizes
_SMALL, _SMALL_REACH = 32.0, 0.5  # px; small faces jump more, measured in their own size
_RATIO = 0.7  # largest change of log size
_ALPHA, _BETA, _DAMP = 0.85, 0.4, 0.9  # position gain, velocity gain, what is left of the velocity after a lost frame


class Treatment(IntEnum):
    """What happens to one face on one frame, and why."""

    REPLACE = 0
    COVER_SMALL = 1  # too few pixels for a face that looks like one
    COVER_PROFILE = 2  # turned away too far
    COVER_PRESENCE = 3  # the landmarks can't be trusted here
    COVER_FILLED = 4  # not seen here: carried over a gap or before the first and after the last sight
    COVER_DAMAGED = 5  # the decoder concealed this picture
    COVER_ALL = 6  # the user chose a cover for every face
    COVER_GATE = 7  # the leak gate found it
    COVER_NO_IDENTITY = 8  # no face of nobody was far enough, or drawing it failed
    COVER_CHOSEN = 9  # a reviewer chose a cover, or drew the box of a face that was missed
    KEPT = 10  # a reviewer let it stay visible
    NO_FACE = 11  # a reviewer said that it is none: it is left alone


OPEN = (Treatment.KEPT, Treatment.NO_FACE)  # what stays as it is; people chose so, and nothing else may


@dataclass(frozen=True, slots=True)
class Sample:
    """One good look at a face. Biometric data: lives as long as the job."""

    frame: int
    crop: NDArray[np.uint8]  # (3, 256, 256) RGB
    mesh: Floats  # (468, 3) in pixels of the crop
    embedding: Floats  # (128,) of the recogniser; same person below a distance of about 0.6
    quality: float  # larger is better: presence, size, frontality, sharpness
    stored: tuple[Path, str] | None = None  # file and name of the crop, where it was left on disk and `crop` is empty

    def whole(self) -> "Sample":
        """With its crop, read from disk where it was left there."""
        if self.stored is None:
            return self
        with np.load(self.stored[0]) as file:
            return replace(self, crop=file[self.stored[1]], stored=None)


@dataclass(frozen=True, slots=True)
class Tracklet:
    """One face in one chunk (with its overlap) and one shot. Arrays share their first length n."""

    id: int
    frames: Ints  # (n,) consecutive frame numbers of the film
    boxes: Floats  # (n, 4) xyxy, px of the coded picture
    scores: Floats  # (n,) of the detector; 0 where the box was carried, not detected
    presence: Floats  # (n,) 0..1, trust in the landmarks; 0 where there are none
    angles: Floats  # (n, 3) yaw, pitch, roll in degrees; NaN where there are no landmarks
    meshes: Floats | None = None  # (n, 468, 3) px, NaN where there are none; None when loaded without them
    neutral: Floats | None = None  # (468, 3) the person's own shape without pose; None where it was never seen well
    samples: tuple[Sample, ...] = ()

    @property
    def first(self) -> int:
        return int(self.frames[0])

    @property
    def last(self) -> int:
        return int(self.frames[-1])


@dataclass(frozen=True, slots=True)
class Track:
    """One face in one shot of the whole film, gaps filled and ends extended."""

    id: int
    person: int
    frames: Ints  # (n,) consecutive
    boxes: Floats  # (n, 4) xyxy px
    tracklet_of: Ints  # (n, 2) chunk and tracklet id; -1 where the box was filled
    treatment: NDArray[np.uint8]  # (n,) of Treatment


def overlap(a: Floats, b: Floats) -> Floats:
    """IoU of boxes: (N, 4) and (M, 4) -> (N, M)."""
    lo = np.maximum(a[:, None, :2], b[None, :, :2])
    hi = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(hi - lo, 0, None), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-6), np.float32)


def to_state(boxes: Floats) -> Floats:
    """xyxy (..., 4) -> centre x, centre y, log width, log height."""
    size = np.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3)
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, np.log(size)], axis=-1).astype(np.float32)


def to_box(state: Floats) -> Floats:
    """The inverse of `to_state`."""
    half = np.exp(state[..., 2:]) / 2
    return np.concatenate([state[..., :2] - half, state[..., :2] + half], axis=-1).astype(np.float32)


def between(left: Floats, right: Floats, count: int) -> Floats:
    """`count` boxes evenly between two boxes, both left out: (count, 4)."""
    a, b = to_state(left), to_state(right)
    t = (np.arange(1, count + 1, dtype=np.float32) / (count + 1))[:, None]
    return to_box(np.asarray(a + (b - a) * t, np.float32))


def pair(cost: Floats) -> list[tuple[int, int]]:
    """Row and column pairs of a cost matrix (inf: not allowed), cheapest first. Greedy: with gated costs the optimum
    differs from it only where faces touch, and it can't give up a perfect pair to save two bad ones."""
    rows, cols = np.nonzero(np.isfinite(cost))
    order = np.argsort(cost[rows, cols], kind="stable")
    used_rows, used_cols, pairs = set[int](), set[int](), list[tuple[int, int]]()
    for k in order:
        r, c = int(rows[k]), int(cols[k])
        if r not in used_rows and c not in used_cols:
            used_rows.add(r)
            used_cols.add(c)
            pairs.append((r, c))
    return pairs


@dataclass(slots=True)
class Trace:
    """A tracklet while it grows. `seen` is the last frame at which the face was found, by whatever means."""

    id: int
    frames: list[int] = field(default_factory=list)
    boxes: list[Floats] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    state: Floats = field(default_factory=lambda: np.zeros(4, np.float32))
    velocity: Floats = field(default_factory=lambda: np.zeros(4, np.float32))
    detected: int = -1  # the last frame with a detection; PATIENCE counts from `seen`, which carrying moves too

    @property
    def seen(self) -> int:
        return self.frames[-1]

    def predict(self, frame: int) -> Floats:
        """State (4,) at a frame at or after `seen`. The velocity fades, so a lost face doesn't fly away."""
        steps = frame - self.seen
        travel = (1 - _DAMP**steps) / (1 - _DAMP) if steps > 1 else float(steps)
        return np.asarray(self.state + self.velocity * np.float32(travel), np.float32)

    def observe(self, frame: int, box: Floats, score: float) -> None:
        state = to_state(box)
        if self.frames:
            rest = state - self.predict(frame)
            self.velocity = self.velocity + np.float32(_BETA / (frame - self.seen)) * rest
            self.velocity[2:] = np.clip(self.velocity[2:], -0.08, 0.08)
            state = state - np.float32(1 - _ALPHA) * rest
        self.state = state
        self.frames.append(frame)
        self.boxes.append(np.asarray(box, np.float32))
        self.scores.append(score)
        if score > 0:
            self.detected = frame


def believable(scores: Floats, presence: Floats, most: int = 1 << 30) -> bool:
    """Whether a tracklet is a face. One detection of START is enough (privacy first). Without one, it takes 5
    detections with a median of 0.3, or landmarks that see a face on 3 frames and on half of those looked at. `most`:
    frames of its shot; in a picture that stands alone nothing comes again, and one sight of both is enough."""
    found = scores[scores > 0]
    if len(found) and found.max() >= START:
        return True
    if len(found) >= _WEAK_COUNT and np.median(found) >= _WEAK_SCORE:
        return True
    looked = presence[presence > 0]
    if most < _WEAK_COUNT:
        return bool(len(found) and found.max() >= _WEAK_SCORE and len(looked) and looked.max() > 0.8)
    return len(found) >= 2 and int((looked > 0.8).sum()) >= 3 and bool(np.mean(looked > 0.8) >= 0.5)


class Tracker:
    """Detections of consecutive frames in, traces out. All tracks end at a cut."""

    def __init__(self, cuts: Iterable[int] = ()) -> None:
        self._cuts = frozenset(cuts)
        self._count = 0
        self.live: list[Trace] = []
        self.ended: list[Trace] = []

    def update(self, frame: int, found: Detections) -> dict[int, int]:
        """Takes the detections of the next frame. Returns which trace (id) took which detection (row)."""
        if frame in self._cuts:
            self.ended += self.live
            self.live = []
        self._end(lambda t: frame - t.seen > PATIENCE)
        boxes, scores = np.asarray(found.boxes, np.float32), np.asarray(found.scores, np.float32)
        strong, weak = np.flatnonzero(scores >= START), np.flatnonzero((scores >= KEEP) & (scores < START))
        taken = dict[int, int]()
        for rows in (strong, weak):
            free = [t for t in self.live if t.id not in taken]
            for r, c in pair(_costs(free, frame, boxes[rows])):
                taken[free[r].id] = int(rows[c])
        by_id = {t.id: t for t in self.live}
        for trace_id, row in taken.items():
            by_id[trace_id].observe(frame, boxes[row], float(scores[row]))
        # Weak boxes start traces too: `believable` decides at the end, when landmarks have had their say.
        for row in (*strong.tolist(), *weak.tolist()):
            if row not in taken.values() and not self._doubles(boxes[row], frame):
                trace = Trace(self._count)
                self._count += 1
                trace.observe(frame, boxes[row], float(scores[row]))
                self.live.append(trace)
                taken[trace.id] = row
        return taken

    def drop(self, trace: Trace) -> None:
        """Ends a trace now: its face has left the picture."""
        self._end(lambda t: t is trace)

    def finish(self) -> list[Trace]:
        self.ended += self.live
        self.live = []
        return sorted(self.ended, key=lambda t: t.id)

    def _end(self, over: Callable[[Trace], bool]) -> None:
        self.ended += [t for t in self.live if over(t)]
        self.live = [t for t in self.live if not over(t)]

    def _doubles(self, box: Floats, frame: int) -> bool:
        """A second box on a face that has one already."""
        others = [t.boxes[-1] for t in self.live if t.seen == frame]
        return bool(others) and bool(overlap(box[None], np.stack(others)).max() > 0.45)


def _costs(traces: list[Trace], frame: int, boxes: Floats) -> Floats:
    """(traces, boxes) costs; inf where the box can't be that face."""
    if not traces or not len(boxes):
        return np.zeros((len(traces), len(boxes)), np.float32)
    states = np.stack([t.predict(frame) for t in traces])
    gaps = np.array([frame - t.seen for t in traces], np.float32)[:, None]
    found = to_state(boxes)
    iou = overlap(to_box(states), boxes)
    size = (states[:, None, 2:].mean(2) + found[None, :, 2:].mean(2)) / 2
    ratio = np.abs(states[:, None, 2:].mean(2) - found[None, :, 2:].mean(2))
    distance = np.linalg.norm(states[:, None, :2] - found[None, :, :2], axis=2) / np.exp(size)
    reach = np.minimum(_REACH + _REACH_PER_FRAME * (gaps - 1), _REACH_MAX) + _SMALL_REACH * (np.exp(size) < _SMALL)
    allowed = ((iou >= 0.15) | (distance <= reach)) & (ratio <= _RATIO)
    return np.where(allowed, 1 - iou + distance + ratio, np.inf).astype(np.float32)
