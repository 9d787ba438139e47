"""What can go wrong with a try, in classes, and what is done about each. The table is the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cluster.job import Failure

TRIES = 3
"""How often a unit is tried, on as many different workers as there are, up to this number."""

WORKER_CAP = 3
"""So many different units of one step that fail in a row take a worker out. A unit that fails everywhere is one unit to
each worker and ends after TRIES, so a poisonous chunk goes before good workers do."""

REFUSING = frozenset(
    {"InputError", "NotAVideo", "Truncated", "Unsupported", "OutputError", "ModelError", "NoIdentity", "LeakError"}
    | {"EditRefused"}
)
"""Causes that another try can't mend: the source, the place of the output, the model's file, a face that the leak
gate still sees (rendering again gives the same pixels)."""


class Trouble(StrEnum):
    """The classes of failures."""

    REFUSED = "refused"
    MEMORY = "memory"
    CRASH = "crash"
    HANG = "hang"
    LOST = "lost"
    WRONG = "wrong output"
    STORAGE = "storage"
    DISK = "disk"
    DEVICE = "device"
    VERSION = "version"
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done after a failure of one class."""

    tries: int  # so many failures of this class end the job
    blames_worker: bool  # whether it counts against the worker
    lean: bool  # whether the next try works with half the batch
    renew: bool  # whether the worker's process is ended, and another one started
    wait: float  # seconds before the next try; doubled with each one


TREATMENTS: dict[Trouble, Treatment] = {
    Trouble.REFUSED: Treatment(1, blames_worker=False, lean=False, renew=False, wait=0),
    Trouble.MEMORY: Treatment(TRIES, blames_worker=False, lean=True, renew=True, wait=0),
    Trouble.CRASH: Treatment(TRIES, blames_worker=True, lean=False, renew=True, wait=0),
    Trouble.HANG: Treatment(TRIES, blames_worker=True, lean=False, renew=True, wait=0),
    # A machine that went away says nothing about the unit: spot machines may take many.
    Trouble.LOST: Treatment(10, blames_worker=False, lean=False, renew=True, wait=0),
    Trouble.WRONG: Treatment(TRIES, blames_worker=True, lean=False, renew=False, wait=0),
    # The store is the same for all workers: waiting helps, changing the worker doesn't. 1 + 2 + … + 256 s are 8 min.
    Trouble.STORAGE: Treatment(10, blames_worker=False, lean=False, renew=False, wait=1),
    # A machine without room: another one may have some, and here there is some again when others' work is through. Who
    # fails what others can do is taken out, or it would get one unit after the other.
    Trouble.DISK: Treatment(10, blames_worker=True, lean=False, renew=False, wait=1),
    Trouble.DEVICE: Treatment(TRIES, blames_worker=True, lean=False, renew=True, wait=0),
    # While a farm is brought to another version, some workers may have the one that the job was begun with.
    Trouble.VERSION: Treatment(10, blames_worker=True, lean=False, renew=False, wait=0),
    Trouble.BUG: Treatment(TRIES, blames_worker=True, lean=False, renew=False, wait=0),
}

_CAUSES = {
    "OutOfMemoryError": Trouble.MEMORY,
    "MemoryError": Trouble.MEMORY,
    "WorkerOutOfMemory": Trouble.MEMORY,
    "WorkerDied": Trouble.CRASH,
    "WorkerHung": Trouble.HANG,
    "WorkerLost": Trouble.LOST,
    "VerifyError": Trouble.WRONG,
    "DiskFull": Trouble.DISK,
    "OtherVersion": Trouble.VERSION,
    "AcceleratorError": Trouble.DEVICE,
    "DeviceError": Trouble.DEVICE,
    **dict.fromkeys(("StoreError", "Transient", "Unreachable", "Interrupted"), Trouble.STORAGE),
    **dict.fromkeys(("NotPermitted", "WrongKeys", "ClockSkew", "NoSuchBucket", "NoSuchObject"), Trouble.STORAGE),
    **dict.fromkeys(REFUSING, Trouble.REFUSED),
}


def kind_of(failure: Failure) -> Trouble:
    """The class of a failure."""
    return _CAUSES.get(failure.cause, Trouble.BUG)


def treatment(failure: Failure) -> Treatment:
    """What is done about it."""
    return TREATMENTS[kind_of(failure)]


def over(failures: Sequence[Failure], workers: int) -> bool:
    """Whether a unit that failed so often, the last time just now, is given up. `workers`: how many there are."""
    last = kind_of(failures[-1])
    limit = TREATMENTS[last].tries
    same = [f for f in failures if kind_of(f) is last]
    if len(same) < limit:
        # Each class alone may be below its limit; together they may not go on for ever. What comes from outside, a
        # machine or a store that went away, doesn't count: that may happen often, and says nothing about the unit.
        inside = sum(treatment(f).tries <= TRIES for f in failures)
        return limit <= TRIES and inside >= 2 * TRIES
    different = len({f.worker for f in same})
    return not TREATMENTS[last].blames_worker or different >= min(limit, workers) or len(same) >= 2 * limit


def pause_before_retry(failures: Sequence[Failure]) -> float:
    """Seconds to wait until the unit is handed out again."""
    last = kind_of(failures[-1])
    count = sum(kind_of(f) is last for f in failures)
    return TREATMENTS[last].wait * float(2 ** (count - 1))
