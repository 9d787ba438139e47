"""`veilfarm swap` without the command line: prepare each film's job, let the farm do it, publish what is finished."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import folders, report
from cluster.config import Request, UsageError, encoding, pictures, project_key
from cluster.farm import Farm
from cluster.inputs import Pair, check_target, check_writable
from cluster.job import Encoding, Failure, JobSpec, Step, StitchFacts, new_id, source_of
from cluster.ledger import Ledger, Unit
from cluster.made import made_by
from cluster.places import publish_file
from cluster.progress import Voice
from cluster.records import BadRecord
from cluster.roles import Ended, Job, Pool
from cluster.workers import failure_of
from pipeline.errors import OutputError, PipelineError
from storage.folder import FolderStore
from storage.objects import StoreError

REFUSED = frozenset({"UsageError", "InputError", "NotAVideo", "Truncated", "Unsupported"})
"""Causes that mean: what was asked for can't be done. Exit code 2; everything else that fails is 1."""


Models = Callable[[], Sequence[dict[str, str]]]
"""Name, hash and licence of every weight file. Asked at the end: the answer loads PyTorch, which takes a second."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one film."""

    pair: Pair
    failure: Failure | None = None
    report: dict[str, Any] | None = None
    skipped: bool = False  # an earlier run had finished it

    @property
    def exit_code(self) -> int:
        """0 done, 1 failed, 2 refused."""
        if self.failure is None:
            return 0
        return 2 if self.failure.cause in REFUSED else 1


@dataclass(slots=True)
class _Open:
    """A job that was prepared: its film, its work folder, and the lock on it."""

    pair: Pair
    target: Path  # absolute
    root: Path
    lock: int
    job: Job
    begun: float = field(default_factory=time.perf_counter)


