"""What the farm asks of a store, and what can go wrong in one.

    StoreError
    ├── NoSuchObject      nothing is stored under this key
    ├── AlreadyThere      create-once: somebody else's object is there, and it stays
    ├── Conflict          compare-and-swap: it is no longer the version that was read
    ├── StoreFull         no room left, or a quota is used up
    ├── NotPermitted      the store refuses to read, write or delete
    │   └── WrongKeys     it doesn't know the access key, or the secret key isn't the right one
    ├── ClockSkew         this machine's clock and the store's are too far apart for signatures
    ├── NoSuchBucket      the server has no such bucket
    ├── NotSupported      this store can't do that at all
    └── Transient         it may work later; it was tried several times already
        ├── Unreachable   nobody answers at that address
        └── Interrupted   the server is overloaded or ill, or a transfer broke off

Keys are relative paths with `/`. Those that the farm makes are in plain characters, so that every store can hold them;
films that people bring may be called otherwise. No key is also the folder of another. Small records are bytes, big ones
files. Nothing is overwritten but by `replace`, and by `put_file` where a key is used again: what may change gets a new
key.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PAGE = 1000  # keys; the most that S3 gives in one answer
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_FOREIGN_PART = re.compile(r"[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]*")


class StoreError(Exception):
    """The store could not do it. The message is one line for a person: what, why, what to do. It holds no secret."""


class NoSuchObject(StoreError):
    """Nothing is stored under this key."""


class AlreadyThere(StoreError):
    """An object with this key exists already; it was not touched."""


class Conflict(StoreError):
    """The object is another version than the one that was named; it was not touched."""


class StoreFull(StoreError):
    """No room left, or a quota is used up."""


class NotPermitted(StoreError):
    """The store refuses to read, write or delete."""


class WrongKeys(NotPermitted):
    """The server doesn't know the access key, or the secret key doesn't belong to it, or the token has expired."""


class ClockSkew(StoreError):
    """This machine's clock and the server's are too far apart."""


class NoSuchBucket(StoreError):
    """The server has no bucket of this name."""


class NotSupported(StoreError):
    """This store can't do that at all."""


class Transient(StoreError):
    """It may work later. It was tried several times already."""


class Unreachable(Transient):
    """Nobody answers at the store's address."""


class Interrupted(Transient):
    """The server is overloaded or ill, or a transfer broke off."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a store knows of an object without reading it."""

    size: int  # bytes
    etag: str  # another one when the content is another; says nothing else
    modified: float  # Unix time in seconds, by the store's clock; whole seconds on S3


class ObjectStore(Protocol):
    """A flat space of objects. Every method is safe to call from several threads and processes at once.

    Any method may raise StoreError and those of its kinds that aren't about one object (StoreFull, NotPermitted,
    Transient …); named below is what callers decide by.
    """

    def create(self, key: str, data: bytes) -> None:
        """Store a small record, once. Readers see all of it or nothing. Raises AlreadyThere when the key is taken."""

    def read(self, key: str) -> bytes:
        """The whole record. Raises NoSuchObject."""

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """The whole record, and its etag for `replace`. Raises NoSuchObject."""

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Compare-and-swap: store `data` if the record still is the version `etag`. Returns the new etag.

        Etags may be made of content alone: a record in which `A → B → A` matters holds a counter. Raises Conflict when
        it is another version by now, NoSuchObject when it is gone.
        """

    def put_file(self, key: str, path: Path) -> ObjectFacts:
        """Store a file of any size. Readers see all of it or nothing. Not conditional: use a key of its own."""

    def read_range(self, key: str, start: int, length: int, etag: str | None = None) -> bytes:
        """Bytes `start` to `start + length`, fewer at the end of the object, none beyond.

        With `etag`, of that version only: raises Conflict for another one. Raises NoSuchObject.
        """

    def fetch(self, key: str, path: Path, etag: str | None = None) -> ObjectFacts:
        """Write the object to the file `path`, which appears as a whole or not at all and replaces one that is there.

        With `etag`, that version only: raises Conflict for another one. Raises NoSuchObject.
        """

    def stat(self, key: str) -> ObjectFacts:
        """Size, etag and time of an object. Raises NoSuchObject."""

    def delete(self, key: str) -> None:
        """Delete one object. One that isn't there is no error."""

    def list(self, prefix: str, after: str | None = None, limit: int = PAGE) -> tuple[str, ...]:
        """At most `limit` keys below `prefix`, sorted, from the first that is greater than `after`.

        `prefix` is a whole folder name, or empty for all. Fewer than `limit` means that there are no more.
        """

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below `prefix` (a whole folder name, or empty for all), sorted; no unfinished writes."""

    def children(self, prefix: str) -> tuple[str, ...]:
        """The names of the folders directly below `prefix` that hold an object at any depth, sorted."""

    def presigned(self, key: str, seconds: int) -> str:
        """A URL by which anybody can GET the object, ranges too, for so long. Treat it as a secret.

        Raises NotSupported where objects have no URL.
        """

    def scratch(self, prefix: str) -> Path:
        """A new local folder that a step may fill; `keep` makes what is in it objects below `prefix`."""

    def keep(self, folder: Path, prefix: str) -> None:
        """Make the files of a scratch folder objects below `prefix`, which must be unique to this call; folders without
        files leave nothing. Raises AlreadyThere."""

    def local(self, prefix: str) -> Path:
        """A local folder that holds the objects below `prefix`, to be read only. Raises NoSuchObject.

        They must not change any more. It stays until `release`.
        """

    def release(self) -> None:
        """What `local` gave out isn't needed any more: copies may go when room is needed."""

    def erase(self, prefix: str) -> int:
        """Delete everything below `prefix`, unfinished writes too. Returns how many objects went."""


def checked(key: str) -> str:
    """The key itself. Raises ValueError for one that could leave the store or that not every store can hold."""
    if len(key) > 512 or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"not a key of this store: {key!r}")
    return key


def foreign(key: str) -> str:
    """The key itself, of an object that a person has named. Raises ValueError for one that could leave the store."""
    if len(key.encode()) > 1024 or not all(_FOREIGN_PART.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"not a key of this store: {key!r}")
    return key


def below(prefix: str) -> str:
    """How keys below `prefix` begin. Raises ValueError for one that isn't a folder's name."""
    return f"{foreign(prefix)}/" if prefix else ""
