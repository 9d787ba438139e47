"""A folder as a store: on one machine, nothing else is needed.

A record appears under its key by `link`, which the kernel refuses when the name is taken: all of it or nothing, and one
winner among racers. File systems without hard links (FAT, some network mounts) get a rename that refuses to replace,
guarded by a lock file made with O_EXCL.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from storage.objects import AlreadyThere, NoSuchObject, NotPermitted, StoreError, StoreFull, checked

_HIDDEN = ".part-"  # what is being written; no key may begin with a dot
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class FolderStore:
    """An ObjectStore below `root`. Folders are made readable for their owner only: work data shows faces."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with _translated(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, key: str, data: bytes) -> None:
        """See ObjectStore. What was written survives a power cut: the file and its folder are synced."""
        target = self.root / checked(key)
        with _translated(target):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temp = target.parent / f"{_HIDDEN}{secrets.token_hex(8)}"
            try:
                with open(temp, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                _appear(temp, target)
                _sync_folder(target.parent)
            finally:
                temp.unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        path = self.root / checked(key)
        with _translated(path):
            return path.read_bytes()

    def keys(self, prefix: str) -> Iterator[str]:
        """See ObjectStore."""
        top = self.root / checked(prefix) if prefix else self.root
        found = []
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            base = Path(folder).relative_to(self.root)
            found += [(base / name).as_posix() for name in files if not name.startswith(".")]
        yield from sorted(found)

    def scratch(self, prefix: str) -> Path:
        """See ObjectStore. It lies beside its final place, so that `keep` is one rename."""
        target = self.root / checked(prefix)
        path = target.parent / f"{_HIDDEN}{target.name}"
        with _translated(path):
            path.mkdir(mode=0o700, parents=True)
        return path

    def keep(self, folder: Path, prefix: str) -> None:
        """See ObjectStore."""
        target = self.root / checked(prefix)
        with _translated(target):
            if target.exists():
                raise AlreadyThere(f"{prefix} is there already")
            _sync_tree(folder)  # before it counts: a record that outlives a power cut must not tell of empty files
            folder.rename(target)
            _sync_folder(target.parent)

    def local(self, prefix: str) -> Path:
        """See ObjectStore. The store's own folder: nothing is copied."""
        path = self.root / checked(prefix)
        if not path.is_dir():
            raise NoSuchObject(f"nothing is stored below {prefix}")
        return path

    def erase(self, prefix: str) -> int:
        """See ObjectStore."""
        top = self.root / checked(prefix) if prefix else self.root
        count = sum(1 for _ in self.keys(prefix)) if top.is_dir() else 0
        with _translated(top):
            if top.is_dir():
                shutil.rmtree(top)
        return count


def _appear(temp: Path, target: Path) -> None:
    """Give the finished file its name, or raise FileExistsError."""
    try:
        os.link(temp, target)
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    lock = target.parent / f".lock-{target.name}"
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    try:
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(target))
        temp.rename(target)
    finally:
        lock.unlink()


def _sync_tree(top: Path) -> None:
    for folder, _, files in os.walk(top):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(folder))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems can't sync a folder; they have no need to
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """The border: what the operating system says becomes this package's own error."""
    try:
        yield
    except FileNotFoundError as error:
        raise NoSuchObject(f"nothing is stored at {path}") from error
    except FileExistsError as error:
        raise AlreadyThere(f"{path} is there already") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StoreFull(f"no room left at {path}") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
            raise NotPermitted(f"can't write at {path}: {error.strerror}") from error
        raise StoreError(f"{path}: {error.strerror}") from error
