"""Which face of nobody a person gets: drawn by seed, refused when it is too near to anyone it must differ from.

An identity is refused when a recogniser finds it near to a portrait of the model's source, to an identity that the film
already uses, or to the person it replaces. Of those that are left, the one that fits the head best is taken: what hair,
neck and hands show of a person should not contradict the face. What is measured for that is kept nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline import appearance, uv
from pipeline.appearance import SMALL
from pipeline.errors import NoIdentity
from pipeline.filters import blur
from pipeline.identity import Identity, NobodyModel, Seed
from pipeline.look import warped
from pipeline.models.recogniser import SIZE, Recogniser
from pipeline.picture import Picture, PixelLayout
from pipeline.replace import Face, Replacer
from pipeline.shape import neutral
from pipeline.track import Sample

CANDIDATES = 10  # drawn at once
ROUNDS = 4
FROM_PERSON = 0.66  # distance to the person replaced: the recogniser's own threshold, 0.6, and a tenth
FROM_PORTRAIT = 0.36  # between drawn faces and portraits, both seen in even light (see `appearance.portray`)
FROM_OTHERS = 0.50
LOOKS = 4  # samples of the person that a candidate is tried on


def choose(model: NobodyModel, secret: bytes, person: str, samples: Sequence[Sample], taken: Sequence[Seed]) -> Seed:
    """The seed of the identity for a person. `samples` show the person; `taken` are the seeds that the film already
    uses. The same arguments always give the same seed. Raises NoIdentity."""
    recogniser = _recogniser()
    looks = [_Look(s) for s in samples[:LOOKS]]
    others = torch.cat([torch.zeros(0, 128), *(_portrait(model, seed) for seed in taken)])
    known = torch.cat([model.portraits, others])
    limits = torch.cat([torch.full((len(model.portraits),), FROM_PORTRAIT), torch.full((len(others),), FROM_OTHERS)])
    wanted = _apparent(model, looks)
    for start in range(0, CANDIDATES * ROUNDS, CANDIDATES):
        seeds = [Seed.derive(secret, person, attempt) for attempt in range(start, start + CANDIDATES)]
        drawn = torch.stack([model.draw(s) for s in seeds])
        faces = _portraits(model, seeds, recogniser)
        distinct = (torch.cdist(faces, known) >= limits).all(1)
        far = torch.zeros(len(seeds))
        hopeful = [k for k in range(len(seeds)) if distinct[k]]  # trying on the person takes longest
        far[hopeful] = _from_person(model, [seeds[k] for k in hopeful], looks, recogniser)
        fit = torch.zeros(len(seeds)) if wanted is None else -_contradiction(model, drawn, wanted)
        allowed = distinct & (far >= FROM_PERSON)
        if allowed.any():
            return seeds[int(torch.where(allowed, fit, torch.full_like(fit, -np.inf)).argmax())]
    raise NoIdentity(
        f"no identity for {person}", f"{CANDIDATES * ROUNDS} candidates were too near to someone", "the face is covered"
    )


class _Look:
    """One sample as a picture on which identities can be tried."""

    def __init__(self, sample: Sample) -> None:
        image = torch.from_numpy(sample.crop).float() / 255
        self.mesh = torch.from_numpy(np.asarray(sample.mesh, np.float32))
        self.embedding = torch.from_numpy(np.asarray(sample.embedding, np.float32))
        self.image = image

    def picture(self) -> Picture:
        """A fresh copy, in full colour resolution."""
        r, g, b = self.image
        y = 0.2126 * r + 0.7152 * g + 0.0722 * b
        planes = [y, (b - y) / 1.8556 + 128 / 255, (r - y) / 1.5748 + 128 / 255]
        done = [(p * 255).round().clamp(0, 255).byte() for p in planes]
        layout = PixelLayout(self.image.shape[2], self.image.shape[1], 8, 0, 0, "bt709", True)
        return Picture(0, 0, (done[0], done[1], done[2]), layout)


def _recogniser() -> Recogniser:
    return Recogniser(torch.device("cpu"))


@lru_cache(maxsize=4096)
def _portrait(model: NobodyModel, seed: Seed) -> Tensor:
    """(1, 128) of one identity; kept, since every further person of a film is compared with all before."""
    return _portraits(model, [seed], _recogniser())


def _portraits(model: NobodyModel, seeds: Sequence[Seed], recogniser: Recogniser) -> Tensor:
    """(P, 128) what the recogniser says of the identities alone."""
    if not seeds:
        return torch.zeros(0, 128)
    drawn = torch.stack([model.draw(s) for s in seeds])
    return recogniser.embed(appearance.portray(model.textures(drawn, small=True), model.shapes(drawn)))


def _from_person(model: NobodyModel, seeds: Sequence[Seed], looks: Sequence[_Look], recogniser: Recogniser) -> Tensor:
    """(P,) the smallest distance between the person's looks and the same looks with the identity laid on."""
    if not looks:
        return torch.full((len(seeds),), np.inf)
    device = torch.device("cpu")
    replacer = Replacer(model, device)
    rest = neutral(torch.stack([look.mesh for look in looks]))
    nearest = torch.full((len(seeds),), np.inf)
    for number, identity in enumerate(model.identities(seeds, small=True)):
        crops = torch.cat([_tried(replacer, look, rest, identity, recogniser) for look in looks])
        found = recogniser.embed(crops)
        distance = torch.cdist(found, torch.stack([look.embedding for look in looks]))
        nearest[number] = distance.amin()
    return nearest


