"""The application: all endpoints, what guards them, and the OpenAPI document."""

import importlib.metadata
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cluster.api import accounts, events, facts, farm, jobs, outputs, people, pictures, problems, review, uploads
from cluster.api.context import Context
from cluster.api.limits import Guard, Limits

DESCRIPTION = (
    "A render farm that gives every face in a film a face that belongs to nobody. Every request but a few takes a "
    "token: `Authorization: Bearer vf_…`. Errors are `application/problem+json`. Times are Unix times in seconds."
)


class _App(FastAPI):
    """With one kind of error in its document."""

    def openapi(self) -> dict[str, Any]:
        """See FastAPI."""
        if self.openapi_schema is None:
            found = get_openapi(title=self.title, version=self.version, description=DESCRIPTION, routes=self.routes)
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = problems.SCHEMA
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            self.openapi_schema = found
        return self.openapi_schema


def create(context: Context | None, limits: Limits | None = None) -> FastAPI:
    """The application. Without a context it can tell its document, and nothing else."""
    limits = limits or (context.limits if context else Limits())
    app = _App(
        title="Veilfarm",
        version=importlib.metadata.version("veilfarm"),
        openapi_url="/v1/openapi.json",
        docs_url=None,  # these load scripts from other hosts
        redoc_url=None,
    )
    app.state.context = context
    problems.handle(app)
    for module in (jobs, facts, people, review, pictures, outputs, uploads, events, farm, accounts):
        app.include_router(module.router)
    app.add_middleware(Guard, limit=limits.body, unlimited="/v1/uploads/")
    return app
