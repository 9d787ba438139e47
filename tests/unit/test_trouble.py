"""What is done about each class of failure, and when a unit is given up."""

import inspect

import pytest

from cluster import actors, localray
from cluster.job import Failure
from cluster.trouble import _CAUSES, TREATMENTS, TRIES, Trouble, kind_of, over, pause_before_retry, treatment
from pipeline import errors
from storage import objects

NAME = {
    Trouble.REFUSED: "InputError",
    Trouble.MEMORY: "OutOfMemoryError",
    Trouble.CRASH: "WorkerDied",
    Trouble.HANG: "WorkerHung",
    Trouble.LOST: "WorkerLost",
    Trouble.WRONG: "VerifyError",
    Trouble.STORAGE: "Unreachable",
    Trouble.DISK: "DiskFull",
    Trouble.DEVICE: "AcceleratorError",
    Trouble.VERSION: "OtherVersion",
    Trouble.BUG: "KeyError",
}


def failed(kind: Trouble, worker: str = "w") -> Failure:
    return Failure(NAME[kind], "", "", "", "", worker)


def until_over(kind: Trouble, on: list[str], workers: int) -> int:
    """After how many failures, on these workers in turn, a unit is given up."""
    failures: list[Failure] = []
    while len(failures) < 50:
        failures.append(failed(kind, on[len(failures) % len(on)]))
        if over(failures, workers):
            return len(failures)
    raise AssertionError(f"{kind} goes on for ever")


@pytest.mark.parametrize("kind", Trouble)
def test_every_class_has_a_cause_and_a_treatment(kind: Trouble) -> None:
    assert kind_of(failed(kind)) is kind
    assert treatment(failed(kind)) is TREATMENTS[kind]
    assert TREATMENTS[kind].tries >= 1


def test_every_error_of_the_pipeline_and_of_stores_has_its_class() -> None:
    """Whoever adds one decides here what it is."""
    bugs = {
        "PipelineError",
        "AlreadyThere",
        "Conflict",
        "StoreFull",
        "NotSupported",
    }  # StoreFull is told as OutputError
    for module in (errors, objects):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Exception):
                assert (name in _CAUSES) != (name in bugs), name


def test_what_workers_die_of_is_known_by_name() -> None:
    source = inspect.getsource(actors) + inspect.getsource(localray)
    for cause in ("WorkerDied", "WorkerHung", "WorkerLost", "WorkerOutOfMemory"):
        assert f'"{cause}"' in source
        assert kind_of(Failure(cause, "", "", "", "")) is not Trouble.BUG


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("kind", [Trouble.CRASH, Trouble.HANG, Trouble.WRONG, Trouble.DEVICE, Trouble.BUG])
def test_as_many_workers_as_there_are_must_fail_a_unit_up_to_three(kind: Trouble, workers: int) -> None:
    names = [f"w{n}" for n in range(min(workers, TRIES))]
    assert until_over(kind, names, workers) == TRIES
    if workers > 1:  # always the same one: it may be its fault, until that has lasted too long
        assert until_over(kind, ["w0"], workers) == 2 * TRIES


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_what_is_nobodys_fault_needs_no_other_worker(workers: int) -> None:
    assert until_over(Trouble.REFUSED, ["w"], workers) == 1
    assert until_over(Trouble.MEMORY, ["w"], workers) == TRIES
    assert until_over(Trouble.STORAGE, ["w"], workers) == 10
    assert until_over(Trouble.LOST, ["w"], workers) == 10


def test_a_unit_survives_a_full_disk_for_longer_where_another_worker_may_have_room() -> None:
    assert until_over(Trouble.DISK, ["w0", "w1"], 2) == 10
    assert until_over(Trouble.DISK, ["w0"], 2) == 20


def test_all_workers_may_be_of_another_version_but_one() -> None:
    assert until_over(Trouble.VERSION, [f"w{n}" for n in range(10)], 20) == 10
    assert until_over(Trouble.VERSION, ["w0", "w1"], 2) == 10


def test_different_failures_together_may_not_go_on_for_ever() -> None:
    mixed = [failed(kind, str(n)) for n, kind in enumerate([Trouble.CRASH, Trouble.HANG, Trouble.WRONG] * 2)]
    assert not over(mixed[:5], 5)
    assert over(mixed, 5)


def test_a_store_or_machines_that_were_away_give_no_unit_up_early() -> None:
    outside = [failed(Trouble.STORAGE)] * 5 + [failed(Trouble.LOST)] * 5
    assert not over([*outside, failed(Trouble.CRASH)], 5)
    assert not over([failed(Trouble.CRASH, "1"), failed(Trouble.CRASH, "2"), *outside], 5)
    assert over([*outside, *(failed(Trouble.CRASH, str(n)) for n in range(3))], 5)
    assert over([*outside, failed(Trouble.REFUSED)], 5)


@pytest.mark.parametrize("kind", [Trouble.STORAGE, Trouble.DISK])
def test_what_may_pass_is_waited_for_and_longer_each_time(kind: Trouble) -> None:
    waits = [pause_before_retry([failed(kind)] * n) for n in range(1, 10)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    for kind in set(Trouble) - {Trouble.STORAGE, Trouble.DISK}:
        assert pause_before_retry([failed(Trouble.STORAGE), failed(kind)]) == 0
    assert pause_before_retry([failed(Trouble.CRASH), failed(Trouble.STORAGE)]) == 1


def test_the_policy() -> None:
    """What the design says, in words."""
    of = TREATMENTS
    assert {kind for kind in Trouble if of[kind].lean} == {Trouble.MEMORY}
    assert {kind for kind in Trouble if not of[kind].renew} == {
        Trouble.REFUSED,
        Trouble.WRONG,
        Trouble.STORAGE,
        Trouble.DISK,
        Trouble.VERSION,
        Trouble.BUG,
    }
    assert {kind for kind in Trouble if not of[kind].blames_worker} == {
        Trouble.REFUSED,
        Trouble.MEMORY,
        Trouble.LOST,
        Trouble.STORAGE,
    }
