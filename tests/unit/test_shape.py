"""Shapes and poses: what is put in comes out."""

import pytest
import torch
from faces import turned

from pipeline.shape import Pose, align, eye_distance, mean_shape, neutral, pose


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (40, 0, 0), (-70, 5, 0), (0, 30, 0), (0, 0, 90), (20, -10, 170)]
)
def test_pose_is_found_again(yaw: float, pitch: float, roll: float) -> None:
    placed = Pose(turned(yaw, pitch, roll)[None], torch.tensor([80.0]), torch.tensor([[300.0, 200, 10]]))
    mesh = placed.apply(mean_shape()[None])
    found = pose(mesh)
    assert torch.allclose(found.rotation, placed.rotation, atol=1e-4)
    assert found.scale.item() == pytest.approx(80, rel=1e-4)
    assert torch.allclose(found.undo(mesh)[0], mean_shape(), atol=1e-4)
    if [yaw, pitch, roll].count(0) >= 2:  # angles of one turn alone
        assert found.angles()[0].abs().tolist() == pytest.approx([abs(yaw), abs(pitch), abs(roll)], abs=0.5)


def test_the_mean_shape_looks_ahead_and_has_unit_size() -> None:
    shape = mean_shape()
    assert eye_distance(shape[None]).item() == pytest.approx(1, abs=1e-4)
    assert pose(shape[None]).angles().abs().max() < 0.1
    assert shape[152, 1] > shape[1, 1] > shape[10, 1]  # chin below nose below forehead
    assert shape[1, 2] < shape[:, 2].min() + 0.03  # the tip of the nose is nearest


def test_the_rest_shape_forgets_pose_and_outliers() -> None:
    generator = torch.Generator().manual_seed(1)
    own = mean_shape() + 0.02 * torch.randn(468, 3, generator=generator)
    meshes = []
    for k in range(20):
        placed = Pose(turned(k - 10, k / 2, 3 * k)[None], torch.tensor([50.0 + k]), torch.tensor([[k * 9.0, 100, 0]]))
        meshes.append(placed.apply(own[None])[0])
    meshes[3] = meshes[3] + 40 * torch.randn(468, 3, generator=generator)
    found = neutral(torch.stack(meshes))
    placed = align(found[None], own[None])
    assert (placed.undo(found[None])[0] - own).norm(dim=1).mean() < 0.01
