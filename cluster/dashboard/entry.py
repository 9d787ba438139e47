"""In and out: login with a token, logout, and how pages shall look."""

import hmac
import secrets

from fastapi import APIRouter, Request, Response

from cluster import sessions
from cluster.api.context import Ctx
from cluster.api.problems import Problem
from cluster.dashboard.pages import THEMES, Form, Looker, OwnForm, Page, drawn, go, inside
from cluster.dashboard.words import LANGUAGES

router = APIRouter(route_class=Page, include_in_schema=False)
_FORM = "veilfarm_form"
_YEAR = 365 * 86400


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"


@router.get("/login")
def login(request: Request, ctx: Ctx, next: str = "/", why: str = "") -> Response:
    """The form. Its mark is also in a cookie that no other site can set or read (CSRF before there is a session)."""
    if ctx.sessions.who(request.cookies.get(sessions.COOKIE, "")) is not None:
        return go(next)
    mark = secrets.token_urlsafe(32)
    page = drawn(request, "login.html", 422 if why else 200, next=inside(next), mark=mark, why=why)
    page.set_cookie(_FORM, mark, 3600, path="/login", secure=_secure(request), httponly=True, samesite="strict")
    return page


@router.post("/login")
def enter(request: Request, ctx: Ctx, fields: Form) -> Response:
    """Begin a session. Wrong tokens are bounded by address, as everywhere."""
    given = {name: values[0] for name, values in fields.items()}
    address = request.client.host if request.client else ""
    if not hmac.compare_digest(request.cookies.get(_FORM, "").encode(), given.get("mark", "").encode() or b"-"):
        return login(request, ctx, given.get("next", "/"), "stale")
    if ctx.refused.empty(address):
        raise Problem(429, "too many wrong tokens came from this address; wait a minute", {"Retry-After": "60"})
    cookie = ctx.sessions.begin(given.get("token", "").strip())
    if cookie is None:
        ctx.refused.take(address)
        return login(request, ctx, given.get("next", "/"), "wrong")
    answer = go(given.get("next", "/"))
    answer.set_cookie(
        sessions.COOKIE,
        cookie,
        int(sessions.LASTS),
        secure=_secure(request),
        httponly=True,
        samesite="strict",
    )
    answer.delete_cookie(_FORM, path="/login")
    return answer


@router.post("/logout")
def leave(request: Request, ctx: Ctx, user: Looker, fields: OwnForm) -> Response:
    """End the session."""
    ctx.sessions.end(request.cookies.get(sessions.COOKIE, ""))
    answer = go("/login")
    answer.delete_cookie(sessions.COOKIE)
    return answer


@router.get("/look")
def look(request: Request, language: str = "", theme: str = "", next: str = "/") -> Response:
    """Choose a language or a theme; a theme that isn't one means the system's."""
    answer = go(next)
    if language in LANGUAGES:
        answer.set_cookie("veilfarm_language", language, _YEAR, secure=_secure(request), samesite="lax")
    if theme in THEMES:
        answer.set_cookie("veilfarm_theme", theme, _YEAR, secure=_secure(request), samesite="lax")
    elif theme:
        answer.delete_cookie("veilfarm_theme")
    return answer
