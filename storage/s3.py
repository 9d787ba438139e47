"""A bucket, or a folder in one, as a store.

Records are made by conditional writes (`conditional.py`) and replaced under a lock (`lock.py`), files go by multipart
uploads (`bucket.py`); local copies lie in `cache.py`.

With `Conditions.SINGLE_WRITER`, for servers that ignore conditions, a record is made by looking and then writing. That
decides among the threads of one store object, and no more: of two processes that write the same record within
milliseconds, both believe that it was theirs, and the later one's stays.
"""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from storage import conditional
from storage.bucket import Bucket
from storage.cache import Cache
from storage.lock import locked
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
from storage.retry import Patience
from storage.s3errors import failure
from storage.settings import Conditions, S3Settings


class S3Store:
    """An ObjectStore in a bucket, below the folder `prefix`. Make one per process: before its first record it asks the
    server whether it keeps conditions."""

    def __init__(
        self, settings: S3Settings, bucket: str, prefix: str, cache: Cache, patience: Patience | None = None
    ) -> None:
        """Talks to nobody yet. Raises NoSuchBucket for what can't be a bucket's name."""
        self.bucket = Bucket(settings, bucket, patience or Patience())
        self.cache = cache
        self._under = below(prefix)
        self.single_writer = settings.conditions is Conditions.SINGLE_WRITER
        self._writing = threading.Lock()
        self._honoured: conditional.Honoured | None = None
        self._scratches: dict[Path, str] = {}

    def __repr__(self) -> str:
        return f"S3Store({self.bucket.where(self._under)} at {self.bucket.settings.endpoint})"

    def create(self, key: str, data: bytes) -> None:
        """See ObjectStore. Raises NotSupported on a server that ignores conditions, unless told to live with that."""
        name = self._under + checked(key)
        if self.single_writer:
            made = self._create_alone(name, data)
        else:
            self._need_conditions(name)
            made = conditional.create(self.bucket, name, data)
        if not made:
            raise failure(AlreadyThere, self.bucket.where(name))

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        return self.read_versioned(key)[0]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See ObjectStore."""
        return self.bucket.read(self._under + foreign(key))

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See ObjectStore. Raises NotSupported as `create` does."""
        name = self._under + checked(key)
        fenced = not self.single_writer and self._need_conditions(name).replace
        newer: str | None = None
        if self.bucket.read(name)[1] == etag:
            with self._writing if self.single_writer else locked(self.bucket, name):
                if fenced:
                    newer = conditional.replace(self.bucket, name, data, etag)
                elif self.bucket.read(name)[1] == etag:
                    newer = self.bucket.put(name, data)
        if newer is None:
            raise failure(Conflict, self.bucket.where(name))
        return newer

    def put_file(self, key: str, path: Path) -> ObjectFacts:
        """See ObjectStore. Holds a few parts in memory at once, however large the file."""
        return self.bucket.put_file(self._under + foreign(key), path)

    def read_range(self, key: str, start: int, length: int, etag: str | None = None) -> bytes:
        """See ObjectStore."""
        name = self._under + foreign(key)
        return self.bucket.read(name, start, length, etag)[0] if length else b""

    def fetch(self, key: str, path: Path, etag: str | None = None) -> ObjectFacts:
        """See ObjectStore. A transfer that breaks off goes on where it was."""
        return self.bucket.fetch(self._under + foreign(key), path, etag)

    def stat(self, key: str) -> ObjectFacts:
        """See ObjectStore."""
        return self.bucket.stat(self._under + foreign(key))

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self.bucket.delete(self._under + foreign(key))

    def list(self, prefix: str, after: str | None = None, limit: int = PAGE) -> tuple[str, ...]:
        """See ObjectStore."""
        names = self.bucket.listed(self._under + below(prefix), self._under + after if after else None, limit)
        return tuple(name.removeprefix(self._under) for name in names)

    def keys(self, prefix: str) -> Iterator[str]:
        """See ObjectStore."""
        page = self.list(prefix)
        yield from page
        while len(page) == PAGE:
            page = self.list(prefix, page[-1])
            yield from page

    def children(self, prefix: str) -> tuple[str, ...]:
        """See ObjectStore."""
        return tuple(sorted(self.bucket.folders(self._under + below(prefix))))

    def presigned(self, key: str, seconds: int) -> str:
        """See ObjectStore. For seven days at most. No request is made, and nobody looks whether the object is there."""
        return self.bucket.presigned(self._under + foreign(key), seconds)

    def scratch(self, prefix: str) -> Path:
        """See ObjectStore. It lies in the cache's folder, and goes with this process."""
        folder = self.cache.scratch()
        self._scratches[folder] = f"{checked(prefix)}/"
        return folder

    def keep(self, folder: Path, prefix: str) -> None:
        """See ObjectStore. One file after the other: it is for a later record to tell readers that all are there."""
        if self.list(checked(prefix), limit=1):
            raise failure(AlreadyThere, self.bucket.where(self._under + prefix))
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in found:
            self.put_file(checked(f"{prefix}/{path.relative_to(folder).as_posix()}"), path)
        if self._scratches.pop(folder, None) is not None and found:
            self.cache.adopt(folder, self._copy(f"{prefix}/"))
        else:
            shutil.rmtree(folder)

    def local(self, prefix: str) -> Path:
        """See ObjectStore."""
        start = below(prefix)

        def fill(folder: Path) -> None:
            keys = tuple(self.keys(prefix))
            if not keys:
                raise failure(NoSuchObject, self.bucket.where(self._under + start))
            for key in keys:
                self.fetch(key, folder / key.removeprefix(start))

        return self.cache.get(self._copy(start), fill)

    def release(self) -> None:
        """See ObjectStore."""
        self.cache.release()

    def erase(self, prefix: str) -> int:
        """See ObjectStore. Former versions go too, where the bucket keeps them; copies in other machines' caches go
        when they were unused for a day."""
        start = below(prefix)
        gone = self.bucket.delete_all(self._under + start)
        for folder in [path for path, key in self._scratches.items() if key.startswith(start)]:
            shutil.rmtree(folder, ignore_errors=True)
            del self._scratches[folder]
        self.cache.forget(self._copy(start))
        return gone

    def conditions(self) -> conditional.Honoured:
        """What the server does with conditional writes, whatever the settings say. Writes, and deletes that again."""
        return conditional.honoured(self.bucket, self._under)

    def _need_conditions(self, name: str) -> conditional.Honoured:
        """Which conditions the server keeps. Raises NotSupported where it would overwrite a new record in silence."""
        with self._writing:
            self._honoured = self._honoured or self.conditions()
        if not self._honoured.create:
            why = "the server ignores conditional writes, so that two writers would overwrite each other"
            todo = "use another server, or read in docs/operations.md what VEILFARM_S3_CONDITIONS=single-writer means"
            raise failure(NotSupported, self.bucket.where(name), why, todo)
        return self._honoured

    def _create_alone(self, name: str, data: bytes) -> bool:
        with self._writing:
            try:
                self.bucket.stat(name)
            except NoSuchObject:
                self.bucket.put(name, data)
                return True
        return False

    def _copy(self, key: str) -> str:
        return f"{self!r}/{key}"  # what the cache calls it
