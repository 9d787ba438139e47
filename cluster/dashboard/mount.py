"""Adds the dashboard to the API's application."""

from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from cluster.api.context import Context
from cluster.dashboard import compare, entry, farm, job, jobs, people
from cluster.dashboard.pages import HERE
from cluster.dashboard.series import Series


class _Static(StaticFiles):
    """Files whose URLs have their version."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        """See Starlette."""
        response = await super().get_response(path, scope)
        if response.status_code == 200 and b"v=" in scope["query_string"]:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def mount(app: FastAPI) -> FastAPI:
    """The same application, with pages."""
    context, app.state.series = app.state.context, Series()
    assert isinstance(context, Context)
    app.state.series.watch(context.progress, context.stopping)
    for module in (entry, jobs, job, people, compare, farm):
        app.include_router(module.router)
    app.mount("/static", _Static(directory=HERE / "static"))
    return app
