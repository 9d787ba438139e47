"""Is a person still known by their replaced face? Photos against photos, frames against frames of the same clip."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from privacy import scores
from privacy.instruments import RECOGNISERS, Floats
from privacy.motion import Face, Measured
from privacy.stills import MOODS, Shot, describe

FAR = 1e-3


@dataclass(frozen=True, slots=True)
class Known:
    """The untouched photos: what everyone is compared with."""

    people: int
    vectors: dict[str, Floats]  # (people, moods, d) by recogniser
    limits: dict[str, float]  # the distance at which FAR of two people's photos are taken for one person's


@dataclass(frozen=True, slots=True)
class Found:
    """How often people are known on a set of probes, by one recogniser."""

    matches: float  # share of probes that match their own person's photo of the other mood
    same_photo: float  # and of the same mood: but for the face, the very picture
    rank1: float  # share of probes whose own person is the nearest in the gallery of photos of the other mood
    distances: Floats  # (n,) to the photo of the other mood, over the limit

    @property
    def count(self) -> int:
        """Probes."""
        return len(self.distances)


def known(originals: list[Shot]) -> Known:
    """Of untouched photos in the order of people, then moods."""
    found = describe(originals)
    count = len(originals) // len(MOODS)
    vectors = {name: v.reshape(count, len(MOODS), -1) for name, v in found.items()}
    limits = {}
    for name, v in vectors.items():
        table = scores.distances(v[:, 0], v[:, 1])
        others = table[~np.eye(count, dtype=bool)]
        # A few people, as when the benchmark is tried out, can't show the rate: the nearest two then set the limit.
        limits[name] = scores.threshold(others, max(FAR, 1.01 / len(others)))
    return Known(count, vectors, limits)


def photos(shots: list[Shot], found: dict[str, Floats], gallery: Known) -> dict[str, Found]:
    """By recogniser, for changed photos and what `describe` says of them."""
    person = np.array([s.person for s in shots])
    mood = np.array([MOODS.index(s.mood) for s in shots])
    return {name: _photos(person, mood, found[name], gallery.vectors[name], gallery.limits[name]) for name in found}


def _photos(
    person: NDArray[np.integer], mood: NDArray[np.integer], vectors: Floats, gallery: Floats, limit: float
) -> Found:
    other = np.linalg.norm(vectors - gallery[person, 1 - mood], axis=1)
    same = np.linalg.norm(vectors - gallery[person, mood], axis=1)
    ranks = []
    for m in range(len(MOODS)):
        rows = np.flatnonzero(mood == m)
        ranks.append(scores.rank1(scores.distances(vectors[rows], gallery[:, 1 - m]), person[rows]))
    return Found(scores.matches(other, limit), scores.matches(same, limit), float(np.mean(ranks)), other / limit)


@dataclass(frozen=True, slots=True)
class Frames:
    """How often the face-frames of clips match the untouched ones from the other half of the same track."""

    matches: dict[str, float]
    rank1: dict[str, float]  # in a gallery of that person and all of London
    count: int


def frames(measured: list[Measured], film: str, gallery: Known) -> Frames:
    """All clips together, each face-frame that recognisers looked at counting once."""
    matched: dict[str, list[Floats]] = {name: [] for name in RECOGNISERS}
    ranked: dict[str, list[float]] = {name: [] for name in RECOGNISERS}
    count = 0
    for clip in measured:
        for face in clip.faces:
            halves = _halves(face)
            if halves is None:
                continue
            count += len(face.looked)
            for name in RECOGNISERS:
                for own, apart in (halves, halves[::-1]):
                    probes, references = (_looks(face, f, name)[rows] for f, rows in ((film, own), ("source", apart)))
                    hits = (scores.distances(probes, references) < gallery.limits[name]).mean(1)
                    matched[name].append(hits)
                    middle = references.mean(0, keepdims=True)
                    everyone = np.concatenate([middle, gallery.vectors[name][:, 0]])
                    table = scores.distances(probes, everyone)
                    ranked[name] += [scores.rank1(table[[k]], np.zeros(1, np.int64)) for k in range(len(table))]
    return Frames(
        {n: float(np.concatenate(v).mean()) if v else math.nan for n, v in matched.items()},
        {n: float(np.mean(v)) if v else math.nan for n, v in ranked.items()},
        count,
    )


def _halves(face: Face) -> tuple[NDArray[np.integer], NDArray[np.integer]] | None:
    """Rows of the looks in the first and in the second half of a track; None where there are too few."""
    count = len(face.looked)
    return (np.arange(count // 2), np.arange(count // 2, count)) if count >= 4 else None


def _looks(face: Face, film: str, name: str) -> Floats:
    return np.stack([look[name] for look in face.looks[film]])


def steadiness(measured: list[Measured], film: str, name: str) -> tuple[float, float, float]:
    """Mean cosine of a recogniser's descriptors inside a track; between chunks of one track; and the lowest mean of any
    track."""
    inside, between, weights, chunk_weights = list[float](), list[float](), list[float](), list[float]()
    for face in (f for clip in measured for f in clip.faces if len(f.looked) >= 3):
        vectors = _looks(face, film, name)
        inside.append(scores.likeness(vectors))
        weights.append(float(len(vectors)))
        chunks = dict(zip(face.frames, face.chunks, strict=True))
        which = np.array([chunks[n] for n in face.looked])
        for border in np.unique(which)[1:]:
            between.append(scores.likeness_between(vectors[which < border], vectors[which >= border]))
            chunk_weights.append(float(len(vectors)))
    return (
        scores.weighted(inside, weights),
        scores.weighted(between, chunk_weights),
        min(inside, default=math.nan),
    )
