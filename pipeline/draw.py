"""What to do with every face on every frame of a chunk, and doing it.

Closed when in doubt: a face that can't be replaced for whatever reason is covered on that frame, and the reason is
counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch

from pipeline.analysis import ChunkAnalysis
from pipeline.chunk import Chunk
from pipeline.cover import Style, cover
from pipeline.follow import PRESENT
from pipeline.glasses import Optician, looks
from pipeline.identity import Identity, NobodyModel, Seed
from pipeline.link import Linked, Person, is_open
from pipeline.occlude import Lookout, reference
from pipeline.picture import Picture
from pipeline.replace import Face, Replacer
from pipeline.smooth import smooth
from pipeline.track import Floats, Sample, Track, Treatment
from pipeline.treat import fades

_NEAR = 12  # frames on both sides of a damaged one whose faces might be in it
_MARGIN = 0.15  # of the box, added on each side before it is covered
_DAMAGED_MARGIN = 0.5  # the concealed picture may show the face where it was frames ago


_Masks = dict[tuple[int, int], tuple[torch.Tensor | None, torch.Tensor | None]]


@dataclass(slots=True)
class RenderCounts:
    """What was done in one chunk."""

    frames: int = 0
    treated: dict[str, int] = field(default_factory=dict)  # face-frames by the name of their Treatment
    failures: dict[str, int] = field(default_factory=dict)  # face-frames covered because replacing failed, by error
    damaged: int = 0  # frames
    seconds: dict[str, float] = field(default_factory=dict)  # per stage, wall clock of the main thread

    def count(self, treatment: Treatment) -> None:
        self.treated[treatment.name] = self.treated.get(treatment.name, 0) + 1


@dataclass(frozen=True, slots=True)
class Plan:
    """One face on one frame, ready to be drawn."""

    track: int
    box: Floats  # (4,) xyxy px
    treatment: Treatment
    mesh: Floats | None  # (468, 3) px, steady
    person: Person | None
    veiled: float = 0.0  # 0..1: how much of a cover already lies over a replaced face, since a cover is to come


def plans(chunk: Chunk, analysis: ChunkAnalysis, linked: Linked, found: Sequence[Track] = ()) -> dict[int, list[Plan]]:
    """What to do on each frame of the chunk, larger faces last (they are nearer and lie above), but for `found`:
    what the leak gate found is covered last of all. `analysis` must have its meshes."""
    people = {p.id: p for p in linked.people}
    result = dict[int, list[Plan]]()
    for track in (*linked.closed(), *found):
        inside = np.flatnonzero((track.frames >= chunk.start) & (track.frames < chunk.stop))
        if not len(inside):
            continue
        meshes, veiled = _meshes(track, analysis), fades(track.treatment)
        person = people.get(track.person)
        for k in inside:
            treatment, mesh = Treatment(int(track.treatment[k])), meshes.get(int(track.frames[k]))
            if treatment == Treatment.REPLACE and (
                mesh is None or person is None or person.identity is None or person.neutral is None
            ):
                treatment = Treatment.COVER_FILLED
            result.setdefault(int(track.frames[k]), []).append(
                Plan(track.id, track.boxes[k], treatment, mesh, person, float(veiled[k]))
            )
    for todo in result.values():
        todo.sort(key=lambda p: (p.treatment == Treatment.COVER_GATE, float(np.prod(p.box[2:] - p.box[:2]))))
    return result


def _meshes(track: Track, analysis: ChunkAnalysis) -> dict[int, Floats]:
    """Steady landmarks by frame, from this chunk's analysis with its overlap."""
    mine = track.tracklet_of[track.tracklet_of[:, 0] == analysis.chunk, 1]
    used = [t for t in analysis.tracklets if t.id in set(mine.tolist())]
    if not used:
        return {}
    lo, hi = min(t.first for t in used), max(t.last for t in used) + 1
    meshes, trust = np.full((hi - lo, 468, 3), np.nan, np.float32), np.zeros(hi - lo, np.float32)
    for t in used:
        assert t.meshes is not None, "load the analysis with its meshes"
        good = t.presence >= PRESENT
        at = t.frames[good] - lo
        meshes[at], trust[at] = t.meshes[good], t.presence[good]
    steady = smooth(meshes, trust)
    return {int(lo + k): steady[k] for k in np.flatnonzero(np.isfinite(steady[:, 0, 0]))}


