"""What the source shows where the leak gate will compare, noted while a chunk is rendered, before it is painted over.

Decoding the source again for the gate costs more than comparing does, and the pictures were all there a moment before.
So their brightness is noted in every tracked face, in every face that the gate's own detector sees in the source, and
on a grid that tells what encoding does elsewhere. Large faces are noted on every few pixels. The notes lie in memory
while they are few, and in a file without a name when they are more: it is gone when it is closed, or when its process
ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.chunk import Chunk
from pipeline.copying.copies import digest
from pipeline.copying.groups import Group
from pipeline.detect import Detector, FaceFinder, Looks
from pipeline.detections import Detections
from pipeline.errors import VerifyError
from pipeline.facts import FrameIndex
from pipeline.follow import Mesher
from pipeline.link import Linked, is_open
from pipeline.picture import Picture, PixelLayout
from pipeline.track import Floats, Track, Treatment, overlap

STRIDE = 16  # frames from one look of the detector to the next
HOLD = 17  # frames that what it finds is covered before and after
CERTAIN, NOTHING = 0.85, 0.02  # a face of at least this score needs no second word; of a flag below this, it is none
SURE, LIKELY = 0.75, 0.5  # a face of this score is one; of this score, when it is found again at the next look
_SMALLEST = 8.0  # px of a face's shorter side; below, there is nothing to recognise
_HEAD = 0.35  # of a face's box, on each side of it: the head
_SAME, _WITHIN, _RATIO = 0.3, 0.5, 0.4  # IoU; share of the smaller box; smaller side by larger side
_PART, _PART_SURE = 0.4, 0.28  # of a face's size; what is smaller and on its head is a part of it, the sure ones too
_LARGEST, _SHRINK = 640, 2  # px of a look's longer side at most; it is half the picture's where that is less
_FINE = 96  # samples, at least, along the shorter side of a face that has as many
_POINTS = 40_000  # of the grid, about
_IN_MEMORY = 32 << 20  # bytes of notes

Samples = NDArray[np.uint8] | NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Patch:
    """The samples of luma in a box that are compared: every few rows and columns."""

    rows: slice
    columns: slice
    box: Floats  # (4,) xyxy, in units of `rows.step` px

    @staticmethod
    def of(box: Floats, width: int, height: int) -> "Patch | None":
        """None for a box (4,) xyxy px that lies outside of the picture, or has no two rows and columns in it."""
        # Large faces on every few pixels: means of some ten thousand differences are exact enough.
        step = max(1, int(min(box[2:] - box[:2]) // _FINE))
        box = (box / step).astype(np.float32)
        x0, x1 = max(0, int(np.floor(box[0]))), min(-(-width // step), int(np.ceil(box[2])))
        y0, y1 = max(0, int(np.floor(box[1]))), min(-(-height // step), int(np.ceil(box[3])))
        if x1 - x0 < 2 or y1 - y0 < 2:
            return None
        rows = slice(y0 * step, min(height, y1 * step), step)
        return Patch(rows, slice(x0 * step, min(width, x1 * step), step), box)

    @property
    def shape(self) -> tuple[int, int]:
        """Samples down and across."""
        return _count(self.rows), _count(self.columns)

    def inside(self) -> NDArray[np.bool_]:
        """(h, w) which samples lie in the ellipse of 0.8 of the box; all of them, where that holds none."""
        first_y, first_x = self.rows.start // self.rows.step, self.columns.start // self.columns.step
        (h, w), (x0, y0, x1, y1) = self.shape, (float(v) for v in self.box)
        x = (np.arange(first_x, first_x + w, dtype=np.float32) + (0.5 - (x0 + x1) / 2)) / (x1 - x0) * 2.5
        y = (np.arange(first_y, first_y + h, dtype=np.float32) + (0.5 - (y0 + y1) / 2)) / (y1 - y0) * 2.5
        mask: NDArray[np.bool_] = x[None] ** 2 + y[:, None] ** 2 <= 1
        return mask if mask.any() else np.ones_like(mask)


def _count(every: slice) -> int:
    return len(range(every.start, every.stop, every.step))


def grid(layout: PixelLayout) -> tuple[slice, slice]:
    """Rows and columns of points all over the picture. Their distance is odd: where it is even, all points lie at one
    and the same place in the encoder's blocks."""
    step = max(3, int((layout.width * layout.height / _POINTS) ** 0.5) | 1)
    return slice(0, layout.height, step), slice(0, layout.width, step)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a face is in the source."""

    box: Floats  # (4,) xyxy px
    score: float  # of the gate's detector; 1 for a track
    tracked: bool
    patch: Patch


@dataclass(frozen=True, slots=True)
class Page:
    """What was noted of one frame."""

    frame: int
    places: tuple[Place, ...]
    rows: slice  # of the grid, in px
    columns: slice
    grid: Samples  # (h, w) as they are stored
    patches: tuple[Samples, ...]  # of each place
    digest: bytes = b""  # of the whole picture, if it is copied


def looks(index: FrameIndex, chunk: Chunk, within: tuple[int, int]) -> frozenset[int]:
    """The frames to look at: every STRIDE-th of the film, and the first and the last of each shot. Those of the chunk,
    and those around it whose covers reach into it: so neighbours see the same. `within`: the frames of the job."""
    start = max([within[0], chunk.start - HOLD, *(cut for cut in index.cuts if cut <= chunk.start)])
    stop = min([within[1], chunk.stop + HOLD, *(cut for cut in index.cuts if cut >= chunk.stop)])
    ends = {within[0], within[1] - 1, *index.cuts, *(cut - 1 for cut in index.cuts)}
    return frozenset(frame for frame in range(start, stop) if frame % STRIDE == 0 or frame in ends)


@dataclass(frozen=True, slots=True)
class Sight:
    """A face in a picture of a neighbouring chunk."""

    frame: int
    box: Floats  # (4,) xyxy px
    score: float


class Witness:
    """Notes of one chunk. As a context manager it throws them away at the end.

    For each rendering: `begin`, `note` all pictures of `span` in order, and then read the `pages`."""

    def __init__(
        self,
        layout: PixelLayout,
        index: FrameIndex,
        chunk: Chunk,
        linked: Linked,
        detector: Detector,
        device: torch.device,
        folder: Path,
        within: tuple[int, int] | None = None,
        mesher: Mesher | None = None,
    ) -> None:
        """`detector` must not be the one that the pipeline found faces with; `folder` is for notes that memory shall
        not hold. `within`: the frames [first, last) of the job, if not all. `mesher` may say that what the detector
        isn't certain of is nothing like a face: flowers on a dress. Of 287 faces that the detector sees in test clips
        it dismisses none."""
        self._mesher = mesher
        self._layout, self._chunk, self._detector, self._device = layout, chunk, detector, device
        # One look: the detector makes smaller pictures of it by itself.
        size = min(_LARGEST, max(layout.width, layout.height) // _SHRINK)
        self._how = Looks(full=size, scan=size, every=1)
        self._looks = looks(index, chunk, within or (0, len(index)))
        self._linked, self._tracks, self._open, self._kept = linked, list[Track](), list[Track](), list[Track]()
        self._grid = grid(layout)
        self._kind = np.uint8 if layout.depth == 8 else np.int16
        self._seen = dict[int, Detections]()  # by the frame looked at; the source stays what it is
        self._index = list[tuple[int, tuple[Place, ...], bytes]]()
        self._copied: Sequence[Group] = ()
        self.unlike = list[int]()  # copied frames that came out other than they were: the gate notes them
        self._file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115 closed by `__exit__`
        self.begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def begin(self, found: Sequence[Track] = (), copied: Sequence[Group] = ()) -> None:
        """Before a rendering, in which the tracks `found` are covered, too, and groups are copied."""
        self._copied, self.unlike = copied, []
        chunk = self._chunk
        start, stop = min([chunk.start, *self._looks]), max([chunk.stop, *(frame + 1 for frame in self._looks)])
        near = [t for t in (*self._linked.tracks, *found) if t.frames[0] < stop and t.frames[-1] >= start]
        self._tracks = [t for t in near if not is_open(t)]
        self._open = [t for t in near if is_open(t)]
        self._kept = [t for t in self._open if (t.treatment == Treatment.KEPT).any()]
        self._index.clear()
        self._file.seek(0)
        self._file.truncate()

    @property
    def span(self) -> tuple[int, int]:
        """The frames [start, stop) to be noted now: the chunk's, and as far as there is still something to look at."""
        left = self._looks - self._seen.keys()
        return min([self._chunk.start, *left]), max([self._chunk.stop, *(frame + 1 for frame in left)])

    def note(self, pictures: Sequence[Picture]) -> None:
        """Takes the next pictures, as they were decoded."""
        for picture in pictures:
            self.look(picture)
            if not self._chunk.start <= picture.number < self._chunk.stop:
                continue
            places = tuple(self._places(picture.number))
            luma = picture.planes[0]
            parts = [luma[self._grid], *(luma[p.patch.rows, p.patch.columns] for p in places)]
            self._file.write(torch.cat([part.reshape(-1) for part in parts]).cpu().numpy().tobytes())
            copied = any(group.start <= picture.number < group.stop for group in self._copied)
            self._index.append((picture.number, places, digest(picture.planes) if copied else b""))

    def digests(self) -> dict[int, bytes]:
        """Of the copied frames."""
        return {frame: found for frame, _, found in self._index if found}

    def sights(self) -> list[tuple[int, float]]:
        """Each frame that was looked at and shows what may be a face, however unsure, and its highest score."""
        highest = {frame: float(seen.scores.max()) for frame, seen in self._seen.items() if len(seen)}
        return [(frame, score) for frame, score in sorted(highest.items()) if score >= LIKELY]

    def look(self, picture: Picture) -> None:
        """Look for faces in a picture that is to be looked at, unless that was done. `note` does it, too; who wants to
        know what there is to see before anything is rendered calls this for all pictures of `span`."""
        if picture.number in self._looks and picture.number not in self._seen:
            # A new finder each time, so that what is seen in a picture depends on nothing else.
            finder = FaceFinder(self._detector, self._layout, self._device, self._how)
            self._seen[picture.number] = self._not_nothing(picture, finder.find([picture], [True])[0])

    def _not_nothing(self, picture: Picture, seen: Detections) -> Detections:
        """Without what the landmarks' network sees nothing in."""
        rows = np.flatnonzero((seen.scores >= LIKELY) & (seen.scores < CERTAIN))
        if self._mesher is None or not len(rows):
            return seen
        _, presence = self._mesher.locate([picture], np.zeros(len(rows), np.int64), seen.boxes[rows])
        keep = np.ones(len(seen), bool)
        keep[rows[presence < NOTHING]] = False
        return seen.take(keep)

    def pages(self) -> Iterator[Page]:
        """One for each frame of the chunk. Raises VerifyError when not all frames were noted."""
        if [frame for frame, _, _ in self._index] != list(range(self._chunk.start, self._chunk.stop)):
            what = f"chunk {self._chunk.index} was not seen as a whole before it was painted"
            raise VerifyError(what, f"{len(self._index)} frames were", "render it again")
        self._file.seek(0)
        points = (_count(self._grid[0]), _count(self._grid[1]))
        for frame, places, whole in self._index:
            parts = tuple(self._read(shape) for shape in (points, *(p.patch.shape for p in places)))
            yield Page(frame, places, *self._grid, parts[0], parts[1:], whole)

    def _read(self, shape: tuple[int, int]) -> Samples:
        kind = np.dtype(self._kind)
        samples: Samples = np.frombuffer(self._file.read(shape[0] * shape[1] * kind.itemsize), kind).reshape(shape)
        return samples

    def beyond(self) -> list[Sight]:
        """Faces seen around the chunk where no track is. Those in a tracked face's place are replaced or covered by the
        chunk that they are in."""
        sights = list[Sight]()
        for frame in sorted(self._seen):
            if self._chunk.start <= frame < self._chunk.stop:
                continue
            mine = boxes_at(self._tracks, frame)
            for box, score in self._faces(frame, mine):
                if min(box[2:] - box[:2]) >= _SMALLEST and not in_place(box, mine):
                    sights.append(Sight(frame, box, score))
        return sights

    def _places(self, frame: int) -> Iterator[Place]:
        """Tracked faces of any size that count, and what the detector saw besides."""
        mine = boxes_at(self._tracks, frame)
        boxes = [(box, 1.0, True) for box in mine]
        if frame in self._seen:
            boxes += [(box, score, False) for box, score in self._faces(frame, mine)]
        for box, score, tracked in boxes:
            patch = Patch.of(box, self._layout.width, self._layout.height)
            if patch is not None and min(box[2:] - box[:2]) >= _SMALLEST:
                yield Place(box, score, tracked, patch)

    def _faces(self, frame: int, closed: Sequence[Floats]) -> list[tuple[Floats, float]]:
        """What the detector saw there, but for what people left open."""
        # Parts of a face that stays are its own; what is said to be no face may still have a face in it.
        found = faces(self._seen[frame], [*closed, *boxes_at(self._kept, frame)])
        return without_open(found, boxes_at(self._open, frame), closed)


