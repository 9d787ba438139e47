"""Files on this machine: whole or not there, and what the operating system says in this package's own errors."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from io import BufferedWriter
from pathlib import Path

from storage.objects import AlreadyThere, NoSuchObject, NotPermitted, StoreError, StoreFull

HIDDEN = ".part-"  # what is being written; no key may begin with a dot
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}


@contextlib.contextmanager
def filled(path: Path, *, sync: bool = False) -> Iterator[BufferedWriter]:
    """A file to write. When the block ends well it gets the name `path`, in the place of one that had it; when it
    doesn't, nothing is left. With `sync` it survives a power cut."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temp = path.parent / f"{HIDDEN}{secrets.token_hex(8)}"
    try:
        with open(temp, "xb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temp.replace(path)
        if sync:
            sync_folder(path.parent)
    finally:
        temp.unlink(missing_ok=True)


def sync_tree(top: Path) -> None:
    """Have everything below a folder survive a power cut."""
    for folder, _, files in os.walk(top):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(folder))


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems can't sync a folder; they have no need to
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """The border: what the operating system says of `path` becomes this package's own error."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NoSuchObject(f"nothing is stored at {path}") from error
    except OSError as error:
        if error.errno in _TAKEN:
            raise AlreadyThere(f"{path} is there already") from error
        if error.errno in _NO_ROOM:
            raise StoreFull(f"no room left at {path}; free some space or choose another place") from error
        if error.errno in _REFUSED:
            raise NotPermitted(f"can't use {path}: {error.strerror}; change its owner or mode") from error
        raise StoreError(f"{path}: {error.strerror or error}; look after the disk and the file") from error
