"""Look at a film's streams and its first frame, and refuse what can't be done."""

import dataclasses
import struct
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.container
import av.stream
from av.sidedata.sidedata import SideDataContainer, Type

from pipeline import dynamic, planes
from pipeline.errors import NotAVideo, Truncated, Unsupported
from pipeline.facts import Hdr, StreamFacts, VideoInfo
from pipeline.reading import decoded, open_input
from pipeline.reading import video_stream as stream_number

MAX_SIDE = 8192  # pixels: 8K

STILL = int(
    av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails | av.stream.Disposition.still_image
)
_IMAGES = ("image2", "gif", "apng", "tty", "ico")
_NO_CLOCK = ("h264", "hevc", "m4v", "mpegvideo", "obu", "vc1", "dirac", "rawvideo", "vvc", "evc", "mjpeg")
_FIELDS = {2: "tff", 4: "tff", 3: "bff", 5: "bff"}  # AVFieldOrder


def choose(container: av.container.InputContainer, source: Path) -> av.VideoStream:
    """The video that a player would show. Raises NotAVideo or Unsupported."""
    kind = container.format.name
    films = [s for s in container.streams.video if not int(s.disposition) & STILL]
    if not films or kind.startswith(_IMAGES) or kind.endswith("_pipe"):
        raise NotAVideo(f"{source} has no video", "it holds no moving picture", "name a video file")
    best = container.streams.best("video")
    stream = next((s for s in films if best is not None and s.index == best.index), films[0])
    if "enc_key_id" in stream.metadata:
        raise Unsupported(f"{source} is encrypted (DRM)", "its video track needs a key", "decrypt it first")
    if stream.codec_context is None:
        raise Unsupported(f"{source} can't be decoded", "its video codec isn't known", "convert it first")
    if kind in _NO_CLOCK:
        raise Unsupported(f"{source} has no time stamps", "it is a bare stream", "put it into a container first")
    _check_size(source, stream.codec_context.width, stream.codec_context.height)
    return stream


def look(source: Path, number: int, path: Path, moved: int = 0) -> VideoInfo:
    """The facts of stream `number` of `source`, whose frames are read from `path`: the source, or a file that holds
    this stream alone, with its times moved by so many seconds."""
    with open_input(source) as container:
        kind = container.format.name
        # Exact, unlike the container's own, which is in microseconds.
        starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
        start = min(starts, default=Fraction(0))
        streams = tuple(_facts(s, len(container.chapters())) for s in container.streams)
        metadata = tuple(container.metadata.items())
        aspect = stream_number(container, number).sample_aspect_ratio
        fields = field_order(stream_number(container, number))
    with open_input(path) as container:
        changing = dynamic.found(container, stream_number(container, number if path == source else 0), source)
    with open_input(path) as container:
        stream = stream_number(container, number if path == source else 0)
        frame = _first_frame(container, stream, source)
        layout = planes.layout_of_frame(frame)
        quarter = (-frame.rotation + 45) // 90 % 4 * 90
        return VideoInfo(
            source=source,
            path=path,
            format=kind,
            video_stream=stream.index,
            source_stream=number,
            codec=stream.codec_context.codec.canonical_name,
            layout=dataclasses.replace(layout, rotation=quarter),
            source_pix_fmt=frame.format.name,
            time_base=stream.time_base or Fraction(0),
            average_rate=stream.average_rate or stream.guessed_rate or None,
            color_primaries=int(frame.color_primaries),
            color_trc=int(frame.color_trc),
            colorspace=int(frame.colorspace),
            color_range=int(frame.color_range),
            sample_aspect_ratio=aspect or stream.sample_aspect_ratio or None,
            field_order=fields,
            display_matrix=_display_matrix(frame),
            hdr=_hdr(frame),
            start=start,
            moved=Fraction(moved),
            streams=streams,
            metadata=metadata,
            dynamic_hdr=changing,
        )


def _facts(stream: av.stream.Stream, chapters: int) -> StreamFacts:
    context, tags = stream.codec_context, stream.metadata
    data = stream.type == "data"
    return StreamFacts(
        index=stream.index,
        kind=stream.type,
        codec=context.codec.canonical_name if context is not None else (getattr(stream, "name", None) or ""),
        language=tags.get("language", ""),
        title=tags.get("title", tags.get("filename", "")),
        time_base=stream.time_base or Fraction(0),
        disposition=int(stream.disposition),
        metadata=tuple(tags.items()),
        picture=(stream.type == "video" and bool(int(stream.disposition) & STILL))
        or (stream.type == "attachment" and tags.get("mimetype", "").lower().startswith("image/")),
        timecode=data and "timecode" in tags,
        # Telemetry, such as GoPro's, has that name too, and more samples than there are chapters.
        chapters=data and 0 < chapters == stream.frames and getattr(stream, "name", None) == "bin_data",
    )


def field_order(stream: av.VideoStream) -> str:
    """As container or codec say it ("progressive", "tff", "bff"): a remux may not, and DV has one order only."""
    if stream.codec_context.codec.canonical_name == "dvvideo" and stream.codec_context.height in (480, 576):
        return "bff"
    return _FIELDS.get(int(stream.codec_context.field_order), "progressive")


def _check_size(source: Path, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise Unsupported(f"{source} has a picture of {width}x{height}", "nothing can be seen in it", "check the file")
    if max(width, height) > MAX_SIDE:
        why = f"more than {MAX_SIDE} pixels on a side are not done"
        raise Unsupported(f"{source} is {width}x{height}", why, "scale it down first")


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream, source: Path) -> av.VideoFrame:
    frame = next((frame for frame, _ in decoded(container, stream, 1)), None)
    if frame is None:
        raise Truncated(f"{source} has no picture", "not one frame of its video can be decoded", "check the file")
    _check_size(source, frame.width, frame.height)
    return frame


def _side_data(frame: av.VideoFrame, kind: Type) -> bytes:
    found = cast(SideDataContainer, frame.side_data).get(kind)
    return b"" if found is None else bytes(found)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    data = _side_data(frame, Type.DISPLAYMATRIX)
    return struct.unpack("=9i", data[:36]) if len(data) >= 36 else None


def _hdr(frame: av.VideoFrame) -> Hdr:
    """AVMasteringDisplayMetadata is ten rationals (red, green, blue, white point; luminance least, most) and two
    flags."""
    data = _side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    light = _side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    display = ""
    if len(data) >= 88 and struct.unpack("=2i", data[80:88]) == (1, 1):
        numbers = struct.unpack("=20i", data[:80])
        values = [Fraction(n, d or 1) for n, d in zip(numbers[::2], numbers[1::2], strict=True)]
        red, green, blue, white = ([round(x * 50_000) for x in values[i : i + 2]] for i in (0, 2, 4, 6))
        least, most = (round(x * 10_000) for x in values[8:10])
        display = "".join(f"{n}({x},{y})" for n, (x, y) in zip("GBR", (green, blue, red), strict=True))
        display += f"WP({white[0]},{white[1]})L({most},{least})"
    return Hdr(display, struct.unpack("=2I", light[:8]) if len(light) >= 8 else None)
