"""The farm's front desk: what people ask for becomes jobs in the store's book."""

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster.book import Book, Card, Control, NoSuchJob
from cluster.config import PICTURE_SOURCES, VIDEO_SUFFIXES, UsageError, check_kinds, encoding, output_suffix
from cluster.job import Encoding, JobSpec, Moment, Publish, Source, Veil, new_id
from cluster.made import made_by
from cluster.places import look_up, publish_file
from cluster.states import JobState
from pipeline.errors import NotAVideo
from storage import layout
from storage.address import is_object, parse_object
from storage.objects import AlreadyThere, NoSuchObject, StoreError


@dataclass(frozen=True, slots=True)
class Wish:
    """How the films of one submission are to be done."""

    to: str = ""  # a film, or a folder (ends with "/"): a path or "s3://bucket/…"; "": the farm's own store
    veil: Veil = Veil.NOBODY
    quality: str = "good"
    codec: str | None = None
    drop_dynamic_hdr: bool = False
    convert_audio: bool = False
    convert_subtitles: bool = False
    copy_clean: bool = False
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
    review: bool = False  # somebody has to approve it before it is published


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
        out, target, how = self._settled(source, wish, several)
        found = self._brought(source)  # last: it may bring a film into the store
        spec = _spec(found, target, how, wish, out)
        now = time.time()
        control = Control(JobState.QUEUED, "", now, wish.priority, wish.limit, wish.deadline, review=wish.review)
        try:
            return self.book.submit(
                spec, Card(film_name(source, wish.name), wish.owner, now, wish.after, wish.team), control, key, job_id
            )
        except AlreadyThere:
            if found.place != source and (folder := layout.upload_of(found.place)):
                self.book.store.erase(folder)
            raise

    def check(self, source: str, wish: Wish, several: bool = False) -> None:
        """Raise what `submit` would raise, and write nothing. A `source` of "" isn't there yet; `wish` has its name."""
        self._settled(source, wish, several)
        if source:
            _looked(source)

    def submitted(self, job: str, source: str, wish: Wish, several: bool = False) -> bool:
        """Whether there is this job already, asked for in the same way; a film that was brought into the store is known
        by its name and size. Raises UsageError when it was asked for otherwise, NotAVideo, StoreError."""
        try:
            card, spec = self.book.card(job), self.book.ledger(job).spec()
            self.book.control(job)
        except NoSuchJob:
            return False
        out, target = self._target(source, wish, several, free=False)
        how = _how(wish, target or out)
        found = spec.source
        try:
            looked = _looked(source)
        except (NotAVideo, StoreError):
            if source != spec.source.place:  # its film may have gone since
                raise
        else:
            brought = layout.upload_of(spec.source.place) != "" and layout.upload_of(looked.place) == ""
            now = (layout.safe(looked.name), looked.bytes)
            if not brought or now != (spec.source.name, spec.source.bytes):
                found = looked
        wanted = dataclasses.replace(_spec(found, target, how, wish, out), made_by=spec.made_by)
        if wanted != spec or card.after != wish.after:
            why = _otherwise(wanted, spec) or "it waits for other jobs"
            raise UsageError(f"there is a job {job} already", why, "take another id, or ask for the same")
        return True

    def _settled(self, source: str, wish: Wish, several: bool) -> tuple[str, str, Encoding]:
        """(the film's name, its place, how it is encoded). Raises UsageError, NoSuchJob."""
        out, target = self._target(source, wish, several)
        how = _how(wish, target or out)
        for other in wish.after:
            self.book.card(other)
        return out, target, how

    def _target(self, source: str, wish: Wish, several: bool, free: bool = True) -> tuple[str, str]:
        """(the film's name, its place). Raises UsageError when something is there already, if it shall be `free`."""
        name = film_name(source, wish.name)
        out = str(PurePosixPath(name).with_suffix(output_suffix(Path(name)))) if name else ""
        if not wish.to:
            return out, ""
        folder = wish.to.endswith("/") or (not is_object(wish.to) and Path(wish.to).is_dir())
        if several and not folder:
            raise UsageError(f"--to {wish.to} is one film", "several films go into a folder", "end it with a /")
        place = f"{wish.to.rstrip('/')}/{out}" if folder else wish.to
        check_kinds(Path(name), Path(place))
        place = place if is_object(place) else str(Path(place).resolve())
        if place == source:
            raise UsageError(f"{place} would replace its own source", "", "give another --to")
        if free and not wish.overwrite and _exists(place):
            raise UsageError(f"{place} exists", "", "give --overwrite, or another --to")
        return PurePosixPath(place).name, place

    def _brought(self, source: str) -> Source:
        """What the film is now. A file of this machine that workers of a bucket couldn't see is put into the bucket."""
        found = _looked(source)
        if is_object(source) or not is_object(self.place):
            return found
        path = Path(found.place)
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


def _looked(source: str) -> Source:
    """What the film is now. Raises NotAVideo, StoreError."""
    if is_object(source):
        return look_up(source)
    path = Path(source).resolve()
    try:
        found = look_up(str(path))
    except OSError as error:
        raise NotAVideo(f"{source} can't be read", error.strerror or str(error), "check the path") from error
    if not path.is_file() or not os.access(path, os.R_OK):
        raise NotAVideo(f"{source} is no file that can be read", "", "check the path")
    return found


def _how(wish: Wish, film: str) -> Encoding:
    """Raises UsageError."""
    name = Path(PurePosixPath(film).name)
    convert = wish.convert_audio, wish.convert_subtitles
    return encoding(wish.quality, wish.codec, name, wish.drop_dynamic_hdr, *convert, wish.copy_clean)


def _spec(source: Source, target: str, how: Encoding, wish: Wish, out: str) -> JobSpec:
    return JobSpec(
        source=source,
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


def _otherwise(wanted: JobSpec, there: JobSpec) -> str:
    """Which settings of two jobs differ."""
    names = [each.name for each in dataclasses.fields(JobSpec)]
    found = [name for name in names if getattr(wanted, name) != getattr(there, name)]
    return f"with another {', '.join(found)}" if found else ""


def film_name(source: str, wished: str) -> str:
    """What a film is called: as it was wished, "": as its place says. What has no extension of a film has the
    source's."""
    name, suffix = PurePosixPath(wished or source).name, PurePosixPath(source).suffix
    if wished and suffix and PurePosixPath(name).suffix.lower() not in VIDEO_SUFFIXES | PICTURE_SOURCES:
        return f"{name}{suffix}"
    return name


def _exists(place: str) -> bool:
    if not is_object(place):
        return Path(place).exists()
    store, key = parse_object(place)
    try:
        store.stat(key)
    except NoSuchObject:
        return False
    return True
