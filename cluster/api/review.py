"""/v1/jobs/…/edits, mend, approve: reviewers look at what was rendered, mend it, and let it be published."""

import math
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response

from cluster.api.context import Context, Ctx, Reviewer, changeable, seen
from cluster.api.jobs import JobId, out
from cluster.api.models import JobOut
from cluster.api.problems import Problem, responses
from cluster.api.reviewmodels import EDIT, EditsOut, NewEdit, edit_out
from cluster.book import Control, Entry, NotNow
from cluster.edits import ChangedMeanwhile, EditList, Edits, told
from cluster.job import IndexFacts, Plan, SourceFacts, Veil, new_id
from cluster.jobindex import Row
from cluster.ledger import Ledger
from cluster.states import OVER, JobState, Move
from cluster.users import User
from pipeline.edits import Edit, Kind
from pipeline.errors import EditRefused
from storage.objects import NoSuchObject

router = APIRouter(prefix="/v1/jobs", tags=["review"], responses=responses(401, 403, 404, 409, 422, 429, 503))

EditId = Annotated[str, Path(pattern=EDIT, description="Id of an edit.")]
Seen = Annotated[
    str | None,
    Header(alias="If-Match", max_length=200, description="The ETag of the list of edits that was seen."),
]


def of(ctx: Context, job: str) -> Edits:
    """The edits of a job. Raises Problem 409 before it is known who is in the film, or when that was deleted."""
    try:
        return Edits(Ledger(ctx.book.store, job))
    except NoSuchObject as error:
        raise Problem(409, "nobody has looked yet who is in the film") from error


def editable(control: Control) -> bool:
    """Whether edits are taken: of jobs that are reviewed, until they are approved."""
    return control.review and not control.approved and control.state not in OVER and control.ending is None


def _ready(row: Row) -> None:
    control = row.control
    if not control.review:
        raise Problem(409, "this job wasn't submitted for review; submit the film again with review")
    if not editable(control):
        what = "approved" if control.approved else control.state
        raise Problem(409, f"the job is {what}; nothing in it can be changed any more")


def _out(ctx: Context, edits: Edits, latest: EditList, control: Control, response: Response) -> EditsOut:
    rendered = edits.at(control.edits)
    response.headers["ETag"] = f'"{edits.tag(latest.version)}"'
    response.headers["Cache-Control"] = "no-store"
    known = frozenset(edit.id for edit in rendered.edits)
    return EditsOut(
        version=latest.version,
        rendered=rendered.version,
        pending=latest.edits != rendered.edits,
        editable=editable(control),
        until=control.since + ctx.review if control.state is JobState.REVIEW else None,
        edits=[edit_out(edit, known) for edit in latest.edits],
    )


def _expected(edits: Edits, tag: str | None) -> EditList:
    """The latest list, if that is what was seen. Raises Problem 428, 412."""
    if tag is None:
        raise Problem(428, "say which version you saw: If-Match with the ETag of GET edits")
    try:
        return edits.expect(tag.strip().removeprefix("W/").strip('"'))
    except ChangedMeanwhile as error:
        raise _conflict(edits, error) from error


def _conflict(edits: Edits, error: ChangedMeanwhile) -> Problem:
    changes = [{"version": e.version, "who": e.who, "at": e.at, "what": e.what} for e in error.since]
    return Problem(
        412,
        f"somebody else has changed the list of edits meanwhile: {error}; look at it, and send yours again",
        {"ETag": f'"{edits.tag(error.latest.version)}"'},
        version=error.latest.version,
        changes=changes,
    )


def _write(
    ctx: Context, edits: Edits, row: Row, seen_list: EditList, new: tuple[Edit, ...], user: User, what: str
) -> EditList:
    if seen_list.approved is not None:
        # Somebody is about to approve it: whoever changes the control first wins, and the other one is told.
        ctx.book.change(row.job, user.name, None, "edited again", of_revision=row.control.revision)
    try:
        latest = edits.write(seen_list, new, user.name, what)
    except ChangedMeanwhile as error:
        raise _conflict(edits, error) from error
    ctx.book.note(row.job, Entry(latest.at, user.name, what))
    return latest


@router.get("/{job}/edits", response_model=EditsOut)
def show(job: JobId, ctx: Ctx, user: Reviewer, response: Response) -> EditsOut:
    """What reviewers have changed, in the order in which it holds."""
    row = seen(ctx, user, job)
    edits = of(ctx, job)
    return _out(ctx, edits, edits.latest(), row.control, response)


