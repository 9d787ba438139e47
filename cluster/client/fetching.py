"""Films from a server: in ranges, on from where a cut left them, and held against what server and report say."""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from cluster.client.errors import Answered, BadAnswer, Damaged, Unreachable, Unusable
from cluster.client.wire import Wire, part

_BLOCK = 1 << 20  # bytes in memory at once
Told = Callable[[int, int], None]


def fetch(
    wire: Wire, job: str, target: Path, overwrite: bool, sha256: str | None = None, told: Told | None = None
) -> Path:
    """Write the film of a job to `target`, which has it as a whole or not at all. What an earlier call left is gone on
    with, if the film is the same. `sha256`: what it must be. Raises ClientError; Unusable where it can't be written."""
    if target.exists() and not overwrite:
        raise Unusable(f"{target} exists", "", "give --overwrite")
    film = look(wire, job)
    # Its name has the version, so that two versions are never mixed.
    unfinished = target.with_name(f".{target.name}.{hashlib.sha256(film.version.encode()).hexdigest()[:12]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _all_of_it(wire, _path(job), unfinished, film.size, film.version, told or (lambda done, total: None))
        _check(unfinished, film.size, sha256)
        _give_name(unfinished, target, overwrite)
    except OSError as error:
        raise Unusable(f"{target} can't be written", error.strerror or str(error), "choose another place") from error
    return target


def _all_of_it(wire: Wire, path: str, into: Path, size: int, mark: str, told: Told) -> None:
    failed = 0
    with open(into, "ab") as file:
        if file.tell() > size:
            file.truncate(0)
        while (at := file.seek(0, os.SEEK_END)) < size:
            told(at, size)
            try:
                _more(wire, path, file, at, size, mark, told)
            except (Unreachable, Answered) as error:
                if isinstance(error, Answered) and error.status not in (429, 502, 503, 504):
                    raise
                failed = 1 if file.seek(0, os.SEEK_END) > at else failed + 1
                if failed >= wire.patience.tries:
                    raise
                wire.sleep(wire.patience.pause(failed))
        os.fsync(file.fileno())
    told(size, size)


def _more(wire: Wire, path: str, file: IO[bytes], at: int, size: int, mark: str, told: Told) -> None:
    """As much as comes before a cut."""
    headers = {"Range": f"bytes={at}-", "If-Range": mark, "Accept": "*/*", "Accept-Encoding": "identity"}
    with wire.open("GET", path, (), None, headers) as response:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status != 206 or span is None or (int(span[1]), int(span[2])) != (at, size):
            raise Damaged("the film was replaced while it came", "", "fetch it again")
        for block in response.stream(_BLOCK, decode_content=False):
            file.write(block)
            at += len(block)
            if at > size:
                raise Damaged("more came than the film has", f"it has {size} bytes", "fetch it again")
            told(at, size)
    if at < size:
        raise Unreachable("the connection broke", f"{size - at} bytes are missing", "fetch it again; it goes on")


def _check(path: Path, size: int, sha256: str | None) -> None:
    if (come := path.stat().st_size) != size:
        path.unlink()
        raise Damaged(f"{come} of {size} bytes came", "", "fetch it again")
    if sha256 is None:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        path.unlink()
        raise Damaged("the film isn't the one of the report", "its hash is another", "fetch it again")


def _give_name(unfinished: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        unfinished.replace(target)
        return
    try:
        os.link(unfinished, target)  # unlike a rename, this refuses to replace
        unfinished.unlink()
    except FileExistsError as error:
        raise Unusable(f"{target} exists", "it came up meanwhile", "give --overwrite") from error
    except OSError:  # a file system without hard links
        unfinished.replace(target)


@dataclass(frozen=True, slots=True)
class Film:
    """What the server says of a finished film."""

    name: str  # as the server calls it; the last part of a path, never more
    size: int
    version: str


def look(wire: Wire, job: str) -> Film:
    """Raises ClientError; Clash while there is none."""
    answer = wire.ask("HEAD", _path(job))
    size, mark = answer.headers.get("Content-Length", ""), answer.headers.get("ETag", "")
    if not size.isdigit() or not mark:
        raise BadAnswer("the server doesn't say how large the film is", "", "check the address")
    said = re.search(r"filename\*=UTF-8''([^;\s]+)", answer.headers.get("Content-Disposition", ""))
    name = unquote(said[1]).replace("\\", "/").rpartition("/")[2].replace("\0", "") if said else ""
    return Film(name if name not in ("", ".", "..") else "film.mp4", int(size), mark)


def _path(job: str) -> str:
    return f"/v1/jobs/{part(job)}/film"