def _tried(replacer: Replacer, look: _Look, rest: Tensor, identity: Identity, recogniser: Recogniser) -> Tensor:
    picture = look.picture()
    replacer.apply([Face(picture, look.mesh, rest, identity)])
    return warped(picture, recogniser.align(look.mesh[None].numpy())[0], SIZE)[None]


@dataclass(frozen=True, slots=True)
class _Apparent:
    """What is measured of a head so that the new face fits it."""

    female: float  # on the model's axis
    lines: float  # strength of wrinkles and pores, as the logarithm of a contrast


def _lines(textures: Tensor) -> Tensor:
    """(P,) for small textures (P, 3, s, s): the contrast of fine detail on skin, away from brows, eyes and lips."""
    grey = textures.mean(1, keepdim=True)
    band = blur(grey, 0.8) - blur(grey, 3.0)
    skin = appearance.plain_mask(textures.shape[-1], textures.device)
    return torch.log(((band.square() * skin).sum((1, 2, 3)) / skin.sum()).sqrt() + 1e-3)


def _apparent(model: NobodyModel, looks: Sequence[_Look]) -> _Apparent | None:
    """The face of each look, by least squares on the model's components; the median over the looks."""
    if not looks:
        return None
    parts = model.small_components()
    face = appearance.face_mask(SMALL, torch.device("cpu"))
    alive = appearance.alive_mask(SMALL, torch.device("cpu"))
    basis = (parts[1:] * face).flatten(1)
    gram = basis @ basis.T
    ridge = gram.diagonal().mean() * 0.3 * torch.eye(len(gram))
    female, lines = list[float](), list[float]()
    for look in looks:
        logs = torch.log(appearance.unwrap(look.image, look.mesh, SMALL)[None] + appearance.EPS)
        sigma = appearance.LIGHT * uv.PIXELS_PER_UNIT * SMALL / uv.SIZE
        texture = appearance.flatten(logs, face * (1 - alive), sigma) * face
        coefficients = torch.linalg.solve(gram + ridge, basis @ (texture - parts[:1]).flatten())
        female.append(float(coefficients @ model.female[: len(coefficients)]))
        lines.append(float(_lines(texture)[0]))
    return _Apparent(float(np.median(female)), float(np.median(lines)))


def _contradiction(model: NobodyModel, drawn: Tensor, wanted: _Apparent) -> Tensor:
    """(P,) how badly the drawn faces fit a head: 1 is a clear contradiction in one respect."""
    lines = _lines(model.textures(drawn, small=True))
    textures = model.sizes[0]  # the person's shape isn't measured, so the drawn one must not count either
    female = drawn[:, :textures] @ model.female[:textures]
    return (female - wanted.female).abs() / 0.3 + (lines - wanted.lines).clamp_min(0) / 0.5
