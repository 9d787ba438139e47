"""Before and after on the same frame, for reviewers. No byte of an original is sent before a reviewer asks for it, and
each time one asks, the job's history says so."""

import contextlib
import hashlib
import threading
import time
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from cluster import sessions
from cluster.api import originals
from cluster.api import review as edits_api
from cluster.api.context import Context, Ctx, seen
from cluster.api.outputs import send
from cluster.api.problems import Problem
from cluster.book import JobResult
from cluster.config import PICTURE_SOURCES
from cluster.dashboard.job import STRIPS, WIDTH, JobId, head
from cluster.dashboard.pages import LookingReviewer, OwnForm, Page, drawn, go
from cluster.dashboard.strip import Cell, Strip
from cluster.job import JobSpec, Step, StitchFacts
from cluster.jobindex import Row
from cluster.states import JobState
from cluster.users import User
from storage import layout
from storage.address import is_object, parse_object
from storage.objects import NoSuchObject, ObjectStore, StoreError

router = APIRouter(route_class=Page, include_in_schema=False)
LOOK = 15 * 60.0  # seconds for which one look at an original lasts


class Looks:
    """Which session may see which original, until when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[tuple[str, str], float] = {}

    def begin(self, session: str, job: str) -> None:
        """For a quarter of an hour."""
        now = time.monotonic()
        with self._lock:
            self._until = {key: until for key, until in self._until.items() if until > now}
            self._until[_mark(session), job] = now + LOOK

    def end(self, session: str, job: str) -> None:
        """Enough."""
        with self._lock:
            self._until.pop((_mark(session), job), None)

    def last(self, session: str, job: str) -> bool:
        """Whether the look goes on."""
        return self._until.get((_mark(session), job), 0.0) > time.monotonic()


def _mark(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()


LOOKS = Looks()


def _original(ctx: Context, spec: JobSpec) -> tuple[ObjectStore, str]:
    """Where the original is. Raises Problem when it is gone, isn't what it was, or isn't in an allowed place."""
    place = spec.source.place
    # Films that were brought are noted by their real path, and the store may be named by another one.
    own = ctx.desk.place if is_object(ctx.desk.place) else str(Path(ctx.desk.place).resolve())
    folder = layout.upload_of(place)
    if folder and place.startswith(f"{own}/{folder}/"):
        store, key = ctx.book.store, place.removeprefix(f"{own}/")
    else:
        try:
            place = ctx.allowed.checked(place)
        except Problem as error:
            raise Problem(403, "compare.refused") from error
        if not is_object(place) and not Path(place).is_file():
            raise Problem(404, "compare.gone")
        store, key = parse_object(place)
    try:
        facts = store.stat(key)
    except NoSuchObject as error:
        raise Problem(404, "compare.gone") from error
    if facts.size != spec.source.bytes:
        raise Problem(409, "compare.changed")
    return store, key


@router.get("/jobs/{job}/compare")
def show(request: Request, ctx: Ctx, user: LookingReviewer, job: JobId) -> Response:
    """The page."""
    row, shown = head(ctx, user, job)
    spec = ctx.book.ledger(job).spec()
    result = ctx.book.result(job, row.control.round)
    strip = STRIPS.strip(ctx, row)
    why = ""
    try:
        _original(ctx, spec)
    except Problem as error:
        why = error.detail
    except StoreError:
        why = "compare.gone"
    film = _shown(ctx, row, result)
    first = strip.cells[0].chunk.start if strip.cells else 0
    found = [cell for cell in strip.cells if cell.leaks or cell.failures]
    return drawn(
        request,
        "compare.html",
        **shown,
        film=film,
        still=_is_picture(film and _place(ctx, row, result)),
        still_before=_is_picture(spec.source.place),
        why=why,
        looking=not why and LOOKS.last(request.cookies.get(sessions.COOKIE, ""), job),
        rate=strip.rate,
        begins=first / strip.rate,
        found=[_found(cell, first, max(1, strip.frames), strip.rate) for cell in found],
        width=WIDTH,
        uneven=_uneven(strip),
        **_marking(ctx, user, row),
    )


def _uneven(strip: Strip) -> bool:
    """Whether frames last differently long, so that a browser can't tell their numbers from seconds."""
    told = strip.source.frame_rate if strip.source is not None else None
    return told is None or abs(strip.rate / float(told) - 1) > 1e-3


