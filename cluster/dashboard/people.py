"""Who was found in a film and what became of their faces, one card per person; and for films that are reviewed, what
reviewers changed. What they do is in `review`. No byte that shows anybody real is in these pages."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request, Response

from cluster.api import people as api
from cluster.api import review as edits_api
from cluster.api.context import Context, Ctx
from cluster.api.problems import Problem
from cluster.api.reviewmodels import EditOut, EditsOut, PersonOut, TrackOut
from cluster.dashboard.job import STRIPS, WIDTH, JobId, head
from cluster.dashboard.pages import LookingReviewer, Page, drawn
from cluster.dashboard.strip import Strip
from cluster.dashboard.words import Words
from cluster.job import Veil
from cluster.states import JobState
from cluster.users import User
from pipeline.edits import Edit, Kind

router = APIRouter(route_class=Page, include_in_schema=False)
_MOST = 500  # cards


@router.get("/jobs/{job}/people")
def show(request: Request, ctx: Ctx, user: LookingReviewer, job: JobId) -> Response:
    """The page."""
    return drawn(request, "people.html", **page(ctx, user, job))


@router.get("/jobs/{job}/people/part")
def part(request: Request, ctx: Ctx, user: LookingReviewer, job: JobId) -> Response:
    """The part of it that changes."""
    return drawn(request, "people_now.html", fragment=True, **page(ctx, user, job))


def page(ctx: Context, user: User, job: str, clash: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the page shows. `clash`: an edit that wasn't taken, and why."""
    row, shown = head(ctx, user, job)
    strip = STRIPS.strip(ctx, row)
    found, listed, tag = _known(ctx, user, job)
    first = strip.cells[0].chunk.start if strip.cells else 0
    span = (first, max(1, strip.frames))
    control = row.control
    return {
        **shown,
        "linked": listed is not None,
        "cards": sorted((_card(each, span, strip.rate) for each in found), key=_longest)[:_MOST],
        "count": len(found),
        "width": WIDTH,
        "whole": {"from": first / strip.rate, "to": (first + strip.frames) / strip.rate},
        "marks": _marks(strip, span),
        "rate": strip.rate,
        "listed": listed,
        "edits": list(listed.edits) if listed is not None else [],
        "of": {edit.id: edit for edit in (listed.edits if listed is not None else ())},
        "tag": tag,
        "starts": starts(found),
        "told": told,
        "review": control.review,
        "approved": control.approved,
        "held": control.state is JobState.REVIEW,
        "until": control.since + ctx.review,
        "edits_now": listed is not None and listed.editable and user.changes(row.card),
        "faced": ctx.book.ledger(job).spec().veil is Veil.NOBODY,
        "pictures": control.state is JobState.REVIEW,
        "clash": clash,
    }


def _known(ctx: Context, user: User, job: str) -> tuple[list[PersonOut], EditsOut | None, str]:
    """(people, edits, the tag of the list of edits); nobody and None before anybody was looked for."""
    answer = Response()
    try:
        listed = edits_api.show(job, ctx, user, answer)  # first: an edit that comes between makes the tag old
        return api.people(job, ctx, user), listed, answer.headers["ETag"].strip('"')
    except Problem as error:
        if error.status != 409:
            raise
        return [], None, ""


def starts(found: Iterable[PersonOut]) -> dict[int, int]:
    """The frames on which tracks begin."""
    return {track.id: track.first for person in found for track in person.tracks}


def _longest(card: dict[str, Any]) -> tuple[int, int]:
    """Those who are on screen longest come first."""
    return -card["person"].frames, card["number"]


def _x(frame: int, span: tuple[int, int]) -> float:
    return round((frame - span[0]) / span[1] * WIDTH, 2)


def _marks(strip: Strip, span: tuple[int, int]) -> list[dict[str, Any]]:
    return [
        {"x": _x(cell.chunk.start, span), "width": max(2.0, cell.chunk.frames / span[1] * WIDTH), "cell": cell}
        for cell in strip.cells
        if cell.leaks or cell.failures
    ]


def _card(person: PersonOut, span: tuple[int, int], rate: float) -> dict[str, Any]:
    total = max(1, person.replaced + person.covered + person.kept + person.no_face)
    return {
        "person": person,
        "number": person.person,
        "seconds": person.frames / rate,
        "first": min(track.first for track in person.tracks) / rate,
        "last": max(track.last for track in person.tracks) / rate,
        "share": person.replaced / total,
        "covered": sorted(person.why_covered.items(), key=lambda each: -each[1]),
        "mark": person.mark,
        "bars": [bar(track, span, rate) for track in sorted(person.tracks, key=lambda track: track.first)],
    }


def bar(track: TrackOut, span: tuple[int, int], rate: float) -> dict[str, Any]:
    """An appearance on a person's line of time."""
    if track.mark in ("keep", "no_face"):
        kind = str(track.mark)
    else:
        replaced = track.treatments.get("replace", 0) * 2 >= track.frames and track.mark != "cover"
        kind = "replaced" if replaced else "covered"
    return {
        "track": track.id,
        "x": _x(track.first, span),
        "width": round(max(2.0, (track.last - track.first) / span[1] * WIDTH), 2),
        "from": track.first / rate,
        "to": track.last / rate,
        "kind": kind,
    }


def told(t: Words, edit: Edit | EditOut, starts: dict[int, int], rate: float) -> str:
    """An edit in one line. `starts`: first frames of tracks."""

    def person(number: int | None) -> str:
        return t("people.person", n=(number or 0) + 1)

    def at(frame: int | None) -> str:
        return t.clock((frame or 0) / rate)

    whom = person(edit.person)
    if edit.track is not None:
        whom = t("edit.track", at=at(starts.get(edit.track))) if edit.track in starts else t("edit.sometrack")
    if edit.kind is Kind.SPLIT:
        return t("edit.split", whom=whom, n=len(edit.tracks), made=person(edit.made))
    if edit.kind is Kind.BOX:
        return t("edit.box", at=at(edit.frame), made=person(edit.made))
    return t(f"edit.{edit.kind}", whom=whom, into=person(edit.into), reason=edit.reason)
