"""Pictures in, one segment out: a NUT file with every frame at its own time, that can be joined to others."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias, cast

import av
import av.container
import av.error
import numpy as np

from pipeline import planes
from pipeline.chunk import Chunk
from pipeline.errors import InputError, OutputError, PipelineError, Unsupported, VerifyError
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.picture import Picture, PixelLayout
from pipeline.reading import decoded, open_input, video_stream

Packet: TypeAlias = "av.Packet[av.VideoStream]"
Codec = Literal["h264", "hevc", "av1"]
CODECS: tuple[Codec, ...] = ("h264", "hevc", "av1")
_ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
_CRF = {"h264": 18, "hevc": 20, "av1": 28}  # about the same look
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_SVT_PRESETS = (10, 10, 9, 8, 7, 6, 4, 3, 2)  # of SVT-AV1 for the same names; above 10 it shows artifacts
_LEAST = {"h264": 1, "hevc": 16, "av1": 4}  # pixels on a side, with one more where colours are halved and it is odd
_DEPTHS = {"h264": (8, 10), "hevc": (8, 10, 12), "av1": (8, 10)}
_KEYFRAMES = Fraction(5)  # seconds between keyframes at most: what players seek by


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """One for a whole job: segments can be joined because all come from the same encoder with the same parameters."""

    codec: Codec
    crf: int
    preset: str  # x264's names, for all three encoders
    pix_fmt: str  # FFmpeg's name of what is encoded
    gop: int  # frames between keyframes at most
    sets: int = 0  # number of its parameter sets: another than the source's where packets of that are copied

    @staticmethod
    def for_source(
        info: VideoInfo, codec: Codec | None = None, crf: int | None = None, preset: str | None = None
    ) -> "EncoderSettings":
        """H.264 unless the source needs more: HEVC for HDR and for 12 bits. Depth and chroma stay as they are where the
        encoder can hold them. Raises Unsupported for a picture that is too small for the codec, ValueError for a codec
        or preset that isn't known."""
        layout = info.layout
        codec = codec or ("hevc" if info.is_hdr or layout.depth > 10 else "h264")
        preset = preset or ("superfast" if codec == "h264" else "veryfast")
        if codec not in CODECS or preset not in _PRESETS:
            raise ValueError(f"no encoder {codec} with the preset {preset}")
        least, (width, height) = _LEAST[codec], _size(layout)
        if min(width, height) < least:
            why = f"{codec} has no pictures below {least}x{least}"
            raise Unsupported(
                f"{info.source} is {layout.width}x{layout.height}", why, "use --codec h264, or enlarge it"
            )
        depth = max(d for d in _DEPTHS[codec] if d <= layout.depth)
        chroma = "420" if codec == "av1" else {(1, 1): "420", (1, 0): "422", (0, 0): "444"}[layout.sub_x, layout.sub_y]
        pix_fmt = f"yuv{chroma}p" + ("" if depth == 8 else f"{depth}le")
        gop = max(1, round(_KEYFRAMES * (info.average_rate or 25)))
        return EncoderSettings(codec, _CRF[codec] if crf is None else crf, preset, pix_fmt, min(gop, 600))


@dataclass(frozen=True, slots=True)
class Segment:
    """A chunk's frames, encoded."""

    path: Path
    chunk: int
    frames: int
    first_pts: int
    last_pts: int
    sha256: str
    bytes: int
    delay: int = 0  # frames by which decoding has to run ahead of showing, because of B-frames


