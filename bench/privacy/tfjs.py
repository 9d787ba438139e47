"""Networks from a package of TensorFlow.js, run by torch: instruments that the product itself never uses.

They come in the npm package @vladmandic/human (MIT), fetched once with npm into bench/out and read only when their
hashes are the pinned ones:

- `faceres`: descriptor, apparent age and sex (Savchenko, "Efficient facial representations for age, gender and identity
  recognition in organizing photo albums using multi-output ConvNet", PeerJ CS 2019; Apache-2.0)
- `iris`: lids and iris of one eye (Ablavatski et al., "Real-time Pupil Tracking from Monocular Video", 2020;
  Apache-2.0)
"""

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from clips import OUT
from torch import Tensor

PACKAGE = "@vladmandic/human@3.3.6"
SHA256 = {
    "faceres": "1028a60eeb7af9949dcf2123a1dd2335f72a3f97365c002c1b2bbc9c03123422",
    "iris": "ecde62e45f7e6e19777fddc32e54a50fcc59873ba51a0f5d50bbc8919c3db1dd",
}
_TYPES = {"float32": np.float32, "int32": np.int32, "float16": np.float16}


def fetch(folder: Path = OUT / "networks") -> Path:
    """The folder with the networks' files, fetched when they aren't there. Raises CalledProcessError without npm or
    network."""
    names = [f"{name}.{end}" for name in SHA256 for end in ("json", "bin")]
    if all((folder / name).exists() for name in names):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["npm", "pack", PACKAGE, "--pack-destination", place], check=True, capture_output=True)
        with tarfile.open(next(Path(place).glob("*.tgz"))) as archive:
            for name in names:
                member = archive.extractfile(f"package/models/{name}")
                assert member is not None
                (folder / name).write_bytes(member.read())
    return folder


def digest(folder: Path, name: str) -> str:
    """SHA-256 of a network's description and weights."""
    content = (folder / f"{name}.json").read_bytes() + (folder / f"{name}.bin").read_bytes()
    return hashlib.sha256(content).hexdigest()


class Network:
    """One graph model on the CPU. Pictures go in as (B, 3, H, W); results come out by name, channels last."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        """Raises ValueError when the files aren't the pinned ones."""
        folder = folder or fetch()
        if digest(folder, name) != SHA256[name]:
            raise ValueError(f"{name} in {folder} isn't the pinned network: {digest(folder, name)}")
        described = json.loads((folder / f"{name}.json").read_text())
        self._constants = _weights(described["weightsManifest"], (folder / f"{name}.bin").read_bytes())
        self._nodes = _ordered(described["modelTopology"]["node"])
        self.names = [node["name"] for node in self._nodes]

    @torch.inference_mode()
    def __call__(self, images: Tensor, *wanted: str) -> tuple[Tensor, ...]:
        """The named results (the graph's own names) for images (B, 3, H, W) in the network's own range."""
        values: dict[str, Tensor] = {}
        for node in self._nodes:
            inputs = [values[name.split(":")[0]] for name in node.get("input", [])]
            values[node["name"]] = self._run(node, inputs, images)
        return tuple(values[name] for name in wanted)

    def _run(self, node: dict[str, Any], x: list[Tensor], images: Tensor) -> Tensor:
        match node["op"]:
            case "Placeholder":
                return images.float()
            case "Const":
                return self._constants[node["name"]]
            case "Conv2D" | "_FusedConv2D" | "DepthwiseConv2dNative":
                return _convolve(node, x)
            case "_FusedMatMul":
                y = x[0].flatten(1) @ x[1] + x[2]
                return F.relu(y) if "Relu" in _fused(node) else y
            case "MaxPool":
                size, stride = _numbers(node, "ksize")[1], _numbers(node, "strides")[1]
                return F.max_pool2d(x[0], size, stride)
            case "Pad":  # rows of the table: batch, height, width, channels
                (_, _), (top, bottom), (left, right), (first, last) = x[1].int().tolist()
                return F.pad(x[0], (left, right, top, bottom, first, last))
            case "Mean":
                return x[0].mean((2, 3))
            case "Reshape":
                return x[0].permute(0, 2, 3, 1).flatten(1)
            case "ConcatV2":
                return torch.cat([part.permute(0, 2, 3, 1).flatten(1) for part in x[:-1]], 1)
            case _:
                return _SIMPLE[node["op"]](*[_channels(v, x[0]) for v in x])


_SIMPLE: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "AddV2": torch.add,
    "Mul": torch.mul,
    "Minimum": torch.minimum,
    "Maximum": torch.maximum,
    "Relu": F.relu,
    "Prelu": lambda x, slope: torch.where(x >= 0, x, slope * x),
    "Sigmoid": torch.sigmoid,
    "Softmax": lambda x: torch.softmax(x, -1),
    "Identity": lambda x: x,
}


def _channels(value: Tensor, like: Tensor) -> Tensor:
    """Constants say their channels last, pictures have them second."""
    return value.reshape(1, -1, 1, 1) if like.dim() == 4 and value.dim() in (1, 3) else value


def _convolve(node: dict[str, Any], x: list[Tensor]) -> Tensor:
    deep = node["op"].startswith("Depthwise")
    weight = x[1].permute(2, 3, 0, 1) if deep else x[1].permute(3, 2, 0, 1)
    kernel, stride = weight.shape[-1], _numbers(node, "strides")[1]
    image = x[0]
    if base64.b64decode(node["attr"]["padding"]["s"]) == b"SAME":  # what is odd goes to the right and to the bottom
        total = [max(0, (-(-n // stride) - 1) * stride + kernel - n) for n in (image.shape[3], image.shape[2])]
        image = F.pad(image, [side for n in total for side in (n // 2, n - n // 2)])
    bias = x[2].flatten() if len(x) > 2 else None
    y = F.conv2d(image, weight, bias, stride, groups=image.shape[1] if deep else 1)
    return torch.where(y >= 0, y, x[3].reshape(1, -1, 1, 1) * y) if "Prelu" in _fused(node) else y


def _fused(node: dict[str, Any]) -> list[str]:
    return [base64.b64decode(s).decode() for s in node["attr"].get("fused_ops", {}).get("list", {}).get("s", [])]


def _numbers(node: dict[str, Any], name: str) -> list[int]:
    return [int(n) for n in node["attr"][name]["list"]["i"]]


def _weights(manifest: list[dict[str, Any]], content: bytes) -> dict[str, Tensor]:
    result, at = dict[str, Tensor](), 0
    for entry in (e for group in manifest for e in group["weights"]):
        kind = _TYPES[entry.get("quantization", entry)["dtype"]]
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(content, kind, count, at).reshape(entry["shape"])
        at += values.nbytes
        result[entry["name"]] = torch.from_numpy(values.astype(np.float32))
    assert at == len(content)
    return result


def _ordered(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each node after those that it needs."""
    waiting, done, order = list(nodes), set[str](), list[dict[str, Any]]()
    while waiting:
        ready = [n for n in waiting if all(i.split(":")[0] in done for i in n.get("input", []))]
        assert ready, "the graph has a circle"
        order += ready
        done |= {n["name"] for n in ready}
        waiting = [n for n in waiting if n["name"] not in done]
    return order
