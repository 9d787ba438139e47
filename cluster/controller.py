"""The controller: reads from the store what is to be done, lets the farm do it, and writes down how it ended.

It remembers nothing that it couldn't read again: killed at any moment and started elsewhere, it goes on with at most
the running chunks lost.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.book import Book, Card, Control, JobResult, NoSuchJob, NotNow
from cluster.farm import Farm
from cluster.job import Failure, LinkFacts, Plan, PublishFacts
from cluster.lead import Lead
from cluster.ledger import Ledger
from cluster.roles import Ended, Job
from cluster.schedule import Claim, turns
from cluster.states import OVER, JobState, Move
from storage.objects import Conflict, NoSuchObject, StoreError, Transient

_LOG = logging.getLogger(__name__)

ME = "controller"
LOOK_EVERY = 0.5  # seconds between looks at the notices
SCAN_EVERY = 600.0  # seconds between looks at all jobs that aren't over, in case a notice was lost
MOST_AT_ONCE = 16  # jobs that are worked on at once; the others wait without costing anything
KEEP_FAILED = 7 * 86400.0  # seconds for which the work of a failed job is kept for a retry


@dataclass(slots=True)
class Ticket:
    """A job that isn't over, as the controller last saw it."""

    card: Card
    control: Control
    wanting: set[str] = field(default_factory=set)  # jobs that it waits for


