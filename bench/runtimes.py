"""CenterFace on the CPU by runtime, size and threads: milliseconds, and how far the heat map is from ONNX Runtime's.

    python bench/runtimes.py [VIDEO] [--runs 9] [--only NAME]

Runtimes that aren't installed are left out. CPU time is the process's own: other work on the machine disturbs it less
than wall time. The best of the runs is shown.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from pipeline.models import graph
from pipeline.models.onnx_export import export

SIZES = ((384, 640), (544, 960), (736, 1280), (1088, 1920))
Call = Callable[[np.ndarray], np.ndarray]


def frames(video: Path, number: int) -> torch.Tensor:
    """(number, 3, H, W) float32 0..255, the first of the video."""
    with av.open(str(video)) as container:
        found = [f.to_ndarray(format="rgb24") for _, f in zip(range(number), container.decode(video=0), strict=False)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float()


def onnxruntime(shape: tuple[int, ...], threads: int, _: np.ndarray) -> Call:
    run = graph.OnnxRuntime(graph.load("centerface"), threads)
    return lambda x: run(torch.from_numpy(x))[0].numpy()


def onnxruntime_int8(shape: tuple[int, ...], threads: int, _: np.ndarray) -> Call:
    """What the product uses."""
    run = graph.OnnxRuntime(graph.load("centerface"), threads, int8=True)
    return lambda x: run(torch.from_numpy(x))[0].numpy()


def openvino(precision: str) -> Callable[[tuple[int, ...], int, np.ndarray], Call]:
    def build(shape: tuple[int, ...], threads: int, _: np.ndarray) -> Call:
        import openvino as ov

        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision}
        core = ov.Core()
        compiled = core.compile_model(core.read_model(export(graph.load("centerface"), shape)), "CPU", settings)
        request = compiled.create_infer_request()
        return lambda x: np.array(request.infer({0: x})[compiled.output(0)])

    return build


def torch_eager(shape: tuple[int, ...], threads: int, _: np.ndarray) -> Call:
    torch.set_num_threads(threads)
    run = graph.TorchRuntime(graph.load("centerface"), torch.device("cpu"))
    return lambda x: run(torch.from_numpy(x))[0].numpy()


RUNTIMES = {
    "onnxruntime fp32": onnxruntime,
    "onnxruntime int8": onnxruntime_int8,
    "openvino fp32": openvino("f32"),
    "openvino bf16": openvino("bf16"),
    "torch eager fp32": torch_eager,
}


def measure(call: Call, image: np.ndarray, runs: int) -> tuple[float, float, np.ndarray]:
    """Best wall ms, best CPU ms, heat map."""
    heat, wall, cpu = call(image), [], []
    for _ in range(runs):
        w, c = time.perf_counter(), time.process_time()
        heat = call(image)
        wall.append(time.perf_counter() - w)
        cpu.append(time.process_time() - c)
    return min(wall) * 1e3, min(cpu) * 1e3, heat


def main() -> None:
    """Print one line per size, runtime and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    pictures = frames(options.video, 8)
    print(f"{'size':>10} {'threads':>7} {'runtime':<18} {'wall ms':>8} {'CPU ms':>8} {'of ORT':>7} {'heat diff':>10}")
    for height, width in SIZES:
        samples = F.interpolate(pictures, (height, width), mode="bilinear", antialias=True).numpy()
        for threads in (1, 2):
            reference: tuple[float, float, np.ndarray] | None = None
            for name, build in RUNTIMES.items():
                if options.only and options.only not in name and not name.startswith("onnxruntime fp32"):
                    continue
                try:
                    call = build((1, 3, height, width), threads, samples)
                except ImportError:
                    continue
                wall, cpu, heat = measure(call, samples[:1], options.runs)
                reference = reference or (wall, cpu, heat)
                apart = float(np.abs(heat - reference[2]).max())
                line = f"{width:>5}x{height:<4} {threads:>7} {name:<18} {wall:8.1f} {cpu:8.1f}"
                print(f"{line} {cpu / reference[1]:7.2f} {apart:10.4f}", flush=True)


if __name__ == "__main__":
    main()
