"""The farm's speed over an hour, from what jobs have done."""

from cluster.account import Progress
from cluster.dashboard.series import EVERY, KEPT, Series, steady
from cluster.job import Step


def _progress(job: str, step: Step, done: int) -> Progress:
    return Progress(job, step, done, 0, 0.0, 0.0, None)


def test_speed_is_what_was_done_between_two_looks() -> None:
    series = Series()
    series.note(100, [_progress("a", Step.ANALYSE, 50)])
    assert not series.samples
    series.note(105, [_progress("a", Step.ANALYSE, 150), _progress("b", Step.RENDER, 1000)])
    assert series.samples[-1].fps == {Step.ANALYSE: 20.0, Step.RENDER: 0.0}, "nobody knows since when b did 1000"
    series.note(110, [_progress("a", Step.RENDER, 0), _progress("b", Step.RENDER, 1050)])
    assert series.samples[-1].fps == {Step.ANALYSE: 0.0, Step.RENDER: 10.0}
    series.note(115, [_progress("b", Step.RENDER, 3), _progress("c", Step.INDEX, 9)])
    assert series.samples[-1].fps == {Step.ANALYSE: 0.0, Step.RENDER: 0.0}, "never less than nothing"


def test_memory_is_bounded_and_the_hour_is_even() -> None:
    series = Series()
    for index in range(3000):
        series.note(index * EVERY, [_progress("a", Step.RENDER, index * 50)])
    assert len(series.samples) == KEPT / EVERY
    points = steady(series.samples, 2999 * EVERY)
    assert len(points) == 120
    assert all(fps[Step.RENDER] == 10.0 for _, fps in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert not steady(series.samples, 2999 * EVERY + KEPT)
