"""Landmarks of every tracked face; and faces that the detector lost, carried on by their landmarks.

A mesh tells where its face is on the next frame, too (MediaPipe tracks by nothing else). So a face is followed forwards
where detections stop, backwards from where they begin, and into gaps from both sides, as long as the network says that
there is a face. What is left open is filled later by boxes alone, and covered.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from pipeline.detections import Detections
from pipeline.models.topology import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from pipeline.picture import Picture
from pipeline.shape import pose
from pipeline.track import Floats, Trace, Tracker, overlap

LEAST_SIDE = 18.0  # px of the box; below, the network has too little to look at
PRESENT = 0.5  # the network's flag from which on it sees a face
BACK = 8  # frames that a face is followed backwards from its first detection
_ALONE = 45  # frames that landmarks may carry a face without any detection
_GROWTH, _STRIDE = 1.35, 0.6  # most a carried face may change its size, and move in its own sizes, in one frame
_TAKEN = 0.4  # IoU with another face's box at which following has gone astray
_CERTAIN = 0.995  # presence of nearly every face that is upright in its crop, and of hardly one that isn't
_DOUBT = 8  # frames from one try to the next of turning a face whose presence is less


class Mesher(Protocol):
    """What following needs of `FaceMesh`."""

    def locate(
        self,
        pictures: Sequence[Picture],
        which: np.ndarray,
        boxes: np.ndarray,
        points: np.ndarray | None = None,
        looks: int = 2,
    ) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True, slots=True)
class Look:
    """One face on one frame."""

    box: Floats  # (4,) xyxy px
    score: float  # of the detector; 0 when carried
    mesh: Floats | None  # (468, 3) px
    presence: float
    points: Floats | None = None  # (5, 2) px of the detector; None when carried


@dataclass(frozen=True, slots=True)
class _Face:
    """A detection that a trace has taken."""

    trace: int
    frame: int
    which: int  # picture of the batch
    box: Floats
    points: Floats
    score: float


@dataclass(slots=True)
class Course:
    """All looks at one face, by frame."""

    looks: dict[int, Look] = field(default_factory=dict)
    fit: Floats = field(default_factory=lambda: np.array([0, 0, 1, 1], np.float32))  # box in units of the mesh's bounds

    def add(self, face: _Face, mesh: Floats | None, presence: float) -> None:
        """A look at a detection."""
        box = np.asarray(face.box, np.float32)
        if mesh is not None and presence >= PRESENT:
            low, size = _bounds(mesh)
            self.fit = np.concatenate([(box[:2] - low) / size, (box[2:] - low) / size]).astype(np.float32)
        self.looks[face.frame] = Look(box, face.score, mesh, presence, np.asarray(face.points, np.float32))

    def box_of(self, mesh: Floats) -> Floats:
        """The box that the detector would draw around this mesh, going by the last frame that had both."""
        low, size = _bounds(mesh)
        fit = np.clip(self.fit, [-0.4, -0.6, 0.6, 0.6], [0.4, 0.4, 1.4, 1.6])
        return np.concatenate([low + fit[:2] * size, low + fit[2:] * size]).astype(np.float32)


def _bounds(mesh: Floats) -> tuple[Floats, Floats]:
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    return low, np.maximum(high - low, 1)


def _outline(mesh: Floats) -> Floats:
    low, size = _bounds(mesh)
    return np.concatenate([low, low + size])


def eyes_of(mesh: Floats) -> Floats:
    """(5, 2) points as in Detections: eyes, nose, corners of the mouth, first the one on the picture's left."""
    right, left = mesh[[RIGHT_EYE_OUTER, 133], :2].mean(0), mesh[[LEFT_EYE_OUTER, 362], :2].mean(0)
    return np.stack([right, left, mesh[1, :2], mesh[61, :2], mesh[291, :2]]).astype(np.float32)


