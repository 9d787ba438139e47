"""The farm itself: workers, the store's health, metrics, and whether it is up."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from cluster import records
from cluster.api.context import Admin, Context, Ctx, Viewer
from cluster.api.models import Ready, StoreHealth, WorkerOut, Workers
from cluster.api.problems import Problem, responses
from cluster.metrics import CONTENT_TYPE
from storage import layout
from storage.objects import StoreError

router = APIRouter(tags=["farm"])
_HEALTH = responses(503)
_V1 = responses(401, 403, 404, 422, 429, 503)

WorkerName = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.\-]+$")]


@router.get("/v1/workers", response_model=Workers, responses=_V1)
def workers(ctx: Ctx, user: Viewer) -> Workers:
    """The workers, as the controller saw them some seconds ago. What they do is shown to those who may see the job."""
    status = ctx.status()
    if status is None:
        return Workers(at=None, controller="", workers=[])
    found = []
    for worker in status.workers:
        shown = WorkerOut(**records.plain(worker))
        row = ctx.index.known(worker.job) if worker.job else None
        if row is not None and not user.sees(row.card):
            shown = shown.model_copy(update={"job": "", "unit": ""})
        found.append(shown)
    return Workers(at=status.at, controller=status.controller, workers=found)


def _known(ctx: Context, name: str) -> None:
    status = ctx.status()
    if status is None or all(layout.safe(worker.name) != name for worker in status.workers):
        raise Problem(404, f"there is no worker {name}")


@router.put("/v1/workers/{name}/drain", status_code=204, responses=_V1)
def drain(name: WorkerName, ctx: Ctx, user: Admin) -> None:
    """Give it no more orders; what it does now it does to the end."""
    _known(ctx, name)
    ctx.book.mark(layout.drain(name))


@router.delete("/v1/workers/{name}/drain", status_code=204, responses=_V1)
def undrain(name: WorkerName, ctx: Ctx, user: Admin) -> None:
    """Give it orders again. One that was not drained is no error, nor one that has gone."""
    ctx.book.store.delete(layout.drain(name))


@router.post("/v1/workers/{name}/unblock", status_code=204, responses=_V1)
def unblock(name: WorkerName, ctx: Ctx, user: Admin) -> None:
    """Give it another chance after failures."""
    _known(ctx, name)
    ctx.book.mark(layout.unblock(name))


@router.get("/v1/store", response_model=StoreHealth, responses=_V1)
def store(ctx: Ctx, user: Admin) -> StoreHealth:
    """Try what a farm needs of its store, at most once a minute; leaves nothing behind."""
    return ctx.checkup.health(ctx.book.store)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}, **_V1},
)
def metrics(ctx: Ctx, user: Viewer) -> Response:
    """For Prometheus. Takes a token, as everything else does."""
    return Response(ctx.metrics(), media_type=CONTENT_TYPE)


@router.get("/healthz", response_model=dict[str, bool])
def alive() -> dict[str, bool]:
    """Whether this process answers. Takes no token."""
    return {"alive": True}


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "Not yet, or not now."}})
def ready(ctx: Ctx, response: Response) -> Ready:
    """Whether the farm can work: its store answers, and all jobs are known. Takes no token."""
    answers = True
    try:
        ctx.book.store.list("farm", limit=1)
    except StoreError:
        answers = False
    found = Ready(ready=answers and ctx.index.ready, index=ctx.index.ready, store=answers, leads=ctx.leads())
    if not found.ready:
        response.status_code = 503
    return found
