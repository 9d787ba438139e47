"""What a clip's replaced faces do, beside the untouched ones and beside those that were only encoded again."""

import hashlib
import itertools
import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from privacy import instruments, mirror, scores
from privacy.films import Clip, replaced
from privacy.instruments import Floats, View

from pipeline import appearance
from pipeline.detections import overlaps
from pipeline.look import look
from pipeline.picture import Picture
from pipeline.shape import pose
from pipeline.smooth import smooth
from pipeline.track import Treatment

FILMS = ("source", "output", "control")
MIRROR = "mirrored"  # the source once more, see `mirror`
_MEASURES = ("motion.py", "instruments.py", "mirror.py", "tfjs.py")
EVERY = 5  # frames from one look of recognisers and detector to the next
_TEXTURE = 96  # px
LEAST = 12  # frames of a run that are worth a correlation
_SHUT, _AJAR = 0.5, 0.67  # of how far the lids usually are apart
_GROWN = 1.0  # of a face's box on each side, which isn't "outside the faces"


@dataclass(slots=True)
class Face:
    """One track's replaced frames, in three films. Arrays run over the frames at which all three show landmarks. What
    the mirrored source doesn't show is NaN."""

    name: str
    person: int
    frames: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    meshes: dict[str, list[Floats]] = field(default_factory=lambda: {f: [] for f in (*FILMS, MIRROR)})
    lids: dict[str, list[Floats]] = field(default_factory=lambda: {f: [] for f in (*FILMS, MIRROR)})
    iris: dict[str, list[Floats]] = field(default_factory=lambda: {f: [] for f in (*FILMS, MIRROR)})
    crops: dict[str, list["Crop"]] = field(default_factory=lambda: {f: [] for f in FILMS})  # until they are unwrapped
    textures: dict[str, list[Floats]] = field(default_factory=dict)  # the face, warped to one shape
    looked: list[int] = field(default_factory=list)  # frames at which recognisers looked
    looks: dict[str, list[dict[str, Floats]]] = field(default_factory=lambda: {f: [] for f in FILMS})
    lost: int = 0  # frames of which the output showed no landmarks, and the source did


@dataclass(slots=True)
class Measured:
    """All that was measured on one clip."""

    name: str
    faces: list[Face] = field(default_factory=list)
    blank: list[Face] = field(default_factory=list)  # tracks on which the output never shows landmarks
    seen: int = 0  # faces that the independent detector finds in the source, on frames looked at
    kept: int = 0  # and at the same place in the output
    seen_replaced: int = 0  # the same for faces that were replaced
    kept_replaced: int = 0
    replaced: int = 0  # face-frames
    covered: int = 0
    error: float = 0.0  # sums of squared differences outside the faces, output and control, and their number
    error_control: float = 0.0
    samples: int = 0


def kept(clip: Clip) -> Measured:
    """`measure`, or what it said last time of the same films with the same code."""
    code = b"".join(Path(__file__).with_name(n).read_bytes() for n in _MEASURES)
    path = clip.control.with_name(f"measured_{hashlib.sha256(code).hexdigest()[:12]}.pickle")
    if not path.exists():
        path.write_bytes(pickle.dumps(measure(clip)))
    found = pickle.loads(path.read_bytes())
    assert isinstance(found, Measured)
    return found


def measure(clip: Clip) -> Measured:
    """Three films side by side. Memory: a batch of pictures, and per face and frame landmarks and a small texture."""
    result = Measured(clip.name)
    by_track = {t.id: Face(f"{clip.name} {t.id}", t.person) for t in clip.linked.tracks}
    for t in clip.linked.tracks:
        result.replaced += int((t.treatment == Treatment.REPLACE).sum())
        result.covered += int((t.treatment != Treatment.REPLACE).sum())
    raw = {t.id: list[tuple[int, dict[str, Picture], Floats]]() for t in clip.linked.tracks}
    for frame, pictures in _side_by_side(clip):
        boxes = {t.id: t.boxes[frame - t.frames[0]] for t in clip.linked.tracks if t.frames[0] <= frame <= t.frames[-1]}
        _outside(result, pictures, list(boxes.values()))
        shown = {t.id for t in clip.linked.tracks if frame in replaced(t)}
        if frame % EVERY == 0 and instruments.detector() is not None:
            _detect(result, pictures, [boxes[i] for i in shown])
        for number in shown:
            raw[number].append((frame, pictures, boxes[number]))
            if len(raw[number]) == 16:
                _look(clip, by_track[number], raw[number])
                raw[number] = []
    for number, rest in raw.items():
        if rest:
            _look(clip, by_track[number], rest)
    result.faces = [f for f in by_track.values() if f.frames]
    result.blank = [f for f in by_track.values() if not f.frames]
    for face in result.faces:
        _unwrapped(face)
    return result