class SegmentWriter:
    """Write the pictures of one chunk, in order of presentation, and `close` to get the segment.

    As a context manager it removes the file when it is left by an error or without `close`. Raises OutputError when the
    disk is full or the place can't be written, ValueError for a picture out of order.
    """

    def __init__(
        self, path: Path, info: VideoInfo, settings: EncoderSettings, threads: int = 1, chunk: int = 0
    ) -> None:
        self._path, self._info, self._settings, self._chunk = path, info, settings, chunk
        self._times: list[int] = []
        self._order: list[int] = []  # the same times as the packets came, in order of decoding
        self._origin = 0
        self._done = False
        try:
            self._container = av.open(path, "w", format="nut", container_options={"avoid_negative_ts": "disabled"})
            self._stream = self._add_stream(threads)
        except av.error.FFmpegError as error:
            raise output_error(error, path) from error

    def _add_stream(self, threads: int) -> av.VideoStream:
        rate, options = _rate(self._info), _options(self._info, self._settings, threads)
        stream = self._container.add_stream(_ENCODERS[self._settings.codec], rate=rate, options=options)
        stream = cast(av.VideoStream, stream)
        _configure(stream.codec_context, self._info, self._settings, threads)
        stream.time_base = self._info.time_base
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._done = True
            with contextlib.suppress(av.error.FFmpegError):
                self._container.close()
            self._path.unlink(missing_ok=True)

    def write(self, picture: Picture) -> None:
        """Encode one picture. Its planes may be changed again afterwards."""
        self._next(picture)
        frame = planes.to_frame(picture.planes, picture.layout, picture.frame)
        frame.pts, frame.time_base = picture.pts - self._origin, self._info.time_base
        frame.colorspace, frame.color_range = _colorspace(self._info), 2 if picture.layout.full_range else 1
        self._mux(frame)

    def _next(self, picture: Picture) -> None:
        if self._times and picture.pts <= self._times[-1]:
            raise ValueError(f"picture at {picture.pts} after the one at {self._times[-1]}")
        if not self._times:
            self._origin = origin(picture.pts)
        self._times.append(picture.pts)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._packets(frame):
                self._put(packet)
        except av.error.FFmpegError as error:
            raise output_error(error, self._path) from error

    def _packets(self, frame: av.VideoFrame | None) -> Iterable[Packet]:
        return cast(Iterable[Packet], self._stream.encode(frame))

    def _put(self, packet: Packet) -> None:
        assert packet.pts is not None
        self._order.append(packet.pts + self._origin)
        self._container.mux(packet)

    def close(self) -> Segment:
        """Write what the encoder still holds. Raises VerifyError when it lost or moved a picture."""
        self._mux(None)
        try:
            self._container.close()
        except av.error.FFmpegError as error:
            raise output_error(error, self._path) from error
        if sorted(self._order) != self._times or not self._times:
            what = f"the encoder made {len(self._order)} packets of {len(self._times)} pictures"
            raise VerifyError(what, f"segment {self._path}", "try again")
        self._done = True
        rank = {time: place for place, time in enumerate(self._times)}
        delay = max(place - rank[time] for place, time in enumerate(self._order))
        return Segment(
            self._path,
            self._chunk,
            len(self._times),
            self._times[0],
            self._times[-1],
            file_sha256(self._path),
            self._path.stat().st_size,
            delay,
        )


def encoder(info: VideoInfo, settings: EncoderSettings, threads: int = 1) -> av.VideoCodecContext:
    """One that belongs to no file, open: what it makes of pictures that begin anew, it begins anew. Its `extradata` are
    its parameter sets, with start codes. Raises FFmpegError."""
    context = cast(av.VideoCodecContext, av.CodecContext.create(_ENCODERS[settings.codec], "w"))
    context.framerate, context.options = _rate(info), _options(info, settings, threads)
    _configure(context, info, settings, threads)
    context.flags |= int(av.codec.context.Flags.global_header)
    context.open()
    return context


def _rate(info: VideoInfo) -> Fraction:
    rate = info.average_rate or Fraction(25)
    # x265 and SVT-AV1 refuse odd and very high rates; they need one only to plan their bits.
    return rate.limit_denominator(1001) if 1 <= rate <= 240 else Fraction(30)


def _configure(context: av.VideoCodecContext, info: VideoInfo, settings: EncoderSettings, threads: int) -> None:
    context.width, context.height = _size(info.layout)
    context.pix_fmt = settings.pix_fmt
    context.time_base = info.time_base
    context.gop_size = settings.gop
    context.thread_count = threads
    if info.sample_aspect_ratio:
        context.sample_aspect_ratio = info.sample_aspect_ratio
    context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
    context.colorspace = _colorspace(info)
    context.color_range = 2 if info.layout.full_range else 1
    context.flags |= int(av.codec.context.Flags.closed_gop)


def _size(layout: PixelLayout) -> tuple[int, int]:
    """Width and height of what is encoded: even where colours are halved."""
    return layout.width + (layout.width & layout.sub_x), layout.height + (layout.height & layout.sub_y)


def _colorspace(info: VideoInfo) -> int:
    """The matrix as the source says it; RGB (0) isn't RGB any more."""
    return 1 if info.colorspace == 0 else info.colorspace


