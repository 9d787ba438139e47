"""What looks at faces: recognisers, landmarks, eyes, a detector, skin. Each sees source and output in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from clips import VIDEOS
from numpy.typing import NDArray
from privacy import scores
from privacy.tfjs import Network
from skimage.color import rgb2lab
from torch import Tensor

from pipeline import appearance
from pipeline.look import look, warped
from pipeline.models.facemesh import FaceMesh
from pipeline.models.insightface import InsightFaceDetector
from pipeline.models.recogniser import SIZE, Recogniser
from pipeline.models.topology import LIP_LOWER, LIP_UPPER, ring
from pipeline.picture import Picture

Floats = NDArray[np.float32]
CPU = torch.device("cpu")
SCRFD = VIDEOS.parent.parent / "models" / "scrfd_500m_bnkps.onnx"
PRESENT = 0.5  # the mesh's own flag, below which it isn't trusted
RECOGNISERS = ("dlib", "faceres", "faceres with hair")  # the first one is the one that the pipeline chooses with
_MARGINS = {"faceres": 1.0, "faceres with hair": 1.3}  # side of its square over the face's longer side
_FACERES = 224  # px
_MEAN = torch.tensor([131.0912, 103.8827, 91.4953])[:, None, None]  # of RGB: VGGFace2's, which it was trained with
_EYE, _EYE_SCALE = 64, 2.3  # px; side of the square over the eye's width, as in MediaPipe's graph
_EYES = ((33, 133, True), (362, 263, False))  # corners from left to right; the network knows left eyes, others mirrored
_GREY = 0.5
_LOOKS = 6  # until landmarks of heads tilted by 50 degrees stay; after two they lie between eye and brow


@lru_cache(maxsize=1)
def _mesher() -> FaceMesh:
    return FaceMesh(CPU)


@lru_cache(maxsize=1)
def _dlib() -> Recogniser:
    return Recogniser(CPU)


@lru_cache(maxsize=4)
def _network(name: str) -> Network:
    return Network(name)


def meshes(pictures: Sequence[Picture], boxes: Floats) -> tuple[Floats, Floats]:
    """Landmarks (n, 468, 3) in px and presence (n,), one face of each picture, from its box (n, 4) xyxy."""
    found, presence = _mesher().locate(pictures, np.arange(len(pictures)), boxes, looks=_LOOKS)
    return np.asarray(found, np.float32), np.asarray(presence, np.float32)


def bounds(mesh: Floats) -> Floats:
    """(4,) xyxy around a mesh."""
    return np.concatenate([mesh[:, :2].min(0), mesh[:, :2].max(0)])


def eye_distance(mesh: Floats) -> float:
    """Pixels between the middles of the eyes, in the picture."""
    middles = [(mesh[a, :2] + mesh[b, :2]) / 2 for a, b, _ in _EYES]
    return float(np.linalg.norm(middles[0] - middles[1]))


def offset(mesh: Floats, other: Floats) -> float:
    """The mean distance of two meshes' points, over the first one's eye distance."""
    return float(np.linalg.norm(mesh[:, :2] - other[:, :2], axis=1).mean()) / max(eye_distance(mesh), 1e-6)


def _square(mesh: Floats, margin: float, size: int) -> Tensor:
    """(2, 3) from px of an upright square around a face to px of the picture."""
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    return _turned(mesh[263, :2] - mesh[33, :2], (low + high) / 2, float((high - low).max()) * margin, size)


def _turned(across: scores.Floats, middle: scores.Floats, side: float, size: int) -> Tensor:
    unit = across / max(float(np.linalg.norm(across)), 1e-6)
    linear = side / size * np.array([[unit[0], -unit[1]], [unit[1], unit[0]]])
    return torch.from_numpy(
        np.concatenate([linear, (middle - linear.sum(1) * size / 2)[:, None]], 1).astype(np.float32)
    )


@dataclass(frozen=True, slots=True)
class View:
    """A face as recognisers are shown it."""

    picture: Picture
    mesh: Floats  # (468, 3) px
    bare: bool = False  # everything outside the oval made grey: hair, ears, neck, background
    mirrored: bool = False

    def crop(self, matrix: Tensor, size: int) -> Tensor:
        """(3, size, size) RGB 0..1."""
        image = warped(self.picture, matrix, size)
        if self.bare:
            inverse = np.linalg.inv(matrix[:, :2].numpy())
            oval = (self.mesh[ring("oval"), :2] - matrix[:, 2].numpy()) @ inverse.T
            image = torch.where(torch.from_numpy(inside(oval, size, size)), image, _GREY)
        return image.flip(2) if self.mirrored else image

    def dlib(self) -> Tensor:
        """(3, 150, 150)."""
        return self.crop(_dlib().align(self.mesh[None])[0], SIZE)

    def square(self, margin: float, size: int) -> Tensor:
        """(3, size, size)."""
        return self.crop(_square(self.mesh, margin, size), size)


def inside(polygon: Floats, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) the pixels inside a closed line (n, 2), by the even-odd rule."""
    y, x = np.mgrid[:height, :width] + 0.5
    found = np.zeros((height, width), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        crosses = (a[1] > y) != (b[1] > y)
        found ^= crosses & (x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1] + 1e-12) + a[0])
    return found


