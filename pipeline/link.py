"""One task over the whole film: tracklets become tracks, tracks become people, people get faces of nobody.

Holds boxes and a few samples per tracklet, never landmarks: memory grows with faces times frames times some 70 bytes.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.analysis import ChunkAnalysis
from pipeline.choose import choose
from pipeline.errors import NoIdentity
from pipeline.facts import FrameIndex
from pipeline.identity import NobodyModel, Seed
from pipeline.join import Chain, Row, join, lay_out, spared
from pipeline.keys import person_keys
from pipeline.people import cluster
from pipeline.shape import mean_shape
from pipeline.track import OPEN, Floats, Sample, Track, Tracklet, Treatment
from pipeline.treat import treat

Veil = Literal["nobody", "mosaic", "solid"]
Choose = Callable[[NobodyModel, bytes, str, Sequence[Sample], Sequence[Seed], bool, bool], Seed]
SAMPLES = 12  # of one person, for choosing an identity


@dataclass(frozen=True, slots=True)
class Person:
    """Who the tracks of one person are replaced by."""

    id: int
    identity: Seed | None  # None: every face of this person is covered
    neutral: Floats | None  # (468, 3) the person's own shape at rest; None where it was never seen well
    bare: bool = False  # glasses are painted over: with them on, every identity would still look like this person


@dataclass(frozen=True, slots=True)
class Linked:
    """All faces of the film, and what happens to each on each frame."""

    tracks: tuple[Track, ...]
    people: tuple[Person, ...]

    def closed(self) -> tuple[Track, ...]:
        """The tracks that are replaced or covered: all but those that people left open."""
        return tuple(track for track in self.tracks if not is_open(track))

    def save(self, path: Path) -> None:
        """Writes one .npz. It holds the people's own shapes (biometric data) and the seeds' keys (secret)."""
        arrays: dict[str, np.ndarray] = {}
        for t in self.tracks:
            arrays |= {f"track.{t.id}.{k}": getattr(t, k) for k in _ARRAYS}
        for p in self.people:
            if p.neutral is not None:
                arrays[f"person.{p.id}.neutral"] = p.neutral
            if p.identity is not None:
                arrays[f"person.{p.id}.seed"] = np.frombuffer(p.identity.key, np.uint8)
        head = {"tracks": [[t.id, t.person] for t in self.tracks], "people": [[p.id, p.bare] for p in self.people]}
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, head=np.array(json.dumps(head)), **arrays)

    @staticmethod
    def load(path: Path) -> "Linked":
        """Reads what `save` wrote."""
        with np.load(path) as file:
            head = json.loads(str(file["head"]))
            tracks = tuple(Track(i, p, *(file[f"track.{i}.{k}"] for k in _ARRAYS)) for i, p in head["tracks"])
            return Linked(tracks, tuple(_person(i, bare, file) for i, bare in head["people"]))


def is_open(track: Track) -> bool:
    """Whether people chose that it stays as it is."""
    return bool(len(track.treatment)) and bool(np.isin(track.treatment, OPEN).all())


_ARRAYS = ("frames", "boxes", "tracklet_of", "treatment")


def _person(number: int, bare: bool, file: "np.lib.npyio.NpzFile") -> Person:
    seed = file.get(f"person.{number}.seed")
    identity = None if seed is None else Seed(seed.tobytes())
    return Person(number, identity, file.get(f"person.{number}.neutral"), bare)


def link(
    analyses: Sequence[ChunkAnalysis],
    index: FrameIndex,
    *,
    veil: Veil,
    secret: bytes,
    model: NobodyModel,
    steady: bool = False,
    choose: Choose = choose,
) -> Linked:
    """Links the chunks of one job; `analyses` may come without meshes. `secret` seeds the identities; `steady` says
    that it is kept over several jobs and that a person shall look the same in all of them (see `keys`). A person for
    whom `choose` finds nobody even without glasses is covered."""
    if not analyses:
        return Linked((), ())
    first, last = min(a.start for a in analyses), max(a.stop for a in analyses)
    damaged = np.zeros(last - first, bool)
    for analysis in analyses:
        damaged[analysis.damaged - first] = True
    chains = join(analyses, index)
    rows = [lay_out(c, index, first, last, analyses[0].size) for c in chains]
    kept = sorted((i for i in range(len(rows)) if len(rows[i].frames)), key=lambda i: _place(rows[i]))
    chains, rows = [chains[i] for i in kept], [rows[i] for i in kept]
    treatments = [_treatment(r, damaged[r.frames - first], veil) for r in rows]
    parts = spared(chains, rows, [t == Treatment.REPLACE for t in treatments])
    rows = [row.part(part) for row, part in zip(rows, parts, strict=True)]
    treatments = [treatment[part] for treatment, part in zip(treatments, parts, strict=True)]
    persons = _persons(chains, rows)
    people = tuple(_people(chains, treatments, persons, secret, model, steady, choose))
    return Linked(tuple(_tracks(rows, treatments, persons, people)), people)


def _place(row: Row) -> tuple[int, float, float]:
    """Order of first sight, then from left to right: the same whatever the chunks were."""
    return int(row.frames[0]), float(row.boxes[0, 0]), float(row.boxes[0, 1])


def _treatment(row: Row, damaged: np.ndarray, veil: Veil) -> np.ndarray:
    if veil != "nobody":
        return np.full(len(row.frames), Treatment.COVER_ALL, np.uint8)
    return treat(row.boxes, row.presence, row.angles, row.source[:, 0] < 0, damaged)


def _persons(chains: Sequence[Chain], rows: Sequence[Row]) -> np.ndarray:
    """Person (n,) of each chain."""
    if not chains:
        return np.zeros(0, np.int64)
    known = [c.embedding() for c in chains]
    width = next((len(e) for e in known if e is not None), 1)
    embeddings = np.stack([np.full(width, np.nan, np.float32) if e is None else e for e in known])
    # The ends are guesses: only what was seen keeps two tracks apart.
    spans = [[(c.first, c.last)] for c in chains]
    return cluster(embeddings, spans)


def _people(
    chains: Sequence[Chain],
    treatments: Sequence[np.ndarray],
    persons: np.ndarray,
    secret: bytes,
    model: NobodyModel,
    steady: bool,
    choose: Choose,
) -> list[Person]:
    count = int(persons.max()) + 1 if len(persons) else 0
    members = [[i for i, p in enumerate(persons) if p == number] for number in range(count)]
    samples = [_samples([chains[i] for i in m]) for m in members]
    centre = np.asarray(model.portraits.mean(0).numpy(), np.float32) if steady else None
    keys = person_keys(samples, secret if steady else None, centre)
    people, taken = list[Person](), list[Seed]()
    for number in range(count):
        wanted = any((treatments[i] == Treatment.REPLACE).any() for i in members[number])
        neutral = neutral_of(t for i in members[number] for _, t in chains[i].pieces)
        if wanted and neutral is None:
            neutral = mean_shape().numpy()  # only ever small: the meshes were posed from it
        person = Person(number, None, neutral)
        for bare in (False, True) if wanted else ():  # with glasses on, or else painted over, or else covered
            try:
                looks = [s.whole() for s in samples[number]]
                person = Person(number, choose(model, secret, keys[number], looks, taken, steady, bare), neutral, bare)
                break
            except NoIdentity:
                continue
        if person.identity is not None:
            taken.append(person.identity)
        people.append(person)
    return people


def _samples(chains: Sequence[Chain]) -> list[Sample]:
    found = [s for c in chains for _, t in c.pieces for s in t.samples]
    return sorted(found, key=lambda s: -s.quality)[:SAMPLES]


def neutral_of(tracklets: Iterable[Tracklet]) -> Floats | None:
    """The mean of the tracklets' shapes, by how much of the face each saw."""
    found = [(t.neutral, float(t.presence.sum())) for t in tracklets if t.neutral is not None]
    if not found:
        return None
    weights = np.array([w for _, w in found]) + 1e-3
    return np.asarray(np.average(np.stack([n for n, _ in found]), axis=0, weights=weights), np.float32)


def _tracks(
    rows: Sequence[Row], treatments: Sequence[np.ndarray], persons: np.ndarray, people: Sequence[Person]
) -> list[Track]:
    tracks = list[Track]()
    for number, (row, treatment, person) in enumerate(zip(rows, treatments, persons, strict=True)):
        if people[int(person)].identity is None:
            treatment = np.where(treatment == Treatment.REPLACE, np.uint8(Treatment.COVER_NO_IDENTITY), treatment)
        tracks.append(Track(number, int(person), row.frames, row.boxes, row.source, treatment))
    return tracks
