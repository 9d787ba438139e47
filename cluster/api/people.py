"""/v1/jobs/…/people: who was found in a film, as reviewers have it by now. Numbers only; pictures are in `pictures`."""

import contextlib

from fastapi import APIRouter

from cluster import tally
from cluster.api.context import Context, Ctx, Reviewer, seen
from cluster.api.jobs import JobId
from cluster.api.problems import responses
from cluster.api.review import of
from cluster.api.reviewmodels import PersonOut, TrackOut
from cluster.book import Control
from cluster.edits import Edits
from cluster.job import LinkFacts, TrackFacts
from cluster.ledger import Ledger
from pipeline.edits import Edit, Fate, Standing
from storage.objects import NoSuchObject

router = APIRouter(prefix="/v1/jobs", tags=["inside a job"], responses=responses(401, 403, 404, 409, 422, 429, 503))


@router.get("/{job}/people", response_model=list[PersonOut])
def people(job: JobId, ctx: Ctx, user: Reviewer) -> list[PersonOut]:
    """Who was found in the film, with all edits: numbers and what became of their faces; no pictures, no measures."""
    row = seen(ctx, user, job)
    edits = of(ctx, job)
    now, tracks = tracks_now(ctx, edits, job, row.control)
    before = edits.standing(edits.at(row.control.edits).edits)
    facts = shown(ctx, edits, job, row.control)
    return [_person(number, now, before, tracks, facts) for number in now.people()]


def tracks_now(ctx: Context, edits: Edits, job: str, control: Control) -> tuple[Standing, dict[int, TrackFacts]]:
    """Who is who with all edits, and each track as it is rendered."""
    now, facts = edits.standing(edits.latest().edits), shown(ctx, edits, job, control)
    known = {track.id: track for track in (*edits.linked.tracks, *facts.tracks)}
    return now, known | {number: _drawn(number, box) for number, box in now.boxes.items() if number not in known}


def shown(ctx: Context, edits: Edits, job: str, control: Control) -> LinkFacts:
    """What the film is rendered with; while edits are only being applied, what it was reviewed with before."""
    for version in (control.edits, control.held):
        with contextlib.suppress(NoSuchObject):
            return Ledger(ctx.book.store, job).linked(version)
    return edits.linked


def _drawn(number: int, edit: Edit) -> TrackFacts:
    """A box that wasn't followed yet."""
    assert edit.frame is not None
    assert edit.box is not None
    side = round(max(edit.box[2] - edit.box[0], edit.box[3] - edit.box[1]))
    return TrackFacts(number, number, edit.frame, edit.frame + 1, 1, side, side, {})


def _person(number: int, now: Standing, before: Standing, tracks: dict[int, TrackFacts], facts: LinkFacts) -> PersonOut:
    own = [tracks[track] for track in now.of(number)]
    fates = [now.tracks[track.id] for track in own]
    marks = {fate.mark for fate in fates}
    return PersonOut(
        person=number,
        identity=facts.identities.get(str(number)),
        **tally.shown(own),
        mark=next(iter(marks)) if len(marks) == 1 else "mixed",
        drawn=all(track.id in now.boxes for track in own),
        pending=_pending(number, now, before),
        edits=_edits(number, now),
        tracks=[_track(track, fate) for track, fate in zip(own, fates, strict=True)],
    )


def _edits(number: int, standing: Standing) -> list[str]:
    """Ids, in the order in which they hold."""
    touched = [edit for track in standing.of(number) for edit in standing.tracks[track].edits]
    return sorted(dict.fromkeys([*standing.edits.get(number, []), *touched]))


def _pending(number: int, now: Standing, before: Standing) -> bool:
    """Whether the edits that are rendered make them somebody else."""
    return _edits(number, now) != _edits(number, before) or any(
        before.tracks.get(track) is None or before.tracks[track].mark is not now.tracks[track].mark
        for track in now.of(number)
    )


def _track(track: TrackFacts, fate: Fate) -> TrackOut:
    return TrackOut(
        id=track.id,
        first=track.first,
        last=track.last,
        frames=track.frames,
        smallest=track.smallest,
        largest=track.largest,
        treatments=track.treatments,
        best=track.best,
        mark=fate.mark,
        edits=fate.edits,
    )
