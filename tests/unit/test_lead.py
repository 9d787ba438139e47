"""One controller leads."""

import os

import pytest
from simfarm import AWAY, Clock, MemoryStore, Mortal

from cluster import records
from cluster.lead import LEASE, Lead, Lease
from storage import layout
from storage.objects import Transient


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def pair(store: MemoryStore, clock: Clock) -> tuple[Lead, Lead]:
    return Lead(store, clock), Lead(store, clock)


def test_the_first_leads_and_the_other_waits(pair: tuple[Lead, Lead], clock: Clock) -> None:
    first, second = pair
    for _ in range(100):
        assert first.leads()
        assert not second.leads()
        clock.now += LEASE / 5
    assert second.holder() == first.host


def test_it_is_followed_after_its_lease_and_not_before(pair: tuple[Lead, Lead], clock: Clock) -> None:
    first, second = pair
    assert first.leads()
    clock.now += 1000  # the other one has only just come
    assert not second.leads()
    clock.now += LEASE - 0.1
    assert not second.leads()
    clock.now += 0.1
    assert second.leads()
    assert not first.leads()
    clock.now += LEASE / 2
    assert second.leads()
    assert not first.leads()


def test_a_beat_in_time_keeps_the_lead(pair: tuple[Lead, Lead], clock: Clock) -> None:
    first, second = pair
    first.leads()
    second.leads()
    clock.now += LEASE - 1
    assert first.leads()
    clock.now += 2
    assert not second.leads()


def test_never_do_two_lead(store: MemoryStore) -> None:
    """Each has a clock of its own that runs as it likes, and asks when it likes: who leads by its own knowledge and
    asks the store finds out when it doesn't any more."""
    import random

    for seed in range(6):
        rng = random.Random(seed)
        store = MemoryStore()
        clocks = [Clock(rng.random() * 1000) for _ in range(3)]
        leads = [Lead(store, clock) for clock in clocks]
        for _ in range(100):
            seconds = rng.choice([0.1, 1.0, LEASE / 3])
            for clock in clocks:
                clock.now += seconds * rng.uniform(0.9, 1.1)
            asked = rng.randrange(3)
            leads[asked]._renewed = float("-inf")
            answers = [lead.leads() if i == asked or rng.random() < 0.2 else None for i, lead in enumerate(leads)]
            holder = records.loads(Lease, store.read(layout.lead())).controller
            renewed = leads[asked]
            assert answers[asked] is (renewed.id == holder)
        assert len({lead.id for lead in leads}) == 3


def test_who_gives_up_is_followed_at_once(pair: tuple[Lead, Lead], store: MemoryStore) -> None:
    first, second = pair
    first.leads()
    assert not second.leads()
    first.give_up()
    assert second.leads()
    assert not first.leads()
    first.give_up()  # it has nothing to give up
    assert second.leads()


def test_who_slept_and_gives_up_takes_the_lead_from_nobody(
    pair: tuple[Lead, Lead], store: MemoryStore, clock: Clock
) -> None:
    first, second = pair
    first.leads()
    second.leads()
    clock.now += LEASE
    assert second.leads()
    first.give_up()
    assert records.loads(Lease, store.read(layout.lead())).controller == second.id
    assert second.leads()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_that_was_lost_loses_no_lead(store: MemoryStore, clock: Clock, when: str) -> None:
    for operation in range(4):
        mortal = Mortal(MemoryStore())
        lead = Lead(mortal, clock)  # type: ignore[arg-type]
        mortal.die_at(operation, when, AWAY)
        held = 0
        for _ in range(6):
            clock.now += LEASE / 3
            try:
                held += lead.leads()
            except Transient:
                continue
        assert held >= 4, (operation, when)
        assert lead.leads()


def test_a_process_of_this_machine_that_died_is_followed_at_once(store: MemoryStore, clock: Clock) -> None:
    from cluster import processes

    gone = processes.name_for_ever(os.getpid()).rpartition("/")[0] + "/1"  # this id, but started at another time
    store.create(layout.lead(), records.dumps(Lease("0" * 26, "host", 1, gone)))
    assert Lead(store, clock).leads()
    alive = MemoryStore()
    alive.create(layout.lead(), records.dumps(Lease("0" * 26, "host", 1, processes.name_for_ever(os.getpid()))))
    assert not Lead(alive, clock).leads()


def test_a_lease_of_another_version_runs_out_as_others_do(store: MemoryStore, clock: Clock) -> None:
    store.create(layout.lead(), b'{"leader": "x"}')
    lead = Lead(store, clock)
    assert not lead.leads()
    assert "another version" in lead.holder()
    clock.now += LEASE
    assert lead.leads()


def test_nobody_leads_at_first(store: MemoryStore, clock: Clock) -> None:
    assert Lead(store, clock).holder() == ""
