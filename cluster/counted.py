"""A store that counts what goes through it: bytes and requests of this process, for the metrics."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from storage.objects import PAGE, AlreadyThere, Conflict, NoSuchObject, ObjectFacts, ObjectStore, StoreError

_P = ParamSpec("_P")
_T = TypeVar("_T")

_ANSWERS = (NoSuchObject, AlreadyThere, Conflict)  # what callers ask for; nothing went wrong


class CountedStore:
    """An ObjectStore around another. What workers move isn't seen here: they open the store themselves."""

    def __init__(self, store: ObjectStore) -> None:
        self.inner = store
        self._lock = threading.Lock()
        self.read_bytes = 0
        self.written_bytes = 0
        self.requests: Counter[tuple[str, str]] = Counter()  # by operation and outcome: "ok" or "error"

    def __repr__(self) -> str:
        return repr(self.inner)

    def _count(self, name: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        outcome = "ok"
        try:
            return call(*args, **kwargs)
        except _ANSWERS:
            raise
        except (StoreError, OSError):
            outcome = "error"
            raise
        finally:
            with self._lock:
                self.requests[name, outcome] += 1

    def _moved(self, read: int = 0, written: int = 0) -> None:
        with self._lock:
            self.read_bytes += read
            self.written_bytes += written

    def create(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        self._count("create", self.inner.create, key, data)
        self._moved(written=len(data))

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        data = self._count("read", self.inner.read, key)
        self._moved(read=len(data))
        return data

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See ObjectStore."""
        data, etag = self._count("read", self.inner.read_versioned, key)
        self._moved(read=len(data))
        return data, etag

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See ObjectStore."""
        new = self._count("replace", self.inner.replace, key, data, etag)
        self._moved(written=len(data))
        return new

    def put_file(self, key: str, path: Path) -> ObjectFacts:
        """See ObjectStore."""
        facts = self._count("put_file", self.inner.put_file, key, path)
        self._moved(written=facts.size)
        return facts

    def read_range(self, key: str, start: int, length: int, etag: str | None = None) -> bytes:
        """See ObjectStore."""
        data = self._count("read_range", self.inner.read_range, key, start, length, etag)
        self._moved(read=len(data))
        return data

    def fetch(self, key: str, path: Path, etag: str | None = None) -> ObjectFacts:
        """See ObjectStore."""
        facts = self._count("fetch", self.inner.fetch, key, path, etag)
        self._moved(read=facts.size)
        return facts

    def stat(self, key: str) -> ObjectFacts:
        """See ObjectStore."""
        return self._count("stat", self.inner.stat, key)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._count("delete", self.inner.delete, key)

    def list(self, prefix: str, after: str | None = None, limit: int = PAGE) -> tuple[str, ...]:
        """See ObjectStore."""
        return self._count("list", self.inner.list, prefix, after, limit)

    def keys(self, prefix: str) -> Iterator[str]:
        """See ObjectStore. Counts as one request, whatever the number of pages."""
        return self._count("list", self.inner.keys, prefix)

    def children(self, prefix: str) -> tuple[str, ...]:
        """See ObjectStore."""
        return self._count("list", self.inner.children, prefix)

    def presigned(self, key: str, seconds: int) -> str:
        """See ObjectStore."""
        return self.inner.presigned(key, seconds)

    def scratch(self, prefix: str) -> Path:
        """See ObjectStore."""
        return self.inner.scratch(prefix)

    def keep(self, folder: Path, prefix: str) -> None:
        """See ObjectStore."""
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        self._count("keep", self.inner.keep, folder, prefix)
        self._moved(written=size)

    def local(self, prefix: str) -> Path:
        """See ObjectStore. Its bytes aren't counted: a copy may be there already."""
        return self._count("local", self.inner.local, prefix)

    def release(self) -> None:
        """See ObjectStore."""
        self.inner.release()

    def erase(self, prefix: str) -> int:
        """See ObjectStore."""
        return self._count("erase", self.inner.erase, prefix)
