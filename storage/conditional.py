"""Writes that happen only if nobody else was there first. The one place that asks an S3 server for that.

The MinIO SDK has no conditions: put_object makes metadata of an `If-None-Match` and overwrites. What works through its
public parts is an HTTP PUT to a presigned URL, with the header beside the signature.
"""

import contextlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from storage.bucket import Bucket, etag_of
from storage.objects import Interrupted, NoSuchObject, NotSupported
from storage.s3errors import code_in, failure, of_code, translated

_VALID = timedelta(minutes=15)
_DONE = (200, 201, 204)
_FAILED = 412  # HTTP status: the condition didn't hold
_BUSY = 409  # AWS: another conditional write of this key goes on; ask again


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a conditional PUT."""

    etag: str | None  # of the new version; None when the condition didn't hold
    unsure: bool  # it was sent more than once: an earlier one may have been carried out


@dataclass(frozen=True, slots=True)
class Honoured:
    """Which conditions a server keeps."""

    create: bool
    replace: bool


def put_if(bucket: Bucket, name: str, data: bytes, condition: dict[str, str]) -> Written:
    """PUT with a header If-None-Match or If-Match. Raises NotSupported where the server says that it knows no such."""
    where, sent = bucket.where(name), 0
    with translated(where):
        for _ in bucket.patience.tries():
            url = bucket.client.get_presigned_url("PUT", bucket.name, name, expires=_VALID)
            response, times = bucket.pool.attempt("PUT", url, body=data, headers=condition)
            sent += times
            if response.status != _BUSY:
                break
    code = code_in(response.data)
    if response.status in _DONE:
        return Written(etag_of(response), sent > 1)
    if response.status == _FAILED or (response.status == 404 and "If-Match" in condition and code != "NoSuchBucket"):
        return Written(None, sent > 1)
    if response.status == _BUSY:
        raise failure(Interrupted, where, f"others write it all the time ({code})")
    if response.status == 403 and code in ("", "AccessDenied"):
        # A presigned request that comes at the wrong time is just refused; a signed one is told that a clock is wrong.
        with contextlib.suppress(NoSuchObject):
            bucket.read(name, 0, 1)
    raise of_code(where, code, response.status, response.headers)


def create(bucket: Bucket, name: str, data: bytes) -> bool:
    """Store it if there is nothing yet. Returns whether this call did, be it by a request that seemed to be lost."""
    written = put_if(bucket, name, data, {"If-None-Match": "*"})
    return written.etag is not None or (written.unsure and bucket.read(name)[0] == data)


def replace(bucket: Bucket, name: str, data: bytes, etag: str) -> str | None:
    """Store it if the object still is the version `etag`. Returns the new version's, or None for another one.

    HTTP wants the etag in quotes; Ceph's gateway compares what it gets, quotes and all. An etag in the wrong form never
    matches, so that the other form is tried while the object still is that version. Raises NoSuchObject.
    """
    for match in (f'"{etag}"', etag):
        written = put_if(bucket, name, data, {"If-Match": match})
        now, version = bucket.read(name)
        if written.etag is not None:
            return written.etag or version
        if version != etag:
            return version if written.unsure and now == data else None
    return None


def honoured(bucket: Bucket, start: str) -> Honoured:
    """Ask the server, by writes that it must refuse, under a name of their own that begins with `start`. Nothing is
    left."""
    name = f"{start}.probe-{secrets.token_hex(8)}"
    try:
        first = put_if(bucket, name, b"first", {"If-None-Match": "*"})
        again = put_if(bucket, name, b"second", {"If-None-Match": "*"})
        once = first.etag is not None and again.etag is None
        _, etag = bucket.read(name)
        newer = replace(bucket, name, b"third", etag)
        return Honoured(once, newer is not None and replace(bucket, name, b"fourth", etag) is None)
    except NotSupported:
        return Honoured(False, False)
    finally:
        bucket.delete(name)