def without_open(
    found: Sequence[tuple[Floats, float]], left_open: Sequence[Floats], closed: Sequence[Floats]
) -> list[tuple[Floats, float]]:
    """Boxes and scores without those that are what people left open: of each place one at most, the one that fits it
    best, and none that could as well be a face that is to be hidden."""
    free = [k for k, (box, _) in enumerate(found) if not in_place(box, closed)]
    pairs = sorted(
        ((_alike(found[k][0], place), k, n) for k in free for n, place in enumerate(left_open)), key=lambda p: -p[0]
    )
    gone, used = set[int](), set[int]()
    for _, k, n in pairs:
        if k not in gone and n not in used and in_place(found[k][0], [left_open[n]]):
            gone.add(k)
            used.add(n)
    return [each for k, each in enumerate(found) if k not in gone]


def _alike(box: Floats, other: Floats) -> float:
    return float(overlap(box[None], other[None])[0, 0])


def boxes_at(tracks: Sequence[Track], frame: int) -> list[Floats]:
    """Boxes (4,) of those tracks that have one on this frame."""
    return [t.boxes[frame - t.frames[0]] for t in tracks if t.frames[0] <= frame <= t.frames[-1]]


def in_place(box: Floats, others: Sequence[Floats]) -> bool:
    """Whether a box is about where one of the others is. Detectors draw them larger or smaller around one face."""
    for other in others:
        low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
        shared = float(np.prod(np.clip(high - low, 0, None)))
        small, large = sorted((float(np.prod(box[2:] - box[:2])), float(np.prod(other[2:] - other[:2]))))
        if shared >= _SAME * (small + large - shared) or (shared >= _WITHIN * small and small >= _RATIO**2 * large):
            return True
    return False


def faces(seen: Detections, heads: Sequence[Floats]) -> list[tuple[Floats, float]]:
    """Boxes and scores of those that may be faces, and aren't a part of one of the heads."""
    rows = [r for r in np.flatnonzero(seen.scores >= LIKELY) if not _of_a_head(seen.boxes[r], seen.scores[r], heads)]
    return [(seen.boxes[r], float(seen.scores[r])) for r in rows]


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
