"""What tokens and cookies of sessions share: a random secret, its hash, and a memory of what was looked up."""

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

CACHED = 5.0  # seconds for which another process may go on believing in what was revoked
_MOST = 10_000  # credentials that are remembered

Known = TypeVar("Known")


def new_secret() -> str:
    """256 random bits, in 43 characters."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def digest(secret: str) -> str:
    """What the store has of it: SHA-256 in hex, since nobody can guess so many bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Remembered(Generic[Known]):
    """What was found for a credential, for CACHED seconds. Holds hashes only. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[bytes, tuple[Known, float]] = {}

    def get(self, text: str, now: float, look_up: Callable[[], Known | None]) -> Known | None:
        """What `look_up` finds, or has found a moment ago; None isn't remembered."""
        mark = _mark(text)
        known = self._found.get(mark)
        if known is not None and 0 <= now - known[1] < CACHED:
            return known[0]
        found = look_up()
        if found is not None:
            with self._lock:
                if len(self._found) >= _MOST:
                    self._found.clear()
                self._found[mark] = (found, now)
        return found

    def __contains__(self, text: str) -> bool:
        return _mark(text) in self._found

    def forget(self, text: str | None = None) -> None:
        """Look it up again, or everything."""
        with self._lock:
            if text is None:
                self._found.clear()
            else:
                self._found.pop(_mark(text), None)


def _mark(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
