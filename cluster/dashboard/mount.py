"""Adds the dashboard to the API's application."""

from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from cluster.api.context import Context
from cluster.dashboard import accounts, compare, entry, farm, frames, job, jobs, people, review
from cluster.dashboard.pages import HERE, failed
from cluster.dashboard.series import Series

_PLAIN = ("v1", "metrics", "healthz", "readyz", "static")  # where paths begin that aren't for people


class _Static(StaticFiles):
    """Files whose URLs have their version."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        """See Starlette."""
        response = await super().get_response(path, scope)
        if response.status_code == 200 and b"v=" in scope["query_string"]:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _errors(app: FastAPI) -> None:
    """What no page's own route has caught, such as an address that isn't there, is a page for browsers, too."""
    for kind in (HTTPException, Exception):
        plain = app.exception_handlers[kind]

        async def either(request: Request, error: Exception, plain: Any = plain) -> Response:
            answer: Response = await plain(request, error)  # which also logs what is to be logged
            page = request.url.path.split("/")[1] not in _PLAIN and "text/html" in request.headers.get("accept", "")
            return failed(request, error, answer) if page else answer

        app.add_exception_handler(kind, either)


def mount(app: FastAPI) -> FastAPI:
    """The same application, with pages."""
    context, app.state.series = app.state.context, Series()
    assert isinstance(context, Context)
    app.state.series.watch(context.progress, context.stopping)
    for module in (entry, jobs, job, people, review, frames, compare, farm, accounts):
        app.include_router(module.router)
    _errors(app)
    app.mount("/static", _Static(directory=HERE / "static"))
    return app
