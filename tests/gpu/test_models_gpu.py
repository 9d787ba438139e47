"""The networks and the finder give one result on the CPU and on CUDA. Needs torch, numpy, av and pytest only."""

import os

import numpy as np
import pytest
import torch
from portrait import as_picture, portrait, scene

from pipeline.detect import FaceFinder, Looks
from pipeline.detections import overlaps
from pipeline.look import look, warped
from pipeline.models import graph
from pipeline.models.blazeface import BlazeFace
from pipeline.models.centerface import CenterFace
from pipeline.models.facemesh import FaceMesh
from pipeline.models.recogniser import SIZE, Recogniser

CPU, GPU = torch.device("cpu"), torch.device("cuda")
if not torch.cuda.is_available() and os.environ.get("VEILFARM_REQUIRE_GPU") != "1":
    pytest.skip("no CUDA here", allow_module_level=True)


@pytest.fixture(autouse=True)
def exact():
    """Full floats in convolutions: TF32 would move scores by a thousandth."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("name", ["centerface", "facemesh", "recogniser", "blazeface"])
def test_networks(name):
    side = {"recogniser": 150}.get(name, 192)
    images = torch.rand((4, 3, side, side), generator=torch.Generator().manual_seed(1))
    images = images * (255 if name == "centerface" else 1)
    here = graph.runtime(name, CPU, "torch")(images)
    there = graph.runtime(name, GPU)(images.to(GPU))
    for ours, theirs in zip(here, there, strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, rtol=2e-3, atol=2e-3)


def test_looks_are_the_same_pixels():
    for size in (384, 192, 100):
        here = look(as_picture(portrait()), (0, 0, 384, 384), size, size)
        there = look(as_picture(portrait(), device="cuda"), (0, 0, 384, 384), size, size)
        torch.testing.assert_close(there.cpu(), here, rtol=0, atol=2e-5)


def test_finder():
    image = scene(640, 384, (20, 30, 320), (420, 100, 96))
    looks = Looks(every=2)
    results = []
    for device in (CPU, GPU):
        pictures = [as_picture(image, k, device=device.type) for k in range(3)]
        finder = FaceFinder(CenterFace(device, "torch", threshold=0.3), pictures[0].layout, device, looks)
        results.append(finder.find(pictures, [True, False, False]))
    for here, there in zip(*results, strict=True):
        assert len(here) == len(there) >= 2
        assert overlaps(here.boxes, there.boxes).max(1).min() > 0.98
        np.testing.assert_allclose(np.sort(there.scores), np.sort(here.scores), atol=0.005)


def test_mesh_and_recognition():
    found = CenterFace(CPU, "torch", threshold=0.5).detect(portrait())
    meshes, descriptors = [], []
    for device in (CPU, GPU):
        picture = as_picture(portrait(), device=device.type)
        mesh, presence = FaceMesh(device, "torch").locate([picture], np.zeros(1, np.int64), found.boxes, found.points)
        assert presence[0] > 0.9
        meshes.append(mesh)
        recogniser = Recogniser(device, "torch")
        descriptors.append(recogniser.embed(warped(picture, recogniser.align(mesh)[0], SIZE)[None]).cpu())
    np.testing.assert_allclose(meshes[1], meshes[0], atol=0.1)
    assert float((descriptors[0] - descriptors[1]).norm()) < 0.01


def test_gate_detector():
    image = scene(448, 384, (0, 0, 384))
    here, there = (BlazeFace(d, "torch").detect(image.to(d)) for d in (CPU, GPU))
    assert len(here) == len(there)
    np.testing.assert_allclose(there.boxes, here.boxes, atol=0.5)
