"""A folder as a store: on one machine, or on a network file system that all machines see.

A record appears under its key by `link`, which the kernel refuses when the name is taken: all of it or nothing, and one
winner among racers. File systems without hard links (FAT, some network mounts) get a rename that refuses to replace,
guarded by a lock on a file, as compare-and-swap is; who holds such a lock and dies loses it.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from storage.files import HIDDEN, filled, sync_folder, sync_tree, translated
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

_LOCK = ".lock"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_PIECE = 1 << 20  # bytes
_RECORD = 1 << 20  # bytes: up to here an etag is a hash of the content


class FolderStore:
    """An ObjectStore below `root`. Folders are made readable for their owner only: work data shows faces."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with translated(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"FolderStore({self.root})"

    def create(self, key: str, data: bytes) -> None:
        """See ObjectStore. What was written survives a power cut: the file and its folder are synced."""
        target = self.root / checked(key)
        with translated(target):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temp = target.parent / f"{HIDDEN}{secrets.token_hex(8)}"
            try:
                with open(temp, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                self._appear(temp, target)
                sync_folder(target.parent)
            finally:
                temp.unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        path = self.root / foreign(key)
        with translated(path):
            return path.read_bytes()

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See ObjectStore."""
        path = self.root / foreign(key)
        with translated(path), open(path, "rb") as file:
            data = file.read()
            return data, _etag(file.fileno(), data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See ObjectStore. Survives a power cut as `create` does."""
        target = self.root / checked(key)
        with translated(target), self._locked():
            if self.read_versioned(key)[1] != etag:
                raise Conflict(f"{target} was changed by somebody else; read it again")
            with filled(target, sync=True) as file:
                file.write(data)
            return self.stat(key).etag

    def put_file(self, key: str, path: Path) -> ObjectFacts:
        """See ObjectStore."""
        target = self.root / foreign(key)
        with translated(path), open(path, "rb") as source, translated(target), filled(target, sync=True) as file:
            shutil.copyfileobj(source, file, _PIECE)
        return self.stat(key)

    def read_range(self, key: str, start: int, length: int, etag: str | None = None) -> bytes:
        """See ObjectStore."""
        path = self.root / foreign(key)
        with translated(path), open(path, "rb") as file:
            _same(path, file.fileno(), etag)
            return os.pread(file.fileno(), length, start)

    def fetch(self, key: str, path: Path, etag: str | None = None) -> ObjectFacts:
        """See ObjectStore."""
        source = self.root / foreign(key)
        with translated(source), open(source, "rb") as file:
            _same(source, file.fileno(), etag)
            facts = _facts(file.fileno())
            with translated(path), filled(path) as out:
                shutil.copyfileobj(file, out, _PIECE)
        return facts

    def stat(self, key: str) -> ObjectFacts:
        """See ObjectStore."""
        path = self.root / foreign(key)
        with translated(path), open(path, "rb") as file:
            return _facts(file.fileno())

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        path = self.root / foreign(key)
        with translated(path), self._locked():  # or a replace that runs would bring it back
            path.unlink(missing_ok=True)

    def list(self, prefix: str, after: str | None = None, limit: int = PAGE) -> tuple[str, ...]:
        """See ObjectStore. Reads no more folders than the page needs."""
        return tuple(islice(_walk(self.root / prefix, below(prefix), after or ""), limit))

    def keys(self, prefix: str) -> Iterator[str]:
        """See ObjectStore."""
        return _walk(self.root / prefix, below(prefix), "")

    def children(self, prefix: str) -> tuple[str, ...]:
        """See ObjectStore."""
        start, top = below(prefix), self.root / prefix
        names = [entry.name for entry in _entries(top) if entry.is_dir(follow_symlinks=False)]
        return tuple(sorted(n for n in names if next(_walk(top / n, f"{start}{n}/", ""), None) is not None))

    def presigned(self, key: str, seconds: int) -> str:
        """See ObjectStore. Always raises NotSupported."""
        raise NotSupported(f"{self.root} is a folder, which has no URLs; read the file instead")

    def scratch(self, prefix: str) -> Path:
        """See ObjectStore. It lies beside its final place, so that `keep` is one rename."""
        target = self.root / checked(prefix)
        path = target.parent / f"{HIDDEN}{target.name}"
        with translated(path):
            path.mkdir(mode=0o700, parents=True)
        return path

    def keep(self, folder: Path, prefix: str) -> None:
        """See ObjectStore."""
        target = self.root / checked(prefix)
        with translated(target):
            if target.exists():
                raise AlreadyThere(f"{prefix} is there already")
            sync_tree(folder)  # before it counts: a record that outlives a power cut must not tell of empty files
            folder.rename(target)
            sync_folder(target.parent)

    def local(self, prefix: str) -> Path:
        """See ObjectStore. The store's own folder: nothing is copied."""
        path = self.root / checked(prefix)
        if not path.is_dir():
            raise NoSuchObject(f"nothing is stored below {prefix}")
        return path

    def release(self) -> None:
        """See ObjectStore. There are no copies."""

    def erase(self, prefix: str) -> int:
        """See ObjectStore."""
        top = self.root / checked(prefix) if prefix else self.root
        count = sum(1 for _ in self.keys(prefix)) if top.is_dir() else 0
        with translated(top):
            if top.is_dir():
                shutil.rmtree(top)
        return count

    def _appear(self, temp: Path, target: Path) -> None:
        """Give the finished file its name, or raise FileExistsError."""
        try:
            os.link(temp, target)
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        with self._locked():
            if target.exists():
                raise FileExistsError(errno.EEXIST, "exists", str(target))
            temp.rename(target)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all threads and processes that use this store's lock. The kernel frees it when a process dies."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # all may have been erased
        with open(self.root / _LOCK, "ab") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            yield


def _walk(folder: Path, start: str, after: str) -> Iterator[str]:
    """Keys of the files below a folder whose own keys begin with `start`, sorted, from the first greater than `after`.
    Folders without such keys aren't read."""
    entries = [(entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in _entries(folder)]
    for name, entry in sorted(entries, key=lambda each: each[0]):  # "a.b" comes before "a/b", as in S3
        key = start + name
        if name.endswith("/"):
            if key > after or after.startswith(key):
                yield from _walk(folder / entry.name, key, after)
        elif key > after and entry.is_file():
            yield key


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with translated(folder):
        try:
            with os.scandir(folder) as found:
                return [entry for entry in found if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []  # nothing was ever stored there, or it was erased just now


def _same(path: Path, fd: int, etag: str | None) -> None:
    if etag is not None and _facts(fd).etag != etag:
        raise Conflict(f"{path} was changed since it was looked at; start again with what it is now")


def _facts(fd: int) -> ObjectFacts:
    status = os.fstat(fd)
    data = os.pread(fd, status.st_size, 0) if status.st_size <= _RECORD else None
    return ObjectFacts(status.st_size, _etag(fd, data), status.st_mtime)


def _etag(fd: int, data: bytes | None) -> str:
    """Records by their content. To hash a film takes minutes; it gets a new inode or a new time whenever it changes."""
    if data is not None and len(data) <= _RECORD:
        return hashlib.sha256(data).hexdigest()
    status = os.fstat(fd)
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
