from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pipeline.detections import Detections, nothing
from pipeline.follow import BACK, Follower
from pipeline.picture import Picture, PixelLayout
from pipeline.shape import mean_shape
from pipeline.track import Tracker

LAYOUT = PixelLayout(640, 480, 8, 1, 1, "bt709", False)
SIZE = 60.0


class Sight:
    """A mesher that sees a face at x(frame) on some frames, if it is asked to look there."""

    def __init__(self, frames: Sequence[int], speed: float = 2.0) -> None:
        self.frames, self.speed, self.looked = set(frames), speed, 0

    def mesh(self, frame: int) -> np.ndarray:
        return (mean_shape().numpy() * 40 + np.array([200 + self.speed * frame, 200, 0])).astype(np.float32)

    def locate(
        self,
        pictures: Sequence[Picture],
        which: np.ndarray,
        boxes: np.ndarray,
        points: np.ndarray | None = None,
        looks: int = 2,
    ) -> tuple[np.ndarray, np.ndarray]:
        meshes, presence = [], []
        self.looked += looks * len(which)
        for picture, box in zip(which, boxes, strict=True):
            number = pictures[int(picture)].number
            mesh = self.mesh(number)
            near = abs((box[0] + box[2]) / 2 - mesh[:, 0].mean()) < 30
            meshes.append(mesh)
            presence.append(0.99 if number in self.frames and near else 0.01)
        return np.stack(meshes), np.array(presence, np.float32)


def picture(number: int) -> Picture:
    empty = torch.zeros(2, 2, dtype=torch.uint8)
    return Picture(number, number, (empty, empty, empty), LAYOUT)


def detection(sight: Sight, frame: int) -> Detections:
    low, high = sight.mesh(frame)[:, :2].min(0), sight.mesh(frame)[:, :2].max(0)
    box = np.concatenate([low, high])[None].astype(np.float32)
    return Detections(box, np.array([0.9], np.float32), np.zeros((1, 5, 2), np.float32))


def follow(
    sight: Sight, found: set[int], count: int, cuts: tuple[int, ...] = (), in_turn: bool = True, batch: int = 8
) -> list[int]:
    """Frames at which the one face has a look."""
    tracker = Tracker(cuts)
    follower = Follower(sight, tracker, cuts, in_turn=in_turn)
    for start in range(0, count, batch):
        numbers = range(start, min(start + batch, count))
        detections = [detection(sight, n) if n in found else nothing() for n in numbers]
        follower.batch([picture(n) for n in numbers], detections)
    (course,) = follower.courses.values()
    assert all(np.isfinite(look.box).all() for look in course.looks.values())
    return sorted(course.looks)


@pytest.mark.parametrize("in_turn", [True, False])
def test_a_face_is_followed_to_before_and_after_its_detections(in_turn: bool) -> None:
    assert follow(Sight(range(40)), set(range(20, 25)), 40, in_turn=in_turn) == list(range(20 - BACK, 40))


def test_it_ends_where_the_landmarks_see_nothing() -> None:
    assert follow(Sight(range(17, 30)), set(range(20, 25)), 40) == list(range(17, 30))


def test_a_gap_is_entered_from_both_sides() -> None:
    sight = Sight([*range(0, 13), *range(16, 40)])
    assert follow(sight, {*range(0, 10), *range(20, 40)}, 40) == [*range(0, 13), *range(16, 40)]


def test_no_face_crosses_a_cut() -> None:
    assert follow(Sight(range(40)), set(range(20, 25)), 40, cuts=(18, 27)) == list(range(18, 27))


def test_going_by_the_last_frame_costs_half() -> None:
    in_turn, at_once = Sight(range(32)), Sight(range(32))
    follow(in_turn, set(range(32)), 32)
    follow(at_once, set(range(32)), 32, in_turn=False)
    assert in_turn.looked <= 0.55 * at_once.looked


class Turned(Sight):
    """A mesher that is surest of a face when it is looked at as it stands: turned by a half."""

    def __init__(self, otherwise: float) -> None:
        super().__init__(range(40))
        self.otherwise = otherwise

    def mesh(self, frame: int) -> np.ndarray:
        return (mean_shape().numpy() * [-40, -40, 40] + np.array([200, 200, 0])).astype(np.float32)

    def locate(
        self,
        pictures: Sequence[Picture],
        which: np.ndarray,
        boxes: np.ndarray,
        points: np.ndarray | None = None,
        looks: int = 2,
    ) -> tuple[np.ndarray, np.ndarray]:
        assert points is not None
        meshes, presence = [], []
        for picture, eyes in zip(which, points, strict=True):
            right = eyes[1, 0] < eyes[0, 0]
            mesh = self.mesh(pictures[int(picture)].number)
            meshes.append(mesh if right else 400 - mesh)
            presence.append(1.0 if right else self.otherwise)
        return np.stack(meshes), np.array(presence, np.float32)


@pytest.mark.parametrize("otherwise", [0.1, 0.97])
def test_a_face_whose_points_stand_on_its_head_is_looked_at_turned(otherwise: float) -> None:
    sight = Turned(otherwise)
    low, high = sight.mesh(0)[:, :2].min(0), sight.mesh(0)[:, :2].max(0)
    box = np.concatenate([low, high])[None].astype(np.float32)
    upright = np.array([[[180, 190], [220, 190], [200, 200], [185, 215], [215, 215]]], np.float32)
    follower = Follower(sight, Tracker(), ())
    found = Detections(box, np.array([0.9], np.float32), upright)
    follower.batch([picture(n) for n in range(12)], [found] * 12)
    (course,) = follower.courses.values()
    for look in course.looks.values():
        assert look.mesh is not None
        assert look.presence == 1.0
        assert look.mesh[263, 0] < look.mesh[33, 0]
