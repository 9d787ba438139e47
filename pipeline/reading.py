"""The border to libav on the reading side: containers, frames, and errors in this project's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
import av.container
import av.error
from av.sidedata.sidedata import SideDataContainer, Type

from pipeline.errors import InputError, NotAVideo, PipelineError, Unsupported


@contextmanager
def open_input(path: Path) -> Iterator[av.container.InputContainer]:
    """A container for reading. Errors of libav, here and in what is done with the container, become InputErrors."""
    try:
        with av.open(path, "r", metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as error:
        raise translated(error, path) from error


def translated(error: av.error.FFmpegError, path: Path) -> PipelineError:
    """What libav said about reading `path`."""
    if isinstance(error, av.error.FileNotFoundError):
        return NotAVideo(f"{path} does not exist", "no such file", "check the path")
    if isinstance(error, av.error.PermissionError):
        return InputError(f"{path} can't be read", "no permission", "change its permissions")
    if isinstance(error, av.error.DecoderNotFoundError):
        return Unsupported(f"{path} can't be decoded", "its codec isn't known", "convert it first")
    if isinstance(error, av.error.InvalidDataError | av.error.EOFError):
        return NotAVideo(f"{path} is not a video", "its contents are of no kind that is known", "name a video file")
    return InputError(f"{path} can't be read", error.strerror or str(error), "check the file and the disk")


def video_stream(container: av.container.InputContainer, number: int) -> av.VideoStream:
    """The stream of that number, which has to be a video."""
    stream = container.streams[number]
    if not isinstance(stream, av.VideoStream):
        raise InputError(f"{container.name} has changed", f"its stream {number} is no video any more", "start again")
    return stream


def has_captions(frame: av.VideoFrame) -> bool:
    """Whether captions lie in the picture (CEA-608, CEA-708)."""
    return cast(SideDataContainer, frame.side_data).get(Type.A53_CC) is not None


def decoded(
    container: av.container.InputContainer, stream: av.VideoStream, threads: int
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Frames from where the container stands, as a player gets them, each with the number of packets before it that
    could not be decoded. `threads` as in libavcodec; 0 takes as many as there are processors."""
    context, lost = stream.codec_context, 0
    if not context.is_open:
        context.thread_count = threads
        context.thread_type = av.codec.context.ThreadType.AUTO
    for packet in container.demux(stream):
        end = packet.size == 0
        if end and packet.dts is not None:
            continue  # an empty packet in the middle (AVI): the picture before is shown for longer
        try:
            frames = context.decode(None if end else packet)
        except (av.error.InvalidDataError, av.error.PatchWelcomeError, av.error.UnknownError):
            lost += 1
            continue
        except av.error.EOFError:
            return
        for frame in frames:
            yield frame, lost
            lost = 0
