"""Glasses stay on the new face; the face around them, bare faces and half-dark lenses don't."""

import numpy as np
import pytest
import torch
from faces import identities, mesh, portrait

from pipeline import glasses
from pipeline.appearance import face_mask
from pipeline.glasses import BAND, FRAME, LENS, SIZE, Optician, opened, usual
from pipeline.identity import load
from pipeline.occlude import texture
from pipeline.picture import Picture
from pipeline.replace import Face, Replacer
from pipeline.shape import mean_shape

CPU = torch.device("cpu")
WIDTH, HEIGHT, UNIT = 480, 360, 100
MESH = mesh(UNIT, WIDTH / 2, HEIGHT / 2)


def copy(p: Picture, number: int = 0) -> Picture:
    return Picture(number, p.pts, (p.planes[0].clone(), p.planes[1].clone(), p.planes[2].clone()), p.layout)


def lenses() -> list[tuple[float, float, float, float]]:
    """Middle and half axes of both, px."""
    result = []
    for side, corners in ((-1, [33, 133]), (1, [263, 362])):
        x, y = MESH[corners, :2].mean(0).tolist()
        result.append((x + side * 0.03 * UNIT, y + 0.03 * UNIT, 0.26 * UNIT, 0.2 * UNIT))
    return result


def put_on(picture: Picture, thick: float = 5, luma: int = 30, lens: float = 1.0) -> torch.Tensor:
    """Draws glasses of the given thickness in px and brightness, in place; lenses let `lens` of the light through.
    Returns where the frame is, (H, W) bool."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    frame = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    plane = picture.planes[0]
    both = lenses()
    for cx, cy, rx, ry in both:
        far = torch.hypot((x - cx) / rx, (y - cy) / ry)
        inside = far < 1
        plane[inside] = (16 + (plane[inside].float() - 16) * lens).round().to(plane.dtype)
        if lens < 1:
            for chroma in picture.planes[1:]:
                part = inside[::2, ::2]
                chroma[part] = (128 + (chroma[part].float() - 128) * lens).round().to(chroma.dtype)
        frame |= ((far - 1).abs() < thick / 2 / ry) & (((far - 1) * min(rx, ry)).abs() < thick / 2)
    (ax, ay, arx, _), (bx, _, brx, _) = both
    level = ay - 0.06 * UNIT
    frame |= ((y - level).abs() < thick / 2) & (x > ax + arx - 3) & (x < bx - brx + 3)
    frame |= ((y - level).abs() < thick / 2) & (((x < ax - arx + 3) & (x > ax - arx - 60)) | (
        (x > bx + brx - 3) & (x < bx + brx + 60)
    ))  # fmt: skip
    plane[frame] = luma
    for chroma in picture.planes[1:]:
        chroma[frame[::2, ::2]] = 128
    return frame


def watched(*pictures: Picture) -> list[torch.Tensor | None]:
    """What somebody finds on frames who has seen the first as a good look."""
    optician = Optician({0: texture(pictures[0], MESH, SIZE)[None]}, CPU)
    return optician.masks([(picture, 0, MESH) for picture in pictures])


@pytest.mark.parametrize("name", ["sitter", "b", "c", "d", "e"])
def test_a_bare_face_has_none(name: str) -> None:
    assert watched(portrait(WIDTH, HEIGHT, UNIT, name)) == [None]


@pytest.mark.parametrize("thick", [3, 7])
def test_the_frame_stays_and_the_face_beside_it_does_not(thick: float) -> None:
    before = portrait(WIDTH, HEIGHT, UNIT)
    frame = put_on(before, thick)
    (mask,) = watched(before)
    assert mask is not None
    (identity,) = identities("new")
    after, plain = copy(before), copy(before)
    Replacer(load(), CPU).apply([Face(after, MESH, mean_shape(), identity, None, mask)])
    Replacer(load(), CPU).apply([Face(plain, MESH, mean_shape(), identity)])
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    inside[:, int(MESH[127, 0]) + 15 : int(MESH[356, 0]) - 15] = True
    dark = after.planes[0][frame & inside].float()
    assert dark.mean() < 0.6 * plain.planes[0][frame & inside].float().mean()
    assert (dark < 80).float().mean() > 0.75, "no half frames"
    wide = torch.nn.functional.max_pool2d(frame[None, None].float(), 15, 1, 7)[0, 0] > 0
    same = (after.planes[0].float() - plain.planes[0].float()).abs()[~wide & inside]
    assert same.mean() < 2, "the rest is the new face as ever"
    share = float(mask.sum() / face_mask(SIZE, CPU).sum())
    assert share < 0.15


def test_a_dark_lens_stays() -> None:
    before = portrait(WIDTH, HEIGHT, UNIT)
    put_on(before, 4, 25, lens=0.06)
    (mask,) = watched(before)
    assert mask is not None
    (identity,) = identities("new")
    after = copy(before)
    Replacer(load(), CPU).apply([Face(after, MESH, mean_shape(), identity, None, mask)])
    for cx, cy, rx, ry in lenses():
        part = (slice(int(cy - ry / 2), int(cy + ry / 2)), slice(int(cx - rx / 2), int(cx + rx / 2)))
        assert after.planes[0][part].float().mean() < 45


def told(left: float, right: float, lens: float = 0.0, bridge: int = 3) -> torch.Tensor:
    """(3, 2, 96, SIZE) what a network might tell of three looks: rims of some thickness in px, and lenses."""
    result = torch.zeros(3, 2, BAND[1] - BAND[0], SIZE)
    for start, thick in ((45, right), (110, left)):
        result[:, FRAME, 35 : 35 + int(thick), start : start + 40] = 1
        result[:, FRAME, 35 : 35 + bridge, 85:110] = 1
        result[:, LENS, 40:60, start + 5 : start + 35] = lens
    return result


def plain(light: float = 0.0) -> torch.Tensor:
    """(3, 3, SIZE, SIZE) looks at a face of one colour, in logarithms, with eyes that much darker."""
    faces = torch.full((3, 3, SIZE, SIZE), float(np.log(0.6)))
    faces[..., BAND[0] + 35 : BAND[0] + 65, 40:155] -= light
    return faces


def test_glasses_have_two_sides() -> None:
    assert usual(told(3, 3), plain()) is not None
    assert usual(told(3, 0), plain()) is None, "a strand of hair"
    assert usual(told(3, 3, bridge=0), plain()) is None, "wrinkles"
    assert usual(torch.zeros(0, 2, 96, SIZE), torch.zeros(0, 3, SIZE, SIZE)) is None


def test_what_most_looks_do_not_show_is_none() -> None:
    looks = told(3, 3)
    looks[1:] = 0
    assert usual(looks, plain()) is None


def test_a_lens_through_which_one_could_see_does_not_count() -> None:
    dark, light = usual(told(3, 3, 1.0), plain(2.0)), usual(told(3, 3, 1.0), plain(0.1))
    assert dark is not None
    assert light is not None
    assert dark[LENS].sum() > 500
    assert light[LENS].sum() == 0


def test_only_near_the_usual_place_and_never_much_is_opened() -> None:
    steady = usual(told(3, 3), plain())
    assert steady is not None
    aside = torch.zeros(1, 2, 96, SIZE)
    aside[:, FRAME, 80:85, 60:120] = 1
    assert opened(aside, steady).sum() == 0
    assert opened(told(3, 3), steady).sum() > 0
    everything = torch.ones(1, 2, 96, SIZE)
    assert opened(everything, torch.ones(2, 96, SIZE)).sum() == 0


def test_batches_do_not_show() -> None:
    frames = []
    for k in range(4):
        frames.append(copy(portrait(WIDTH, HEIGHT, UNIT), k))
        put_on(frames[-1], 5, 30 + 5 * k)
    looks = {0: texture(frames[0], MESH, SIZE)[None]}
    one, two = Optician(looks, CPU), Optician(looks, CPU)
    faces = [(p, 0, MESH) for p in frames]
    together, apart = one.masks(faces), two.masks(faces[:2]) + two.masks(faces[2:])
    for a, b in zip(together, apart, strict=True):
        assert a is not None
        assert b is not None
        assert float((a - b).abs().max()) < 0.15


def test_no_looks_no_glasses() -> None:
    picture = portrait(WIDTH, HEIGHT, UNIT)
    put_on(picture)
    assert Optician({0: glasses.looks([])}, CPU).masks([(picture, 0, MESH)]) == [None]
