"""The leak gate: holds a rendered chunk against its source before anything is released.

Two looks that share nothing with the pipeline's own detector. On every frame, every tracked face must differ from the
source by more than encoding explains. On every few frames another detector looks at the source, and whatever face it
finds must differ as well, tracked or not; but for what it isn't certain of and the network of landmarks, which the
pipeline has used, too, sees nothing in. What fails becomes a cover, and its chunk is rendered again; what fails then
keeps the output from being released. What the source shows is noted while the chunk is rendered (`witness`). What a
reviewer left open, and only that, may look as it did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import av
import numpy as np
from numpy.typing import NDArray

from pipeline import planes
from pipeline.chunk import Chunk
from pipeline.copying.copies import decoded_digest
from pipeline.encode import Segment, origin, ticks_per_tick
from pipeline.errors import InputError, LeakError, VerifyError
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.link import Linked
from pipeline.picture import PixelLayout
from pipeline.reading import decoded, open_input, video_stream
from pipeline.region import black_and_white
from pipeline.track import Floats, Track, Treatment, between, overlap
from pipeline.transfer import toned, values
from pipeline.treat import runs
from pipeline.witness import HOLD, STRIDE, SURE, Page, Samples, Witness, boxes_at, in_place

_LEAST = 1.5  # levels of 255 that a face must differ by at least
_NOISE = 3.5  # and how many times the difference that encoding makes elsewhere in the picture
_SHARE = 0.2  # and by what share of the face's own contrast; encoding alone: 0.05 to 0.3, replacing: 0.4 to 1.3
_ALIKE = 0.6  # correlation below which the output shows something else, however little it differs
_VISIBLE = 2.0  # levels of contrast below which there is nothing to be seen: a fade to black
_TWIN = 0.5  # IoU from which on what the detector sees is a tracked face, in a somewhat other box
_SHARE_TWIN = (
    0.1  # what counts instead of _SHARE there, if by the track's own box the face is another: the rest is hair
)
_AGAIN = 0.3  # IoU of two findings of one face


@dataclass(frozen=True, slots=True)
class GateFinding:
    """A place where a face may show."""

    chunk: int
    frame: int
    box: tuple[float, float, float, float]  # xyxy px
    why: str  # "unchanged track", "unchanged face", or "face beyond the border"
    score: float  # of the independent detector; 1 for a track


@dataclass(frozen=True, slots=True)
class Change:
    """How much a region differs, in levels of 255."""

    difference: float  # mean, over the ellipse inside the box
    contrast: float  # mean deviation from the mean that the source has there
    left: float  # and that the output has there
    alike: float  # correlation of source and output there: 0.98 and more for what was only encoded
    noise: float  # mean difference outside of all faces: what encoding did

    def enough(self, share: float = _SHARE) -> bool:
        """Whether the region shows something else than the source."""
        if min(self.contrast, self.left) < _VISIBLE:
            return True  # nothing was there, or nothing can be seen any more
        if self.alike < _ALIKE and self.difference >= _LEAST:
            return True  # a cover on a ground of its own brightness
        return self.difference >= max(_LEAST + _NOISE * self.noise, share * self.contrast)


def check(
    info: VideoInfo, index: FrameIndex, chunk: Chunk, segment: Segment, witness: Witness, *, threads: int = 1
) -> tuple[GateFinding, ...]:
    """What may still show in the chunk's segment, and faces beyond its borders that are followed by no track: the
    chunk that they are in finds and counts them, but their covers reach into this one. `witness` has noted the chunk's
    pictures. Decodes the segment, and raises VerifyError unless it holds exactly the chunk's frames, whole and in time.
    Tells `witness` which copied frames aren't what they were.
    """
    findings, unsure = list[GateFinding](), list[GateFinding]()
    for page, after in _side_by_side(info, index, chunk, segment, witness, threads):
        noise, changed = _noise(page, after, info.layout), list[Floats]()
        for place, samples in sorted(zip(page.places, page.patches, strict=True), key=lambda p: not p[0].tracked):
            before = levels(samples, info.layout)
            now = after.levels(place.patch.rows, place.patch.columns)
            twin = not place.tracked and any(_alike(place.box, box) >= _TWIN for box in changed)
            if measure(before, now, place.patch.inside(), noise).enough(_SHARE_TWIN if twin else _SHARE):
                changed += [place.box] if place.tracked else []
                continue
            why = "unchanged track" if place.tracked else "unchanged face"
            finding = GateFinding(chunk.index, page.frame, _numbers(place.box), why, place.score)
            (findings if place.score >= SURE else unsure).append(finding)
    for sight in witness.beyond():
        finding = GateFinding(chunk.index, sight.frame, _numbers(sight.box), "face beyond the border", sight.score)
        (findings if sight.score >= SURE else unsure).append(finding)
    return tuple(sorted([*findings, *_confirmed(unsure, findings)], key=lambda f: (f.frame, f.box)))


def _numbers(box: Floats) -> tuple[float, float, float, float]:
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _confirmed(unsure: Sequence[GateFinding], sure: Sequence[GateFinding]) -> list[GateFinding]:
    """Those that were found at the same place at a look before or after, too."""
    every = [*unsure, *sure]
    return [f for f in unsure if any(0 < abs(f.frame - o.frame) <= STRIDE and _iou(f, o) >= _AGAIN for o in every)]


def _iou(a: GateFinding, b: GateFinding) -> float:
    return _alike(np.array(a.box, np.float32), np.array(b.box, np.float32))


def _alike(a: Floats, b: Floats) -> float:
    return float(overlap(a[None], b[None])[0, 0])


def levels(samples: Samples, layout: PixelLayout) -> Floats:
    """Samples as float32 levels of 255; of an HDR film as an SDR screen would show them, since what can be seen is told
    in those."""
    if layout.transfer != "sdr":
        return _table(layout)[samples]
    return samples.astype(np.float32) * np.float32(255 / (2**layout.depth - 1))


@lru_cache(maxsize=8)
def _table(layout: PixelLayout) -> Floats:
    black, white = black_and_white(layout)
    signals = (np.arange(2**layout.depth) - black) / (white - black)
    return (16 + 219 * toned(values(signals, layout.transfer))).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Luma:
    """The output's samples (H, W) as they are stored, made into levels only where they are looked at."""

    samples: Samples
    layout: PixelLayout

    def levels(self, rows: slice, columns: slice) -> Floats:
        """(h, w) levels of 255."""
        return levels(self.samples[rows, columns], self.layout)


