"""A network as a list of plain operations, run by torch or, on the CPU, by ONNX Runtime.

One description serves both, so that the CPU and the GPU give one result, and no foreign graph format has to be read
at run time. Tensors are NCHW float32. Batch norm is folded into the convolutions when a network is converted.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import DeviceError, ModelError
from pipeline.models import weights

KINDS = ("conv", "deconv", "prelu", "relu", "sigmoid", "add", "maxpool", "avgpool", "mean", "pad", "resize", "shuffle")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    conv/deconv: `weights` (kernel OIHW / IOHW, bias). prelu: (slope (C,),). resize: bilinear by `scale`, half-pixel
    centres. shuffle: depth to space by `scale`, the block's row and column being the slowest part of the channel
    number. mean: over height and width. pad: zeros, `pads` around and `channels` more channels at the end.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    weights: tuple[str, ...] = ()
    kernel: int = 1
    stride: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, right, top, bottom
    groups: int = 1
    scale: int = 1
    channels: int = 0
    relu: bool = False  # afterwards

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ModelError(f"the network uses an unknown operation {self.kind}")


@dataclass(frozen=True, slots=True)
class Graph:
    """Operations in the order in which they run. The one input is called "input"."""

    ops: tuple[Op, ...]
    outputs: tuple[str, ...]
    weights: dict[str, Tensor] = field(repr=False)
    ranges: dict[str, tuple[float, float]] = field(
        default_factory=dict, repr=False
    )  # of results, where int8 may be used

    def scaled(self, factor: float) -> "Graph":
        """The same for images whose values are that many times smaller."""
        first = self.ops[0]
        if first.kind != "conv" or "input" in self.ranges:
            raise ModelError(f"a network that begins with {first.kind} can't be scaled")
        kernel = first.weights[0]
        return replace(self, weights={**self.weights, kernel: self.weights[kernel] * factor})

    def cut(self, outputs: tuple[str, ...]) -> "Graph":
        """Only what leads to these results, which come out."""
        ops, wanted = list[Op](), set(outputs)
        for op in reversed(self.ops):
            if op.output in wanted:
                ops.append(op)
                wanted.update(op.inputs)
        return replace(self, ops=tuple(reversed(ops)), outputs=outputs)

    def last_uses(self) -> Iterator[tuple[Op, tuple[str, ...]]]:
        """Each operation with the names that nobody needs after it."""
        last = {name: op for op in self.ops for name in op.inputs}
        for op in self.ops:
            yield op, tuple(n for n in set(op.inputs) if last[n] is op and n not in self.outputs)


def to_json(graph: Graph) -> str:
    """The description without the weights."""
    blank = asdict(Op("relu", (), ""))
    ops = [{k: v for k, v in asdict(op).items() if k == "kind" or v != blank[k]} for op in graph.ops]
    return json.dumps({"ops": ops, "outputs": graph.outputs, "ranges": graph.ranges}, separators=(",", ":"))


def _op(entry: dict[str, Any]) -> Op:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Op(**values)


@lru_cache(maxsize=8)
def load(name: str) -> Graph:
    """A pinned network. Raises ModelError."""
    stored = weights.arrays(name)
    described = json.loads(stored.pop("graph").tobytes())
    return Graph(
        tuple(_op(entry) for entry in described["ops"]),
        tuple(described["outputs"]),
        weights.floats(stored),
        described.get("ranges", {}),
    )


class Runtime(Protocol):
    """Images in, the network's outputs in order."""

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) float32 on the runtime's device; the outputs are float32 on the same device."""
        ...


