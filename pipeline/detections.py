"""What a face detector found in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces of one picture, best first."""

    boxes: np.ndarray  # (N, 4) float32, xyxy px
    scores: np.ndarray  # (N,) float32, 0..1
    points: np.ndarray  # (N, 5, 2) float32, px: left eye, right eye, nose, left and right corner of the mouth, as seen

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: np.ndarray) -> "Detections":
        """Only these rows (numbers or a mask)."""
        return Detections(self.boxes[rows], self.scores[rows], self.points[rows])

    def moved(self, linear: np.ndarray, shift: np.ndarray) -> "Detections":
        """Under the map p -> linear (2, 2) @ p + shift (2,), which turns by whole quarters and scales."""
        corners = self.boxes.reshape(-1, 2, 2) @ linear.T + shift
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
        return Detections(boxes, self.scores, (self.points @ linear.T + shift).astype(np.float32))

    def clipped(self, width: int, height: int) -> "Detections":
        """Boxes cut off at the picture's edge."""
        return Detections(self.boxes.clip(0, np.array([width, height] * 2, np.float32)), self.scores, self.points)


def nothing() -> Detections:
    """No face."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


def join(parts: Sequence[Detections], overlap: float) -> Detections:
    """All parts as one list, each face once."""
    if not parts:
        return nothing()
    every = Detections(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.points for p in parts]),
    )
    return every.take(suppress(every.boxes, every.scores, overlap))


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    areas = (first[:, 2:] - first[:, :2]).prod(1)[:, None] + (second[:, 2:] - second[:, :2]).prod(1)[None]
    result: np.ndarray = shared / np.maximum(areas - shared, 1e-9)
    return result


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Row numbers, best first, of the boxes that no better box overlaps by more (greedy non-maximum suppression)."""
    rest = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        rest = rest[overlaps(boxes[best : best + 1], boxes[rest])[0] <= overlap]
    return np.array(kept, np.int64)
