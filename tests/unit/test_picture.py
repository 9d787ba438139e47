"""Pictures: colours there and back, borders, odd sizes."""

import pytest
import torch

from pipeline.look import warped
from pipeline.picture import Picture, PixelLayout, even_box, read_rgb, write_rgb

LAYOUTS = [
    PixelLayout(width, height, depth, sub_x, sub_y, matrix, full)
    for width, height in ((64, 48), (61, 47))
    for depth in (8, 10)
    for sub_x, sub_y in ((1, 1), (1, 0), (0, 0))
    for matrix, full in (("bt709", False), ("bt601", True), ("bt2020", False))
]


def picture(layout: PixelLayout, seed: int = 0) -> Picture:
    draw = torch.Generator().manual_seed(seed)
    h, w = -(-layout.height >> layout.sub_y), -(-layout.width >> layout.sub_x)
    h, w = -(-layout.height // (1 << layout.sub_y)), -(-layout.width // (1 << layout.sub_x))
    unit = 2 ** (layout.depth - 8)
    dtype = torch.uint8 if layout.depth == 8 else torch.int16
    planes = [
        torch.randint(16 * unit, 235 * unit, size, generator=draw).to(dtype)
        for size in ((layout.height, layout.width), (h, w), (h, w))
    ]
    return Picture(0, 0, (planes[0], planes[1], planes[2]), layout)


def copy(p: Picture) -> Picture:
    return Picture(p.number, p.pts, (p.planes[0].clone(), p.planes[1].clone(), p.planes[2].clone()), p.layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda v: f"{v.width}{v.av_name}{v.matrix}{v.full_range}")
def test_luma_survives_a_round_trip_and_a_mask_of_zero_changes_nothing(layout: PixelLayout) -> None:
    before = picture(layout)
    after = copy(before)
    box = even_box(layout, (3, 5, 1000, 40.5))
    rgb = read_rgb(after, box)
    write_rgb(after, box, torch.zeros_like(rgb), torch.zeros(rgb.shape[1:]))
    assert all(torch.equal(a, b) for a, b in zip(before.planes, after.planes, strict=True))
    write_rgb(after, box, rgb, torch.ones(rgb.shape[1:]))
    assert int((before.planes[0].int() - after.planes[0].int()).abs().max()) <= 1
    if layout.sub_x == layout.sub_y == 0:
        assert int((before.planes[1].int() - after.planes[1].int()).abs().max()) <= 1


def test_outside_of_the_box_nothing_is_touched() -> None:
    layout = PixelLayout(64, 48, 8, 1, 1, "bt709", False)
    before, after = picture(layout), picture(layout)
    write_rgb(after, (16, 8, 32, 24), torch.ones(3, 16, 16), torch.ones(16, 16))
    changed = (before.planes[0] != after.planes[0]).nonzero()
    assert changed[:, 0].min() >= 8
    assert changed[:, 0].max() < 24
    assert changed[:, 1].min() >= 16
    assert changed[:, 1].max() < 32
    assert int(after.planes[0][10, 20]) == 235  # white in limited range
    assert int(after.planes[1][5, 10]) == 128


@pytest.mark.parametrize(
    ("full", "matrix", "colour", "expected"),
    [
        (False, "bt709", (81, 90, 240), (1.0, 0.0, 0.0)),  # not quite: BT.601's red read as BT.709
        (False, "bt601", (81, 90, 240), (1.0, 0.0, 0.0)),
        (True, "bt601", (255, 128, 128), (1.0, 1.0, 1.0)),
        (False, "bt709", (16, 128, 128), (0.0, 0.0, 0.0)),
    ],
)
def test_known_colours(
    full: bool, matrix: str, colour: tuple[int, int, int], expected: tuple[float, float, float]
) -> None:
    layout = PixelLayout(4, 4, 8, 0, 0, matrix, full)
    y, u, v = (torch.full((4, 4), c, dtype=torch.uint8) for c in colour)
    rgb = read_rgb(Picture(0, 0, (y, u, v), layout), (0, 0, 4, 4))[:, 0, 0]
    near = bool((rgb - torch.tensor(expected)).abs().max() < 0.02)
    assert near == (not (matrix == "bt709" and expected == (1.0, 0.0, 0.0)))


def test_a_warp_finds_the_pixel_it_names() -> None:
    layout = PixelLayout(64, 48, 8, 0, 0, "bt601", True)
    p = picture(layout)
    for plane, value in zip(p.planes, (30, 128, 128), strict=True):
        plane.fill_(value)
    p.planes[0][20:24, 40:44] = 230
    crop = warped(p, torch.tensor([[1.0, 0, 36], [0, 1, 16]]), 16)
    assert crop[0, 4:8, 4:8].min() > 0.85
    assert crop[0, :3].max() < 0.2
    outside = warped(p, torch.tensor([[1.0, 0, -500], [0, 1, 16]]), 16)
    assert outside.abs().max() == 0
