"""A fringe over a brow is told, taken out of foreheads, and lent to nobody."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pipeline import identity, uv

TOOL = Path(__file__).parents[2] / "tools/portrait_hair.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("portrait_hair", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faces(count: int) -> torch.Tensor:
    """(N, 3, 128, 128) the same face over and over: the mean of those who look female."""
    model = identity.load()
    middle = identity._small(model)[len(model.groups)]
    return middle.expand(count, -1, -1, -1).clone()


def strand(texture: torch.Tensor) -> None:
    """Draws dark hair over the right brow's outer half and the forehead above it, in place."""
    x, y = (uv.coordinates(torch.device("cpu"))[105] * 128 / uv.SIZE).round().int().tolist()
    texture[:, y - 18 : y, x - 6 : x + 6] -= 0.6


def test_a_strand_over_one_brow_is_told(tool: ModuleType) -> None:
    both = faces(2)
    strand(both[1])
    bare, hairy = tool.over_brows(both).tolist()
    assert bare < 0.03 < 0.1 < hairy


def test_hair_on_the_forehead_goes_and_brows_and_eyes_stay(tool: ModuleType) -> None:
    some, group = faces(9), torch.tensor([0] * 5 + [1] * 4)
    strand(some[0])
    after = tool.bared(some, group)
    forehead = tool.forehead()[0] > 0
    assert (after[0] - some[1])[forehead.expand(3, -1, -1)].abs().mean() < 0.25 * (some[0] - some[1])[
        forehead.expand(3, -1, -1)
    ].abs().mean()
    assert torch.equal(after[1], some[1]), "a bare face stays as it is"
    below = round(float(uv.coordinates(torch.device("cpu"))[33, 1]) * 128 / uv.SIZE) + 4
    assert torch.equal(after[0][:, below:], some[0][:, below:])


def test_the_model_lends_no_fringe(tool: ModuleType) -> None:
    model = identity.load()
    dark = tool.over_brows(identity._small(model)[: len(model.groups)])
    assert float(dark.max()) < 0.07
    assert len(model.groups) > 100
