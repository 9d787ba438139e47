"""An S3 server that ignores conditions: `rclone serve s3` before a folder. It is among what the tests need."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from servers import free_port, listens, process, wait_for

from storage.settings import S3Settings

ACCESS, SECRET = "rckey", "rc-Secret-123"
RCLONE = str(Path(sys.executable).with_name("rclone"))


@contextlib.contextmanager
def rclone(folder: Path) -> Iterator[S3Settings]:
    """How to reach a fresh one that has a bucket `films`."""
    (folder / "data" / "films").mkdir(parents=True)
    port = free_port()
    command = [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS},{SECRET}"]
    with process([*command, str(folder / "data")], folder / "log", {"RCLONE_CONFIG": str(folder / "conf")}) as server:
        wait_for(lambda: listens(port), server, folder / "log")
        yield S3Settings(f"127.0.0.1:{port}", ACCESS, SECRET, secure=False)
