"""The few best looks at each face, chosen while the pictures pass by."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.follow import Course, angles
from pipeline.look import warped
from pipeline.models.topology import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from pipeline.picture import Picture
from pipeline.track import Floats, Sample

COUNT, APART = 3, 10  # looks per tracklet, and frames between them
SIZE = 256  # px of a look
_MARGIN = 1.6  # side of the look over the longer side of the mesh: hair and neck tell age and skin
_ALIGNED = 150  # px of the recogniser's crop
_LARGE = 200.0  # px of the mesh's longer side from which on more pixels tell nothing more
_BETTER = 1.15  # how much better a look must be to be taken out of the picture


class Embedder(Protocol):
    """What sampling needs of `Recogniser`."""

    def align(self, mesh: np.ndarray) -> Tensor: ...

    def embed(self, crops: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class _Candidate:
    frame: int
    quality: float
    crop: NDArray[np.uint8]  # (3, 256, 256)
    mesh: Floats  # (468, 3) px of the crop
    aligned: NDArray[np.uint8]  # (3, 150, 150)


@dataclass(slots=True)
class Sampler:
    """Looks of all faces of a chunk. Holds at most `COUNT` crops per face."""

    embedder: Embedder
    _kept: dict[int, list[_Candidate]] = field(default_factory=dict)

    def offer(self, pictures: dict[int, Picture], seen: list[tuple[int, int]], courses: dict[int, Course]) -> None:
        """The best face of each (trace, frame) group in this batch, if it beats what there is."""
        best = dict[int, tuple[float, int]]()
        rows = [(t, f) for t, f in seen if (look := courses[t].looks[f]).mesh is not None and look.presence > 0.7]
        if not rows:
            return
        meshes = np.stack([_mesh(courses[t], f) for t, f in rows])
        turned = angles(meshes)
        for (trace, frame), mesh, turn in zip(rows, meshes, turned, strict=True):
            quality = _geometry(mesh, turn, courses[trace].looks[frame].presence)
            best[trace] = max(best.get(trace, (0.0, -1)), (quality, frame))
        for trace, (quality, frame) in best.items():
            if quality > self._bar(trace, frame) * _BETTER:
                self._take(trace, frame, quality, pictures[frame], _mesh(courses[trace], frame))

    def _bar(self, trace: int, frame: int) -> float:
        kept = self._kept.get(trace, [])
        near = [c.quality for c in kept if abs(c.frame - frame) < APART]
        if near:
            return max(near)
        return min(c.quality for c in kept) if len(kept) == COUNT else 0.0

    def _take(self, trace: int, frame: int, quality: float, picture: Picture, mesh: Floats) -> None:
        matrix = _square(mesh)
        crop = warped(picture, torch.from_numpy(matrix), SIZE)
        aligned = warped(picture, self.embedder.align(mesh[None])[0], _ALIGNED)
        quality *= _sharpness(aligned)
        linear = np.linalg.inv(matrix[:, :2])
        inside = mesh.copy()
        inside[:, :2] = (mesh[:, :2] - matrix[:, 2]) @ linear.T
        inside[:, 2] *= np.sqrt(abs(np.linalg.det(linear)))
        candidate = _Candidate(frame, quality, _bytes(crop), inside.astype(np.float32), _bytes(aligned))
        kept = [c for c in self._kept.get(trace, []) if abs(c.frame - frame) >= APART or c.quality > quality]
        if all(abs(c.frame - frame) >= APART for c in kept):
            kept.append(candidate)
        self._kept[trace] = sorted(kept, key=lambda c: -c.quality)[:COUNT]

    def finish(self, traces: list[int]) -> dict[int, tuple[Sample, ...]]:
        """Samples with embeddings of the given traces, best first. The recogniser runs once."""
        rows = [(t, c) for t in traces for c in self._kept.get(t, [])]
        if not rows:
            return {}
        crops = torch.from_numpy(np.stack([c.aligned for _, c in rows])).float() / 255
        embeddings = np.asarray(torch.as_tensor(self.embedder.embed(crops)).cpu().numpy(), np.float32)
        result = dict[int, list[Sample]]()
        for (trace, c), embedding in zip(rows, embeddings, strict=True):
            result.setdefault(trace, []).append(Sample(c.frame, c.crop, c.mesh, embedding, c.quality))
        return {trace: tuple(samples) for trace, samples in result.items()}


def _mesh(course: Course, frame: int) -> Floats:
    mesh = course.looks[frame].mesh
    assert mesh is not None  # only such frames are asked for
    return mesh


def _geometry(mesh: Floats, turn: Floats, presence: float) -> float:
    side = float((mesh[:, :2].max(0) - mesh[:, :2].min(0)).max())
    yaw, pitch = np.deg2rad(np.clip(turn[:2], -80, 80))
    return float(presence * np.cos(yaw) ** 2 * np.cos(pitch) ** 2 * min(1.0, side / _LARGE))


def _square(mesh: Floats) -> Floats:
    """(2, 3) from px of an upright square around the face to px of the picture."""
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    eyes = mesh[LEFT_EYE_OUTER, :2] - mesh[RIGHT_EYE_OUTER, :2]
    eyes = eyes / max(float(np.linalg.norm(eyes)), 1e-6)
    scale = float((high - low).max()) * _MARGIN / SIZE
    linear = scale * np.array([[eyes[0], -eyes[1]], [eyes[1], eyes[0]]])
    shift = (low + high) / 2 - linear.sum(1) * SIZE / 2
    return np.concatenate([linear, shift[:, None]], 1).astype(np.float32)


def _sharpness(crop: Tensor) -> float:
    """0.3..1 from the strength of the finest detail, which blur takes away."""
    grey = crop.mean(0)
    fine = grey[1:-1, 1:-1] * 4 - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(np.clip(float(fine.std()) / 0.05, 0.3, 1))


def _bytes(image: Tensor) -> NDArray[np.uint8]:
    return np.asarray((image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
