"""The list of jobs, and what can be done to several at once."""

from collections import Counter
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from cluster.account import Progress
from cluster.api.context import Context, Ctx, changeable
from cluster.api.models import JOB
from cluster.api.problems import Problem
from cluster.book import NoSuchJob, NotNow
from cluster.dashboard.pages import Looker, OwnForm, Page, drawn, go, words
from cluster.dashboard.said import say
from cluster.job import Step
from cluster.jobindex import Query as Wanted
from cluster.jobindex import Row
from cluster.states import OVER, TRANSITIONS, JobState, Move
from cluster.users import Role, User

router = APIRouter(route_class=Page, include_in_schema=False)
PER_PAGE = 50
_MOST = 500  # jobs in one form
MOVES = (Move.PAUSE, Move.RESUME, Move.CANCEL, Move.RETRY)
_STEPS = [step for step in Step if step is not Step.MEND]  # which most films don't need

State = Annotated[JobState | None, Query()]
Owner = Annotated[str, Query(max_length=200)]
Text = Annotated[str, Query(max_length=200)]
Cursor = Annotated[str | None, Query(pattern=JOB)]


@router.get("/")
def first() -> Response:
    """Where one begins."""
    return go("/jobs")


def _list(
    ctx: Ctx, user: Looker, state: State = None, owner: Owner = "", q: Text = "", cursor: Cursor = None
) -> dict[str, Any]:
    """What the list shows of the jobs that are asked for."""
    states = frozenset[JobState]() if state is None else frozenset({state})
    page = ctx.index.page(Wanted(states, owner or None, None, q, user.sees), PER_PAGE, cursor)
    all_of_it = user.may(Role.ADMIN)
    counts: Counter[JobState] = Counter()
    owners = set()
    for row in ctx.index.rows():
        if all_of_it or user.sees(row.card):
            counts[row.control.state] += 1
            owners.add(row.card.owner)
    progress = {each.job: each for each in ctx.progress()}
    kept = {"state": state.value if state else "", "owner": owner, "q": q}
    return {
        "rows": [facts(row, progress.get(row.job), user) for row in page.rows],
        "counts": counts,
        "everything": counts.total(),
        "total": page.total,
        "states": list(JobState),
        "state": state,
        "owner": owner,
        "owners": sorted(owners - {""}, key=str.casefold),
        "q": q,
        "filtered": bool(state or owner or q),
        "first": cursor is None,
        "older": _query({**kept, "cursor": page.next}) if page.next else None,
        "newest": _query(kept),
        "part": "/jobs/part" + _query({**kept, "cursor": cursor or ""}),
        "of_state": lambda one: _query({**kept, "state": one}),
        "complete": ctx.index.ready,
        "moves": MOVES,
    }


Listed = Annotated[dict[str, Any], Depends(_list)]


@router.get("/jobs")
def jobs(request: Request, listed: Listed) -> Response:
    """The page."""
    return drawn(request, "jobs.html", **listed)


@router.get("/jobs/part")
def part(request: Request, listed: Listed) -> Response:
    """The part of the page that changes."""
    return drawn(request, "jobs_list.html", fragment=True, **listed)


def _query(fields: dict[str, str]) -> str:
    text = urlencode({name: value for name, value in fields.items() if value})
    return f"?{text}" if text else ""


def facts(row: Row, now: Progress | None, user: User) -> dict[str, Any]:
    """A job, as templates show it."""
    control = row.control
    if control.state is not JobState.RUNNING:
        now = None
    return {
        "id": row.job,
        "name": row.card.name,
        "owner": row.card.owner,
        "team": row.card.team,
        "submitted": row.card.submitted,
        "state": control.state,
        "reason": control.reason,
        "since": control.since,
        "priority": control.priority,
        "limit": control.limit,
        "deadline": control.deadline,
        "over": control.state in OVER,
        "edits": control.edits,
        "now": None if now is None else progress(now),
        "changes": user.changes(row.card),
        "moves": [move for move in MOVES if move in TRANSITIONS[control.state]],
    }


def progress(now: Progress) -> dict[str, Any]:
    """How far a step is."""
    share = min(1.0, now.done / now.total) if now.total else None
    return {
        "step": now.step.value,
        "number": _STEPS.index(Step.LINK if now.step is Step.MEND else now.step) + 1,
        "steps": len(_STEPS),
        "share": share,
        "fps": now.fps,
        "left": now.left,
    }


@router.post("/jobs/do")
def do(request: Request, ctx: Ctx, user: Looker, fields: OwnForm) -> Response:
    """Pause, resume, cancel, retry, delete jobs, or give them a priority."""
    what, chosen = fields.get("do", [""])[0], fields.get("job", [])[:_MOST]
    if what not in {*(move.value for move in MOVES), "priority", "delete"}:
        raise Problem(422, words(request)("error.unknown"))
    if what == "priority":
        try:
            priority = int(fields.get("priority", [""])[0])
        except ValueError as error:
            raise Problem(422, words(request)("error.priority")) from error
        if not -1000 <= priority <= 1000:
            raise Problem(422, words(request)("error.priority"))
    else:
        priority = 0
    done = 0
    for job in dict.fromkeys(chosen):
        try:
            _do(ctx, user, job, what, priority)
            done += 1
        except (NotNow, NoSuchJob, Problem):
            continue  # it has changed meanwhile, or isn't theirs; the next page says how many
    answer = go(fields.get("back", ["/jobs"])[0])
    return say(answer, what, done, len(set(chosen)) - done)


def _do(ctx: Context, user: User, job: str, what: str, priority: int) -> None:
    changeable(ctx, user, job)
    if what == "delete":
        ctx.book.erase(job)
        ctx.index.drop(job)
    elif what == "priority":
        ctx.book.change(job, user.name, None, priority=priority)
    else:
        ctx.book.change(job, user.name, Move(what))