def describe(views: Sequence[View]) -> dict[str, Floats]:
    """Descriptors (n, d) of each recogniser. Distances are Euclidean; faceres' are unit vectors."""
    result = {"dlib": _dlib().embed(torch.stack([v.dlib() for v in views])).numpy()}
    for name, margin in _MARGINS.items():
        raw = _faceres(views, margin, "global_pooling/Mean")[0]
        result[name] = (raw / raw.norm(dim=1, keepdim=True)).numpy()
    return result


def _faceres(views: Sequence[View], margin: float, *names: str) -> tuple[Tensor, ...]:
    parts = []
    for start in range(0, len(views), 16):
        crops = torch.stack([v.square(margin, _FACERES) for v in views[start : start + 16]])
        parts.append(_network("faceres")((crops * 255 - _MEAN).flip(1), *names))
    return tuple(torch.cat(p) for p in zip(*parts, strict=True))


def apparent(views: Sequence[View]) -> tuple[Floats, Floats]:
    """How male (n,) 0..1 and how old (n,) in years people look to a network that the pipeline doesn't know."""
    sex, ages = _faceres(views, 1.0, "gender_pred/Sigmoid", "age_pred/Softmax")
    best, years = ages.topk(2, dim=1)  # the author's way: the two likeliest years, weighted
    return sex[:, 0].numpy(), ((best * (years + 1)).sum(1) / best.sum(1)).numpy()


def skin(picture: Picture, mesh: Floats) -> float:
    """Individual typology angle of forehead, cheeks and chin, in degrees: 41 and more is light, below 10 brown or dark
    (Chardon, Cretois and Hourseau, 1991). Depends on the light in the picture, too."""
    layout = picture.layout
    image = look(picture, (0, 0, layout.width, layout.height), layout.width, layout.height)
    texture = appearance.unwrap(image, torch.from_numpy(mesh), 128)
    plain = appearance.plain_mask(128, CPU)[0, 0] > 0.5
    lightness, _, yellow = np.median(rgb2lab(texture.permute(1, 2, 0).numpy())[plain.numpy()], axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def eyes(views: Sequence[View]) -> tuple[Floats, Floats]:
    """For both eyes: how far the lids are apart (n, 2) over the eye's width, and where the middle of the iris is from
    the middle of the corners (n, 2, 2), right and down, over the width. By a network of its own."""
    crops, widths = list[Tensor](), list[float]()
    for view in views:
        for left, right, flip in _EYES:
            a, b = view.mesh[left, :2], view.mesh[right, :2]
            width = float(np.linalg.norm(b - a))
            crop = warped(view.picture, _turned(b - a, (a + b) / 2, width * _EYE_SCALE, _EYE), _EYE)
            crops.append(crop.flip(2) if flip else crop)
            widths.append(width)
    found = [_network("iris")(torch.stack(crops[i : i + 32]), "Identity")[0] for i in range(0, len(crops), 32)]
    points = torch.cat(found).reshape(-1, 2, 76, 3)[..., :2].numpy()
    points[:, 0, :, 0] = _EYE - points[:, 0, :, 0]
    unit = _EYE / _EYE_SCALE  # pixels of the crop per eye's width
    lids = (points[..., 1:8, 1] - points[..., 9:16, 1]).mean(2) / unit  # lower lid 0..8 with corners, upper lid 9..15
    iris = (points[..., 71, :] - _EYE / 2) / unit
    return lids.astype(np.float32), iris.astype(np.float32)


def mouth(found: Floats) -> Floats:
    """(n,) how far the inner lips of meshes (n, 468, 3) are apart, over the eye distance."""
    gap = np.linalg.norm(found[:, LIP_UPPER, :2] - found[:, LIP_LOWER, :2], axis=1)
    return np.asarray(gap / np.array([eye_distance(m) for m in found]), np.float32)


@lru_cache(maxsize=1)
def detector(path: Path = SCRFD) -> InsightFaceDetector | None:
    """SCRFD, which the pipeline never uses by itself; None where its file isn't."""
    return InsightFaceDetector(path, threshold=0.5) if path.exists() else None


def found_faces(picture: Picture) -> Floats:
    """(n, 4) boxes that the independent detector finds."""
    one = detector()
    assert one is not None
    layout = picture.layout
    image = look(picture, (0, 0, layout.width, layout.height), layout.width, layout.height)
    return np.asarray(one.detect(image).boxes, np.float32)
