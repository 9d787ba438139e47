"""Read exactly these frames, wherever in the film they lie."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch

from pipeline import planes
from pipeline.errors import VerifyError
from pipeline.facts import NO_PTS, FrameIndex, Int64, VideoInfo
from pipeline.picture import Picture
from pipeline.reading import decoded, open_input, video_stream

_CPU = torch.device("cpu")


def read(
    info: VideoInfo,
    index: FrameIndex,
    start: int,
    stop: int,
    *,
    lead: int = 0,
    threads: int = 1,
    device: torch.device = _CPU,
) -> Iterator[Picture]:
    """The frames [start, stop), each checked against the index, and up to `lead` frames before them: these are mostly
    decoded anyway, where asking for an earlier start would decode from a keyframe further back. Planes are writable and
    belong to the caller.

    Decoding begins one keyframe before the one that would do, since seeking goes by decoding time; where that doesn't
    lead to the very frames of the index, it begins at the start of the film. Raises VerifyError when even so a frame is
    missing or has another time, ValueError for a range outside the film.
    """
    if not 0 <= start <= stop <= len(index):
        raise ValueError(f"frames [{start}, {stop}) are not in a film of {len(index)} frames")
    number = first = max(0, start - lead)
    for key in _begin(index, start, first) if stop > start else ():
        for decoded_frame, corrupt in _frames(info, index, key, first, threads):
            _check(decoded_frame, index, number, info.path)
            frame = planes.writable(decoded_frame, info.layout)
            parts = planes.of_frame(frame)
            if device.type != "cpu":
                parts = (parts[0].to(device), parts[1].to(device), parts[2].to(device))
            damaged = corrupt or bool(index.corrupt[number])
            yield Picture(number, int(index.pts[number]), parts, info.layout, damaged, frame)
            number += 1
            if number == stop:
                return
        if number > first:
            break
    if number < stop and stop > start:
        what = f"{info.path} ends too early"
        raise VerifyError(
            what, f"frame {number} of {stop} is missing", "has the file changed? run the index step again"
        )


def _begin(index: FrameIndex, start: int, first: int) -> Iterator[int]:
    """Keyframes at or before `first` from which to try, the likeliest first; 0 is the start of the film."""
    keys = np.flatnonzero(index.keys[: start + 1])[:-1]
    yield from (int(key) for key in keys[keys <= first][:-3:-1] if key > 0)
    yield 0


def _frames(
    info: VideoInfo, index: FrameIndex, key: int, start: int, threads: int
) -> Iterator[tuple[av.VideoFrame, bool]]:
    """Frames from `start` on, and whether the decoder had to conceal something; none when `key` doesn't lead there."""
    with open_input(info.path) as container:
        stream = video_stream(container, info.video_stream)
        times = index.pts if index.stored is None else index.stored
        number = None if key else 0
        if key:
            container.seek(int(times[key]), stream=stream)
        for frame, _ in decoded(container, stream, threads):
            if number is None:
                number = _number(frame, index, times, start)
                if number is not None and (number > start or (number == start and frame.is_corrupt)):
                    return
            if number is not None:
                if number >= start:
                    yield frame, frame.is_corrupt or bool(index.corrupt[number])
                number += 1


def _number(frame: av.VideoFrame, index: FrameIndex, times: Int64, start: int) -> int | None:
    """Which frame of the film it is, told by its time; None while that can't be said. Where the film's own times had to
    be repaired they don't rise, and only a keyframe with a time that no other has is sure."""
    time = _time(frame)
    if time is None:
        return None
    if index.stored is None:
        number = int(np.searchsorted(times, time))
        return number if number < len(times) and times[number] == time else None
    found = np.flatnonzero(times == time)
    return int(found[0]) if frame.key_frame and len(found) == 1 else None


def _check(frame: av.VideoFrame, index: FrameIndex, number: int, path: Path) -> None:
    stored = int((index.pts if index.stored is None else index.stored)[number])
    seen = _time(frame)
    if (NO_PTS if seen is None else seen) != stored:
        raise VerifyError(
            f"frame {number} of {path} is not the one of the index",
            f"its time is {seen}, the index says {stored}",
            "has the file changed? run the index step again",
        )


def _time(frame: av.VideoFrame) -> int | None:
    return frame.pts if frame.pts is not None else frame.dts