@router.post("/{job}/edits", status_code=201, response_model=EditsOut, responses=responses(400, 412, 413, 428))
def add(job: JobId, asked: NewEdit, ctx: Ctx, user: Reviewer, response: Response, tag: Seen = None) -> EditsOut:
    """Change something. It is rendered by POST mend. Refused with 422 when it can't hold, and with 412 when somebody
    else has changed the list since: nothing of theirs is lost, and `changes` says what they did."""
    row = changeable(ctx, user, job)
    _ready(row)
    edits = of(ctx, job)
    latest = _expected(edits, tag)
    edit = edits.numbered(_edit(asked, user, ctx.book.clock), latest)
    ledger = Ledger(ctx.book.store, job)
    _check(ledger, edit)
    new = (*latest.edits, edit)
    plan, index = ledger.facts(Plan), ledger.facts(IndexFacts)
    edits.standing(new, (plan.first, plan.last), float(index.frames / index.duration) if index.duration else 0.0)
    latest = _write(ctx, edits, row, latest, new, user, told(edit))
    response.headers["Location"] = f"/v1/jobs/{job}/edits/{edit.id}"
    return _out(ctx, edits, latest, row.control, response)


def _edit(asked: NewEdit, user: User, clock: Callable[[], float]) -> Edit:
    return Edit(
        id=new_id(),
        kind=asked.kind,
        who=user.name,
        at=clock(),
        person=asked.person,
        into=asked.into,
        tracks=tuple(sorted(set(asked.tracks))),
        track=asked.track,
        frame=asked.frame,
        box=asked.box,
        reason=asked.reason.strip(),
    )


def _check(ledger: Ledger, edit: Edit) -> None:
    """Raises EditRefused for a face where all are covered, and for a box that isn't in the picture."""
    if edit.kind is Kind.FACE and ledger.spec().veil is not Veil.NOBODY:
        raise EditRefused("in this job every face is covered", "", "submit the film again with the veil nobody")
    if edit.kind is not Kind.BOX or edit.box is None:
        return
    source = ledger.facts(SourceFacts)
    wide, high = source.width, source.height
    if source.rotation in (90, 270):
        wide, high = high, wide
    x0, y0, x1, y1 = edit.box
    if min(x1, wide) - max(x0, 0) < 2 or min(y1, high) - max(y0, 0) < 2 or not all(map(math.isfinite, edit.box)):
        raise EditRefused("the box lies outside of the picture", f"which is {wide} x {high} px", "draw it again")


@router.delete("/{job}/edits/{edit_id}", response_model=EditsOut, responses=responses(412, 428))
def take_back(job: JobId, edit_id: EditId, ctx: Ctx, user: Reviewer, response: Response, tag: Seen = None) -> EditsOut:
    """Undo one edit. Refused while another one rests on it."""
    row = changeable(ctx, user, job)
    _ready(row)
    edits = of(ctx, job)
    latest = _expected(edits, tag)
    gone = next((edit for edit in latest.edits if edit.id == edit_id), None)
    if gone is None:
        raise Problem(404, "there is no such edit; somebody may have undone it")
    left = tuple(edit for edit in latest.edits if edit.id != edit_id)
    try:
        edits.standing(left)
    except EditRefused as error:
        raise Problem(409, f"another edit rests on this one: {error}; undo that first") from error
    latest = _write(ctx, edits, row, latest, left, user, f"took back: {told(gone)}")
    return _out(ctx, edits, latest, row.control, response)


def _moved(ctx: Context, row: Row, control: Control) -> JobOut:
    return out(ctx, Row(row.job, row.card, control))


@router.post("/{job}/mend", status_code=202, response_model=JobOut)
def mend(job: JobId, ctx: Ctx, user: Reviewer) -> JobOut:
    """Render what was edited: those chunks only in which something changes."""
    row = changeable(ctx, user, job)
    _held(row, Move.MEND)
    edits = of(ctx, job)
    latest = edits.latest()
    if latest.edits == edits.at(row.control.edits).edits:
        raise Problem(409, "the film is rendered with all edits already")
    reason = f"{len(latest.edits)} edits" if len(latest.edits) != 1 else "1 edit"
    control = ctx.book.change(job, user.name, Move.MEND, reason, of_revision=row.control.revision, edits=latest.version)
    return _moved(ctx, row, control)


@router.post("/{job}/approve", status_code=202, response_model=JobOut, responses=responses(412))
def approve(job: JobId, ctx: Ctx, user: Reviewer, tag: Seen = None) -> JobOut:
    """Let the film be published as it is. With If-Match, only if the list of edits is the one that was seen."""
    row = changeable(ctx, user, job)
    _held(row, Move.APPROVE)
    edits = of(ctx, job)
    latest = edits.latest() if tag is None else _expected(edits, tag)
    if latest.edits != edits.at(row.control.edits).edits:
        raise Problem(409, "not all edits are rendered; mend it first, and look at it again")
    # From here on, whoever edits this version is told that it was approved, or this approval finds that they have.
    try:
        edits.write(latest, latest.edits, user.name, "approved the film", row.control.revision)
    except ChangedMeanwhile as error:
        raise _conflict(edits, error) from error
    control = ctx.book.change(job, user.name, Move.APPROVE, "approved", of_revision=row.control.revision)
    return _moved(ctx, row, control)


def _held(row: Row, move: Move) -> None:
    """Raises NotNow unless it is held for review."""
    if row.control.state is not JobState.REVIEW:
        raise NotNow(f"a job that is {row.control.state} can't be {'mended' if move is Move.MEND else 'approved'}")
