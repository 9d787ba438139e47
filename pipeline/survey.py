"""A few pictures, spread over a film, that a detector looks at before the film's frames are known: what the film will
cost follows from its size, its length and the faces in it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import av
import av.container
import av.error

from pipeline import planes
from pipeline.detect import Detector
from pipeline.facts import VideoInfo
from pipeline.look import look, upright
from pipeline.picture import Picture
from pipeline.reading import decoded, open_input, video_stream

LOOKS = 8
_LONGER = 960  # px of the longer side of a look: what is too small to be seen there is covered, which costs little
_SURE = 0.4  # score from which on it is a face that will be followed
_MOST = 100  # faces of one picture that are noted, the best
_PATIENCE = 2.0  # seconds for all; of a film that is slow to decode fewer pictures are seen
_TIMED = 9  # frames at the beginning that tell the rate, where the container doesn't count its frames


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen."""

    frames: int  # of the film, about; 0 where its container doesn't tell how long it is
    looked: int  # pictures
    sides: tuple[int, ...]  # px, the longer side of each face on them


def survey(
    info: VideoInfo,
    detector: Detector,
    looks: int = LOOKS,
    threads: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> Survey:
    """Decode `looks` pictures, evenly spread, and find their faces; where time runs out, what comes until then. Raises
    InputError."""
    begun, looked, sides = clock(), 0, list[int]()
    with open_input(info.path) as container:
        film = _Film(container, info, threads)
        for k in range(looks if film.seconds else 1):
            ends = begun + _PATIENCE * (k + 1) / looks
            frame = film.near(film.seconds * Fraction(2 * k + 1, 2 * looks), lambda: clock() > ends)  # noqa: B023
            if frame is None:
                break
            parts = planes.of_frame(planes.in_layout(frame, info.layout))
            sides += _faces(Picture(0, 0, parts, info.layout), info, detector)
            looked += 1
            if clock() > begun + _PATIENCE:
                break
    return Survey(film.frames, looked, tuple(sides))


class _Film:
    """Goes forward through a film, by seeking or by decoding on, whichever is less work."""

    def __init__(self, container: av.container.InputContainer, info: VideoInfo, threads: int) -> None:
        self._container, self._threads = container, threads
        self._stream = video_stream(container, info.video_stream)
        self._base = info.time_base
        self._frames: Iterator[tuple[av.VideoFrame, int]] = decoded(container, self._stream, threads)
        self._last: av.VideoFrame | None = None
        times = self._first()
        self._begin = times[0] if times else 0
        self.seconds = self._length()  # 0 where the container doesn't say
        self.frames = self._stream.frames or round(self.seconds * (_rate(times, self._base) or info.average_rate or 0))

    def _first(self) -> list[int]:
        """When the first frames are shown."""
        times = []
        for frame, _ in islice(self._frames, _TIMED):
            self._last = frame
            times.append(frame.pts or 0)
        return times

    def _length(self) -> Fraction:
        if self._stream.duration:
            end = 0 if self._stream.start_time is not None else self._begin  # NUT says when it ends, and not how long
            return (self._stream.duration - end) * self._base
        return Fraction(self._container.duration or 0, av.time_base)

    def near(self, at: Fraction, late: Callable[[], bool]) -> av.VideoFrame | None:
        """The picture `at` so many seconds; one before it when it gets `late`. None where nothing can be decoded."""
        target = self._begin + int(at / self._base)
        try:
            if not self._ahead(target):
                self._container.seek(target, stream=self._stream)
                self._frames, self._last = decoded(self._container, self._stream, self._threads), None
            for frame, _ in self._frames:
                self._last = frame
                if (frame.pts or 0) >= target or late():
                    break
        except av.error.FFmpegError:
            return None
        return self._last

    def _ahead(self, target: int) -> bool:
        """Whether the way there leads over no keyframe to which one could seek."""
        if self._last is None or self._last.pts is None or self._last.pts > target:
            return False
        known = self._stream.index_entries
        place = known.search_timestamp(target)
        return place >= 0 and known[place].timestamp <= self._last.pts


def _rate(times: list[int], base: Fraction) -> Fraction | None:
    """Frames a second, by their times: what containers tell is often the rate of fields."""
    return (len(times) - 1) / ((times[-1] - times[0]) * base) if times and times[-1] > times[0] else None


def _faces(picture: Picture, info: VideoInfo, detector: Detector) -> Iterator[int]:
    """The longer side of each face, px of the film."""
    layout = info.layout
    scale = min(1.0, _LONGER / max(layout.width, layout.height))
    width, height = max(1, round(layout.width * scale)), max(1, round(layout.height * scale))
    image = upright(look(picture, (0, 0, layout.width, layout.height), width, height), layout.rotation // 90)
    found = detector.detect(image)
    boxes = found.boxes[found.scores >= _SURE][:_MOST]
    return (round(float(side) / scale) for side in (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0))
