"""One bucket of an S3 server through the MinIO SDK: what a store needs of it, by full names, in this package's errors.

Every request is tried again by `pool.py`; a transfer that breaks off in the middle is taken up here.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from io import BytesIO
from itertools import islice
from pathlib import Path

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from storage import files
from storage.objects import (
    Conflict,
    Interrupted,
    NoSuchBucket,
    NoSuchObject,
    NotPermitted,
    NotSupported,
    ObjectFacts,
    StoreError,
)
from storage.pool import RetryingPool
from storage.retry import Patience
from storage.s3errors import begins_beyond_end, failure, skew, translated
from storage.settings import S3Settings

_MIB = 1 << 20
_PART = 8 * _MIB  # bytes; three are sent at once, and up to seven are in memory
_PARTS = 9000  # S3 takes 10,000
_PIECE = _MIB  # bytes that are read at once
_VERSIONED = ("Enabled", "Suspended")


class Bucket:
    """A bucket, and the connections to its server. Safe to use from several threads."""

    def __init__(self, settings: S3Settings, name: str, patience: Patience) -> None:
        """Talks to nobody yet. Raises NoSuchBucket for what can't be a name, StoreError for what can't be a server."""
        self.settings, self.name, self.patience = settings, name, patience
        self.pool = RetryingPool(patience, settings.ca_bundle)
        try:
            self.client = Minio(
                settings.endpoint,
                access_key=settings.access_key,
                secret_key=settings.secret_key,
                session_token=settings.session_token,
                secure=settings.secure,
                region=settings.region,
                http_client=self.pool,
            )
        except ValueError as error:
            raise StoreError(f"{settings.endpoint}: {error}; check the endpoint and the region") from error
        if settings.path_style is not None:
            style = "disable" if settings.path_style else "enable"
            getattr(self.client, f"{style}_virtual_style_endpoint")()
        try:
            next(iter(self.client.remove_objects(name, ())), None)  # sends nothing, but looks at the name
        except ValueError as error:
            raise NoSuchBucket(f"{name!r} can't be the name of a bucket; look for a typing error") from error

    def where(self, name: str) -> str:
        """What an error calls this object."""
        return f"s3://{self.name}/{name}"

    def read(self, name: str, start: int = 0, length: int = 0, etag: str | None = None) -> tuple[bytes, str]:
        """The bytes and their version; all of them if `length` is 0, none beyond the end. See ObjectStore."""
        problem: HTTPError | None = None
        with translated(self.where(name)):
            for _ in self.patience.tries():
                try:
                    with self._opened(name, start, length, etag) as response:
                        try:
                            return response.read(), etag_of(response)
                        except HTTPError as error:  # the connection broke in the middle
                            problem = error
                except MinioException as error:
                    if not begins_beyond_end(error):
                        raise
                    return b"", ""
            raise problem or failure(Interrupted, self.where(name))

    def fetch(self, name: str, path: Path, etag: str | None) -> ObjectFacts:
        """See ObjectStore. A transfer that breaks off goes on where it was."""
        facts = self.stat(name)
        if etag is not None and facts.etag != etag:
            raise self._changed(name)
        with files.translated(path), files.filled(path) as file:
            tries = self.patience.tries()
            while (done := file.tell()) < facts.size:
                if next(tries, None) is None:
                    raise failure(Interrupted, self.where(name))
                with (
                    self._opened(name, done, facts.size - done, facts.etag) as response,
                    contextlib.suppress(HTTPError),
                ):
                    for piece in response.stream(_PIECE):
                        file.write(piece)
                        tries = self.patience.tries()  # it gets on: be patient anew
        return facts

    def stat(self, name: str) -> ObjectFacts:
        """See ObjectStore."""
        with translated(self.where(name)):
            try:
                found = self.client.stat_object(self.name, name)
            except MinioException:
                # Answers to HEAD have no body, which alone tells a missing bucket, wrong keys and a wrong clock.
                self.read(name, 0, 1)
                found = self.client.stat_object(self.name, name)
        modified = found.last_modified.timestamp() if found.last_modified else 0.0
        return ObjectFacts(found.size or 0, found.etag or "", modified)

    def put(self, name: str, data: bytes) -> str:
        """Store a record, whatever was there. Returns its etag."""
        with translated(self.where(name)):
            return self.client.put_object(self.name, name, BytesIO(data), len(data)).etag or ""

    def put_file(self, name: str, path: Path) -> ObjectFacts:
        """See ObjectStore. Holds a few parts in memory at once, however large the file."""
        with files.translated(path):
            size = path.stat().st_size
        for last in (False, True):
            # A server that finished an upload but whose answer got lost doesn't know it any more when asked again.
            with contextlib.nullcontext() if last else contextlib.suppress(NoSuchObject):
                self._upload(name, path, size)
                facts = self.stat(name)
                if facts.size == size:
                    return facts
        raise failure(Interrupted, self.where(name), "not as many bytes are there as were sent", "see who else writes")

    def listed(self, start: str, after: str | None = None, limit: int = 1000) -> tuple[str, ...]:
        """Names that begin with `start` and come after `after`, sorted, at most `limit`.

        Left out are folders' own marks, and what has a dot before a part of its name: locks and probes.
        """
        with translated(self.where(start)):
            found = self.client.list_objects(self.name, start, recursive=True, start_after=after)
            names = (str(each.object_name) for each in found)
            shown = (name for name in names if not name.endswith("/") and "/." not in f"/{name[len(start) :]}")
            return tuple(islice(shown, limit))

    def folders(self, start: str) -> tuple[str, ...]:
        """Names of the folders directly below `start`."""
        with translated(self.where(start)):
            found = self.client.list_objects(self.name, start, recursive=False)
            names = (str(each.object_name)[len(start) :].rstrip("/") for each in found if each.is_dir)
            return tuple(name for name in names if not name.startswith("."))

    def presigned(self, name: str, seconds: int) -> str:
        """See ObjectStore."""
        with translated(self.where(name)):
            return self.client.get_presigned_url("GET", self.name, name, expires=timedelta(seconds=seconds))

    def delete(self, name: str) -> None:
        """See ObjectStore."""
        with translated(self.where(name)):
            self.client.remove_object(self.name, name)

    def delete_all(self, start: str) -> int:
        """Delete what begins with `start`, with its former versions and unfinished uploads. Returns how many objects
        were there."""
        versions = self.keeps_versions()
        with translated(self.where(start)):
            found = list(self.client.list_objects(self.name, start, recursive=True, include_version=versions))
        self._delete([(str(each.object_name), each.version_id if versions else None) for each in found])
        self._abort_uploads(start)
        return len({each.object_name for each in found if not versions or _is_there(each)})

    def keeps_versions(self) -> bool:
        """Whether the bucket keeps former versions of what is deleted. False if the keys may not ask."""
        try:
            with translated(self.where("")):
                return self.client.get_bucket_versioning(self.name).status in _VERSIONED
        except (NotPermitted, NotSupported, NoSuchObject):
            return False

    def clock_ahead(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the server's, to a second; None if it doesn't tell."""
        with translated(self.settings.endpoint):
            scheme = "https" if self.settings.secure else "http"
            return skew(self.pool.urlopen("GET", f"{scheme}://{self.settings.endpoint}/").headers)

    def open_url(self, url: str, start: int, length: int) -> tuple[int, bytes]:
        """HTTP status and body of a range of what is at a URL, as a reader without keys gets it."""
        with translated(self.settings.endpoint):
            headers = {"Range": f"bytes={start}-{start + length - 1}"}
            response = self.pool.urlopen("GET", url, headers=headers)
            return response.status, response.data

    def _upload(self, name: str, path: Path, size: int) -> None:
        part = max(_PART, -(-size // _PARTS // _MIB) * _MIB)
        with translated(self.where(name)), files.translated(path), open(path, "rb") as file:
            self.client.put_object(self.name, name, file, size, part_size=part)

    @contextlib.contextmanager
    def _opened(self, name: str, start: int, length: int, etag: str | None) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer to a GET."""
        response = self.client.get_object(self.name, name, start, length)
        try:
            # By the answer, not by If-Match: servers differ in how they want that.
            if etag is not None and etag_of(response) not in (etag, ""):
                raise self._changed(name)
            if start and response.status == 200 and "Content-Range" not in response.headers:
                raise failure(NotSupported, self.where(name), "this server gives no range of an object")
            yield response
        finally:
            response.close()

    def _delete(self, names: Sequence[tuple[str, str | None]]) -> None:
        """Delete objects, or versions of them, a thousand at once. What is refused that way is deleted one by one:
        some servers have no such request, and Ceph's gateway 16.2 refuses it to users of a bucket's policy."""
        refused: Sequence[tuple[str, str | None]] = names
        with contextlib.suppress(NotPermitted, NotSupported), translated(self.where("")):
            doomed = [DeleteObject(name, version) for name, version in names]
            failed = {error.name for error in self.client.remove_objects(self.name, doomed)}
            refused = [each for each in names if each[0] in failed or None in failed]
        for name, version in refused:
            with translated(self.where(name)):
                self.client.remove_object(self.name, name, version)

    def _abort_uploads(self, start: str) -> None:
        """Drop the parts of unfinished uploads: they are in no listing, and show faces all the same.

        The SDK has no public way to do that. Servers without it, or keys that may not, leave it to the bucket's own
        rule for unfinished uploads.
        """
        with contextlib.suppress(NotSupported, NotPermitted, NoSuchObject), translated(self.where(start)):
            while uploads := self.client._list_multipart_uploads(self.name, prefix=start).uploads:
                for each in uploads:
                    self.client._abort_multipart_upload(self.name, each.object_name, str(each.upload_id))

    def _changed(self, name: str) -> StoreError:
        why, todo = "it was changed since it was looked at", "start again with what it is now"
        return failure(Conflict, self.where(name), why, todo)


def etag_of(response: urllib3.BaseHTTPResponse) -> str:
    """The version that an answer is about, without quotes; empty if it doesn't tell."""
    return response.headers.get("ETag", "").strip('"')


def _is_there(version: Object) -> bool:
    return not version.is_delete_marker and version.is_latest in (None, "true")
