"""A contact sheet: frames of a film above the same frames of another, for people to look at."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
from PIL import Image, ImageDraw, ImageFont

from pipeline.errors import NotAVideo, OutputError

_GAP, _LABEL = 6, 18  # pixels between cells, and of the line of text above a pair
_INK, _PAPER = (30, 30, 30), (245, 245, 245)


@dataclass(frozen=True, slots=True)
class _Shot:
    seconds: Fraction  # since the film's first frame
    image: Image.Image


def contact_sheet(
    before: Path, after: Path, target: Path, *, columns: int = 4, rows: int = 2, width: int = 320
) -> None:
    """Write a PNG of `columns` x `rows` pairs, `before` above `after`, at evenly spaced times of `after`.

    `width` is that of one picture, in pixels. Reads only around those times. Raises NotAVideo, OutputError.
    """
    length = _length(after)
    count = columns * rows
    times = [length * (2 * i + 1) / (2 * count) for i in range(count)]
    pairs = list(zip(_shots(before, times, width), _shots(after, times, width), strict=True))
    height = max(shot.image.height for pair in pairs for shot in pair)
    step_x, step_y = width + _GAP, _LABEL + 2 * height + 2 * _GAP
    sheet = Image.new("RGB", (_GAP + columns * step_x, _GAP + rows * step_y), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, pair in enumerate(pairs):
        x, y = _GAP + number % columns * step_x, _GAP + number // columns * step_y
        draw.text((x, y), f"{float(pair[1].seconds):.2f} s: before, after", _INK, font)
        for place, shot in enumerate(pair):
            sheet.paste(shot.image, (x, y + _LABEL + place * (height + _GAP // 2)))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(target, "PNG")
    except OSError as error:
        raise OutputError(f"can't write {target}", error.strerror or str(error), "choose another place") from error


def _open(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(path)
    except (av.error.FFmpegError, OSError) as error:
        raise NotAVideo(f"{path} can't be read as a video", str(error), "check the path") from error
    if not container.streams.video:
        container.close()
        raise NotAVideo(f"{path} has no video stream", "", "choose another file")
    return container


def _length(path: Path) -> Fraction:
    """Seconds, as the file says."""
    with _open(path) as container:
        stream = container.streams.video[0]
        if stream.duration and stream.time_base:
            return stream.duration * stream.time_base
        return Fraction(container.duration or 0, av.time_base)


def _shots(path: Path, times: list[Fraction], width: int) -> Iterator[_Shot]:
    """For each time since the first frame, the frame that is shown then."""
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base = stream.time_base or Fraction(1)
        begin = _first(container, stream)
        for time in times:
            # One second early: where B-frames are, a seek may land behind the time that was asked for.
            container.seek(max(int((time - 1) / base) + begin, begin), stream=stream)
            yield _at(container, stream, time, begin, width, path)


def _first(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    frame = next(container.decode(stream), None)
    return frame.pts if frame is not None and frame.pts is not None else 0


def _at(
    container: av.container.InputContainer, stream: av.VideoStream, time: Fraction, begin: int, width: int, path: Path
) -> _Shot:
    base = stream.time_base or Fraction(1)
    shown = None
    for frame in container.decode(stream):
        if frame.pts is None or (shown is not None and (frame.pts - begin) * base > time):
            break
        shown = frame
    if shown is None or shown.pts is None:
        raise NotAVideo(f"{path} has no picture at {float(time):.2f} s", "", "check the file")
    image: Image.Image = shown.to_image()  # type: ignore[no-untyped-call]
    if shown.rotation:
        image = image.rotate(shown.rotation, expand=True)
    image = image.resize((width, max(1, image.height * width // image.width)), Image.Resampling.LANCZOS)
    return _Shot((shown.pts - begin) * base, image)
