"""Heads posed by five points: what is put in comes out, and what is no head doesn't."""

import numpy as np
import pytest
from faces import turned

from pipeline.posed import LIKELY, SURE, WEAK, fall_back, fit, steady
from pipeline.shape import mean_shape
from pipeline.track import START

SHAPE = mean_shape().numpy()
UNIT = 10.0  # px between the outer corners of the eyes: a face of 15 px


def head(yaw: float, pitch: float, roll: float, x: float = 60, y: float = 40) -> np.ndarray:
    """(468, 3) a mesh of the mean shape."""
    return (UNIT * SHAPE @ turned(yaw, pitch, roll).numpy().T + np.array([x, y, 0])).astype(np.float32)


def points(mesh: np.ndarray) -> np.ndarray:
    """(5, 2) where the detector would see the eyes, the nose and the corners of the mouth."""
    vertices = ([33, 133], [362, 263], [1, 5], [61], [291])
    return np.stack([mesh[v, :2].mean(0) for v in vertices]).astype(np.float32)


def box(mesh: np.ndarray) -> np.ndarray:
    return np.concatenate([mesh[:, :2].min(0), mesh[:, :2].max(0)])


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (25, 0, 0), (-25, 5, 0), (0, 12, 0), (0, -12, 0), (0, 0, 90), (10, 5, 175)]
)
def test_a_posed_head_is_found_again(yaw: float, pitch: float, roll: float) -> None:
    mesh = head(yaw, pitch, roll)
    stance = fit(points(mesh)[None], SHAPE)
    assert np.abs(stance.meshes(SHAPE)[0] - mesh)[:, :2].max() < 0.1 * UNIT
    found = np.rad2deg(stance.angles[0])
    assert np.abs(found[:2] - [yaw, pitch]).max() < 8
    assert abs((found[2] - roll + 180) % 360 - 180) < 3
    assert np.exp(stance.place[0, 0]) == pytest.approx(UNIT, rel=0.05)


def test_a_part_of_a_pixel_moves_it_by_no_more_than_a_part_of_a_pixel() -> None:
    noise = np.random.Generator(np.random.PCG64(1)).normal(0, 0.3, (50, 5, 2))
    mesh = head(8, 4, 10)
    found = fit((points(mesh) + noise).astype(np.float32), SHAPE).meshes(SHAPE)
    assert np.abs(found - mesh)[:, :, :2].mean() < 0.5


@pytest.mark.parametrize("what", ["one place", "a line", "missing", "upside down", "nose outside"])
def test_what_is_no_head_is_nan(what: str) -> None:
    seen = points(head(0, 0, 0))
    wrong = {
        "one place": np.full_like(seen, 7.0),
        "a line": np.stack([np.arange(5.0), np.arange(5.0)], 1),
        "missing": np.full_like(seen, np.nan),
        "upside down": seen[[0, 1, 2, 4, 3]],  # the mouth is turned against the eyes
        "nose outside": seen + np.array([[0, 0], [0, 0], [12, 0], [0, 0], [0, 0]]),
    }[what].astype(np.float32)
    stance = fit(np.stack([wrong, seen]), SHAPE)
    assert np.isnan(stance.misfit[0])
    assert np.isnan(stance.meshes(SHAPE)[0]).all()
    assert np.isfinite(stance.meshes(SHAPE)[1]).all()  # its neighbour is as it was


def test_a_profile_is_no_head_that_could_be_replaced() -> None:
    assert np.isnan(fit(points(head(75, 0, 0))[None], SHAPE).misfit).all()


def test_steadying_keeps_straight_motion_and_takes_jumps_away() -> None:
    rough = np.random.Generator(np.random.PCG64(2)).normal(0, 0.3, (40, 5, 2))
    truth = np.stack([head(0, 0, 170 + k, x=20 + 2 * k) for k in range(40)])  # the roll passes 180 degrees
    clean = np.stack([points(m) for m in truth])
    straight = fit(clean, SHAPE)
    assert np.abs(steady(straight).place - straight.place)[4:-4].max() < 0.02
    before = fit((clean + rough).astype(np.float32), SHAPE)
    after = steady(before)
    shaking = [np.diff(s.meshes(SHAPE)[:, :, :2], n=2, axis=0).std() for s in (before, after)]
    assert shaking[1] < 0.5 * shaking[0]


def seen(scores: list[float], presence: list[float], **change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `fall_back` makes of one still face; meshes of the network are at 0."""
    n, mesh = len(scores), head(5, 3, 0)
    given = {"boxes": np.tile(box(mesh), (n, 1)), "points": np.tile(points(mesh), (n, 1, 1))} | change
    return fall_back(
        np.zeros((n, 468, 3), np.float32),
        np.array(presence, np.float32),
        given["boxes"].astype(np.float32),
        np.array(scores, np.float32),
        given["points"].astype(np.float32),
        SHAPE,
    )


def test_a_face_that_the_network_does_not_see_is_posed() -> None:
    meshes, presence = seen([0.9, START - 0.01, WEAK - 0.01, 0.9], [0.1] * 4)
    assert presence == pytest.approx([SURE, LIKELY, 0.1, SURE])
    assert np.abs(meshes[[0, 1, 3]] - head(5, 3, 0))[..., :2].max() < 0.1 * UNIT
    assert (meshes[2] == 0).all()


def test_a_network_that_is_sure_keeps_its_word_and_one_that_flickers_does_not() -> None:
    assert (seen([0.9] * 12, [0.99] * 12)[0] == 0).all()
    meshes, presence = seen([0.9] * 12, [0.99, 0.1] * 6)
    assert (meshes != 0).any((1, 2)).all()
    assert presence == pytest.approx([SURE] * 12)


def test_what_the_points_do_not_fit_stays_as_it_was() -> None:
    mesh = head(5, 3, 0)
    for change in (
        {"boxes": np.tile(box(mesh) + 12, (3, 1))},  # points beside their box
        {"boxes": np.tile(box(mesh * 3), (3, 1)), "points": np.tile(points(mesh * 3), (3, 1, 1))},  # a large face
        {"points": np.full((3, 5, 2), np.nan)},  # not detected
    ):
        meshes, presence = seen([0.9] * 3, [0.1] * 3, **change)
        assert (meshes == 0).all()
        assert presence == pytest.approx([0.1] * 3)
