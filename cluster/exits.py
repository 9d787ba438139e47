"""How a command ends: its exit codes, and the one way to be told to stop."""

import signal
from types import FrameType

DONE = 0
FAILED = 1  # something went wrong on the way
REFUSED = 2  # what was asked for can't be done: usage or input
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_told: list[int] = []


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or somebody asked this process to end."""


def listen() -> None:
    """From now on a signal to end raises Interrupted in the main thread."""
    for number in _SIGNALS:
        signal.signal(number, _tell)


def told() -> bool:
    """Whether such a signal has come."""
    return bool(_told)


def check() -> None:
    """Raise Interrupted if a signal has come. Python loses what a handler raises while an object is being finalised,
    and Ray turns it into errors of its own: loops ask here again."""
    if _told:
        raise Interrupted


def _tell(number: int, frame: FrameType | None) -> None:
    # Cleaning up takes less than a second; a second Ctrl-C must not cut it short and leave processes behind.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.alarm(0)  # Ray puts a handler before this one, which aborts the process three seconds after the signal
    _told.append(number)
    raise Interrupted
