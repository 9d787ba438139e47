"""What a service does when another controller takes the lead."""

import pytest
from apifarm import ShownPool
from doubles import DrySteps

from cluster.service import Service
from storage.memory import MemoryStore


def test_who_leads_no_more_gives_the_machines_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ShownPool(DrySteps())
    service = Service(MemoryStore(), "/store", pool, grace=0)
    leads = iter([False, True, True, False, False])

    def turn() -> bool:
        if (now := next(leads, None)) is None:
            service.stop()
            return False
        return now

    monkeypatch.setattr(service.controller, "turn", turn)
    monkeypatch.setattr("cluster.service.time.sleep", lambda _: None)
    service.run()
    assert pool.rests == 1
