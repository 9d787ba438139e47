"""The networks' files: one .npz each, read only when its hash is the pinned one.

`data/MODELS.json` says for every network what it is, where it came from and under which licence. The files are made by
`tools/convert_*.py` from packages of the public registries.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ModelError

FOLDER = Path(__file__).resolve().parent.parent / "data"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One entry of MODELS.json."""

    name: str
    file: str  # beside MODELS.json
    sha256: str  # of the file
    network: str  # what it is, with its paper or author
    package: str  # registry, name and version of the package that it came from
    path: str  # where in that package
    source_sha256: str  # of that member
    licence: str  # SPDX


@lru_cache(maxsize=1)
def catalogue() -> dict[str, ModelFacts]:
    """All pinned models by name. Raises ModelError when the list can't be read."""
    try:
        entries = json.loads((FOLDER / "MODELS.json").read_text(encoding="utf-8"))
        return {e["name"]: ModelFacts(**e) for e in entries}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError("the list of models can't be read", str(error), "install the package again") from error


def read_pinned(path: Path, sha256: str) -> bytes:
    """The file's bytes. Raises ModelError when it is missing or when its hash is another one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the model file {path} can't be read", str(error), "install the package again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"the model file {path} isn't the pinned one",
            f"its SHA-256 is {found}, expected {sha256}",
            "install the package again",
        )
    return content


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of a pinned model as they are stored. Raises ModelError."""
    facts = catalogue().get(name)
    if facts is None:
        raise ModelError(f"no model is called {name}", "known: " + ", ".join(sorted(catalogue())))
    with np.load(io.BytesIO(read_pinned(FOLDER / facts.file, facts.sha256)), allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def floats(stored: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Stored arrays as float32 tensors. Halves are widened. `w:q` (uint8) with `w:scale` and `w:zero` (one value per
    output channel, float32) becomes w = q * scale + zero, which is how 8-bit sources stay small without a loss."""
    result: dict[str, Tensor] = {}
    for key, value in stored.items():
        base, _, part = key.rpartition(":")
        if not base:
            result[key] = torch.from_numpy(value.astype(np.float32))
        elif part == "q":
            shape = (-1,) + (1,) * (value.ndim - 1)
            scale, zero = stored[base + ":scale"].reshape(shape), stored[base + ":zero"].reshape(shape)
            result[base] = torch.from_numpy(value.astype(np.float32) * scale + zero)
    return result


def load(name: str) -> dict[str, Tensor]:
    """The float32 weights of a pinned model by name. Raises ModelError."""
    return floats({key: value for key, value in arrays(name).items() if value.dtype.kind in "fu" and key != "graph"})
