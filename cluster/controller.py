"""The controller: reads from the store what is to be done, lets the farm do it, and writes down how it ended.

It remembers nothing that it couldn't read again: killed at any moment and started elsewhere, it goes on with at most
the running chunks lost.
"""

import contextlib
import dataclasses
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cluster.book import Book, Card, Control, JobResult, NoSuchJob, NotNow
from cluster.closing import REVIEW, End, closing, tidying
from cluster.farm import Farm
from cluster.job import born
from cluster.lead import Lead
from cluster.ledger import Ledger
from cluster.roles import Ended, Job
from cluster.schedule import Claim, Line, Waiting
from cluster.states import OVER, JobState, Move
from storage.objects import Conflict, StoreError, Transient

_LOG = logging.getLogger(__name__)

ME = "controller"
LOOK_EVERY = 0.5  # seconds between looks at the notices
SCAN_EVERY = 600.0  # seconds between looks at all jobs that aren't over, in case a notice was lost
SPELL = 0.5  # seconds of one turn for what can wait: the workers can't, and the lease must be renewed
MOST_AT_ONCE = 16  # jobs that are worked on at once; the others wait without costing anything
MORE_URGENT = 8  # so many more that go before all of these
STARTING = 4  # jobs without chunks yet that are worked on at once
HALF = 86400.0  # seconds after which a submission that isn't complete was broken off


