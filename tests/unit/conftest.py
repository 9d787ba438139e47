"""What several files of tests ask for: the API by itself, and clients that reach it over a cable."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from apiclient import Api
    from farmserver import Cable
    from heldjob import Reviewer

    from cluster.client.farm import FarmClient


@pytest.fixture
def api(tmp_path: Path) -> "Api":
    """With a store in memory; files of tests that need one on the disk have another."""
    from apiclient import Api

    return Api(tmp_path)


@pytest.fixture
def reviewer(api: "Api") -> "Reviewer":
    """Kim, who reviews her own job, which waits for that."""
    from heldjob import Reviewer, held_job

    found = Reviewer(api, held_job(api))
    found.look()
    return found


@pytest.fixture
def url(api: "Api") -> Iterator[str]:
    """Where the API answers."""
    from farmserver import answering

    with answering(api) as found:
        yield found


@pytest.fixture
def wire(url: str) -> "Iterator[Cable]":
    """What can be cut."""
    from farmserver import cable

    with cable(url) as found:
        yield found


@pytest.fixture
def kim(api: "Api", wire: "Cable") -> "Iterator[FarmClient]":
    """A reviewer's client, over the cable."""
    from farmserver import HASTY, token

    from cluster.client.farm import FarmClient
    from cluster.users import Role

    with FarmClient(wire.url, token(api, "kim", Role.REVIEWER), HASTY) as found:
        yield found


@pytest.fixture
def admin(api: "Api", url: str) -> "Iterator[FarmClient]":
    """An admin's, without."""
    from farmserver import HASTY, token

    from cluster.client.farm import FarmClient
    from cluster.users import Role

    with FarmClient(url, token(api, "root", Role.ADMIN), HASTY) as found:
        yield found
