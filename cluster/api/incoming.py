"""Uploads that can be taken up again: their bytes lie in the store as parts, so an offset survives a restart.

A part's key says where it begins and how long it is; what has come is what the parts cover without a gap. When all of
it is there, the parts become one file by the store's own way for files of steps, and are deleted.
"""

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster import records
from cluster.job import new_id
from storage import layout
from storage.objects import AlreadyThere, NoSuchObject, ObjectStore

_LOG = logging.getLogger(__name__)

PART = 32 << 20  # bytes of a part; on disk, never in memory
_PIECE = 4 << 20  # bytes in memory at once
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_DAY = 86400.0


class NoSuchUpload(NoSuchObject):
    """There is no upload of this id, or there is none any more."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A film that is being brought."""

    id: str
    owner: str
    name: str  # as the person calls it
    length: int  # bytes, of all of it
    at: float  # Unix time

    @property
    def key(self) -> str:
        """Where the film is when it is complete. Its name keeps its suffix, by which containers are known."""
        path = PurePosixPath(self.name)
        suffix = path.suffix[:10]
        return layout.upload(self.id, path.name.removesuffix(path.suffix)[:60] + suffix)


class Incoming:
    """The uploads of one store. Who writes to an upload holds its lock; see `writing`."""

    def __init__(self, store: ObjectStore, days: float, clock: Callable[[], float] = time.time) -> None:
        """`days`: that an upload may take, and then lie unused."""
        self._store, self._days, self._clock = store, days, clock
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    def begin(self, owner: str, name: str, length: int) -> Upload:
        """A new one, without bytes."""
        upload = Upload(new_id(), owner, PurePosixPath(name).name[:200] or "film", length, self._clock())
        self._store.create(layout.incoming_facts(upload.id), records.dumps(upload))
        return upload

    def find(self, upload_id: str) -> Upload:
        """Raises NoSuchUpload."""
        if not _ID.fullmatch(upload_id):
            raise NoSuchUpload(f"there is no upload {upload_id[:40]}")
        try:
            return records.loads(Upload, self._store.read(layout.incoming_facts(upload_id)))
        except NoSuchObject as error:
            raise NoSuchUpload(f"there is no upload {upload_id}") from error

    def expires(self, upload: Upload) -> float:
        """Unix time."""
        return upload.at + self._days * _DAY

    def offset(self, upload: Upload) -> int:
        """How many bytes have come, without a gap."""
        if self.complete(upload) or self.taken(upload.id):
            return upload.length
        return sum(length for _, length in self._parts(upload))

    def complete(self, upload: Upload) -> bool:
        """Whether the film is there as one file."""
        try:
            self._store.stat(upload.key)
        except NoSuchObject:
            return False
        return True

    def _parts(self, upload: Upload) -> list[tuple[int, int]]:
        """(start, length) of those that follow one another. Of two that begin at one place the longer one counts."""
        longest: dict[int, int] = {}
        for key in self._store.keys(layout.incoming_parts(upload.id)):
            start, _, length = key.rpartition("/")[2].partition("-")
            longest[int(start)] = max(int(length), longest.get(int(start), 0))
        found, end = [], 0
        while end in longest:
            found.append((end, longest[end]))
            end += longest[end]
        return found

    @contextlib.contextmanager
    def writing(self, upload: Upload) -> Iterator[bool]:
        """Nobody else in this process writes to it meanwhile. Yields whether that is so."""
        with self._lock:
            free = upload.id not in self._busy
            if free:
                self._busy.add(upload.id)
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._busy.discard(upload.id)

    def add(self, upload: Upload, start: int, path: Path) -> int:
        """Take a file as the bytes from `start` on; the new offset."""
        size = path.stat().st_size
        if size:
            self._store.put_file(layout.incoming_part(upload.id, start, size), path)
        return start + size

    def finish(self, upload: Upload) -> str:
        """Make one file of the parts; its key. Does nothing when that was done. Raises NoSuchUpload while bytes are
        missing."""
        if not self.complete(upload):
            parts = self._parts(upload)
            if sum(length for _, length in parts) != upload.length:
                raise NoSuchUpload(f"upload {upload.id} isn't complete")
            prefix = upload.key.rpartition("/")[0]
            folder = self._store.scratch(prefix)
            with open(folder / upload.key.rpartition("/")[2], "xb") as file:
                for start, length in parts:
                    key = layout.incoming_part(upload.id, start, length)
                    for at in range(0, length, _PIECE):
                        file.write(self._store.read_range(key, at, min(_PIECE, length - at)))
            with contextlib.suppress(AlreadyThere):  # an earlier call got so far
                self._store.keep(folder, prefix)
        self._store.erase(layout.incoming_parts(upload.id))
        return upload.key

    def take(self, upload: Upload, job: str) -> None:
        """It becomes a job's source, which deletes it in the end. Raises AlreadyThere for a second job."""
        try:
            self._store.create(f"{layout.incoming(upload.id)}/job", job.encode())
        except AlreadyThere as error:
            if self._store.read(f"{layout.incoming(upload.id)}/job") != job.encode():
                raise AlreadyThere(f"upload {upload.id} is another job's source; bring the film again") from error

    def leave(self, upload: Upload) -> None:
        """It was no job's source after all."""
        self._store.delete(f"{layout.incoming(upload.id)}/job")

    def taken(self, upload_id: str) -> str:
        """The job whose source it is; "" when there is none."""
        try:
            return self._store.read(f"{layout.incoming(upload_id)}/job").decode()
        except NoSuchObject:
            return ""

    def drop(self, upload: Upload) -> None:
        """Delete it; a film that a job works on stays."""
        if not self.taken(upload.id):
            self._store.erase(layout.upload(upload.id, "x").rpartition("/")[0])
        self._store.erase(layout.incoming(upload.id))

    def tidy(self) -> int:
        """Delete uploads whose time is up; how many."""
        count = 0
        for upload_id in self._store.children("incoming"):
            with contextlib.suppress(NoSuchUpload):
                upload = self.find(upload_id)
                if self._clock() > self.expires(upload):
                    self.drop(upload)
                    count += 1
        if count:
            _LOG.info("%d uploads were given up and are deleted", count)
        return count
