"""Whom a face of nobody must be far from: the person it replaces, as a whole and by brows and eyes alone."""

import numpy as np
import pytest
import torch
from portrait import as_picture, portrait

from pipeline import choose, identity
from pipeline.errors import NoIdentity
from pipeline.follow import angles
from pipeline.identity import NobodyModel, Seed
from pipeline.look import warped
from pipeline.models.centerface import CenterFace
from pipeline.models.facemesh import FaceMesh
from pipeline.models.recogniser import SIZE, Recogniser
from pipeline.track import Sample

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> NobodyModel:
    return identity.load()


@pytest.fixture(scope="module")
def sample() -> Sample:
    picture, recogniser = as_picture(portrait()), Recogniser(CPU)
    found = CenterFace(CPU).detect(portrait())
    mesh, _ = FaceMesh(CPU).locate([picture], np.zeros(1, np.int64), found.boxes[:1], found.points[:1])
    assert np.abs(angles(mesh)[0, 0]) < 20
    embedding = recogniser.embed(warped(picture, recogniser.align(mesh)[0], SIZE)[None])[0]
    return Sample(0, (portrait() * 255).byte().numpy(), mesh[0], embedding.numpy(), 1.0)


def test_a_face_is_far_from_the_person_by_either_look(
    model: NobodyModel, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, seeds = [choose._Look(sample)], [Seed.derive(b"k", str(i)) for i in range(3)]
    both = choose._from_person(model, seeds, looks, Recogniser(CPU))
    monkeypatch.setattr(choose, "EYES", 1e-6)
    whole = choose._from_person(model, seeds, looks, Recogniser(CPU))
    monkeypatch.setattr(choose, "EYES", 0.39)
    monkeypatch.setattr(choose, "WHOLE", 1e-6)
    eyes = choose._from_person(model, seeds, looks, Recogniser(CPU))
    assert torch.allclose(both, torch.minimum(whole, eyes))
    assert (both > 0.2).all()


@pytest.mark.parametrize("name", ["WHOLE", "EYES"])
def test_nobody_is_taken_whom_either_look_would_know(
    name: str, model: NobodyModel, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, name, 1e6)
    monkeypatch.setattr(choose, "ROUNDS", 1)
    with pytest.raises(NoIdentity):
        choose.choose(model, b"k", "a", [sample], [])


def test_what_is_taken_is_beyond_the_margin(model: NobodyModel, sample: Sample) -> None:
    seeds = [choose.choose(model, b"k", "a", [sample], [], steady) for steady in (False, True)]
    far = choose._from_person(model, seeds, [choose._Look(sample)], Recogniser(CPU))
    assert (far >= choose.MARGIN).all()
    assert far[0].clamp_max(choose.AMPLE) >= far[1].clamp_max(choose.AMPLE)


def test_eyes_alone_show_no_other_part_of_a_face() -> None:
    crops = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    alone = choose._eyes_alone(crops)
    assert torch.equal(alone[:, :, choose.EYE_ROWS], crops[:, :, choose.EYE_ROWS])
    assert alone[:, :, choose.EYE_ROWS.stop :].unique().tolist() == [0.5]
    assert alone[:, :, : choose.EYE_ROWS.start].unique().tolist() == [0.5]
