"""/v1/uploads: films in pieces, by tus 1.0 (https://tus.io/protocols/resumable-upload), core, creation, termination and
expiration. An upload that is complete becomes a job by POST /v1/jobs."""

import base64
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from cluster.api import incoming
from cluster.api.context import Context, Ctx, Submitter
from cluster.api.incoming import Upload
from cluster.api.models import JOB, UploadOut
from cluster.api.problems import Problem, responses
from cluster.users import User

VERSION = "1.0.0"
_MEDIA = "application/offset+octet-stream"
_TUS = {"Tus-Resumable": VERSION}


def _spoken(tus: Annotated[str | None, Header(alias="Tus-Resumable", description=f"`{VERSION}`")] = None) -> None:
    if tus != VERSION:
        raise Problem(412, f"speak tus {VERSION}: Tus-Resumable", {"Tus-Version": VERSION, **_TUS})


router = APIRouter(prefix="/v1/uploads", tags=["uploads"], responses=responses(401, 403, 404, 422, 429, 503))
Spoken = Annotated[None, Depends(_spoken)]
UploadId = Annotated[str, InPath(pattern=JOB, description="Id of an upload.")]
Whole = Annotated[int, Header(alias="Upload-Length", ge=0, le=1 << 50, description="Bytes of the film.")]
_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {_MEDIA: {"schema": {"type": "string", "format": "binary"}}}}
}


def _mine(ctx: Context, user: User, upload_id: str) -> Upload:
    """Raises NoSuchUpload, and Problem 404 for somebody else's."""
    upload = ctx.incoming.find(upload_id)
    if upload.owner != user.name:
        raise Problem(404, f"there is no upload {upload_id}")
    return upload


def _expires(ctx: Context, upload: Upload) -> dict[str, str]:
    moment = datetime.fromtimestamp(ctx.incoming.expires(upload), UTC)
    return {**_TUS, "Upload-Expires": format_datetime(moment, usegmt=True)}


@router.options("", status_code=204, responses={204: {"description": "What this server can."}})
def able(ctx: Ctx) -> Response:
    """What this server can of tus. Asks for no token."""
    extensions = "creation,termination,expiration"
    facts = {"Tus-Version": VERSION, "Tus-Extension": extensions, "Tus-Max-Size": str(ctx.limits.upload)}
    return Response(status_code=204, headers={**_TUS, **facts})


@router.post("", status_code=201, response_class=Response, responses=responses(412, 413, 507))
def begin(
    ctx: Ctx,
    user: Submitter,
    spoken: Spoken,
    length: Whole,
    metadata: Annotated[
        str, Header(alias="Upload-Metadata", max_length=4000, description="`filename BASE64`, as tus has it.")
    ] = "",
) -> Response:
    """Announce a film; `Location` says where its bytes go."""
    if length > ctx.limits.upload:
        raise Problem(413, f"a film has at most {ctx.limits.upload} bytes", _TUS)
    upload = ctx.incoming.begin(user.name, _name(metadata), length)
    if not length:
        ctx.incoming.finish(upload)
    headers = {**_expires(ctx, upload), "Location": f"/v1/uploads/{upload.id}", "Upload-Offset": "0"}
    return Response(status_code=201, headers=headers)


def _name(metadata: str) -> str:
    """The file's name, as the client has it; "film" if it gives none. Raises Problem 422."""
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename":
            try:
                name = base64.b64decode(value.strip(), validate=True).decode()
            except ValueError as error:
                raise Problem(422, "Upload-Metadata: filename isn't UTF-8 in Base64", _TUS) from error
            return "".join(letter for letter in name if letter.isprintable()).replace("\\", "/")
    return "film"


