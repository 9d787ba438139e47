"""A graph in ONNX's format, in memory."""

from typing import Any

import numpy as np

from pipeline.errors import DeviceError
from pipeline.models.graph import Graph, Op
from pipeline.models.quantise import Step, quantise

_SIMPLE = {"sigmoid": "Sigmoid", "add": "Add", "relu": "Relu", "mean": "GlobalAveragePool"}


def export(graph: Graph, shape: tuple[int, ...], int8: bool = False) -> bytes:
    """An ONNX model (opset 17) with one input "input" of this fixed NCHW shape and the weights as constants.

    `int8`: convolutions and sums with 8-bit integers, by the ranges that were measured when the network was converted.
    Weights keep 7 bits, since older processors would overflow with 8 (they have no VNNI instructions).
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise DeviceError("onnx isn't installed", str(error), "install it, or ask for torch by name") from error
    constants = {name: value.numpy() for name, value in graph.weights.items()}
    steps: list[Step] = []
    for op in graph.ops:
        if op.kind == "prelu":
            steps += _prelu(op, constants)
            continue
        kind, inputs, attributes = _node(op, constants)
        target = f"{op.output}/linear" if op.relu else op.output
        steps.append((kind, inputs, target, attributes))
        if op.relu:
            steps.append(("Relu", [target], op.output, {}))
    outputs = graph.outputs
    if int8:
        steps = quantise(graph, steps, constants)
        # What comes out before it is made whole numbers would keep its layer from using them.
        outputs = tuple(f"{name}/8" if name in graph.ranges else name for name in outputs)
    nodes = [helper.make_node(kind, inputs, [output], **facts) for kind, inputs, output, facts in steps]
    body = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _node(op: Op, constants: dict[str, np.ndarray]) -> tuple[str, list[str], dict[str, Any]]:
    left, right, top, bottom = op.pads
    pads, stride, kernel = [top, left, bottom, right], [op.stride] * 2, [op.kernel] * 2
    inputs = [*op.inputs, *op.weights]
    match op.kind:
        case "conv":
            return "Conv", inputs, {"pads": pads, "strides": stride, "group": op.groups}
        case "deconv":
            return "ConvTranspose", inputs, {"strides": stride}
        case "maxpool":
            return "MaxPool", inputs, {"pads": pads, "strides": stride, "kernel_shape": kernel}
        case "avgpool":
            return "AveragePool", inputs, {"strides": stride, "kernel_shape": kernel}
        case "pad":
            return "Pad", [*inputs, _constant(op, constants, [0, 0, top, left, 0, op.channels, bottom, right])], {}
        case "resize":
            scales = _constant(op, constants, np.array([1, 1, op.scale, op.scale], np.float32))
            return "Resize", [*inputs, "", scales], {"mode": "linear"}
        case "shuffle":
            return "DepthToSpace", inputs, {"blocksize": op.scale, "mode": "DCR"}
        case _:
            return _SIMPLE[op.kind], inputs, {}


def _prelu(op: Op, constants: dict[str, np.ndarray]) -> list[Step]:
    """slope * x + (1 - slope) * relu(x). ONNX Runtime's own PRelu is slow and breaks up the memory layout of the
    convolutions around it: the face mesh takes three times as long with it."""
    slope = constants.pop(op.weights[0]).reshape(1, -1, 1, 1)
    low, high, out = f"{op.output}/low", f"{op.output}/high", op.output
    constants[f"{low}/gain"], constants[f"{high}/gain"] = slope, (1 - slope).astype(np.float32)
    return [
        ("Relu", [op.inputs[0]], f"{out}/relu", {}),
        ("Mul", [f"{out}/relu", f"{high}/gain"], high, {}),
        ("Mul", [op.inputs[0], f"{low}/gain"], low, {}),
        ("Add", [high, low], out, {}),
    ]


def _constant(op: Op, constants: dict[str, np.ndarray], value: "list[int] | np.ndarray") -> str:
    name = f"{op.output}/constant"
    constants[name] = np.asarray(value, np.int64) if isinstance(value, list) else value
    return name
