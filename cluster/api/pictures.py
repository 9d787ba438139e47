"""/v1/jobs/…/people/…/before.jpg and after.jpg: a face as it was, and as it was rendered."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response

from cluster import glimpse
from cluster.apart import Busy
from cluster.api import originals
from cluster.api.context import Context, Ctx, Reviewer, seen
from cluster.api.jobs import JobId
from cluster.api.people import tracks_now
from cluster.api.problems import Problem, responses
from cluster.api.review import of
from cluster.book import Control
from cluster.job import ChunkRecord, Step, TrackFacts
from cluster.ledger import Done, Ledger, Unit
from cluster.places import source_file
from cluster.users import User
from storage.objects import NoSuchObject

_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture.", "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}
router = APIRouter(
    prefix="/v1/jobs", tags=["review"], responses={**responses(401, 403, 404, 409, 422, 429, 503), **_JPEG}
)

Person = Annotated[int, Path(ge=0, le=1_000_000_000, description="Number of a person.")]
Track = Annotated[int, Path(ge=0, le=1_000_000_000, description="Number of a track, one of theirs.")]
Unless = Annotated[str | None, Header(alias="If-None-Match", max_length=1000)]
_ONE = threading.Lock()  # picture at a time: films are copied to this machine for it
_WAIT = 30.0  # seconds


@contextlib.contextmanager
def _one(ctx: Context) -> Iterator[None]:
    """One picture at a time; what was copied to this machine for it may go when room is needed. Raises Problem 503."""
    if not _ONE.acquire(timeout=_WAIT):
        raise Problem(503, "others are being shown pictures just now", {"Retry-After": "10"})
    try:
        yield
    except Busy as error:
        raise Problem(503, str(error), {"Retry-After": "10"}) from error
    finally:
        ctx.book.store.release()
        _ONE.release()


def _best(ctx: Context, job: str, person: int, control: Control, track: int | None = None) -> TrackFacts:
    """The track that shows a person best, or the one that is asked for. Raises Problem 404, and 409 where that isn't
    known."""
    standing, tracks = tracks_now(ctx, of(ctx, job), job, control)
    own = [tracks[each] for each in standing.of(person) if track in (None, each)]
    if not own:
        raise Problem(404, f"there is no person {person}" + ("" if track is None else f" with a track {track}"))
    known = [track for track in own if track.best >= 0]
    if not known:
        raise Problem(409, "what was edited isn't rendered yet")
    return max(known, key=lambda track: (min(1, track.treatments.get("replace", 0)), track.largest))


def _rendered(ledger: Ledger, frame: int, control: Control) -> tuple[ChunkRecord, Unit, Done]:
    """The chunk that a frame is in, as it is rendered; while that is being done anew, as it was reviewed before. Raises
    NoSuchObject when it isn't rendered."""
    chunk = next(chunk for chunk in ledger.chunks() if chunk.start <= frame < chunk.stop)
    for version in (control.edits, control.held):
        with contextlib.suppress(NoSuchObject):
            unit = ledger.unit(Step.RENDER, chunk.index, version)
            if (done := ledger.done(unit)) is not None:
                return chunk, unit, done
    raise NoSuchObject(f"chunk {chunk.index} isn't rendered")


@router.get("/{job}/people/{person}/after.jpg", response_class=Response)
def after(job: JobId, person: Person, ctx: Ctx, user: Reviewer, unless: Unless = None) -> Response:
    """Somebody's new face: out of the rendered film, on the frame that shows it best."""
    row = seen(ctx, user, job)
    return _after(ctx, job, _best(ctx, job, person, row.control), row.control, unless)


@router.get("/{job}/people/{person}/tracks/{track}/after.jpg", response_class=Response)
def track_after(job: JobId, person: Person, track: Track, ctx: Ctx, user: Reviewer, unless: Unless = None) -> Response:
    """The same of one appearance."""
    row = seen(ctx, user, job)
    return _after(ctx, job, _best(ctx, job, person, row.control, track), row.control, unless)


def _after(ctx: Context, job: str, track: TrackFacts, control: Control, unless: str | None) -> Response:
    ledger = Ledger(ctx.book.store, job)
    try:
        chunk, unit, done = _rendered(ledger, track.best, control)
        tag = f'"{done.attempt}.{track.id}.{track.best}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if unless is not None and tag in unless:
            return Response(status_code=304, headers=headers)
        with _one(ctx):
            picture = glimpse.after(ledger, chunk, unit, track)
    except NoSuchObject as error:
        raise Problem(409, "it isn't rendered yet, or was deleted with the job's work") from error
    return Response(picture, headers=headers, media_type="image/jpeg")


@router.get("/{job}/people/{person}/before.jpg", response_class=Response)
def before(job: JobId, person: Person, ctx: Ctx, user: Reviewer) -> Response:
    """Somebody's own face, out of the original: the same place on the same frame as in after.jpg. Each look is written
    into the job's history first."""
    row = seen(ctx, user, job)
    return _before(ctx, user, job, _best(ctx, job, person, row.control), f"the original of person {person}")


@router.get("/{job}/people/{person}/tracks/{track}/before.jpg", response_class=Response)
def track_before(job: JobId, person: Person, track: Track, ctx: Ctx, user: Reviewer) -> Response:
    """The same of one appearance; it is noted, too."""
    row = seen(ctx, user, job)
    found = _best(ctx, job, person, row.control, track)
    return _before(ctx, user, job, found, f"the original of person {person} on frame {found.best}")


def _before(ctx: Context, user: User, job: str, track: TrackFacts, what: str) -> Response:
    ledger = Ledger(ctx.book.store, job)
    spec = ledger.spec()
    originals.check(ctx, spec)
    originals.note(ctx, user, job, what)
    try:
        with _one(ctx), source_file(spec.source) as source:
            picture = glimpse.before(ledger, source, track)
    except NoSuchObject as error:
        raise Problem(409, "the job's work was deleted") from error
    return Response(picture, headers={"Cache-Control": "no-store"}, media_type="image/jpeg")
