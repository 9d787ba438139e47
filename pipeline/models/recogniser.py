"""dlib's face recogniser: 128 numbers per face; two pictures of one person lie nearer than about 0.6.

Davis King, High Quality Face Recognition with Deep Metric Learning, 2017. 99.38 % on LFW with dlib's own landmarks;
here the crop is aligned by the 468-point mesh instead.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.models.graph import runtime

SIZE = 150  # pixels of the network's input
PADDING = 0.25  # of the face's side on every side, as in dlib's get_face_chip_details
THRESHOLD = 0.6  # distance below which dlib calls two faces one person

_MEAN = (122.782, 117.001, 104.298)  # of RGB, from dlib's input layer, which also divides by 256

# dlib's mean face (image_transforms/interpolation.h) for the points that it aligns by: nose, eyes, upper lip and the
# inside of the mouth's upper half, numbers 27 to 54 and 60 to 64 of 68; beside each its point of the 468.
_CHIP = np.array(
    [
        *[(0.490127, 0.203352, 168), (0.490127, 0.307009, 197), (0.490127, 0.409805, 5), (0.490127, 0.515625, 4)],
        *[(0.36688, 0.587326, 75), (0.426036, 0.609345, 97), (0.490127, 0.628106, 2), (0.554217, 0.609345, 326)],
        *[(0.613373, 0.587326, 305), (0.121737, 0.216423, 33), (0.187122, 0.178758, 160), (0.265825, 0.179852, 158)],
        *[(0.334606, 0.231733, 133), (0.260918, 0.245099, 153), (0.182743, 0.244077, 144), (0.645647, 0.231733, 362)],
        *[(0.714428, 0.179852, 385), (0.793132, 0.178758, 387), (0.858516, 0.216423, 263), (0.79751, 0.244077, 373)],
        *[(0.719335, 0.245099, 380), (0.254149, 0.780233, 61), (0.340985, 0.745405, 39), (0.428858, 0.727388, 37)],
        *[(0.490127, 0.742578, 0), (0.551395, 0.727388, 267), (0.639268, 0.745405, 269), (0.726104, 0.780233, 291)],
        *[(0.290379, 0.784792, 78), (0.428096, 0.778746, 82), (0.490127, 0.785343, 13), (0.552157, 0.778746, 312)],
        *[(0.689874, 0.784792, 308)],
    ]
)
_POINTS = _CHIP[:, 2].astype(np.int64)
_PLACES = (_CHIP[:, :2] + PADDING) / (1 + 2 * PADDING) * SIZE


class Recogniser:
    """Descriptors of faces."""

    def __init__(self, device: torch.device, engine: str = "auto", threads: int = 1) -> None:
        """Raises ModelError, DeviceError."""
        self._device = device
        self._run = runtime("recogniser", device, engine, threads)
        self._mean = torch.tensor(_MEAN, device=device)[:, None, None]

    def embed(self, crops: Tensor) -> Tensor:
        """Descriptors (F, 128) float32 of crops (F, 3, 150, 150), RGB 0..1, aligned by `align`; on the device. Not
        normalised: their Euclidean distance is what THRESHOLD is about."""
        if not len(crops):
            return torch.zeros(0, 128, device=self._device)
        (descriptors,) = self._run((crops.to(self._device) * 255 - self._mean) / 256)
        return descriptors.reshape(len(crops), -1)

    @staticmethod
    def align(mesh: np.ndarray) -> Tensor:
        """Maps (F, 2, 3) float32 for `look.warped` with size 150, from the crop to the picture that the meshes
        (F, 468, 2 or 3) are in: the similarity with the least squares (Umeyama 1991)."""
        found = np.asarray(mesh, np.float64)[:, _POINTS, :2]
        centre, target = found.mean(1, keepdims=True), _PLACES.mean(0)
        z, w = _complex(_PLACES - target), _complex(found - centre)
        turn = (w * z.conj()).sum(1) / (np.abs(z) ** 2).sum()  # picture = turn * crop, as complex numbers
        linear = np.stack([np.stack([turn.real, -turn.imag], 1), np.stack([turn.imag, turn.real], 1)], 1)
        shift = centre[:, 0] - linear @ target
        return torch.from_numpy(np.concatenate([linear, shift[:, :, None]], 2).astype(np.float32))


def _complex(points: np.ndarray) -> np.ndarray:
    result: np.ndarray = points[..., 0] + 1j * points[..., 1]
    return result
