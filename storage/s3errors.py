"""The border: what the S3 client, its HTTP library and the server say becomes this package's own error.

Messages name the server's error code, never its text nor a URL: those may hold parts of a signature.
"""

import contextlib
import email.utils
import re
import time
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    SSLError,
    TimeoutError,
)

from storage.objects import (
    AlreadyThere,
    ClockSkew,
    Conflict,
    Interrupted,
    NoSuchBucket,
    NoSuchObject,
    NotPermitted,
    NotSupported,
    StoreError,
    StoreFull,
    Unreachable,
    WrongKeys,
)

_WRONG_KEYS = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_FULL = {"EntityTooLarge", "InsufficientStorage", "QuotaExceeded", "StorageFull", "XMinioStorageFull"}
_ELSEWHERE = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_CONFLICT = {"ConditionalRequestConflict", "PreconditionFailed"}
_KINDS: dict[type[StoreError], tuple[str, str]] = {
    NoSuchObject: ("nothing is stored there", "look for a typing error in its name"),
    NoSuchBucket: ("the server has no such bucket", "make it, or look for a typing error in its name"),
    WrongKeys: ("the server refuses the keys", "check VEILFARM_S3_ACCESS_KEY and VEILFARM_S3_SECRET_KEY"),
    ClockSkew: ("this machine's clock and the server's are too far apart", "set the clock, best by NTP"),
    NotPermitted: ("these keys may not do that", "change the policy of the bucket or of the user"),
    StoreFull: ("no room left, or a quota is used up", "free some space or raise the quota"),
    NotSupported: ("this server can't do that", "run veilfarm doctor to see what it can"),
    Conflict: ("it was changed by somebody else", "read it again"),
    AlreadyThere: ("it is there already", "use another name"),
    Interrupted: ("the server is overloaded or ill, or the connection broke", "try again later"),
    Unreachable: ("nobody answers", "check the address and the network"),
    StoreError: ("the server refuses", "look into the server's log"),
}


def failure(kind: type[StoreError], where: str, why: str = "", todo: str = "") -> StoreError:
    """The error with its one line: where, why, what to do."""
    usual_why, usual_todo = _KINDS[kind]
    return kind(f"{where}: {why or usual_why}; {todo or usual_todo}")


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """What goes wrong in this block is told as happening at `where`: a key, or the server's address."""
    try:
        yield
    except StoreError:
        raise
    except S3Error as error:
        raise of_code(where, error.code or "", error.response.status, error.response.headers) from error
    except ServerError as error:
        raise of_code(where, "", error.status_code, {}) from error
    except InvalidResponseError as error:
        raise of_code(where, code_in(str(error).encode()), _status(error), {}) from error
    except HTTPError as error:
        raise _of_http(where, error) from error
    except (MinioException, ElementTree.ParseError, UnicodeDecodeError) as error:
        raise failure(StoreError, where, "what answers there doesn't speak S3", "check the address") from error


def of_code(where: str, code: str, status: int, headers: Mapping[str, str]) -> StoreError:
    """The error for an S3 error code, or for an HTTP status where the answer had none."""
    kind = _kind(code, status)
    shown = f"{_KINDS[kind][0]} ({code or f'HTTP status {status}'})"
    if kind is ClockSkew and (seconds := skew(headers)) is not None:
        ahead = "ahead of" if seconds > 0 else "behind"
        return failure(kind, where, f"this machine's clock is {abs(seconds):.0f} s {ahead} the server's ({code})")
    if code in _ELSEWHERE or status in (301, 307):
        return failure(StoreError, where, f"the bucket is in another region ({code})", "set VEILFARM_S3_REGION")
    if kind is StoreError and status == 400:
        return failure(
            kind, where, f"the server doesn't understand the request ({code or status})", "check the address"
        )
    return failure(kind, where, shown)


def begins_beyond_end(error: MinioException) -> bool:
    """Whether the server says that there are no bytes where a range begins."""
    status = error.response.status if isinstance(error, S3Error) else _status(error)
    return status == 416


def _status(error: MinioException) -> int:
    """HTTP status of an answer in plain text, or in XML that calls itself otherwise. The client keeps it private."""
    found = re.search(r"Response code: (\d+)", str(error))
    return int(found[1]) if found else 0


def skew(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds by which this machine's clock is ahead of that of the server, by the date of an answer."""
    date = headers.get("Date")
    try:
        there = email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
    return None if there is None else (time.time() if now is None else now) - there


def code_in(body: bytes) -> str:
    """The error code in an S3 error document, or nothing."""
    found = re.search(rb"<Code>([A-Za-z0-9_.]+)</Code>", body)
    return found[1].decode() if found else ""


def _kind(code: str, status: int) -> type[StoreError]:
    if code == "NoSuchBucket":
        return NoSuchBucket
    if code in _WRONG_KEYS:
        return WrongKeys
    if code == "RequestTimeTooSkewed":
        return ClockSkew
    if code in _FULL or status == 507:
        return StoreFull
    if code in _CONFLICT or status == 412:
        return Conflict
    if code == "NoSuchKey" or status == 404:
        return NoSuchObject
    if code == "NotImplemented" or status in (405, 501):
        return NotSupported
    if code == "RequestTimeout" or status == 429 or status >= 500:
        return Interrupted
    return NotPermitted if status in (401, 403) or code == "AccessDenied" else StoreError


def _of_http(where: str, error: HTTPError) -> StoreError:
    if isinstance(error, SSLError):
        todo = "set VEILFARM_S3_CA_BUNDLE to the file of its authority, or use http:// if it has no TLS"
        return failure(Unreachable, where, "no secure connection: its certificate isn't trusted, or it has none", todo)
    if isinstance(error, NameResolutionError):
        return failure(Unreachable, where, "the server's name isn't known")
    if isinstance(error, ConnectTimeoutError):
        return failure(Unreachable, where)
    if isinstance(error, LocationValueError):
        return failure(StoreError, where, "that isn't the address of a server", "check VEILFARM_S3_ENDPOINT")
    if isinstance(error, TimeoutError):
        return failure(Interrupted, where, "the server took too long")
    return failure(Interrupted, where)
