"""Identities: drawn by seed alone, always the same, and unlike the portraits of the model."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline import appearance, choose, identity, uv
from pipeline.errors import ModelError
from pipeline.identity import MIXED, Identity, NobodyModel, Seed, load
from pipeline.models import weights
from pipeline.models.recogniser import Recogniser
from pipeline.shape import expression


@pytest.fixture(scope="module")
def model() -> NobodyModel:
    return load()


def test_a_seed_is_stable_over_versions_and_tells_nothing_of_the_secret() -> None:
    seed = Seed.derive(b"secret of the job", "person 0", 3)
    assert seed.uniforms(3) == pytest.approx([0.146703413, 0.089773541, 0.712348858], abs=1e-9)
    again = Seed.derive(b"secret of the job", "person 0", 3)
    assert seed == again
    assert seed.uniforms(8) == again.uniforms(8)
    others = [Seed.derive(b"secret of the jo!", "person 0", 3), Seed.derive(b"secret of the job", "person 1", 3)]
    others.append(Seed.derive(b"secret of the job", "person 0", 4))
    assert len({s.name for s in (seed, *others)}) == 4
    assert seed.key.hex()[:16] not in seed.name


def test_an_identity_is_a_mixture_of_several_portraits_of_one_group(model: NobodyModel) -> None:
    drawn = torch.stack([model.draw(Seed.derive(b"k", str(i))) for i in range(200)])
    people = drawn[:, : len(model.groups)]
    assert drawn.sum(1).sub(1).abs().max() < 1e-5
    assert ((people > 0).sum(1) == MIXED).all()
    assert (people >= 0).all()
    # No portrait makes up most of a face, whatever the seed.
    assert (people.amax(1) / people.sum(1)).max() < 0.6
    groups = torch.tensor(model.groups)
    for shares, group in zip(people, model.group(drawn), strict=True):
        assert (groups[shares > 0] == group).all()
    assert len(set(people.argmax(1).tolist())) > 80  # everyone of the portraits has a part in somebody
    assert 40 < int(model.group(drawn).sum()) < 160


def test_a_face_of_nobody_does_not_smile_and_does_not_talk(model: NobodyModel) -> None:
    shapes = model.shapes(torch.stack([model.draw(Seed.derive(b"k", str(i))) for i in range(40)]))
    assert expression(shapes).abs().max() < 0.02


def test_textures_are_large_enough_and_differ(model: NobodyModel) -> None:
    a, b = model.identities([Seed.derive(b"k", "a"), Seed.derive(b"k", "b")])
    assert a.levels[0].shape == (1, 4, uv.SIZE, uv.SIZE)
    assert uv.SIZE >= 512
    assert (a.levels[0][:, :3] - b.levels[0][:, :3]).abs().mean() > 0.02
    assert (a.shape - b.shape).norm(dim=1).mean() > 0.01
    small = model.identities([Seed.derive(b"k", "a")], small=True)[0]
    wide = torch.nn.functional.interpolate(a.levels[0], size=small.levels[0].shape[-1], mode="area")
    # Both are stored as pictures, each with an error of its own.
    assert (wide - small.levels[0]).abs().mean() < 0.008
    assert (wide - small.levels[0]).abs().max() < 0.15


def test_brows_and_lids_are_no_darker_than_on_people(model: NobodyModel) -> None:
    drawn = torch.stack([model.draw(Seed.derive(b"k", str(i))) for i in range(60)])
    textures, limits = model.textures(drawn, small=True), torch.tensor(identity.DARKEST)[model.group(drawn)]
    for part, named in enumerate((appearance.BROWS, appearance.LIDS)):
        assert (appearance.darkness(textures, named) < limits[:, part] + 0.12).all()
    brows = appearance.darkness(textures, appearance.BROWS)
    assert brows[model.group(drawn) == 0].median() < 0.17, "women's"
    assert brows.std() > 0.03, "they still differ"


def test_what_is_light_already_stays_as_it_is() -> None:
    textures = 0.05 * torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    brow = appearance.near_mask(appearance.BROWS, 128, torch.device("cpu"))
    textures[1] -= 0.6 * brow[0]
    result = appearance.natural(textures, torch.full((2, 2), 0.2))
    assert torch.equal(result[0], textures[0])
    assert 0.2 < appearance.darkness(result, appearance.BROWS)[1] < 0.4
    assert torch.equal(result[1][:, brow[0, 0] == 0], textures[1][:, brow[0, 0] == 0])


def test_lips_keep_their_colour_and_skin_some_of_it(model: NobodyModel) -> None:
    drawn = model.draw(Seed.derive(b"k", "a"))[None]
    plain, (someone,) = model.textures(drawn, small=True)[0], model.identities([Seed.derive(b"k", "a")], small=True)
    near = appearance.near_mask(("lips_outer", "lips_inner"), 128, torch.device("cpu"))[0, 0]
    lips = near == 1
    before, after = ((t - t.mean(0)).abs() for t in (plain, someone.levels[0][0, :3]))
    assert torch.allclose(after[:, lips], identity.LIPS * before[:, lips], atol=1e-5)
    cheeks = (appearance.plain_mask(128, torch.device("cpu"))[0, 0] == 1) & (near == 0)
    assert torch.allclose(after[:, cheeks], identity.COLOUR * before[:, cheeks], atol=1e-5)


def test_drawn_faces_are_not_the_portraits_and_not_one_another(model: NobodyModel) -> None:
    seeds = [Seed.derive(b"k", str(i)) for i in range(12)]
    drawn = torch.stack([model.draw(s) for s in seeds])
    faces = Recogniser(torch.device("cpu")).embed(
        appearance.portray(model.textures(drawn, small=True), model.shapes(drawn))
    )
    assert torch.cdist(faces, model.portraits).min() > 0.2  # nearer than FROM_PORTRAIT is refused by `choose`
    apart = torch.cdist(faces, faces)[~torch.eye(12, dtype=torch.bool)]
    assert apart.median() > 0.5


def test_a_face_near_to_a_portrait_or_to_one_in_use_is_refused(model: NobodyModel) -> None:
    first = choose.choose(model, b"k", "a", [], [])
    assert first == choose.choose(model, b"k", "a", [], [])
    # The same person's name again: its first choice is in use now.
    second = choose.choose(model, b"k", "a", [], [first])
    assert second != first
    near = choose._portraits(model, [first], Recogniser(torch.device("cpu")))
    poisoned = replace(model, portraits=near)
    assert choose.choose(poisoned, b"k", "a", [], []) != first


def test_another_file_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path
    content = (weights.FOLDER / "nobody.npz").read_bytes()
    for name in ("MODELS.json",):
        (folder / name).write_bytes((weights.FOLDER / name).read_bytes())
    (folder / "nobody.npz").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    monkeypatch.setattr(weights, "FOLDER", folder)
    with pytest.raises(ModelError, match="pinned"):
        load.__wrapped__()


def test_there_is_no_way_in_for_a_person() -> None:
    """What an identity is made of: a seed and the model. Nothing else is taken anywhere on the way."""
    assert list(inspect.signature(Seed.derive).parameters) == ["secret", "person", "attempt"]
    assert list(inspect.signature(NobodyModel.draw).parameters) == ["self", "seed"]
    assert list(inspect.signature(NobodyModel.identities).parameters) == ["self", "seeds", "small"]
    assert list(inspect.signature(load).parameters) == []
    assert set(Identity.__dataclass_fields__) == {"seed", "shape", "levels", "grey"}
    assert not [n for n in vars(identity) if "photo" in n.lower() or "embedding" in n.lower()]
