"""The leak gate: looks at source and output side by side before anything is released.

Two looks that share nothing with the pipeline's own detector. On every frame, every tracked face must differ from the
source by more than encoding explains. On every few frames another detector looks at the source, and whatever face it
finds must differ as well, tracked or not. What fails becomes a cover, and its chunk is rendered again; what fails then
keeps the output from being released.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline import planes
from pipeline.ahead import ahead
from pipeline.chunk import Chunk
from pipeline.decode import read
from pipeline.detect import Detector, FaceFinder, Looks
from pipeline.encode import Segment, origin
from pipeline.errors import LeakError, VerifyError
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.link import Linked
from pipeline.picture import Picture
from pipeline.reading import decoded, open_input, video_stream
from pipeline.track import Floats, Track, Treatment, between, overlap

STRIDE = 16  # frames from one look of the detector to the next
HOLD = 17  # frames that a finding is covered before and after
SURE, LIKELY = 0.75, 0.5  # a face of this score is one; of this score, when it is found again at the next look
_SMALLEST = 8.0  # px of a face's shorter side; below, there is nothing to recognise
_LEAST = 1.5  # levels of 255 that a face must differ by at least
_NOISE = 3.5  # and how many times the difference that encoding makes elsewhere in the picture
_SHARE = 0.2  # and by what share of the face's own contrast; encoding alone: 0.05 to 0.3, replacing: 0.4 to 1.3
_ALIKE = 0.6  # correlation below which the output shows something else, however little it differs
_VISIBLE = 2.0  # levels of contrast below which there is nothing to be seen: a fade to black
_LOOKS = Looks(full=1280, every=1)
_HEAD = 0.35  # of a face's box, on each side of it: the head
_PART, _PART_SURE = 0.4, 0.28  # of a face's size; what is smaller and on its head is a part of it, the sure ones too
_AGAIN = 0.3  # IoU of two findings of one face


@dataclass(frozen=True, slots=True)
class GateFinding:
    """A place where a face may show."""

    chunk: int
    frame: int
    box: tuple[float, float, float, float]  # xyxy px
    why: str  # "unchanged track" or "unchanged face"
    score: float  # of the independent detector; 1 for a track


@dataclass(frozen=True, slots=True)
class Change:
    """How much a region differs, in levels of 255."""

    difference: float  # mean, over the ellipse inside the box
    contrast: float  # mean deviation from the mean that the source has there
    left: float  # and that the output has there
    alike: float  # correlation of source and output there: 0.98 and more for what was only encoded
    noise: float  # mean difference outside of all faces: what encoding did

    @property
    def enough(self) -> bool:
        """Whether the region shows something else than the source."""
        if min(self.contrast, self.left) < _VISIBLE:
            return True  # nothing was there, or nothing can be seen any more
        if self.alike < _ALIKE and self.difference >= _LEAST:
            return True  # a cover on a ground of its own brightness
        return self.difference >= max(_LEAST + _NOISE * self.noise, _SHARE * self.contrast)


def check(
    info: VideoInfo,
    index: FrameIndex,
    chunk: Chunk,
    segment: Segment,
    linked: Linked,
    detector: Detector,
    *,
    found: Sequence[Track] = (),
    device: torch.device,
    threads: int = 1,
    stride: int = STRIDE,
) -> tuple[GateFinding, ...]:
    """What may still show in the chunk's segment. `detector` must not be the one that the pipeline found faces with;
    `found` are tracks from an earlier round. Raises VerifyError when source and segment can't be compared."""
    finder = FaceFinder(detector, info.layout, device, _LOOKS)
    tracks = [t for t in (*linked.tracks, *found) if t.frames[0] < chunk.stop and t.frames[-1] >= chunk.start]
    findings, unsure = list[GateFinding](), list[GateFinding]()
    for picture, after in _side_by_side(info, index, chunk, segment, threads, device):
        frame = picture.number
        mine = [t.boxes[frame - t.frames[0]] for t in tracks if t.frames[0] <= frame <= t.frames[-1]]
        boxes = [(box, 1.0, "unchanged track") for box in mine]
        if (frame - chunk.start) % stride == 0 or frame == chunk.stop - 1:
            seen = finder.find([picture], [True])[0]
            rows = [
                r for r in np.flatnonzero(seen.scores >= LIKELY) if not _of_a_head(seen.boxes[r], seen.scores[r], mine)
            ]
            boxes += [(seen.boxes[r], float(seen.scores[r]), "unchanged face") for r in rows]
        before = Luma(picture.planes[0], picture.layout.depth)
        noise = _noise(before, after, [box for box, _, _ in boxes])
        for box, score, why in boxes:
            if min(box[2:] - box[:2]) < _SMALLEST or measure(before, after, box, noise).enough:
                continue
            finding = GateFinding(chunk.index, frame, _numbers(box), why, score)
            (findings if score >= SURE else unsure).append(finding)
    return tuple(sorted([*findings, *_confirmed(unsure, findings, stride)], key=lambda f: (f.frame, f.box)))


