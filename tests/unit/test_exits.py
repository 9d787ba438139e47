"""The one way to be told to stop."""

import ctypes
import os
import signal
from collections.abc import Iterator

import pytest

from cluster import exits


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in exits._SIGNALS}
    monkeypatch.setattr(exits, "_told", [])
    monkeypatch.setattr(exits, "_handler", None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_handler_that_a_library_put_before_it_is_put_out_again() -> None:
    """Below Python, as Ray does it: Python believes that its own is still there."""
    heard: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with exits.heard_by(lambda number, _: heard.append(number)):
        ignored = ctypes.c_void_p(1)
        ctypes.CDLL(None).signal(signal.SIGTERM, ignored)
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == []
        exits.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before
    exits.check()  # nobody listens any more
    assert signal.getsignal(signal.SIGTERM) is before


def test_who_was_told_once_is_told_again_and_hears_no_second_signal() -> None:
    exits.listen()
    with pytest.raises(exits.Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    assert exits.told()
    with pytest.raises(exits.Interrupted):
        exits.check()
    os.kill(os.getpid(), signal.SIGTERM)


def test_without_listening_nothing_is_touched() -> None:
    mine = signal.getsignal(signal.SIGTERM)
    exits.check()
    assert signal.getsignal(signal.SIGTERM) is mine
