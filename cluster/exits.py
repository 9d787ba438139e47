"""How a command ends: its exit codes, and the one way to be told to stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

DONE = 0
FAILED = 1  # something went wrong on the way
REFUSED = 2  # what was asked for can't be done: usage or input
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_told: list[int] = []
Handler = Callable[[int, FrameType | None], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or somebody asked this process to end."""


def listen() -> None:
    """From now on a signal to end raises Interrupted in the main thread."""
    global _handler
    _handler = _tell
    _hold()


@contextlib.contextmanager
def heard_by(handler: Handler) -> Iterator[None]:
    """Meanwhile a signal to end calls this handler, in the main thread; afterwards it does what it did before."""
    global _handler
    before, signals = _handler, {number: signal.getsignal(number) for number in _SIGNALS}
    _handler = handler
    _hold()
    try:
        yield
    finally:
        _handler = before
        for number, old in signals.items():
            signal.signal(number, old)


def _hold() -> None:
    """Ray, once it is up, has put a handler of its own before Python's: it unwinds the stack, which can hang for ever
    while a library is being loaded, and aborts the process three seconds later. This puts it out again."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, _handler)


def told() -> bool:
    """Whether such a signal has come."""
    return bool(_told)


def check() -> None:
    """Raise Interrupted if a signal has come. Python loses what a handler raises while an object is being finalised,
    and Ray turns it into errors of its own: loops ask here again, and by that keep the handler in its place."""
    if _told:
        raise Interrupted
    if _handler is not None:
        _hold()


def _tell(number: int, frame: FrameType | None) -> None:
    # Cleaning up takes less than a second; a second Ctrl-C must not cut it short and leave processes behind.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.alarm(0)  # Ray puts a handler before this one, which aborts the process three seconds after the signal
    _told.append(number)
    raise Interrupted


_handler: Handler | None = None  # none before `listen`
