"""Run an ffmpeg process to its end, and leave nothing of it behind."""

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg

from pipeline.errors import OutputError, PipelineError

_TAIL = 2000  # bytes of ffmpeg's own words that are kept


def timeout_for(path: Path) -> int:
    """Seconds to copy the packets of a file: a generous floor, and 2 MB/s, slower than any disk that works."""
    return 120 + path.stat().st_size // 2_000_000


def run_ffmpeg(graph: Any, timeout: int, options: tuple[str, ...] = ()) -> str:
    """Run what ffmpeg-python describes; returns the end of what it said.

    Raises OutputError when the disk is full, PipelineError for any other failure or when `timeout` seconds are over.
    """
    command = ffmpeg.compile(graph, cmd=imageio_ffmpeg.get_ffmpeg_exe())
    command[1:1] = ["-nostdin", "-hide_banner", "-loglevel", "error", "-y", *options]
    # stderr goes to a file: a damaged film can bring megabytes of complaints, and an unread pipe would stop ffmpeg.
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words, start_new_session=True
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise PipelineError("ffmpeg did not end", f"it ran longer than {timeout} s", "try again") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        words.seek(max(0, words.seek(0, os.SEEK_END) - _TAIL))
        said = words.read().decode(errors="replace").strip()
    if code:
        if "No space left on device" in said:
            raise OutputError("the disk is full", said.splitlines()[-1], "free some space and try again")
        raise PipelineError("ffmpeg failed", said.splitlines()[-1] if said else f"exit code {code}")
    return said
