"""Whom a face of nobody must be far from: the person it replaces, as a whole and by brows and eyes alone."""

from dataclasses import replace

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
    both = choose._tried_on(model, seeds, looks, Recogniser(CPU))[0]
    monkeypatch.setattr(choose, "EYES", 1e-6)
    whole = choose._tried_on(model, seeds, looks, Recogniser(CPU))[0]
    monkeypatch.setattr(choose, "EYES", 0.39)
    monkeypatch.setattr(choose, "WHOLE", 1e-6)
    eyes = choose._tried_on(model, seeds, looks, Recogniser(CPU))[0]
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
    far, misfit = choose._tried_on(model, seeds, [choose._Look(sample)], Recogniser(CPU))
    assert (far >= choose.MARGIN).all()
    best, first = choose._merit(far, misfit)
    assert best >= first


def test_a_face_that_looks_odd_on_the_head_gives_way_to_one_that_fits() -> None:
    far, misfit = torch.tensor([1.4, 1.4, 1.2, 1.6]), torch.tensor([0.2, 3.0, 0.9, 3.0])
    first, odd, near, farther = choose._merit(far, misfit)
    assert first > near > odd
    assert odd == farther, "beyond what is ample, distance makes up for nothing"


def test_eyes_alone_show_no_other_part_of_a_face() -> None:
    crops = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    alone = choose._eyes_alone(crops)
    assert torch.equal(alone[:, :, choose.EYE_ROWS], crops[:, :, choose.EYE_ROWS])
    assert alone[:, :, choose.EYE_ROWS.stop :].unique().tolist() == [0.5]
    assert alone[:, :, : choose.EYE_ROWS.start].unique().tolist() == [0.5]


def with_glasses(sample: Sample) -> Sample:
    """The same with thick black rims, drawn where the eyes are."""
    crop, mesh = sample.crop.copy(), sample.mesh
    y, x = np.mgrid[: crop.shape[1], : crop.shape[2]] + 0.5
    unit = float(np.linalg.norm(mesh[263] - mesh[33]))
    eyes = [mesh[pair, :2].mean(0) for pair in ([33, 133], [263, 362])]
    for side, (cx, cy) in zip((-1, 1), eyes, strict=True):
        far = np.hypot((x - cx - side * 0.02 * unit) / 0.27, (y - cy - 0.03 * unit) / 0.21) / unit
        arm = (abs(y - cy) < 0.025 * unit) & (side * (x - cx) > 0.28 * unit) & (side * (x - cx) < 0.6 * unit)
        crop[:, (abs(far - 1) < 0.12) | arm] = 20
    level = (eyes[0][1] + eyes[1][1]) / 2
    crop[:, (abs(y - level) < 0.025 * unit) & (abs(x - (eyes[0][0] + eyes[1][0]) / 2) < 0.1 * unit)] = 20
    return replace(sample, crop=crop)


def test_glasses_stay_on_or_are_painted_over(model: NobodyModel, sample: Sample) -> None:
    (look,) = looks = [choose._Look(with_glasses(sample))]
    assert choose._wear(looks, bare=False)
    assert look.worn is not None
    seeds = [Seed.derive(b"k", "a")]
    on = choose._tried_on(model, seeds, looks, Recogniser(CPU))[0]
    assert choose._wear(looks, bare=True), "there are some, ..."
    assert look.worn is None, "... and they don't stay on"
    assert not torch.equal(choose._tried_on(model, seeds, looks, Recogniser(CPU))[0], on)


def test_without_glasses_there_is_no_second_choice(model: NobodyModel, sample: Sample) -> None:
    with pytest.raises(NoIdentity, match="the same"):
        choose.choose(model, b"k", "a", [sample], [], bare=True)
    choose.choose(model, b"k", "a", [with_glasses(sample)], [], bare=True)
