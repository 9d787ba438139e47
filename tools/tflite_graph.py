"""Read a TensorFlow Lite network (float, half, sparse) into a pipeline.models.graph.Graph.

Needs the package `tflite` (the format's generated reader). The product itself doesn't.
"""

from typing import Any

import numpy as np
import tflite
import torch

from pipeline.models.graph import Graph, Op

_TYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
_SAME = tflite.Padding.SAME


class Reader:
    """Walks the operations in order. Constants are folded, explicit paddings move into the convolution they feed."""

    def __init__(self, content: bytes) -> None:
        self.model = tflite.Model.GetRootAsModel(content, 0)
        self.net = self.model.Subgraphs(0)
        self.constants: dict[int, np.ndarray] = {}
        self.pads: dict[int, tuple[int, tuple[int, int, int, int]]] = {}  # tensor -> (its source, l r t b)
        self.weights: dict[str, torch.Tensor] = {}
        self.ops: list[Op] = []

    def graph(self) -> Graph:
        """The whole network; outputs in the order of the file, without their final reshapes."""
        alias: dict[int, int] = {}
        for i in range(self.net.OperatorsLength()):
            op = self.net.Operators(i)
            code = self.model.OperatorCodes(op.OpcodeIndex())
            kind = _NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            inputs, output = [int(n) for n in op.InputsAsNumpy() if n >= 0], int(op.OutputsAsNumpy()[0])
            if kind in ("DEQUANTIZE", "DENSIFY"):
                self.constants[output] = self.constant(inputs[0])
            elif kind == "RESHAPE":
                alias[output] = inputs[0]
            else:
                getattr(self, kind.lower())(op, inputs, output)
        outputs = [alias.get(int(n), int(n)) for n in self.net.OutputsAsNumpy()]
        return Graph(tuple(self.ops), tuple(str(n) for n in outputs), self.weights)

    def name(self, tensor: int) -> str:
        return "input" if tensor == int(self.net.InputsAsNumpy()[0]) else str(tensor)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.net.Tensors(tensor).ShapeAsNumpy())

    def constant(self, tensor: int) -> np.ndarray:
        if tensor not in self.constants:
            facts = self.net.Tensors(tensor)
            flat = np.frombuffer(self.model.Buffers(facts.Buffer()).DataAsNumpy().tobytes(), _TYPES[facts.Type()])
            shape = self.shape(tensor)
            self.constants[tensor] = (
                _densify(flat, facts.Sparsity(), shape) if facts.Sparsity() else flat.reshape(shape)
            )
        return self.constants[tensor]

    def weight(self, tensor: int, axes: tuple[int, ...] | None = None) -> str:
        value = self.constant(tensor)
        value = np.ascontiguousarray(value.transpose(axes) if axes else value)
        self.weights[f"w{tensor}"] = torch.from_numpy(value.copy())
        return f"w{tensor}"

    def _convolution(self, op: Any, inputs: list[int], output: int, options: Any, depthwise: bool) -> None:
        options.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
        kernel, stride = self.shape(inputs[1])[1:3], options.StrideH()
        source, pads = self.pads.get(inputs[0], (inputs[0], (0, 0, 0, 0)))
        if options.Padding() == _SAME:
            pads = _same(self.shape(inputs[0]), kernel, stride)
        self.ops.append(
            Op(
                "conv",
                (self.name(source),),
                str(output),
                (self.weight(inputs[1], (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)), self.weight(inputs[2])),
                kernel=kernel[0],
                stride=stride,
                pads=pads,
                groups=self.shape(inputs[0])[3] if depthwise else 1,
                relu=_relu(options),
            )
        )

    def conv_2d(self, op: Any, inputs: list[int], output: int) -> None:
        self._convolution(op, inputs, output, tflite.Conv2DOptions(), False)

    def depthwise_conv_2d(self, op: Any, inputs: list[int], output: int) -> None:
        self._convolution(op, inputs, output, tflite.DepthwiseConv2DOptions(), True)

    def prelu(self, op: Any, inputs: list[int], output: int) -> None:
        name = self.weight(inputs[1])
        self.weights[name] = self.weights[name].reshape(-1)
        self.ops.append(Op("prelu", (self.name(inputs[0]),), str(output), (name,)))

    def add(self, op: Any, inputs: list[int], output: int) -> None:
        options = tflite.AddOptions()
        options.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
        self.ops.append(Op("add", (self.name(inputs[0]), self.name(inputs[1])), str(output), relu=_relu(options)))

    def max_pool_2d(self, op: Any, inputs: list[int], output: int) -> None:
        options = tflite.Pool2DOptions()
        options.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
        kernel, stride = options.FilterHeight(), options.StrideH()
        pads = _same(self.shape(inputs[0]), (kernel, kernel), stride) if options.Padding() == _SAME else (0, 0, 0, 0)
        self.ops.append(
            Op(
                "maxpool",
                (self.name(inputs[0]),),
                str(output),
                kernel=kernel,
                stride=stride,
                pads=pads,
                relu=_relu(options),
            )
        )

    def pad(self, op: Any, inputs: list[int], output: int) -> None:
        (_, top, left, first), (_, bottom, right, channels) = self.constant(inputs[1]).T.tolist()
        assert first == 0
        if channels:
            self.ops.append(
                Op("pad", (self.name(inputs[0]),), str(output), pads=(left, right, top, bottom), channels=channels)
            )
        else:
            self.pads[output] = (inputs[0], (left, right, top, bottom))

    def resize_bilinear(self, op: Any, inputs: list[int], output: int) -> None:
        options = tflite.ResizeBilinearOptions()
        options.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
        assert options.HalfPixelCenters()
        assert not options.AlignCorners()
        scale = self.shape(output)[1] // self.shape(inputs[0])[1]
        self.ops.append(Op("resize", (self.name(inputs[0]),), str(output), scale=scale))

    def depth_to_space(self, op: Any, inputs: list[int], output: int) -> None:
        scale = self.shape(output)[1] // self.shape(inputs[0])[1]
        self.ops.append(Op("shuffle", (self.name(inputs[0]),), str(output), scale=scale))


