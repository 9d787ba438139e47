"""How the store is: what `veilfarm doctor` finds, asked now and then."""

import threading
import time

from cluster.api.models import StoreFinding, StoreHealth
from storage.objects import ObjectStore
from storage.probe import probe

_FRESH = 60.0  # seconds for which it counts: it writes, and takes a while


class Checkup:
    """The last one. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: StoreHealth | None = None

    def health(self, store: ObjectStore) -> StoreHealth:
        """Of the one store that this is about."""
        with self._lock:
            if self._last is None or time.time() - self._last.at > _FRESH:
                result = probe(getattr(store, "inner", store))  # it wants to know what kind of store it is
                findings = [
                    StoreFinding(name=each.name, verdict=each.verdict.value, meaning=each.meaning)
                    for each in result.findings
                ]
                self._last = StoreHealth(at=time.time(), usable=result.usable, findings=findings)
            return self._last