def _options(info: VideoInfo, settings: EncoderSettings, threads: int) -> dict[str, str]:
    """Every segment starts with an IDR frame, has closed GOPs, and carries its parameter sets with each keyframe."""
    options = {"crf": str(settings.crf)}
    hdr = info.hdr
    light = "" if hdr.light is None else f"{hdr.light[0]},{hdr.light[1]}"
    if settings.codec == "av1":
        os.environ.setdefault("SVT_LOG", "1")  # the library writes to stderr by itself; 1 leaves errors
        options["preset"] = str(_SVT_PRESETS[_PRESETS.index(settings.preset)])
        parts = [f"lp={threads or 0}"]
        parts += [f"mastering-display={_as_decimals(hdr.display)}"] * bool(hdr.display)
        parts += [f"content-light={light}"] * bool(light)
        options["svtav1-params"] = ":".join(parts)
        return options
    options["preset"] = settings.preset
    options["forced-idr"] = "1"
    if settings.codec == "h264":
        parts = ["repeat-headers=1", "open-gop=0"]
        # At this preset x264 plans no bits ahead. Told to, it makes films half as large at the same CRF, as small as
        # with veryfast, and takes half of veryfast's time (`docs/benchmarks.md`).
        parts += ["mbtree=1", "rc-lookahead=10"] * (settings.preset == "superfast")
        parts += [f"sps-id={settings.sets}"] * bool(settings.sets)
        parts += [f"{info.field_order}=1"] * (info.field_order != "progressive")
        parts += [f"mastering-display={hdr.display}"] * bool(hdr.display)
        parts += [f"cll={light}"] * bool(light)
        options["x264-params"] = ":".join(parts)
        return options
    parts = ["repeat-headers=1", "open-gop=0", "log-level=error", "info=0", f"pools={threads or '*'}"]
    parts += [f"master-display={hdr.display}"] * bool(hdr.display)
    parts += [f"max-cll={light}"] * bool(light)
    parts += ["hdr10=1"] * bool(hdr.display or light)
    options["x265-params"] = ":".join(parts)
    options["a53cc"] = "1"  # captions in the pictures stay; the others do it unasked, or cannot
    return options


def _as_decimals(display: str) -> str:
    """SVT-AV1 wants the same numbers in units of 1 and cd/m2, with decimals."""

    def scaled(match: re.Match[str]) -> str:
        unit = 10_000 if match[1] == "L" else 50_000
        numbers = (f"{int(number) * (100_000 // unit):06d}" for number in match[2].split(","))
        return f"{match[1]}(" + ",".join(f"{n[:-5]}.{n[-5:]}" for n in numbers) + ")"

    return re.sub(r"([A-Z]+)\(([\d,]+)\)", scaled, display)


def output_error(error: av.error.FFmpegError, path: Path) -> PipelineError:
    """What libav said about writing `path`, in this project's words."""
    if error.errno == 28:
        return OutputError(f"{path} can't be written", "the disk is full", "free some space and try again")
    if isinstance(error, av.error.PermissionError):
        return OutputError(f"{path} can't be written", "no permission", "choose another place")
    if isinstance(error, av.error.FileNotFoundError):
        return OutputError(f"{path} can't be written", "its folder does not exist", "make the folder first")
    return OutputError(f"{path} can't be written", error.strerror or str(error), "check the place and the disk")


def file_sha256(path: Path) -> str:
    """Of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def origin(first_pts: int) -> int:
    """The time that a segment's file counts from: NUT has none below 0."""
    return min(0, first_pts)


def ticks_per_tick(coarse: Fraction, fine: Fraction | None) -> int:
    """How many ticks of a segment's clock one of the film's makes. NUT takes a finer clock where it finds the given one
    coarse; always by a whole number. Raises VerifyError for any other clock."""
    ratio = coarse / fine if fine else Fraction(0)
    if ratio.denominator != 1 or ratio < 1:
        raise VerifyError("a segment is wrong", f"its time base is {fine}, the film's {coarse}", "render it again")
    return ratio.numerator


def verify_segment(segment: Segment, index: FrameIndex, chunk: Chunk, threads: int = 1) -> None:
    """Decode the segment again. Raises VerifyError unless it holds exactly the chunk's frames, whole and in time."""
    if index.pts_sha256(chunk.start, chunk.stop) != chunk.pts_sha256:
        raise VerifyError(f"chunk {chunk.index} is not of this film", "its time stamps are others", "plan again")
    wanted = index.pts[chunk.start : chunk.stop] - origin(chunk.first_pts)
    seen: list[int] = []
    broken = 0
    try:
        with open_input(segment.path) as container:
            stream = video_stream(container, 0)
            scale = ticks_per_tick(index.time_base, stream.time_base)
            for frame, lost in decoded(container, stream, threads):
                broken += lost + frame.is_corrupt
                seen.append(-1 if frame.pts is None else frame.pts)
    except InputError as error:
        raise VerifyError(f"segment {chunk.index} can't be read", str(error), "render it again") from error
    if broken or not np.array_equal(np.array(seen, np.int64), wanted * scale):
        what = f"{len(seen)} frames of {len(wanted)}, {broken} damaged"
        raise VerifyError(f"segment {chunk.index} is wrong", what, "render it again")
