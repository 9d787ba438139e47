"""The farm's speed over an hour, from what jobs have done."""

from cluster.account import Progress
from cluster.dashboard.job import MOST_BARS, WIDTH, bars
from cluster.dashboard.series import EVERY, KEPT, Series, steady
from cluster.dashboard.strip import Cell, Strip
from cluster.job import ChunkRecord, Step


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


def test_very_long_films_have_a_short_strip() -> None:
    cells = tuple(
        Cell(ChunkRecord(i, i * 10, i * 10 + 10, 0, 0, ""), "open" if i == 7777 else "rendered", "w", 1.0, i == 42, 0)
        for i in range(9999)
    )
    found = bars(Strip(None, None, cells, ("w",)), {"w": 0})
    assert len(found) <= MOST_BARS
    assert [bar["cell"].chunk.index for bar in found if bar["cell"].state == "open"] == [7777]
    assert sum(bar["flagged"] for bar in found) == 1
    assert found[0]["x"] == 0
    assert WIDTH - 1 < found[-1]["x"] + found[-1]["width"] <= WIDTH
