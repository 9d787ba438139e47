"""Whose turn it is, and on which worker."""

import random

import pytest

from cluster.job import Step
from cluster.schedule import Claim, Line, Seat, choose, turns


def claim(job: str, owner: str = "", priority: int = 0, running: int = 0, **more: object) -> Claim:
    return Claim(job, owner, priority, running, **{"limit": None, **more})  # type: ignore[arg-type]


def order(claims: list[Claim], **running: int) -> list[str]:
    return [each.job for each in turns(claims, running)]


def test_priority_goes_before_all_else() -> None:
    claims = [claim("a", "idle"), claim("b", "busy", priority=1), claim("c", "idle", priority=-1, deadline=0.0)]
    assert order(claims, busy=9) == ["b", "a", "c"]


def test_among_equals_the_owner_with_the_fewest_orders_goes_first() -> None:
    claims = [claim("a1", "anna", running=2), claim("a2", "anna"), claim("b1", "ben", running=1)]
    assert order(claims, anna=2, ben=1) == ["b1", "a1", "a2"]
    assert order(claims, anna=1, ben=1) == ["a1", "a2", "b1"]


def test_the_nearest_deadline_then_the_oldest_job() -> None:
    claims = [claim("d"), claim("c", deadline=20.0), claim("b", deadline=10.0), claim("a")]
    assert order(claims) == ["b", "c", "a", "d"]


def test_a_job_at_its_limit_gets_no_turn() -> None:
    claims = [claim("a", running=2, limit=2), claim("b", running=1, limit=2), claim("c", running=5, limit=None)]
    assert order(claims) == ["b", "c"]


def test_owners_get_equal_shares_whatever_the_number_of_their_jobs() -> None:
    jobs = [f"a{n:02d}" for n in range(20)] + ["b0"]
    out = dict.fromkeys(jobs, 0)
    for _ in range(12):
        owners = {owner: sum(n for job, n in out.items() if job[0] == owner) for owner in "ab"}
        out[turns([claim(job, job[0], running=out[job]) for job in jobs], owners)[0].job] += 1
    assert out["b0"] == 6
    assert out["a00"] == 6


@pytest.mark.parametrize("seed", range(5))
def test_a_line_gives_the_order_of_turns(seed: int) -> None:
    """Whatever is put in, changed and taken out meanwhile."""
    rng = random.Random(seed)
    line, waiting, running = Line(), dict[str, Claim](), dict[str, int]()
    for number in range(600):
        job = f"{rng.randrange(60):02d}"
        if rng.random() < 0.6:
            deadline = rng.choice([None, None, 1.0, 2.0])
            waiting[job] = claim(job, f"owner-{int(job) % 4}", rng.randrange(3), deadline=deadline)
            line.put(waiting[job])
        else:
            waiting.pop(job, None)
            line.remove(job)
        running[f"owner-{rng.randrange(4)}"] = rng.randrange(3)
        assert line.first(running) == next(iter(turns(waiting.values(), running)), None), number
        assert len(line) == len(waiting)
        assert (job in line) == (job in waiting)
    line.clear()
    assert line.first(running) is None


def test_the_first_of_a_long_line_is_found_without_looking_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    for number in range(5000):
        line.put(claim(f"{number:05d}", f"owner-{number % 3}"))
    looked = []
    monkeypatch.setattr("cluster.schedule._place", lambda c: looked.append(c) or (float("inf"), c.job))
    first = line.first({})
    assert first is not None
    assert first.job == "00000"
    assert len(looked) <= 3


NOBODY = frozenset[str]()
SEATS = (Seat("c1", True), Seat("c2", True), Seat("g1", True, "cuda"))


def chosen(
    *seats: Seat,
    step: Step = Step.RENDER,
    device: str = "any",
    blocked: frozenset[str] = NOBODY,
    failed: frozenset[str] = NOBODY,
) -> str | None:
    seat = choose(seats or SEATS, step, device, blocked, failed)
    return seat and seat.name


@pytest.mark.parametrize(("step", "name"), [(Step.RENDER, "g1"), (Step.ANALYSE, "g1"), (Step.LINK, "c1")])
def test_pictures_go_to_gpus_first_and_the_rest_to_cpus(step: Step, name: str) -> None:
    assert chosen(step=step) == name


def test_without_its_favourite_a_unit_takes_another() -> None:
    assert chosen(Seat("g1", False, "cuda"), Seat("c1", True)) == "c1"
    assert chosen(Seat("c1", False), Seat("g1", True, "cuda"), step=Step.STITCH) == "g1"


def test_the_jobs_device_holds_for_steps_that_see_pictures() -> None:
    assert chosen(device="cpu") == "c1"
    assert chosen(device="cuda") == "g1"
    assert chosen(*SEATS[:2], device="cuda") is None
    assert chosen(*SEATS[:2], device="cuda", step=Step.LINK) == "c1"


def test_a_worker_that_failed_the_unit_gets_it_again_only_if_there_is_no_other() -> None:
    assert chosen(*SEATS[:2], failed=frozenset({"c1"})) == "c2"
    assert chosen(Seat("c1", True), Seat("c2", False), failed=frozenset({"c1"})) is None  # c2 will be free
    assert chosen(*SEATS[:2], failed=frozenset({"c1", "c2"})) == "c1"
    assert chosen(*SEATS[:2], failed=frozenset({"c1"}), blocked=frozenset({"c2"})) == "c1"


def test_workers_that_are_taken_out_get_nothing() -> None:
    assert chosen(*SEATS[:2], blocked=frozenset({"c1"})) == "c2"
    assert chosen(blocked=frozenset({"c1", "c2", "g1"})) == chosen()
    assert chosen(device="cuda", blocked=frozenset({"g1"})) == "g1"
    assert choose((), Step.LINK, "any", NOBODY, NOBODY) is None