def _relu(options: Any) -> bool:
    activation = options.FusedActivationFunction()
    assert activation in (tflite.ActivationFunctionType.NONE, tflite.ActivationFunctionType.RELU), activation
    return bool(activation == tflite.ActivationFunctionType.RELU)


def _same(shape: tuple[int, ...], kernel: tuple[int, ...], stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's SAME: what is odd goes to the right and to the bottom."""
    sides: list[int] = []
    for size, k in ((shape[2], kernel[1]), (shape[1], kernel[0])):
        total = max(0, (-(-size // stride) - 1) * stride + k - size)
        sides += [total // 2, total - total // 2]
    return sides[0], sides[1], sides[2], sides[3]


def _densify(values: np.ndarray, sparsity: Any, shape: tuple[int, ...]) -> np.ndarray:
    """TACO-like levels (the format's schema): dense or compressed rows, first the tensor's axes, then the blocks'."""
    order = sparsity.TraversalOrderAsNumpy().tolist()
    blocks = sparsity.BlockMapAsNumpy().tolist() if sparsity.BlockMapLength() else []
    levels = [sparsity.DimMetadata(i) for i in range(sparsity.DimMetadataLength())]
    rank = len(shape)
    block_size = dict(zip(blocks, (levels[rank + i].DenseSize() for i in range(len(blocks))), strict=True))
    dense = np.zeros(shape, values.dtype)
    places = [(0, (0,) * len(levels))]  # (position in the level above, index per level)
    for i, level in enumerate(levels):
        if level.Format() == tflite.DimensionType.DENSE:
            size = level.DenseSize()
            places = [(p * size + k, (*at[:i], k, *at[i + 1 :])) for p, at in places for k in range(size)]
        else:
            segments = _vector(level.ArraySegments, level.ArraySegmentsType)
            indices = _vector(level.ArrayIndices, level.ArrayIndicesType)
            places = [
                (k, (*at[:i], int(indices[k]), *at[i + 1 :]))
                for p, at in places
                for k in range(segments[p], segments[p + 1])
            ]
    for position, at in places:
        index = [0] * rank
        for level_number, axis in enumerate(order):
            if axis < rank:
                index[axis] += at[level_number] * block_size.get(axis, 1)
            else:
                index[blocks[axis - rank]] += at[level_number]
        dense[tuple(index)] = values[position]
    return dense


def _vector(table: Any, kind: Any) -> np.ndarray:
    reader = {
        tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
        tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
        tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
    }[kind()]()
    reader.Init(table().Bytes, table().Pos)
    result: np.ndarray = reader.ValuesAsNumpy()
    return result.astype(int)
