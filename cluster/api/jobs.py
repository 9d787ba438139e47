"""/v1/jobs: make, list, show, change and delete jobs."""

import dataclasses
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from cluster import records
from cluster.account import Progress
from cluster.api.context import Context, Ctx, Submitter, Viewer, changeable, seen
from cluster.api.incoming import Upload
from cluster.api.models import JOB, JobChange, JobDetail, JobList, JobOut, NewJob, ResultOut, job_facts
from cluster.api.once import Once
from cluster.api.problems import Problem, responses
from cluster.book import NoSuchJob
from cluster.config import moment
from cluster.desk import Wish
from cluster.job import born, new_id
from cluster.jobindex import Query as Wanted
from cluster.jobindex import Row
from cluster.states import JobState, Move
from cluster.users import Role, User
from storage import layout
from storage.objects import AlreadyThere, StoreError

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=responses(401, 403, 404, 422, 429, 503))

_CLOCKS = 3600.0  # seconds by which a client's clock may be ahead
_LOOKED: dict[int | str, dict[str, Any]] = {204: {"description": "It could be made, or is there already: see `check`."}}
JobId = Annotated[str, Path(pattern=JOB, description="Id of a job.")]


def out(ctx: Context, row: Row) -> JobOut:
    """A job as it is answered."""
    return JobOut(**job_facts(row, _progress(ctx, row)))


def _progress(ctx: Context, row: Row) -> Progress | None:
    if row.control.state is not JobState.RUNNING:
        return None
    return next((each for each in ctx.progress() if each.job == row.job), None)


@router.post("", status_code=201, response_model=JobDetail, responses={**_LOOKED, **responses(400, 409, 413, 507)})
def create(
    asked: NewJob,
    ctx: Ctx,
    user: Submitter,
    response: Response,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", min_length=1, max_length=200, description="Makes one job, however often sent."),
    ] = None,
    check: Annotated[bool, Query(description="Only look whether it could be made; make none.")] = False,
) -> JobDetail | Response:
    """Make a job. The same Idempotency-Key and body give the same job again for a week, with 200; so does the same
    `job`, for ever. With `check`, a film that is still to be brought may be named by its `name` alone."""
    if check:
        _check(ctx, user, asked)
        return Response(status_code=204)
    if (asked.upload is None) == (asked.source is None):
        raise Problem(422, "give one of upload and source")
    if asked.job is not None:
        job = asked.job
        if _submitted(ctx, user, asked, job):
            response.status_code = 200
        else:
            try:
                _submit(ctx, user, asked, job)
            except AlreadyThere as error:
                raise Problem(409, "this job is being made just now; ask again", {"Retry-After": "2"}) from error
    elif key is None:
        job = _submit(ctx, user, asked, new_id())
    else:
        once = Once(ctx.book)
        job, new = once.claim(user.name, key, asked.model_dump_json().encode())
        if new:
            try:
                _submit(ctx, user, asked, job)
            except Exception:
                if not _there(ctx, job):
                    once.give_up(user.name, key)
                raise
        else:
            response.status_code = 200
    response.headers["Location"] = f"/v1/jobs/{job}"
    return _detail(ctx, ctx.index.row(job))


def _check(ctx: Context, user: User, asked: NewJob) -> None:
    """Raise what making the job would raise, as far as that can be known, and make none."""
    if asked.upload is not None and asked.source is not None:
        raise Problem(422, "give one of upload and source")
    if asked.job is not None and _submitted(ctx, user, asked, asked.job):
        return
    wish = _wish(ctx, user, asked)
    if asked.upload is not None:
        wish = dataclasses.replace(wish, name=wish.name or _mine(ctx, user, asked.upload).name)
    elif asked.source is None and not wish.name:
        raise Problem(422, "give one of upload, source and name")
    ctx.desk.check(ctx.allowed.checked(asked.source) if asked.source is not None else "", wish)


def _wish(ctx: Context, user: User, asked: NewJob) -> Wish:
    return Wish(
        to=ctx.allowed.checked(asked.to) if asked.to else "",
        veil=asked.veil,
        quality=asked.quality,
        codec=asked.codec,
        drop_dynamic_hdr=asked.drop_dynamic_hdr,
        convert_audio=asked.convert_audio,
        convert_subtitles=asked.convert_subtitles,
        copy_clean=asked.copy_clean,
        start=moment(asked.start) if asked.start is not None else None,
        stop=moment(asked.stop) if asked.stop is not None else None,
        device=asked.device,
        overwrite=asked.overwrite,
        owner=user.name,
        team=user.team,
        priority=asked.priority,
        limit=asked.limit,
        deadline=asked.deadline,
        after=tuple(seen(ctx, user, other).job for other in asked.after),
        review=asked.review,
        name=asked.name,
    )


def _submit(ctx: Context, user: User, asked: NewJob, job: str) -> str:
    wish = _wish(ctx, user, asked)
    if asked.upload is None:
        assert asked.source is not None
        return ctx.desk.submit(ctx.allowed.checked(asked.source), wish, job_id=job)
    return _submit_upload(ctx, user, asked.upload, wish, job)


def _submitted(ctx: Context, user: User, asked: NewJob, job: str) -> bool:
    """Whether there is this job already, asked for in the same way. Raises Problem 409 for one that is another's."""
    if born(job) > time.time() + _CLOCKS:
        raise Problem(422, "this id says that it will be made in the future; take a new ULID")
    try:
        card = ctx.book.card(job)
    except NoSuchJob:
        return False
    if card.owner != user.name:
        raise Problem(409, "this id is taken; take another")
    wish = _wish(ctx, user, asked)
    if asked.source is not None:
        return ctx.desk.submitted(job, ctx.allowed.checked(asked.source), wish)
    place = ctx.book.ledger(job).spec().source.place
    name = wish.name or card.name
    if layout.upload_of(place) != f"uploads/{asked.upload}":
        raise Problem(409, f"there is a job {job} already, of another film")
    return ctx.desk.submitted(job, place, dataclasses.replace(wish, name=name))