class Controller:
    """The one that leads. `turn` again and again; `close` at the end."""

    def __init__(
        self,
        book: Book,
        place: str,
        farm: Farm,
        lead: Lead,
        on_change: Callable[[str, Card, Control], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`place`: of the store, as workers open it. `on_change` is told of every new state that is written here or
        seen."""
        self._book, self._place, self._farm, self._lead = book, place, farm, lead
        self._on_change, self._clock = on_change, clock
        self.tickets: dict[str, Ticket] = {}
        self._looked = self._scanned = float("-inf")
        self._leading = self._draining = False

    def turn(self, timeout: float = 0.25) -> bool:
        """One round of the loop. Returns whether this controller leads. Raises FarmError and StoreError; after a
        Transient it can be called again, and looks at all jobs anew."""
        try:
            return self._turn(timeout)
        except Transient:
            # A notice may be deleted already, or a change made whose answer was lost.
            self._scanned = float("-inf")
            raise

    def _turn(self, timeout: float) -> bool:
        if not self._lead.leads():
            if self._leading:
                _LOG.warning("another controller leads now; this one waits")
                self._let_go()
            return False
        if not self._leading:
            _LOG.info("this controller leads")
            self._leading = True
            self._scanned = float("-inf")
        now = self._clock()
        if now - self._scanned >= SCAN_EVERY:
            self._scan()
            self._scanned = now
        if now - self._looked >= LOOK_EVERY:
            self._read_notices()
            self._looked = now
        self._release()
        if not self._draining:
            self._start()
        for ended in self._farm.turn(timeout):
            self._finish(ended)
        return True

    def drain(self) -> None:
        """Begin no job and no unit any more; what is being worked on is committed."""
        self._draining = True
        for job in self._farm.jobs:
            self._farm.drop(job.ledger.job_id)

    def drained(self) -> bool:
        """Whether nothing is being worked on any more."""
        return not self._farm.jobs

    def close(self) -> None:
        """Let another controller lead."""
        self._let_go()
        with contextlib.suppress(StoreError):
            self._lead.give_up()

    def _let_go(self) -> None:
        for job in self._farm.jobs:
            self._farm.drop(job.ledger.job_id, stop=True)
        self.tickets.clear()
        self._leading = False

    def _scan(self) -> None:
        for job in self._book.open_jobs():
            self._look_at(job)
        for job in self._book.kept_jobs():
            with contextlib.suppress(NoSuchJob):
                self._forget_failed(job)

    def _forget_failed(self, job: str) -> None:
        control = self._book.control(job)
        if control.state is JobState.FAILED:
            if time.time() - control.since < KEEP_FAILED:
                return
            ledger = Ledger(self._book.store, job)
            ledger.erase_all_work()
            self._book.erase_upload(ledger)
            _LOG.info("the work of job %s is deleted, which failed long ago", job, extra={"job": job})
        self._book.unkeep(job)

    def _read_notices(self) -> None:
        for job, keys in self._book.notices().items():
            # Deleted first: a change that comes meanwhile leaves another notice.
            for key in keys:
                self._book.store.delete(key)
            self._look_at(job)

    def _look_at(self, job: str) -> None:
        try:
            control, card = self._book.control(job), self._book.card(job)
        except NoSuchJob:
            return  # erased, or half submitted: its last step is a notice
        except ValueError as error:
            _LOG.error("job %s can't be read: %s", job, error)  # one bad record doesn't stop the others
            return
        before = self.tickets.get(job)
        if before is None or before.control.state is not control.state:
            self._on_change(job, card, control)
        if control.state in OVER:
            self._over(job, control)
            return
        ticket = self.tickets.setdefault(job, Ticket(card, control))
        ticket.control = control
        if control.state is JobState.WAITING:
            ticket.wanting = set(card.after)
        if control.state is JobState.PAUSED:
            self._farm.drop(job)
        elif any(each.ledger.job_id == job for each in self._farm.jobs):
            self._farm.change(self._job(job, ticket))

    def _over(self, job: str, control: Control) -> None:
        """Somebody cancelled it, or it was over before this controller came."""
        self._farm.drop(job, stop=True)
        self.tickets.pop(job, None)
        if control.state is JobState.CANCELLED:
            self._close(job, control, JobState.CANCELLED, control.reason)
        self._book.unqueue(job, keep=control.state is JobState.FAILED)

    def _release(self) -> None:
        """Let jobs go for which all that they wait for is done."""
        for job, ticket in list(self.tickets.items()):
            if ticket.control.state is not JobState.WAITING:
                continue
            ticket.wanting = {other for other in ticket.wanting if other in self.tickets or not self._is_done(other)}
            if not ticket.wanting:
                self._move(job, Move.RELEASE)

    def _is_done(self, job: str) -> bool:
        try:
            return self._book.control(job).state is JobState.DONE
        except NoSuchJob:
            return False

    def _start(self) -> None:
        """Give the farm more jobs while it has room: those whose turn it is, and at once those that go before all that
        are being worked on."""
        open_jobs = {each.ledger.job_id: each for each in self._farm.jobs}
        waiting = [
            Claim(job, t.card.owner, t.control.priority, 0, None, t.control.deadline)
            for job, t in self.tickets.items()
            if job not in open_jobs and t.control.state in (JobState.QUEUED, JobState.RUNNING)
        ]
        owners: dict[str, int] = {}
        for each in open_jobs.values():
            owners[each.owner] = owners.get(each.owner, 0) + 1
        most = max((each.priority for each in open_jobs.values()), default=None)
        while waiting:
            first = turns(waiting, owners)[0]
            urgent = most is not None and first.priority > most
            if len(open_jobs) >= MOST_AT_ONCE + (8 if urgent else 0) or not (self._farm.idle() or urgent):
                return
            waiting.remove(first)
            ticket = self.tickets[first.job]
            if ticket.control.state is JobState.QUEUED and not self._move(first.job, Move.START):
                continue
            job = self._job(first.job, self.tickets[first.job])
            self._farm.add(job)
            open_jobs[first.job] = job
            owners[job.owner] = owners.get(job.owner, 0) + 1
            most = max(job.priority, most) if most is not None else job.priority
            if self._farm.starting() >= 4:
                return

    def _job(self, job: str, ticket: Ticket) -> Job:
        control = ticket.control
        return Job(
            name=ticket.card.name,
            store=self._place,
            ledger=Ledger(self._book.store, job),
            secret=None,
            owner=ticket.card.owner,
            priority=control.priority,
            limit=control.limit,
            deadline=control.deadline,
            since=control.round_id,
        )

    def _move(self, job: str, move: Move, reason: str = "") -> Control | None:
        """None when the job is somewhere else by now; a notice tells what became of it."""
        try:
            control = self._book.change(job, ME, move, reason, tell=False)
        except (NotNow, NoSuchJob, Conflict):
            return None
        ticket = self.tickets.get(job)
        if ticket is not None:
            ticket.control = control
            self._on_change(job, ticket.card, control)
        return control

    def _finish(self, ended: Ended) -> None:
        job = ended.job.ledger.job_id
        ticket = self.tickets.get(job)
        if ticket is None:
            return
        state, reason = JobState.DONE, ""
        if ended.failure is not None:
            state, reason = JobState.FAILED, ended.failure.line
        try:
            self._close(job, ticket.control, state, reason, ended.failure)
            moved = self._move(job, Move.FINISH if state is JobState.DONE else Move.FAIL, reason)
        except Transient as error:
            _LOG.warning("the store is away: %s", error)
            return  # it is still among the tickets as running: the farm goes through it again, and finds all done
        if moved is not None:
            self.tickets.pop(job, None)
            self._book.unqueue(job, keep=state is JobState.FAILED)

    def _close(
        self, job: str, control: Control, state: JobState, reason: str, failure: Failure | None = None
    ) -> JobResult:
        """Write the result. What shows faces is deleted, but for a failed job, which may be retried."""
        ledger = Ledger(self._book.store, job)
        result = _result(ledger, state, reason)
        if state is not JobState.FAILED:
            done = state is JobState.DONE  # nobody goes on with what a cancelled job has reached
            erased = ledger.erase_work() if done else ledger.erase_all_work()
            result = dataclasses.replace(result, erased=erased + self._book.erase_upload(ledger))
        return self._book.close(job, control.round, result)


def _result(ledger: Ledger, state: JobState, reason: str) -> JobResult:
    """What is known of it at its end."""
    result = JobResult(state, reason, time.time())
    seconds = 0.0
    for unit in ledger.units():
        done = ledger.done(unit)
        seconds += done.seconds if done else 0.0
    result = dataclasses.replace(result, worker_seconds=round(seconds, 3))
    with contextlib.suppress(NoSuchObject):
        result = dataclasses.replace(result, frames=ledger.facts(Plan).frames)
        result = dataclasses.replace(result, people=ledger.facts(LinkFacts).people)
        published = ledger.facts(PublishFacts)
        result = dataclasses.replace(result, film=published.film, report=published.report, bytes=published.bytes)
    return result
