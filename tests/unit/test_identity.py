"""Identities: drawn by seed alone, always the same, and unlike the portraits of the model."""

import inspect
from pathlib import Path

import pytest
import torch

from pipeline import appearance, choose, identity, uv
from pipeline.errors import ModelError
from pipeline.identity import CLIP, Identity, NobodyModel, Seed, load
from pipeline.models import weights
from pipeline.models.recogniser import Recogniser


@pytest.fixture(scope="module")
def model() -> NobodyModel:
    return load()


def test_a_seed_is_stable_over_versions_and_tells_nothing_of_the_secret() -> None:
    seed = Seed.derive(b"secret of the job", "person 0", 3)
    assert seed.key.hex().startswith("32a8ecb0aa5405f0")
    assert seed.normals(4).tolist() == pytest.approx([1.27156, -0.71353, -1.36341, 0.16466], abs=1e-5)
    again = Seed.derive(b"secret of the job", "person 0", 3)
    assert seed == again
    assert torch.equal(seed.normals(110), again.normals(110))
    others = [Seed.derive(b"secret of the jo!", "person 0", 3), Seed.derive(b"secret of the job", "person 1", 3)]
    others.append(Seed.derive(b"secret of the job", "person 0", 4))
    assert len({s.name for s in (seed, *others)}) == 4
    assert seed.key.hex()[:16] not in seed.name


def test_coefficients_are_a_cut_off_normal_distribution() -> None:
    drawn = torch.cat([Seed.derive(b"k", str(i)).normals(200) for i in range(50)])
    assert drawn.abs().max() <= CLIP
    assert abs(float(drawn.mean())) < 0.03
    assert float(drawn.std()) == pytest.approx(0.88, abs=0.03)  # of a normal distribution cut off at 2


def test_textures_are_large_enough_and_differ(model: NobodyModel) -> None:
    a, b = model.identities([Seed.derive(b"k", "a"), Seed.derive(b"k", "b")])
    assert a.levels[0].shape == (1, 4, uv.SIZE, uv.SIZE)
    assert uv.SIZE >= 512
    assert (a.levels[0][:, :3] - b.levels[0][:, :3]).abs().mean() > 0.02
    assert (a.shape - b.shape).norm(dim=1).mean() > 0.01
    small = model.identities([Seed.derive(b"k", "a")], small=True)[0]
    wide = torch.nn.functional.interpolate(a.levels[0], size=small.levels[0].shape[-1], mode="area")
    assert (wide - small.levels[0]).abs().max() < 0.02


def test_drawn_faces_are_not_the_portraits_and_not_one_another(model: NobodyModel) -> None:
    seeds = [Seed.derive(b"k", str(i)) for i in range(12)]
    drawn = torch.stack([model.draw(s) for s in seeds])
    faces = Recogniser(torch.device("cpu")).embed(
        appearance.portray(model.textures(drawn, small=True), model.shapes(drawn))
    )
    assert torch.cdist(faces, model.portraits).min() > 0.3
    apart = torch.cdist(faces, faces)[~torch.eye(12, dtype=torch.bool)]
    assert apart.median() > 0.5


def test_a_face_near_to_a_portrait_or_to_one_in_use_is_refused(model: NobodyModel) -> None:
    first = choose.choose(model, b"k", "a", [], [])
    assert first == choose.choose(model, b"k", "a", [], [])
    # The same person's name again: its first choice is in use now.
    second = choose.choose(model, b"k", "a", [], [first])
    assert second != first
    near = choose._portraits(model, [first], Recogniser(torch.device("cpu")))
    poisoned = NobodyModel(model.pictures, model.limits, model.shape_mean, model.shape_basis, model.female, near)
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