def _side_by_side(clip: Clip) -> Iterator[tuple[int, dict[str, Picture]]]:
    for number, three in enumerate(zip(clip.source(), clip.output(), clip.again(), strict=False)):
        if number == clip.frames:
            return
        yield number, dict(zip(FILMS, three, strict=True))


def _rgb(picture: Picture) -> torch.Tensor:
    layout = picture.layout
    return look(picture, (0, 0, layout.width, layout.height), layout.width, layout.height)


def _outside(result: Measured, pictures: dict[str, Picture], boxes: list[Floats]) -> None:
    """Squared differences of brightness away from every face."""
    source = pictures["source"].planes[0]
    mask = torch.ones_like(source, dtype=torch.bool)
    for box in boxes:
        grow = (box[2:] - box[:2]) * _GROWN
        (x0, y0), (x1, y1) = np.maximum(box[:2] - grow, 0).astype(int), np.maximum(box[2:] + grow, 0).astype(int)
        mask[y0 : y1 + 1, x0 : x1 + 1] = False
    if not mask.any() or pictures["source"].layout.depth != 8:
        return
    before = source[mask].float()
    for name in ("output", "control"):
        plane = pictures[name].planes[0][: source.shape[0], : source.shape[1]]
        total = float((plane[mask].float() - before).square().sum())
        if name == "output":
            result.error += total
        else:
            result.error_control += total
    result.samples += int(mask.sum())


def _detect(result: Measured, pictures: dict[str, Picture], boxes: list[Floats]) -> None:
    before, after = (instruments.found_faces(pictures[name]) for name in ("source", "output"))
    if not len(before):
        return
    again = (overlaps(before, after) >= 0.4).any(1) if len(after) else np.zeros(len(before), bool)
    ours = (overlaps(before, np.stack(boxes)) >= 0.3).any(1) if boxes else np.zeros(len(before), bool)
    result.seen += len(before)
    result.kept += int(again.sum())
    result.seen_replaced += int(ours.sum())
    result.kept_replaced += int((again & ours).sum())


def _look(clip: Clip, face: Face, batch: list[tuple[int, dict[str, Picture], Floats]]) -> None:
    boxes = np.stack([box for _, _, box in batch])
    found, present = dict[str, Floats](), dict[str, NDArray[np.bool_]]()
    for name in FILMS:
        found[name], presence = instruments.meshes([p[name] for _, p, _ in batch], boxes)
        present[name] = presence >= instruments.PRESENT
    face.lost += int((present["source"] & present["control"] & ~present["output"]).sum())
    good = np.flatnonzero(present["source"] & present["output"] & present["control"])
    if not len(good):
        return
    recognise = [int(k) for k in good if batch[k][0] % EVERY == 0]
    for name in FILMS:
        views = {int(k): View(batch[k][1][name], found[name][k]) for k in good}
        lids, iris = instruments.eyes(list(views.values()))
        face.meshes[name] += list(found[name][good])
        face.lids[name] += list(lids)
        face.iris[name] += list(iris)
        face.crops[name] += [_face_only(v) for v in views.values()]
        if recognise and name != "control":
            vectors = instruments.describe([views[k] for k in recognise])
            face.looks[name] += [{n: v[i] for n, v in vectors.items()} for i in range(len(recognise))]
    _look_in_a_mirror(face, [(batch[k][1]["source"], boxes[k]) for k in good])
    face.frames += [batch[k][0] for k in good]
    face.chunks += [clip.chunk_of(batch[k][0]) for k in good]
    face.looked += [batch[k][0] for k in recognise]


def _look_in_a_mirror(face: Face, seen: list[tuple[Picture, Floats]]) -> None:
    pictures = [mirror.picture(picture) for picture, _ in seen]
    width = pictures[0].layout.width
    found, presence = instruments.meshes(pictures, mirror.boxes(np.stack([box for _, box in seen]), width))
    lids, iris = mirror.eyes(*instruments.eyes([View(p, mesh) for p, mesh in zip(pictures, found, strict=True)]))
    there = np.where(presence >= instruments.PRESENT, np.float32(1), np.float32(np.nan))
    for kept, values in ((face.meshes, mirror.meshes(found, width)), (face.lids, lids), (face.iris, iris)):
        kept[MIRROR] += [value * flag for value, flag in zip(values, there, strict=True)]


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture's brightness, in levels of 255, and where it lies."""

    x: int
    y: int
    levels: Floats  # (h, w)


