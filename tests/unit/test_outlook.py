"""When jobs will be through."""

import pytest

from cluster.job import Step
from cluster.outlook import Film, Outlook
from cluster.pace import Load, Pace

LOAD = Load(1000, 1.0, 1.0)


def an_outlook(film: Film | None = None) -> Outlook:
    outlook = Outlook(Pace())
    outlook.learned("job", film or Film(LOAD, chunks=8))
    return outlook


def rest(*steps: Step, workers: float = 1) -> float:
    pace = Pace()
    return sum(pace.step(s, LOAD) / (workers if s in (Step.ANALYSE, Step.RENDER) else 1) for s in steps)


def test_it_is_all_that_remains_and_not_the_running_step_alone() -> None:
    left = an_outlook().left("job", Step.LINK, 0.0, None, 1, 0.0)
    assert left == pytest.approx(rest(Step.LINK, Step.RENDER, Step.STITCH))
    assert an_outlook().left("job", Step.STITCH, 0.5, None, 1, 0.0) == pytest.approx(rest(Step.STITCH) / 2)


def test_workers_share_chunks_as_far_as_there_are_chunks_and_the_job_may() -> None:
    steps = (Step.ANALYSE, Step.LINK, Step.RENDER, Step.STITCH)
    assert an_outlook().left("job", Step.ANALYSE, 0, None, 4, 0) == pytest.approx(rest(*steps, workers=4))
    few = an_outlook(Film(LOAD, chunks=2))
    assert few.left("job", Step.ANALYSE, 0, None, 4, 0) == pytest.approx(rest(*steps, workers=2))
    limited = an_outlook(Film(LOAD, chunks=8, limit=1))
    assert limited.left("job", Step.ANALYSE, 0, None, 4, 0) == pytest.approx(rest(*steps))


def test_a_steps_own_speed_counts_the_more_the_more_of_it_is_done() -> None:
    told = rest(Step.RENDER) * 0.9 + rest(Step.STITCH)
    early = an_outlook().left("job", Step.RENDER, 0.1, 60.0, 1, 0.0)
    late = an_outlook().left("job", Step.RENDER, 0.5, 60.0, 1, 0.0)
    slower = 60.0 / (rest(Step.RENDER) / 2)
    assert early is not None
    assert told < early < 60 + slower * rest(Step.STITCH)
    assert late == pytest.approx(60 + slower * rest(Step.STITCH))


def test_a_step_that_is_slow_now_tells_of_the_later_ones() -> None:
    own = 3 * rest(Step.ANALYSE) / 2
    left = an_outlook().left("job", Step.ANALYSE, 0.5, own, 1, 0.0)
    assert left == pytest.approx(own + 3 * rest(Step.LINK, Step.RENDER, Step.STITCH))


def test_what_is_told_goes_on_counting_and_comes_round_without_a_jump() -> None:
    outlook = an_outlook()
    first = outlook.left("job", Step.STITCH, 0.5, 100.0, 1, 0.0)
    assert first == pytest.approx(100)
    assert outlook.left("job", Step.STITCH, 0.5, 99.0, 1, 1.0) == pytest.approx(99)
    jumped = outlook.left("job", Step.STITCH, 0.5, 300.0, 1, 2.0)
    assert jumped is not None
    assert 98 < jumped < 120
    for second in range(3, 90):
        jumped = outlook.left("job", Step.STITCH, 0.5, 300.0, 1, float(second))
    assert jumped == pytest.approx(300, rel=0.1)  # it lags, since this end moves away


def test_nobody_knows_before_the_film_was_looked_at_nor_after_the_job() -> None:
    assert Outlook(Pace()).left("job", Step.INGEST, 0, None, 1, 0) is None
    assert Outlook(Pace()).cost("job") is None
    assert an_outlook(Film(Load(0, 1.0))).left("job", Step.INDEX, 0, None, 1, 0) is None
    outlook = an_outlook()
    assert outlook.cost("job") == pytest.approx(Pace().seconds(LOAD))
    outlook.forget("job")
    assert outlook.cost("job") is None
