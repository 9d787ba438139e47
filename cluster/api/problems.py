"""Errors as application/problem+json (RFC 9457): one place that says which error is which answer."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from cluster.book import NoSuchJob, NotNow
from cluster.users import NoSuchUser, NotAllowed
from pipeline.errors import PipelineError
from storage.objects import AlreadyThere, Conflict, NoSuchObject, NotSupported, StoreError, StoreFull, Transient

_LOG = logging.getLogger(__name__)

MEDIA = "application/problem+json"
TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Refused",
    423: "Locked",
    428: "Precondition required",
    429: "Too many requests",
    500: "Internal error",
    501: "Not supported",
    503: "Not available now",
    507: "No room left",
}
SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "`about:blank`: the status says it all."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One line: what, why, and what to do."},
        "errors": {
            "type": "array",
            "description": "Where the request isn't as it should be.",
            "items": {
                "type": "object",
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
                "required": ["where", "what"],
            },
        },
        "version": {"type": "integer", "description": "Of the list of edits, as it is now."},
        "changes": {
            "type": "array",
            "description": "What others have changed since the version that the request had seen.",
            "items": {
                "type": "object",
                "properties": {
                    "version": {"type": "integer"},
                    "who": {"type": "string"},
                    "at": {"type": "number"},
                    "what": {"type": "string"},
                },
                "required": ["version", "who", "at", "what"],
            },
        },
    },
}


class Problem(Exception):
    """An answer other than success. `detail` is one line for a person; `more`: other members of the record."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers or {}, more


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: what may go wrong."""
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


def answer(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """A problem as a response."""
    body = {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers, MEDIA)


def _status(error: Exception) -> int:
    table: tuple[tuple[type[Exception] | tuple[type[Exception], ...], int], ...] = (
        ((NoSuchJob, NoSuchUser, NoSuchObject), 404),
        ((NotNow, NotAllowed, AlreadyThere, Conflict), 409),
        (PipelineError, 422),
        (NotSupported, 501),
        (StoreFull, 507),
        (Transient, 503),
    )
    return next((status for kinds, status in table if isinstance(error, kinds)), 500)


async def _known(_: Request, error: Exception) -> Response:
    status = _status(error)
    if status == 500:
        _LOG.error("the store refuses: %s", error)
        return answer(500, "the store refuses; the farm's log says why")
    return answer(status, str(error), {"Retry-After": "5"} if status == 503 else None)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(error.status, error.detail, error.headers, **error.more)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return answer(error.status_code, str(error.detail), headers)


def _methods(request: Request) -> set[str]:
    """All that this path can; the framework tells those of one of its routes only."""
    found = set[str]()
    for route in _routes(request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found


def _routes(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """With those of routers that are included; newer versions of the framework keep them apart."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from _routes(inner.routes)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [{"where": ".".join(map(str, each["loc"])), "what": str(each["msg"])} for each in error.errors()[:20]]
    return answer(422, "the request isn't as the OpenAPI document says", errors=found)


async def _bug(request: Request, error: Exception) -> Response:
    _LOG.error("a bug in %s %s", request.method, request.url.path, exc_info=error)
    return answer(500, "a bug; the farm's log says more")


def handle(app: FastAPI) -> None:
    """All errors of this application become problems."""
    table: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        Problem: _problem,
        HTTPException: _http,
        RequestValidationError: _invalid,
        Exception: _bug,
    }
    known = (NoSuchJob, NotNow, NoSuchUser, NotAllowed, PipelineError, StoreError)
    for kind, handler in (*table.items(), *((kind, _known) for kind in known)):
        app.add_exception_handler(kind, handler)
