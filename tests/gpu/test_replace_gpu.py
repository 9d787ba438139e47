"""Replacing and covering on CUDA gives what the CPU gives."""

import pytest
import torch
from faces import identities, mesh, portrait

from pipeline.cover import cover
from pipeline.identity import load
from pipeline.picture import Picture
from pipeline.replace import Face, Replacer
from pipeline.shape import mean_shape

STEPS = 3  # of 255: convolutions add in another order, and rounding may fall to the other side


def to(picture: Picture, device: torch.device) -> Picture:
    y, u, v = (p.clone().to(device) for p in picture.planes)
    return Picture(picture.number, picture.pts, (y, u, v), picture.layout)


@pytest.mark.parametrize("scale", [20, 60, 200])
def test_replaced_faces_are_the_same_on_both_devices(cuda: torch.device, scale: float) -> None:
    source = portrait(1280, 720, scale)
    meshes = [mesh(scale, x, 360, roll=7 * k) for k, x in enumerate((400, 640, 900))]
    result = []
    for device in (torch.device("cpu"), cuda):
        pictures = [to(source, device), to(source, device)]
        drawn = [i.to(device) for i in identities("a", "b", "c")]
        rest = mean_shape().to(device)
        faces = [Face(p, m.to(device), rest, i) for p in pictures for m, i in zip(meshes, drawn, strict=True)]
        Replacer(load(), device).apply(faces)
        result.append([p.planes[0].cpu().int() for p in pictures])
    for a, b in zip(*result, strict=True):
        difference = (a - b).abs()
        assert int((difference > STEPS).sum()) <= 1e-3 * difference.numel()
        assert difference.float().mean() < 0.1


@pytest.mark.parametrize("style", ["mosaic", "solid"])
def test_covers_are_the_same_on_both_devices(cuda: torch.device, style: str) -> None:
    source = portrait(640, 480, 80)
    result = []
    for device in (torch.device("cpu"), cuda):
        picture = to(source, device)
        cover(picture, (250, 150, 390, 330), None, style, 3)  # type: ignore[arg-type]
        result.append(picture.planes[0].cpu().int())
    assert int((result[0] - result[1]).abs().max()) <= 22  # a cell's mean may be rounded to the other step
    assert (result[0] - result[1]).abs().float().mean() < 0.2
