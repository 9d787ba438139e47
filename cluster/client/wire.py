"""Requests to a farm's server: the token, tries, and problems as errors. Nothing here knows what is asked for."""

import contextlib
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3.response import BaseHTTPResponse

from cluster.client.errors import Answered, BadAnswer, Clash, NoSuchThing, Unreachable, Unusable, of_problem

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_TOKEN = re.compile(r"[\x21-\x7e]{1,500}")
_LONGEST_WAIT = 60.0  # seconds that a server may ask a client to wait
_LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often something is tried that may be tried again, and the pauses: `first` seconds, doubled up to `most`."""

    tries: int = 5
    first: float = 0.5
    most: float = 8.0

    def pause(self, failed: int) -> float:
        """Seconds after so many failures. Drawn, so that many clients don't come back in the same moment."""
        return min(self.most, self.first * 2.0 ** min(failed - 1, 20)) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no problem."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    def json(self) -> Any:
        """Raises BadAnswer."""
        try:
            return json.loads(self.data)
        except ValueError as error:
            raise BadAnswer("the server's answer is no JSON", "", "check the address") from error


class _Cut(Unreachable):
    """The connection broke. `sent`: the server may have seen the request."""

    def __init__(self, what: str, why: str, sent: bool, lasting: bool = False) -> None:
        super().__init__(what, why, "check the address, and whether the farm runs")
        self.sent, self.lasting = sent, lasting


class Wire:
    """One server, one token. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        token: str,
        patience: Patience | None = None,
        timeout: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`timeout`: seconds without a byte after which a connection is given up. Raises Unusable."""
        self.patience, self.sleep = patience or Patience(), sleep
        self.url, self._prefix, self.bare = _address(url)
        token = token.strip()
        if token and not _TOKEN.fullmatch(token):
            raise Unusable("the token has spaces or letters that no token has", "", "check where it comes from")
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = urllib3.Timeout(connect=min(timeout, 10.0), read=timeout)
        # No proxy of the environment and no redirect is followed: either would be told the token.
        self._http = urllib3.PoolManager(num_pools=1, maxsize=8, retries=False, timeout=self._timeout)

    def __repr__(self) -> str:
        return f"Wire({self.url})"

    def close(self) -> None:
        """Let go of its connections."""
        self._http.clear()

    def ask(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, object]] = (),
        body: object = None,
        headers: Mapping[str, str] | None = None,
        again: bool | None = None,
    ) -> Answer:
        """An answer. `body`: sent as JSON. `again`: whether it may be sent twice; None: as HTTP says of the method.
        Raises ClientError."""
        again = method in _IDEMPOTENT if again is None else again
        data = None if body is None else json.dumps(body).encode()
        more = {**(headers or {}), **({"Content-Type": "application/json"} if body is not None else {})}
        failed = 0
        while True:
            try:
                with self.open(method, path, query, data, more) as response:
                    return Answer(response.status, response.headers, _read(response))
            except (_Cut, Answered) as error:
                if isinstance(error, NoSuchThing) and method == "DELETE" and failed:
                    return Answer(204, {}, b"")  # the try before has done it
                failed += 1
                if failed >= self.patience.tries or not _passing(error, again):
                    raise
                self.sleep(_pause(error, self.patience.pause(failed)))

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, object]] = (),
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[BaseHTTPResponse]:
        """An answer whose body is still to be read; one try. Raises ClientError, within the block too."""
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        wait = self._timeout if timeout is None else urllib3.Timeout(connect=10.0, read=timeout)
        sent = {"Accept": "application/json", "User-Agent": "veilfarm-client", **self._authorization, **(headers or {})}
        try:
            response = self._http.request(
                method, url, body=body, headers=sent, timeout=wait, redirect=False, preload_content=False
            )
            try:
                if not 200 <= response.status < 300:
                    raise _problem(response)
                yield response
            finally:
                response.close()  # a connection whose answer was read to its end has been let go before
        except urllib3.exceptions.HTTPError as error:
            raise self._cut(error) from None  # its text may hold the URL, with its query
        except (ConnectionError, TimeoutError) as error:
            raise _Cut(f"the connection to {self.url} broke", error.strerror or "", True) from error

    def _cut(self, error: urllib3.exceptions.HTTPError) -> _Cut:
        reason = getattr(error, "reason", error)
        if isinstance(error, urllib3.exceptions.SSLError):
            return _Cut(f"{self.url} has no certificate that counts here", _why(reason), False, lasting=True)
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            return _Cut(f"{self.url} can't be reached", "nobody knows this name", False)
        if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
            return _Cut(f"{self.url} can't be reached", "nobody listens there", False)
        if isinstance(error, urllib3.exceptions.LocationValueError):
            return _Cut(f"{self.url} can't be reached", "it is no address", False, lasting=True)
        if isinstance(error, urllib3.exceptions.TimeoutError):
            return _Cut(f"{self.url} doesn't answer", "", True)
        return _Cut(f"the connection to {self.url} broke", "", True)

    def place(self, location: str) -> str:
        """The path that a Location header names; only on this server. Raises BadAnswer."""
        path = location.removeprefix(self.url)
        if self._prefix and path.startswith(self._prefix + "/"):
            path = path.removeprefix(self._prefix)
        if not path.startswith("/v1/"):
            raise BadAnswer("the server names a place that isn't its own", "", "check the address")
        return path


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def is_local(url: str) -> bool:
    """Whether nobody else can listen to what is sent there."""
    parts = urllib3.util.parse_url(url)
    return parts.scheme == "https" or (parts.host or "") in _LOCAL


def _address(url: str) -> tuple[str, str, str]:
    """(URL without a slash at its end, its path, host). Raises Unusable."""
    shown = url if "@" not in url else "the server's address"
    todo = "it is as in http://127.0.0.1:8470 or https://farm.example"
    try:
        parts = urllib3.util.parse_url(url.strip())
    except urllib3.exceptions.LocationParseError as error:
        raise Unusable(f"{shown} is no address of a server", "", todo) from error
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise Unusable(f"{shown} is no address of a server", "", todo)
    if parts.auth:
        raise Unusable("the server's address holds a password", "addresses get into logs", "use VEILFARM_TOKEN")
    prefix = (parts.path or "").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{prefix}", prefix, parts.host


def _read(response: BaseHTTPResponse) -> bytes:
    data = response.read()
    assert isinstance(data, bytes)
    return data


def _problem(response: BaseHTTPResponse) -> Answered:
    try:
        problem = json.loads(response.read(1 << 20) or b"null")
    except ValueError:
        problem = None
    if response.status == 500 and not isinstance(problem, dict):
        # Not the API's own word: its web server was ended in the middle of the request.
        return of_problem(503, {"detail": "the server broke the request off"})
    wait = response.headers.get("Retry-After", "")
    return of_problem(response.status, problem, float(wait) if wait.isascii() and wait.isdigit() else None)


def _passing(error: _Cut | Answered, again: bool) -> bool:
    """Whether another try may help, and can do no harm."""
    if isinstance(error, _Cut):
        return not error.lasting and (again or not error.sent)
    busy = isinstance(error, Clash) and error.wait is not None
    return again and (error.status in (429, 502, 503, 504) or busy)


def _pause(error: _Cut | Answered, otherwise: float) -> float:
    wait = getattr(error, "wait", None)
    return otherwise if wait is None else min(_LONGEST_WAIT, max(wait, otherwise))


def _why(reason: object) -> str:
    return str(reason).replace("\n", " ")[:200]
