"""What a made film shows, frame by frame: who, where, how far turned, how much of it can be seen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.stage.puppet import Floats

OCCLUDED = 0.1  # share of the face inside the frame that something hides, from which on it counts as occluded


@dataclass(frozen=True, slots=True)
class FaceTruth:
    """One face on one frame."""

    person: int  # who, the same over cuts
    box: Floats  # (4,) xyxy px around the mesh, cut off at the frame's edge
    mesh: Floats  # (468, 3) px of the frame, as FaceMesh gives them; (0, 3) when they weren't kept
    yaw: float  # degrees, as `shape.pose` measures it on the mesh
    visible: float  # share of the whole face that the frame shows
    occluded: bool  # by a hand, another person, or the table


@dataclass(frozen=True, slots=True)
class FilmTruth:
    """A whole film."""

    fps: Fraction
    size: tuple[int, int]  # width, height
    frames: tuple[tuple[FaceTruth, ...], ...]  # one entry per frame; farthest first
    cuts: tuple[int, ...]  # frame numbers at which a new shot begins
    people: tuple[str, ...]  # name of each person by id

    def save(self, path: Path) -> None:
        """Write an .npz. Raises OSError."""
        faces = [(number, face) for number, frame in enumerate(self.frames) for face in frame]
        facts = {
            "fps": str(self.fps),
            "size": self.size,
            "frames": len(self.frames),
            "cuts": self.cuts,
            "people": self.people,
        }
        np.savez_compressed(
            path,
            facts=np.array(json.dumps(facts)),
            frame=np.array([n for n, _ in faces], np.int32),
            person=np.array([f.person for _, f in faces], np.int32),
            boxes=_table([f.box for _, f in faces], (4,)),
            meshes=_table([f.mesh for _, f in faces], (0, 3)),
            yaw=np.array([f.yaw for _, f in faces], np.float32),
            visible=np.array([f.visible for _, f in faces], np.float32),
            occluded=np.array([f.occluded for _, f in faces], bool),
        )

    @classmethod
    def load(cls, path: Path) -> "FilmTruth":
        """Read what `save` wrote. Raises OSError, ValueError, KeyError."""
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            frames: list[list[FaceTruth]] = [[] for _ in range(facts["frames"])]
            rows = {key: stored[key] for key in stored.files if key != "facts"}
        for i, number in enumerate(rows["frame"]):
            frames[number].append(
                FaceTruth(
                    int(rows["person"][i]),
                    rows["boxes"][i],
                    rows["meshes"][i],
                    float(rows["yaw"][i]),
                    float(rows["visible"][i]),
                    bool(rows["occluded"][i]),
                )
            )
        whole = tuple(tuple(frame) for frame in frames)
        width, height = facts["size"]
        return cls(Fraction(facts["fps"]), (width, height), whole, tuple(facts["cuts"]), tuple(facts["people"]))


def _table(rows: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, *shape), np.float32)
