"""Look at one chunk: find every face, follow it, measure it. Nothing is written into the pictures."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.ahead import ahead
from pipeline.analysis import ChunkAnalysis
from pipeline.chunk import Chunk
from pipeline.decode import read
from pipeline.detect import Detector, FaceFinder, full_every
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.follow import PRESENT, Course, Follower, Mesher, angles
from pipeline.models.centerface import CenterFace
from pipeline.models.facemesh import FaceMesh
from pipeline.models.recogniser import Recogniser
from pipeline.picture import Picture, PixelLayout
from pipeline.posed import fall_back
from pipeline.samples import Embedder, Sampler
from pipeline.shape import mean_shape, neutral
from pipeline.smooth import REACH
from pipeline.track import Floats, Sample, Trace, Tracker, Tracklet, believable, between

__all__ = ["ChunkAnalysis", "Eyes", "analyse"]

OVERLAP = REACH  # frames on both sides of a chunk that are looked at, too, for joining and smoothing
_MEMORY = 256 << 20  # bytes of decoded pictures held at a time
_NEUTRAL_FRAMES = 64
_AROUND, _TOPPLED = 4, 75.0  # frames on both sides, and degrees of roll from most of them


@dataclass(frozen=True, slots=True)
class Eyes:
    """The networks that looking needs, loaded once per worker."""

    detector: Detector
    mesher: Mesher
    embedder: Embedder

    @staticmethod
    def load(device: torch.device, threads: int) -> "Eyes":
        """Raises ModelError, DeviceError."""
        return Eyes(
            CenterFace(device, threads=threads), FaceMesh(device, threads=threads), Recogniser(device, threads=threads)
        )


class Clock:
    """Seconds spent per stage, as seen by the thread that runs the stages."""

    def __init__(self) -> None:
        self.seconds = dict[str, float]()
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def analyse(
    info: VideoInfo,
    index: FrameIndex,
    chunk: Chunk,
    *,
    device: torch.device,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    eyes: Eyes | None = None,
    lean: int = 0,
) -> ChunkAnalysis:
    """Decodes the chunk and OVERLAP frames on both sides. `progress` gets the number of frames done. Memory holds a
    bounded number of pictures, halved `lean` times, and per face and frame its landmarks. Raises VerifyError,
    ModelError, DeviceError."""
    eyes, clock = eyes or Eyes.load(device, threads), Clock()
    through = _Pass(info, index, chunk, device, threads, eyes, batch_size(info.layout, lean), clock)
    found = through.look(keen=False, progress=progress)
    if found.surprised:  # a face that lies was there unseen for a while: now it is looked for all the time
        del found  # its landmarks
        found = through.look(keen=True, progress=None)
    tracker, follower, sampler, damaged = found.tracker, found.follower, found.sampler, found.damaged
    edges = np.array([0, *index.cuts, len(index.pts)])
    shot = {t.id: int(np.diff(edges)[np.searchsorted(edges, t.frames[0], "right") - 1]) for t in tracker.finish()}
    kept = [t for t in tracker.finish() if _believed(t, follower.courses[t.id], shot[t.id])]
    samples = sampler.finish([t.id for t in kept])
    clock.lap("recognise")
    tracklets = tuple(finished(t.id, follower.courses[t.id], samples.get(t.id, ())) for t in kept)
    clock.lap("measure")
    size_px = (info.layout.width, info.layout.height)
    hurt = np.array(damaged, np.int32)
    return ChunkAnalysis(chunk.index, chunk.start, chunk.stop, size_px, tracklets, hurt, clock.seconds, found.scores)


@dataclass(frozen=True, slots=True)
class _Found:
    """What one pass over a chunk has shown."""

    tracker: Tracker
    follower: Follower
    sampler: Sampler
    damaged: list[int]
    scores: Floats  # (n,) of the chunk's frames: see ChunkAnalysis
    surprised: bool  # see `FaceFinder`


@dataclass(frozen=True, slots=True)
class _Pass:
    """How to go through a chunk, and OVERLAP frames on both sides."""

    info: VideoInfo
    index: FrameIndex
    chunk: Chunk
    device: torch.device
    threads: int
    eyes: Eyes
    size: int  # pictures of a batch
    clock: Clock

    def look(self, keen: bool, progress: Callable[[int], None] | None) -> _Found:
        """Decode it, and find, follow and sample its faces. `keen`: look for faces that lie at every full look."""
        chunk, index, layout, clock = self.chunk, self.index, self.info.layout, self.clock
        start, stop = max(0, chunk.start - OVERLAP), min(len(index.pts), chunk.stop + OVERLAP)
        tracker = Tracker(index.cuts)
        follower = Follower(self.eyes.mesher, tracker, index.cuts, keep=self.size, in_turn=self.device.type == "cpu")
        sampler = Sampler(self.eyes.embedder)
        finder = FaceFinder(self.eyes.detector, layout, self.device, keen=keen)
        begins, every, damaged = {start, *index.cuts}, full_every(layout), list[int]()
        scores = np.zeros(chunk.stop - chunk.start, np.float32)
        looked = start - every
        frames = read(self.info, index, start, stop, threads=self.threads, device=self.device)
        with closing(ahead(frames, self.size)) as pictures:
            for batch in batches(pictures, self.size):
                clock.lap("decode")
                # At the end of a batch: from there the finder goes backwards, to where a small face was before.
                due = batch[-1].number - looked >= min(every, self.size)
                # What lies in the last picture is found, whenever it came.
                last = [p.number == stop - 1 for p in batch]
                full = [p.number in begins or (due and p is batch[-1]) or last[k] for k, p in enumerate(batch)]
                looked = max([looked, *(p.number for p, now in zip(batch, full, strict=True) if now)])
                found = finder.find(batch, full, begins=[p.number in begins for p in batch], all_round=last)
                clock.lap("detect")
                for picture, faces in zip(batch, found, strict=True):
                    if chunk.start <= picture.number < chunk.stop and len(faces):
                        scores[picture.number - chunk.start] = faces.scores.max()
                seen = follower.batch(batch, found)
                clock.lap("landmarks")
                sampler.offer({p.number: p for p in batch}, seen, follower.courses)
                clock.lap("samples")
                damaged += [p.number for p in batch if p.damaged and chunk.start <= p.number < chunk.stop]
                if progress is not None:
                    progress(sum(chunk.start <= p.number < chunk.stop for p in batch))
        return _Found(tracker, follower, sampler, damaged, scores, finder.surprised)


def batch_size(layout: PixelLayout, lean: int = 0) -> int:
    """Pictures of one batch: 16, fewer where they are large; halved `lean` times where there wasn't memory enough."""
    bytes_each = layout.width * layout.height * 3 // 2 * (1 if layout.depth == 8 else 2)
    return max(2, min(16, _MEMORY // 3 // max(1, bytes_each)) >> lean)  # a third: the queue, the batch and looking back


def batches(pictures: Iterator[Picture], size: int) -> Iterator[Sequence[Picture]]:
    batch = list[Picture]()
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _believed(trace: Trace, course: Course, most: int) -> bool:
    looks = [course.looks[f] for f in trace.frames if f in course.looks]
    scores, presence = ([getattr(x, name) for x in looks] for name in ("score", "presence"))
    return believable(np.array(scores, np.float32), np.array(presence, np.float32), most)


def finished(number: int, course: Course, samples: tuple[Sample, ...]) -> Tracklet:
    """A course as a tracklet: gaps filled with boxes, the neutral shape measured, small faces posed."""
    seen = sorted(course.looks)
    frames = np.arange(seen[0], seen[-1] + 1, dtype=np.int32)
    n = len(frames)
    boxes, meshes = np.zeros((n, 4), np.float32), np.full((n, 468, 3), np.nan, np.float32)
    scores, presence = np.zeros(n, np.float32), np.zeros(n, np.float32)
    points = np.full((n, 5, 2), np.nan, np.float32)
    for frame in seen:
        look, k = course.looks[frame], frame - seen[0]
        boxes[k], scores[k], presence[k] = look.box, look.score, look.presence
        if look.mesh is not None:
            meshes[k] = look.mesh
        if look.points is not None:
            points[k] = look.points
    for left, right in pairwise(seen):
        if right - left > 1:
            a, b = left - seen[0], right - seen[0]
            boxes[a + 1 : b] = between(boxes[a], boxes[b], b - a - 1)
    own = _neutral(meshes, presence, _turned(meshes))
    shape = mean_shape().numpy() if own is None else own
    meshes, presence = fall_back(meshes, presence, boxes, scores, points, shape)
    turned = _turned(meshes)
    wrong = toppled(turned[:, 2])
    meshes[wrong], presence[wrong], turned[wrong] = np.nan, 0, np.nan
    return Tracklet(number, frames, boxes, scores, presence, turned, meshes, own, samples)


def toppled(roll: Floats) -> NDArray[np.bool_]:
    """Of the roll (n,) of one head on consecutive frames, in degrees, NaN where it is unknown: where it is far from
    that of most frames around. Heads roll on; landmarks that for a moment stand on a face's head are wrong."""
    wrong = np.zeros(len(roll), np.bool_)
    for k in np.flatnonzero(np.isfinite(roll)):
        near = roll[max(0, k - _AROUND) : k + _AROUND + 1]
        apart = np.abs((near[np.isfinite(near)] - roll[k] + 180) % 360 - 180)
        wrong[k] = np.median(apart) > _TOPPLED
    return wrong


def _turned(meshes: Floats) -> Floats:
    """(n, 3) angles; NaN where there is no mesh."""
    have = np.flatnonzero(np.isfinite(meshes[:, 0, 0]))
    turned = np.full((len(meshes), 3), np.nan, np.float32)
    turned[have] = angles(meshes[have])
    return turned


def _neutral(meshes: Floats, presence: Floats, turned: Floats) -> Floats | None:
    """The neutral shape from at most 64 frames, the frontal ones if there are enough."""
    good = np.flatnonzero(presence >= PRESENT)
    frontal = good[np.abs(turned[good, 0]) < 35]
    chosen = frontal if len(frontal) >= min(8, len(good)) else good
    if not len(chosen):
        return None
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), _NEUTRAL_FRAMES)).astype(int)]
    return np.asarray(neutral(torch.from_numpy(meshes[chosen])).numpy(), np.float32)