def _mine(ctx: Context, user: User, upload_id: str) -> Upload:
    upload = ctx.incoming.find(upload_id)
    if upload.owner != user.name:
        raise Problem(404, f"there is no upload {upload_id}")
    return upload


def _submit_upload(ctx: Context, user: User, upload_id: str, wish: Wish, job: str) -> str:
    upload = _mine(ctx, user, upload_id)
    if (come := ctx.incoming.offset(upload)) != upload.length:
        raise Problem(409, f"{come} of the upload's {upload.length} bytes have come")
    ctx.incoming.take(upload, job)
    try:
        place = f"{ctx.desk.place}/{ctx.incoming.finish(upload)}"
        return ctx.desk.submit(place, dataclasses.replace(wish, name=wish.name or upload.name), job_id=job)
    except Exception:
        if not _there(ctx, job):
            ctx.incoming.leave(upload)
        raise


def _there(ctx: Context, job: str) -> bool:
    """Whether a submission that broke off made a job all the same. True when the store doesn't say."""
    try:
        ctx.book.control(job)
    except NoSuchJob:
        return False
    except StoreError:
        return True
    return True


@router.get("", response_model=JobList)
def jobs(
    ctx: Ctx,
    user: Viewer,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in these states.")] = None,
    owner: Annotated[str | None, Query(max_length=200)] = None,
    team: Annotated[str | None, Query(max_length=200)] = None,
    q: Annotated[str, Query(max_length=200, description="Part of the film's name.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(pattern=JOB, description="`next` of the page before.")] = None,
) -> JobList:
    """List jobs, the newest first: one's own, those of one's team, or all for an admin."""
    visible = None if user.may(Role.ADMIN) else user.sees
    page = ctx.index.page(Wanted(frozenset(state or ()), owner, team, q, visible), limit, cursor)
    now = {each.job: each for each in ctx.progress()}
    found = [
        JobOut(**job_facts(row, now.get(row.job) if row.control.state is JobState.RUNNING else None))
        for row in page.rows
    ]
    return JobList(jobs=found, next=page.next, total=page.total, complete=ctx.index.ready)


@router.get("/{job}", response_model=JobDetail)
def show(job: JobId, ctx: Ctx, user: Viewer) -> JobDetail:
    """Show one job."""
    return _detail(ctx, seen(ctx, user, job))


def _detail(ctx: Context, row: Row) -> JobDetail:
    ledger = ctx.book.ledger(row.job)
    spec = ledger.spec()
    result = ctx.book.result(row.job, row.control.round)
    settings = records.plain(spec)
    ended = None
    if result is not None:
        ended = ResultOut(**{**records.plain(result), "film": bool(result.film)})
    return JobDetail(
        **job_facts(row, _progress(ctx, row)),
        source=spec.source.place,
        source_bytes=spec.source.bytes,
        target=spec.target,
        settings={name: settings[name] for name in ("veil", "encoding", "start", "stop", "device")},
        frame_rate=ledger.frame_rate(),
        result=ended,
    )


@router.patch("/{job}", response_model=JobOut, responses=responses(400, 409, 413))
def change(job: JobId, asked: JobChange, ctx: Ctx, user: Submitter) -> JobOut:
    """Change priority, limit or deadline; of running jobs, too. null takes a limit or a deadline away."""
    row = changeable(ctx, user, job)
    fields = asked.model_dump(exclude_unset=True)
    if fields.get("priority", 0) is None:
        raise Problem(422, "a priority is a number")
    if fields:
        row = Row(job, row.card, ctx.book.change(job, user.name, None, **fields))
    return out(ctx, row)


def _moved(ctx: Context, user: User, job: str, move: Move) -> JobOut:
    row = changeable(ctx, user, job)
    return out(ctx, Row(job, row.card, ctx.book.change(job, user.name, move)))


@router.post("/{job}/pause", response_model=JobOut, responses=responses(409))
def pause(job: JobId, ctx: Ctx, user: Submitter) -> JobOut:
    """Hand out no more chunks of it; those that are being worked on are finished."""
    return _moved(ctx, user, job, Move.PAUSE)


@router.post("/{job}/resume", response_model=JobOut, responses=responses(409))
def resume(job: JobId, ctx: Ctx, user: Submitter) -> JobOut:
    """Go on with a paused job."""
    return _moved(ctx, user, job, Move.RESUME)


@router.post("/{job}/cancel", response_model=JobOut, responses=responses(409))
def cancel(job: JobId, ctx: Ctx, user: Submitter) -> JobOut:
    """End it for good; its work is deleted."""
    return _moved(ctx, user, job, Move.CANCEL)


@router.post("/{job}/retry", response_model=JobOut, responses=responses(409))
def retry(job: JobId, ctx: Ctx, user: Submitter) -> JobOut:
    """Try a failed or cancelled job again; what was done is kept."""
    return _moved(ctx, user, job, Move.RETRY)


@router.delete("/{job}", status_code=204, responses=responses(409))
def delete(job: JobId, ctx: Ctx, user: Submitter) -> None:
    """Delete a job that is over: its film in the farm's store, its records and its history."""
    changeable(ctx, user, job)
    ctx.book.erase(job)
    ctx.index.drop(job)
