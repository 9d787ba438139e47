"""What drawing one face costs: a close-up of 1080p, one core, no decoding and no encoding."""

import statistics
import time
from dataclasses import dataclass

import torch
from clips import OUT, VIDEOS, talker
from privacy import engine, instruments

from pipeline.device import limit_threads
from pipeline.identity import Seed
from pipeline.replace import Face, Replacer
from pipeline.shape import neutral

_FRAMES = 40


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one face."""

    milliseconds: float  # median of wall clock, one thread
    processor: float  # the same in processor time: other work on the machine counts less
    height: float  # px of the face's mesh


def measure() -> Cost:
    """Replaces the face of the talker, frame after frame."""
    limit_threads(1)
    film = talker(VIDEOS, 20, 1920, 1080)
    pictures = [p for _, p in zip(range(_FRAMES), engine.pictures(film), strict=False)]
    looked = engine.look(film, OUT, 8)
    box = looked.analyses[0].tracklets[0].boxes[0]
    meshes, _ = instruments.meshes(pictures, box[None].repeat(len(pictures), 0))
    found = torch.from_numpy(meshes)
    rest = neutral(found)
    (identity,) = engine.model().identities([Seed.derive(b"bench privacy cost", "0")])
    replacer = Replacer(engine.model(), engine.CPU)
    wall, processor = list[float](), list[float]()
    for picture, mesh in zip(pictures, found, strict=True):
        begin = time.perf_counter(), time.process_time()
        replacer.apply([Face(picture, mesh, rest, identity)])
        wall.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
    height = float((found[..., 1].amax(1) - found[..., 1].amin(1)).mean())
    return Cost(statistics.median(wall[5:]) * 1e3, statistics.median(processor[5:]) * 1e3, height)
