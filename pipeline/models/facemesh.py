"""The 468-point face mesh: where every part of a face is, and whether there is a face at all.

Kartynnik et al., Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs, 2019 (MediaPipe). The network
looks at an upright square around the face; the first result sets the square of the second look, so that the outcome
hardly depends on who found the face.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.look import warped
from pipeline.models.graph import runtime
from pipeline.models.topology import LEFT_EYE_OUTER, POINTS, RIGHT_EYE_OUTER
from pipeline.picture import Picture

SIZE = 192  # pixels of the network's input
MARGIN = 1.5  # side of the square over the longer side of the face's box, as in MediaPipe's own graph
BATCH = 64


class FaceMesh:
    """Landmarks for faces of any number of pictures in one go."""

    def __init__(self, device: torch.device, engine: str = "auto", threads: int = 1) -> None:
        """Raises ModelError, DeviceError."""
        self._device = device
        self._run = runtime("facemesh", device, engine, threads)

    def locate(
        self,
        pictures: Sequence[Picture],
        which: np.ndarray,
        boxes: np.ndarray,
        points: np.ndarray | None = None,
        looks: int = 2,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Meshes (F, 468, 3) float32 and presence (F,) float32 in 0..1 of F faces.

        `which` (F,) int64 is each face's picture, `boxes` (F, 4) xyxy px, `points` (F, 5, 2) px as in Detections (they
        tell how far the face is turned in the plane). x and y are px of the coded picture; z is px in the same scale,
        smaller towards the camera. Presence is the network's own face flag; below 0.5 don't trust the mesh.
        """
        squares = _from_boxes(np.asarray(boxes, np.float32), points)
        meshes, presence = self._look(pictures, which, squares)
        for _ in range(looks - 1):
            again, flags = self._look(pictures, which, _from_meshes(meshes))
            keep = (flags < 0.5) & (presence > flags)  # the second square went astray: a half hidden face, a profile
            meshes = np.where(keep[:, None, None], meshes, again)
            presence = np.where(keep, presence, flags)
        return meshes, presence

    def _look(
        self, pictures: Sequence[Picture], which: np.ndarray, squares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        matrices = torch.from_numpy(squares)
        meshes, presence = np.zeros((len(which), POINTS, 3), np.float32), np.zeros(len(which), np.float32)
        for start in range(0, len(which), BATCH):
            rows = np.arange(start, min(start + BATCH, len(which)))
            crops = torch.stack([warped(pictures[int(which[r])], matrices[r], SIZE) for r in rows])
            raw, flags = self.network(crops)
            presence[rows] = flags.cpu().numpy()
            meshes[rows] = _to_picture(raw.cpu().numpy(), squares[rows])
        return meshes, presence

    def network(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (F, 3, 192, 192) RGB 0..1 to meshes (F, 468, 3) in px of the crop and presence (F,) 0..1."""
        raw, flag = self._run(crops.to(self._device))
        return raw.reshape(-1, POINTS, 3), torch.sigmoid(flag.reshape(-1))


def _from_boxes(boxes: np.ndarray, points: np.ndarray | None) -> np.ndarray:
    angles = np.zeros(len(boxes), np.float32)
    if points is not None:
        eyes = np.asarray(points, np.float32)[:, 1] - np.asarray(points, np.float32)[:, 0]
        angles = np.arctan2(eyes[:, 1], eyes[:, 0])
    return _squares((boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1), angles)


def _from_meshes(meshes: np.ndarray) -> np.ndarray:
    low, high = meshes[:, :, :2].min(1), meshes[:, :, :2].max(1)
    eyes = meshes[:, LEFT_EYE_OUTER, :2] - meshes[:, RIGHT_EYE_OUTER, :2]
    return _squares((low + high) / 2, (high - low).max(1), np.arctan2(eyes[:, 1], eyes[:, 0]))


def _squares(centres: np.ndarray, sides: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Maps (F, 2, 3) float32 from px of the network's input to px of the picture."""
    scale = np.maximum(sides, 1) * MARGIN / SIZE
    cos, sin = scale * np.cos(angles), scale * np.sin(angles)
    linear = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    shift = centres - linear.sum(2) * (SIZE / 2)
    return np.concatenate([linear, shift[:, :, None]], 2).astype(np.float32)


def _to_picture(meshes: np.ndarray, squares: np.ndarray) -> np.ndarray:
    flat = meshes[:, :, :2] @ squares[:, :, :2].transpose(0, 2, 1) + squares[:, None, :, 2]
    scale = np.sqrt(np.abs(np.linalg.det(squares[:, :, :2])))
    result: np.ndarray = np.concatenate([flat, meshes[:, :, 2:] * scale[:, None, None]], 2).astype(np.float32)
    return result
