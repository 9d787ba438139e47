"""Where films come from and go to: files of this machine, and objects in a store. A place is an absolute path or
"s3://bucket/key".
"""

import contextlib
import filecmp
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster import report
from cluster.job import PublishFacts, Source, Step, StitchFacts, source_of
from cluster.ledger import Ledger
from pipeline.errors import InputError, NotAVideo, OutputError, VerifyError
from storage import layout
from storage.address import is_object, parse_object
from storage.cache import node_cache
from storage.objects import Conflict, NoSuchObject, ObjectStore

_PIECE = 8 << 20  # bytes of an object that are compared at once


def look_up(place: str) -> Source:
    """The file or object as it is now. Raises NotAVideo when there is none, OSError, StoreError."""
    if not is_object(place):
        return source_of(Path(place))
    store, key = parse_object(place)
    try:
        facts = store.stat(key)
    except NoSuchObject as error:
        raise NotAVideo(f"{place}: no such object", "", "check the name") from error
    return Source(place, facts.size, facts.etag)


@contextlib.contextmanager
def source_file(source: Source) -> Iterator[Path]:
    """The source as a file on this machine: itself, or the node's copy of the object. Raises InputError when it isn't
    what it was when the job was made."""
    changed = f"{source.place} has changed since the job was made"
    if not is_object(source.place):
        path = Path(source.place)
        try:
            same = source_of(path) == source
        except OSError as error:
            raise NotAVideo(f"{path} can't be read", error.strerror or str(error), "check the path") from error
        if not same:
            raise InputError(changed, "", "submit it again")
        yield path
        return
    if look_up(source.place) != source:  # the node's copy is of what it was: nobody would notice before the end
        raise InputError(changed, "", "submit it again")
    store, key = parse_object(source.place)
    with contextlib.ExitStack() as held:
        try:
            path = held.enter_context(node_cache().file(store, key, source.version))
        except (Conflict, NoSuchObject) as error:
            raise InputError(changed, str(error), "submit it again") from error
        yield path


def release() -> None:
    """The node's copies of objects that this process used may go when room is needed."""
    node_cache().release()


def check_unchanged(source: Source) -> None:
    """Raises InputError when it isn't what it was when the job was made."""
    try:
        same = look_up(source.place) == source
    except (OSError, InputError):
        same = False
    if not same:
        raise InputError(f"{source.place} changed while it was worked on", "", "run again")


def publish(ledger: Ledger, edits: int = 0) -> PublishFacts:
    """Give the finished film and its report their places, as the job's specification says. `edits`: the version of
    reviewers' edits that it is done with. Raises OutputError.

    This may be done twice, when a worker was lost before it could tell: a film that is there already and is this very
    one is in nobody's way.
    """
    from pipeline.models.weights import catalogue

    spec = ledger.spec()
    assert spec.publish is not None
    facts = ledger.facts(StitchFacts, edits=edits)
    film = ledger.folder(ledger.unit(Step.STITCH, None, edits)) / facts.film
    with open(film, "rb") as file:  # it has come through a store: only what was checked is released
        if hashlib.file_digest(file, "sha256").hexdigest() != facts.sha256:
            raise VerifyError("the finished film isn't the one that was checked", "its bytes have changed", "retry")
    models = tuple({"name": f.name, "sha256": f.sha256, "licence": f.licence} for f in catalogue().values())
    text = json.dumps(report.build(ledger, {}, models, edits), indent=1, ensure_ascii=False) + "\n"
    place = spec.target or layout.output(ledger.job_id, spec.publish.name)
    told = f"{place}.report.json"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        path.write_text(text, encoding="utf-8")
        if is_object(spec.target) or not spec.target:
            _put(ledger, film, place, spec.publish.overwrite or not spec.target)
            _put(ledger, path, told, overwrite=True)
        else:
            _publish_files(film, path, Path(place), spec.publish.overwrite)
    return PublishFacts(place, told, film.stat().st_size)


def _publish_files(film: Path, report_file: Path, target: Path, overwrite: bool) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.is_file() and filecmp.cmp(film, target, shallow=False)):
            publish_file(film, target, overwrite)
        publish_file(report_file, target.with_name(f"{target.name}.report.json"), overwrite=True)
    except OSError as error:
        todo = "give a place that the workers can write to, and retry"
        raise OutputError(f"{target} can't be written", error.strerror or str(error), todo) from error


def _put(ledger: Ledger, path: Path, place: str, overwrite: bool) -> None:
    store, key = parse_object(place) if is_object(place) else (ledger.store, place)
    if not overwrite:
        with contextlib.suppress(NoSuchObject):
            if _is_object_of(store, key, path):
                return
            raise OutputError(f"{place} exists", "it came up during the work", "submit again with --overwrite")
    store.put_file(key, path)


def _is_object_of(store: ObjectStore, key: str, path: Path) -> bool:
    """Whether the object has the file's bytes. Raises NoSuchObject."""
    size = store.stat(key).size
    if size != path.stat().st_size:
        return False
    with open(path, "rb") as file:
        return all(store.read_range(key, at, _PIECE) == file.read(_PIECE) for at in range(0, size, _PIECE))


def publish_file(film: Path, target: Path, overwrite: bool) -> None:
    """A finished file gets its name, at once and as a whole. It stays where it was, too: a link, or a copy where there
    are no links. Raises OutputError when the name was taken meanwhile, OSError."""
    near = target.with_name(f".{target.name}.unfinished")
    try:
        near.unlink(missing_ok=True)
        try:
            os.link(film, near)
        except OSError:
            shutil.copyfile(film, near)
        with open(near, "rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            near.replace(target)
        else:
            _link(near, target)
    finally:
        near.unlink(missing_ok=True)


def _link(film: Path, target: Path) -> None:
    taken = OutputError(f"{target} exists", "it came up during the work", "go on with --resume --overwrite")
    try:
        os.link(film, target)  # unlike a rename, this refuses to replace
    except FileExistsError as error:
        raise taken from error
    except OSError:  # a file system without hard links
        if target.exists():
            raise taken from None
        film.replace(target)


def read_report(ledger: Ledger, place: str) -> dict[str, Any]:
    """The report of a film that the farm published. Raises StoreError, OSError, ValueError."""
    if is_object(place):
        store, key = parse_object(place)
        text = store.read(key)
    elif place.startswith("/"):
        text = Path(place).read_bytes()
    else:
        text = ledger.store.read(place)
    found = json.loads(text)
    assert isinstance(found, dict)
    return found
