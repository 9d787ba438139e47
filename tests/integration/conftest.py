"""Makes `filmgen` and other helpers in tests/support importable; the S3 servers that several files share, and people at
browsers."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

if TYPE_CHECKING:
    from browser import Watcher
    from dashfarm import Dash
    from playwright.sync_api import Browser
    from rgw import Gateway

    from storage.settings import S3Settings


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Gateway]":
    from rgw import gateway

    with gateway(tmp_path_factory.mktemp("rgw")) as server:
        yield server


@pytest.fixture(scope="session")
def careless(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[S3Settings]":
    """A server that ignores conditions."""
    from rclone import rclone

    with rclone(tmp_path_factory.mktemp("rclone")) as settings:
        yield settings


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from browser import chromium

    with chromium() as found:
        yield found


@pytest.fixture
def dash(tmp_path: Path) -> "Iterator[Dash]":
    from dashfarm import dashboard

    with dashboard(tmp_path) as farm:
        yield farm


@pytest.fixture
def somebody(browser: "Browser", dash: "Dash") -> "Iterator[Callable[..., Watcher]]":
    """Makes people at browsers; none of these may have complained in the end."""
    from browser import Watcher

    from cluster.users import Role

    there: list[Watcher] = []

    def come(name: str, role: Role = Role.SUBMITTER, team: str = "news", **options: Any) -> Watcher:
        there.append(Watcher(browser, dash.url, dash.token(name, role, team), **options))
        return there[-1]

    yield come
    for each in there:
        each.close()