def angles(meshes: Floats) -> Floats:
    """(F, 468, 3) -> (F, 3): how far the camera is from straight before the head, in degrees: sideways (yaw), up or
    down (pitch); and the roll in the plane. Yaw and pitch are the head's own: rolled heads and rotated films count
    the same."""
    if not len(meshes):
        return np.zeros((0, 3), np.float32)
    r = pose(torch.from_numpy(np.ascontiguousarray(meshes, np.float32))).rotation
    yaw, pitch = torch.atan2(-r[:, 2, 0], r[:, 2, 2]), torch.asin(r[:, 2, 1].clamp(-1, 1))
    roll = torch.atan2(r[:, 1, 0], r[:, 1, 1])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], 1)).numpy()


def _turned(points: Floats, quarters: int) -> Floats:
    """(5, 2) points, turned by quarters about their middle."""
    about = points.mean(0)
    x, y = (points - about).T
    for _ in range(quarters):
        x, y = -y, x
    return np.asarray(np.stack([x, y], 1) + about, np.float32)


def _against(mesh: Floats, points: Floats) -> bool:
    """Whether the eyes of a mesh are in another order than those of the points."""
    return float((mesh[LEFT_EYE_OUTER, :2] - mesh[RIGHT_EYE_OUTER, :2]) @ (points[1] - points[0])) < 0


