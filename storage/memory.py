"""A store that lives and dies with its process: for tests, and for simulations of many jobs."""

import bisect
import hashlib
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from storage.files import filled, translated
from storage.objects import (
    PAGE,
    AlreadyThere,
    Conflict,
    NoSuchObject,
    NotSupported,
    ObjectFacts,
    below,
    checked,
    foreign,
)


class MemoryStore:
    """An ObjectStore without a disk. Only scratch folders and copies for `local` are files, in a folder of their own
    that goes with the store."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._sorted: list[str] = []
        self._lock = threading.RLock()
        self._scratches: dict[Path, str] = {}
        self._count = count()
        self._files = Path(tempfile.mkdtemp(prefix="veil-memory-"))
        weakref.finalize(self, shutil.rmtree, self._files, ignore_errors=True)

    def create(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        with self._lock:
            if checked(key) in self._objects:
                raise AlreadyThere(f"{key} is there already")
            self._put(key, data)

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        return self._get(key)[0]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See ObjectStore."""
        data = self.read(key)
        return data, _etag(data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See ObjectStore."""
        with self._lock:
            if self.read_versioned(checked(key))[1] != etag:
                raise Conflict(f"{key} was changed by somebody else; read it again")
            self._put(key, data)
        return _etag(data)

    def put_file(self, key: str, path: Path) -> ObjectFacts:
        """See ObjectStore."""
        with translated(path):
            data = path.read_bytes()
        with self._lock:
            self._put(foreign(key), data)
            return self.stat(key)

    def read_range(self, key: str, start: int, length: int, etag: str | None = None) -> bytes:
        """See ObjectStore."""
        data = self.read(key)
        _same(key, data, etag)
        return data[start : start + length]

    def fetch(self, key: str, path: Path, etag: str | None = None) -> ObjectFacts:
        """See ObjectStore."""
        data, modified = self._get(key)
        _same(key, data, etag)
        with translated(path), filled(path) as file:
            file.write(data)
        return ObjectFacts(len(data), _etag(data), modified)

    def stat(self, key: str) -> ObjectFacts:
        """See ObjectStore."""
        data, modified = self._get(key)
        return ObjectFacts(len(data), _etag(data), modified)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        with self._lock:
            if self._objects.pop(foreign(key), None) is not None:
                del self._sorted[bisect.bisect_left(self._sorted, key)]

    def list(self, prefix: str, after: str | None = None, limit: int = PAGE) -> tuple[str, ...]:
        """See ObjectStore."""
        start = below(prefix)
        with self._lock:
            first = max(bisect.bisect_left(self._sorted, start), bisect.bisect_right(self._sorted, after or ""))
            return tuple(key for key in self._sorted[first : first + limit] if key.startswith(start))

    def keys(self, prefix: str) -> Iterator[str]:
        """See ObjectStore."""
        after: str | None = None
        while page := self.list(prefix, after):
            yield from page
            after = page[-1]

    def children(self, prefix: str) -> tuple[str, ...]:
        """See ObjectStore."""
        start, names = below(prefix), list[str]()
        with self._lock:
            at = bisect.bisect_left(self._sorted, start)
            while at < len(self._sorted) and self._sorted[at].startswith(start):
                name, slash, _ = self._sorted[at][len(start) :].partition("/")
                if slash:
                    names.append(name)
                    at = bisect.bisect_left(self._sorted, f"{start}{name}0", at)  # "0" follows "/"
                else:
                    at += 1
        return tuple(sorted(names))  # "a-1/x" comes before "a/x", but "a" before "a-1"

    def presigned(self, key: str, seconds: int) -> str:
        """See ObjectStore. Always raises NotSupported."""
        raise NotSupported("objects in memory have no URLs; read them instead")

    def scratch(self, prefix: str) -> Path:
        """See ObjectStore."""
        path = self._files / f"scratch-{next(self._count)}"
        path.mkdir()
        self._scratches[path] = f"{checked(prefix)}/"
        return path

    def keep(self, folder: Path, prefix: str) -> None:
        """See ObjectStore."""
        with self._lock, translated(folder):
            if self.list(prefix, limit=1):
                raise AlreadyThere(f"{prefix} is there already")
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self._put(checked(f"{prefix}/{path.relative_to(folder).as_posix()}"), path.read_bytes())
            shutil.rmtree(folder)
            self._scratches.pop(folder, None)

    def local(self, prefix: str) -> Path:
        """See ObjectStore."""
        keys = tuple(self.keys(prefix))
        if not keys:
            raise NoSuchObject(f"nothing is stored below {prefix}")
        top = self._files / f"local-{next(self._count)}"
        for key in keys:
            self.fetch(key, top / os.path.relpath(key, prefix or "."))
        return top

    def release(self) -> None:
        """See ObjectStore. Copies go at once, so that a test sees who uses them too long."""
        for folder in self._files.glob("local-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def erase(self, prefix: str) -> int:
        """See ObjectStore."""
        with self._lock:
            keys = tuple(self.keys(prefix))
            for key in keys:
                self.delete(key)
            for folder in [path for path, key in self._scratches.items() if key.startswith(below(prefix))]:
                shutil.rmtree(folder)
                del self._scratches[folder]
        return len(keys)

    def _get(self, key: str) -> tuple[bytes, float]:
        with self._lock:
            if foreign(key) not in self._objects:
                raise NoSuchObject(f"nothing is stored at {key}")
            return self._objects[key]

    def _put(self, key: str, data: bytes) -> None:
        if key not in self._objects:
            bisect.insort(self._sorted, key)
        self._objects[key] = bytes(data), self._clock()


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _same(key: str, data: bytes, etag: str | None) -> None:
    if etag is not None and _etag(data) != etag:
        raise Conflict(f"{key} was changed since it was looked at; start again with what it is now")
