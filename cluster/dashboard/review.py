"""What reviewers do on the page of people: edits and their undoing, rendering again, release.

An edit is taken only if nobody else has changed the same people since the page was drawn. Else the reviewer is told who
did what, sees how it is now, and has what they wrote before them, to send it again or not.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError

from cluster.api import people as people_api
from cluster.api import review as api
from cluster.api.context import Context, Ctx
from cluster.api.problems import Problem
from cluster.api.reviewmodels import NewEdit
from cluster.book import NotNow
from cluster.dashboard.job import STRIPS, JobId, head
from cluster.dashboard.pages import LookingReviewer, OwnForm, Page, drawn, go, words
from cluster.dashboard.people import page, starts, told
from cluster.dashboard.said import say
from cluster.dashboard.words import Words
from cluster.edits import EditList, Edits
from cluster.users import User
from pipeline.edits import Edit, Kind
from pipeline.errors import EditRefused

router = APIRouter(route_class=Page, include_in_schema=False)
Number = Annotated[int, Path(ge=0, le=10**9)]
_MOST_TOLD = 50  # changes of others, to a reviewer whose page is old
_TRIES = 5  # at an edit, while others change other people
Form = dict[str, list[str]]


class Clash(Exception):
    """Others have changed the same people meanwhile. `changes`: who, and what."""

    def __init__(self, changes: list[tuple[str, str]]) -> None:
        super().__init__()
        self.changes = changes


@router.get("/jobs/{job}/people/{person}/{what}")
def ask(
    request: Request,
    ctx: Ctx,
    user: LookingReviewer,
    job: JobId,
    person: Number,
    what: Literal["merge", "split", "keep"],
) -> Response:
    """A form for an edit that needs more than a click: a page of its own, or the inside of a dialog."""
    facts = page(ctx, user, job)
    card = next((each for each in facts["cards"] if each["number"] == person), None)
    if card is None or not facts["edits_now"]:
        raise Problem(404, "")
    inside = bool(request.headers.get("x-fragment"))
    others = [each for each in facts["cards"] if each["number"] != person and not _together(card, each)]
    name = "edit_form.html" if inside else "edit.html"
    return drawn(request, name, fragment=inside, **facts, card=card, what=what, others=others)


def _together(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two people are surely on screen at the same time, so that they can't be one."""
    return any(
        max(a["from"], b["from"]) + 1.0 < min(a["to"], b["to"])  # the ends of tracks are guessed
        for a in one["bars"]
        for b in other["bars"]
    )


@router.post("/jobs/{job}/people")
def edit(request: Request, ctx: Ctx, user: LookingReviewer, job: JobId, fields: OwnForm) -> Response:
    """One edit, or several of the same kind."""
    t = words(request)
    try:
        wanted = _wanted(ctx, user, job, fields)
    except ValidationError as error:
        return _refused(request, ctx, user, job, fields, t("refuse.form"), error)
    tag = fields.get("tag", [""])[0]
    left = list(wanted)
    try:
        while left:
            tag = _send(ctx, user, job, left[0], tag, t)
            left.pop(0)
    except Clash as clash:
        if left[0].kind is Kind.MERGE:  # of several, those that aren't merged yet
            fields = {**fields, "person": [str(one.person) for one in left], "into": [str(left[0].into)]}
        return _clashed(request, ctx, user, job, fields, clash)
    except EditRefused as error:
        return _refused(request, ctx, user, job, fields, t(f"refuse.{wanted[0].kind}"), error)
    back = "compare" if fields.get("back") == ["compare"] else f"people{_place(wanted[-1], fields)}"
    return say(go(f"/jobs/{job}/{back}"), "edit", len(wanted))


def _place(edit: NewEdit, fields: Form) -> str:
    """Where on the page the reviewer goes on: at the card, so that nobody has to find the way back to it."""
    of_form = next((int(each) for each in fields.get("person", []) if each.isdecimal()), None)
    number = edit.into if edit.kind is Kind.MERGE else of_form
    return f"#p-{number}" if number is not None else ""