class Follower:
    """Takes batches of consecutive pictures with their detections; keeps a `Course` per trace of the tracker."""

    def __init__(
        self, mesher: Mesher, tracker: Tracker, cuts: Iterable[int], keep: int = 16, in_turn: bool = True
    ) -> None:
        """`keep` pictures stay in memory for looking back. `in_turn`: frame by frame, each from the landmarks of the
        one before, which costs half; otherwise the whole batch at once, as a GPU likes it."""
        self._in_turn = in_turn
        self._mesher, self._tracker, self._cuts = mesher, tracker, frozenset(cuts)
        self._pictures: deque[Picture] = deque(maxlen=keep)
        self.courses: dict[int, Course] = {}

    def batch(self, pictures: Sequence[Picture], found: Sequence[Detections]) -> list[tuple[int, int]]:
        """Follows all faces through the batch. Returns (trace, frame) of the faces detected on it."""
        seen = self._detected(pictures, found)
        fresh = sorted({trace for trace, _ in seen})
        before = {picture.number: picture for picture in self._pictures}
        self._forwards(pictures)
        self._backwards(before | {picture.number: picture for picture in pictures}, fresh)
        self._pictures.extend(pictures)
        return seen

    def _detected(self, pictures: Sequence[Picture], found: Sequence[Detections]) -> list[tuple[int, int]]:
        faces = list[_Face]()
        for k, (picture, detections) in enumerate(zip(pictures, found, strict=True)):
            for trace, row in self._tracker.update(picture.number, detections).items():
                score = float(detections.scores[row])
                faces.append(_Face(trace, picture.number, k, detections.boxes[row], detections.points[row], score))
        if self._in_turn:
            for k, picture in enumerate(pictures):
                now = [face for face in faces if face.which == k]
                again = self._look_again(picture, now)
                self._look_anew(pictures, [face for face in now if face.trace not in again])
        else:
            self._look_anew(pictures, faces)
        return [(face.trace, face.frame) for face in faces]

    def _look_again(self, picture: Picture, faces: list["_Face"]) -> set[int]:
        """One look where the last frame's landmarks are: as exact as two looks from a detector's box, at half the
        price. Returns the traces for which that went well."""
        known = [f for f in faces if self._usable(f.trace, f.frame - 1) and max(f.box[2:] - f.box[:2]) >= LEAST_SIDE]
        sure = {f.trace: self.courses[f.trace].looks[f.frame - 1].presence >= _CERTAIN for f in known}
        known = [f for f in known if sure[f.trace] or not self._due(f)]
        hints = [self._hint(self.courses[f.trace], f.frame - 1, f.frame) for f in known]
        boxes, points = [_outline(h) for h in hints], [eyes_of(h) for h in hints]
        meshes, presence = self._locate([picture], [0] * len(known), boxes, points, looks=1)
        self._settle(picture, known, meshes, presence)
        done = set[int]()
        for face, mesh, flag in zip(known, meshes, presence, strict=True):
            course = self.courses[face.trace]
            if mesh is not None and flag >= PRESENT and overlap(course.box_of(mesh)[None], face.box[None])[0, 0] >= 0.5:
                course.add(face, mesh, flag)
                done.add(face.trace)
        return done

    def _settle(
        self, picture: Picture, faces: list["_Face"], meshes: list[Floats | None], presence: list[float]
    ) -> None:
        """Where landmarks and the detector's points stand on each other's heads, the network is asked which it takes
        rather for a face. In place."""
        rows = [k for k, mesh in enumerate(meshes) if mesh is not None and _against(mesh, faces[k].points)]
        boxes, points = [faces[k].box for k in rows], [faces[k].points for k in rows]
        again, flags = self._locate([picture], [0] * len(rows), boxes, points)
        for k, mesh, flag in zip(rows, again, flags, strict=True):
            if flag > presence[k]:
                meshes[k], presence[k] = mesh, flag

    def _look_anew(self, pictures: Sequence[Picture], faces: list["_Face"]) -> None:
        boxes, points = [f.box for f in faces], [f.points for f in faces]
        meshes, presence = self._locate(pictures, [f.which for f in faces], boxes, points)
        self._turn_over(pictures, faces, meshes, presence)
        for face, mesh, flag in zip(faces, meshes, presence, strict=True):
            self.courses.setdefault(face.trace, Course()).add(face, mesh, flag)

    def _turn_over(
        self, pictures: Sequence[Picture], faces: list["_Face"], meshes: list[Floats | None], presence: list[float]
    ) -> None:
        """Where the network is not certain, the face may stand on its head, which the detector's points often miss:
        the network looks at it turned by quarters, and what it is surest of stays. In place. Now and then only: most
        of those it is unsure of are hidden or turned away."""
        doubtful = [k for k, flag in enumerate(presence) if meshes[k] is not None and flag < _CERTAIN]
        doubtful = [k for k in doubtful if self._due(faces[k])]
        for quarters in (2, 1, 3):
            rows = [k for k in doubtful if presence[k] < _CERTAIN]
            turned = [_turned(faces[k].points, quarters) for k in rows]
            again, flags = self._locate(pictures, [faces[k].which for k in rows], [faces[k].box for k in rows], turned)
            for k, mesh, flag in zip(rows, again, flags, strict=True):
                if flag > max(presence[k], PRESENT):
                    meshes[k], presence[k] = mesh, flag

    def _due(self, face: "_Face") -> bool:
        course = self.courses.get(face.trace)
        return course is None or not course.looks or (face.frame - min(course.looks)) % _DOUBT == 0

    def _locate(
        self, pictures: Sequence[Picture], which: list[int], boxes: list[Floats], points: list[Floats], looks: int = 2
    ) -> tuple[list[Floats | None], list[float]]:
        """Meshes and presence; None and 0 for faces below LEAST_SIDE."""
        meshes: list[Floats | None] = [None] * len(boxes)
        presence = [0.0] * len(boxes)
        large = [i for i, b in enumerate(boxes) if max(b[2] - b[0], b[3] - b[1]) >= LEAST_SIDE]
        if large:
            chosen = np.array([which[i] for i in large], np.int64)
            result, flags = self._mesher.locate(
                pictures, chosen, np.stack([boxes[i] for i in large]), np.stack([points[i] for i in large]), looks
            )
            for i, mesh, flag in zip(large, result, flags, strict=True):
                meshes[i], presence[i] = np.asarray(mesh, np.float32), float(flag)
        return meshes, presence

    def _forwards(self, pictures: Sequence[Picture]) -> None:
        first = pictures[0].number if pictures else 0
        traces = [t for t in (*self._tracker.live, *self._tracker.ended) if t.seen >= first - 1]
        for picture in pictures:
            frame = picture.number
            if frame in self._cuts:
                traces = [t for t in traces if min(self.courses[t.id].looks) >= frame]
            lost = [t for t in traces if self._open(t, frame, frame - 1) and frame - t.detected <= _ALONE]
            for trace, look in self._carry(picture, lost, frame - 1):
                self.courses[trace.id].looks[frame] = look
                if frame > trace.seen:
                    trace.observe(frame, look.box, 0.0)

    def _backwards(self, pictures: dict[int, Picture], fresh: list[int]) -> None:
        by_id = {t.id: t for t in (*self._tracker.live, *self._tracker.ended)}
        traces = [by_id[i] for i in fresh]
        start = {t.id: t.frames[0] - BACK for t in traces}
        for frame in sorted(pictures, reverse=True):
            if frame + 1 in self._cuts:
                traces = [t for t in traces if min(self.courses[t.id].looks) <= frame]
            lost = [t for t in traces if frame >= start[t.id] and self._open(t, frame, frame + 1)]
            for trace, look in self._carry(pictures[frame], lost, frame + 1):
                self.courses[trace.id].looks[frame] = look

    def _open(self, trace: Trace, frame: int, neighbour: int) -> bool:
        """The face has no look at `frame`, and one to go by on the frame beside it."""
        return frame not in self.courses[trace.id].looks and self._usable(trace.id, neighbour)

    def _usable(self, trace: int, frame: int) -> bool:
        """There are landmarks to go by."""
        look = self.courses[trace].looks.get(frame) if trace in self.courses else None
        return look is not None and look.mesh is not None and look.presence >= PRESENT

    def _carry(self, picture: Picture, traces: list[Trace], neighbour: int) -> list[tuple[Trace, Look]]:
        """Looks at the faces where they were on the frame beside, moved as between the two frames beyond it."""
        if not traces:
            return []
        hints = [self._hint(self.courses[t.id], neighbour, picture.number) for t in traces]
        boxes_of, points = [_outline(h) for h in hints], [eyes_of(h) for h in hints]
        meshes, presence = self._locate([picture], [0] * len(traces), boxes_of, points)
        boxes = {i: c.looks[picture.number].box for i, c in self.courses.items() if picture.number in c.looks}
        kept = list[tuple[Trace, Look]]()
        for trace, hint, mesh, flag in zip(traces, hints, meshes, presence, strict=True):
            if mesh is None or flag < PRESENT or not _plausible(hint, mesh):
                continue
            box = self.courses[trace.id].box_of(mesh)
            others = [b for i, b in boxes.items() if i != trace.id]
            if others and overlap(box[None], np.stack(others)).max() > _TAKEN:
                continue
            boxes[trace.id] = box
            kept.append((trace, Look(box, 0.0, mesh, flag)))
        return kept

    @staticmethod
    def _hint(course: Course, neighbour: int, frame: int) -> Floats:
        mesh = course.looks[neighbour].mesh
        assert mesh is not None  # `_open` looked
        beyond = course.looks.get(2 * neighbour - frame)
        if beyond is None or beyond.mesh is None or beyond.presence < PRESENT:
            return mesh
        return np.asarray(mesh + (mesh - beyond.mesh).mean(0) * np.array([1, 1, 0], np.float32), np.float32)


def _plausible(hint: Floats, mesh: Floats) -> bool:
    (low_a, size_a), (low_b, size_b) = _bounds(hint), _bounds(mesh)
    ratio, side = float(size_b.max() / size_a.max()), float(size_a.max())
    moved = float(np.linalg.norm(low_a + size_a / 2 - low_b - size_b / 2))
    return 1 / _GROWTH <= ratio <= _GROWTH and moved <= _STRIDE * side