def _of_a_head(box: Floats, score: float, heads: Sequence[Floats]) -> bool:
    """Whether a box is a small part of a tracked head: ears and curls look like faces to a detector that sees nothing
    else. The face itself is judged by its own box."""
    middle, size = (box[:2] + box[2:]) / 2, float(np.max(box[2:] - box[:2]))
    for head in heads:
        grow = (head[2:] - head[:2]) * _HEAD
        if size < (_PART_SURE if score >= SURE else _PART) * float(np.max(head[2:] - head[:2])) and bool(
            (middle >= head[:2] - grow).all() and (middle <= head[2:] + grow).all()
        ):
            return True
    return False


def _numbers(box: Floats) -> tuple[float, float, float, float]:
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _confirmed(unsure: Sequence[GateFinding], sure: Sequence[GateFinding], stride: int) -> list[GateFinding]:
    """Those that were found at the same place at a look before or after, too."""
    every = [*unsure, *sure]
    return [f for f in unsure if any(0 < abs(f.frame - o.frame) <= stride and _iou(f, o) >= _AGAIN for o in every)]


def _iou(a: GateFinding, b: GateFinding) -> float:
    return float(overlap(np.array([a.box], np.float32), np.array([b.box], np.float32))[0, 0])


@dataclass(frozen=True, slots=True)
class Luma:
    """Samples (H, W) as they are stored, made into levels of 255 only where they are looked at."""

    samples: Tensor
    depth: int

    def levels(self, rows: slice, columns: slice) -> Tensor:
        """(h, w) float32."""
        levels: Tensor = self.samples[rows, columns].float() * (255 / (2**self.depth - 1))
        return levels


