"""Films to a server, by tus: in pieces, from a file that is never in memory, and on from where a cut left it."""

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from cluster.client.errors import Answered, BadAnswer, Clash, ClientError, NoSuchThing, Unreachable, Unusable
from cluster.client.wire import Wire, part

_TUS = {"Tus-Resumable": "1.0.0"}
_OCTETS = {**_TUS, "Content-Type": "application/offset+octet-stream"}
PIECE = 256 << 20  # bytes of one request: what one has lost at most, if the server keeps nothing of it
_BLOCK = 1 << 18  # bytes in memory at once
_ANSWER = 1800.0  # seconds: with the last piece the server makes one file of all of them
Told = Callable[[int, int], None]


class Sender:
    """One film on its way to a server."""

    def __init__(self, wire: Wire, path: Path, told: Told | None = None, patience: float = 600.0) -> None:
        """`told`: how many bytes of how many are there; `patience`: seconds without a step forward after which it is
        given up. Raises Unusable."""
        self._wire, self._path, self._patience = wire, path, patience
        self._told: Told = told or (lambda done, total: None)
        self._facts = self._look()
        self.length = self._facts[0]

    def _look(self) -> tuple[int, int]:
        try:
            facts = os.stat(self._path)
        except OSError as error:
            raise Unusable(f"{self._path} can't be read", error.strerror or "", "check the path") from error
        return facts.st_size, facts.st_mtime_ns

    def begin(self, name: str) -> str:
        """Announce it; the upload's id. Raises ClientError."""
        shown = base64.b64encode(name.encode()).decode()
        headers = {**_TUS, "Upload-Length": str(self.length), "Upload-Metadata": f"filename {shown}"}
        # An upload that was announced twice costs nothing: the first one ends by itself.
        answer = self._wire.ask("POST", "/v1/uploads", headers=headers, again=True)
        return self._wire.place(answer.headers.get("Location", "")).rpartition("/")[2]

    def offset(self, upload: str) -> int:
        """How many bytes are there. Raises ClientError."""
        answer = self._wire.ask("HEAD", f"/v1/uploads/{part(upload)}", headers=_TUS)
        found, length = answer.headers.get("Upload-Offset", ""), answer.headers.get("Upload-Length", "")
        if not found.isdigit():
            raise BadAnswer("the server doesn't say how much has come", "", "check the address")
        if length != str(self.length):
            raise Unusable(f"{self._path} isn't the film of this upload", f"that has {length} bytes", "send it anew")
        return int(found)

    def send(self, upload: str) -> None:
        """All that isn't there yet. Raises ClientError."""
        at, moved, failed = self.offset(upload), time.monotonic(), 0
        with self._opened() as file:
            while True:
                self._told(at, self.length)
                if at >= self.length:
                    break
                try:
                    self._piece(upload, file, at)
                except (Unreachable, Answered) as error:
                    if not _passing(error):
                        raise
                    failed += 1
                    if time.monotonic() - moved > self._patience:
                        raise
                    self._wire.sleep(self._wire.patience.pause(failed))
                before, at = at, self._known(upload, at)
                if at > before:
                    moved, failed = time.monotonic(), 0
        if self._look() != self._facts:
            raise Unusable(f"{self._path} changed while it was sent", "", "send it again")

    def _opened(self) -> IO[bytes]:
        try:
            return open(self._path, "rb")
        except OSError as error:
            raise Unusable(f"{self._path} can't be read", error.strerror or "", "check the path") from error

    def _known(self, upload: str, at: int) -> int:
        """How far it is; as before while the server is away."""
        try:
            return self.offset(upload)
        except (Unreachable, Answered) as error:
            if not _passing(error):
                raise
            return at

    def _piece(self, upload: str, file: IO[bytes], at: int) -> None:
        size = min(PIECE, self.length - at)
        file.seek(at)
        body = _Slice(file, size, lambda done: self._told(at + done, self.length))
        headers = {**_OCTETS, "Upload-Offset": str(at), "Content-Length": str(size)}
        place = f"/v1/uploads/{part(upload)}"
        with self._wire.open("PATCH", place, (), cast(IO[bytes], body), headers, _ANSWER) as answer:
            answer.read()


class _Slice:
    """A part of a file, as a body."""

    def __init__(self, file: IO[bytes], size: int, told: Callable[[int], None]) -> None:
        self._file, self._left, self._size, self._told = file, size, size, told

    def read(self, size: int = -1) -> bytes:
        wanted = min(self._left, _BLOCK if size < 0 else max(size, 1))
        data = self._file.read(wanted) if wanted else b""
        if wanted and not data:
            raise Unusable("the film became shorter while it was sent", "", "send it again")
        self._left -= len(data)
        self._told(self._size - self._left)
        return data


def _passing(error: ClientError) -> bool:
    """Whether it may be otherwise in a moment. 409: the offset is another one, 423: the server still writes what came
    before the cut, 400: it saw the cut first."""
    if isinstance(error, NoSuchThing):
        return False
    if isinstance(error, Answered):
        return isinstance(error, Clash) or error.status in (400, 429, 502, 503, 504)
    return isinstance(error, Unreachable)


def send(wire: Wire, path: Path, name: str, upload: str | None, told: Told | None, **options: Any) -> str:
    """Bring a film, or go on with one of which a part is there; the upload's id. Raises ClientError."""
    sender = Sender(wire, path, told, **options)
    found = sender.begin(name) if upload is None else upload
    sender.send(found)
    return found
