"""Things before a face stay, the face behind them doesn't, and nothing opens where nothing is."""

import dataclasses

import numpy as np
import pytest
import torch
from faces import identities, mesh, portrait

from pipeline import occlude
from pipeline.appearance import face_mask
from pipeline.filters import guided
from pipeline.identity import load
from pipeline.picture import Picture, read_rgb
from pipeline.replace import Face, Replacer
from pipeline.shape import mean_shape
from pipeline.stage.canvas import Canvas
from pipeline.stage.hand import draw_hand
from pipeline.track import Sample

CPU = torch.device("cpu")
WIDTH, HEIGHT, UNIT = 480, 360, 80
MESH = mesh(UNIT, WIDTH / 2, HEIGHT / 2)


def copy(p: Picture) -> Picture:
    return Picture(p.number, p.pts, (p.planes[0].clone(), p.planes[1].clone(), p.planes[2].clone()), p.layout)


def shot(count: int, gain: float = 1.0, name: str = "sitter") -> list[Picture]:
    """The same face on frame after frame."""
    one = portrait(WIDTH, HEIGHT, UNIT, name)
    for plane, zero in zip(one.planes, (16, 128, 128), strict=True):
        plane.copy_(((plane.float() - zero) * gain + zero).round().clamp(16, 240).to(torch.uint8))
    return [dataclasses.replace(copy(one), number=k) for k in range(count)]


def lookout(picture: Picture) -> occlude.Lookout:
    """One who has seen the face as it is here."""
    return occlude.Lookout({0: occlude.texture(picture, MESH)}, CPU)


def with_hand(picture: Picture, at: tuple[float, float]) -> torch.Tensor:
    """Draws a hand in skin's colour before the face, in place. Returns where it is, (H, W) 0..1."""
    canvas = Canvas(picture.planes[0].float(), torch.stack([p.float() for p in picture.planes[1:]]))
    (x0, y0, x1, y1), alpha = draw_hand(canvas, (165, 112, 148), at, 70, -35)
    picture.planes[0].copy_(canvas.luma.round().clamp(16, 235).to(torch.uint8))
    for plane, new in zip(picture.planes[1:], canvas.chroma, strict=True):
        plane.copy_(new.round().clamp(16, 240).to(torch.uint8))
    whole = torch.zeros(HEIGHT, WIDTH)
    whole[y0:y1, x0:x1] = alpha
    return whole


def inside() -> torch.Tensor:
    """(H, W) the middle of the face, true."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    low, high = MESH[:, :2].amin(0), MESH[:, :2].amax(0)
    middle, half = (low + high) / 2, (high - low) / 2
    return ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 < 0.65


def test_a_hand_stays_and_the_face_behind_it_does_not() -> None:
    frames = shot(3)
    watcher = lookout(frames[0])
    hands = [with_hand(picture, (WIDTH / 2 + 30, HEIGHT / 2 + 45)) for picture in frames]
    masks = watcher.masks([(picture, 0, MESH) for picture in frames])
    before, after = copy(frames[1]), copy(frames[1])
    (identity,) = identities("new")
    assert masks[1] is not None
    Replacer(load(), CPU).apply([Face(after, MESH, mean_shape(), identity, masks[1])])
    plain = copy(frames[1])
    Replacer(load(), CPU).apply([Face(plain, MESH, mean_shape(), identity)])
    hand, face = (hands[1] > 0.99) & inside(), (hands[1] < 0.01) & inside()
    kept, painted = ((p.planes[0].float() - before.planes[0].float()).abs() for p in (after, plain))
    assert kept[hand].mean() < 0.35 * painted[hand].mean()
    assert kept[face].mean() > 0.6 * painted[face].mean()


@pytest.mark.parametrize(("gain", "name"), [(1.0, "sitter"), (0.6, "sitter"), (1.2, "b"), (0.8, "c")])
def test_a_face_alone_opens_nothing(gain: float, name: str) -> None:
    reference, frames = shot(1, 1.0, name)[0], shot(4, gain, name)
    shaded = torch.linspace(1.1, 0.8, WIDTH)
    for picture in frames[2:]:
        picture.planes[0].copy_(((picture.planes[0].float() - 16) * shaded + 16).round().to(torch.uint8))
    masks = lookout(reference).masks([(picture, 0, MESH) for picture in frames])
    assert [mask for mask in masks if mask is not None] == []


def test_without_a_reference_nothing_opens() -> None:
    frames = shot(2)
    with_hand(frames[1], (WIDTH / 2 + 30, HEIGHT / 2 + 45))
    assert occlude.Lookout({}, CPU).masks([(picture, 0, MESH) for picture in frames]) == [None, None]
    assert occlude.reference([]) is None


def found(*areas: tuple[slice, slice]) -> torch.Tensor:
    said = torch.zeros(1, 1, occlude.SIZE, occlude.SIZE)
    for rows, columns in areas:
        said[:, :, rows, columns] = 1
    return said * face_mask(occlude.SIZE, CPU)


def test_only_what_reaches_the_outline_opens() -> None:
    middle, side = (slice(40, 60), slice(40, 60)), (slice(50, 70), slice(0, 40))
    assert not occlude.settle(found(middle)).any()
    mask = occlude.settle(found(side))
    assert mask[0, 0, 60, 25] == 1
    assert mask[0, 0, 50, 60] == 0
    assert mask[0, 0, 60, 2] > 0.5  # and goes on beyond the outline


def test_what_hides_most_of_a_face_is_not_believed() -> None:
    assert not occlude.settle(found((slice(0, 96), slice(0, 96)))).any()


def test_a_flash_of_one_frame_opens_nothing() -> None:
    frames = shot(5)
    with_hand(frames[2], (WIDTH / 2 + 30, HEIGHT / 2 + 45))
    masks = lookout(frames[0]).masks([(picture, 0, MESH) for picture in frames])
    assert [mask for mask in masks if mask is not None] == []


def test_the_mask_takes_the_edge_that_the_frame_has() -> None:
    guide = torch.zeros(1, 1, 60, 60)
    guide[..., 33:] = 0.5
    rough = torch.zeros(1, 1, 60, 60)
    rough[..., 30:] = 1
    fine = guided(rough, guide, 6, 1e-4)
    assert float(fine[0, 0, 30, 31]) < 0.5 < float(fine[0, 0, 30, 34])


def test_a_sample_in_pixels_of_its_crop_gives_the_reference() -> None:
    picture = portrait(256, 256, 70)
    where = mesh(70, 128, 128)
    crop = (read_rgb(picture, (0, 0, 256, 256)).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    sample = Sample(0, crop, where.numpy().astype(np.float32), np.zeros(128, np.float32), 1.0)
    seen = occlude.reference([sample, sample])
    assert seen is not None
    face = face_mask(occlude.SIZE, CPU)[0] > 0
    assert float((seen - occlude.texture(picture, where)).abs()[face.expand(3, -1, -1)].mean()) < 0.02
