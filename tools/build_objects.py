"""The network that tells what is before a face: `pipeline/data/objects.npz`.

    python tools/build_objects.py PORTRAITS WORK [--seconds S] [--steps N]

Learned from people who do not exist (faker-js/assets-person-portrait, CC0 1.0), moved as puppets, with drawn hands and
things before them (`object_scenes.py`): no real person and no real hand is in it. WORK keeps the faces, the sprites and
the state of learning, so that it can go on after `--seconds`; when `--steps` are done, the file is written. The pinned
file took 9900 steps of 24 scenes, half an hour on one core; the scenes were still adjusted during the
first half of them, so another run gives another network of the same kind, not the same bytes.
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
from build_nobody import NOT_BARE, SOURCE, meshes_of, read, skin_weights
from object_scenes import Scenes
from object_sprites import bank
from packages import graph_array, store
from torch import Tensor, nn

from pipeline import appearance, shape
from pipeline.models.graph import Graph, Op, to_json
from pipeline.picture import PixelLayout, to_rgb
from pipeline.stage.canvas import Canvas
from pipeline.stage.portray import Place, draw
from pipeline.stage.puppet import Moves, Puppet, _puppet

SIDE, LOOKS = 128, 24  # pixels of a face's texture, and how many of each person
MOST_TURNED = 25.0  # degrees of a portrait
WIDTHS = (16, 32, 64, 96)
BATCH, RATE = 24, 2.5e-3


def bare(names: list[str], meshes: Tensor) -> list[int]:
    """Portraits that look ahead and have nothing before the face."""
    angles = shape.pose(torch.nan_to_num(meshes)).angles()[:, 0].abs()
    return [
        i
        for i, name in enumerate(names)
        if torch.isfinite(meshes[i]).all() and float(angles[i]) < MOST_TURNED and name not in NOT_BARE
    ]


def acted(dice: random.Random) -> Moves:
    talks = dice.random() < 0.5
    return Moves(
        yaw=dice.gauss(0, 14), pitch=dice.gauss(0, 7), roll=dice.gauss(0, 5), gaze=dice.uniform(-1, 1),
        blink=dice.choice([0, 0, 0, 1, dice.random()]), jaw=dice.random() ** 2 * 0.8 if talks else 0,
        wide=dice.uniform(-1, 1) if talks else 0, smile=dice.choice([0, dice.random()]),
        brows=dice.choice([0, dice.random()]),
    )  # fmt: skip


def look(puppet: Puppet, moves: Moves, unit: int) -> np.ndarray:
    """(3, SIDE, SIDE) uint8: the puppet's face as a texture, drawn with `unit` pixels between the eyes."""
    side = unit * 4
    canvas = Canvas(torch.full((side, side), 90.0), torch.full((2, side // 2, side // 2), 128.0))
    drawn = draw(puppet, moves, Place(side / 2, side * 0.42, unit / puppet.unit), canvas)
    chroma = F.interpolate(canvas.chroma[None], size=(side, side), mode="bilinear")[0]
    rgb = to_rgb(torch.cat([canvas.luma[None], chroma]), PixelLayout(side, side, 8, 0, 0, "bt709", False))
    texture = appearance.unwrap(rgb.clamp(0, 1), torch.from_numpy(drawn.mesh), SIDE)
    return (texture * 255).round().byte().numpy()


def faces(portraits: Path) -> dict[str, np.ndarray]:
    """Looks (P, LOOKS, 3, SIDE, SIDE) at each person, and where hair is likely (P, 1, SIDE, SIDE)."""
    names, images = read(portraits)
    meshes = meshes_of(images)
    used, dice = bare(names, meshes), random.Random(4)
    logs = torch.stack([torch.log(appearance.unwrap(images[i], meshes[i], SIDE) + appearance.EPS) for i in used])
    weight, _ = skin_weights(logs, appearance.face_mask(SIDE, torch.device("cpu")))
    looks = np.zeros((len(used), LOOKS, 3, SIDE, SIDE), np.uint8)
    for n, i in enumerate(used):
        picture = images[i] * 255
        puppet = _puppet(names[i], torch.cat([picture, torch.full_like(picture[:1], 255)]), meshes[i].numpy())
        for k in range(LOOKS):
            looks[n, k] = look(puppet, acted(dice) if k else Moves(), dice.choice([30, 46, 66, 90]))
    return {"looks": looks, "unsure": (weight < 0.5).numpy(), "names": np.array([names[i] for i in used])}


class Block(nn.Sequential):
    """A convolution with batch norm."""

    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> None:
        conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(after, momentum=0.05))
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x)) if self.relu else super().forward(x)


