import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import smooth as module
from pipeline.shape import mean_shape
from pipeline.smooth import FILL, REACH, parts, smooth

EYES = 100.0  # px between the outer corners


def still(n: int) -> np.ndarray:
    return np.repeat(mean_shape().numpy()[None] * EYES + np.float32(300), n, 0)


def noise(n: int, sigma: float, seed: int = 0) -> np.ndarray:
    """As a landmark network's: mostly shared by neighbours (low rank), a little of each point's own."""
    rng = np.random.default_rng(seed)
    whole = rng.normal(0, sigma, (n, 1, 3))
    own = rng.normal(0, sigma / 2, (n, 468, 3))
    return (whole + own).astype(np.float32)


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(-1, 1))
@settings(max_examples=15, deadline=None)
def test_straight_motion_has_no_lag(dx: float, dy: float, zoom: float) -> None:
    n = 40
    t = np.arange(n, dtype=np.float32)[:, None, None]
    grown = mean_shape().numpy()[None] * (EYES + zoom * t)
    meshes = (grown + 300 + t * np.array([dx, dy, 0], np.float32)).astype(np.float32)
    assert np.abs(smooth(meshes, np.ones(n, np.float32)) - meshes).max() < 0.02


def test_a_still_face_jitters_three_times_less() -> None:
    meshes = still(80) + noise(80, 0.4)
    out = smooth(meshes, np.ones(80, np.float32))
    assert np.abs(np.diff(out, axis=0)).mean() * 3 < np.abs(np.diff(meshes, axis=0)).mean()
    assert np.abs(out - still(80)).mean() * 2 < np.abs(meshes - still(80)).mean()


def blinking(n: int, at: int) -> tuple[np.ndarray, np.ndarray]:
    """A lid that closes by 8 px over 2 frames, stays for 2 and opens over 3."""
    course = np.zeros(n, np.float32)
    course[at : at + 6] = [4, 8, 8, 6, 4, 2]
    meshes = still(n)
    lid = np.array([159, 158, 160, 161, 157, 173, 246])
    meshes[:, lid, 1] += course[:, None]
    return meshes, course


def test_a_blink_is_kept_in_size_and_time() -> None:
    meshes, course = blinking(60, 30)
    out = smooth(meshes + noise(60, 0.3), np.ones(60, np.float32))
    lid = out[:, 159, 1] - out[:, 145, 1]
    lid = lid - np.median(lid)
    assert lid.max() >= 0.9 * course.max()
    assert int(np.argmax(np.correlate(lid, course, "full"))) - 59 == 0


def test_speech_is_kept() -> None:
    n = 90
    meshes = still(n)
    course = (6 * np.sin(2 * np.pi * 4 * np.arange(n) / 30)).astype(np.float32)  # four syllables a second
    jaw = np.array([17, 14, 87, 317, 84, 314, 181, 405, 152, 200])
    meshes[:, jaw, 1] += course[:, None]
    out = smooth(meshes + noise(n, 0.3), np.ones(n, np.float32))
    opening = out[:, 14, 1] - out[:, 13, 1]
    slope = np.polyfit(course[10:-10], opening[10:-10], 1)[0]
    assert slope >= 0.9


def test_a_shaken_head_is_followed() -> None:
    n = 60
    x = (40 * np.sin(2 * np.pi * 2 * np.arange(n) / 30)).astype(np.float32)
    meshes = still(n)
    meshes[:, :, 0] += x[:, None]
    out = smooth(meshes + noise(n, 0.3), np.ones(n, np.float32))
    assert np.abs(out[:, :, 0] - meshes[:, :, 0]).mean() < 0.5


def test_short_gaps_are_filled_and_long_ones_are_not() -> None:
    n = 50
    meshes = still(n)
    meshes[:, :, 0] += 5 * np.arange(n, dtype=np.float32)[:, None]
    whole = meshes.copy()
    meshes[10 : 10 + FILL] = np.nan
    meshes[30 : 30 + FILL + 1] = np.nan
    out = smooth(meshes, np.ones(n, np.float32))
    assert np.abs(out[10 : 10 + FILL] - whole[10 : 10 + FILL]).max() < 0.05
    assert np.isnan(out[30 : 30 + FILL + 1]).all()
    assert np.isfinite(out[:30]).all()


def test_a_distrusted_frame_hardly_counts() -> None:
    meshes = still(40)
    trust = np.ones(40, np.float32)
    meshes[20] += 6
    trust[20] = 0.05
    out = smooth(meshes, trust)
    assert np.abs(out[[17, 18, 19, 21, 22, 23]] - still(40)[0]).max() < 0.6


def test_chunks_agree_where_they_meet() -> None:
    rng = np.random.default_rng(5)
    n, border = 80, 40
    walk = np.cumsum(rng.normal(0, 1.5, (n, 1, 3)), 0).astype(np.float32)
    meshes = (still(n) + walk + noise(n, 0.4, 2)).astype(np.float32)
    trust = rng.uniform(0.6, 1, n).astype(np.float32)
    left = smooth(meshes[: border + REACH], trust[: border + REACH])
    right = smooth(meshes[border - REACH :], trust[border - REACH :])
    whole = smooth(meshes, trust)
    assert np.abs(left[:border] - whole[:border]).max() < 0.02
    assert np.abs(right[REACH:] - whole[border:]).max() < 0.02


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_frames(n: int) -> None:
    out = smooth(still(n), np.ones(n, np.float32))
    assert np.abs(out - still(n)).max() < 0.02


def test_nothing_seen() -> None:
    assert np.isnan(smooth(np.full((4, 468, 3), np.nan, np.float32), np.zeros(4, np.float32))).all()


def test_every_vertex_belongs_to_one_part() -> None:
    members = np.concatenate(list(parts().values()))
    assert sorted(members) == list(range(468))
    assert {159, 145} <= set(parts()["eye"])
    assert {13, 14, 152} <= set(parts()["mouth"])
    assert module.REACH >= module._WINDOW + 2
