"""What a job has reached, as records in an object store. Nothing about a job's progress is known anywhere else.

A try writes under its own id and is committed by one record that can be made only once. A worker that dies leaves a try
that nobody reads; two workers that do the same unit leave two tries, of which one counts.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cluster import records
from cluster.job import FACTS, ChunkRecord, Facts, Failure, JobSpec, Plan, Step, new_id
from storage import layout
from storage.objects import AlreadyThere, NoSuchObject, ObjectStore, StoreError

AnyFacts = TypeVar("AnyFacts", bound=Facts)


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of work that is done or not: a step of the film, or of one chunk of it."""

    step: Step
    chunk: int | None = None

    def __str__(self) -> str:
        return self.step if self.chunk is None else f"{self.step} of chunk {self.chunk}"


@dataclass(frozen=True, slots=True)
class Done:
    """The committed try of a unit."""

    attempt: str
    seconds: float
    facts: Facts


class Ledger:
    """The records of one job."""

    def __init__(self, store: ObjectStore, job_id: str) -> None:
        self.store, self.job_id = store, job_id

    @classmethod
    def create(cls, store: ObjectStore, spec: JobSpec) -> "Ledger":
        """A new job in this store."""
        ledger = cls(store, new_id())
        store.create(layout.spec(ledger.job_id), records.dumps(spec))
        return ledger

    @classmethod
    def found_in(cls, store: ObjectStore) -> Iterator["Ledger"]:
        """The jobs that the store holds, oldest first."""
        for key in store.keys("jobs"):
            if key.endswith("/spec.json") and key == layout.spec(key.split("/")[1]):
                yield cls(store, key.split("/")[1])

    def spec(self) -> JobSpec:
        """What was asked for. Raises NoSuchObject, BadRecord."""
        return records.loads(JobSpec, self.store.read(layout.spec(self.job_id)))

    def begin(self, unit: Unit, attempt: str) -> Path:
        """A folder that this try may fill."""
        return self.store.scratch(layout.attempt(self.job_id, unit.step, unit.chunk, attempt))

    def commit(self, unit: Unit, attempt: str, scratch: Path, facts: Facts, seconds: float) -> Done:
        """Make this try the one that counts. When another try was first, that one counts and is returned."""
        assert type(facts) is FACTS[unit.step], f"{unit} can't be done with {type(facts).__name__}"
        self.store.keep(scratch, layout.attempt(self.job_id, unit.step, unit.chunk, attempt))
        done = Done(attempt, seconds, facts)
        try:
            self.store.create(layout.done(self.job_id, unit.step, unit.chunk), records.dumps(done))
        except AlreadyThere:
            winner = self.done(unit)
            assert winner is not None
            return winner
        return done

    def done(self, unit: Unit) -> Done | None:
        """The committed try, or None while there is none."""
        try:
            data = self.store.read(layout.done(self.job_id, unit.step, unit.chunk))
        except NoSuchObject:
            return None
        return records.loads(Done, data)

    def facts(self, kind: type[AnyFacts], chunk: int | None = None) -> AnyFacts:
        """What the step that makes `kind` found. Raises NoSuchObject when it isn't done."""
        step = next(step for step, facts in FACTS.items() if facts is kind)
        done = self.done(Unit(step, chunk))
        if done is None or not isinstance(done.facts, kind):
            raise NoSuchObject(f"{Unit(step, chunk)} isn't done")
        return done.facts

    def chunks(self) -> tuple[ChunkRecord, ...]:
        """The chunks of the plan. Raises NoSuchObject before there is one."""
        return self.facts(Plan).chunks

    def folder(self, unit: Unit) -> Path:
        """The files of the try that counts, on this machine. Raises NoSuchObject."""
        done = self.done(unit)
        if done is None:
            raise NoSuchObject(f"{unit} isn't done")
        return self.store.local(layout.attempt(self.job_id, unit.step, unit.chunk, done.attempt))

    def fail(self, unit: Unit, attempt: str, failure: Failure) -> None:
        """Note why a try failed."""
        self.store.create(layout.failure(self.job_id, unit.step, unit.chunk, attempt), records.dumps(failure))

    def failures(self, unit: Unit) -> tuple[Failure, ...]:
        """Why tries at this unit failed, oldest first."""
        keys = self.store.keys(layout.failures(self.job_id, unit.step, unit.chunk))
        return tuple(records.loads(Failure, self.store.read(key)) for key in keys)


SECRET_BYTES = 32


def secret_in(root: Path) -> Path:
    """The file with the job's own secret, made on the first call: random bytes, for the owner only. It is there as a
    whole or not at all. Raises StoreError for one that lost its bytes: with another secret, other faces would come."""
    path = root / "secret"
    if not path.exists():
        temp = root / f".secret-{secrets.token_hex(8)}"
        try:
            with open(temp, "xb", opener=_for_owner_only) as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            _appear(temp, path)
        finally:
            temp.unlink(missing_ok=True)
    if path.stat().st_size != SECRET_BYTES:
        raise StoreError("the job's secret is damaged")
    return path


def _appear(temp: Path, path: Path) -> None:
    try:
        os.link(temp, path)
    except FileExistsError:
        return  # another was first; theirs counts
    except OSError:  # a file system without hard links; the work folder is locked by this run
        temp.rename(path)


def _for_owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
