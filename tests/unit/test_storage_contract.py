"""The contract of ObjectStore, over the folder with and without hard links, and over the in-memory double."""

import errno
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from store_contract import StoreContract
from store_machine import StoreMachine

from storage import folder as folder_module
from storage.folder import FolderStore
from storage.memory import MemoryStore
from storage.objects import ObjectStore


class TestMemory(StoreContract):
    """In memory."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryStore()


class TestFolder(StoreContract):
    """A folder on a file system with hard links."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return FolderStore(tmp_path / "store")


class TestFolderWithoutLinks(StoreContract):
    """A folder on FAT, or on some network mount."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
        def refuse(*args: object) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(folder_module.os, "link", refuse)
        return FolderStore(tmp_path / "store")


class FolderMachine(StoreMachine):
    """A folder answers as the double does."""

    @staticmethod
    def other() -> ObjectStore:
        return FolderStore(Path(tempfile.mkdtemp(prefix="veil-machine-")))

    def teardown(self) -> None:
        self.stores[1].erase("")


TestFolderAgainstMemory = FolderMachine.TestCase
TestFolderAgainstMemory.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
