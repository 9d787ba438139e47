"""Lids and lips are as far apart as they are, not as the landmarks say."""

import pytest
import torch
from faces import turned

from pipeline.openings import LIPS, corrected
from pipeline.shape import LOWER_LIDS, UPPER_LIDS, Pose, align, lid_gaps, mean_shape, neutral

EYES = 80.0  # px between the outer corners
MIDDLE = [0, 11, 12, 13, 14, 15, 16, 17]  # down through both lips


def blinking(left: float, eye: int = 0) -> torch.Tensor:
    """(468, 3) the mean shape whose landmarks say that one eye is open by `left` of the usual."""
    shape = mean_shape().clone()
    upper, lower = list(UPPER_LIDS[eye]), list(LOWER_LIDS[eye])
    shape[upper] = torch.lerp(shape[lower], shape[upper], left)
    return shape


def speaking(gap: float) -> torch.Tensor:
    """(468, 3) the mean shape with the inner lips so many units apart; lips move as they are."""
    shape = mean_shape().clone()
    wider = (gap - (shape[list(LIPS[4]), 1] - shape[list(LIPS[3]), 1])) / 2
    for upper, lower in zip(LIPS[:4], reversed(LIPS[4:]), strict=True):
        shape[list(upper), 1] -= wider
        shape[list(lower), 1] += wider
    return shape


def after(shape: torch.Tensor, yaw: float = 0, pitch: float = 0, roll: float = 0) -> torch.Tensor:
    """The shape as it comes back when the head is turned."""
    pose = Pose(turned(yaw, pitch, roll)[None], torch.tensor([EYES]), torch.tensor([[300.0, 200, 0]]))
    mesh, rest = pose.apply(shape[None]), mean_shape()[None]
    placed = align(mesh, rest)
    return placed.undo(corrected(mesh, rest, placed))[0]


@pytest.mark.parametrize(("said", "real"), [(1.1, 1.1), (0.98, 0.98), (0.86, 0.69), (0.8, 0.32)])
@pytest.mark.parametrize("eye", [0, 1])
def test_a_lid_that_comes_down_comes_down_farther(said: float, real: float, eye: int) -> None:
    usual = lid_gaps(mean_shape()[None])[0]
    found = lid_gaps(after(blinking(said, eye))[None])[0] / usual
    assert float(found[eye]) == pytest.approx(real, abs=0.02)
    assert float(found[1 - eye]) == pytest.approx(1, abs=1e-3)


def test_a_shut_lid_covers_the_other_one_and_lies_before_it() -> None:
    found = after(blinking(0.7))
    upper, lower = list(UPPER_LIDS[0]), list(LOWER_LIDS[0])
    assert (found[upper, 1] >= found[lower, 1]).all()
    assert (found[upper, 2] < found[lower, 2] - 0.01).all()


@pytest.mark.parametrize("left", [1.0, 0.85, 0.7])
def test_the_skin_above_a_lid_follows_without_a_fold(left: float) -> None:
    found = after(blinking(left))
    for column in ((223, 27, 159), (222, 28, 158), (224, 29, 160)):
        brow, crease, rim = (float(found[p, 1]) for p in column)
        assert brow < crease < rim


@pytest.mark.parametrize("yaw", [-45, 45])
def test_an_open_eye_of_a_turned_head_stays_open_and_a_shut_one_shuts(yaw: float) -> None:
    """In the picture an eye that is turned away is narrow, and looks wide open for its width."""
    usual = lid_gaps(mean_shape()[None])[0]
    for eye in (0, 1):
        assert float((lid_gaps(after(mean_shape(), yaw)[None])[0] / usual)[eye]) == pytest.approx(1, abs=0.02)
        assert float((lid_gaps(after(blinking(0.72, eye), yaw)[None])[0] / usual)[eye]) < 0.05


def test_lips_that_touch_go_on_touching() -> None:
    shape = speaking(0.003)
    assert torch.allclose(after(shape)[MIDDLE], shape[MIDDLE], atol=1e-4)


@pytest.mark.parametrize("roll", [0, 90])
def test_lips_that_part_part_farther(roll: float) -> None:
    gaps = []
    for said in (0.02, 0.04, 0.08, 0.2):
        found = after(speaking(said), roll=roll)
        gaps.append(float(found[14, 1] - found[13, 1]))
    assert gaps[0] > 1.5 * 0.02
    assert gaps[1] > 1.8 * 0.04
    assert gaps[3] < 1.3 * 0.2
    assert gaps == sorted(gaps)


@pytest.mark.parametrize("said", [0.02, 0.05, 0.1])
def test_lips_become_thinner_and_stay_lips(said: float) -> None:
    shape = speaking(said)
    found = after(shape)
    rows = found[MIDDLE, 1]
    assert (rows.diff() > 0).all()
    assert torch.allclose(found[[0, 17]], shape[[0, 17]], atol=1e-4)  # outer edges stay
    assert torch.allclose(found[[61, 291]], shape[[61, 291]], atol=1e-4)  # and the corners


def test_the_rest_shape_is_awake() -> None:
    """Half of the frames show a blink or a look down: the eyes at rest are those of the others."""
    pose = Pose(torch.eye(3)[None], torch.tensor([EYES]), torch.tensor([[300.0, 200, 0]]))
    shapes = [blinking(0.8), mean_shape()] * 10
    found = neutral(torch.cat([pose.apply(s[None]) for s in shapes]))
    usual = lid_gaps(mean_shape()[None])[0]
    assert (lid_gaps(found[None])[0] / usual).tolist() == pytest.approx([1, 1], abs=0.01)
