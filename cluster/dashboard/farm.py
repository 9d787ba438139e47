"""The farm: its workers, how fast they are, and how its store is."""

import time
from typing import Any

from fastapi import APIRouter, Request, Response

from cluster.api import farm as api
from cluster.api.context import Context, Ctx
from cluster.api.models import WorkerOut
from cluster.api.problems import Problem
from cluster.dashboard.pages import Looker, LookingAdmin, OwnForm, Page, drawn, go, words
from cluster.dashboard.said import say
from cluster.dashboard.series import Series, steady
from cluster.job import Step
from cluster.states import JobState
from cluster.users import User
from storage import layout

router = APIRouter(route_class=Page, include_in_schema=False)
WIDTH, HEIGHT = 1000, 160  # of the plot, in its own units
_OLD = 30.0  # seconds after which what the controller said is old
_NOW = 60.0  # seconds over which "now" is a mean


@router.get("/farm")
def show(request: Request, ctx: Ctx, user: Looker) -> Response:
    """The page."""
    return drawn(request, "farm.html", **_farm(request, ctx, user))


@router.get("/farm/part")
def part(request: Request, ctx: Ctx, user: Looker) -> Response:
    """The part of it that changes."""
    return drawn(request, "farm_now.html", fragment=True, **_farm(request, ctx, user))


def _farm(request: Request, ctx: Context, user: User) -> dict[str, Any]:
    seen = api.workers(ctx, user)
    counts = ctx.index.by_state()
    workers = [_worker(ctx, worker) for worker in seen.workers]
    return {
        "at": seen.at,
        "controller": seen.controller,
        "old": seen.at is not None and time.time() - seen.at > _OLD,
        "workers": workers,
        "busy": sum(worker["state"] == "busy" for worker in workers),
        "running": counts[JobState.RUNNING],
        "queued": counts[JobState.QUEUED],
        "plot": _plot(request.app.state.series),
        "width": WIDTH,
        "height": HEIGHT,
    }


def _worker(ctx: Context, worker: WorkerOut) -> dict[str, Any]:
    row = ctx.index.known(worker.job) if worker.job else None
    step, chunk = worker.unit.partition(" ")[0], worker.unit.partition(" of chunk ")[2].partition(" ")[0]
    return {
        **worker.model_dump(),
        "key": layout.safe(worker.name),
        "film": row.card.name if row is not None else "",
        "step": step if step in set(Step) else "",
        "chunk": int(chunk) if chunk.isdigit() else None,
    }


def _plot(series: Series) -> dict[str, Any]:
    """Two areas, one on the other, as SVG paths."""
    now = time.monotonic()
    samples = series.samples
    points = steady(samples, now)
    sums = [sum(fps.values()) for _, fps in points]
    top = _round(max(sums, default=0.0))
    recent = [sum(each.fps.values()) for each in samples if now - each.at <= _NOW]

    def area(of: list[tuple[float, float]]) -> str:
        if not of:
            return ""
        line = " L".join(f"{x * WIDTH:.1f} {HEIGHT - y / top * HEIGHT:.1f}" for x, y in of)
        return f"M{of[0][0] * WIDTH:.1f} {HEIGHT} L{line} L{of[-1][0] * WIDTH:.1f} {HEIGHT} Z"

    return {
        "top": top,
        "most": max(sums, default=0.0),
        "now": sum(recent) / len(recent) if recent else 0.0,
        "all": area([(x, sum(fps.values())) for x, fps in points]) if top else "",
        "render": area([(x, fps[Step.RENDER]) for x, fps in points]) if top else "",
    }


def _round(value: float) -> float:
    """The next 1, 2 or 5 with zeros."""
    if value <= 0:
        return 0.0
    size = 1.0
    while size * 10 < value:
        size *= 10
    while size > value:
        size /= 10
    return next(step * size for step in (1, 2, 5, 10) if step * size >= value)


@router.get("/farm/store")
def store(request: Request, ctx: Ctx, user: LookingAdmin) -> Response:
    """How the store is; asked when the page is there already, since it takes a while."""
    return drawn(request, "store.html", fragment=True, health=api.store(ctx, user))


@router.post("/farm/do")
def do(request: Request, ctx: Ctx, user: LookingAdmin, fields: OwnForm) -> Response:
    """Take a worker out or in, or give it another chance."""
    what, worker = fields.get("do", [""])[0], fields.get("worker", [""])[0]
    acts = {"drain": api.drain, "undrain": api.undrain, "unblock": api.unblock}
    if what not in acts or worker != layout.safe(worker):
        raise Problem(422, words(request)("error.unknown"))
    acts[what](worker, ctx, user)
    return say(go("/farm"), what)