def measure(before: Luma, after: Luma, box: Floats, noise: float) -> Change:
    """The change inside the ellipse of 0.8 of the box, of luma (H, W) in levels of 255. What lies outside the picture
    doesn't count; a face that is all outside has changed."""
    # Large faces on every few pixels: means of some ten thousand differences are exact enough.
    step = max(1, int(min(box[2:] - box[:2]) // 96))
    height, width = (-(-n // step) for n in before.samples.shape)
    box = (box / step).astype(np.float32)
    x0, x1 = max(0, int(np.floor(box[0]))), min(width, int(np.ceil(box[2])))
    y0, y1 = max(0, int(np.floor(box[1]))), min(height, int(np.ceil(box[3])))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return Change(255.0, 0.0, 0.0, 0.0, 0.0)
    device = before.samples.device
    x = (torch.arange(x0, x1, device=device) + 0.5 - float(box[0] + box[2]) / 2) / float(box[2] - box[0]) * 2.5
    y = (torch.arange(y0, y1, device=device) + 0.5 - float(box[1] + box[3]) / 2) / float(box[3] - box[1]) * 2.5
    mask = (x[None] ** 2 + y[:, None] ** 2) <= 1
    if not mask.any():
        mask = torch.ones_like(mask)
    rows, columns = slice(y0 * step, y1 * step, step), slice(x0 * step, x1 * step, step)
    a, b = before.levels(rows, columns)[mask], after.levels(rows, columns)[mask]
    da, db = a - a.mean(), b - b.mean()
    alike = float((da * db).mean() / (da.square().mean() * db.square().mean()).sqrt().clamp_min(1e-6))
    return Change(float((a - b).abs().mean()), float(da.abs().mean()), float(db.abs().mean()), alike, noise)


def _noise(before: Luma, after: Luma, boxes: Sequence[Floats]) -> float:
    """Mean difference on a grid of points outside of the boxes."""
    step = 4
    every = slice(None, None, step)
    difference = (before.levels(every, every) - after.levels(every, every)).abs()
    outside = torch.ones_like(difference, dtype=torch.bool)
    for box in boxes:
        grow = (box[2:] - box[:2]) * 0.5
        low, high = np.maximum((box[:2] - grow) / step, 0), np.maximum((box[2:] + grow) / step + 1, 0)
        outside[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])] = False
    return float(difference[outside].mean()) if outside.sum() >= 64 else 1.0


def _side_by_side(
    info: VideoInfo, index: FrameIndex, chunk: Chunk, segment: Segment, threads: int, device: torch.device
) -> Iterator[tuple[Picture, Luma]]:
    """Source pictures, and the output's luma, cut to the source's size."""
    source = ahead(read(info, index, chunk.start, chunk.stop, threads=threads, device=device), 4)
    size, count, shift = (info.layout.height, info.layout.width), 0, origin(chunk.first_pts)
    with open_input(segment.path) as container:
        stream = video_stream(container, 0)
        for (frame, lost), picture in zip(decoded(container, stream, threads), source, strict=False):
            if lost or frame.is_corrupt:
                raise VerifyError(f"segment {chunk.index} is damaged", f"at frame {picture.number}", "render it again")
            base = stream.time_base
            if frame.pts is None or base is None or frame.pts * base != (picture.pts - shift) * info.time_base:
                what = f"frame {picture.number} is at {frame.pts}, not {picture.pts}"
                raise VerifyError(f"segment {chunk.index} is not of this chunk", what, "render it again")
            layout = planes.layout_of(frame.format, frame.width, frame.height, frame.colorspace, frame.color_range)
            luma = planes.from_frame(frame, layout)[0].to(device)
            if luma.shape[0] < size[0] or luma.shape[1] < size[1]:
                raise VerifyError(f"segment {chunk.index} is smaller than its source", str(tuple(luma.shape)), "")
            count += 1
            yield picture, Luma(luma[: size[0], : size[1]], layout.depth)
    source.close()
    if count != chunk.stop - chunk.start:
        raise VerifyError(f"segment {chunk.index} ends after {count} frames", "", "render it again")


def covers(findings: Sequence[GateFinding], linked: Linked, index: FrameIndex) -> tuple[Track, ...]:
    """Findings as tracks of covers, held HOLD frames on both sides within the shot. They may reach into the chunks
    beside, which are judged by their own looks: `render_checked` draws them in the findings' chunk only."""
    groups = list[list[GateFinding]]()
    for finding in sorted(findings, key=lambda f: f.frame):
        near = [
            g
            for g in groups
            if finding.frame - g[-1].frame <= 2 * HOLD
            and not any(g[-1].frame < cut <= finding.frame for cut in index.cuts)
            and _iou(g[-1], finding) >= _AGAIN
        ]
        if near:
            near[-1].append(finding)
        else:
            groups.append([finding])
    first = 1 + max((t.id for t in linked.tracks), default=-1)
    return tuple(_cover(first + i, group, index) for i, group in enumerate(groups))


def _cover(number: int, group: Sequence[GateFinding], index: FrameIndex) -> Track:
    by_frame = dict[int, Floats]()
    for finding in group:
        box = np.array(finding.box, np.float32)
        other = by_frame.get(finding.frame, box)
        by_frame[finding.frame] = np.concatenate([np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])])
    seen = sorted(by_frame)
    start = max([0, seen[0] - HOLD, *(cut for cut in index.cuts if cut <= seen[0])])
    stop = min([len(index.pts), seen[-1] + HOLD + 1, *(cut for cut in index.cuts if cut > seen[-1])])
    frames = np.arange(start, stop, dtype=np.int32)
    boxes = np.empty((len(frames), 4), np.float32)
    boxes[: seen[0] - start] = by_frame[seen[0]]
    boxes[seen[-1] - start :] = by_frame[seen[-1]]
    for a, b in zip(seen, [*seen[1:], None], strict=True):
        boxes[a - start] = by_frame[a]
        if b is not None and b - a > 1:
            boxes[a - start + 1 : b - start] = between(by_frame[a], by_frame[b], b - a - 1)
    nothing = np.full((len(frames), 2), -1, np.int32)
    return Track(number, -1, frames, boxes, nothing, np.full(len(frames), Treatment.COVER_GATE, np.uint8))


def refuse(findings: Sequence[GateFinding]) -> None:
    """Raises LeakError when anything is found in a chunk that was rendered again already."""
    if findings:
        first = findings[0]
        raise LeakError(
            f"{len(findings)} places in chunk {first.chunk} may still show a face",
            f"first at frame {first.frame}: {first.why}",
            "the output is not released; cover all faces with --veil solid, or report the film",
        )