class Painter:
    """Draws the faces of one chunk into its pictures, batch by batch, in place."""

    def __init__(
        self, chunk: Chunk, analysis: ChunkAnalysis, linked: Linked, found: Sequence[Track], replacer: Replacer,
        style: Style, device: torch.device,
    ) -> None:  # fmt: skip
        self.counts = RenderCounts()
        self._plans = plans(chunk, analysis, linked, found)
        self._tracks = [t for t in (*linked.closed(), *found) if _near(t, chunk)]
        self._left = _left_open(linked, chunk)
        self._replacer, self._style, self._device = replacer, style, device
        seen = _samples(linked, analysis)
        references = {track: reference(samples) for track, samples in seen.items()}
        self._lookout = Lookout({t: found for t, found in references.items() if found is not None}, device)
        bare = {p.id for p in linked.people if p.bare}
        worn = {t.id: looks(seen[t.id]) for t in linked.tracks if t.person not in bare}
        self._optician = Optician(worn, device)
        people = {p.id: p.identity for p in linked.people if p.identity is not None}
        wanted = sorted(
            {
                q.person.id
                for plan in self._plans.values()
                for q in plan
                if q.person and q.treatment == Treatment.REPLACE
            }
        )
        drawn = _identities(replacer.model, tuple(people[number] for number in wanted), device)
        self._identities = dict(zip(wanted, drawn, strict=True))

    def draw(self, pictures: Sequence[Picture]) -> None:
        """Replace first, then cover: what is covered stays covered."""
        todo = [(picture, self._plans.get(picture.number, [])) for picture in pictures]
        replaced = [(p, q) for p, plan in todo for q in plan if q.treatment == Treatment.REPLACE and not p.damaged]
        before = self._before(replaced)
        for group in self._groups(replaced):
            self._replace(group, before)
        for picture, plan in todo:
            self.counts.frames += 1
            for treatment in self._left.get(picture.number, ()):
                self.counts.count(treatment)
            if picture.damaged:
                self._damaged(picture, plan)
                continue
            for one in plan:
                if one.treatment != Treatment.REPLACE:
                    self._cover(picture, one, one.treatment)
                elif one.veiled > 0:
                    cover(picture, grown(one.box, _MARGIN), one.mesh, self._style, one.track, one.veiled)

    def _before(self, faces: list[tuple[Picture, Plan]]) -> _Masks:
        """What is before the faces, and their glasses: as `Lookout` and `Optician` tell, by picture and track."""
        known = [(p, q.track, torch.from_numpy(q.mesh).to(self._device)) for p, q in faces if q.mesh is not None]
        masks = zip(self._lookout.masks(known), self._optician.masks(known), strict=True)
        return {(p.number, track): pair for (p, track, _), pair in zip(known, masks, strict=True)}

    def _groups(self, faces: list[tuple[Picture, Plan]]) -> Iterable[list[tuple[Picture, Plan]]]:
        """All faces at once on a GPU; picture by picture on a CPU, where batching gains nothing and a failure is
        confined to its picture."""
        if self._device.type != "cpu":
            return [faces] if faces else []
        by_number = dict[int, list[tuple[Picture, Plan]]]()
        for picture, plan in faces:
            by_number.setdefault(picture.number, []).append((picture, plan))
        return by_number.values()

    def _replace(self, group: list[tuple[Picture, Plan]], before: _Masks) -> None:
        try:
            self._replacer.apply([self._face(p, q, before.get((p.number, q.track), (None, None))) for p, q in group])
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise  # the device is not to be trusted any more: the chunk fails
        except Exception as error:  # noqa: BLE001 whatever it was, the face must not stay
            for picture, plan in group:
                self._cover(picture, plan, Treatment.COVER_NO_IDENTITY)
                name = type(error).__name__
                self.counts.failures[name] = self.counts.failures.get(name, 0) + 1
        else:
            for _ in group:
                self.counts.count(Treatment.REPLACE)

    def _face(self, picture: Picture, plan: Plan, masks: tuple[torch.Tensor | None, torch.Tensor | None]) -> Face:
        person = plan.person
        if plan.mesh is None or person is None or person.identity is None or person.neutral is None:
            raise ValueError("a face without landmarks or identity was to be replaced")
        mesh, neutral = torch.from_numpy(plan.mesh), torch.from_numpy(person.neutral)
        return Face(picture, mesh.to(self._device), neutral.to(self._device), self._identities[person.id], *masks)

    def _cover(self, picture: Picture, plan: Plan, why: Treatment, margin: float = _MARGIN) -> None:
        # A mosaic keeps what is smooth and strong of a place: half a face in the sun. What the gate found must look
        # like something else to it afterwards, or the film is lost.
        style = "solid" if plan.treatment == Treatment.COVER_GATE else self._style
        cover(picture, grown(plan.box, margin), plan.mesh, style, plan.track)
        self.counts.count(why)

    def _damaged(self, picture: Picture, plan: list[Plan]) -> None:
        """Cover the faces of this frame, and wherever a face was or will be nearby: concealment shows old pixels."""
        self.counts.damaged += 1
        for track in self._tracks:
            near = np.abs(track.frames - picture.number) <= _NEAR
            if near.any():
                boxes = track.boxes[near]
                union = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
                cover(picture, grown(union, _MARGIN), None, self._style, track.id)
        for one in plan:
            self._cover(picture, one, Treatment.COVER_DAMAGED, _DAMAGED_MARGIN)


@lru_cache(maxsize=2)
def _identities(model: NobodyModel, seeds: tuple[Seed, ...], device: torch.device) -> list[Identity]:
    """Drawing takes half a second: one chunk after another of the same people uses the same."""
    return [identity.to(device) for identity in model.identities(seeds)]


def _samples(linked: Linked, analysis: ChunkAnalysis) -> dict[int, list[Sample]]:
    """By track: the good looks at the face in this chunk."""
    samples = {t.id: t.samples for t in analysis.tracklets}
    result = dict[int, list[Sample]]()
    for track in linked.tracks:
        mine = np.unique(track.tracklet_of[track.tracklet_of[:, 0] == analysis.chunk, 1])
        result[track.id] = [sample for number in mine.tolist() for sample in samples.get(number, ())]
    return result


def _left_open(linked: Linked, chunk: Chunk) -> dict[int, list[Treatment]]:
    """By frame: what is neither replaced nor covered, since people chose so. It is counted, and nothing else."""
    result = dict[int, list[Treatment]]()
    for track in linked.tracks:
        if is_open(track):
            for frame in track.frames[(track.frames >= chunk.start) & (track.frames < chunk.stop)].tolist():
                result.setdefault(frame, []).append(Treatment(int(track.treatment[0])))
    return result


def _near(track: Track, chunk: Chunk) -> bool:
    return bool(track.frames[0] < chunk.stop + _NEAR and track.frames[-1] >= chunk.start - _NEAR)


def grown(box: Floats, margin: float) -> Floats:
    """The box (4,) with `margin` of its size added on every side."""
    extra = (box[2:] - box[:2]) * margin
    return np.concatenate([box[:2] - extra, box[2:] + extra]).astype(np.float32)
