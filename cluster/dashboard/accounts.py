"""Who may use the farm: users and their tokens, for admins; and for everybody their own tokens."""

import time
from collections import Counter
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ValidationError

from cluster.api import accounts as api
from cluster.api.context import Context, Ctx
from cluster.api.models import NewToken, NewUser, UserChange
from cluster.api.problems import Problem
from cluster.dashboard.pages import Looker, LookingAdmin, OwnForm, Page, drawn, go, inside, words
from cluster.dashboard.said import say
from cluster.users import NAME, NoSuchUser, NotAllowed, Role, Token, User

router = APIRouter(route_class=Page, include_in_schema=False)
UserName = Annotated[str, Path(pattern=f"^{NAME}$")]
ENDS = (7, 30, 90, 365, 0)  # days after which a token ends; 0: never
_USUAL = 90
Asked = TypeVar("Asked", bound=BaseModel)
_MOST = 500  # rows of a list


@router.get("/users")
def users(request: Request, ctx: Ctx, user: LookingAdmin) -> Response:
    """The page."""
    return _users(request, ctx)


def _users(request: Request, ctx: Context, wrong: str = "", kept: dict[str, str] | None = None) -> Response:
    now = time.time()
    good = Counter(token.user for token in ctx.users.tokens() if token.good(now))
    found = sorted(ctx.users.users(), key=lambda each: (each.disabled, each.name))
    return drawn(
        request,
        "users.html",
        422 if wrong else 200,
        people=[{"user": each, "tokens": good[each.name]} for each in found[:_MOST]],
        roles=list(Role),
        wrong=wrong,
        kept=kept or {"name": "", "role": Role.SUBMITTER.value, "team": ""},
    )


@router.post("/users")
def add(request: Request, ctx: Ctx, user: LookingAdmin, fields: OwnForm) -> Response:
    """Somebody new. What can't be is told beside the form, which keeps what was written."""
    given = {name: fields.get(name, [""])[0].strip() for name in ("name", "role", "team")}
    try:
        made = api.add(NewUser(**given), ctx, user)  # type: ignore[arg-type]
    except ValidationError as error:
        return _users(request, ctx, f"users.bad.{_first(error)}", given)
    except NotAllowed:
        return _users(request, ctx, "users.bad.taken", given)
    return say(go(f"/users/{made.name}"), "useradd")


def _first(error: ValidationError) -> str:
    """The field that isn't as it should be."""
    return str(error.errors()[0]["loc"][0])


@router.get("/users/{name}")
def show(request: Request, ctx: Ctx, user: LookingAdmin, name: UserName) -> Response:
    """One user."""
    return drawn(request, "user.html", roles=list(Role), **_person(ctx, user, ctx.users.user(name), "users"))


@router.get("/account")
def account(request: Request, ctx: Ctx, user: Looker) -> Response:
    """One's own tokens."""
    return drawn(request, "user.html", roles=list(Role), **_person(ctx, user, ctx.users.user(user.name), "account"))


def _person(ctx: Context, user: User, person: User, page: str) -> dict[str, Any]:
    return {
        "person": person,
        "page": page,
        "own": person.name == user.name,
        "back": f"/users/{person.name}" if page == "users" else "/account",
        "holders": [],
        **_tokens(ctx.users.tokens(person.name)),
    }


def _tokens(tokens: tuple[Token, ...]) -> dict[str, Any]:
    """Those that count, the newest first, and apart those that don't any more."""
    now = time.time()
    newest = sorted(tokens, key=lambda token: -token.made)
    return {
        "tokens": [token for token in newest if token.good(now)][:_MOST],
        "ended": [token for token in newest if not token.good(now)][:_MOST],
        "ends": ENDS,
        "usual": _USUAL,
    }


@router.post("/users/{name}")
def change(request: Request, ctx: Ctx, user: LookingAdmin, name: UserName, fields: OwnForm) -> Response:
    """Another role or team; shut somebody out, or let them in again; or delete them."""
    what = fields.get("do", [""])[0]
    if what not in ("change", "disable", "enable", "remove"):
        raise Problem(422, words(request)("error.unknown"))
    try:
        if what == "remove":
            api.remove(name, ctx, user)
        else:
            api.change(name, _asked(request, what, fields), ctx, user)
    except NotAllowed as error:
        raise Problem(409, words(request)("users.last", name=name)) from error
    ctx.sessions.forget()
    return say(go("/users" if what == "remove" else f"/users/{name}"), f"user{what}")


def _asked(request: Request, what: str, fields: dict[str, list[str]]) -> UserChange:
    if what != "change":
        return UserChange(disabled=what == "disable")
    given = {field: fields.get(field, [""])[0].strip() for field in ("role", "team")}
    return _valid(request, UserChange, **given)


@router.get("/tokens")
def tokens(request: Request, ctx: Ctx, user: LookingAdmin) -> Response:
    """Everybody's."""
    holders = [each.name for each in ctx.users.users() if not each.disabled]
    return drawn(request, "tokens.html", holders=holders, person=user, back="/tokens", **_tokens(ctx.users.tokens()))


@router.post("/tokens")
def make(request: Request, ctx: Ctx, user: Looker, fields: OwnForm) -> Response:
    """A new token, on a page that is shown this once: going on to another could lose it."""
    name, label = fields.get("user", [""])[0], fields.get("label", [""])[0].strip()
    try:
        days = float(fields.get("days", [str(_USUAL)])[0]) or None
    except ValueError as error:
        raise Problem(422, words(request)("users.bad.days")) from error
    made = api.issue(name, _valid(request, NewToken, label=label, days=days), ctx, user)
    return drawn(request, "token.html", 201, made=made, back=inside(_back(fields)), own=name == user.name)


@router.post("/tokens/revoke")
def revoke(ctx: Ctx, user: Looker, fields: OwnForm) -> Response:
    """It counts no more."""
    try:
        api.revoke(fields.get("token", [""])[0], ctx, user)
    except NoSuchUser as error:
        raise Problem(404, "") from error
    ctx.sessions.forget()  # those that were begun with it end now
    return say(go(_back(fields)), "revoke")


def _back(fields: dict[str, list[str]]) -> str:
    return fields.get("back", ["/account"])[0]


def _valid(request: Request, kind: type[Asked], **given: Any) -> Asked:
    try:
        return kind(**given)
    except ValidationError as error:
        raise Problem(422, words(request)(f"users.bad.{_first(error)}")) from error
