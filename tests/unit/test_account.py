"""What the farm is doing, as it is kept account of."""

from pathlib import Path

import pytest
from doubles import a_job

from cluster.account import Account
from cluster.actors import Place
from cluster.book import Book
from cluster.job import AnalysisFacts, Failure, Step
from cluster.ledger import Unit
from cluster.roles import Job
from cluster.schedule import Seat
from cluster.workers import Order, Outcome
from storage.memory import MemoryStore

SEAT = Seat("w0", True, "cuda")


@pytest.fixture
def account() -> Account:
    return Account(Book(MemoryStore()))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return a_job(tmp_path)


def order(job: Job, chunk: int) -> Order:
    return Order(job.store, job.ledger.job_id, Unit(Step.ANALYSE, chunk), f"try-{chunk}", None, 1)


def outcome(given: Order, failure: Failure | None = None) -> Outcome:
    return Outcome(given, 2.0, failure, None if failure else AnalysisFacts(1, 0, {}), "w0")


def test_a_worker_that_got_its_next_order_is_credited_with_the_last_one(account: Account, job: Job) -> None:
    first, second = order(job, 0), order(job, 1)
    account.handed(job, first, SEAT)
    account.handed(job, second, SEAT)
    account.ended(job, outcome(first), 10)
    place = Place("w0", None, "cuda", order=second, heard=0.0)
    (shown,) = account.workers([place], frozenset(), frozenset())
    assert (shown.state, shown.unit, shown.fps) == ("busy", "analyse of chunk 1", 5.0)
    account.ended(job, outcome(second), 10)
    assert account.frames == {("w0", "cuda", "analyse"): 20}
    assert account.seconds == {("w0", "cuda", "analyse"): 4.0}
    assert account.units == {("analyse", "done"): 2}
    (shown,) = account.workers([Place("w0", None, "cuda", heard=0.0)], frozenset(), frozenset())
    assert (shown.state, shown.unit) == ("idle", "")


def test_a_failure_counts_no_frames(account: Account, job: Job) -> None:
    given = order(job, 0)
    account.handed(job, given, SEAT)
    account.ended(job, outcome(given, Failure("Hang", "it hung", "", "", "")), 0)
    assert account.units == {("analyse", "failed"): 1}
    assert account.frames == {}


def test_of_a_job_that_is_over_nothing_is_kept(account: Account, job: Job) -> None:
    account.handed(job, order(job, 0), SEAT)  # and then it was cancelled
    account.step(job, Step.ANALYSE, 0, 30, 0.0)
    account.step(job, Step.ANALYSE, 10, 30, 2.0)
    (now,) = account.progress()
    assert (now.done, now.fps, now.eta) == (10, 5.0, 4.0)
    account.forget(job.ledger.job_id)
    assert account.progress() == ()
    (shown,) = account.workers([Place("w0", None, "cuda", heard=0.0)], frozenset(), frozenset())
    assert (shown.job, shown.unit) == ("", "")
