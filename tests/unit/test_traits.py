"""What a new face must not contradict: read off the recogniser's vectors, and used for nothing but the choice."""

import pytest
import torch

from pipeline import choose, identity, traits
from pipeline.identity import NobodyModel, Seed
from pipeline.traits import AGE, BEARD, COUNT, SEX, TONE

_PERSON = torch.tensor([1.0, 4.0, 0.05, -0.6])
_LIKE = _PERSON - torch.tensor([0, traits._REAL, 0, 0])  # a face that fits


@pytest.fixture(scope="module")
def model() -> NobodyModel:
    return identity.load()


def test_a_face_that_looks_like_the_person_contradicts_nothing() -> None:
    assert float(traits.contradictions(_LIKE[None], _PERSON)) < 1e-5


@pytest.mark.parametrize(
    ("trait", "change"), [(SEX, -2.0), (AGE, 1.5), (BEARD, 0.15), (BEARD, -0.15), (TONE, 0.5), (TONE, -0.5)]
)
def test_each_trait_counts(trait: int, change: float) -> None:
    drawn = _LIKE.clone()
    drawn[trait] += change
    assert float(traits.contradictions(drawn[None], _PERSON)) >= 1


def test_a_head_of_which_the_probe_is_not_sure_fits_both() -> None:
    both = torch.stack([_LIKE, _LIKE * torch.tensor([-1.0, 1, 1, 1])])
    assert traits.contradictions(both, _PERSON * torch.tensor([0.0, 1, 1, 1])).max() < 1e-5


def test_younger_is_less_of_a_contradiction_than_older() -> None:
    drawn = torch.stack([_LIKE + torch.tensor([0, d, 0, 0]) for d in (2.0, -2.0)])
    older, younger = traits.contradictions(drawn, _PERSON).tolist()
    assert older > younger > 0


def test_the_probes_are_linear_and_the_median_outlasts_one_bad_look(model: NobodyModel) -> None:
    vectors = torch.zeros(3, 128)
    vectors[2] = 50
    assert torch.equal(traits.apparent(vectors, model.probes), model.probes[0])
    assert model.probes.shape == (129, COUNT)


def test_best_fitting_seeds_come_first(model: NobodyModel) -> None:
    class Looked:
        embedding = torch.linalg.lstsq(model.probes[1:].T, torch.tensor([1.0, 3.5, 0, -0.5]) - model.probes[0]).solution

    chosen = choose._fitting(model, b"k", "a", [Looked()])  # type: ignore[list-item]
    drawn = torch.stack([model.draw(s) for s in chosen])
    assert (model.group(drawn) == 0).all()  # all look female
    first, last = ((drawn[part] @ model.traits)[:, BEARD].abs().mean() for part in (slice(0, 10), slice(30, 40)))
    every = torch.stack([model.draw(Seed.derive(b"k", "a", k)) for k in range(400)])
    assert max(first, last) < (every @ model.traits)[:, BEARD].abs().mean()


def test_on_its_head_a_face_seems_odd_by_age_or_sex() -> None:
    wanted = torch.tensor([1.0, 3.0, 0.05, -0.6])
    same, older, other = wanted, wanted + torch.tensor([0, 1.5, 0, 0]), wanted - torch.tensor([2.0, 0, 0, 0])
    assert float(traits.seeming(same, wanted)) == 0
    assert float(traits.seeming(older, wanted)) >= 1
    assert float(traits.seeming(other, wanted)) >= 1
    beard = wanted + torch.tensor([0, 0, 0.3, 0.5])  # of these the probes are too unsure on a head
    assert float(traits.seeming(beard, wanted)) == 0