def measure(before: Floats, after: Floats, inside: NDArray[np.bool_], noise: float) -> Change:
    """The change of luma (h, w), in levels of 255, where `inside` (h, w) holds."""
    a, b = before[inside], after[inside]
    da, db = a - a.mean(), b - b.mean()
    alike = float(np.mean(da * db) / max(float(np.sqrt(np.mean(da * da) * np.mean(db * db))), 1e-6))
    return Change(float(np.abs(a - b).mean()), float(np.abs(da).mean()), float(np.abs(db).mean()), alike, noise)


def _noise(page: Page, after: Luma, layout: PixelLayout, least: int = 64) -> float:
    """Mean difference on a grid of points outside of the faces; 1 where there are too few of them."""
    rows, columns = page.rows, page.columns
    difference = np.abs(levels(page.grid, layout) - after.levels(rows, columns))
    outside = np.ones(difference.shape, bool)
    for place in page.places:
        grow = (place.box[2:] - place.box[:2]) * 0.5
        low, high = np.maximum((place.box[:2] - grow) / rows.step, 0), (place.box[2:] + grow) / rows.step + 1
        outside[int(low[1]) : max(0, int(high[1])), int(low[0]) : max(0, int(high[0]))] = False
    return float(difference[outside].mean()) if outside.sum() >= least else 1.0


def _side_by_side(
    info: VideoInfo, index: FrameIndex, chunk: Chunk, segment: Segment, witness: Witness, threads: int
) -> Iterator[tuple[Page, Luma]]:
    """What was noted of each frame, and the output's luma, cut to the source's size."""
    pages = witness.pages()
    try:
        with open_input(segment.path) as container:
            stream = video_stream(container, 0)
            scale = ticks_per_tick(info.time_base, stream.time_base)
            for frame, lost in decoded(container, stream, threads):
                page = next(pages, None)
                if page is None:
                    raise VerifyError(f"segment {chunk.index} has frames too many", "", "render it again")
                if lost or frame.is_corrupt:
                    raise VerifyError(f"segment {chunk.index} is damaged", f"at frame {page.frame}", "render it again")
                wanted = (int(index.pts[page.frame]) - origin(chunk.first_pts)) * scale
                if frame.pts != wanted:
                    what = f"frame {page.frame} is at {frame.pts}, not {wanted}"
                    raise VerifyError(f"segment {chunk.index} is not of this chunk", what, "render it again")
                if page.digest and decoded_digest(frame, info) != page.digest:
                    witness.unlike.append(page.frame)
                yield page, _luma(frame, info.layout, chunk)
    except InputError as error:
        raise VerifyError(f"segment {chunk.index} can't be read", str(error), "render it again") from error
    if (page := next(pages, None)) is not None:
        raise VerifyError(f"segment {chunk.index} ends before frame {page.frame}", "", "render it again")


