"""An exported network with 8-bit integers where they pay: "quantise, dequantise" pairs around convolutions and sums.

ONNX Runtime joins each pair with the operation between them. Weights are symmetric per output channel, activations
asymmetric per tensor (Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, CVPR 2018).
"""

from typing import Any

import numpy as np

from pipeline.models.graph import Graph

Step = tuple[str, list[str], str, dict[str, Any]]
"""Operator, inputs, output, attributes."""

WEIGHT_LEVELS = 63  # 7 bits: products of 8 with 8 overflow the 16-bit sums of processors without VNNI


def quantise(graph: Graph, steps: list[Step], constants: dict[str, np.ndarray]) -> list[Step]:
    """The same steps with pairs put in. Results without a range stay float."""
    done: list[Step] = []
    if "input" in graph.ranges:
        done += _pair("input", graph.ranges["input"], constants)
    # What a ReLU cuts off needs no levels: it is quantised after the ReLU only.
    for kind, inputs, output, facts in steps:
        first = f"{inputs[0]}/8"
        if kind == "Conv" and inputs[0] in graph.ranges:
            weight, bias = _weights(inputs, graph.ranges[inputs[0]], constants)
            done += weight[1] + bias[1]
            done.append((kind, [first, weight[0], bias[0]], output, facts))
        elif kind == "Add" and all(name in graph.ranges for name in inputs):
            done.append((kind, [f"{name}/8" for name in inputs], output, facts))
        else:
            done.append((kind, [f"{n}/8" if n in graph.ranges else n for n in inputs], output, facts))
        if output in graph.ranges:
            done += _pair(output, graph.ranges[output], constants)
    return done


def _levels(bounds: tuple[float, float]) -> tuple[np.float32, np.uint8]:
    """Scale and zero point for 0..255; zero itself is always exact."""
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = np.float32(max(high - low, 1e-6) / 255)
    return scale, np.uint8(round(-low / float(scale)))


def _pair(name: str, bounds: tuple[float, float], constants: dict[str, np.ndarray]) -> list[Step]:
    scale, zero = f"{name}/scale", f"{name}/zero"
    constants[scale], constants[zero] = (np.asarray(value) for value in _levels(bounds))
    return [
        ("QuantizeLinear", [name, scale, zero], f"{name}/q", {}),
        ("DequantizeLinear", [f"{name}/q", scale, zero], f"{name}/8", {}),
    ]


def _weights(
    inputs: list[str], bounds: tuple[float, float], constants: dict[str, np.ndarray]
) -> tuple[tuple[str, list[Step]], tuple[str, list[Step]]]:
    """The kernel as int8 and the bias as int32 in the scale of the products, each with its way back."""
    kernel, bias = constants.pop(inputs[1]), constants.pop(inputs[2])
    scale = (np.maximum(np.abs(kernel).reshape(len(kernel), -1).max(1), 1e-8) / WEIGHT_LEVELS).astype(np.float32)
    product = scale * _levels(bounds)[0]
    whole = np.rint(kernel / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
    offset = np.clip(np.rint(bias / product), -(2**31) + 1, 2**31 - 1).astype(np.int32)
    result = []
    for name, value, step in ((inputs[1], whole, scale), (inputs[2], offset, product)):
        constants[f"{name}/q"], constants[f"{name}/scale"] = value, step
        constants[f"{name}/zero"] = np.zeros(len(step), value.dtype)
        steps: list[Step] = [
            ("DequantizeLinear", [f"{name}/q", f"{name}/scale", f"{name}/zero"], f"{name}/8", {"axis": 0})
        ]
        result.append((f"{name}/8", steps))
    return result[0], result[1]
