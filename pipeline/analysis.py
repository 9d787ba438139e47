"""What is known of one chunk after looking, in memory and on disk."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.track import Floats, Ints, Sample, Tracklet


@dataclass(frozen=True, slots=True)
class ChunkAnalysis:
    """What is known of one chunk after looking."""

    chunk: int
    start: int  # the chunk's own frames, [start, stop)
    stop: int
    size: tuple[int, int]  # width and height of the coded picture
    tracklets: tuple[Tracklet, ...]  # these may reach OVERLAP frames beyond, and say nothing of the chunk itself
    damaged: Ints  # (k,) frames [start, stop) that the decoder concealed
    seconds: dict[str, float]  # per stage
    scores: Floats | None = None  # (stop - start,) the highest that the detector gave anything on each frame, or 0

    @property
    def frames(self) -> int:
        return self.stop - self.start

    def save(self, folder: Path) -> None:
        """Writes summary.npz (light), meshes.npz and crops.npz. All hold biometric data."""
        folder.mkdir(parents=True, exist_ok=True)
        ids = [t.id for t in self.tracklets]
        head = {"chunk": self.chunk, "start": self.start, "stop": self.stop, "size": self.size, "ids": ids}
        head |= {"seconds": self.seconds}
        light: dict[str, np.ndarray] = {"head": np.array(json.dumps(head)), "damaged": self.damaged}
        if self.scores is not None:
            light["scores"] = self.scores
        heavy, crops = dict[str, np.ndarray](), dict[str, np.ndarray]()
        for t in self.tracklets:
            light |= {f"{t.id}.{k}": getattr(t, k) for k in _LIGHT}
            if t.neutral is not None:
                light[f"{t.id}.neutral"] = t.neutral
            for k in _SAMPLE if t.samples else ():
                light[f"{t.id}.sample.{k}"] = np.stack([np.asarray(getattr(s, k)) for s in t.samples])
            crops |= {f"{t.id}.{k}": s.whole().crop for k, s in enumerate(t.samples)}
            if t.meshes is not None:
                heavy |= {f"{t.id}.{k}": v for k, v in zip(_PACKED, pack(t.meshes), strict=True)}
        np.savez(folder / "summary.npz", **light)  # type: ignore[arg-type]
        np.savez(folder / "meshes.npz", **heavy)  # type: ignore[arg-type]
        np.savez(folder / "crops.npz", **crops)  # type: ignore[arg-type]

    @staticmethod
    def load(folder: Path, meshes: bool) -> "ChunkAnalysis":
        """Without `meshes` only the light part is read: linking a long film must not hold them. Crops of samples stay
        on disk until they are asked for (`Sample.whole`)."""
        heavy = dict(np.load(folder / "meshes.npz")) if meshes else {}
        with np.load(folder / "summary.npz") as light:
            head = json.loads(str(light["head"]))
            tracklets = tuple(_tracklet(i, light, heavy, folder) for i in head["ids"])
            return ChunkAnalysis(
                head["chunk"],
                head["start"],
                head["stop"],
                (head["size"][0], head["size"][1]),
                tracklets,
                light["damaged"],
                head["seconds"],
                light.get("scores"),
            )


_LIGHT = ("frames", "boxes", "scores", "presence", "angles")
_SAMPLE = ("frame", "mesh", "embedding", "quality")
_NO_CROP: NDArray[np.uint8] = np.zeros((3, 0, 0), np.uint8)
_PACKED = ("mesh", "centre", "step")


def _tracklet(number: int, light: "np.lib.npyio.NpzFile", heavy: dict[str, np.ndarray], folder: Path) -> Tracklet:
    samples = list[Sample]()
    if f"{number}.sample.frame" in light:
        columns = [light[f"{number}.sample.{k}"] for k in _SAMPLE]
        samples = [
            Sample(int(f), _NO_CROP, m, e, float(q), (folder / "crops.npz", f"{number}.{k}"))
            for k, (f, m, e, q) in enumerate(zip(*columns, strict=True))
        ]
    frames, boxes, scores, presence, turned = (light[f"{number}.{k}"] for k in _LIGHT)
    return Tracklet(
        number,
        frames,
        boxes,
        scores,
        presence,
        turned,
        meshes=unpack(*(heavy[f"{number}.{k}"] for k in _PACKED)) if f"{number}.mesh" in heavy else None,
        neutral=light.get(f"{number}.neutral"),
        samples=tuple(samples),
    )


def pack(meshes: Floats) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Meshes (n, 468, 3) as 16-bit steps around their centres: (n, 468, 3), centres (n, 3), step (n,) px. The error is
    at most a 65000th of the mesh's longest reach: 0.01 px for a face of 1000 px. A step of 0 marks a missing one."""
    have: NDArray[np.bool_] = np.asarray(np.isfinite(meshes).all((1, 2)))
    safe = np.where(have[:, None, None], meshes, 0)
    centre = (safe.max(1) + safe.min(1)) / 2
    offset = safe - centre[:, None]
    step = np.where(have, np.maximum(np.abs(offset).max((1, 2)), 1e-3) / 32767, 0).astype(np.float32)
    units = np.round(offset / np.where(step > 0, step, 1)[:, None, None]).astype(np.int16)
    return units, centre.astype(np.float32), step


def unpack(units: np.ndarray, centre: np.ndarray, step: np.ndarray) -> Floats:
    """The inverse of `pack`."""
    meshes = units * step[:, None, None] + centre[:, None]
    meshes[step == 0] = np.nan
    return np.asarray(meshes, np.float32)
