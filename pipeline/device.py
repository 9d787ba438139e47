"""Which device the work is done on. Asked for by name; there is no silent way from one to another."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import DeviceError

if TYPE_CHECKING:
    import torch

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")  # an NVIDIA driver on Linux, and in WSL


def choose(name: str) -> tuple[str, int]:
    """("cpu" or "cuda", number of GPUs) for "auto", "cpu" or "cuda". Raises DeviceError where CUDA isn't there."""
    if name == "cpu" or (name == "auto" and not any(Path(driver).exists() for driver in _DRIVERS)):
        return "cpu", 0  # without importing torch, which takes a second
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cuda" and gpus == 0:
        why = "PyTorch finds none" if torch.version.cuda else "this PyTorch is a build for CPUs only"
        raise DeviceError("--device cuda: there is no CUDA device", why, "use --device cpu")
    return ("cuda", gpus) if gpus else ("cpu", 0)


def named(name: str) -> "torch.device":
    """The device that `choose` has named."""
    import torch

    return torch.device(name)


def limit_threads(threads: int) -> None:
    """How many threads PyTorch and OpenCV may use in this process for one operation."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
