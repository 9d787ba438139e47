"""CenterFace: faces and five points of each, from one look at a whole picture.

Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019. The network gives a heat map at a
quarter of the input's size; each peak is the centre of a face.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.detections import Detections, suppress
from pipeline.models.graph import Graph, Op, load, runtime

STRIDE = 4  # pixels of the input per cell of the heat map
MULTIPLE = 32  # the input's sides must be multiples of this
OVERLAP = 0.3  # detections with a larger intersection over union are one face, as in the author's code
MOST = 1000  # cells that are decoded per picture


class CenterFace:
    """A Detector. Keeps everything with a score of at least `threshold`."""

    multiple = MULTIPLE

    def __init__(self, device: torch.device, engine: str = "auto", threads: int = 1, threshold: float = 0.2) -> None:
        """`engine` "auto" means 8-bit integers on the CPU: half the time, and the same recall (`bench/recall.py`).
        Raises ModelError, DeviceError."""
        if engine == "auto" and device.type == "cpu":
            engine = "onnxruntime-int8"
        self._device, self._threshold = device, threshold
        self._run = runtime("centerface", device, engine, threads, _trunk)
        self._kernel, self._bias = (weight.to(device) for weight in _heads(load("centerface")))

    def detect(self, image: Tensor) -> Detections:
        """Faces of one upright picture (3, H, W), RGB 0..1, in its own pixels."""
        return self.detect_batch(image[None])[0]

    def detect_batch(self, images: Tensor) -> list[Detections]:
        """The same for (B, 3, H, W)."""
        height, width = images.shape[2:]
        pad = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        padded = F.pad(images, pad) if any(pad) else images
        heats, features = self._run(padded.to(self._device))
        pairs = zip(heats, features, strict=True)
        return [self._decode(heat, feature, height, width) for heat, feature in pairs]

    def _decode(self, heat: Tensor, features: Tensor, height: int, width: int) -> Detections:
        scores = heat.flatten()
        cells = (scores >= self._threshold).nonzero().flatten()
        if len(cells) > MOST:
            cells = cells[scores[cells].topk(MOST).indices]
        rest = torch.addmm(self._bias, self._kernel, features.flatten(1)[:, cells])
        # One table per picture: from a GPU every copy waits for everything before it.
        table = torch.cat([scores[None, cells], rest]).T.cpu().numpy()
        row, column = np.divmod(cells.cpu().numpy(), heat.shape[2])
        size = np.exp(table[:, [2, 1]]) * STRIDE  # the network says height before width
        centre = (np.stack([column, row], 1) + table[:, [4, 3]] + 0.5) * STRIDE
        low = centre - size / 2
        points = table[:, 5:].reshape(-1, 5, 2)[:, :, ::-1] * size[:, None] + low[:, None]
        edge = np.array([width, height], np.float32)
        boxes = np.concatenate([low.clip(0, edge), (centre + size / 2).clip(0, edge)], 1)
        found = Detections(boxes.astype(np.float32), table[:, 0].astype(np.float32), points.astype(np.float32))
        return found.take(suppress(found.boxes, found.scores, OVERLAP))


def _trunk(graph: Graph) -> Graph:
    """The network for images in 0..1, as far as every pixel has to be looked at: the heat map, and the features that
    tell size, place and points where it is hot."""
    heat, size, *_ = graph.outputs
    return graph.scaled(255).cut((heat, *_head(graph, size).inputs))


def _heads(graph: Graph) -> tuple[Tensor, Tensor]:
    """What tells size (2), place (2) and points (10) from features: kernel (14, C) and bias (14, 1)."""
    names = [_head(graph, output).weights for output in graph.outputs[1:]]
    kernels, biases = ([graph.weights[name] for name in every] for every in zip(*names, strict=True))
    return torch.cat(kernels).flatten(1), torch.cat(biases)[:, None]


def _head(graph: Graph, output: str) -> Op:
    return next(op for op in graph.ops if op.output == output)
