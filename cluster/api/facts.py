"""/v1/jobs/…: what is known of a job's inside: history, units, logs, findings."""

import contextlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query

from cluster import records
from cluster.api.context import Context, Ctx, Reviewer, Viewer, seen
from cluster.api.jobs import JobId
from cluster.api.models import EntryOut, FindingOut, Findings, LogOut, UnitOut
from cluster.api.problems import Problem, responses
from cluster.job import PER_CHUNK, Plan, RenderFacts, Step
from cluster.ledger import Ledger, Unit
from cluster.places import read_report
from cluster.users import User
from storage.objects import NoSuchObject

router = APIRouter(prefix="/v1/jobs", tags=["inside a job"], responses=responses(401, 403, 404, 422, 429, 503))

After = Annotated[int, Query(ge=0, le=10_000_000, description="How many to leave out at the beginning.")]
Most = Annotated[int, Query(ge=1, le=1000)]


def _ledger(ctx: Context, user: User, job: str) -> Ledger:
    return Ledger(ctx.book.store, seen(ctx, user, job).job)


@router.get("/{job}/history", response_model=list[EntryOut])
def history(job: JobId, ctx: Ctx, user: Viewer) -> list[EntryOut]:
    """What happened to the job, oldest first."""
    seen(ctx, user, job)
    return [EntryOut(**records.plain(entry)) for entry in ctx.book.history(job)]


@router.get("/{job}/report", response_model=dict[str, Any], responses=responses(409))
def report(job: JobId, ctx: Ctx, user: Viewer) -> dict[str, Any]:
    """The report of a finished job; docs/report.schema.json says what its fields mean."""
    row = seen(ctx, user, job)
    result = ctx.book.result(job, row.control.round)
    if result is None or not result.report:
        raise Problem(409, f"the job is {row.control.state}; there is no report yet")
    place = result.report
    if not place.startswith("outputs/"):
        ctx.allowed.checked(place)
    try:
        return read_report(Ledger(ctx.book.store, job), place)
    except (OSError, NoSuchObject) as error:
        raise Problem(404, "the report isn't where it was put") from error


@router.get("/{job}/units", response_model=list[UnitOut])
def units(job: JobId, ctx: Ctx, user: Viewer, offset: After = 0, limit: Most = 200) -> list[UnitOut]:
    """The steps of the film, then those of each chunk, once it is planned."""
    ledger = _ledger(ctx, user, job)
    chunks = {}
    with contextlib.suppress(NoSuchObject):
        chunks = {chunk.index: chunk.frames for chunk in ledger.chunks()}
    found = []
    for unit in ledger.units()[offset : offset + limit]:
        done = ledger.done(unit)
        found.append(
            UnitOut(
                step=unit.step.value,
                chunk=unit.chunk,
                edited=bool(unit.edition),
                frames=None if unit.chunk is None else chunks.get(unit.chunk),
                done=done is not None,
                worker=done.worker if done else "",
                seconds=round(done.seconds, 3) if done else 0.0,
            )
        )
    return found


@router.get("/{job}/logs", response_model=list[LogOut])
def logs(
    job: JobId,
    ctx: Ctx,
    user: Viewer,
    step: Step,
    chunk: Annotated[int | None, Query(ge=0, le=10_000_000, description="For analyse and render.")] = None,
) -> list[LogOut]:
    """What each try at a unit said, the oldest try first. A try that goes on has said nothing yet."""
    ledger = _ledger(ctx, user, job)
    if (chunk is not None) != (step in PER_CHUNK):
        raise Problem(422, f"{step} is one unit {'per chunk' if step in PER_CHUNK else 'of the whole film'}")
    unit = Unit(step, chunk)
    return [
        LogOut(step=step.value, chunk=chunk, attempt=attempt, lines=_lines(text)) for attempt, text in ledger.logs(unit)
    ]


def _lines(text: bytes) -> list[dict[str, Any]]:
    found = []
    for line in text.decode(errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        found.append(value if isinstance(value, dict) else {"text": line})
    return found


def _drawn(ledger: Ledger, edits: int) -> tuple[Unit, ...]:
    """The units that render the chunks. While edits are only being applied, those before."""
    try:
        return ledger.units_of(Step.RENDER, edits)
    except NoSuchObject:
        return ledger.units_of(Step.RENDER)


@router.get("/{job}/findings", response_model=Findings, responses=responses(409))
def findings(job: JobId, ctx: Ctx, user: Reviewer, offset: After = 0, limit: Most = 500) -> Findings:
    """Chunks of a part of the film in which the leak gate or the renderer found something."""
    ledger, edits = _ledger(ctx, user, job), seen(ctx, user, job).control.edits
    try:
        chunks, units = ledger.facts(Plan).chunks, _drawn(ledger, edits)
    except NoSuchObject as error:
        raise Problem(409, "the film has no chunks yet") from error
    found, looked = [], 0
    for chunk in chunks[offset : offset + limit]:
        done = ledger.done(units[chunk.index])
        if done is None or not isinstance(done.facts, RenderFacts):
            continue
        facts = done.facts
        looked += 1
        if facts.leaks or facts.failures:
            found.append(
                FindingOut(
                    chunk=chunk.index, first=chunk.start, last=chunk.stop, leaks=facts.leaks, failures=facts.failures
                )
            )
    return Findings(findings=found, looked=looked, chunks=len(chunks))
