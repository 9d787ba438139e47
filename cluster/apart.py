"""Pictures out of films, decoded in a process of its own: a broken film may crash a decoder, or keep it for ever, and
the server that was asked goes on.

The process gets one question at a time, as a line of JSON, and answers with a line of JSON and a JPEG's bytes. It may
write no file, has little of the server's environment, and is ended after a while in which nobody asks.
"""

import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from pipeline.errors import InputError, PipelineError

SECONDS = 20.0  # for one picture
_START = 90.0  # seconds for the process to be up, on a machine under load
_WAIT = 20.0  # seconds for which a picture waits for others
_IDLE = 60.0  # seconds without a question, after which the process is ended
_BYTES = 3 << 30  # of memory: several of the largest pictures
_MOST = 16 << 20  # bytes of an answer
_THREADS = 2
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "GLIBC_TUNABLES")
_COMMAND = (sys.executable, "-m", "cluster.apart")


class Busy(Exception):
    """Others have asked, too, and it takes too long; or the process can't be started."""


class Apart:
    """The process. Safe to use from several threads; they wait for each other."""

    def __init__(
        self, seconds: float = SECONDS, wait: float = _WAIT, idle: float = _IDLE, command: Sequence[str] = _COMMAND
    ) -> None:
        self._seconds, self._wait, self._idle, self._command = seconds, wait, idle, command
        self._one = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._rest: threading.Timer | None = None

    def ask(self, **question: Any) -> bytes:
        """The picture. Raises Busy, PipelineError: what the decoder said, or that it crashed or took too long."""
        if not self._one.acquire(timeout=self._wait):
            raise Busy("others are being shown pictures just now")
        try:
            if self._rest is not None:
                self._rest.cancel()
            return self._ask(question)
        finally:
            self._rest = threading.Timer(self._idle, self.close)
            self._rest.daemon = True
            self._rest.start()
            self._one.release()

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._one:
            self._end()

    def _ask(self, question: dict[str, Any]) -> bytes:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        ends = time.monotonic() + self._seconds
        try:
            process.stdin.write(json.dumps({**question, "seconds": self._seconds}).encode() + b"\n")
            process.stdin.flush()
            head = json.loads(_line(process.stdout, ends))
            size = int(head["bytes"]) if "what" not in head else 0
            if not 0 <= size <= _MOST:
                raise ValueError(size)
            picture = _exactly(process.stdout, size, ends)
        except TimeoutError as error:
            self._end()
            why = f"its decoder took more than {self._seconds:g} s"
            raise InputError("no picture of this film can be shown", why, "check the film") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            self._end()
            raise InputError("no picture of this film can be shown", "its decoder crashed", "check the film") from error
        if "what" in head:
            raise PipelineError(*(str(head[name]) for name in ("what", "why", "todo")))
        return picture

    def _running(self) -> subprocess.Popen[bytes]:
        """The process, up. Raises Busy."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
        threads = {name: str(_THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | threads,
            start_new_session=True,
            bufsize=0,
        )
        self._process = process
        assert process.stdout is not None
        try:
            if _line(process.stdout, time.monotonic() + _START) == b"up":
                return process
        except (OSError, TimeoutError, EOFError):
            pass
        self._end()
        raise Busy("the process that decodes pictures doesn't start")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _exactly(pipe: IO[bytes], size: int, ends: float) -> bytes:
    """So many bytes. Raises TimeoutError, EOFError."""
    found = b""
    while len(found) < size:
        if not select.select([pipe], [], [], max(0.0, ends - time.monotonic()))[0]:
            raise TimeoutError
        part = os.read(pipe.fileno(), size - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def _line(pipe: IO[bytes], ends: float) -> bytes:
    """Up to a line's end, which isn't part of it."""
    found = b""
    while not found.endswith(b"\n"):
        found += _exactly(pipe, 1, ends)
        if len(found) > 1 << 16:
            raise EOFError
    return found[:-1]


def _limit(kind: int, most: int) -> None:
    """Lower a limit of this process, which may have a lower one already."""
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, hard))


def _picture(question: dict[str, Any]) -> bytes:
    from cluster.steps import film_info, frame_index
    from pipeline import snapshot

    box = tuple(question["box"])
    if "segment" in question:
        path, number, rotation = Path(question["segment"]), question["number"], question["rotation"]
        return snapshot.from_segment(path, number, box, rotation, _THREADS)
    info = film_info(Path(question["film"]), Path(question["source"]))
    return snapshot.from_film(info, frame_index(Path(question["index"])), question["number"], box, _THREADS)


def _answer(question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Whoever asks ends this process in time, unless they were ended themselves.
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + _THREADS * question["seconds"]) + 5)
    try:
        picture = _picture(question)
    except PipelineError as error:
        return {"what": error.what, "why": error.why, "todo": error.todo}, b""
    except MemoryError:
        what = "no picture of this film can be shown"
        return {"what": what, "why": "its decoder wants more memory than it may have", "todo": "check the film"}, b""
    return {"bytes": len(picture)}, picture


def main() -> None:
    """Until nobody can ask any more."""
    import pipeline.snapshot  # noqa: F401  what takes long is done before the first question
    from cluster import steps  # noqa: F401

    for kind, most in ((resource.RLIMIT_DATA, _BYTES), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _limit(kind, most)
    with contextlib.suppress(OSError):
        os.nice(5)  # films that are being worked on go first
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may say what they like
    out.write(b"up\n")
    out.flush()
    for line in sys.stdin.buffer:
        head, picture = _answer(json.loads(line))
        out.write(json.dumps(head).encode() + b"\n" + picture)
        out.flush()


if __name__ == "__main__":
    main()
