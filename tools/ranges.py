"""Measure the ranges of a network's results, so that it can run with 8-bit integers."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from pipeline.models.graph import Graph, TorchRuntime

RARE = 1e-5  # of the values may lie outside


def measured(graph: Graph, images: Iterable[np.ndarray], leave: int) -> Graph:
    """The graph with the ranges of all results but the outputs and the first `leave`. Images are NCHW as the network
    wants them. The first layers stay float: that costs no time, and about half of the error would come from them."""
    run = TorchRuntime(replace(graph, outputs=tuple(op.output for op in graph.ops)), torch.device("cpu"))
    found: dict[str, tuple[float, float]] = {}
    for image in images:
        for op, value in list(zip(graph.ops, run(torch.from_numpy(image)), strict=True))[leave:]:
            if op.output in graph.outputs or op.kind == "sigmoid":
                continue
            flat, rank = value.flatten(), max(1, int(value.numel() * RARE))
            low, high = found.get(op.output, (0.0, 0.0))
            found[op.output] = (
                min(low, -float((-flat).topk(rank).values[-1])),
                max(high, float(flat.topk(rank).values[-1])),
            )
    return replace(graph, ranges={name: (float(np.float32(a)), float(np.float32(b))) for name, (a, b) in found.items()})
