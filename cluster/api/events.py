"""/v1/events: what happens, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from cluster.account import Progress
from cluster.api.context import Context, Ctx, Viewer, seen
from cluster.api.hub import Happening
from cluster.api.models import JOB, JobOut, job_facts, progress_out
from cluster.api.problems import Problem, responses
from cluster.sessions import COOKIE
from cluster.users import User

router = APIRouter(prefix="/v1/events", tags=["events"], responses=responses(401, 403, 404, 422, 429, 503))

_LOOK = 0.2  # seconds between looks at what happened
_PROGRESS = 1.0  # seconds between looks at progress
_ALIVE = 15.0  # seconds after which something is said, so that nobody in between takes the connection for dead


@router.get(
    "",
    response_class=StreamingResponse,
    responses={200: {"description": "Events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    request: Request,
    ctx: Ctx,
    user: Viewer,
    job: Annotated[str | None, Query(pattern=JOB, description="Only of this job.")] = None,
    seconds: Annotated[float, Query(gt=0, le=3600, description="When the stream shall end.")] = 3600.0,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)] = None,
) -> StreamingResponse:
    """A stream of `job` (as GET /v1/jobs/{job} has it, at each change), `gone` (it was erased), `progress` and `reset`
    (events were missed: read the list anew). A client that comes back says which event it had last."""
    if job is not None:
        await run_in_threadpool(seen, ctx, user, job)
    count = getattr(request.app.state, "streams", 0)
    if count >= ctx.limits.streams:
        raise Problem(503, "too many streams are open", {"Retry-After": "30"})
    token, cookie = request.headers.get("authorization", "").partition(" ")[2], request.cookies.get(COOKIE, "")
    stream = _Stream(ctx, user, lambda: ctx.users.who(token) if token else ctx.sessions.who(cookie), job, last)
    ends = time.monotonic() + seconds

    async def told() -> AsyncIterator[str]:
        request.app.state.streams = getattr(request.app.state, "streams", 0) + 1
        try:
            while time.monotonic() < ends and not ctx.stopping.is_set():
                if stream.to_ask() and not await run_in_threadpool(stream.welcome):
                    return
                text = stream.news()
                if text:
                    yield text
                await asyncio.sleep(_LOOK)
        finally:
            request.app.state.streams -= 1

    return StreamingResponse(told(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


class _Stream:
    """What one client is told."""

    def __init__(
        self, ctx: Context, user: User, who: Callable[[], User | None], job: str | None, last: str | None
    ) -> None:
        self._ctx, self._user, self._who, self._job = ctx, user, who, job
        self._asked = time.monotonic()
        place = ctx.hub.place(last) if last else ctx.hub.last
        self._lost = place is None
        self._at = ctx.hub.last if place is None else place
        self._progress: dict[str, Progress] = {}
        self._looked, self._spoke = 0.0, 0.0

    def to_ask(self) -> bool:
        """Whether it is time to look if the token, or the session, still counts."""
        return time.monotonic() - self._asked > _ALIVE

    def welcome(self) -> bool:
        """Whether it still counts."""
        self._asked = time.monotonic()
        user = self._who()
        if user is not None:
            self._user = user
        return user is not None

    def news(self) -> str:
        """Since the last call; "" when there is none."""
        now = time.monotonic()
        found = list(self._changes())
        if now - self._looked >= _PROGRESS:
            self._looked = now
            found += self._steps()
        if not found and now - self._spoke >= _ALIVE:
            found = [": still here\n\n"]
        if found:
            self._spoke = now
        return "".join(found)

    def _changes(self) -> list[str]:
        happenings = self._ctx.hub.since(self._at)
        if self._lost or happenings is None:
            self._lost, self._at = False, self._ctx.hub.last
            return [self._event("reset", {})]
        if not happenings:
            return []
        self._at = happenings[-1].number
        return [self._told(each) for each in happenings if self._wants(each)]

    def _wants(self, happening: Happening) -> bool:
        return self._job in (None, happening.job) and self._user.sees(happening.card)

    def _told(self, happening: Happening) -> str:
        if happening.row is None:
            return self._event("gone", {"job": happening.job}, happening.number)
        facts = JobOut(**job_facts(happening.row, None)).model_dump(mode="json")
        return self._event("job", facts, happening.number)

    def _steps(self) -> list[str]:
        found = []
        for now in self._ctx.progress():
            row = self._ctx.index.known(now.job)
            if row is None or self._progress.get(now.job) == now or self._job not in (None, now.job):
                continue
            shown = progress_out(now)
            if self._user.sees(row.card) and shown is not None:
                self._progress[now.job] = now
                found.append(self._event("progress", {"job": now.job, **shown.model_dump()}))
        return found

    def _event(self, kind: str, facts: dict[str, object], number: int | None = None) -> str:
        mark = f"id: {self._ctx.hub.name}-{self._at if number is None else number}\n"
        return f"{mark}event: {kind}\ndata: {json.dumps(facts, ensure_ascii=False)}\n\n"
