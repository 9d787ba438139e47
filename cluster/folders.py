"""Folders of pictures, which are one source or one output: what they hold, and how they get their place."""

import hashlib
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from pipeline.errors import OutputError
from pipeline.stills.kinds import in_folder

_PIECE = 1 << 20  # bytes that are read at once


def sha256(path: Path) -> str:
    """Of a file's bytes; of a folder's or an archive's pictures, of one line for each, as `sha256sum` prints it."""
    if path.is_dir():
        return _listed((file.name, _of(file)) for file in in_folder(path))
    if path.suffix != ".zip":
        return _of(path)
    with zipfile.ZipFile(path) as archive:
        return _listed((name, _read(archive.open(name))) for name in archive.namelist())


def _of(path: Path) -> str:
    return _read(path.open("rb"))


def _read(file: IO[bytes]) -> str:
    whole = hashlib.sha256()
    with file:
        while piece := file.read(_PIECE):
            whole.update(piece)
    return whole.hexdigest()


def _listed(pictures: Iterable[tuple[str, str]]) -> str:
    whole = hashlib.sha256()
    for name, digest in pictures:
        whole.update(f"{digest}  {name}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def publish(archive: Path, target: Path, overwrite: bool) -> None:
    """The pictures of an archive get their names in a folder: at once, where there is no such folder yet. Raises
    OutputError when a name is taken, OSError."""
    near = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(near, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(near)
            names = packed.namelist()
        if not target.exists():
            near.rename(target)
            return
        taken = next((name for name in names if (target / name).exists()), None)
        if taken is not None and not overwrite:
            raise OutputError(f"{target / taken} exists", "it came up during the work", "go on with --overwrite")
        for name in names:
            (near / name).replace(target / name)
    finally:
        shutil.rmtree(near, ignore_errors=True)
