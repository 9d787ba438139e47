"""The jobs of a store: who wants what, in which state it is, and its history. All of it is records in the bucket.

Whoever changes a job changes its control record by compare-and-swap, and leaves a notice, so that the controller looks
at this job and not at all of them.
"""

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from cluster import records
from cluster.job import JobSpec, id_after, new_id
from cluster.ledger import Ledger
from cluster.states import OVER, TRANSITIONS, JobState, Move
from storage import layout
from storage.objects import AlreadyThere, Conflict, NoSuchObject, ObjectStore

_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
Record = TypeVar("Record")

_SWAPS = 20  # tries at compare-and-swap against others who change the same job


class NoSuchJob(Exception):
    """The store has no job of this id."""


class NotNow(Exception):
    """The job is in a state in which this can't be done to it."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a job is called and whose it is. Never changes."""

    name: str
    owner: str
    submitted: float  # Unix time
    after: tuple[str, ...] = ()  # jobs that must be done first
    team: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """What is to become of a job. Changes by compare-and-swap."""

    state: JobState
    reason: str  # why it is in this state; "" where there is nothing to say
    since: float  # Unix time of the last change of state
    priority: int = 0  # more goes first
    limit: int | None = None  # most workers at once
    deadline: float | None = None  # Unix time; a hint
    round: int = 1  # retries of the whole job begin a new one
    round_id: str = ""  # failures with earlier ids are of an earlier round
    revision: int = 0  # counts changes, so that no two records are the same
    ending: JobState | None = None  # how the round has ended, while that is being written down: it is settled
    review: bool = False  # somebody has to approve the film before it is published
    edits: int = 0  # version of the reviewers' edits that are applied; 0: none
    held: int = 0  # of these, the version with which it came as far as a review
    approved: bool = False  # as it is with these edits


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a job's history."""

    at: float  # Unix time
    who: str  # "controller", or a user
    what: str  # one line
    state: JobState | None = None  # that it brought
    cause: str = ""  # class of the error, where it was one


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a round of a job ended. `erased`: work objects that showed or measured faces, deleted at the end."""

    state: JobState
    reason: str
    ended: float  # Unix time
    film: str = ""  # a place, or a key of the store
    report: str = ""
    frames: int = 0
    worker_seconds: float = 0.0
    people: int = 0
    bytes: int = 0
    erased: int | None = None


class Book:
    """All jobs of one store."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self.store, self.clock = store, clock
        self.seen: Callable[[str, Control], None] = lambda *_: None
        """Told of every control record that is read or written here, so that an index needn't read it again."""

    def submit(
        self,
        spec: JobSpec,
        card: Card,
        control: Control | None = None,
        secret: bytes | None = None,
        job_id: str | None = None,
    ) -> str:
        """A new job. Its id (`job_id` where that was settled before). Raises AlreadyThere when the id is taken.

        It is one from its control record on, and the controller learns of it by the notice. Its place in the queue
        comes first, so that what is left of a submission that broke off is found.
        """
        job = new_id() if job_id is None else job_id
        self.mark(layout.queued(job))
        ledger = Ledger.create(self.store, spec, job)
        ledger.give_secret(secret)
        self.store.create(layout.card(job), records.dumps(card))
        state = JobState.WAITING if card.after else JobState.QUEUED
        first = control or Control(state, "", card.submitted)
        first = dataclasses.replace(first, state=state)
        self.store.create(layout.control(job), records.dumps(first))
        self.tell(job)
        self.note(job, Entry(card.submitted, card.owner, "submitted", state))
        return job

    def ledger(self, job: str) -> Ledger:
        """What the job has reached. Raises NoSuchJob."""
        self.card(job)
        return Ledger(self.store, job)

    def card(self, job: str) -> Card:
        """Raises NoSuchJob."""
        return self._read(Card, layout.card(_known(job)), job)

    def control(self, job: str) -> Control:
        """Raises NoSuchJob."""
        control = self._read(Control, layout.control(_known(job)), job)
        self.seen(job, control)
        return control

    def _read(self, kind: type[Record], key: str, job: str) -> Record:
        try:
            return records.loads(kind, self.store.read(key))
        except NoSuchObject as error:
            raise NoSuchJob(f"there is no job {job}") from error

    def change(
        self,
        job: str,
        who: str,
        move: Move | None = None,
        reason: str | None = None,
        tell: bool = True,
        cause: str = "",
        of_round: int | None = None,
        of_revision: int | None = None,
        of_edits: int | None = None,
        **fields: Any,
    ) -> Control:
        """Move a job to another state, or change other fields of its control. `tell`: whether the controller has to
        look at it; `cause`: class of the error, for the history; `of_round`, `of_revision`, `of_edits`: only while it
        has these. Raises NoSuchJob, NotNow, Conflict."""
        for _ in range(_SWAPS):
            try:
                data, etag = self.store.read_versioned(layout.control(_known(job)))
            except NoSuchObject as error:
                raise NoSuchJob(f"there is no job {job}") from error
            before = records.loads(Control, data)
            if of_round is not None and before.round != of_round:
                raise NotNow(f"job {job} is in another round")
            if (of_revision is not None and before.revision != of_revision) or of_edits not in (None, before.edits):
                raise NotNow(f"job {job} was changed meanwhile; look at it again")
            after = _changed(before, move, reason, fields, self.clock())
            if move is Move.RETRY and not self._ready(job, before):
                after = dataclasses.replace(after, edits=0, held=0)  # of people who have to be found again
            try:
                self.store.replace(layout.control(job), records.dumps(after), etag)
            except Conflict:
                continue
            # The notice first: whoever breaks off here has left out a line of the history, and nothing else.
            if tell:
                self.tell(job)
            if after.ending is None:
                self.note(job, Entry(self.clock(), who, _told(before, after), after.state if move else None, cause))
            self.seen(job, after)
            return after
        raise Conflict(f"job {job} is being changed by others all the time; try again")

    def _ready(self, job: str, before: Control) -> bool:
        """Let a job that is over be gone on with, from its beginning when its work was deleted; whether it is there.
        Raises NotNow."""
        ledger = Ledger(self.store, job)
        there = ledger.has_secret()
        if not there and ledger.spec().key_fingerprint is not None:
            raise NotNow(f"the project key of job {job} was deleted with its work; submit the film again")
        self.enqueue(job)  # first: what is left if this breaks off is found by that
        ledger.give_secret()
        self.close(job, before.round, JobResult(before.state, before.reason, before.since))  # if it isn't written yet
        return there

    def tell(self, job: str) -> None:
        """Let the controller look at this job."""
        self.store.create(layout.notice(new_id(), job), b"")

    def notices(self) -> dict[str, list[str]]:
        """Keys of notices by job, at most one page of them."""
        found: dict[str, list[str]] = {}
        for key in self.store.list("notices"):
            found.setdefault(key.rpartition("-")[2], []).append(key)
        return found

    def open_jobs(self) -> Iterator[str]:
        """Ids of the jobs that aren't over, oldest first."""
        for key in self.store.keys("queue"):
            yield key.rpartition("/")[2]

    def jobs(self) -> tuple[str, ...]:
        """Ids of all jobs, oldest first."""
        return self.store.children("jobs")

    def mark(self, key: str) -> None:
        """Make an empty record; one that is there already does as well."""
        with contextlib.suppress(AlreadyThere):
            self.store.create(key, b"")

    def note(self, job: str, entry: Entry) -> None:
        """Add a line to the history."""
        self.store.create(layout.event(job, new_id()), records.dumps(entry))

    def history(self, job: str) -> tuple[Entry, ...]:
        """Oldest first."""
        return tuple(records.loads(Entry, self.store.read(key)) for key in self.store.keys(layout.events(job)))

    def close(self, job: str, round_number: int, result: JobResult) -> JobResult:
        """Write how a round ended, once; when that is written already, what is written."""
        key = layout.result(job, round_number)
        try:
            self.store.create(key, records.dumps(result))
        except AlreadyThere:
            return records.loads(JobResult, self.store.read(key))
        return result

    def result(self, job: str, round_number: int) -> JobResult | None:
        """How a round ended; None while it hasn't."""
        try:
            return records.loads(JobResult, self.store.read(layout.result(job, round_number)))
        except NoSuchObject:
            return None

    def enqueue(self, job: str) -> None:
        """The job isn't over."""
        self.mark(layout.queued(job))
        self.unkeep(job)

    def unqueue(self, job: str) -> None:
        """The job is over, and `kept_jobs` names it. Not if somebody lets it go on meanwhile."""
        self.mark(layout.kept(job))
        self.store.delete(layout.queued(job))
        try:
            over = self.control(job).state in OVER
        except NoSuchJob:
            self.unkeep(job)
            return
        if not over:
            self.enqueue(job)

    def kept_jobs(self) -> Iterator[str]:
        """Ids of the jobs that are over and of which work may be there: failed ones', kept for a retry, and what late
        workers of others may still write."""
        for key in self.store.keys("kept"):
            yield key.rpartition("/")[2]

    def unkeep(self, job: str) -> None:
        """No work of it is there, or none that is waiting to be deleted."""
        self.store.delete(layout.kept(job))

    def scrap(self, job: str) -> None:
        """Delete what is there of a job that has no control record: it was erased, or never wholly submitted."""
        if _ID.fullmatch(job):
            self.store.erase(layout.job(job))
        self.unkeep(job)
        self.store.delete(layout.queued(job))

    def erase(self, job: str) -> int:
        """Delete all of a job that is over, its film and its history too. Raises NoSuchJob, NotNow. Returns how many
        objects went."""
        if self.control(job).state not in OVER:
            raise NotNow(f"job {job} is {self.control(job).state}; cancel it first")
        count = self.erase_upload(Ledger(self.store, job))
        self.unkeep(job)
        return count + self.store.erase(layout.outputs(job)) + self.store.erase(layout.job(job))

    def erase_upload(self, ledger: Ledger) -> int:
        """Delete the source, if it was brought into this store for this job alone. Returns how many objects went."""
        folder = layout.upload_of(ledger.spec().source.place)
        return self.store.erase(folder) if folder else 0