def _face_only(view: View) -> Crop:
    """The face as it is in the picture, kept until all of the track's landmarks are known, see `_unwrapped`."""
    low, high = view.mesh[:, :2].min(0), view.mesh[:, :2].max(0)
    grow = (high - low) * 0.25
    layout = view.picture.layout
    x0, y0 = (int(v) // 2 * 2 for v in np.maximum(low - grow, 0))
    x1, y1 = (int(v) for v in np.minimum(high + grow + 2, [layout.width, layout.height]))
    crop = view.picture.planes[0][y0:y1, x0:x1].float().numpy() * (255 / (2**layout.depth - 1))
    return Crop(x0, y0, crop)


def _unwrapped(face: Face) -> None:
    """Makes the crops textures of one shape, by landmarks that were made steady: what flickers then is the face,
    not the measurement."""
    first, count = face.frames[0], face.frames[-1] - face.frames[0] + 1
    rows = np.array(face.frames) - first
    for name in FILMS:
        meshes = np.full((count, 468, 3), np.nan, np.float32)
        meshes[rows] = np.stack(face.meshes[name])
        trust = np.isfinite(meshes[:, 0, 0]).astype(np.float32)
        steady = smooth(meshes, trust)[rows]
        made = []
        for crop, mesh in zip(face.crops[name], steady, strict=True):
            moved = torch.from_numpy(mesh - np.array([crop.x, crop.y, 0], np.float32))
            made.append(appearance.unwrap(torch.from_numpy(crop.levels)[None], moved, _TEXTURE)[0].numpy())
        face.textures[name], face.crops[name] = made, []


def runs(face: Face) -> list[slice]:
    """Stretches of consecutive frames that are long enough for a correlation."""
    breaks = np.flatnonzero(np.diff(face.frames) != 1) + 1
    edges = [0, *breaks.tolist(), len(face.frames)]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if b - a >= LEAST]


def landmark_error(face: Face, film: str) -> float:
    """Mean distance of landmarks, source to film, over the eye distance."""
    pairs = zip(face.meshes["source"], face.meshes[film], strict=True)
    return float(np.mean([instruments.offset(a, b) for a, b in pairs]))


def moving_error(face: Face, film: str) -> float:
    """The same without what is constant over the track, in the head's own frame: another shape of face is no error of
    movement."""
    shapes = []
    for name in ("source", film):
        found = torch.from_numpy(np.stack(face.meshes[name]))
        flat = pose(found).undo(found)[..., :2].numpy()
        shapes.append(flat - flat.mean(0))
    # Shapes have one unit between the eyes' outer corners, and the middles are some 0.7 of that apart.
    return float(np.linalg.norm(shapes[0] - shapes[1], axis=2).mean()) / 0.7


def over_time(face: Face, film: str, part: str) -> list[tuple[float, int]]:
    """Correlations of the source's and a film's series, one per run that says anything, with their lengths."""
    found = [
        (scores.correlation(series(face, "source", part)[run], series(face, film, part)[run]), run.stop - run.start)
        for run in told_runs(face, part)
    ]
    return [(value, length) for value, length in found if math.isfinite(value)]


def told_runs(face: Face, part: str) -> list[slice]:
    """Those that say anything. A face that doesn't move has nothing to correlate but noise: the second encoding tells
    how much that is."""
    if part in ("landmarks", "shape"):
        return runs(face)
    source, control = (series(face, name, part) for name in ("source", "control"))
    return [run for run in runs(face) if scores.told(source[run], control[run])]


def series(face: Face, film: str, part: str) -> Floats:
    """(n, ...) what a part of the face does in a film."""
    match part:
        case "landmarks":
            return np.stack(face.meshes[film])[..., :2]
        case "shape":
            found = torch.from_numpy(np.stack(face.meshes[film]))
            return pose(found).undo(found)[..., :2].numpy()
        case "mouth":
            return instruments.mouth(np.stack(face.meshes[film]))
        case "lids":
            return np.stack(face.lids[film])
        case _:
            return np.stack(face.iris[film])


def gaze_error(face: Face, film: str) -> float:
    """Mean distance of the irises from where the source has them, over the eye's width, without what is constant."""
    source, other = np.stack(face.iris["source"]), np.stack(face.iris[film])
    return float(np.linalg.norm(other - np.median(other - source, axis=0) - source, axis=2).mean())


def blinks(face: Face, film: str) -> tuple[int, int]:
    """On how many frames source and film agree on a blink, of how many on which either shows one. Half of the usual
    opening is a blink; where one says so, two thirds are enough for the other to agree."""
    usual = [np.stack(face.lids[name]).mean(1) for name in ("source", film)]
    a, b = (lids / max(float(np.median(lids)), 1e-6) for lids in usual)
    either = (a < _SHUT) | (b < _SHUT)
    return int((either & (a < _AJAR) & (b < _AJAR)).sum()), int(either.sum())


def flicker(face: Face, film: str) -> float:
    """Levels of 255 by which the face changes from frame to frame, warped to one shape, eyes and mouth left out."""
    mask = appearance.face_mask(_TEXTURE, instruments.CPU) - appearance.alive_mask(_TEXTURE, instruments.CPU)
    textures = np.stack(face.textures[film])
    parts = [(scores.flicker(textures[run], mask[0, 0].numpy() > 0.5), run.stop - run.start - 1) for run in runs(face)]
    return scores.weighted([v for v, _ in parts], [float(n) for _, n in parts])
