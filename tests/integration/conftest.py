"""Makes `filmgen` and other helpers in tests/support importable, and the S3 servers that several files share."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

if TYPE_CHECKING:
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
