"""The farm: from jobs to finished films. The story of a job is the steps in their order; the rest hands out its units.

The farm keeps no state that matters. What is done stands in each job's ledger; a farm that is killed and started again
goes on where the ledger says. It is the only one that commits: a worker tells what it has made, and unless it was given
up meanwhile, that becomes what counts.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from cluster.commits import Commits
from cluster.health import Health
from cluster.job import PER_CHUNK, Failure, IndexFacts, Plan, Step, new_id
from cluster.ledger import Ledger, Unit
from cluster.pace import Pace, of_unit
from cluster.roles import Ended, Job, Listener, Pool, Watch
from cluster.run import Run
from cluster.schedule import Claim, Seat, choose, turns
from cluster.trouble import over, pause_before_retry, treatment
from cluster.workers import Order, Outcome, failure_of
from storage.objects import StoreError, Transient

_LOG = logging.getLogger(__name__)

AHEAD = 2
"""Jobs that are worked on at once: while one is linked or stitched, the next one's chunks keep the workers busy."""

AWAY = 1.0
"""Seconds until another look at a store that is away, which has been patient itself."""


class Farm:
    """Brings jobs through. One farm at a time works on a job."""

    def __init__(
        self,
        pool: Pool,
        listener: Listener,
        watch: Watch | None = None,
        health: Health | None = None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        sharers: int | None = None,
    ) -> None:
        """Without `health` no worker is taken out; without `pace` the length of chunks follows from the film and the
        number of workers, or from `sharers` instead of that number, which changes as machines come and go."""
        self._pool, self._listener, self._watch = pool, listener, watch or Watch()
        self._health, self._pace, self._clock, self._sharers = health, pace, clock, sharers
        self._runs: list[Run] = []
        self._commits = Commits()
        self._uncommitted: list[Outcome] = []
        self._devices: dict[str, str] = {}  # by attempt
        self._full = False  # whether some unit waits for a worker that is busy

    def run(self, jobs: Iterable[Job]) -> Iterator[Ended]:
        """Work until every job is done or has failed; each is handed out as it ends. One's failure doesn't stop the
        others. Raises FarmError."""
        queue = iter(jobs)
        more = True
        while more or self._runs:
            while more and len(self._runs) < AHEAD:
                job = next(queue, None)
                more = job is not None
                if job is not None:
                    self.add(job)
            yield from self.turn()

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Those that are being worked on."""
        return tuple(run.job for run in self._runs)

    def idle(self) -> bool:
        """Whether there is room for another job: no unit waits for a busy worker. One that waits since its job has as
        many as it may have, or since no worker that is there may take it, holds up nobody else."""
        return not (self._full and any(run.waiting for run in self._runs))

    def demand(self, device: str | None = None) -> int:
        """How many units are out or wait for a worker; with `device`, only those that no other will do for."""
        runs = [run for run in self._runs if device is None or (run.device == device and run.step in PER_CHUNK)]
        return sum(len(run.running) + len(run.waiting) for run in runs)

    def starting(self) -> int:
        """How many jobs haven't got their chunks yet: more of them would only wait for each other's disks."""
        return sum(run.plan is None and not run.later for run in self._runs)

    def holds(self, job_id: str) -> bool:
        """Whether it is among `jobs`."""
        return any(run.job.ledger.job_id == job_id for run in self._runs)

    def works_on(self, job_id: str) -> bool:
        """Whether more of it will be handed out: it is among `jobs` and wasn't dropped."""
        return any(run.job.ledger.job_id == job_id and not run.dropped for run in self._runs)

    def add(self, job: Job) -> None:
        """Begin a job, or go on with it."""
        self._runs.append(Run(job))

    def change(self, job: Job) -> None:
        """The same job with another priority, limit or deadline."""
        for run in self._runs:
            if run.job.ledger.job_id == job.ledger.job_id:
                run.job = job

    def drop(self, job_id: str, stop: bool = False) -> None:
        """Work on a job no more. What is being worked on is committed when it ends, unless `stop`: then its workers
        are stopped, and what they make is nobody's."""
        for run in [run for run in self._runs if run.job.ledger.job_id == job_id]:
            run.waiting.clear()
            run.later.clear()
            if stop:
                for attempt in run.running:
                    self._pool.stop(attempt)
                    self._devices.pop(attempt, None)
            if stop or not run.running:
                self._remove(run)
            run.dropped = True

    def _remove(self, run: Run) -> None:
        self._runs.remove(run)
        if self._health:
            self._health.forget(run.job.ledger.job_id)

    def turn(self, timeout: float = 0.25) -> list[Ended]:
        """Hand out what can be handed out, wait a moment for what ends, take it in. Raises FarmError."""
        for run in self._runs:
            self._advance(run)
        self._hand_out()
        gone = [run for run in self._runs if run.ended or run.failure or (run.dropped and not run.running)]
        for run in gone:
            self._remove(run)
        if not gone:
            outcomes = self._pool.poll(timeout)
            if outcomes:
                # Their workers are free: they get the next units before what they have made is written down.
                self._hand_out()
            self._take_in([*self._uncommitted, *outcomes])
            self._tell()
        return [Ended(run.job, run.failure, run.seconds) for run in gone if not run.dropped]

    def _advance(self, run: Run) -> None:
        """Take the next batch when the last one is through, and leave out what the ledger has already."""
        now = self._clock()
        if now < run.away:
            return
        run.waiting.extend(unit for due, unit in run.later if due <= now)
        run.later = [(due, unit) for due, unit in run.later if due > now]
        while not (run.failure or run.ended or run.dropped or run.waiting or run.later or run.running):
            if run.step is not None:
                run.seconds[run.step] = run.seconds.get(run.step, 0.0) + time.perf_counter() - run.step_began
                self._listener.step(run.job, run.step, run.total, run.total, time.perf_counter() - run.step_began)
                run.step = None
            if not run.left:
                run.ended = True
                return
            try:
                run.learn(run.left[0])
                if (film := run.film()) is not None:
                    self._watch.learned(run.job, film)
                batch = run.batch(run.left[0])
                todo = self._todo(run, batch)
            except Transient as error:
                _LOG.warning("the store is away: %s", error)
                run.away = now + AWAY
                return
            except Exception as error:  # noqa: BLE001  a ledger that can't be read ends its job, not the farm
                run.failure = failure_of(error)
                return
            run.left.popleft()
            if not batch:
                continue
            run.step, run.step_began = batch[0].step, time.perf_counter()
            run.total = max(1, sum(run.weight(unit) for unit in batch))
            run.done = run.total - sum(run.weight(unit) for unit in todo)
            # The longest first: short ones at the end keep workers from waiting for each other.
            run.waiting.extend(sorted(todo, key=lambda unit: -run.weight(unit)))
            self._listener.step(run.job, run.step, run.done, run.total, 0.0)

    def _todo(self, run: Run, batch: tuple[Unit, ...]) -> list[Unit]:
        """What the ledger doesn't have yet."""
        if run.fresh:
            return list(batch)
        todo = self._commits.missing(run.job.ledger, batch)
        # Nothing that comes after it can be there. Another farm may do the same meanwhile: one of two commits counts.
        run.fresh = Unit(Step.INGEST) in todo
        return todo

    def _hand_out(self) -> None:
        """Free workers get the next units, in the order of `turns`."""
        now = self._clock()
        stuck = set[str]()  # jobs for which no seat is free
        self._full = False
        owners = Counter[str]()
        for run in self._runs:
            owners[run.job.owner] += len(run.running)
        while True:
            ready = {run.job.ledger.job_id: run for run in self._runs if run.waiting and run.away <= now}
            claims = [
                Claim(name, run.job.owner, run.job.priority, len(run.running), run.job.limit, run.job.deadline)
                for name, run in ready.items()
                if name not in stuck
            ]
            best = next(iter(turns(claims, owners)), None)
            if best is None:
                return
            if self._hand(ready[best.job]):
                owners[best.owner] += 1
            else:
                stuck.add(best.job)

    def _hand(self, run: Run) -> bool:
        """Give a unit of a job to a worker, if one is free: the first, unless workers that it has failed on are the
        only free ones."""
        seats = self._pool.seats(run.waiting[0])
        blocked = self._health.blocked() if self._health else frozenset[str]()
        if all(seat.name in blocked for seat in seats):
            blocked = frozenset()  # see `choose`
        if not any(seat.free and seat.name not in blocked for seat in seats):
            self._full = True
            return False
        for place, unit in enumerate(run.waiting):
            try:
                failures = self._failures(run, unit)
            except Transient as error:
                _LOG.warning("the store is away: %s", error)
                run.away = self._clock() + AWAY
                return False
            if run.failure is not None:
                return False
            blamed = frozenset(f.worker for f in failures if treatment(f).blames_worker)
            seat = choose(seats, unit.step, run.device, blocked, blamed)
            if seat is not None:
                del run.waiting[place]
                self._order(run, unit, seat, failures)
                return True
            if not blamed:
                break  # what no worker has failed is refused by none: the rest of them would find no other
        return False

    def _failures(self, run: Run, unit: Unit) -> list[Failure]:
        """How often it has failed, also when an earlier farm tried. One that was given up then is given up now."""
        if unit not in run.failures:
            known = run.fresh and unit.step is not Step.INGEST
            failures = [] if known else list(run.job.ledger.failures(unit, run.job.since))
            run.failures[unit] = failures
            if failures and over(failures, self._pool.size):
                run.failure = failures[-1]
        return run.failures[unit]

    def _order(self, run: Run, unit: Unit, seat: Seat, failures: list[Failure]) -> None:
        job = run.job
        measured = self._pace if unit.step is Step.PLAN and self._sharers is None else None
        frames = measured.chunk_frames(run.load) if measured else None
        lean = sum(treatment(f).lean for f in failures)
        sharers = (self._sharers if unit.step is Step.PLAN else None) or self._pool.size
        order = Order(job.store, job.ledger.job_id, unit, new_id(), job.secret, sharers, lean, frames, job.edits)
        run.running[order.attempt] = unit
        self._devices[order.attempt] = seat.device
        self._pool.submit(order, seat)
        self._watch.handed(job, order, seat)

    def _take_in(self, outcomes: list[Outcome]) -> None:
        """Commit what was made, note what failed."""
        self._uncommitted = []
        runs = {attempt: run for run in self._runs for attempt in run.running}
        # Of a job that has failed or was stopped meanwhile, nothing is committed.
        wanted = [(runs[each.order.attempt], each) for each in outcomes if each.order.attempt in runs]
        made = [(run.job.ledger, each) for run, each in wanted if each.facts is not None]
        errors = {
            each.order.attempt: error
            for (_, each), error in zip(made, self._commits.commit(made), strict=True)
            if error is not None
        }
        for run, outcome in wanted:
            error = errors.get(outcome.order.attempt)
            if isinstance(error, Transient):
                self._uncommitted.append(outcome)  # the store is away: what was made isn't lost for that
                continue
            device = self._devices.pop(outcome.order.attempt, "cpu")
            failure = outcome.failure if error is None else failure_of(error)
            if failure is not None:
                self._failed(run, outcome, failure)
                continue
            del run.running[outcome.order.attempt]
            self._done(run, outcome, device)

    def _done(self, run: Run, outcome: Outcome, device: str) -> None:
        unit = outcome.order.unit
        weight = run.weight(unit)
        frames = weight if unit.step in PER_CHUNK else 0
        run.done += weight
        if self._health:
            self._health.worked(outcome.worker, unit.step, outcome.order.job)
        if self._pace and outcome.facts is not None:
            self._pace.note(unit.step, device, of_unit(run.load, frames, outcome.facts), outcome.seconds)
        self._watch.ended(run.job, outcome, frames)

    def _failed(self, run: Run, outcome: Outcome, failure: Failure) -> None:
        unit = outcome.order.unit
        del run.running[outcome.order.attempt]
        _note(run.job.ledger, outcome, failure)
        self._watch.ended(run.job, Outcome(outcome.order, outcome.seconds, failure, None, outcome.worker), 0)
        job, blames = outcome.order.job, treatment(failure).blames_worker
        if self._health and blames and self._health.failed(outcome.worker, unit.step, job, str(unit)):
            self._watch.blocked(outcome.worker, failure)
        failures = run.failures[unit]
        failures.append(failure)
        if over(failures, self._pool.size):
            # Chunks that are being worked on may still be committed, for those who go on with the job.
            run.failure = run.failure or failure
            return
        # Last: another worker may be the next to be free.
        run.later.append((self._clock() + pause_before_retry(failures), unit))
        self._listener.retry(run.job, unit, failure)

    def _tell(self) -> None:
        frames = self._pool.frames()
        for run in self._runs:
            if run.step is None or run.ended or run.dropped:
                continue
            done, total = run.done, run.total
            under_way = sum(frames.get(attempt, 0) for attempt in run.running)
            if run.step is Step.INDEX:  # its length is what it finds out
                done, total = under_way, 0
            elif run.step in PER_CHUNK:
                done = min(total, done + under_way)
            self._listener.step(run.job, run.step, done, total, time.perf_counter() - run.step_began)


def _note(ledger: Ledger, outcome: Outcome, failure: Failure) -> None:
    try:
        ledger.fail(outcome.order.unit, outcome.order.attempt, failure)
    except StoreError:
        return  # on a full disk even this has no room; the outcome still says it


def frames_of(job: Job, step: Step) -> int:
    """How many frames a finished step went through: the film's for INDEX, the output's for the steps per chunk."""
    if step is Step.INDEX:
        return job.ledger.facts(IndexFacts).frames
    return job.ledger.facts(Plan).frames if step in PER_CHUNK else 0