def _luma(frame: av.VideoFrame, size: PixelLayout, chunk: Chunk) -> Luma:
    """The output's luma; encoders add a row or column to odd sizes."""
    layout = planes.layout_of_frame(frame)
    luma = planes.of_frame(planes.in_layout(frame, layout))[0].numpy()
    if luma.shape[0] < size.height or luma.shape[1] < size.width:
        raise VerifyError(f"segment {chunk.index} is smaller than its source", str(luma.shape), "")
    return Luma(luma[: size.height, : size.width], layout)


def inside(chunk: Chunk, findings: Sequence[GateFinding]) -> tuple[GateFinding, ...]:
    """Those in the chunk's own frames."""
    return tuple(f for f in findings if chunk.start <= f.frame < chunk.stop)


def covers(findings: Sequence[GateFinding], linked: Linked, index: FrameIndex, chunk: Chunk) -> tuple[Track, ...]:
    """Findings as tracks of covers, held HOLD frames on both sides within the shot; those that reach into the chunk.
    What was found beyond its borders only is not held over faces that are followed here: they are replaced or covered
    already."""
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
    made = list[Track]()
    for group in groups:
        cover = _along(_cover(group, index), group, linked)
        made += [cover] if inside(chunk, group) else _left(cover, linked, chunk)
    first = 1 + max((t.id for t in linked.tracks), default=-1)
    return tuple(replace(cover, id=first + i) for i, cover in enumerate(made))


def _left(cover: Track, linked: Linked, chunk: Chunk) -> list[Track]:
    """What remains of a cover in the chunk where no tracked face is in its place that is replaced or covered."""
    closed = linked.closed()
    wanted = np.array(
        [
            chunk.start <= frame < chunk.stop and not in_place(box, boxes_at(closed, int(frame)))
            for frame, box in zip(cover.frames, cover.boxes, strict=True)
        ]
    )
    return [
        replace(
            cover,
            frames=cover.frames[a:b],
            boxes=cover.boxes[a:b],
            tracklet_of=cover.tracklet_of[a:b],
            treatment=cover.treatment[a:b],
        )
        for a, b in runs(wanted)
    ]


def _cover(group: Sequence[GateFinding], index: FrameIndex) -> Track:
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
    return Track(-1, -1, frames, boxes, nothing, np.full(len(frames), Treatment.COVER_GATE, np.uint8))


def _along(cover: Track, group: Sequence[GateFinding], linked: Linked) -> Track:
    """The cover, moved along with the tracked face that it is over, if it is over one on all frames of the findings."""
    seen = {finding.frame - int(cover.frames[0]) for finding in group}
    for track in linked.tracks:
        shift = cover.frames - int(track.frames[0])
        known = (shift >= 0) & (shift < len(track.frames))
        if not all(known[k] and in_place(cover.boxes[k], [track.boxes[shift[k]]]) for k in seen):
            continue
        boxes = cover.boxes.copy()
        for k in np.flatnonzero(known):
            near = min(seen, key=lambda other: abs(other - int(k)))
            if k not in seen:
                boxes[k] = _moved(cover.boxes[near], track.boxes[shift[near]], track.boxes[shift[k]])
        return replace(cover, boxes=boxes)
    return cover


def _moved(box: Floats, before: Floats, after: Floats) -> Floats:
    """A box (4,), where it would be had it moved and grown as another one did."""
    size = np.maximum(before[2:] - before[:2], 1)
    corners = (box.reshape(2, 2) - before[:2]) / size * (after[2:] - after[:2]) + after[:2]
    return np.asarray(corners.reshape(4), np.float32)


def covered(findings: Sequence[GateFinding], covers: Sequence[Track]) -> bool:
    """Whether one of the findings is where a cover is already: more covering doesn't help."""
    return any(
        _alike(np.array(finding.box, np.float32), box) >= _TWIN
        for finding in findings
        for box in boxes_at(covers, finding.frame)
    )


def refuse(findings: Sequence[GateFinding]) -> None:
    """Raises LeakError when anything is found that covering doesn't help."""
    if findings:
        first = findings[0]
        raise LeakError(
            f"{len(findings)} places in chunk {first.chunk} may still show a face",
            f"first at frame {first.frame}: {first.why}",
            "the output is not released; cover all faces with --veil solid, or report the film",
        )
