"""One job: its film as a strip, history, what it took, its parts' logs; and the film to fetch."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from cluster.account import Progress
from cluster.api.context import Context, Ctx, seen
from cluster.api.models import JOB
from cluster.api.problems import Problem
from cluster.dashboard.jobs import facts
from cluster.dashboard.pages import Looker, Page, drawn
from cluster.dashboard.strip import Strip, Strips
from cluster.job import PER_CHUNK, JobSpec, Moment, RenderFacts, Step
from cluster.jobindex import Row
from cluster.ledger import Ledger, Unit
from cluster.pace import film_load
from cluster.users import User
from storage.objects import NoSuchObject

router = APIRouter(route_class=Page, include_in_schema=False)
JobId = Annotated[str, Path(pattern=JOB)]
ChunkNumber = Annotated[int, Path(ge=0, le=10**7)]
STRIPS = Strips()
_ENTRIES = 200  # lines of history on the page
_LINES = 500  # of a log on the page
STATES = ("open", "analysing", "analysed", "rendering", "rendered")  # the least far first
MOST_BARS = 500  # in a strip; more can't be told apart
WIDTH = 1000  # of the strip, in its own units


@router.get("/jobs/{job}")
def show(request: Request, ctx: Ctx, user: Looker, job: JobId) -> Response:
    """The page."""
    return drawn(request, "job.html", **_job(ctx, user, job))


@router.get("/jobs/{job}/part")
def part(request: Request, ctx: Ctx, user: Looker, job: JobId) -> Response:
    """The part of it that changes."""
    return drawn(request, "job_now.html", fragment=True, **_job(ctx, user, job))


def head(ctx: Context, user: User, job: str) -> tuple[Row, dict[str, Any]]:
    """A job, and what the head of its pages shows."""
    row = seen(ctx, user, job)
    now: Progress | None = next((each for each in ctx.progress() if each.job == job), None)
    return row, {"row": facts(row, now, user)}


def _job(ctx: Context, user: User, job: str) -> dict[str, Any]:
    row, shown = head(ctx, user, job)
    spec = ctx.book.ledger(job).spec()
    strip = STRIPS.strip(ctx, row)
    history = ctx.book.history(job)
    result = ctx.book.result(job, row.control.round)
    number = {worker: index for index, worker in enumerate(strip.workers)}
    return {
        **shown,
        "spec": spec,
        "place": spec.source.place,
        "span": (_moment(spec.start), _moment(spec.stop)),
        "strip": strip,
        "cells": bars(strip, number),
        "number": number,
        "width": WIDTH,
        "done": {state: strip.share(state) for state in reversed(STATES)},
        "history": history[: -_ENTRIES - 1 : -1],
        "older": max(0, len(history) - _ENTRIES),
        "result": result,
        "estimate": _estimate(ctx, spec, strip),
        "steps": list(Step),
    }


def _moment(moment: Moment | None) -> str:
    if moment is None:
        return ""
    return f"{moment.frame}f" if moment.frame is not None else f"{float(moment.seconds or 0):g} s"


def bars(strip: Strip, number: dict[str, int]) -> list[dict[str, Any]]:
    """The chunks as rectangles, side by side and as wide as they are long. Of very many, neighbours share one, which
    shows the chunk that is least far."""
    if not strip.cells:
        return []
    first, total = strip.cells[0].chunk.start, max(1, strip.frames)
    each = -(-len(strip.cells) // MOST_BARS)
    found = []
    for index in range(0, len(strip.cells), each):
        group = strip.cells[index : index + each]
        cell = min(group, key=lambda one: STATES.index(one.state))
        start, stop = group[0].chunk.start, group[-1].chunk.stop
        found.append(
            {
                "cell": cell,
                "x": round((start - first) / total * WIDTH, 2),
                "width": round(max((stop - start) / total * WIDTH - 600 / max(500, len(strip.cells)), 0.6), 2),
                "worker": number.get(cell.worker, -1) % 8,
                "from": start / strip.rate,
                "to": stop / strip.rate,
                "flagged": any(one.leaks or one.failures for one in group),
            }
        )
    return found


def _estimate(ctx: Context, spec: JobSpec, strip: Strip) -> float | None:
    """Worker seconds that the film will take in all; None while nobody has looked at it."""
    if strip.source is None:
        return None
    frames = strip.frames or (strip.index.frames if strip.index is not None else 0)
    devices = () if spec.device == "any" else (spec.device,)
    return ctx.worth(film_load(strip.source, frames, spec.veil), devices)


@router.get("/jobs/{job}/chunks/{chunk}")
def chunk(
    request: Request, ctx: Ctx, user: Looker, job: JobId, chunk: Annotated[int, Path(ge=0, le=10**7)]
) -> Response:
    """One chunk, and what its tries said."""
    row, shown = head(ctx, user, job)
    strip = STRIPS.strip(ctx, row)
    if chunk >= len(strip.cells):
        raise Problem(404, "")
    cell = strip.cells[chunk]
    ledger, edits = ctx.book.ledger(job), row.control.edits
    units = [_unit(ledger, _edited(ledger, Unit(step, chunk), edits)) for step in Step if step in PER_CHUNK]
    span = (cell.chunk.start / strip.rate, cell.chunk.stop / strip.rate)
    return drawn(request, "unit.html", **shown, cell=cell, units=units, span=span, chunks=len(strip.cells))


@router.get("/jobs/{job}/steps/{step}")
def step(request: Request, ctx: Ctx, user: Looker, job: JobId, step: Step) -> Response:
    """One step of the whole film, and what its tries said."""
    if step in PER_CHUNK:
        raise Problem(404, "")
    row, shown = head(ctx, user, job)
    ledger = ctx.book.ledger(job)
    units = [_unit(ledger, _edited(ledger, Unit(step), row.control.edits))]
    return drawn(request, "unit.html", **shown, cell=None, units=units, span=None, chunks=0)


def _edited(ledger: Ledger, unit: Unit, edits: int) -> Unit:
    """The unit as it is with reviewers' edits; as it was before while these aren't applied."""
    try:
        return ledger.unit(unit.step, unit.chunk, edits)
    except NoSuchObject:
        return unit


def _unit(ledger: Ledger, unit: Unit) -> dict[str, Any]:
    done = ledger.done(unit)
    facts = done.facts if done is not None else None
    try:
        logs = ledger.logs(unit)
    except NoSuchObject:
        logs = ()
    return {
        "step": unit.step.value,
        "done": done,
        "stages": getattr(facts, "stages", {}),
        "treated": facts.treated if isinstance(facts, RenderFacts) else {},
        "leaks": facts.leaks if isinstance(facts, RenderFacts) else 0,
        "failed": facts.failures if isinstance(facts, RenderFacts) else {},
        "failures": ledger.failures(unit),
        "tries": [
            {"counts": done is not None and attempt == done.attempt, "lines": _lines(text)} for attempt, text in logs
        ],
    }


def _lines(text: bytes) -> list[dict[str, str]]:
    """A log's lines, the last ones, as level and text."""
    found = []
    for line in text.decode(errors="replace").splitlines()[-_LINES:]:
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            value = {"text": line}
        said = str(value.get("text") or value.get("message") or value.get("msg") or line)
        level = str(value.get("level", "")).lower()
        found.append({"level": level, "text": said, "at": str(value.get("time") or value.get("at") or "")})
    return found