def _known(job: str) -> str:
    """The id itself. Raises NoSuchJob for what can't be one, so that no request leads to another key."""
    if not _ID.fullmatch(job):
        raise NoSuchJob(f"there is no job {job[:40]}")
    return job


def _changed(before: Control, move: Move | None, reason: str | None, fields: dict[str, Any], now: float) -> Control:
    after = dataclasses.replace(before, revision=before.revision + 1, **fields)
    if before.ending is not None and (move in (Move.PAUSE, Move.CANCEL) or "ending" in fields):
        raise NotNow("the job has just ended")
    if "ending" in fields and before.state is not JobState.RUNNING:
        raise NotNow(f"a job that is {before.state} can't end")
    if move is None:
        return after if reason is None else dataclasses.replace(after, reason=reason)
    state = TRANSITIONS[before.state].get(move)
    if state is None:
        raise NotNow(f"a job that is {before.state} can't be {_PAST[move]}")
    if move is Move.FINISH and before.review and not before.approved:
        raise NotNow("nobody has approved the film")
    after = dataclasses.replace(after, state=state, reason=reason or "", since=now, ending=None)
    if move in (Move.MEND, Move.APPROVE, Move.RETRY):
        after = dataclasses.replace(after, approved=move is Move.APPROVE)
    if move is Move.HOLD:
        after = dataclasses.replace(after, held=after.edits)
    if move is Move.RETRY:  # edits that can't be rendered must not keep reviewers from changing them
        after = dataclasses.replace(after, edits=after.held)
    if move is Move.RETRY:
        # All tries of the round before are older than its end. By the controller's clock, which also makes their ids:
        # this machine's may be another.
        after = dataclasses.replace(after, round=before.round + 1, round_id=id_after(before.since))
    return after


_PAST = {
    Move.RELEASE: "released",
    Move.START: "started",
    Move.FINISH: "finished",
    Move.FAIL: "failed",
    Move.PAUSE: "paused",
    Move.RESUME: "resumed",
    Move.CANCEL: "cancelled",
    Move.RETRY: "retried",
    Move.HOLD: "held for review",
    Move.MEND: "mended",
    Move.APPROVE: "approved",
}


def _told(before: Control, after: Control) -> str:
    if before.state is not after.state or before.reason != after.reason:
        return f"{after.state}: {after.reason}" if after.reason else after.state.value
    changes = [
        f"{name} {getattr(before, name)} → {getattr(after, name)}"
        for name in ("priority", "limit", "deadline")
        if getattr(before, name) != getattr(after, name)
    ]
    return ", ".join(changes) or "unchanged"
