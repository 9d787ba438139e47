"""BlazeFace, full range: the detector of the leak gate. It shares nothing with CenterFace: not its training, not its
weights, not its way of looking.

Bazarevsky et al., BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs, 2019 (MediaPipe's full-range model).
The network sees 192 x 192 pixels, so larger images are looked at in tiles of several sizes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.detections import Detections, join, nothing
from pipeline.models.graph import runtime

SIZE = 192  # pixels of the network's input
CELLS = 48  # places per row, one face each
OVERLAP = 0.3  # detections with a larger intersection over union are one face
SHARED = 0.25  # of a tile that the next tile shows again, so that a face of that size lies whole in one of them
BATCH = 32


class BlazeFace:
    """A Detector. Keeps everything with a score of at least `threshold`."""

    multiple = 1

    def __init__(
        self, device: torch.device, engine: str = "auto", threads: int = 1, threshold: float = 0.5, finest: float = 1.0
    ) -> None:
        """`finest`: pixels of the image per pixel of the network in the smallest tiles; 2.0 takes a quarter of the time
        and finds faces from twice the size on. Raises ModelError, DeviceError."""
        self._device, self._threshold, self._finest = device, threshold, finest
        self._run = runtime("blazeface", device, engine, threads)

    def detect(self, image: Tensor) -> Detections:
        """Faces of one upright picture (3, H, W), RGB 0..1, in its own pixels."""
        return self.detect_batch(image[None])[0]

    def detect_batch(self, images: Tensor) -> list[Detections]:
        """The same for (B, 3, H, W). Points are eyes, nose and the corners of the mouth, the latter guessed from its
        middle."""
        return [self._tiled(image) for image in images]

    def _tiled(self, image: Tensor) -> Detections:
        parts: list[Detections] = []
        height, width = image.shape[1:]
        scale = self._finest
        while True:
            level = image
            if scale > 1.0:
                size = (max(1, round(height / scale)), max(1, round(width / scale)))
                level = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
            parts += self._level(level, width / level.shape[2], height / level.shape[1])
            if max(height, width) <= SIZE * scale:
                return join(parts, OVERLAP)
            scale *= 2

    def _level(self, level: Tensor, across: float, down: float) -> list[Detections]:
        """All tiles of one size."""
        height, width = level.shape[1:]
        padded = F.pad(level * 2 - 1, (0, max(0, SIZE - width), 0, max(0, SIZE - height)), value=-1.0)
        places = [(x, y) for y in _starts(height) for x in _starts(width)]
        found: list[Detections] = []
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH]
            tiles = torch.stack([padded[:, y : y + SIZE, x : x + SIZE] for x, y in part])
            raw, scores = self._run(tiles.to(self._device))
            for k, (x, y) in enumerate(part):
                shift = np.array([x * across, y * down])
                found.append(self._decode(raw[k], scores[k]).moved(np.diag([across, down]), shift))
        return found

    def _decode(self, raw: Tensor, logits: Tensor) -> Detections:
        scores = torch.sigmoid(logits.flatten())
        cells = (scores >= self._threshold).nonzero().flatten()
        if not len(cells):
            return nothing()
        values = raw.flatten(1)[:, cells].T.cpu().numpy()
        row, column = np.divmod(cells.cpu().numpy(), CELLS)
        anchor = (np.stack([column, row], 1) + 0.5) * (SIZE / CELLS)
        centre, half = values[:, :2] + anchor, values[:, 2:4] / 2
        marks = values[:, 4:12].reshape(-1, 4, 2) + anchor[:, None]  # eyes, nose, middle of the mouth
        aside = (marks[:, 1] - marks[:, 0]) * 0.35
        points = np.concatenate([marks[:, :3], (marks[:, 3] - aside)[:, None], (marks[:, 3] + aside)[:, None]], 1)
        boxes = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
        found = Detections(boxes, scores[cells].cpu().numpy(), points.astype(np.float32))
        return join([found], OVERLAP)


def _starts(length: int) -> list[int]:
    """Where tiles begin, spread evenly."""
    if length <= SIZE:
        return [0]
    number = int(np.ceil((length - SIZE) / (SIZE * (1 - SHARED)))) + 1
    return [round(i * (length - SIZE) / (number - 1)) for i in range(number)]
