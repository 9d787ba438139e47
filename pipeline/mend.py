"""Apply reviewers' edits to what was linked, and tell which chunks that changes.

What was linked stays what it is: edits lead to another `Linked` beside it. Of people whom no edit is about nothing
changes, their faces least of all.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import ChunkAnalysis
from pipeline.chunk import Chunk
from pipeline.edits import Edit, Fate, Kind, Mark, Settling, Stretch
from pipeline.errors import NoIdentity
from pipeline.identity import NobodyModel, Seed
from pipeline.link import SAMPLES, Choose, Linked, Person, neutral_of
from pipeline.shape import mean_shape
from pipeline.track import Floats, Ints, Sample, Track, Tracklet, Treatment
from pipeline.witness import HOLD, STRIDE

REACH = HOLD + STRIDE  # frames around a chunk whose tracks may matter to it: the gate looks and covers that far

Follow = Callable[[Edit], tuple[Ints, Floats]]
"""Follows a drawn box: consecutive frames (n,) and boxes (n, 4) xyxy px of the coded picture."""


@dataclass(frozen=True, slots=True)
class Face:
    """A draw that an edit led to; it stays, whatever other edits come and go."""

    seed: Seed | None  # None: nobody was far enough
    bare: bool


@dataclass(frozen=True, slots=True)
class Mended:
    """What was linked, with edits."""

    linked: Linked
    faces: dict[str, Face]  # by id of the edit


@dataclass(frozen=True, slots=True)
class Artist:
    """What draws faces: as in `link`."""

    model: NobodyModel
    secret: bytes
    choose: Choose
    steady: bool = False


def mend(
    linked: Linked,
    edits: Sequence[Edit],
    analyses: Sequence[ChunkAnalysis],
    artist: Artist,
    follow: Follow,
    known: Mapping[str, Face] | None = None,
) -> Mended:
    """Let the edits hold in their order. `analyses` may come without meshes; `known` are draws of earlier calls. The
    same arguments give the same result. Raises EditRefused, and what `follow` raises."""
    settling = Settling(map(stretch, linked.tracks))
    people = {person.id: person for person in linked.people}
    looks = _Looks(linked, analyses)
    faces = dict[str, Face]()
    used = [person.identity for person in linked.people if person.identity is not None]
    boxes = list[Track]()
    for edit in edits:
        settling.apply(edit)
        if edit.kind is Kind.BOX:
            boxes.append(_drawn(edit, follow))
        elif edit.kind is Kind.MERGE:
            _merge(people, edit)
        elif edit.kind in (Kind.FACE, Kind.SPLIT):
            number = edit.person if edit.kind is Kind.FACE else edit.made
            assert number is not None
            tracks = settling.standing.of(number)
            face = (known or {}).get(edit.id) or _face(edit, looks.samples(tracks), looks.wanted(tracks), artist, used)
            faces[edit.id] = face
            before = people.get(number)
            neutral = before.neutral if before is not None else looks.neutral(tracks)
            people[number] = Person(number, face.seed, neutral, face.bare)
            used += [face.seed] if face.seed is not None else []
    fates = settling.standing.tracks
    tracks_now = [_track(t, fates[t.id], people) for t in (*linked.tracks, *boxes)]
    there = sorted({t.person for t in tracks_now})
    return Mended(Linked(tuple(tracks_now), tuple(people.get(n) or Person(n, None, None) for n in there)), faces)


def stretch(track: Track) -> Stretch:
    """A track between its first and its last sight; of one that was never seen, all of it."""
    seen = np.flatnonzero(track.tracklet_of[:, 0] >= 0)
    first, last = (int(seen[0]), int(seen[-1])) if len(seen) else (0, len(track.frames) - 1)
    return Stretch(track.id, track.person, int(track.frames[first]), int(track.frames[last]) + 1)


def _merge(people: dict[int, Person], edit: Edit) -> None:
    """The face of the one whose the tracks are from then on; the other's, where they have none."""
    assert edit.into is not None
    assert edit.person is not None
    goes, stays = people.get(edit.person), people.get(edit.into)
    if goes is None or (stays is not None and stays.identity is not None):
        return
    people[edit.into] = replace(goes, id=edit.into)


def _drawn(edit: Edit, follow: Follow) -> Track:
    assert edit.made is not None
    frames, boxes = follow(edit)
    nothing = np.full((len(frames), 2), -1, np.int32)
    return Track(edit.made, edit.made, frames, boxes, nothing, np.full(len(frames), Treatment.COVER_CHOSEN, np.uint8))