class TorchRuntime(nn.Module):
    """The graph as a torch module, for any batch and size."""

    def __init__(self, graph: Graph, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self._plan = tuple(graph.last_uses())
        self._outputs = graph.outputs
        self._dtype = dtype
        self._weights = {name: w.to(device, dtype) for name, w in graph.weights.items()}

    @torch.inference_mode()
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        values = {"input": images.to(self._dtype)}
        for op, dead in self._plan:
            values[op.output] = _run(op, [values[n] for n in op.inputs], [self._weights[n] for n in op.weights])
            for name in dead:  # a full HD picture needs gigabytes if every layer's result is kept
                del values[name]
        return tuple(values[name].float() for name in self._outputs)


def _run(op: Op, x: list[Tensor], w: list[Tensor]) -> Tensor:
    first = x[0]
    left, right, top, bottom = op.pads
    padding = (top, left)
    if any(op.pads) and (op.kind == "pad" or left != right or top != bottom):
        value = -torch.inf if op.kind == "maxpool" else 0.0
        first, padding = F.pad(first, op.pads, value=value), (0, 0)
    match op.kind:
        case "conv":
            y = F.conv2d(first, w[0], w[1], stride=op.stride, padding=padding, groups=op.groups)
        case "deconv":
            y = F.conv_transpose2d(first, w[0], w[1], stride=op.stride)
        case "prelu":
            y = F.prelu(first, w[0])
        case "sigmoid":
            y = torch.sigmoid(first)
        case "add":
            y = first + x[1]
        case "maxpool":
            y = F.max_pool2d(first, op.kernel, op.stride, padding)
        case "avgpool":
            y = F.avg_pool2d(first, op.kernel, op.stride)
        case "mean":
            y = first.mean((2, 3), keepdim=True)
        case "pad":
            y = F.pad(first, (0, 0, 0, 0, 0, op.channels))
        case "resize":
            y = F.interpolate(first, scale_factor=float(op.scale), mode="bilinear", align_corners=False)
        case "shuffle":
            y = _depth_to_space(first, op.scale)
        case _:
            y = first
    return F.relu(y) if op.relu or op.kind == "relu" else y


def _depth_to_space(x: Tensor, scale: int) -> Tensor:
    b, c, h, w = x.shape
    x = x.view(b, scale, scale, c // (scale * scale), h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(b, c // (scale * scale), h * scale, w * scale)


class OnnxRuntime:
    """The graph in ONNX Runtime on the CPU. One session per picture size, pictures one after the other.

    Fixed shapes and constant weights: with the symbolic ones of a usual export the same network takes
    2.5 times as long.
    """

    def __init__(self, graph: Graph, threads: int, int8: bool = False) -> None:
        self._graph, self._threads, self._int8 = graph, threads, int8
        self._sessions: dict[tuple[int, ...], _Session] = {}

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        shape = (1, *images.shape[1:])
        if shape not in self._sessions:
            if len(self._sessions) >= 8:  # film after film of another size must not fill the memory
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[shape] = _session(self._graph, shape, self._threads, self._int8)
        session = self._sessions[shape]
        pixels = np.ascontiguousarray(images.numpy(), dtype=np.float32)
        runs = [session.run(None, {"input": pixels[i : i + 1]}) for i in range(len(pixels))]
        if len(runs) == 1:
            return tuple(torch.from_numpy(part) for part in runs[0])
        return tuple(torch.from_numpy(np.concatenate(parts)) for parts in zip(*runs, strict=True))


class _Session(Protocol):
    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]: ...


def _session(graph: Graph, shape: tuple[int, ...], threads: int, int8: bool) -> _Session:
    from pipeline.models.onnx_export import export

    try:
        import onnxruntime as ort
    except ImportError as error:
        raise DeviceError("onnxruntime isn't installed", str(error), "install it, or ask for torch by name") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Several workers share the cores: a thread that waits must not burn them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan for the memory of a run has each of the first two touch all of it anew, and keeps both: 150 MB more, and
    # half a second for a 1080p picture. Later runs are as fast without.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    session: _Session = ort.InferenceSession(export(graph, shape, int8), options, providers=["CPUExecutionProvider"])
    return session


@lru_cache(maxsize=16)
def runtime(
    name: str,
    device: torch.device,
    engine: str = "auto",
    threads: int = 1,
    change: Callable[[Graph], Graph] = lambda graph: graph,
) -> Runtime:
    """A pinned network, ready to run; made once per process. `change`: what is run is what this makes of it.

    `engine`: "onnxruntime", "onnxruntime-int8" (both CPU only), "torch", or "auto" = onnxruntime on the CPU and torch
    elsewhere. Never another one than asked for. Raises ModelError, DeviceError.
    """
    if engine == "auto":
        engine = "onnxruntime" if device.type == "cpu" else "torch"
    if engine == "torch":
        return TorchRuntime(change(load(name)), device)
    if engine not in ("onnxruntime", "onnxruntime-int8") or device.type != "cpu":
        raise DeviceError(f"{engine} can't run on {device}", "", "ask for torch, or for the CPU")
    return OnnxRuntime(change(load(name)), threads, int8=engine.endswith("int8"))
