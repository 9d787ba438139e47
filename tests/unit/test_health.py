"""Which workers are taken out, and which aren't."""

import pytest
from simfarm import Clock

from cluster.health import PAUSE, Health
from cluster.job import Step
from cluster.trouble import WORKER_CAP


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def health(clock: Clock) -> Health:
    """Somebody has rendered of both jobs."""
    health = Health(clock)
    for job in ("a", "b"):
        health.worked("good", Step.RENDER, job)
    return health


def fail(health: Health, worker: str, *units: str, step: Step = Step.RENDER, job: str = "a") -> list[bool]:
    return [health.failed(worker, step, job, unit) for unit in units]


def test_three_units_in_a_row_take_a_worker_out_for_a_while(health: Health, clock: Clock) -> None:
    assert WORKER_CAP == 3
    assert fail(health, "bad", "1", "2") == [False, False]
    assert health.blocked() == frozenset()
    assert fail(health, "bad", "3") == [True]
    assert health.blocked() == {"bad"}
    clock.now = PAUSE - 1
    assert health.blocked() == {"bad"}
    clock.now = PAUSE
    assert health.blocked() == frozenset()
    assert fail(health, "bad", "4", "5", "6") == [False, False, True]  # it begins anew


def test_the_same_unit_again_is_one_unit(health: Health) -> None:
    assert fail(health, "w", "1", "1", "2", "2", "1") == [False] * 5


def test_units_of_different_jobs_count_together(health: Health) -> None:
    assert fail(health, "w", "1", "2") == [False, False]
    assert fail(health, "w", "1", job="b") == [True]


def test_a_success_in_the_same_step_ends_the_row(health: Health) -> None:
    fail(health, "w", "1", "2")
    health.worked("w", Step.RENDER, "a")
    assert fail(health, "w", "3", "4") == [False, False]
    health.worked("w", Step.ANALYSE, "a")  # another step says nothing
    assert fail(health, "w", "5") == [True]


def test_steps_count_apart(health: Health) -> None:
    fail(health, "w", "1", "2")
    assert fail(health, "w", "3", step=Step.ANALYSE) == [False]


def test_a_film_that_nobody_gets_through_takes_nobody_out() -> None:
    """Two workers, a hundred chunks that fail everywhere: the film goes, the workers stay."""
    health = Health()
    for worker in ("w1", "w2"):
        health.worked(worker, Step.RENDER, "another")
        assert not any(fail(health, worker, *map(str, range(100)), job="bad"))
    assert health.blocked() == frozenset()
    health.forget("bad")
    health.worked("w3", Step.RENDER, "new")
    assert fail(health, "w1", "1", "2", job="new") == [False, False]


def test_what_others_do_later_counts_for_what_failed_before() -> None:
    health = Health()
    fail(health, "bad", "1", "2", job="new")
    health.worked("good", Step.RENDER, "new")
    assert fail(health, "bad", "3", job="new") == [True]


def test_ones_own_success_is_no_proof_that_others_can() -> None:
    health = Health()
    health.worked("only", Step.RENDER, "a")
    assert not any(fail(health, "only", "1", "2", "3", "4"))


def test_what_was_proven_stays_when_the_job_is_over(health: Health) -> None:
    fail(health, "bad", "1", "2")
    health.forget("a")
    assert fail(health, "bad", "1", job="b") == [True]


def test_somebody_may_give_it_another_chance(health: Health) -> None:
    fail(health, "bad", "1", "2", "3")
    health.unblock("bad")
    health.unblock("nobody")
    assert health.blocked() == frozenset()


def test_what_jobs_have_shown_is_forgotten_with_them(health: Health) -> None:
    for number in range(1000):
        health.worked("w", Step.RENDER, str(number))
        fail(health, "bad", "1", job=str(number))
        health.forget(str(number))
    assert len(health._able) == 2
    assert sum(len(row) for record in health._records.values() for row in record.row.values()) < WORKER_CAP