def _wanted(ctx: Context, user: User, job: str, fields: Form) -> list[NewEdit]:
    """What the form asks for. Raises ValidationError."""

    def one(name: str) -> str | None:
        return next((value for value in fields.get(name, []) if value.strip()), None)

    kind, tracks = one("kind"), fields.get("tracks", [])
    people, into = fields.get("person", []), one("into")
    if kind == Kind.MERGE:
        if into is None and people:  # several were chosen, none before others: that of most frames
            frames = {str(each.person): each.frames for each in people_api.people(job, ctx, user)}
            *people, into = sorted(people, key=lambda each: frames.get(each, 0))
        return [_valid(kind=kind, person=person, into=into) for person in people] or [_valid(kind=kind)]
    if kind == Kind.NO_FACE and tracks:
        return [_valid(kind=kind, track=track) for track in tracks]
    if kind == Kind.BOX:
        left, top, wide, high = (_number(one(name)) for name in ("left", "top", "wide", "high"))
        return [_valid(kind=kind, frame=one("frame"), box=(left, top, left + wide, top + high))]
    given = {"person": people[0] if people else None, "into": into, "reason": one("reason") or ""}
    return [_valid(kind=kind, **given, tracks=tracks if kind == Kind.SPLIT else [])]


def _number(text: str | None) -> float:
    """What was typed; what is no number is refused as one that isn't finite."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _valid(**given: Any) -> NewEdit:
    return NewEdit(**given)


def _send(ctx: Context, user: User, job: str, wanted: NewEdit, tag: str, t: Words) -> str:
    """The tag of the list that has this edit. Goes on when others have changed other people only. Raises Clash."""
    for _ in range(_TRIES):
        answer = Response()
        try:
            api.add(job, wanted, ctx, user, answer, f'"{tag}"')
            return answer.headers["ETag"].strip('"')
        except Problem as error:
            if error.status != 412:
                raise
        edits = api.of(ctx, job)
        tag = _unless_touched(ctx, user, job, edits, tag, _about(wanted, edits), t)
    raise Clash([])


def _about(edit: NewEdit | Edit, edits: Edits) -> set[int]:
    """The people that an edit is about."""
    found = {number for number in (edit.person, edit.into, getattr(edit, "made", None)) if number is not None}
    tracks = {*edit.tracks, *(() if edit.track is None else (edit.track,))}
    standing = edits.standing(edits.latest().edits)
    return found | {standing.tracks[track].person for track in tracks if track in standing.tracks}


def _unless_touched(ctx: Context, user: User, job: str, edits: Edits, tag: str, mine: set[int], t: Words) -> str:
    """The tag as it is now. Raises Clash when what was changed since `tag` is about the same people."""
    latest, theirs, changes = _since(ctx, user, job, edits, tag, t)
    if latest.approved is not None or mine & theirs:
        raise Clash(changes)
    return edits.tag(latest.version)


def _since(
    ctx: Context, user: User, job: str, edits: Edits, tag: str, t: Words
) -> tuple[EditList, set[int], list[tuple[str, str]]]:
    """(the list as it is now, whom others have changed since `tag`, who did what). Raises Clash for an odd tag."""
    latest = edits.latest()
    attempt, _, number = tag.rpartition(".")
    odd = edits.tag(0).rpartition(".")[0] != attempt or not number.isdecimal() or len(number) > 6
    if odd or latest.version - int(number) > _MOST_TOLD:
        raise Clash([])
    rate = STRIPS.strip(ctx, head(ctx, user, job)[0]).rate
    first = starts(people_api.people(job, ctx, user))
    theirs, changes = set[int](), list[tuple[str, str]]()
    for version in range(int(number) + 1, latest.version + 1):
        before, after = edits.at(version - 1), edits.at(version)
        if after.who == user.name:
            continue  # they know
        for edit in _changed(before.edits, after.edits):
            theirs |= _about(edit, edits)
            undone = edit not in after.edits
            text = told(t, edit, first, rate)
            changes.append((after.who, t("edit.undone", what=text) if undone else text))
    return latest, theirs, changes


def _changed(before: Iterable[Edit], after: Iterable[Edit]) -> list[Edit]:
    return sorted(set(before) ^ set(after), key=lambda edit: edit.id)


def _clashed(request: Request, ctx: Context, user: User, job: str, fields: Form, clash: Clash) -> Response:
    t = words(request)
    who = sorted({who for who, _ in clash.changes} - {user.name}) or [t("clash.somebody")]
    told_who = f" {t('clash.and')} ".join(who)
    found = {"title": t("clash.title", who=told_who), "changes": clash.changes, "kept": _kept(fields)}
    return drawn(request, "people.html", 409, **page(ctx, user, job, found))


def _refused(
    request: Request, ctx: Context, user: User, job: str, fields: Form, text: str, error: Exception
) -> Response:
    found: dict[str, Any] = {
        "title": text,
        "changes": [],
        "kept": _kept(fields) if isinstance(error, ValidationError) else None,
    }
    return drawn(request, "people.html", 422, **page(ctx, user, job, found))


def _kept(fields: Form) -> dict[str, Any] | None:
    """What the reviewer had given, for another try."""
    if fields.get("kind", [""])[0] not in set(Kind):
        return None
    names = ("person", "into", "tracks", "reason", "frame", "left", "top", "wide", "high")
    return {"kind": fields["kind"][0], "fields": {name: fields.get(name, []) for name in names}}


@router.post("/jobs/{job}/people/undo")
def undo(request: Request, ctx: Ctx, user: LookingReviewer, job: JobId, fields: OwnForm) -> Response:
    """Take an edit back."""
    t, edit, tag = words(request), fields.get("edit", [""])[0], fields.get("tag", [""])[0]
    edits = api.of(ctx, job)
    gone = next((each for each in edits.latest().edits if each.id == edit), None)
    try:
        for _ in range(_TRIES):
            if gone is None:
                raise Clash([])
            try:
                api.take_back(job, edit, ctx, user, Response(), f'"{tag}"')
                return say(go(f"/jobs/{job}/people#review-title"), "undo")
            except Problem as error:
                if error.status not in (404, 412):
                    raise
            tag = _unless_touched(ctx, user, job, edits, tag, _about(gone, edits), t)
        raise Clash([])
    except Clash as clash:
        return _clashed(request, ctx, user, job, {}, clash)
    except Problem as error:
        if error.status != 409:
            raise
        return _refused(request, ctx, user, job, {}, t("refuse.undo"), error)


def _why(ctx: Context, user: User, job: str, tag: str, t: Words) -> Clash:
    try:
        return Clash(_since(ctx, user, job, api.of(ctx, job), tag, t)[2])
    except Clash as clash:
        return clash


@router.post("/jobs/{job}/people/do")
def do(request: Request, ctx: Ctx, user: LookingReviewer, job: JobId, fields: OwnForm) -> Response:
    """Render again what was edited, or release the film."""
    what, tag = fields.get("do", [""])[0], fields.get("tag", [""])[0]
    if what not in ("mend", "approve"):
        raise Problem(422, words(request)("error.unknown"))
    try:
        if what == "mend":
            api.mend(job, ctx, user)
        else:
            api.approve(job, ctx, user, f'"{tag}"')
    except Problem as error:
        if error.status == 412:
            return _clashed(request, ctx, user, job, {}, _why(ctx, user, job, tag, words(request)))
        if error.status != 409:
            raise
        return _refused(request, ctx, user, job, {}, words(request)(f"refuse.{what}"), error)
    except NotNow as error:
        return _refused(request, ctx, user, job, {}, words(request)(f"refuse.{what}"), error)
    return say(go(f"/jobs/{job}/people#review-title" if what == "mend" else f"/jobs/{job}"), what)
