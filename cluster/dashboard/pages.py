"""What all pages share: who looks, how a page is drawn, what its answer's headers are, and how errors look."""

import contextlib
import hashlib
import re
from collections.abc import Callable, Coroutine
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from cluster import sessions
from cluster.api.context import Ctx
from cluster.api.problems import Problem
from cluster.book import NoSuchJob, NotNow
from cluster.dashboard import history
from cluster.dashboard.marks import avatar
from cluster.dashboard.said import COOKIE as SAID
from cluster.dashboard.said import heard
from cluster.dashboard.words import LANGUAGES, Words, chosen
from cluster.users import NoSuchUser, NotAllowed, Role, User
from pipeline.errors import PipelineError
from storage.objects import NoSuchObject, StoreError, Transient

HERE = Path(__file__).parent
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_JINJA = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_MOST = 1 << 20  # bytes of a form
THEMES = ("light", "dark")


class Login(Exception):
    """Nobody is logged in."""


@lru_cache(maxsize=16)
def _version(name: str) -> str:
    return hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]


def static(name: str) -> str:
    """The URL of a file that may be kept by browsers for ever."""
    return f"/static/{name}?v={_version(name)}"


_JINJA.globals |= {"static": static, "languages": LANGUAGES, "avatar": avatar}


def words(request: Request) -> Words:
    """In the language of who asks."""
    return Words(chosen(request.cookies.get("veilfarm_language", ""), request.headers.get("accept-language", "")))


def drawn(request: Request, template: str, status: int = 200, fragment: bool = False, **facts: Any) -> HTMLResponse:
    """A page, or a part of one."""
    cookie, user = request.cookies.get(sessions.COOKIE, ""), getattr(request.state, "browser", None)
    theme = request.cookies.get("veilfarm_theme", "")
    common: dict[str, Any] = {
        "t": words(request),
        "user": user,
        "may": lambda role: user is not None and user.may(Role(role)),
        "csrf": sessions.mark(cookie) if user is not None else "",
        "theme": theme if theme in THEMES else "",
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "path": request.url.path,
        "told_line": history.line,
        "told_text": history.text,
    }
    said = None if fragment else heard(request, common["t"])
    text = _JINJA.get_template(template).render(common | {"said": said} | facts)
    headers = {"Content-Security-Policy": POLICY, "Vary": "Cookie, Accept-Language"}
    page = HTMLResponse(text, status, headers)
    if said is not None:
        page.delete_cookie(SAID, httponly=True, samesite="strict")
    return page


def look(request: Request, ctx: Ctx) -> User:
    """Who looks at a page. Raises Login."""
    user = ctx.sessions.who(request.cookies.get(sessions.COOKIE, ""))
    if user is None:
        raise Login
    request.state.user, request.state.browser = user.name, user
    ctx.asked.take(user.name)
    return user


Looker = Annotated[User, Depends(look)]


def asking(role: Role) -> Callable[[Request, User], User]:
    """For pages of those who may do what `role` may."""

    def checked(request: Request, user: Looker) -> User:
        if not user.may(role):
            t = words(request)
            raise Problem(403, t("error.role", role=t(f"role.{role}"), yours=t(f"role.{user.role}")))
        return user

    return checked


LookingReviewer = Annotated[User, Depends(asking(Role.REVIEWER))]
LookingAdmin = Annotated[User, Depends(asking(Role.ADMIN))]


async def form(request: Request) -> dict[str, list[str]]:
    """The fields of a form that was sent. Raises Problem."""
    if int(request.headers.get("content-length", "0") or 0) > _MOST:
        raise Problem(413, "this form is too long")
    body = await request.body()
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=2000)
    except ValueError as error:
        raise Problem(422, "this is no form") from error


Form = Annotated[dict[str, list[str]], Depends(form)]


def own_form(request: Request, fields: Form) -> dict[str, list[str]]:
    """A form that comes from a page of this session. Raises Problem 403."""
    cookie = request.cookies.get(sessions.COOKIE, "")
    if not sessions.marked(cookie, fields.get("csrf", [""])[0]):
        raise Problem(403, "this form isn't from a page of this session; go back, load the page again and repeat")
    return fields


OwnForm = Annotated[dict[str, list[str]], Depends(own_form)]


def inside(place: str) -> str:
    """A place of this site to go on to; / for any other."""
    return place if re.fullmatch(r"/(?![/\\])[^\\\x00-\x20]*", place) else "/"


def go(place: str) -> RedirectResponse:
    """After a form: look at a page."""
    return RedirectResponse(inside(place), 303)


_STATUS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], int], ...] = (
    ((NoSuchJob, NoSuchUser, NoSuchObject, RequestValidationError), 404),
    ((NotNow, NotAllowed), 409),
    (PipelineError, 422),
    (Transient, 503),
    (StoreError, 500),
)


def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, Login):
        if request.headers.get("x-fragment"):
            return Response(status_code=401)
        where = "" if request.method != "GET" or request.url.path == "/" else f"?next={quote(_here(request))}"
        return RedirectResponse(f"/login{where}", 303)
    if isinstance(error, Problem | HTTPException):
        status = error.status if isinstance(error, Problem) else error.status_code
        detail, headers = str(error.detail), dict(error.headers or {})
    else:
        status = next(status for kinds, status in _STATUS if isinstance(error, kinds))
        detail, headers = "" if status in (404, 500) else str(error), {}
    page = drawn(request, "error.html", status, status_code=status, detail=detail)
    page.headers.update(headers)
    return page


def failed(request: Request, error: Exception, plain: Response) -> Response:
    """A page in the place of an API's answer to an error."""
    if not hasattr(request.state, "browser"):
        with contextlib.suppress(StoreError):
            request.state.browser = request.app.state.context.sessions.who(request.cookies.get(sessions.COOKIE, ""))
    page = drawn(request, "error.html", plain.status_code, status_code=plain.status_code, detail="")
    if "allow" in plain.headers:
        page.headers["Allow"] = plain.headers["allow"]
    return page


def _here(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


class Page(APIRoute):
    """A route whose errors are pages, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handler(request)
            except (
                *(Login, Problem, HTTPException, NoSuchJob, NoSuchUser, RequestValidationError, NotNow, NotAllowed),
                *(PipelineError, StoreError),
            ) as error:
                return _failed(request, error)

        return handled
