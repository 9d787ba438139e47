"""Pores and grain: as much as the frame has on plain skin, where the identity says, and none of the person's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from faces import identities, mesh, portrait

from pipeline import pores
from pipeline.identity import Seed, load
from pipeline.picture import Picture
from pipeline.pores import NOTHING, Bands
from pipeline.primitives import enlarge, shrink
from pipeline.replace import Face, Replacer
from pipeline.shape import mean_shape

CPU = torch.device("cpu")
SIDE, UNIT, SCALE = 400, 219.0, 180.0
ALL = torch.ones(1, 1, SIDE, SIDE)
A, B = (Seed.derive(b"tests", name) for name in ("a", "b"))


def place(x: float = 0.0, y: float = 0.0) -> torch.Tensor:
    """(1, 2, 100, 100) where a face with SCALE pixels per unit lies, its middle at x, y pixels from the crop's."""
    axis = (torch.arange(100) * 4 + 1.5 - SIDE / 2) / SCALE * 247 / 512
    at = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))[None]
    return at - torch.tensor([x, y])[:, None, None] / SCALE * 247 / 512


def noise(strength: float, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * strength


def strengths(image: torch.Tensor, count: int = 3) -> list[float]:
    found = []
    for _ in range(count):
        half = shrink(image, 2, 2)
        found.append(float((image - enlarge(half, 2))[..., 4:-4, 4:-4].std()))
        image = half
    return found


def skin_like(fine: float, middle: float, coarse: float) -> torch.Tensor:
    """Noise at a middle grey, in three sizes, that lies still: in patches, as skin's; some have none."""
    parts = [F.interpolate(noise(s, k)[..., : SIDE >> k, : SIDE >> k], size=(SIDE, SIDE), mode="bilinear")
             for k, s in enumerate((fine, middle, coarse))]  # fmt: skip
    patches = F.interpolate((noise(1, 9)[..., :25, :25] > -0.8).float(), size=(SIDE, SIDE))
    return 120 + sum(parts, torch.zeros(())) * patches


def measured(image: torch.Tensor, frame: torch.Tensor, own: float = SCALE) -> Bands:
    (bands,) = pores.measure(image, frame, (ALL, ALL), UNIT, (SCALE, [own]))
    return bands


def test_the_pattern_stays_with_the_skin_and_is_the_identitys() -> None:
    here, there = pores.shown(place(), [A], 4, SCALE), pores.shown(place(12, -8), [A], 4, SCALE)
    assert torch.allclose(here[..., 50:300, 50:300], there[..., 42:292, 62:312], atol=1e-2)
    other = pores.shown(place(), [B], 4, SCALE)
    assert abs(float(torch.corrcoef(torch.stack([here.flatten(), other.flatten()]))[0, 1])) < 0.1


def test_the_pattern_has_all_sizes_alike_and_no_seam() -> None:
    for scale in (90.0, 180.0, 400.0):
        found = pores._strengths(scale)
        assert max(found) < 2.5 * min(found)
    sheet = pores._sheet(1, CPU)[0, 0]
    s = sheet.shape[0] // 3
    steps = sheet.diff(dim=0).abs().mean(1)
    assert steps[s - 1] < 1.3 * steps.mean()


@pytest.mark.parametrize("kept", [(3.0, 3.0, 4.0), (2.0, 1.5, 1.5)])
def test_each_band_gets_what_is_missing(kept: tuple[float, float, float]) -> None:
    frame = skin_like(*kept)
    bare = torch.full_like(frame, 120.0)
    bands = measured(bare, frame)
    pattern = pores.shown(place(), [A], 4, SCALE) * bare
    got = strengths(pores.add(bare.clone(), pattern, [bands], [7]))
    for have, wanted in zip(got, strengths(frame), strict=True):
        assert 0.5 * wanted < have < 1.15 * wanted


def test_what_has_it_already_gets_nothing_more() -> None:
    frame = skin_like(3, 3, 3)
    assert measured(frame + 0, frame) == NOTHING
    assert measured(120 + 2 * (frame - 120), frame) == NOTHING


def test_a_blurred_frame_gets_nothing() -> None:
    frame = skin_like(4, 4, 4)
    soft = enlarge(shrink(F.avg_pool2d(F.pad(frame, (4, 4, 4, 4), mode="replicate"), 9, 1), 8, 8), 8)
    bands = measured(torch.full_like(frame, 120.0), soft)
    pattern = pores.shown(place(), [A], 4, SCALE) * 120
    added = pores.add(torch.zeros_like(frame), pattern, [bands], [7])
    assert float(added.std()) < 0.6  # of 8 bits' steps


def test_wrinkles_and_beards_on_less_than_half_say_nothing() -> None:
    frame = torch.full((1, 1, SIDE, SIDE), 120.0) + noise(0.3)
    frame[..., 260:, :] += noise(25)[..., 260:, :]
    bands = measured(torch.full_like(frame, 120.0), frame)
    assert bands.pores[0] * 120 < 0.5
    assert bands.grain[0] < 0.5


def test_even_noise_is_grain_and_new_on_each_frame() -> None:
    frame = 120 + noise(4)
    bare = torch.full_like(frame, 120.0)
    bands = measured(bare, frame)
    pattern = pores.shown(place(), [A], 4, SCALE) * bare
    one, again, next_one = (
        pores.add(bare.clone(), pattern, [bands], [pores.grain_of(A, number)]) - 120 for number in (3, 3, 4)
    )
    assert torch.equal(one, again)
    alike = float(torch.corrcoef(torch.stack([one.flatten(), next_one.flatten()]))[0, 1])
    assert alike < 0.4  # most of it is new
    # Nothing of the frame's own noise is in it.
    own = float(torch.corrcoef(torch.stack([one.flatten(), (frame - 120).flatten()]))[0, 1])
    assert abs(own) < 0.02
    assert strengths(one, 1)[0] == pytest.approx(strengths(frame, 1)[0], rel=0.15)


def test_small_faces_get_nothing_and_large_ones_by_degrees() -> None:
    frame, bare = skin_like(3, 3, 3), torch.full((1, 1, SIDE, SIDE), 120.0)
    assert not pores.near(192)
    assert measured(bare, frame, 80.0) == NOTHING
    half, whole = (measured(bare, frame, s).pores[1] for s in (250 / pores.TALL, 180.0))
    assert half == pytest.approx(whole / 2, rel=0.01)


def test_no_face_gets_more_than_a_limit() -> None:
    bands = measured(torch.full((1, 1, SIDE, SIDE), 120.0), 120 + noise(60))
    assert (
        max(p * s * 120 for p, s in zip(bands.pores, pores._strengths(SCALE), strict=True)) <= pores.MOST * UNIT * 1.01
    )
    assert bands.grain[0] <= pores.GRAIN[0] * UNIT


def test_no_skin_in_sight_means_nothing() -> None:
    (bands,) = pores.measure(ALL, ALL + noise(9), (ALL, ALL * 0), UNIT, (SCALE, [SCALE]))
    assert bands == NOTHING


def test_grain_reaches_over_crops_larger_than_its_noise() -> None:
    image = torch.zeros(1, 1, 2400, 64)
    got = pores.add(image, torch.zeros_like(image), [Bands((0, 0, 0), (2.0, 0.0))], [998 * 600])
    assert float(got[..., -200:, :].std()) == pytest.approx(2.0, rel=0.1)


def test_batches_without_opencv_get_what_single_faces_get_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where all is torch."""

    def drawn(count: int) -> torch.Tensor:
        frames = torch.cat([skin_like(3, 3, 3), skin_like(2, 1, 1)])[:count]
        bare = torch.full_like(frames, 120.0)
        bands = pores.measure(bare, frames, (ALL.expand(count, -1, -1, -1),) * 2, UNIT, (SCALE, [SCALE] * count))
        pattern = pores.shown(place().expand(count, -1, -1, -1), [A, B][:count], 4, SCALE) * 120
        return pores.add(bare, pattern, bands, [5, 6][:count])

    alone = drawn(1)
    monkeypatch.setattr("pipeline.primitives._opencv", lambda image: False)
    together = drawn(2)
    assert torch.allclose(alone[0], together[0], atol=0.3)  # OpenCV's places are rounded
    assert not torch.allclose(together[0], together[1], atol=1)


def replaced(before: Picture, scale: float) -> torch.Tensor:
    after = Picture(0, 0, (before.planes[0].clone(), before.planes[1].clone(), before.planes[2].clone()), before.layout)
    where = mesh(scale, before.layout.width / 2, before.layout.height / 2)
    Replacer(load(), CPU).apply([Face(after, where, mean_shape(), identities("new")[0])])
    return after.planes[0].float()


def test_a_grainy_close_up_stays_grainy_on_skin_and_not_less_in_the_eyes() -> None:
    scale, before = 200.0, portrait(640, 640, 200)
    grain = torch.randn(640, 640, generator=torch.Generator().manual_seed(3)) * 5
    before.planes[0].copy_((before.planes[0] + grain).clamp(16, 235).round().to(torch.uint8))
    after, at = replaced(before, scale), mesh(scale, 320, 320)
    for point in (50, 280, 151):  # cheeks and forehead
        x, y = (int(v) for v in at[point, :2])
        patch = (slice(y - 16, y + 16), slice(x - 16, x + 16))
        source, new = (strengths(p[patch][None, None], 1)[0] for p in (before.planes[0].float(), after))
        assert 0.75 * source < new < 1.2 * source
    assert math.isfinite(float(after.std()))
