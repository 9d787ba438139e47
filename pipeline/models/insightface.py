"""InsightFace's detectors, for those who hold a licence for their weights. Never a default, never downloaded.

Their public weights are for non-commercial research only; whoever names a file here answers for its use.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.detections import Detections
from pipeline.errors import DeviceError, ModelError


class InsightFaceDetector:
    """A Detector around an SCRFD file that `insightface.model_zoo` can read. On the CPU."""

    multiple = 1

    def __init__(self, model_path: Path, threshold: float = 0.2, size: int = 640) -> None:
        """`size`: longer side of what the network sees, px. Raises ModelError, DeviceError."""
        if not model_path.is_file():  # asked for a name, the package would download a model
            raise ModelError(f"the model file {model_path} isn't there", "", "give the path of an ONNX file")
        try:
            from insightface import model_zoo
        except ImportError as error:
            raise DeviceError("insightface isn't installed", str(error), "install it") from error
        try:
            model = model_zoo.get_model(str(model_path), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{model_path} isn't a model that insightface can read", str(error)) from error
        if model is None or getattr(model, "taskname", "") != "detection":
            raise ModelError(f"{model_path} isn't a face detector", "", "give an SCRFD file")
        model.prepare(-1, input_size=(size, size), det_thresh=threshold)
        self._model = model

    def detect(self, image: Tensor) -> Detections:
        """Faces of one upright picture (3, H, W), RGB 0..1, in its own pixels."""
        pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        found, points = self._model.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        if points is None:
            points = np.zeros((len(found), 5, 2))
        return Detections(found[:, :4].astype(np.float32), found[:, 4].astype(np.float32), points.astype(np.float32))

    def detect_batch(self, images: Tensor) -> list[Detections]:
        """The same for (B, 3, H, W)."""
        return [self.detect(image) for image in images]