@router.head("/{upload_id}", response_class=Response, responses=responses(412))
def offset(upload_id: UploadId, ctx: Ctx, user: Submitter, spoken: Spoken) -> Response:
    """How many bytes have come."""
    upload = _mine(ctx, user, upload_id)
    facts = {"Upload-Offset": str(ctx.incoming.offset(upload)), "Upload-Length": str(upload.length)}
    return Response(headers={**_expires(ctx, upload), **facts, "Cache-Control": "no-store"})


@router.get("/{upload_id}", response_model=UploadOut)
def show(upload_id: UploadId, ctx: Ctx, user: Submitter) -> UploadOut:
    """An upload, for those who don't speak tus."""
    upload = _mine(ctx, user, upload_id)
    come = ctx.incoming.offset(upload)
    return UploadOut(
        id=upload.id,
        name=upload.name,
        length=upload.length,
        offset=come,
        complete=come == upload.length,
        expires=ctx.incoming.expires(upload),
        job=ctx.incoming.taken(upload.id) or None,
    )


@router.patch(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    responses=responses(400, 409, 412, 413, 415, 423, 507),
    openapi_extra=_BODY,
)
async def add(
    upload_id: UploadId,
    request: Request,
    ctx: Ctx,
    user: Submitter,
    spoken: Spoken,
    start: Annotated[int, Header(alias="Upload-Offset", ge=0, le=1 << 50)],
    media: Annotated[str, Header(alias="Content-Type")] = "",
) -> Response:
    """Bytes from an offset on. What came before a connection broke is kept."""
    if media.partition(";")[0].strip().lower() != _MEDIA:
        raise Problem(415, f"send {_MEDIA}", _TUS)
    upload = await run_in_threadpool(_mine, ctx, user, upload_id)
    with ctx.incoming.writing(upload) as free:
        if not free:
            raise Problem(423, "another request is writing to this upload", _TUS)
        come = await run_in_threadpool(ctx.incoming.offset, upload)
        if start != come:
            raise Problem(409, f"Upload-Offset is {come}", {**_TUS, "Upload-Offset": str(come)})
        come = await _take(ctx, upload, come, request)
        if come == upload.length:
            await run_in_threadpool(ctx.incoming.finish, upload)
    return Response(status_code=204, headers={**_expires(ctx, upload), "Upload-Offset": str(come)})


async def _take(ctx: Context, upload: Upload, come: int, request: Request) -> int:
    """Store the request's body part by part; the new offset. Raises Problem 413 for more than was announced."""
    with tempfile.TemporaryDirectory(prefix="veil-upload-") as folder:
        path, body = Path(folder) / "part", _Body(request)
        while not body.ended:
            with open(path, "wb") as file:
                async for piece in body.pieces(incoming.PART):
                    if come + file.tell() + len(piece) > upload.length:
                        raise Problem(413, f"the film was to have {upload.length} bytes", _TUS)
                    file.write(piece)
            come = await run_in_threadpool(ctx.incoming.add, upload, come, path)
        if body.broken:
            raise Problem(400, "the connection broke off; go on from what HEAD says", _TUS)
    return come


class _Body:
    """A request's body, in parts."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        self.ended = self.broken = False

    async def pieces(self, most: int) -> AsyncIterator[bytes]:
        """Until there are `most` bytes, or a bit more."""
        count = 0
        while count < most and not self.ended:
            try:
                piece = await anext(self._stream, None)
            except ClientDisconnect:
                self.broken, piece = True, None
            if piece is None:
                self.ended = True
                return
            count += len(piece)
            yield piece


@router.delete("/{upload_id}", status_code=204, responses=responses(412, 423))
def end(upload_id: UploadId, ctx: Ctx, user: Submitter, spoken: Spoken) -> Response:
    """Delete it. A job that works on the film keeps it."""
    upload = _mine(ctx, user, upload_id)
    with ctx.incoming.writing(upload) as free:
        if not free:
            raise Problem(423, "another request is writing to this upload", _TUS)
        ctx.incoming.drop(upload)
    return Response(status_code=204, headers=_TUS)
