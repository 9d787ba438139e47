"""Which frame a film shows at a moment. Browsers tell seconds, edits name frames, and these may last unevenly long."""

import bisect
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from cluster.api.context import Ctx, seen
from cluster.api.problems import Problem
from cluster.dashboard.job import JobId
from cluster.dashboard.pages import LookingReviewer, Page
from cluster.job import Plan, Step
from cluster.ledger import Unit
from cluster.steps import frame_index
from storage.objects import NoSuchObject

router = APIRouter(route_class=Page, include_in_schema=False)


class Shown(BaseModel):
    """A frame, and when the result shows it."""

    frame: int  # of the film, from 0
    begins: float  # seconds of the result
    ends: float


@router.get("/jobs/{job}/frames")
def shown(
    ctx: Ctx,
    user: LookingReviewer,
    job: JobId,
    at: Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False, description="Seconds of the result.")] = 0.0,
    frame: Annotated[int | None, Query(ge=0, le=10**9, description="A frame of the film instead.")] = None,
) -> Shown:
    """The frame at a moment, or one by its number; the nearest there is. 404 when the job's work was deleted."""
    ledger = ctx.book.ledger(seen(ctx, user, job).job)
    try:
        plan, index = ledger.facts(Plan), frame_index(ledger.folder(Unit(Step.INDEX)))
    except (NoSuchObject, OSError) as error:
        raise Problem(404, "") from error
    pts = index.pts[plan.first : plan.last].tolist()
    ends = [*pts[1:], pts[-1] + int(index.durations[plan.last - 1])]
    if frame is None:
        place = bisect.bisect_right(pts, pts[0] + at / index.time_base) - 1
    else:
        place = min(max(0, frame - plan.first), len(pts) - 1)
    base = float(index.time_base)
    return Shown(frame=plan.first + place, begins=(pts[place] - pts[0]) * base, ends=(ends[place] - pts[0]) * base)
