"""The arithmetic of `bench/privacy`, on numbers whose answers are known."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from privacy import alive, mirror, scores, table
from privacy.motion import FILMS, MIRROR, Face

from pipeline.picture import Picture, PixelLayout
from pipeline.shape import mean_shape


def test_threshold_lets_in_no_more_than_the_rate() -> None:
    impostors = np.random.default_rng(1).normal(1, 0.1, 3540)
    limit = scores.threshold(impostors, 1e-3)
    assert np.mean(impostors < limit) == pytest.approx(3 / 3540)
    assert scores.matches(impostors, limit) <= 1e-3
    with pytest.raises(ValueError, match="100 impostors"):
        scores.threshold(impostors[:100], 1e-3)


def test_distances_are_euclidean() -> None:
    a, b = np.random.default_rng(2).normal(size=(2, 5, 7))
    assert scores.distances(a, b) == pytest.approx(np.linalg.norm(a[:, None] - b[None], axis=2))


def test_rank1_counts_the_nearest_and_shares_ties() -> None:
    distances = np.array([[0.1, 0.5, 0.9], [0.3, 0.2, 0.9], [0.4, 0.4, 0.9], [0.7, 0.7, 0.7]])
    assert scores.rank1(distances, np.array([0, 0, 1, 2])) == pytest.approx((1 + 0 + 1 / 2 + 1 / 3) / 4)
    assert math.isnan(scores.rank1(np.zeros((0, 3)), np.zeros(0, int)))


def test_interval_holds_the_share() -> None:
    low, high = scores.interval(0.05, 100)
    assert 0.01 < low < 0.05 < high < 0.12
    assert scores.interval(0, 0) == (0.0, 1.0)


def test_correlation_overlooks_offsets_and_weighs_by_movement() -> None:
    time = np.linspace(0, 6, 50)
    series = np.stack([10 * np.sin(time), 0.01 * np.cos(time)], 1)
    assert scores.correlation(series, 0.5 * series + [3, -7]) == pytest.approx(1)
    noisy = series + np.random.default_rng(3).normal(0, 0.05, series.shape) * [0, 1]
    assert scores.correlation(series, noisy) > 0.999  # the second column hardly moves
    assert math.isnan(scores.correlation(series[:2], series[:2]))
    assert math.isnan(scores.correlation(np.ones((9, 1)), np.ones((9, 1))))


def test_only_series_that_move_more_than_measuring_does_say_anything() -> None:
    noise = np.random.default_rng(4).normal(0, 0.1, (2, 40))
    assert scores.told(np.sin(np.arange(40) / 3) + noise[0], np.sin(np.arange(40) / 3) + noise[1])
    assert not scores.told(noise[0], noise[1])


def test_likeness_is_the_mean_cosine() -> None:
    vectors = np.array([[1.0, 0], [0, 2.0], [3.0, 0]])
    assert scores.likeness(vectors) == pytest.approx(1 / 3)
    assert scores.likeness_between(vectors[:1], vectors[1:]) == pytest.approx(1 / 2)
    assert math.isnan(scores.likeness(vectors[:1]))


def test_flicker_is_the_change_inside_the_mask() -> None:
    textures = np.zeros((4, 6, 6))
    textures[1::2, :3] = 2
    textures[:, 3:] = np.arange(4)[:, None, None] * 100
    mask = np.zeros((6, 6), bool)
    mask[:3] = True
    assert scores.flicker(textures, mask) == pytest.approx(2)
    assert math.isnan(scores.flicker(textures[:1], mask))


def test_weighted_mean_leaves_out_what_is_no_number() -> None:
    assert scores.weighted([1, math.nan, 4], [1, 9, 2]) == pytest.approx(3)
    assert math.isnan(scores.weighted([], []))


def test_psnr() -> None:
    assert scores.psnr(255**2 / 100) == pytest.approx(20)
    assert scores.psnr(0) == math.inf


def test_a_row_says_whether_its_goal_is_reached() -> None:
    goal = table.Goal(0.05, "most", "{:.0%}")
    assert not table.Row("a", (0.05,), "{:.1%}", goal).missed
    assert table.Row("a", (0.051,), "{:.1%}", goal).missed
    assert table.Row("a", (math.nan,), "{:.1%}", goal).missed
    assert table.Row("a", (0.2, math.nan, "x"), "{:.1%}", goal).line() == "| a | ≤ 5% | **missed** | 20.0% | - | x |"


def test_a_mirror_shows_the_same_face_and_gives_it_back() -> None:
    layout = PixelLayout(8, 4, 8, 1, 1, "bt709", False)
    planes = (torch.arange(32).reshape(4, 8), torch.arange(8).reshape(2, 4), torch.arange(8).reshape(2, 4))
    shown = mirror.picture(Picture(3, 7, planes, layout))
    assert shown.planes[0][0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert shown.planes[1][1].tolist() == [7, 6, 5, 4]
    assert mirror.boxes(np.array([[1, 2, 4, 3]], np.float32), 8).tolist() == [[4, 2, 7, 3]]
    face = mean_shape().numpy()[None] * 50 + 100
    there = mirror.meshes(face, 300)  # from the picture into the mirror is the same way as back
    assert mirror.meshes(there, 300) == pytest.approx(face, abs=1e-3)
    assert there[0, 33, 0] == pytest.approx(300 - face[0, 263, 0])  # who winks with the right eye winks with the left
    lids, iris = mirror.eyes(np.array([[0.1, 0.2]], np.float32), np.array([[[0.3, 0.4], [0.5, 0.6]]], np.float32))
    assert lids.tolist() == [[np.float32(0.2), np.float32(0.1)]]
    assert iris[0] == pytest.approx(np.array([[-0.5, 0.6], [-0.3, 0.4]]))


def speaker(share: float, noise: float) -> Face:
    """A face that speaks on 40 frames; the new face opens its mouth by a share of it, and the mirror shows the mouth
    under noise, and nothing at all on two frames."""
    face, draw = Face("x", 0), np.random.default_rng(5)
    face.frames = list(range(40))
    for name in (*FILMS, MIRROR):
        meshes = np.repeat(mean_shape().numpy()[None] * 100, 40, 0)
        opened = 5 + 5 * np.sin(np.arange(40) / 3) * (share if name == "output" else 1)
        meshes[:, 14, 1] = meshes[:, 13, 1] + opened + draw.normal(0, noise if name == MIRROR else 0.01, 40)
        meshes[:, 14, 0] = meshes[:, 13, 0]
        face.meshes[name] = list(meshes)
    for k in (4, 20):
        face.meshes[MIRROR][k] = face.meshes[MIRROR][k] * np.float32(np.nan)
    return face


def test_what_is_kept_of_a_movement_is_told_apart_from_how_well_it_is_timed() -> None:
    time = np.sin(np.arange(60) / 4)
    assert alive.kept(time, 0.5 * time + 3) == pytest.approx(0.5)
    assert scores.correlation(time, 0.5 * time) == pytest.approx(1)
    assert alive.kept(time, -time) == pytest.approx(-1)


def test_the_mirror_tells_how_much_of_a_series_is_noise() -> None:
    ((clear, length),) = alive.mirrored(speaker(1, 0.1), "mouth")
    ((noisy, _),) = alive.mirrored(speaker(1, 5), "mouth")
    assert length == 40
    assert clear > 0.99
    assert 0.3 < noisy < 0.85


def test_a_still_mouth_is_listed_and_not_counted() -> None:
    face = speaker(0.5, 0.1)
    row = alive._row(face, "mouth")
    assert row is not None
    assert row.name == "x"
    assert row.values[3] == pytest.approx(0.5, abs=0.02)
    for name in FILMS:
        still = np.stack(face.meshes[name])
        still[:, 14, 1] = still[:, 13, 1] + 1 + 0.1 * np.random.default_rng(len(name)).normal(size=40)
        face.meshes[name] = list(still)
    row = alive._row(face, "mouth")
    assert row is not None
    assert row.name == "x (not counted)"
