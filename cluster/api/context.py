"""What the endpoints work with, and who asks."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cluster.account import FarmStatus, Progress
from cluster.api.allowed import Allowed
from cluster.api.checkup import Checkup
from cluster.api.hub import Hub
from cluster.api.incoming import Incoming
from cluster.api.limits import Buckets, Limits
from cluster.api.problems import Problem
from cluster.book import Book, NoSuchJob
from cluster.closing import REVIEW
from cluster.desk import Desk
from cluster.jobindex import JobIndex, Row
from cluster.pace import Load, Pace
from cluster.sessions import COOKIE, Sessions, marked
from cluster.users import Role, User, Users


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that is there for requests. `status` and `progress`: as they were lately, or are now."""

    book: Book
    desk: Desk
    index: JobIndex
    users: Users
    sessions: Sessions
    hub: Hub
    incoming: Incoming
    allowed: Allowed
    limits: Limits
    asked: Buckets  # by user
    refused: Buckets  # by address
    status: Callable[[], FarmStatus | None]
    progress: Callable[[], tuple[Progress, ...]]
    metrics: Callable[[], bytes]
    leads: Callable[[], bool]
    stopping: threading.Event
    checkup: Checkup = field(default_factory=Checkup)
    review: float = REVIEW  # seconds for which a film is kept that nobody approves
    worth: Callable[[Load, tuple[str, ...]], float | None] = Pace().seconds
    """Worker seconds that a film will take on such devices; None where nobody knows how long it is."""


def context(request: Request) -> Context:
    """Of the application that was asked."""
    found = request.app.state.context
    assert isinstance(found, Context)
    return found


Ctx = Annotated[Context, Depends(context)]
_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="A token of the farm: `vf_…`.")


def _user(request: Request, ctx: Ctx, given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]) -> User:
    """Who asks. Raises Problem 401 and 429."""
    address = request.client.host if request.client else ""
    # Who was known before isn't shut out by others who come from the same address, as all do behind a proxy.
    if given is not None and ctx.refused.empty(address) and not ctx.users.met(given.credentials):
        raise Problem(429, "too many wrong tokens came from this address; wait a minute", {"Retry-After": "60"})
    user = ctx.users.who(given.credentials) if given is not None else _browser(request, ctx)
    if user is None:
        if given is not None:
            ctx.refused.take(address)
        raise Problem(401, "give a valid token: Authorization: Bearer vf_…", {"WWW-Authenticate": "Bearer"})
    request.state.user = user.name
    ctx.asked.take(user.name)
    return user


def _browser(request: Request, ctx: Context) -> User | None:
    """Whose session it is. Raises Problem 403 for what changes something and doesn't come from a page of it."""
    cookie = request.cookies.get(COOKIE, "")
    user = ctx.sessions.who(cookie)
    reads = request.method in ("GET", "HEAD", "OPTIONS")
    if user is not None and not reads and not marked(cookie, request.headers.get("x-csrf-token", "")):
        raise Problem(403, "a request of a browser's session needs X-CSRF-Token, as the dashboard's pages have it")
    return user


def _at_least(role: Role) -> Callable[[User], User]:
    def checked(user: Annotated[User, Depends(_user)]) -> User:
        if not user.may(role):
            raise Problem(403, f"this takes the role {role}; yours is {user.role}")
        return user

    return checked


Viewer = Annotated[User, Depends(_at_least(Role.VIEWER))]
Submitter = Annotated[User, Depends(_at_least(Role.SUBMITTER))]
Reviewer = Annotated[User, Depends(_at_least(Role.REVIEWER))]
Admin = Annotated[User, Depends(_at_least(Role.ADMIN))]


def seen(ctx: Context, user: User, job: str) -> Row:
    """A job that the user may see. Raises NoSuchJob for others, too: that they exist is nobody's business."""
    row = ctx.index.row(job)
    if not user.sees(row.card):
        raise NoSuchJob(f"there is no job {job}")
    return row


def changeable(ctx: Context, user: User, job: str) -> Row:
    """A job that the user may change. Raises Problem 403 for one that they only see."""
    row = seen(ctx, user, job)
    if not user.changes(row.card):
        raise Problem(403, "this job belongs to somebody else")
    return row
