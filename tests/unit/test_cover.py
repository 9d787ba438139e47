"""Covers: what is hidden stays hidden."""

import numpy as np
import pytest
import torch

from pipeline.cover import CELLS, PLAIN, Style, cover
from pipeline.picture import Picture, PixelLayout, read_rgb


def noise(seed: int = 0) -> Picture:
    layout = PixelLayout(160, 120, 8, 1, 1, "bt709", False)
    draw = torch.Generator().manual_seed(seed)
    planes = [torch.randint(16, 235, s, generator=draw, dtype=torch.uint8) for s in ((120, 160), (60, 80), (60, 80))]
    return Picture(0, 0, (planes[0], planes[1], planes[2]), layout)


@pytest.mark.parametrize("style", ["mosaic", "solid"])
def test_nothing_of_the_face_is_left_and_nothing_else_is_touched(style: Style) -> None:
    before, after = noise(), noise()
    cover(after, (40, 30, 100, 90), None, style, 7)
    inner = (slice(36, 84), slice(46, 94))
    old, new = before.planes[0][inner].float(), after.planes[0][inner].float()
    correlation = np.corrcoef(old.flatten(), new.flatten())[0, 1] if new.std() > 0 else 0.0
    assert abs(correlation) < 0.25  # noise has little left after averaging cells of 10 pixels
    assert torch.equal(before.planes[0][:, :30], after.planes[0][:, :30])
    assert torch.equal(before.planes[0][100:], after.planes[0][100:])


def test_a_mosaic_has_few_colours_and_a_plain_cover_one() -> None:
    mosaic, solid = noise(), noise()
    cover(mosaic, (40, 30, 100, 90), None, "mosaic", 7)
    cover(solid, (40, 30, 100, 90), None, "solid", 7)
    assert 4 <= len(mosaic.planes[0][38:82, 48:92].unique()) <= CELLS**2
    assert read_rgb(solid, (48, 38, 92, 82)).sub(PLAIN).abs().max() < 0.01


def test_two_faces_that_differ_little_get_the_same_mosaic() -> None:
    """What separates two pictures of one head by less than a step must be gone."""
    a, b = noise(), noise()
    for p in (a, b):
        p.planes[0].fill_(120)
        p.planes[1].fill_(110)
        p.planes[2].fill_(150)
    b.planes[0][50:60:2, 60:70:2] = 160  # fine detail
    cover(a, (40, 30, 100, 90), None, "mosaic", 7)
    cover(b, (40, 30, 100, 90), None, "mosaic", 7)
    spread = (a.planes[0][50:60, 60:70].float() - b.planes[0][50:60, 60:70].float()).std()
    assert spread < 3


@pytest.mark.parametrize("box", [(-50, -50, 20, 20), (150, 110, 300, 300), (200, 200, 220, 220), (10, 10, 10.5, 10.5)])
def test_boxes_at_and_beyond_the_border(box: tuple[float, float, float, float]) -> None:
    cover(noise(), box, None, "mosaic", 1)
    cover(noise(), box, None, "solid", 1)


def test_a_mesh_that_reaches_out_of_the_box_is_covered_but_one_gone_astray_is_not_followed() -> None:
    mesh = np.zeros((468, 3), np.float32)
    mesh[:, 0] = np.linspace(40, 100, 468)
    mesh[:, 1] = np.linspace(30, 100, 468)
    near = noise()
    cover(near, (40, 30, 100, 90), mesh, "solid", 1)
    assert int(near.planes[0][95, 70]) != int(noise().planes[0][95, 70])
    mesh[0] = (1e4, 1e4, 0)
    far = noise()
    cover(far, (40, 30, 60, 50), mesh, "solid", 1)
    assert torch.equal(far.planes[0][:, 100:], noise().planes[0][:, 100:])
