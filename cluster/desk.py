"""The farm's front desk: what people ask for becomes jobs in the store's book."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster.book import Book, Card, Control
from cluster.config import UsageError, encoding, output_suffix
from cluster.job import JobSpec, Moment, Publish, Source, Veil, new_id
from cluster.made import made_by
from cluster.places import look_up, publish_file
from cluster.states import JobState
from pipeline.errors import NotAVideo
from storage import layout
from storage.address import is_object, parse_object
from storage.objects import AlreadyThere, NoSuchObject


@dataclass(frozen=True, slots=True)
class Wish:
    """How the films of one submission are to be done."""

    to: str = ""  # a film, or a folder (ends with "/"): a path or "s3://bucket/…"; "": the farm's own store
    veil: Veil = Veil.NOBODY
    quality: str = "good"
    codec: str | None = None
    start: Moment | None = None
    stop: Moment | None = None
    device: str = "any"
    overwrite: bool = False
    owner: str = ""
    priority: int = 0
    limit: int | None = None
    deadline: float | None = None
    after: tuple[str, ...] = ()
    key_fingerprint: str | None = None
    team: str = ""
    name: str = ""  # of the film; "": as its place says


class Desk:
    """Takes films in for one store. `place` is the store's, as workers open it."""

    def __init__(self, book: Book, place: str) -> None:
        self.book, self.place = book, place.rstrip("/")

    def submit(
        self, source: str, wish: Wish, key: bytes | None = None, several: bool = False, job_id: str | None = None
    ) -> str:
        """A film as a new job; its id. `source`: a path or "s3://bucket/key"; `key`: of a project. `several`: it is one
        of many, so `wish.to` is a folder. `job_id`: where that was settled before. Raises UsageError, NotAVideo,
        StoreError."""
        name = _name(source, wish)
        out, target = self._target(source, wish, several)
        how = encoding(wish.quality, wish.codec, Path(PurePosixPath(target or out).name))
        for other in wish.after:
            self.book.card(other)
        found = self._source(source)  # last: it may bring a film into the store
        spec = JobSpec(
            source=found,
            target=target,
            veil=wish.veil,
            encoding=how,
            start=wish.start,
            stop=wish.stop,
            device=wish.device,
            key_fingerprint=wish.key_fingerprint,
            made_by=made_by(),
            publish=Publish(out, wish.overwrite),
        )
        now = time.time()
        control = Control(JobState.QUEUED, "", now, wish.priority, wish.limit, wish.deadline)
        try:
            return self.book.submit(spec, Card(name, wish.owner, now, wish.after, wish.team), control, key, job_id)
        except AlreadyThere:
            if found.place != source and (folder := layout.upload_of(found.place)):
                self.book.store.erase(folder)
            raise

    def _target(self, source: str, wish: Wish, several: bool) -> tuple[str, str]:
        """(the film's name, its place). Raises UsageError when something is there already."""
        name = _name(source, wish)
        out = str(PurePosixPath(name).with_suffix(output_suffix(Path(name)))) if name else ""
        if not wish.to:
            return out, ""
        folder = wish.to.endswith("/") or (not is_object(wish.to) and Path(wish.to).is_dir())
        if several and not folder:
            raise UsageError(f"--to {wish.to} is one film", "several films go into a folder", "end it with a /")
        place = f"{wish.to.rstrip('/')}/{out}" if folder else wish.to
        place = place if is_object(place) else str(Path(place).resolve())
        if place == source:
            raise UsageError(f"{place} would replace its own source", "", "give another --to")
        if not wish.overwrite and _exists(place):
            raise UsageError(f"{place} exists", "", "give --overwrite, or another --to")
        return PurePosixPath(place).name, place

    def _source(self, source: str) -> Source:
        """What the film is now. A file of this machine that workers of a bucket couldn't see is put into the bucket."""
        if is_object(source):
            return look_up(source)
        path = Path(source).resolve()
        try:
            found = look_up(str(path))
        except OSError as error:
            raise NotAVideo(f"{source} can't be read", error.strerror or str(error), "check the path") from error
        if not path.is_file() or not os.access(path, os.R_OK):
            raise NotAVideo(f"{source} is no file that can be read", "", "check the path")
        if not is_object(self.place):
            return found
        key = layout.upload(new_id(), path.name)
        self.book.store.put_file(key, path)
        return look_up(f"{self.place}/{key}")

    def fetch(self, film: str, output: Path, overwrite: bool) -> Path:
        """Copy a finished film here; its path. Raises UsageError, StoreError."""
        store, key = (self.book.store, film) if not film.startswith("/") else (None, film)
        if is_object(film):
            store, key = parse_object(film)
        target = output / PurePosixPath(film).name if output.is_dir() else output
        if target.exists() and not overwrite:
            raise UsageError(f"{target} exists", "", "give --overwrite")
        target.parent.mkdir(parents=True, exist_ok=True)
        if store is None:
            publish_file(Path(film), target, overwrite)
        else:
            store.fetch(key, target)
        return target

    def choose(self, names: Sequence[str]) -> tuple[str, ...]:
        """Ids of jobs by what a person typed: whole ids, or ends of ids that fit one job only. Raises UsageError."""
        known: tuple[str, ...] | None = None
        found = []
        for name in names:
            text = name.upper()
            if not text:
                raise UsageError("a job's id is empty", "", "see: veilfarm jobs")
            if len(text) < 26:
                known = self.book.jobs() if known is None else known
                fits = [job for job in known if job.endswith(text)]
                if len(fits) != 1:
                    why = "no job's id ends so" if not fits else f"the ids of {len(fits)} jobs end so"
                    raise UsageError(f"which job is {name}?", why, "see: veilfarm jobs")
                text = fits[0]
            self.book.control(text)
            found.append(text)
        return tuple(found)


def _name(source: str, wish: Wish) -> str:
    return PurePosixPath(wish.name or source).name


def _exists(place: str) -> bool:
    if not is_object(place):
        return Path(place).exists()
    store, key = parse_object(place)
    try:
        store.stat(key)
    except NoSuchObject:
        return False
    return True
