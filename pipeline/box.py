"""Follow a box that somebody drew, forwards and backwards, until it is lost or the shot ends.

Median flow (Kalal, Mikolajczyk and Matas, "Forward-backward error: automatic detection of tracking failures", ICPR
2010): points on a grid in the box are followed by pyramidal Lucas-Kanade to the next frame and back; those that don't
come back to where they were, or look different there, are left out, and the median of the rest moves and scales the
box. What is in it must stay like what was in it before, or it is lost. In a made film of five people who turn, talk and
pass behind one another, six boxes, one for each of them in each shot, covered 77 % of their 1225 faces; on 98 % of the
frames with a face on which a box was followed, the face was in its cover. Without that look, covers slid onto the room,
and 67 % were covered. Frames are streamed: backwards in windows that are read forwards.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.decode import read
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.picture import Picture
from pipeline.track import Floats, Ints

_GRID = 12  # points along each side of the box
_INNER = 0.8  # of the box: the ellipse in which they lie
_LOOK, _SAME = 24, 0.35  # px of the small picture of the box that is compared over time, and how alike it must stay
_LEARN = 0.05  # share by which it is brought up to date on each frame
_PATCH = 9  # px; the piece of picture around a point that is compared
_LEVELS, _WINDOW = 4, 15  # of the pyramid, and px
_SIDE = 48.0  # px that the box's longer side should have where it is followed
_LONGEST = 960.0  # px of the picture there, if that doesn't make the box too small
_LEAST_POINTS = 8
_STRAYED = 0.06  # of the box's side: a median error of there and back beyond which it is lost
_ALIKE = 0.55  # median correlation of the points' pieces below which it is lost
_STRIDE, _GROWTH = 0.6, 1.12  # most that it may move, in its own sides, and grow in one frame
_SMALLEST = 6.0  # px; below, there is nothing to follow or to recognise
_HELD, _SWELL = 12, 0.02  # frames that it is held where it was lost, and how much it grows on each
_MARGIN, _DRIFT, _MOST = 0.15, 0.003, 0.4  # added on every side; the more, the farther from where it was drawn
_WINDOW_BYTES = 96 << 20  # of pictures that are held for going backwards

Grey = NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Followed:
    """Where the box is: consecutive frames (n,), boxes (n, 4) xyxy px with their margin, and on how many of the frames
    it was followed, and not only held."""

    frames: Ints
    boxes: Floats
    sure: int


def follow_box(
    info: VideoInfo,
    index: FrameIndex,
    frame: int,
    box: Box,
    within: tuple[int, int],
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Followed:
    """Follow `box` (xyxy px of the coded picture) from `frame` on, both ways, inside its shot and `within` [first,
    last). Memory: two pictures forwards, some 100 MB backwards. Raises VerifyError when the film can't be read."""
    first = max([within[0], *(cut for cut in index.cuts if cut <= frame)])
    last = min([within[1], *(cut for cut in index.cuts if cut > frame)])
    scale = _scale(info, box)

    def greys(start: int, stop: int) -> Iterator[Grey]:
        for picture in read(info, index, start, stop, threads=threads):
            if progress is not None:
                progress(1)
            yield grey(picture, scale)

    small = np.array(box, np.float32) * scale
    forwards = list(_track(greys(frame, last), small))
    backwards = list(_track(_reversed(greys, first, frame, info, scale), small))[1:]
    sure = len(forwards) + len(backwards)
    ahead = _held(forwards, last - frame - len(forwards))
    behind = _held(backwards or [small], frame - first - len(backwards))
    boxes = np.stack([*reversed(behind), *reversed(backwards), *forwards, *ahead]) / np.float32(scale)
    start = frame - len(backwards) - len(behind)
    frames = np.arange(start, start + len(boxes), dtype=np.int32)
    return Followed(frames, _grown(np.asarray(boxes, np.float32), np.abs(frames - frame)), sure)


def _scale(info: VideoInfo, box: Box) -> float:
    """Of the pictures in which it is followed: small ones are faster and steadier, but a face needs some pixels."""
    side = max(box[2] - box[0], box[3] - box[1])
    return float(min(1.0, max(_LONGEST / max(info.layout.width, info.layout.height), _SIDE / max(side, 1.0))))


def grey(picture: Picture, scale: float) -> Grey:
    """The luma of a picture with 8 bits, made smaller."""
    luma = picture.planes[0]
    depth = picture.layout.depth
    samples = (luma >> (depth - 8) if depth > 8 else luma).cpu().numpy().astype(np.uint8)
    if scale >= 1:
        return cast(Grey, np.ascontiguousarray(samples))
    size = (max(1, round(samples.shape[1] * scale)), max(1, round(samples.shape[0] * scale)))
    return cast(Grey, cv2.resize(samples, size, interpolation=cv2.INTER_AREA))


