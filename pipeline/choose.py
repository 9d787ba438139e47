"""Which face of nobody a person gets: drawn by seed, refused when it is too near to anyone it must differ from.

An identity is refused when a recogniser finds it near to a portrait of the model's source, to an identity that the film
already uses, or to the person it replaces. Those that fit the head best are asked first: what hair, neck and hands show
of a person should not contradict the face (`traits`). Of those that are left of them, the one that is farthest from the
person is taken.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline import appearance, traits
from pipeline.errors import NoIdentity
from pipeline.glasses import SIZE as GLASSES
from pipeline.glasses import Optician
from pipeline.identity import Identity, NobodyModel, Seed
from pipeline.look import warped
from pipeline.models.recogniser import SIZE, Recogniser
from pipeline.occlude import texture
from pipeline.picture import Picture, PixelLayout
from pipeline.replace import Face, Replacer
from pipeline.shape import neutral
from pipeline.track import Sample

CANDIDATES = 14  # tried at once
ROUNDS = 9
PATIENCE = 3  # rounds after which one that is just far enough is taken
DRAWN = 800  # seeds of which the best fitting become candidates
MARGIN = 1.1  # how far beyond a threshold the distance to the person replaced must be
WELL = 1.25  # merit that is sought for so long: a head that turns comes nearer than in the looks that it is tried on
AMPLE = 1.4  # and from where on more is no better
WHOLE = 0.60  # the recogniser's own threshold
EYES = 0.39  # the same when it sees brows and eyes alone: 1 % of pairs of different people are nearer, of 60
FROM_PORTRAIT = 0.36  # between drawn faces and portraits, both seen in even light (see `appearance.portray`)
FROM_OTHERS = 0.50
LOOKS = 3  # samples of the person that a candidate is tried on
EYE_LOOKS = 2  # of these, as many are looked at for brows and eyes alone
EYE_ROWS = slice(17, 60)  # where they are in an aligned face
_STEP = 0.5  # of a contradiction: finer differences say nothing, and would make the choice unsteady
_ODD = 0.2  # of a distance over the threshold that one contradiction on the person's own head weighs
ENOUGH = 1.0  # contradictions below which faces fit alike: of those, the farthest from the person is sought


def choose(
    model: NobodyModel,
    secret: bytes,
    person: str,
    samples: Sequence[Sample],
    taken: Sequence[Seed],
    steady: bool = False,
    bare: bool = False,
) -> Seed:
    """The seed of the identity for a person. `samples` show the person; `taken` are the seeds that the film already
    uses. Of a round of candidates, the one that is farthest from the person is taken; or, if `steady`, the first that
    is far enough, which other samples of the same person rather lead to, too. `bare` says that glasses are painted
    over, too; who wears none gets nobody then. The same arguments always give the same seed. Raises NoIdentity."""
    recogniser = _recogniser()
    looks = [_Look(s) for s in samples[:LOOKS]]
    if not _wear(looks, bare) and bare:
        raise NoIdentity(f"no identity for {person}", "without glasses it is the same", "the face is covered")
    others = torch.cat([torch.zeros(0, 128), *(_portrait(model, seed) for seed in taken)])
    known = torch.cat([model.portraits, others])
    limits = torch.cat([torch.full((len(model.portraits),), FROM_PORTRAIT), torch.full((len(others),), FROM_OTHERS)])
    fitting = _fitting(model, secret, person, looks)
    best = (-np.inf, 0)
    for start in range(0, CANDIDATES * ROUNDS, CANDIDATES):
        seeds = fitting[start : start + CANDIDATES]
        faces = _portraits(model, seeds, recogniser)
        distinct = (torch.cdist(faces, known) >= limits).all(1)
        far, misfit = torch.zeros(len(seeds)), torch.zeros(len(seeds))
        hopeful = [k for k in range(len(seeds)) if distinct[k]]  # trying on the person takes longest
        far[hopeful], misfit[hopeful] = _tried_on(model, [seeds[k] for k in hopeful], looks, recogniser)
        allowed = distinct & (far >= MARGIN)
        if steady and allowed.any():
            return seeds[int(allowed.float().argmax())]
        merit = _merit(far, misfit).masked_fill(~allowed, -np.inf)
        best = max(best, (float(merit.max()), -(start + int(merit.argmax()))))
        if best[0] >= WELL or (start // CANDIDATES + 1 >= PATIENCE and best[0] > -np.inf):
            return fitting[-best[1]]
    raise NoIdentity(
        f"no identity for {person}", f"{CANDIDATES * ROUNDS} candidates were too near to someone", "the face is covered"
    )


def _merit(far: Tensor, misfit: Tensor) -> Tensor:
    """(P,) how good each is that is far enough. Beyond the margin, what is still farther is less like anyone, too:
    fitting counts more there."""
    return far.clamp_max(AMPLE) - _ODD * (misfit - ENOUGH).clamp_min(0)


def _fitting(model: NobodyModel, secret: bytes, person: str, looks: Sequence["_Look"]) -> list[Seed]:
    """The seeds that fit the head best, best first."""
    seeds = [Seed.derive(secret, person, attempt) for attempt in range(DRAWN)]
    if not looks:
        return seeds[: CANDIDATES * ROUNDS]
    wanted = traits.apparent(torch.stack([look.embedding for look in looks]), model.probes)
    drawn = torch.stack([model.draw(s) for s in seeds]) @ model.traits
    misfit = (traits.contradictions(drawn, wanted).clamp_min(ENOUGH) / _STEP).round()
    return [seeds[k] for k in misfit.argsort(dim=0, stable=True)[: CANDIDATES * ROUNDS].tolist()]


class _Look:
    """One sample as a picture on which identities can be tried."""

    def __init__(self, sample: Sample) -> None:
        image = torch.from_numpy(sample.crop).float() / 255
        self.mesh = torch.from_numpy(np.asarray(sample.mesh, np.float32))
        self.embedding = torch.from_numpy(np.asarray(sample.embedding, np.float32))
        self.image = image
        self.worn: Tensor | None = None  # the glasses that stay on: see `glasses.Optician`

    def picture(self) -> Picture:
        """A fresh copy, in full colour resolution."""
        r, g, b = self.image
        y = 0.2126 * r + 0.7152 * g + 0.0722 * b
        planes = [y, (b - y) / 1.8556 + 128 / 255, (r - y) / 1.5748 + 128 / 255]
        done = [(p * 255).round().clamp(0, 255).byte() for p in planes]
        layout = PixelLayout(self.image.shape[2], self.image.shape[1], 8, 0, 0, "bt709", True)
        return Picture(0, 0, (done[0], done[1], done[2]), layout)


def _wear(looks: Sequence[_Look], bare: bool) -> bool:
    """Whether the person wears glasses. They stay on in all looks, as in the film, if not `bare`."""
    if not looks:
        return False
    device = torch.device("cpu")
    optician = Optician({0: torch.stack([texture(k.picture(), k.mesh, GLASSES) for k in looks])}, device)
    found = optician.masks([(k.picture(), 0, k.mesh) for k in looks])
    for look, worn in zip(looks, found, strict=True):
        look.worn = None if bare else worn
    return any(worn is not None for worn in found)


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


def _tried_on(
    model: NobodyModel, seeds: Sequence[Seed], looks: Sequence[_Look], recogniser: Recogniser
) -> tuple[Tensor, Tensor]:
    """(P,) the smallest distance between the person's looks and the same looks with the identity laid on, over the
    threshold: of the whole face, or of brows and eyes alone, whichever is nearer. On the whole face what
    glasses they wear stay on. And (P,) how far these looks seem to be of another sex or age than the person's."""
    if not looks:
        return torch.full((len(seeds),), np.inf), torch.zeros(len(seeds))
    device = torch.device("cpu")
    replacer = Replacer(model, device)
    rest = neutral(torch.stack([look.mesh for look in looks]))
    person = torch.stack([look.embedding for look in looks])
    own_eyes = recogniser.embed(
        _eyes_alone(torch.cat([_aligned(k.picture(), k, recogniser) for k in looks[:EYE_LOOKS]]))
    )
    wanted = traits.apparent(person, model.probes)
    nearest, misfit = torch.full((len(seeds),), np.inf), torch.zeros(len(seeds))
    for number, identity in enumerate(model.identities(seeds, small=True)):
        crops = torch.cat([_tried(replacer, k, rest, identity, recogniser, k.worn) for k in looks])
        bare = crops[:EYE_LOOKS]
        if any(k.worn is not None for k in looks):  # the same glasses would hide how the eyes differ
            bare = torch.cat([_tried(replacer, k, rest, identity, recogniser, None) for k in looks[:EYE_LOOKS]])
        found = recogniser.embed(torch.cat([crops, _eyes_alone(bare)]))
        whole = torch.cdist(found[: len(crops)], person).amin() / WHOLE
        eyes = torch.cdist(found[len(crops) :], own_eyes).amin() / EYES
        nearest[number] = torch.minimum(whole, eyes)
        misfit[number] = traits.seeming(traits.apparent(found[: len(crops)], model.probes), wanted)
    return nearest, misfit


def _eyes_alone(crops: Tensor) -> Tensor:
    """(F, 3, 150, 150) aligned faces with all but brows and eyes made grey."""
    alone = torch.full_like(crops, 0.5)
    alone[..., EYE_ROWS, :] = crops[..., EYE_ROWS, :]
    return alone


def _tried(
    replacer: Replacer, look: _Look, rest: Tensor, identity: Identity, recogniser: Recogniser, worn: Tensor | None
) -> Tensor:
    picture = look.picture()
    replacer.apply([Face(picture, look.mesh, rest, identity, None, worn)])
    return _aligned(picture, look, recogniser)


def _aligned(picture: Picture, look: _Look, recogniser: Recogniser) -> Tensor:
    """(1, 3, 150, 150)."""
    return warped(picture, recogniser.align(look.mesh[None].numpy())[0], SIZE)[None]