@dataclass(slots=True)
class Ticket:
    """A job that isn't over, as the controller last saw it."""

    card: Card
    control: Control


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
        review: float = REVIEW,
    ) -> None:
        """`place`: of the store, as workers open it. `on_change` is told of every new state that is written here or
        seen. `review`: seconds for which a film is kept that nobody approves; then it is cancelled."""
        self._book, self._place, self._farm, self._lead = book, place, farm, lead
        self._on_change, self._clock, self._review = on_change, clock, review
        self._looked = self._scanned = float("-inf")
        self._leading = self._draining = False
        self._forget_all()

    def _forget_all(self) -> None:
        self.tickets: dict[str, Ticket] = {}
        self._line = Line()  # jobs that could be worked on, and aren't
        self._leaving = set[str]()  # of these, those of which the farm still has something in hand
        self._waiting = Waiting()
        self._ended: dict[str, End] = {}
        self._notices: deque[tuple[str, list[str]]] = deque()
        self._scanning: Iterator[None] | None = None

    def turn(self, timeout: float = 0.25) -> bool:
        """One round of the loop. Returns whether this controller leads. Raises FarmError and StoreError; after a
        Transient it can be called again, and goes on where it was."""
        if not self._lead.leads():
            if self._leading:
                _LOG.warning("another controller leads now; this one waits")
                self._let_go()
            return False
        if not self._leading:
            _LOG.info("this controller leads")
            self._leading = True
            self._scanned = float("-inf")
        self._look_around()
        self._release()
        if not self._draining:
            self._start()
        more = self._notices or self._scanning or self._waiting.check or self._ended
        for ended in self._farm.turn(0.0 if more else timeout):
            self._finish(ended)
        self._write_ends()
        return True

    def drain(self) -> None:
        """Begin no job and no unit any more; what is being worked on is committed."""
        self._draining = True
        for job in self._farm.jobs:
            self._farm.drop(job.ledger.job_id)

    def drained(self) -> bool:
        """Whether nothing is being worked on any more."""
        return not self._farm.jobs and not self._ended

    def close(self) -> None:
        """Let another controller lead."""
        self._let_go()
        with contextlib.suppress(StoreError):
            self._lead.give_up()

    def _let_go(self) -> None:
        for job in self._farm.jobs:
            self._farm.drop(job.ledger.job_id, stop=True)
        self._forget_all()
        self._leading = False

    def _look_around(self) -> None:
        """At what has changed, and now and then at everything. As far as it gets in a spell."""
        now = self._clock()
        if now - self._looked >= LOOK_EVERY and not self._notices:
            self._notices.extend(self._book.notices().items())
            self._looked = now
        if now - self._scanned >= SCAN_EVERY and self._scanning is None:
            self._scanning, self._scanned = self._scan(), now
        while self._notices and self._in_time(now):
            job, keys = self._notices[0]
            self._look_at(job, told=True)
            # Only now, and only these: a change that came meanwhile has left another.
            for key in keys:
                self._book.store.delete(key)
            self._notices.popleft()
        try:
            while self._scanning is not None and self._in_time(now):
                if next(self._scanning, self) is self:
                    self._scanning = None
        except Transient:
            self._scanning, self._scanned = None, float("-inf")
            raise

    def _in_time(self, began: float) -> bool:
        return self._clock() - began <= SPELL

    def _scan(self) -> Iterator[None]:
        for job in self._book.open_jobs():
            self._look_at(job)
            yield
        for job in self._book.kept_jobs():
            if job not in self._ended:
                yield from tidying(self._book, job)

    def _look_at(self, job: str, told: bool = False) -> None:
        """See what a job is now. `told`: by a notice, and not by its place in the queue."""
        ticket = self.tickets.get(job)
        try:
            control = self._book.control(job)
            card = ticket.card if ticket else self._book.card(job)
        except NoSuchJob:
            self._gone(job, told)
            return
        except ValueError as error:
            _LOG.error("job %s can't be read: %s", job, error)  # one bad record doesn't stop the others
            self._farm.drop(job, stop=True)
            self._forget(job)
            return
        if ticket is None or ticket.control.state is not control.state:
            self._on_change(job, card, control)
        if control.state in OVER:
            self._over(job, control)
            return
        if control.state is JobState.REVIEW and self._book.clock() - control.since > self._review:
            self._expire(job, control)
            return
        if told:
            self._book.enqueue(job)  # it may have been taken out of the queue by who saw its last round end
        end = self._ended.get(job)
        known = None if end is None else (end.control.round, JobState.RUNNING, end.control.ending)
        if known == (control.round, control.state, control.ending):
            self.tickets[job] = Ticket(card, control)
            return
        self._ended.pop(job, None)
        self._settle(job, card, control)

    def _expire(self, job: str, control: Control) -> None:
        """Nobody has looked at it for long: what shows faces isn't kept for ever, and nothing is published unseen."""
        reason = f"nobody approved it within {self._review / 86400:.3g} days; what was kept for that is deleted"
        if (over := self._move(job, Move.CANCEL, reason, of_round=control.round, of_edits=control.edits)) is not None:
            self._over(job, over)

    def _gone(self, job: str, told: bool) -> None:
        """It has no control record: it was erased, or isn't wholly submitted. The last step of that is a notice."""
        if job in self.tickets or (not told and self._book.clock() - born(job) > HALF):
            self._farm.drop(job, stop=True)
            self._forget(job)
            self._ended.pop(job, None)
            self._book.scrap(job)

    def _settle(self, job: str, card: Card, control: Control) -> None:
        """Have it where it belongs by its state, which isn't one at an end."""
        new = job not in self.tickets
        self.tickets[job] = Ticket(card, control)
        if new:
            self._waiting.changed(job)
        if control.state is JobState.WAITING:
            self._waiting.follow(job, card.after)
        else:
            self._waiting.leave(job, card.after)
        if control.ending is not None and job not in self._ended:  # another controller came that far
            self._farm.drop(job, stop=True)
            self._ended[job] = End(control, control.ending, control.reason)
        able = control.state in (JobState.QUEUED, JobState.RUNNING) and control.ending is None
        if control.state is JobState.PAUSED:
            self._farm.drop(job)
        if not able:
            self._line.remove(job)
        elif not self._farm.holds(job):
            self._line.put(Claim(job, card.owner, control.priority, 0, None, control.deadline))
        elif self._farm.works_on(job):
            self._farm.change(self._job(job))
            if control.state is JobState.QUEUED:  # paused and resumed before anybody saw it
                self._move(job, Move.START)
        else:
            self._leaving.add(job)

    def _forget(self, job: str) -> None:
        ticket = self.tickets.pop(job, None)
        self._line.remove(job)
        self._leaving.discard(job)
        if ticket is not None:
            self._waiting.leave(job, ticket.card.after)
        self._waiting.changed(job)

    def _over(self, job: str, control: Control) -> None:
        """It was cancelled, or its end isn't wholly written."""
        self._farm.drop(job, stop=True)
        self._forget(job)
        self._ended[job] = End(control, control.state, control.reason)

    def _release(self) -> None:
        """Let jobs go for which all that they wait for is done; say of the others if that can't come."""
        began = self._clock()
        while self._waiting.check and self._in_time(began):
            job = next(iter(self._waiting.check))
            ticket = self.tickets.get(job)
            if ticket is not None and ticket.control.state is JobState.WAITING:
                reasons = [reason for reason in map(self._hindrance, ticket.card.after) if reason is not None]
                reason = next(filter(None, reasons), "")
                if not reasons:
                    self._move(job, Move.RELEASE)
                elif reason != ticket.control.reason:
                    self._move(job, None, reason)
            self._waiting.check.pop(job, None)

    def _hindrance(self, other: str) -> str | None:
        """Why a job that waits for this one can't begin; "" when that will pass by itself, None when it can."""
        try:
            state = self.tickets[other].control.state if other in self.tickets else self._book.control(other).state
        except NoSuchJob:
            return f"it waits for job {other}, which was erased"
        if state is JobState.DONE:
            return None
        return f"it waits for job {other}, which is {state}; retry that one" if state in OVER else ""

    def _start(self) -> None:
        """Give the farm more jobs while it has room: those whose turn it is, and at once those that go before all that
        are being worked on."""
        for job in [job for job in self._leaving if not self._farm.holds(job)]:
            self._leaving.discard(job)
            if (ticket := self.tickets.get(job)) is not None:
                self._settle(job, ticket.card, ticket.control)
        if not len(self._line):
            return
        open_jobs = self._farm.jobs
        owners, count = Counter(each.owner for each in open_jobs), len(open_jobs)
        most = max((each.priority for each in open_jobs), default=None)
        began = self._clock()
        while (first := self._line.first(owners)) is not None and self._in_time(began):
            urgent = most is not None and first.priority > most
            if count >= MOST_AT_ONCE + (MORE_URGENT if urgent else 0):
                return
            if not urgent and not (self._farm.idle() and self._farm.starting() < STARTING):
                return
            if not self._begin(first.job):
                return
            owners[first.owner] += 1
            count, most = count + 1, first.priority if most is None else max(first.priority, most)

    def _begin(self, job: str) -> bool:
        """Hand it to the farm. False when it changed meanwhile."""
        if self.tickets[job].control.state is JobState.QUEUED and self._move(job, Move.START) is None:
            return False
        self._line.remove(job)
        self._farm.add(self._job(job))
        return True

    def _job(self, job: str) -> Job:
        card, control = self.tickets[job].card, self.tickets[job].control
        return Job(
            name=card.name,
            store=self._place,
            ledger=Ledger(self._book.store, job),
            secret=None,
            owner=card.owner,
            priority=control.priority,
            limit=control.limit,
            deadline=control.deadline,
            since=control.round_id,
            edits=control.edits,
            hold=control.review and not control.approved,
        )

    def _move(
        self,
        job: str,
        move: Move | None,
        reason: str = "",
        cause: str = "",
        of_round: int | None = None,
        **fields: Any,
    ) -> Control | None:
        """None when the job is somewhere else by now; then it is looked at."""
        try:
            control = self._book.change(job, ME, move, reason, tell=False, cause=cause, of_round=of_round, **fields)
        except (NotNow, NoSuchJob, Conflict, ValueError):
            self._look_at(job)
            return None
        ticket = self.tickets.get(job)
        if ticket is not None:
            if move is not None:
                self._on_change(job, ticket.card, control)
            if control.state not in OVER:
                self._settle(job, ticket.card, control)
        return control

    def _finish(self, ended: Ended) -> None:
        job = ended.job.ledger.job_id
        ticket = self.tickets.get(job)
        if ticket is None:
            return
        end = End(ticket.control, JobState.REVIEW if ended.job.hold else JobState.DONE, "")
        if ended.failure is not None:
            end = End(ticket.control, JobState.FAILED, ended.failure.line, ended.failure.cause)
        self._ended[job] = end

    def _write_ends(self) -> None:
        """Write down how rounds ended, and then move their jobs: who sees a job at its end finds the result, and no
        work any more. As far as it gets in a spell."""
        began = self._clock()
        for job, end in list(self._ended.items()):
            while self._ended.get(job) is end:
                if not self._in_time(began):
                    return
                self._write_end(job, end)

    def _write_end(self, job: str, end: End) -> None:
        """The next piece of it. The first one settles it: from then on the round can't end in another way."""
        if end.state is JobState.REVIEW:  # it isn't over: nothing is closed or deleted
            self._move(job, Move.HOLD, "", of_round=end.control.round, of_edits=end.control.edits)
            if self._ended.get(job) is end:
                del self._ended[job]
            return
        if end.control.state not in OVER and end.control.ending is None:
            settled = self._move(job, None, end.reason, of_round=end.control.round, ending=end.state)
            if settled is None:  # cancelled or paused meanwhile, and looked at
                if self._ended.get(job) is end:
                    del self._ended[job]
                return
            end.control = settled
            return
        if end.pieces is None:
            end.pieces = closing(self._book, job, end.control, end.state, end.reason)
        try:
            next(end.pieces)
            return
        except StopIteration as stop:
            result: JobResult = stop.value
        except (NoSuchJob, ValueError):  # it was erased meanwhile, or is damaged
            self._ended.pop(job, None)
            self._look_at(job)
            return
        except Transient:
            end.pieces = None
            raise
        end.pieces = None  # if what follows breaks off, it is begun again, and finds the result
        if end.control.state not in OVER:
            move = Move.FINISH if result.state is JobState.DONE else Move.FAIL
            moved = self._move(job, move, result.reason, end.cause, end.control.round)
            if moved is None:  # another controller did, and it was looked at
                if self._ended.get(job) is end:
                    del self._ended[job]
                return
            self._forget(job)
            end.control = dataclasses.replace(end.control, state=result.state)
        self._book.unqueue(job)
        del self._ended[job]
