"""/v1/jobs/…/film: the finished film, in whole or in ranges, or a URL for it."""

import mimetypes
import re
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from cluster.api.context import Context, Ctx, Viewer, seen
from cluster.api.jobs import JobId
from cluster.api.models import Link
from cluster.api.problems import Problem, responses
from cluster.jobindex import Row
from cluster.users import User
from storage.address import is_object, parse_object
from storage.objects import NoSuchObject, NotSupported, ObjectFacts, ObjectStore

router = APIRouter(prefix="/v1/jobs", tags=["outputs"], responses=responses(401, 403, 404, 409, 422, 429, 503))

_PIECE = 1 << 20  # bytes in memory at once
_MEDIA = {  # what Python, or the machine, may not know: browsers are told not to guess
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".apng": "image/apng",
    ".jfif": "image/jpeg",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_VIDEO: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": dict.fromkeys(("video/*", "image/*"), _BYTES)}
    for status, text in ((200, "The film."), (206, "The part that Range names."))
}
_VIDEO[307] = {"description": "Where to get it, with `redirect=true`."}
_VIDEO |= responses(416, 501)


def _film(ctx: Context, user: User, job: str) -> tuple[Row, ObjectStore, str]:
    """The store and key of a job's film. Raises Problem."""
    row = seen(ctx, user, job)
    result = ctx.book.result(job, row.control.round)
    if result is None or not result.film:
        raise Problem(409, f"the job is {row.control.state}; there is no film yet")
    if result.film.startswith("outputs/"):
        return row, ctx.book.store, result.film
    place = ctx.allowed.checked(result.film)
    if not is_object(place) and not Path(place).is_file():
        raise Problem(404, "the film isn't where it was put")
    return row, *parse_object(place)


@router.get("/{job}/film/link", response_model=Link, responses=responses(501))
def link(
    job: JobId,
    ctx: Ctx,
    user: Viewer,
    seconds: Annotated[int, Query(ge=1, le=604_800, description="For how long it shall work.")] = 3600,
) -> Link:
    """A URL by which anybody can get the film from the bucket for a while. Stores that are folders have none."""
    _, store, key = _film(ctx, user, job)
    try:
        return Link(url=store.presigned(key, seconds), expires=time.time() + seconds)
    except NotSupported as error:
        raise Problem(501, "this store gives no URLs; fetch the film from here") from error


@router.head("/{job}/film", responses=_VIDEO, include_in_schema=False)
@router.get("/{job}/film", response_class=Response, responses=_VIDEO)
def film(
    job: JobId,
    ctx: Ctx,
    user: Viewer,
    redirect: Annotated[bool, Query(description="Rather a redirect to the bucket, where it has URLs.")] = False,
    wanted: Annotated[str | None, Header(alias="Range", max_length=200)] = None,
    only_if: Annotated[str | None, Header(alias="If-Range", max_length=200)] = None,
    unless: Annotated[str | None, Header(alias="If-None-Match", max_length=1000)] = None,
) -> Response:
    """The finished film. `Range` with one range is honoured; of several, all of the film comes."""
    row, store, key = _film(ctx, user, job)
    if redirect:
        try:
            return RedirectResponse(store.presigned(key, 3600), 307)
        except NotSupported:
            pass  # from here, then
    name = str(PurePosixPath(row.card.name).with_suffix(PurePosixPath(key).suffix))
    return send(store, key, name, wanted, only_if, unless)


def send(
    store: ObjectStore, key: str, name: str, wanted: str | None, only_if: str | None, unless: str | None
) -> Response:
    """A film, or what the headers Range, If-Range and If-None-Match want of it. Raises Problem."""
    try:
        facts = store.stat(key)
    except NoSuchObject as error:
        raise Problem(404, "the film isn't where it was put") from error
    mark = f'"{facts.etag}"'
    headers = {"Accept-Ranges": "bytes", "ETag": mark, "Cache-Control": "private, no-cache"}
    if unless is not None and (unless.strip() == "*" or mark in unless):
        return Response(status_code=304, headers=headers)
    start, stop, status = 0, facts.size, 200
    if wanted is not None and only_if in (None, mark) and (found := _span(wanted, facts.size)):
        start, stop = found
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{facts.size}"
    headers["Content-Length"] = str(stop - start)
    headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    media = _MEDIA.get(PurePosixPath(key).suffix.lower()) or mimetypes.guess_type(key)[0] or "application/octet-stream"
    return StreamingResponse(_pieces(store, key, facts, start, stop), status, headers, media)


def _span(text: str, size: int) -> tuple[int, int] | None:
    """[start, stop) of a Range header; None for one that is to be ignored. Raises Problem 416."""
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or match.groups() == (None, None):
        return None
    first, last = match.groups()
    if first is None:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), size if last is None else min(size, int(last) + 1)
        if last is not None and int(last) < int(first):
            return None
    if start >= stop:
        raise Problem(416, f"the film has {size} bytes", {"Content-Range": f"bytes */{size}"})
    return start, stop


def _pieces(store: ObjectStore, key: str, facts: ObjectFacts, start: int, stop: int) -> Iterator[bytes]:
    """Of one version only: a film that is replaced meanwhile breaks the transfer rather than mixing two."""
    while start < stop:
        piece = store.read_range(key, start, min(_PIECE, stop - start), facts.etag)
        if not piece:
            return  # it became shorter; the client sees that bytes are missing
        yield piece
        start += len(piece)
