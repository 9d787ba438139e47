"""Structured logs: one JSON object a line, with the job, the unit and the try to which it belongs.

A worker does one order at a time, so what is logged in its process meanwhile is of that order. Nothing logged holds a
secret or a measure of a face.
"""

import contextlib
import json
import logging
import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

MOST_LINES = 2000  # of one order that are kept; a try that says more is cut in the middle

_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def line(record: logging.LogRecord, **extra: str) -> str:
    """A record as JSON: when, how bad, who, what, and everything that was given as `extra`."""
    found: dict[str, object] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "text": record.getMessage(),
        **extra,
        **{name: value for name, value in vars(record).items() if name not in _RESERVED and not name.startswith("_")},
    }
    if record.exc_info:
        found["trace"] = logging.Formatter().formatException(record.exc_info)
    return json.dumps(found, ensure_ascii=False, default=str)


class Lines(logging.Handler):
    """Keeps the first and the last lines of an order."""

    def __init__(self, **facts: str) -> None:
        super().__init__(logging.INFO)
        self._facts = facts
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=MOST_LINES // 2)
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            text = line(record, **self._facts)
        except Exception:  # noqa: BLE001  whoever logs nonsense isn't to fail for it
            self.handleError(record)
            return
        if len(self._first) < MOST_LINES // 2:
            self._first.append(text)
            return
        self._left_out += len(self._last) == self._last.maxlen
        self._last.append(text)

    def text(self) -> bytes:
        """What was kept, as JSON lines."""
        cut = [json.dumps({"text": f"{self._left_out} lines are left out here"})] if self._left_out else []
        return "".join(f"{each}\n" for each in (*self._first, *cut, *self._last)).encode()


@contextlib.contextmanager
def captured(**facts: str) -> Iterator[Lines]:
    """What this process logs meanwhile, each line with these facts."""
    lines, root = Lines(**facts), logging.getLogger()
    level = root.level
    root.addHandler(lines)
    root.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        yield lines
    finally:
        root.removeHandler(lines)
        root.setLevel(level)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return line(record)


def to_stream(stream: TextIO = sys.stderr, level: int = logging.INFO) -> None:
    """From now on this process logs JSON lines there, and nothing else."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