class Network(nn.Module):
    """Down four times and up again, with sums across (after Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015)."""

    def __init__(self, inputs: int = 8, outputs: int = 1, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem, self.e1 = Block(inputs, a, 5, 2), Block(a, a)
        self.d2, self.e2 = Block(a, b, 3, 2), nn.ModuleList([Block(b, b), Block(b, b)])
        self.d3, self.e3 = Block(b, c, 3, 2), nn.ModuleList([Block(c, c), Block(c, c)])
        self.d4, self.e4 = Block(c, d, 3, 2), nn.ModuleList([Block(d, d), Block(d, d)])
        self.u3, self.f3 = Block(d, c, 1, relu=False), Block(c, c)
        self.u2, self.f2 = Block(c, b, 1, relu=False), Block(b, b)
        self.u1, self.f1 = Block(b, a, 1, relu=False), Block(a, a)
        self.head = nn.Conv2d(a, 4 * outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        def up(t: Tensor) -> Tensor:
            return F.interpolate(t, scale_factor=2.0, mode="bilinear", align_corners=False)

        x1 = self.e1(self.stem(x))
        x2 = self.d2(x1)
        x2 = F.relu(x2 + self.e2[1](self.e2[0](x2)))
        x3 = self.d3(x2)
        x3 = F.relu(x3 + self.e3[1](self.e3[0](x3)))
        x4 = self.d4(x3)
        x4 = F.relu(x4 + self.e4[1](self.e4[0](x4)))
        y = self.f3(F.relu(x3 + up(self.u3(x4))))
        y = self.f2(F.relu(x2 + up(self.u2(y))))
        y = self.f1(F.relu(x1 + up(self.u1(y))))
        return F.pixel_shuffle(self.head(y), 2)


def learn(network: Network, made: dict[str, np.ndarray], work: Path, seconds: float, steps: int) -> int:
    """Goes on learning for some seconds, at most up to `steps`. Returns the number of steps done in all."""
    optimiser, done = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3), 0
    if (work / "state.pt").exists():
        state = torch.load(work / "state.pt")
        network.load_state_dict(state["net"])
        optimiser.load_state_dict(state["opt"])
        done = state["done"]
    sprites = {k: made[k] for k in made.keys() - {"looks", "unsure", "names"}}
    scenes, kept = Scenes(made["looks"], made["unsure"], sprites, 1000 + done), list[tuple[Tensor, Tensor, Tensor]]()
    network.to(memory_format=torch.channels_last)
    begin, lost = time.monotonic(), list[float]()
    while done < steps and time.monotonic() - begin < seconds:
        for group in optimiser.param_groups:
            group["lr"] = RATE * (0.5 + 0.5 * math.cos(math.pi * done / steps)) + 2e-5
        fresh = len(kept) < 12 or done % 5 < 2  # drawing takes longer than learning: each scene is seen some times
        if fresh:
            kept = [*kept[-39:], scenes.batch(BATCH)]
        x, label, counts = kept[-1] if fresh else kept[int(scenes.numpy.integers(len(kept)))]
        with torch.autocast("cpu", torch.bfloat16):
            said = network(x.contiguous(memory_format=torch.channels_last))
        each = F.binary_cross_entropy_with_logits(said.float(), label, reduction="none")
        loss = (each * counts).sum() / counts.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        lost.append(float(loss.detach()))
        done += 1
    print(f"{done} steps, loss {np.mean(lost[-150:] or [0]):.4f}")
    torch.save({"net": network.state_dict(), "opt": optimiser.state_dict(), "done": done}, work / "state.pt")
    return done


class Exporter:
    """A network's operations, batch norm folded in."""

    def __init__(self) -> None:
        self.ops, self.weights = list[Op](), dict[str, Tensor]()

    def conv(self, block: Block, source: str, name: str) -> str:
        conv, norm = block[0], block[1]
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return self.plain(
            conv.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain, source, name,
            conv.stride[0], block.relu,
        )  # fmt: skip

    def plain(self, kernel: Tensor, bias: Tensor, source: str, name: str, stride: int = 1, relu: bool = False) -> str:
        self.weights |= {f"{name}.w": kernel.detach(), f"{name}.b": bias.detach()}
        size, pad = kernel.shape[2], kernel.shape[2] // 2
        names = (f"{name}.w", f"{name}.b")
        self.ops.append(Op("conv", (source,), name, names, size, stride, (pad, pad, pad, pad), relu=relu))
        return name

    def add(self, op: Op) -> str:
        self.ops.append(op)
        return op.output

    def down(self, n: int, first: Block, more: nn.ModuleList, source: str) -> str:
        start = self.conv(first, source, f"d{n}")
        end = self.conv(more[1], self.conv(more[0], start, f"e{n}a"), f"e{n}b")
        return self.add(Op("add", (start, end), f"x{n}", relu=True))

    def up(self, n: int, narrow: Block, last: Block, source: str, beside: str) -> str:
        wide = self.add(Op("resize", (self.conv(narrow, source, f"u{n}"),), f"w{n}", scale=2))
        return self.conv(last, self.add(Op("add", (beside, wide), f"s{n}", relu=True)), f"f{n}")


def graph(network: Network, result: str = "object") -> Graph:
    """The network as the pipeline runs it, with the name of what comes out."""
    n, out = network.eval(), Exporter()
    x1 = out.conv(n.e1, out.conv(n.stem, "input", "stem"), "e1")
    x2 = out.down(2, n.d2, n.e2, x1)
    x3 = out.down(3, n.d3, n.e3, x2)
    y = out.up(3, n.u3, n.f3, out.down(4, n.d4, n.e4, x3), x3)
    y = out.up(1, n.u1, n.f1, out.up(2, n.u2, n.f2, y, x2), x1)
    order = torch.arange(len(n.head.bias)).reshape(-1, 4).T.flatten()  # `Op` has the channels run fastest
    out.plain(n.head.weight[order], n.head.bias[order], y, "head")
    out.add(Op("shuffle", ("head",), "logits", scale=2))
    out.add(Op("sigmoid", ("logits",), result))
    return Graph(tuple(out.ops), (result,), out.weights)


def main() -> None:
    """Draw, learn, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--steps", type=int, default=10_000)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.work / "made.npz").exists():
        np.savez(options.work / "made.npz", **faces(options.portraits), **bank(1))
    made, network = dict(np.load(options.work / "made.npz")), Network()
    if learn(network, made, options.work, options.seconds, options.steps) < options.steps:
        return
    result = graph(network)
    arrays = {k: v.numpy().astype(np.float16) for k, v in result.weights.items()}
    names = "\n".join(made["names"].tolist()).encode()
    print("portraits used:", hashlib.sha256(names).hexdigest())
    what = "What is before a face: a small U-Net"
    store("objects", what, SOURCE, "portraits", names, {"graph": graph_array(to_json(result)), **arrays})


if __name__ == "__main__":
    sys.exit(main())
