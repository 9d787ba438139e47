"""The network that tells glasses: `pipeline/data/glasses.npz`.

    python tools/build_glasses.py PORTRAITS WORK [--steps N]

Learned from people who do not exist (faker-js/assets-person-portrait, CC0 1.0) with drawn glasses on their faces
(`glasses_scenes.py`): no real person and no real pair of glasses is in it. Folds, shine and heavy brows are drawn on
most faces, with glasses and without (`glasses_folds.py`): sharp photos have them, and they are no rims. Every seventh
portrait is left out, to try the network on. WORK keeps what was drawn. On one thread, the same machine gives the same
bytes.
"""

import argparse
import hashlib
import math
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from build_nobody import SOURCE, meshes_of, read
from build_objects import Network, bare, graph
from glasses_folds import bank as folds
from glasses_scenes import Scenes, bank
from object_sprites import strands
from packages import graph_array, store
from torch import Tensor

from pipeline import appearance
from pipeline.glasses import SIZE
from pipeline.models.graph import to_json

WIDTHS = (12, 24, 40, 56)
BATCH, RATE, STEPS = 12, 3e-3, 1700
LEFT_OUT = 7  # every so manieth portrait is not learned from
PAIRS, HAIR, FOLDS = 1200, 60, 800  # drawn glasses; strands and folded skin, which are none


def drawn(portraits: Path) -> dict[str, np.ndarray]:
    """Faces (P, 3, SIZE, SIZE) uint8, their names, glasses and hair."""
    names, images = read(portraits)
    meshes = meshes_of(images)
    used = [i for n, i in enumerate(bare(names, meshes)) if n % LEFT_OUT]
    faces = [(appearance.unwrap(images[i], meshes[i], SIZE) * 255).round().byte().numpy() for i in used]
    dice = random.Random(2)
    hair = np.stack([strands(dice) for _ in range(HAIR)])
    named = np.array([names[i] for i in used])
    none = {"strands": hair, "folds": folds(4, FOLDS)}
    return {"faces": np.stack(faces), "names": named, "glasses": bank(1, PAIRS), **none}


def loss_of(said: Tensor, told: Tensor) -> Tensor:
    """Cross entropy, and the overlap of thin lines: `said` in logits, both (b, 2, h, w)."""
    each = (F.binary_cross_entropy_with_logits(said, told, reduction="none") * (1 + 2 * told)).mean()
    p = torch.sigmoid(said)
    both, sums = (p * told).sum((0, 2, 3)), (p + told).sum((0, 2, 3))
    return 3 * each + 0.15 * (1 - (2 * both + 50) / (sums + 50)).mean()


def learn(network: Network, made: dict[str, np.ndarray], steps: int) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    scenes = Scenes(*(made[k] for k in ("faces", "glasses", "strands", "folds")), 3)
    kept = list[tuple[Tensor, Tensor]]()
    begin, lost = time.monotonic(), list[float]()
    for done in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (0.5 + 0.5 * math.cos(math.pi * done / steps)) + 2e-5
        fresh = len(kept) < 12 or done % 2 == 0  # drawing takes longer than learning: each scene is seen some times
        if fresh:
            kept = [*kept[-39:], scenes.batch(BATCH)]
        x, told = kept[-1] if fresh else kept[int(scenes.numpy.integers(len(kept)))]
        loss = loss_of(network(x), told)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        lost.append(float(loss.detach()))
        if done % 100 == 99:
            print(f"{done + 1} steps, loss {np.mean(lost[-100:]):.4f}, {time.monotonic() - begin:.0f} s", flush=True)


def main() -> None:
    """Draw, learn, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    if not (options.work / "glasses.npz").exists():
        np.savez(options.work / "glasses.npz", **drawn(options.portraits))
    made, network = dict(np.load(options.work / "glasses.npz")), Network(5, 2, WIDTHS)
    learn(network, made, options.steps)
    result = graph(network, "glasses")
    arrays = {k: v.numpy().astype(np.float16) for k, v in result.weights.items()}
    names = "\n".join(made["names"].tolist()).encode()
    print("portraits used:", hashlib.sha256(names).hexdigest())
    store("glasses", "Frames and dark lenses of glasses: a small U-Net", SOURCE, "portraits", names, {
        "graph": graph_array(to_json(result)), **arrays
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