class Swap:
    """One run of the command."""

    def __init__(self, request: Request, pairs: Sequence[Pair], device: str, models: Models) -> None:
        self._request, self._pairs, self._device, self._models = request, pairs, device, models
        self._open: dict[str, _Open] = {}
        self._early: list[Result] = []
        self._key: str | None = None
        self._left: list[Path] = []

    def run(self, pool: Pool, voice: Voice) -> Iterator[Result]:
        """Every film's result, as it comes. Raises UsageError, FarmError."""
        if self._request.seed_key is not None:
            self._key, warning = project_key(self._request.seed_key)
            if warning:
                voice.notice(warning)
        for ended in Farm(pool, voice).run(self._jobs(voice)):
            yield from self._drain()
            yield self._finish(ended, voice)
        yield from self._drain()

    def _drain(self) -> Iterator[Result]:
        while self._early:
            yield self._early.pop(0)

    def _jobs(self, voice: Voice) -> Iterator[Job]:
        """Jobs, each prepared when the farm has room for it. What needs no farm goes to `_early`."""
        sources = [pair.source for pair in self._pairs]
        for pair in self._pairs:
            try:
                if pair.refused is not None:
                    raise pair.refused
                check_target(pair, sources, self._request)
                done = self._done_before(pair)
                if done is not None:
                    self._early.append(Result(pair, None, done, skipped=True))
                    continue
                opened = self._prepare(pair, voice)
            except (PipelineError, StoreError, OSError) as error:
                self._early.append(Result(pair, failure_of(error)))
                continue
            self._open[opened.job.ledger.job_id] = opened
            yield opened.job

    def _done_before(self, pair: Pair) -> dict[str, Any] | None:
        """The report of a run that finished this very film. Only --resume asks; another file there is an error."""
        if not (self._request.resume and pair.target.exists()) or self._request.overwrite:
            return None
        if pair.to_folder and not report_path(self._request, pair.target).exists():
            return None  # a folder that was there before
        found = report.read(report_path(self._request, pair.target))
        same = found is not None and report.is_of(found, self._spec(pair))
        if found and same and folders.sha256(pair.target) == found["output"]["sha256"]:
            return found
        why = "no report says that it was made from this film, as it is now, with these options"
        raise UsageError(f"{pair.target} exists", why, "give --overwrite")

    def _encoding(self, target: Path) -> Encoding:
        request = self._request
        convert = request.convert_audio, request.convert_subtitles
        return encoding(request.quality, request.codec, target, request.drop_dynamic_hdr, *convert, request.copy_clean)

    def _spec(self, pair: Pair) -> JobSpec:
        request, target = self._request, pair.target
        return JobSpec(
            source=source_of(pair.source),
            target=str(target.resolve()),
            veil=request.veil,
            encoding=pictures(request.codec) if pair.to_folder else self._encoding(target),
            start=request.start,
            stop=request.stop,
            device=self._device,
            key_fingerprint=self._key,
            made_by=made_by(),
        )

    def _prepare(self, pair: Pair, voice: Voice) -> _Open:
        request, spec = self._request, self._spec(pair)
        target = Path(spec.target)
        root = work_folder(request, target)
        check_writable(root.parent)
        lock = _locked(root)
        try:
            ledger = self._ledger(spec, root, voice)
            self._left.append(root)
            if request.seed_key is None:
                ledger.give_secret()
        except BaseException:
            os.close(lock)
            raise
        key = request.seed_key.resolve() if request.seed_key else None
        job = Job(pair.source.name, str(root), ledger, key, since=new_id())
        return _Open(pair, target, root, lock, job)

    def _ledger(self, spec: JobSpec, root: Path, voice: Voice) -> Ledger:
        """The job to go on with, or a new one. What an earlier run left is used by --resume only, and else removed."""
        if self._request.resume:
            store = FolderStore(root)
            for ledger in Ledger.found_in(store):
                why = "the source or the options are not the same as before"
                todo = f"give the same ones, or run without --resume to begin anew (this removes {root})"
                with contextlib.suppress(BadRecord):
                    before = ledger.spec()
                    if before == spec:
                        return ledger
                    if dataclasses.replace(before, made_by=spec.made_by) == spec:
                        why = "another version of veilfarm, or of its models, began it"
                        todo = f"run without --resume to begin anew (this removes {root})"
                raise UsageError(f"can't go on with {spec.source.name}", why, todo)
            voice.notice(f"{spec.source.name}: nothing to resume; it begins anew")
        elif any(root.joinpath("jobs").glob("*")):
            voice.notice(f"{spec.source.name}: removed what an interrupted run had left; --resume would have used it")
        _empty(root)
        return Ledger.create(FolderStore(root), spec)

    def _finish(self, ended: Ended, voice: Voice) -> Result:
        opened = self._open.pop(ended.job.ledger.job_id)
        try:
            failure, found = ended.failure, None
            if failure is None:
                try:
                    found = self._publish(opened, ended)
                except (PipelineError, StoreError, OSError) as error:
                    failure = failure_of(error)
            if failure is not None and failure.cause in REFUSED:
                self._remove(opened)
            return Result(opened.pair, failure, found)
        finally:
            os.close(opened.lock)

    def left(self) -> list[Path]:
        """Work folders that --resume can go on with, of films that failed or are not finished."""
        return self._left

    def _publish(self, opened: _Open, ended: Ended) -> dict[str, Any]:
        """Give the film its name, write the report, delete the work, and say so in the report: in this order, so that
        the report is true, and nothing is deleted before all else is done."""
        found = report.build(opened.job.ledger, ended.seconds, self._models())
        found["seconds"] = round(time.perf_counter() - opened.begun, 3)
        publish = folders.publish if opened.pair.to_folder else publish_file
        publish(_film(opened.job.ledger), opened.target, self._request.overwrite)
        path = report_path(self._request, opened.target)
        try:
            report.write(found, path)
        except OSError as error:
            what, todo = f"the film is finished, but its report is not: {path}", "go on with --resume --overwrite"
            raise OutputError(what, error.strerror or "", todo) from error
        self._remove(opened)
        found["work_deleted"] = not opened.root.exists()
        with contextlib.suppress(OSError):  # the report is there, and true but for this
            report.write(found, path)
        return found

    def _remove(self, opened: _Open) -> None:
        shutil.rmtree(opened.root, ignore_errors=True)
        if opened.root in self._left:
            self._left.remove(opened.root)


def _film(ledger: Ledger) -> Path:
    return ledger.folder(Unit(Step.STITCH)) / ledger.facts(StitchFacts).film


def work_folder(request: Request, target: Path) -> Path:
    """Where a job's state lies: beside its output, where there must be room anyway, or below --work."""
    if request.work is None:
        return target.with_name(f".{target.name}.veilfarm")
    name = hashlib.sha256(str(target).encode()).hexdigest()[:12]
    return request.work.resolve() / f"{target.name}-{name}.veilfarm"


def report_path(request: Request, target: Path) -> Path:
    """Beside the output, unless the user says otherwise."""
    return request.report or target.with_name(f"{target.name}.report.json")


def _locked(root: Path) -> int:
    """An open lock on the work folder, which ends with this process. Raises UsageError when another run holds it."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(root / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise UsageError(f"another run is at work in {root}", "", "wait for it, or choose another -o") from error
    return lock


def _empty(root: Path) -> None:
    for entry in root.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def failure_text(result: Result) -> str:
    """One line for a person: which film, what, why, what to do."""
    assert result.failure is not None
    text = result.failure.line
    return text if result.pair.source.name in text else f"{result.pair.source}: {text}"
