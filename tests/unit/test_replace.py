"""Replacing: another face in the same place, light and movement; nothing else touched."""

import pytest
import torch
from faces import ground, identities, mesh, portrait

from pipeline.exchange import PAIRS, exchange
from pipeline.identity import Identity, load
from pipeline.picture import Picture, read_rgb
from pipeline.replace import Face, Replacer
from pipeline.shape import mean_shape

CPU = torch.device("cpu")


def copy(p: Picture) -> Picture:
    return Picture(p.number, p.pts, (p.planes[0].clone(), p.planes[1].clone(), p.planes[2].clone()), p.layout)


def replaced(p: Picture, name: str = "new", scale: float = 80, neutral: torch.Tensor | None = None) -> Picture:
    after = copy(p)
    where = mesh(scale, p.layout.width / 2, p.layout.height / 2)
    rest = mean_shape() if neutral is None else neutral
    Replacer(load(), CPU).apply([Face(after, where, rest, identities(name)[0])])
    return after


def test_the_face_changes_and_the_rest_keeps_its_bits() -> None:
    before = portrait(480, 360)
    after = replaced(before)
    change = (before.planes[0].float() - after.planes[0].float()).abs()
    face = mesh(80, 240, 180)
    inner = change[int(face[10, 1]) + 20 : int(face[152, 1]) - 20, int(face[234, 0]) + 20 : int(face[454, 0]) - 20]
    assert inner.mean() > 4
    outside = torch.ones_like(change, dtype=torch.bool)
    outside[180 - 125 : 180 + 125, 240 - 125 : 240 + 125] = False
    assert change[outside].max() == 0


def test_two_identities_differ_and_one_is_always_the_same() -> None:
    before = portrait()
    a, again, b = replaced(before, "a"), replaced(before, "a"), replaced(before, "b")
    assert torch.equal(a.planes[0], again.planes[0])
    assert (a.planes[0].float() - b.planes[0].float()).abs()[60:180, 100:220].mean() > 4


def test_eyes_and_mouth_stay_alive() -> None:
    """What is inside the lids and lips comes from the frame: paint it and find it again."""
    before = portrait(320, 240, 80)
    # As if the identity had the sitter's own shape, so that nothing moves and pixels can be compared.
    face = mesh(80, 160, 120)
    left = face[[159, 145]].mean(0)
    y, x = int(left[1]), int(left[0])
    before.planes[0][y - 1 : y + 1, x - 2 : x + 3] = 255
    (identity,) = identities("new")
    same = Identity(identity.seed, mean_shape(), identity.levels, identity.grey)
    after = copy(before)
    Replacer(load(), CPU).apply([Face(after, face, mean_shape(), same)])
    assert int(after.planes[0][y - 1 : y + 1, x - 1 : x + 2].float().mean()) > 200
    cheek = face[50]
    assert abs(int(after.planes[0][int(cheek[1]), int(cheek[0])]) - 255) > 30


@pytest.mark.parametrize("gain", [0.5, 0.8, 1.2])
def test_the_light_of_the_frame_is_kept(gain: float) -> None:
    dark = portrait()
    shaded = copy(dark)
    ramp = torch.linspace(1, gain, dark.layout.width)
    shaded.planes[0].copy_(((dark.planes[0].float() - 16) * ramp + 16).round().clamp(16, 235).to(torch.uint8))
    plain, lit = replaced(dark).planes[0].float() - 16, replaced(shaded).planes[0].float() - 16
    got = (lit / plain.clamp_min(1))[70:170, 120:200].mean(0)
    assert torch.allclose(got, ramp[120:200], atol=0.08)


def test_a_batch_gives_what_single_faces_give(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, names = portrait(480, 240, 60), portrait(480, 240, 60), identities("a", "b", "c")
    faces = [(mesh(60, 120, 120), 0), (mesh(58, 360, 120, roll=15), 1), (mesh(61, 250, 120, yaw=20), 2)]
    replacer = Replacer(load(), CPU)
    replacer.apply([Face(one, m, mean_shape(), names[i]) for m, i in faces])
    for m, i in faces:
        replacer.apply([Face(two, m, mean_shape(), names[i])])
    for a, b in zip(one.planes, two.planes, strict=True):
        assert int((a.int() - b.int()).abs().max()) <= 1


@pytest.mark.parametrize(("x", "y"), [(0, 120), (320, 120), (160, 0), (160, 239), (2000, 50)])
def test_faces_cut_by_the_frame_are_drawn_as_far_as_they_reach(x: float, y: float) -> None:
    picture = ground(320, 240)
    before = copy(picture)
    Replacer(load(), CPU).apply([Face(picture, mesh(80, x, y), mean_shape(), identities("a")[0])])
    changed = not torch.equal(picture.planes[0], before.planes[0])
    assert changed == (-80 < x < 400)


@pytest.mark.parametrize("scale", [8, 14, 30, 200])
def test_all_sizes_and_ten_bits(scale: float) -> None:
    picture = portrait(640, 480, scale, depth=10)
    after = replaced(picture, scale=scale)
    assert after.planes[0].dtype == torch.int16
    assert not torch.equal(after.planes[0], picture.planes[0])
    assert read_rgb(after, (0, 0, 640, 480)).isfinite().all()


def test_lids_and_lips_open_only_as_the_person_does() -> None:
    """A closed mouth stays closed whatever the identity's lips are like."""
    closed = mean_shape().clone()
    upper, lower = PAIRS
    closed[upper] = closed[lower] = (closed[upper] + closed[lower]) / 2
    (identity,) = identities("wide")
    target = exchange(closed[None] * 100, mean_shape()[None], identity.shape[None])[1][0]
    assert (target[upper, :2] - target[lower, :2]).norm(dim=1).max() < 1e-3


def test_eyes_close_when_the_persons_do_and_stay_open_otherwise() -> None:
    upper, lower = (p[:7] for p in PAIRS)
    rest = mean_shape()
    gap = (rest[lower, 1] - rest[upper, 1]).mean()
    for left, expected in ((1.0, 1.0), (0.97, 0.97), (0.69, 0.0)):  # 0.69 is what landmarks make of a blink
        mesh_now = rest.clone()
        middle = (rest[upper] + rest[lower]) / 2
        mesh_now[upper], mesh_now[lower] = torch.lerp(middle, rest[upper], left), torch.lerp(middle, rest[lower], left)
        target = exchange(mesh_now[None] * 100, rest[None], rest[None])[1][0] / 100
        found = (target[lower, 1] - target[upper, 1]).mean().clamp_min(0) / gap  # a shut lid lies over the other one
        assert float(found) == pytest.approx(expected, abs=0.03)
        # The other eye is open all the time.
        other = [p[7:14] for p in PAIRS]
        assert torch.allclose(target[other[0]], rest[other[0]], atol=0.01)
