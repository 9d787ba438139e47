"""What comes after the end of a round: what shows faces is deleted, and how it ended is written down.

All of it is done in pieces, since a job may have thousands of chunks and the farm doesn't wait. Whatever breaks off is
begun again from the beginning; nothing is said to be deleted before it is.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Generator
from dataclasses import dataclass

from cluster.book import Book, Control, JobResult, NoSuchJob
from cluster.job import Plan, PublishFacts
from cluster.ledger import Ledger
from cluster.records import BadRecord
from cluster.states import OVER, JobState
from storage import layout
from storage.objects import NoSuchObject

_LOG = logging.getLogger(__name__)

KEEP_FAILED = 7 * 86400.0  # seconds for which the work of a failed job is kept for a retry
REVIEW = 14 * 86400.0  # seconds for which a film is kept that nobody approves
LATE = 3600.0  # seconds after which a worker that was given up writes nothing any more


@dataclass(slots=True)
class End:
    """A round that has ended, and what is still to be written of it."""

    control: Control
    state: JobState  # REVIEW: it hasn't wholly ended
    reason: str
    cause: str = ""
    pieces: Generator[None, None, JobResult] | None = None


def closing(book: Book, job: str, control: Control, state: JobState, reason: str) -> Generator[None, None, JobResult]:
    """Close a round in this state; what is written of its end already stays. Gives the result at last."""
    known = book.result(job, control.round)
    if known is not None:
        return known
    ledger, seconds = Ledger(book.store, job), 0.0
    for unit in ledger.units():
        with contextlib.suppress(BadRecord):
            done = ledger.done(unit)
            seconds += done.seconds if done else 0.0
        yield
    result = _facts(ledger, control.edits, JobResult(state, reason, book.clock(), worker_seconds=round(seconds, 3)))
    if state is not JobState.FAILED:  # which may be retried
        count = 0
        for number in erasing(book, job, control, keep_records=state is JobState.DONE):
            count += number
            yield
        result = dataclasses.replace(result, erased=count)
    return book.close(job, control.round, result)


def erasing(book: Book, job: str, control: Control, keep_records: bool) -> Generator[int, None, None]:
    """Delete what shows or measures faces: the secret, the source if it was brought for this job alone, and what tries
    wrote. Gives the number of objects of each piece. Stops where somebody has let the job go on.

    Without `keep_records` whoever goes on begins anew. At each moment, what is recorded as done is there.
    """
    ledger = Ledger(book.store, job)
    if book.control(job).round != control.round:
        return
    yield ledger.erase_secret()
    with contextlib.suppress(NoSuchObject, BadRecord):
        yield book.erase_upload(ledger)
    for unit in reversed(ledger.units()):
        if not keep_records:
            if book.control(job).round != control.round:
                return
            ledger.undo(unit)
        yield ledger.erase_tries(unit)
    if not keep_records and book.control(job).round == control.round:
        yield ledger.erase_records()
        yield book.store.erase(layout.all_edits(job))


def tidying(book: Book, job: str) -> Generator[None, None, None]:
    """Delete the work of a job that failed long ago, and what late workers have written of others. Does nothing before
    its time."""
    yield
    with contextlib.suppress(NoSuchJob):
        control = book.control(job)
        failed = control.state is JobState.FAILED
        if control.state in OVER:
            if book.clock() - control.since < (KEEP_FAILED if failed else LATE):
                return
            for _ in erasing(book, job, control, keep_records=control.state is JobState.DONE):
                yield
        if failed:
            _LOG.info("the work of job %s is deleted, which failed long ago", job, extra={"job": job})
    book.unkeep(job)


def _facts(ledger: Ledger, edits: int, result: JobResult) -> JobResult:
    """What is known of the film at the end."""
    with contextlib.suppress(NoSuchObject, BadRecord):
        result = dataclasses.replace(result, frames=ledger.facts(Plan).frames)
        linked = ledger.linked(edits)
        people = len({track.person for track in linked.tracks}) if edits else linked.people
        result = dataclasses.replace(result, people=people)
        published = ledger.facts(PublishFacts)
        result = dataclasses.replace(result, film=published.film, report=published.report, bytes=published.bytes)
    return result
