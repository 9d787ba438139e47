"""What a job has reached, as records in an object store. Nothing about a job's progress is known anywhere else.

A try writes under its own id and is committed by one record that can be made only once. A worker that dies leaves a try
that nobody reads; two workers that do the same unit leave two tries, of which one counts.
"""

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cluster import records
from cluster.job import (
    EDITED,
    FACTS,
    PER_CHUNK,
    ChunkRecord,
    Facts,
    Failure,
    IndexFacts,
    JobSpec,
    LinkFacts,
    MendFacts,
    Plan,
    Step,
    new_id,
)
from storage import layout
from storage.objects import AlreadyThere, NoSuchObject, ObjectStore, StoreError

AnyFacts = TypeVar("AnyFacts", bound=Facts)

SECRET_BYTES = 32
SHORTEST_SECRET = 16  # a project key may be shorter


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of work that is done or not: a step of the film, or of one chunk of it."""

    step: Step
    chunk: int | None = None
    edition: str = ""  # what it is after reviewers' edits; "" before any, and where they change nothing

    def __str__(self) -> str:
        again = " with edits" if self.edition else ""
        return f"{self.step}{again}" if self.chunk is None else f"{self.step} of chunk {self.chunk}{again}"


@dataclass(frozen=True, slots=True)
class Done:
    """The committed try of a unit."""

    attempt: str
    seconds: float
    facts: Facts
    worker: str = ""


class Ledger:
    """The records of one job."""

    def __init__(self, store: ObjectStore, job_id: str) -> None:
        self.store, self.job_id = store, job_id

    @classmethod
    def create(cls, store: ObjectStore, spec: JobSpec, job_id: str | None = None) -> "Ledger":
        """A new job in this store. Raises AlreadyThere when it has one of this id."""
        ledger = cls(store, job_id or new_id())
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

    def maker(self, me: str) -> str:
        """Which program and models its work was begun with: `me`, if nobody was before."""
        try:
            return str(json.loads(self.store.read(layout.maker(self.job_id))))
        except NoSuchObject:
            with contextlib.suppress(AlreadyThere):
                self.store.create(layout.maker(self.job_id), json.dumps(me).encode())
        return str(json.loads(self.store.read(layout.maker(self.job_id))))

    def begin(self, unit: Unit, attempt: str) -> Path:
        """A folder that this try may fill."""
        return self.store.scratch(layout.attempt(self.job_id, unit.step, unit.chunk, attempt, unit.edition))

    def keep(self, unit: Unit, attempt: str, scratch: Path) -> None:
        """Store what a try has written. It doesn't count before it is committed."""
        self.store.keep(scratch, layout.attempt(self.job_id, unit.step, unit.chunk, attempt, unit.edition))

    def commit(self, unit: Unit, attempt: str, facts: Facts, seconds: float, worker: str = "") -> Done:
        """Make this try the one that counts. When another try was first, that one counts and is returned.

        Only the farm's controller calls it, with what a worker told that it hasn't given up: so one that was declared
        dead and works on can't commit any more.
        """
        assert type(facts) is FACTS[unit.step], f"{unit} can't be done with {type(facts).__name__}"
        done = Done(attempt, seconds, facts, worker)
        try:
            self.store.create(layout.done(self.job_id, unit.step, unit.chunk, unit.edition), records.dumps(done))
        except AlreadyThere:
            winner = self.done(unit)
            assert winner is not None
            return winner
        return done

    def done(self, unit: Unit) -> Done | None:
        """The committed try, or None while there is none."""
        try:
            data = self.store.read(layout.done(self.job_id, unit.step, unit.chunk, unit.edition))
        except NoSuchObject:
            return None
        return records.loads(Done, data)

    def facts(self, kind: type[AnyFacts], chunk: int | None = None, edits: int = 0) -> AnyFacts:
        """What the step that makes `kind` found, with the edits of this version. Raises NoSuchObject when it isn't
        done."""
        step = next(step for step, facts in FACTS.items() if facts is kind)
        unit = self.unit(step, chunk, edits)
        done = self.done(unit)
        if done is None or not isinstance(done.facts, kind):
            raise NoSuchObject(f"{unit} isn't done")
        return done.facts

    def frame_rate(self) -> float | None:
        """Frames a second of the film, on average; None while nobody knows."""
        try:
            index = self.facts(IndexFacts)
        except NoSuchObject:
            return None
        return float(index.frames / index.duration) if index.duration > 0 else None

    def unit(self, step: Step, chunk: int | None = None, edits: int = 0) -> Unit:
        """The unit that holds when reviewers' edits of this version do; 0: none. Raises NoSuchObject when these aren't
        applied yet."""
        if not edits or step not in EDITED:
            return Unit(step, chunk)
        if step is Step.MEND:
            return Unit(step, None, f"{edits:06d}")
        mended = self.facts(MendFacts, edits=edits)
        return Unit(step, chunk, mended.film if chunk is None else mended.renders.get(str(chunk), ""))

    def units_of(self, step: Step, edits: int = 0) -> tuple[Unit, ...]:
        """A step's units of all chunks, as `unit` has each."""
        renders: dict[str, str] = {}
        if edits and step in EDITED:
            renders = self.facts(MendFacts, edits=edits).renders
        return tuple(Unit(step, chunk.index, renders.get(str(chunk.index), "")) for chunk in self.chunks())

    def linked(self, edits: int = 0) -> LinkFacts:
        """Who is in the film, with the edits of this version. Raises NoSuchObject."""
        return self.facts(MendFacts, edits=edits).linked if edits else self.facts(LinkFacts)

    def chunks(self) -> tuple[ChunkRecord, ...]:
        """The chunks of the plan. Raises NoSuchObject before there is one."""
        return self.facts(Plan).chunks

    def folder(self, unit: Unit) -> Path:
        """The files of the try that counts, on this machine. Raises NoSuchObject."""
        done = self.done(unit)
        if done is None:
            raise NoSuchObject(f"{unit} isn't done")
        return self.store.local(layout.attempt(self.job_id, unit.step, unit.chunk, done.attempt, unit.edition))

    def fail(self, unit: Unit, attempt: str, failure: Failure) -> None:
        """Note why a try failed."""
        self.store.create(
            layout.failure(self.job_id, unit.step, unit.chunk, attempt, unit.edition), records.dumps(failure)
        )

    def failures(self, unit: Unit, since: str = "") -> tuple[Failure, ...]:
        """Why tries at this unit failed, oldest first; those whose id is `since` or later."""
        keys = self.store.keys(layout.failures(self.job_id, unit.step, unit.chunk, unit.edition))
        recent = [key for key in keys if key.rpartition("/")[2] >= since]
        return tuple(records.loads(Failure, self.store.read(key)) for key in recent)

    def keep_log(self, unit: Unit, attempt: str, text: bytes) -> None:
        """Store what a try said: JSON lines."""
        self.store.create(layout.log(self.job_id, unit.step, unit.chunk, attempt, unit.edition), text)

    def logs(self, unit: Unit) -> tuple[tuple[str, bytes], ...]:
        """(id, JSON lines) of all tries at a unit that are through, oldest first."""
        keys = self.store.keys(layout.logs(self.job_id, unit.step, unit.chunk, unit.edition))
        return tuple((key.rpartition("/")[2].removesuffix(".jsonl"), self.store.read(key)) for key in keys)

    def give_secret(self, value: bytes | None = None) -> None:
        """Settle what the job's seeds are drawn from: `value`, or random bytes. Once; a second call changes nothing."""
        with contextlib.suppress(AlreadyThere):
            self.store.create(layout.secret(self.job_id), value or secrets.token_bytes(SECRET_BYTES))

    def has_secret(self) -> bool:
        """Whether it has what it can be gone on with."""
        try:
            self.store.stat(layout.secret(self.job_id))
        except NoSuchObject:
            return False
        return True

    def secret(self) -> bytes:
        """What the job's seeds are drawn from. Raises StoreError: with another one, other faces would come."""
        try:
            found = self.store.read(layout.secret(self.job_id))
        except NoSuchObject as error:
            raise StoreError("the job's secret is gone") from error
        if len(found) < SHORTEST_SECRET:
            raise StoreError("the job's secret is damaged")
        return found

    def erase_work(self) -> int:
        """Delete what shows or measures faces: what the tries wrote, and the secret. The records of what was done stay.
        Returns how many objects went."""
        return self.erase_secret() + sum(self.erase_tries(unit) for unit in self.units())

    def erase_tries(self, unit: Unit) -> int:
        """Delete what the tries at one unit wrote. Returns how many objects went."""
        return self.store.erase(layout.tries(self.job_id, unit.step, unit.chunk, unit.edition))

    def undo(self, unit: Unit) -> None:
        """It isn't done any more."""
        self.store.delete(layout.done(self.job_id, unit.step, unit.chunk, unit.edition))

    def erase_records(self) -> int:
        """Delete whatever is there of the units: whoever goes on with the job begins anew. Returns how many objects
        went."""
        return sum(self.store.erase(folder) for folder in layout.work(self.job_id))

    def erase_secret(self) -> int:
        """Returns how many objects went."""
        with contextlib.suppress(NoSuchObject):
            self.store.stat(layout.secret(self.job_id))
            self.store.delete(layout.secret(self.job_id))
            return 1
        return 0

    def units(self) -> tuple[Unit, ...]:
        """Every unit that may have been begun: those of the film, and of each chunk of the plan. Of chunks without a
        plan, too: it may be damaged, or deleted, or another one by now. Then, if there were edits, what they changed.
        """
        film = tuple(Unit(step) for step in Step if step not in PER_CHUNK and step is not Step.MEND)
        folder = layout.work(self.job_id)
        chunks = {int(name) for name in self.store.children(folder[0]) if name.isdecimal()}
        with contextlib.suppress(NoSuchObject, records.BadRecord):
            chunks |= {chunk.index for chunk in self.chunks()}
        plain = film + tuple(Unit(step, chunk) for step in Step if step in PER_CHUNK for chunk in sorted(chunks))
        edited = [unit for name in self.store.children(folder[1]) if (unit := _edited(name, None))]
        # Whatever was rendered with edits came after a unit of these: most jobs have none, and cost no look here.
        for chunk in sorted(chunks) if edited else ():
            names = self.store.children(layout.chunk_folder(self.job_id, chunk))
            edited += [unit for name in names if (unit := _edited(name, chunk))]
        return plain + tuple(edited)


def _edited(name: str, chunk: int | None) -> Unit | None:
    """The unit whose folder is called so, if it is one with edits."""
    step, dot, edition = name.partition(".")
    return Unit(Step(step), chunk, edition) if dot and edition and step in EDITED else None
