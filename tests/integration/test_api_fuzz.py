"""The API under requests that are made from its own OpenAPI document, right ones and wrong ones: it answers as the
document says, never with a bug, and nobody gets in without a token."""

import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from apiclient import Api
from apifarm import a_film, submit
from hypothesis import HealthCheck
from schemathesis.specs.openapi import checks

from cluster.api.limits import Limits
from cluster.job import LinkFacts, Plan, Step
from cluster.ledger import Ledger, Unit
from cluster.users import Role


class World:
    """A farm with something in it, and its admin."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="veil-fuzz-")
        root = Path(self.folder.name)
        self.film = a_film(root / "films")
        self.api = Api(root, limits=Limits(rate=1e6, burst=10**6, bad_rate=1e6, bad_burst=10**6))
        self.admin = self.api.client("ann", Role.ADMIN)
        job = submit(self.api.book, "talk.mp4", "ann")
        ledger = Ledger(self.api.store, job)
        ledger.commit(Unit(Step.PLAN), "A", Plan(0, 0, ()), 0.1)
        ledger.commit(Unit(Step.LINK), "B", LinkFacts(0, {}, ()), 0.2)
        self.api.index.refresh()


@schemathesis.serializer("application/offset+octet-stream")
def _octets(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


WORLD = World()
SCHEMA = schemathesis.openapi.from_asgi("/v1/openapi.json", WORLD.api.app)
# A stream of events lasts; tests of its own look at it. The probe of a store writes; it has tests of its own, too.
CALLED = SCHEMA.exclude(path_regex="^/v1/(events|store)$")

# What is sent at random is often refused for other reasons than its form: an id that nobody has, a folder that isn't
# allowed. That a form which the document doesn't have is refused is looked at by our own tests.
LEFT_OUT = [checks.positive_data_acceptance, checks.negative_data_rejection]


@CALLED.parametrize()
@hypothesis.settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_the_document_says(case: Any) -> None:
    # Without the right version of tus, that is what is told, whatever else is missing.
    headers = {"Authorization": WORLD.admin.headers["authorization"], "Tus-Resumable": "1.0.0"}
    response = case.call_and_validate(headers=headers, excluded_checks=LEFT_OUT)
    assert response.status_code < 500 or response.status_code in (501, 503)


def test_the_world_is_still_there() -> None:
    """Random requests may delete users and jobs, but not the last admin, nor what lies outside."""
    assert WORLD.admin.get("/v1/me").json()["name"] == "ann"
    assert WORLD.film.read_bytes() == b"film"


@pytest.fixture(scope="module", autouse=True)
def _cleaned() -> Any:
    yield
    WORLD.folder.cleanup()
