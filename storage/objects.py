"""What the farm asks of a store, and what can go wrong in one.

    StoreError
    ├── NoSuchObject      nothing is stored under this key
    ├── AlreadyThere      create-once: somebody else's object is there, and it stays
    ├── StoreFull         no room left, or a quota is used up
    └── NotPermitted      the store refuses to read, write or delete

Keys are relative paths with `/`, in plain characters; small records are bytes, big ones files. There is no overwrite:
what may change gets a new key.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


class StoreError(Exception):
    """The store could not do it. The message is one line for a person."""


class NoSuchObject(StoreError):
    """Nothing is stored under this key."""


class AlreadyThere(StoreError):
    """An object with this key exists already; it was not touched."""


class StoreFull(StoreError):
    """No room left, or a quota is used up."""


class NotPermitted(StoreError):
    """The store refuses to read, write or delete."""


class ObjectStore(Protocol):
    """A flat space of objects. Every method is safe to call from several processes at once."""

    def create(self, key: str, data: bytes) -> None:
        """Store a small record, once. Readers see all of it or nothing. Raises AlreadyThere when the key is taken."""

    def read(self, key: str) -> bytes:
        """The whole record. Raises NoSuchObject."""

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below `prefix` (a whole folder name, or empty for all), sorted; no unfinished writes."""

    def scratch(self, prefix: str) -> Path:
        """A new local folder that a step may fill; `keep` makes what is in it objects below `prefix`."""

    def keep(self, folder: Path, prefix: str) -> None:
        """Make the files of a scratch folder objects below `prefix`, which must be unique to this call."""

    def local(self, prefix: str) -> Path:
        """A local folder that holds the objects below `prefix`, to be read only. Raises NoSuchObject."""

    def erase(self, prefix: str) -> int:
        """Delete everything below `prefix`, unfinished writes too. Returns how many objects went."""


def checked(key: str) -> str:
    """The key itself. Raises ValueError for one that could leave the store or that not every store can hold."""
    if len(key) > 512 or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"not a key of this store: {key!r}")
    return key