def _track(track: Track, fate: Fate, people: Mapping[int, Person]) -> Track:
    """With its person and what is to become of it now."""
    treatment = track.treatment
    # Whether there is a face for it is a matter of whose it is now.
    treatment = np.where(treatment == Treatment.COVER_NO_IDENTITY, np.uint8(Treatment.REPLACE), treatment)
    person = people.get(fate.person)
    if person is None or person.identity is None:
        treatment = _instead(treatment, Treatment.COVER_NO_IDENTITY)
    if fate.mark is Mark.COVER:
        treatment = _instead(_instead(treatment, Treatment.COVER_CHOSEN), Treatment.COVER_CHOSEN)
    elif fate.mark is not None:
        open_as = Treatment.KEPT if fate.mark is Mark.KEEP else Treatment.NO_FACE
        treatment = np.full(len(track.frames), open_as, np.uint8)
    return replace(track, person=fate.person, treatment=np.asarray(treatment, np.uint8))


def _instead(treatment: NDArray[np.uint8], cover: Treatment) -> NDArray[np.uint8]:
    return np.where(treatment == Treatment.REPLACE, np.uint8(cover), treatment)


def _face(edit: Edit, samples: Sequence[Sample], wanted: bool, artist: Artist, used: Sequence[Seed]) -> Face:
    """The next face that the secret draws; it differs from all that the film uses, and from the one before."""
    looks = [sample.whole() for sample in samples] if wanted else []
    for bare in (False, True) if wanted else ():
        try:
            seed = artist.choose(artist.model, artist.secret, f"edit {edit.id}", looks, used, artist.steady, bare)
        except NoIdentity:
            continue
        return Face(seed, bare)
    return Face(None, bare=False)


class _Looks:
    """What was seen of the faces of tracks."""

    def __init__(self, linked: Linked, analyses: Sequence[ChunkAnalysis]) -> None:
        self._tracks = {track.id: track for track in linked.tracks}
        self._tracklets = {(a.chunk, t.id): t for a in analyses for t in a.tracklets}

    def wanted(self, tracks: Iterable[int]) -> bool:
        """Whether a face is shown anywhere."""
        shown = (Treatment.REPLACE, Treatment.COVER_NO_IDENTITY)
        return any(np.isin(self._tracks[t].treatment, shown).any() for t in tracks if t in self._tracks)

    def samples(self, tracks: Iterable[int]) -> list[Sample]:
        """The best of them."""
        found = [sample for tracklet in self._of(tracks) for sample in tracklet.samples]
        return sorted(found, key=lambda sample: -sample.quality)[:SAMPLES]

    def neutral(self, tracks: Iterable[int]) -> Floats | None:
        """The shape at rest."""
        found = neutral_of(self._of(tracks))
        return np.asarray(mean_shape().numpy(), np.float32) if found is None else found

    def _of(self, tracks: Iterable[int]) -> list[Tracklet]:
        pairs = {
            (int(chunk), int(number))
            for track in tracks
            if track in self._tracks
            for chunk, number in np.unique(self._tracks[track].tracklet_of, axis=0)
        }
        return [self._tracklets[pair] for pair in sorted(pairs) if pair in self._tracklets]


def changed(
    before: Linked, after: Linked, chunks: Iterable[Chunk], marks: Mapping[int, tuple[str, str]] | None = None
) -> dict[int, str]:
    """The chunks that are rendered in another way, and a name for how: the same for the same rendering. `marks`: what
    else follows from what was linked, before and after, by chunk."""
    found = dict[int, str]()
    for chunk in chunks:
        old, now = (marks or {}).get(chunk.index, ("", ""))
        new = _digest(after, chunk, now)
        if new != _digest(before, chunk, old):
            found[chunk.index] = new
    return found


def _digest(linked: Linked, chunk: Chunk, mark: str) -> str:
    """Over all that rendering this chunk, and looking for leaks in it, reads of what was linked."""
    start, stop = chunk.start - REACH, chunk.stop + REACH
    people = {person.id: person for person in linked.people}
    total = hashlib.sha256(mark.encode())
    for track in sorted(linked.tracks, key=lambda t: t.id):
        near = (track.frames >= start) & (track.frames < stop)
        if not near.any():
            continue
        total.update(f"track {track.id}|".encode())
        for array in (track.frames, track.boxes, track.tracklet_of, track.treatment):
            total.update(np.ascontiguousarray(array[near]).tobytes())
        person = people.get(track.person)
        if person is not None and (track.treatment[near] == Treatment.REPLACE).any():
            face = person.identity.name if person.identity is not None else ""
            total.update(f"{face}|{person.bare}|".encode())
            total.update(b"" if person.neutral is None else np.ascontiguousarray(person.neutral).tobytes())
    return total.hexdigest()[:16]


def film_edition(renders: Mapping[int, str]) -> str:
    """A name for the film that these chunks make; "" where none is changed."""
    if not renders:
        return ""
    text = "|".join(f"{chunk} {name}" for chunk, name in sorted(renders.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