def _reversed(
    greys: Callable[[int, int], Iterator[Grey]], first: int, frame: int, info: VideoInfo, scale: float
) -> Iterator[Grey]:
    """The pictures from `frame` back to `first`; no more of them are held than _WINDOW_BYTES."""
    size = max(1, int(info.layout.width * info.layout.height * scale * scale))
    count = max(8, _WINDOW_BYTES // size)
    stop = frame + 1
    while stop > first:
        start = max(first, stop - count)
        yield from reversed(list(greys(start, stop)))
        stop = start


def _track(pictures: Iterable[Grey], box: Floats) -> Iterator[Floats]:
    """The box on each picture, the first of which is where it was drawn, until it is lost: it can't be followed, or
    what is there looks no more like what was followed. Points may slide off what moves, onto what is behind it."""
    before: Grey | None = None
    known: Floats | None = None
    for now in pictures:
        if before is not None:
            moved = flow(before, now, box)
            if moved is None:
                return
            box = moved
        look = _look(now, box)
        if known is None:
            known = look
        if float((known * look).mean()) < _SAME:
            return
        known = _normed((1 - _LEARN) * known + _LEARN * look)
        yield box
        before = now


def _look(picture: Grey, box: Floats) -> Floats:
    """(n,) the box, without its rim, as a small picture without brightness and contrast."""
    side = (box[2:] - box[:2]) * _INNER
    centre = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    size = (max(2, round(float(side[0]))), max(2, round(float(side[1]))))
    piece = cv2.resize(cv2.getRectSubPix(picture, size, centre), (_LOOK, _LOOK), interpolation=cv2.INTER_AREA)
    return _normed(np.asarray(piece, np.float32).ravel())


def _normed(look: Floats) -> Floats:
    look = look - look.mean()
    return np.asarray(look / max(float(look.std()), 1e-3), np.float32)


def flow(before: Grey, now: Grey, box: Floats) -> Floats | None:
    """Where the box (4,) is on the next picture; None when it is lost."""
    side = float(max(box[2] - box[0], box[3] - box[1]))
    points = _points(box, before.shape)
    if len(points) < _LEAST_POINTS or side < _SMALLEST:
        return None
    there, found = _flowed(before, now, points)
    back, found_back = _flowed(now, before, there)
    error = np.linalg.norm(back - points, axis=1)
    good = found & found_back & np.isfinite(error)
    if good.sum() < _LEAST_POINTS:
        return None
    alike = _alike(before, now, points, there)
    if np.median(error[good]) > max(1.0, _STRAYED * side) or np.median(alike[good]) < _ALIKE:
        return None
    good &= (error <= np.median(error[good])) & (alike >= np.median(alike[good]))
    if good.sum() < 3:
        return None
    return _moved(box, points[good], there[good], side, now.shape)


def _flowed(before: Grey, now: Grey, points: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Where the points (n, 2) are on the next picture, and whether they were found."""
    size = (_WINDOW, _WINDOW)
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, now, points, points.copy(), winSize=size, maxLevel=_LEVELS)
    return np.asarray(there, np.float32), np.asarray(found)[:, 0] == 1


def _points(box: Floats, shape: tuple[int, ...]) -> Floats:
    """(n, 2) on a grid in the ellipse inside the box, and in the picture: what is farther out is background, mostly."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, _GRID)] * 2)
    unit = np.stack([x.ravel(), y.ravel()], 1)[(x**2 + y**2 <= 1).ravel()] * _INNER
    points = ((box[:2] + box[2:]) / 2 + unit * (box[2:] - box[:2]) / 2).astype(np.float32)
    return points[(points >= 1).all(1) & (points[:, 0] < shape[1] - 2) & (points[:, 1] < shape[0] - 2)]


def _alike(before: Grey, now: Grey, points: Floats, there: Floats) -> Floats:
    """(n,) normalised correlation of the pieces around each pair of points."""
    size = (_PATCH, _PATCH)
    pairs = [
        (
            cv2.getRectSubPix(before, size, (float(a[0]), float(a[1]))),
            cv2.getRectSubPix(now, size, (float(b[0]), float(b[1]))),
        )
        for a, b in zip(points, np.nan_to_num(there), strict=True)
    ]
    a, b = (np.stack([pair[k] for pair in pairs]).reshape(len(pairs), -1).astype(np.float32) for k in (0, 1))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    spread = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    flat = spread < 1e-3  # nothing to compare: as alike as the rest
    return np.asarray(np.where(flat, 1.0, (a * b).sum(1) / np.maximum(spread, 1e-3)), np.float32)


def _moved(box: Floats, points: Floats, there: Floats, side: float, shape: tuple[int, ...]) -> Floats | None:
    """The box moved by the median of the points, and scaled by the median of the ratios of their distances."""
    shift = np.median(there - points, axis=0)
    i, j = np.triu_indices(len(points), 1)
    apart = np.linalg.norm(points[i] - points[j], axis=1)
    far = apart > 0.1 * side
    ratio = float(np.median(np.linalg.norm(there[i] - there[j], axis=1)[far] / apart[far])) if far.any() else 1.0
    if float(np.linalg.norm(shift)) > _STRIDE * side or not 1 / _GROWTH <= ratio <= _GROWTH:
        return None
    centre, half = (box[:2] + box[2:]) / 2 + shift, (box[2:] - box[:2]) / 2 * ratio
    if not (0 <= centre[0] < shape[1] and 0 <= centre[1] < shape[0]):
        return None  # it has left the picture
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _held(boxes: list[Floats], room: int) -> list[Floats]:
    """Where it was lost it is held for a while, and grows: it may go on a little way."""
    last = boxes[-1]
    grow = (last[2:] - last[:2]) * _SWELL
    return [
        np.concatenate([last[:2] - grow * k, last[2:] + grow * k]).astype(np.float32)
        for k in range(1, min(room, _HELD) + 1)
    ]


def _grown(boxes: Floats, away: NDArray[np.int32]) -> Floats:
    margin = np.minimum(_MARGIN + _DRIFT * away, _MOST)[:, None] * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1).astype(np.float32)
