"""Many small records at once: a store answers each in milliseconds, and many at a time."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cluster.ledger import Ledger, Unit
from cluster.workers import Outcome
from storage.objects import StoreError

THREADS = 16

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Commits:
    """Reads and writes the ledgers of a farm, several records at a time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "ledger")

    def missing(self, ledger: Ledger, units: Sequence[Unit]) -> list[Unit]:
        """Those that aren't done. Raises StoreError, BadRecord."""
        done = self._each(ledger.done, units)
        return [unit for unit, found in zip(units, done, strict=True) if found is None]

    def commit(self, made: Sequence[tuple[Ledger, Outcome]]) -> list[StoreError | None]:
        """Make each of these tries the one that counts; what went wrong with it, or None."""
        return self._each(_commit, made)

    def _each(self, call: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        items = list(items)
        if len(items) < 2:
            return [call(item) for item in items]
        return list(self._threads.map(call, items))


def _commit(made: tuple[Ledger, Outcome]) -> StoreError | None:
    ledger, outcome = made
    assert outcome.facts is not None
    try:
        ledger.commit(outcome.order.unit, outcome.order.attempt, outcome.facts, outcome.seconds, outcome.worker)
    except StoreError as error:
        return error
    return None
