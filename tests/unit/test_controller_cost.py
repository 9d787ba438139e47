"""What a turn of the controller costs, however many jobs wait."""

import sys
import tracemalloc
from collections.abc import Callable

import pytest
from simfarm import until
from simworld import World

from cluster.job import Step
from cluster.ledger import Unit


def turns_cost(world: World, turns: int, each: Callable[[], None] = lambda: None) -> float:
    """Operations on the store in a turn, on average."""
    before = world.lead.mortal.operations.total()
    for _ in range(turns):
        each()
        world.turn()
    return (world.lead.mortal.operations.total() - before) / turns


def lines(world: World) -> int:
    """Lines of Python that twenty turns take."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        for _ in range(20):
            world.turn()
    finally:
        sys.settrace(None)
    return count


def test_five_thousand_waiting_jobs_cost_a_turn_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither operations on the store nor work of this process, and little memory."""
    world = World(monkeypatch, size=1)
    gate = world.submit()
    world.poison[gate] = {Unit(Step.INGEST)}
    for number in range(2500):
        world.submit(number, owner=f"owner-{number % 3}", priority=number % 2)
        world.submit(number, after=[gate])
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    until(world.lead, lambda: len(world.lead.controller.tickets) > 4900)
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    ours = [s for s in after.compare_to(before, "filename") if "storage/memory" not in s.traceback[0].filename]
    assert sum(stat.size_diff for stat in ours) < 3000 * 5000
    until(world.lead, lambda: not world.lead.controller._waiting.check and not world.store.list("notices"))
    few = World(monkeypatch, size=1)
    for number in range(20):
        few.submit(number)
    for _ in range(5):
        few.turn()
    assert turns_cost(world, 40) < 2 * turns_cost(few, 40) + 2
    assert lines(world) < 2 * lines(few) + 2000