def _shown(ctx: Context, row: Row, result: JobResult | None) -> str:
    """Where the browser gets the result; "" while there is none."""
    if result is not None and result.film:
        return f"/v1/jobs/{row.job}/film"
    try:
        _drawn(ctx, row)
    except Problem:
        return ""
    return f"/jobs/{row.job}/result?seen={row.control.edits}"


def _place(ctx: Context, row: Row, result: JobResult | None) -> str:
    """Where the store has what `_shown` names."""
    return result.film if result is not None and result.film else _drawn(ctx, row)


def _is_picture(place: str) -> bool:
    """Whether browsers show it as one, animations too."""
    return PurePosixPath(place).suffix.lower() in PICTURE_SOURCES


def _drawn(ctx: Context, row: Row) -> str:
    """The key of a film that waits for its release. Raises Problem."""
    ledger = ctx.book.ledger(row.job)
    try:
        unit = ledger.unit(Step.STITCH, edits=row.control.edits)
    except NoSuchObject as error:
        raise Problem(404, "compare.none.title") from error
    done = ledger.done(unit)
    if row.control.state is not JobState.REVIEW or done is None or not isinstance(done.facts, StitchFacts):
        raise Problem(404, "compare.none.title")
    return f"{layout.attempt(row.job, unit.step, None, done.attempt, unit.edition)}/{done.facts.film}"


def _marking(ctx: Context, user: User, row: Row) -> dict[str, Any]:
    """What a form needs by which a reviewer marks a face that was missed."""
    answer = Response()
    try:
        listed = edits_api.show(row.job, ctx, user, answer)
    except Problem:
        return {"marks_now": False, "tag": ""}
    return {"marks_now": listed.editable and user.changes(row.card), "tag": answer.headers["ETag"].strip('"')}


@router.get("/jobs/{job}/result")
def result(
    ctx: Ctx,
    user: LookingReviewer,
    job: JobId,
    wanted: Annotated[str | None, Header(alias="Range", max_length=200)] = None,
    only_if: Annotated[str | None, Header(alias="If-Range", max_length=200)] = None,
    unless: Annotated[str | None, Header(alias="If-None-Match", max_length=1000)] = None,
) -> Response:
    """The film that waits for its release, in ranges, for those who release it."""
    row = seen(ctx, user, job)
    return send(ctx.book.store, _drawn(ctx, row), row.card.name, wanted, only_if, unless)


def _found(cell: Cell, first: int, frames: int, rate: float) -> dict[str, Any]:
    """A chunk in which the checks have covered something: where it is on the timeline, and when."""
    start = cell.chunk.start - first
    wide = max(3.0, cell.chunk.frames / frames * WIDTH)
    return {"at": start / rate, "x": round(start / frames * WIDTH, 2), "width": round(wide, 2), "cell": cell}


@router.post("/jobs/{job}/compare")
def ask(request: Request, ctx: Ctx, user: LookingReviewer, job: JobId, fields: OwnForm) -> Response:
    """Begin or end a look at the original. The history is written first: a look that can't be noted isn't granted."""
    head(ctx, user, job)
    session = request.cookies.get(sessions.COOKIE, "")
    if fields.get("do", [""])[0] == "end":
        LOOKS.end(session, job)
    else:
        _original(ctx, ctx.book.ledger(job).spec())
        originals.note(ctx, user, job)
        LOOKS.begin(session, job)
    return go(f"/jobs/{job}/compare")


@router.get("/jobs/{job}/original")
def original(
    request: Request,
    ctx: Ctx,
    user: LookingReviewer,
    job: JobId,
    wanted: Annotated[str | None, Header(alias="Range", max_length=200)] = None,
    only_if: Annotated[str | None, Header(alias="If-Range", max_length=200)] = None,
    unless: Annotated[str | None, Header(alias="If-None-Match", max_length=1000)] = None,
) -> Response:
    """The original, in ranges, while a look lasts."""
    row, _ = head(ctx, user, job)
    if not LOOKS.last(request.cookies.get(sessions.COOKIE, ""), job):
        raise Problem(403, "ask for the original on the page first")
    store, key = _original(ctx, ctx.book.ledger(job).spec())
    answer = send(store, key, row.card.name, wanted, only_if, unless)
    answer.headers["Cache-Control"] = "no-store"
    with contextlib.suppress(KeyError):
        del answer.headers["ETag"]
    return answer
