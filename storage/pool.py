"""HTTP connections that try again. Every request of the S3 client goes through here, parts of a big file one by one."""

from typing import Any

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, ProtocolError, SSLError

from storage.retry import Patience

_TRY_AGAIN = {429, 500, 502, 503, 504}  # HTTP status; SlowDown comes as 503
_CONNECT, _READ = 5.0, 60.0  # seconds
_CONNECTIONS = 16  # kept open for the threads of one process


class RetryingPool(urllib3.PoolManager):
    """A PoolManager that sends a request again after a lost connection, a time-out or an answer that says so.

    Bodies must be bytes. A signature is good for 15 minutes, so that the same request can be sent again.
    """

    def __init__(self, patience: Patience, ca_bundle: str | None = None) -> None:
        self.patience = patience
        super().__init__(
            maxsize=_CONNECTIONS,
            timeout=urllib3.Timeout(connect=min(_CONNECT, patience.total), read=_READ),
            ca_certs=ca_bundle,  # None: what this machine trusts
        )

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> urllib3.BaseHTTPResponse:
        """The answer to the request, whatever its status; or the error of the last try."""
        return self.attempt(method, url, **kw)[0]

    def attempt(self, method: str, url: str, **kw: Any) -> tuple[urllib3.BaseHTTPResponse, int]:
        """The same, and how many tries may have reached the server: with more than one, an earlier may have worked."""
        reached = 0
        problem: HTTPError | None = None
        response: urllib3.BaseHTTPResponse | None = None
        kw |= {"retries": False, "redirect": False}
        for _ in self.patience.tries():
            if response is not None:
                response.drain_conn()
                response = None
            try:
                response = super().urlopen(method, url, **kw)
            except HTTPError as error:
                if _is_final(error):
                    raise
                reached += not isinstance(error, ConnectTimeoutError)  # a refused connection is one of these, too
                problem = error
                continue
            reached += 1
            if response.status not in _TRY_AGAIN:
                return response, reached
        if response is not None:
            return response, reached
        raise problem or ProtocolError("no try was allowed")


def _is_final(error: HTTPError) -> bool:
    if isinstance(error, SSLError):  # others may come of a server that is being stopped
        return any(word in str(error) for word in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"))
    return isinstance(error, LocationParseError)
