"""How much a client may ask for, what every answer says to browsers, and a line of log per request."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.api.problems import Problem, answer

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the API."""

    body: int = 1 << 20  # bytes of a request, but for uploads
    upload: int = 1 << 40  # bytes of a film
    rate: float = 50.0  # requests per second and user, in the long run
    burst: int = 200  # requests at once
    bad_rate: float = 1 / 6  # wrong tokens per second and address, in the long run
    bad_burst: int = 20
    streams: int = 100  # of events, at once
    upload_days: float = 7.0  # that an upload may take, and then lie unused


class Buckets:
    """Token buckets by name; the least recently used go when there are too many."""

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic, most: int = 10_000
    ) -> None:
        self._rate, self._burst, self._clock, self._most = rate, burst, clock, most
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when it was so

    def _level(self, name: str, now: float) -> float:
        level, since = self._levels.get(name, (float(self._burst), now))
        return min(self._burst, level + (now - since) * self._rate)

    def empty(self, name: str) -> bool:
        """Whether there is nothing to take."""
        with self._lock:
            return self._level(name, self._clock()) < 1

    def take(self, name: str) -> None:
        """One request. Raises Problem 429."""
        now = self._clock()
        with self._lock:
            level = self._level(name, now)
            self._levels[name] = max(0.0, level - 1), now
            self._levels.move_to_end(name)
            if len(self._levels) > self._most:
                self._levels.popitem(last=False)
        if level < 1:
            wait = str(max(1, round((1 - level) / self._rate)))
            raise Problem(429, f"too many requests; wait {wait} s", {"Retry-After": wait})


SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware: bodies have a bound, answers have the headers above, and each request is logged: who asked is
    added by the authentication; tokens and query strings never are."""

    def __init__(self, app: ASGIApp, limit: int, unlimited: str) -> None:
        """`limit`: bytes; `unlimited`: how paths begin whose PATCH has a bound of its own."""
        self._app, self._limit, self._unlimited = app, limit, unlimited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add(message, SECURITY)
            await send(message)

        try:
            free = scope["method"] == "PATCH" and scope["path"].startswith(self._unlimited)
            if free:
                await self._app(scope, receive, sent)
            elif _length(scope) > self._limit:
                await answer(413, f"a request has at most {self._limit} bytes")(scope, receive, sent)
            else:
                await self._app(scope, _bounded(receive, self._limit), sent)
        finally:
            facts = {"method": scope["method"], "path": scope["path"], "status": status}
            user = scope.get("state", {}).get("user", "")
            ms = round((time.monotonic() - began) * 1000, 1)
            text = "%(method)s %(path)s %(status)d"
            _LOG.info(text % facts, extra={**facts, "user": user, "ms": ms})


def _add(message: MutableMapping[str, Any], headers: dict[str, str]) -> None:
    there = {name.lower() for name, _ in message["headers"]}
    new = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    message["headers"] = [*message["headers"], *(each for each in new if each[0] not in there)]


def _length(scope: Scope) -> int:
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(text) if text.isdigit() else 0


def _bounded(receive: Receive, limit: int) -> Receive:
    """For bodies that don't say how long they are."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, f"a request has at most {limit} bytes")
        return message

    return bounded
