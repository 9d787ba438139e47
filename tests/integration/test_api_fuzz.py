"""The API under requests that are made from its own OpenAPI document, right ones and wrong ones: it answers as the
document says, never with a bug, and nobody gets in without a token."""

import tempfile
from fractions import Fraction
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
from cluster.job import ChunkRecord, IndexFacts, LinkFacts, Plan, SourceFacts, Step, TrackFacts
from cluster.ledger import Ledger, Unit
from cluster.states import Move
from cluster.users import Role


def held(api: Api) -> str:
    """A job that waits for a reviewer."""
    job = submit(api.book, "talk.mp4", "ann", review=True)
    ledger = Ledger(api.store, job)
    chunks = tuple(ChunkRecord(i, i * 10, i * 10 + 10, i * 10, i * 10 + 10, "") for i in range(3))
    tracks = tuple(TrackFacts(i, i, 9 * i, 9 * i + 8, 8, 20, 30, {"replace": 8}) for i in range(3))
    source = SourceFacts("0" * 64, "mov", "h264", "yuv420p", 64, 48, 0, Fraction(25), ())
    ledger.commit(Unit(Step.INGEST), "I", source, 1)
    ledger.commit(Unit(Step.INDEX), "X", IndexFacts(30, Fraction(30, 25), 1, 0), 1)
    ledger.commit(Unit(Step.PLAN), "A", Plan(0, 30, chunks), 0.1)
    ledger.commit(Unit(Step.LINK), "B" * 26, LinkFacts(3, {"0": "0123456789abcdef"}, tracks), 0.2)
    api.book.change(job, "controller", Move.START)
    api.book.change(job, "controller", Move.HOLD)
    return job


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
        self.held = held(self.api)
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


@SCHEMA.include(path_regex="/(edits|edits/.*|mend|approve|people|people/.*)$").parametrize()
@hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_about_a_job_that_is_reviewed_are_as_the_document_says(case: Any) -> None:
    case.path_parameters["job"] = WORLD.held
    if isinstance(case.path_parameters.get("person"), int):
        case.path_parameters["person"] %= 4
    headers = {"Authorization": WORLD.admin.headers["authorization"]}
    known = WORLD.admin.get(f"/v1/jobs/{WORLD.held}/edits")
    if case.headers and "If-Match" in case.headers and len(str(case.headers["If-Match"])) % 2:
        headers["If-Match"] = known.headers["ETag"]
    response = case.call_and_validate(headers=headers, excluded_checks=LEFT_OUT)
    assert response.status_code < 500
    for edit in known.json()["edits"]:  # somebody takes back what random requests did, and holds it again
        known = WORLD.admin.get(f"/v1/jobs/{WORLD.held}/edits")
        where, tag = f"/v1/jobs/{WORLD.held}/edits/{edit['id']}", {"If-Match": known.headers["ETag"]}
        WORLD.admin.delete(where, headers=tag)
    if response.status_code == 202:
        WORLD.held = held(WORLD.api)


def test_the_world_is_still_there() -> None:
    """Random requests may delete users and jobs, but not the last admin, nor what lies outside."""
    assert WORLD.admin.get("/v1/me").json()["name"] == "ann"
    assert WORLD.film.read_bytes() == b"film"


@pytest.fixture(scope="module", autouse=True)
def _cleaned() -> Any:
    yield
    WORLD.folder.cleanup()
