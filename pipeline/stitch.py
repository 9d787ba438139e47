"""Join the segments, and put everything else of the source beside them. Packets only: nothing is decoded or encoded.

Times of video are the index's own. Decoding times are made anew: the n-th packet's is the n-th time of presentation,
less the frames that B-frames have to wait for; so it rises, and never passes the time of presentation. Other streams
keep their times, all moved by the same amount (see `kept.shift`). Of a part of a film, those packets of other streams
go along that begin within it; subtitles that began before are shortened.
"""

import heapq
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import cast

import av
import av.container
import av.error
import av.stream
import numpy as np

from pipeline import beside, kept, sound, subtitles
from pipeline.beside import Packet
from pipeline.encode import Segment, origin, output_error, ticks_per_tick
from pipeline.errors import OutputError, PipelineError, VerifyError
from pipeline.facts import FrameIndex, Int64, VideoInfo
from pipeline.reading import open_input, video_stream

_MOV = ("mp4", "mov")
_MAX_TIMESCALE = 2**31 - 1
# Tags that QuickTime's own list holds; others need the list of free names.
# fmt: off
_MOV_TAGS = frozenset({
    "title", "artist", "author", "album", "album_artist", "comment", "composer", "copyright", "date", "description",
    "genre", "grouping", "keywords", "lyrics", "show", "episode_id", "network", "synopsis", "track", "creation_time",
    "timecode",
})
# fmt: on


def stitch(
    info: VideoInfo,
    index: FrameIndex,
    segments: Sequence[Segment],
    target: Path,
    *,
    first: int = 0,
    last: int,
    convert_audio: bool = False,
    convert_subtitles: bool = False,
    spliced: bool = False,
) -> Path:
    """Write the frames [first, last) and what belongs to them to a new file beside `target`, and return its path;
    `publish` gives it its name. `convert_audio`: sound that the container can't hold becomes AAC or Opus;
    `convert_subtitles`: text becomes the container's own kind of text. Else they are left out.
    `spliced`: packets of the source are among the segments' (see `copying`).

    Raises OutputError when it can't be written, VerifyError when the segments aren't the frames asked for; nothing is
    left behind then.
    """
    if not 0 <= first < last <= len(index) or sum(s.frames for s in segments) != last - first:
        raise VerifyError("the segments are not the whole film", f"frames [{first}, {last})", "render the missing ones")
    part = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        with ExitStack() as stack:
            head = stack.enter_context(open_input(segments[0].path))
            muxer = kept.muxer_for(target, video_stream(head, 0).codec_context.codec.canonical_name)
            source = stack.enter_context(open_input(info.source))
            convert = frozenset({"audio"} if convert_audio else ()) | ({"subtitle"} if convert_subtitles else set())
            joined = _Stitcher(info, index, segments, part, muxer, first, last, convert, spliced)
            joined.run(source, video_stream(head, 0))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def publish(part: Path, target: Path, overwrite: bool = False) -> None:
    """Give a finished file its name, in one step. Raises OutputError when it exists and isn't to be replaced."""
    try:
        if overwrite:
            part.replace(target)
        else:
            os.link(part, target)  # unlike a rename, this fails when the name is taken
            part.unlink()
    except FileExistsError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{target} exists", "it is not replaced unless asked for", "use --overwrite") from error
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{target} can't be written", error.strerror or "", "choose another place") from error


class _Stitcher:
    def __init__(
        self,
        info: VideoInfo,
        index: FrameIndex,
        segments: Sequence[Segment],
        part: Path,
        muxer: str,
        first: int,
        last: int,
        convert: frozenset[str],
        spliced: bool,
    ) -> None:
        self._spliced = spliced
        self._convert, self._converted = convert, dict[int, av.stream.Stream]()
        self._info, self._part, self._muxer = info, part, muxer
        self._segments = sorted(segments, key=lambda segment: segment.first_pts)
        self._pts: Int64 = index.pts[first:last]
        self._durations = index.durations[first:last]
        whole = first == 0 and last == len(index)
        self._shift = kept.shift(info, int(self._pts[0]), whole)
        begin, end = (info.source_time(int(p)) for p in (self._pts[0], self._pts[-1] + self._durations[-1]))
        self._range = None if whole else (begin, end)

    def run(self, source: av.container.InputContainer, template: av.VideoStream) -> None:
        copied = [s for s, f in zip(source.streams, self._info.streams, strict=True) if kept.is_copied(f, self._info)]
        options = self._options(copied)
        try:
            out = av.open(self._part, "w", format=self._muxer, container_options=options)
        except (av.error.FFmpegError, OSError) as error:
            raise _written(error, self._part) from error
        try:
            with out:  # which closes it, and on a full disk that fails, too
                video = self._add_video(out, template)
                pairs = {s.index: new for s in copied if (new := self._add(out, s)) is not None}
                out.metadata.update(kept.tags(self._info.metadata))
                out.set_chapters(self._chapters(source))  # type: ignore[arg-type]
                out.start_encoding()
                self._copy(source, out, video, pairs, template.codec_context.extradata)
        except (av.error.FFmpegError, OSError) as error:
            raise _written(error, self._part) from error

    def _options(self, copied: Sequence[av.stream.Stream]) -> dict[str, str]:
        if self._muxer == "mpegts":
            return {"mpegts_copyts": "1"}
        if self._muxer not in _MOV:
            return {}
        # MP4 writes edit lists in its movie's clock: it has to hold every track's times, or they are rounded to 1 ms.
        scale = self._info.time_base.denominator
        while scale < 10_000:
            scale *= 2  # as libavformat does for tracks
        rates = [s.codec_context.sample_rate for s in copied if isinstance(s, av.AudioStream)]
        movie = lcm(scale, *(rate for rate in rates if rate))
        options = {
            "video_track_timescale": str(scale),
            "movie_timescale": str(movie if movie <= _MAX_TIMESCALE else scale),
        }
        if not _MOV_TAGS.issuperset(kept.tags(self._info.metadata)):
            options["movflags"] = "+use_metadata_tags"
        return options

    def _add_video(self, out: av.container.OutputContainer, template: av.VideoStream) -> av.VideoStream:
        facts = self._info.streams[self._info.source_stream]
        video = out.add_stream_from_template(template, opaque=True)
        video.time_base = self._info.time_base
        video.disposition = facts.disposition  # type: ignore[assignment]
        if self._info.average_rate:
            video.codec_context.framerate = self._info.average_rate
        if self._muxer in _MOV and template.codec_context.codec.canonical_name == "hevc":
            # Apple's players take "hvc1" only. Its parameter sets don't change, as those of a spliced film do.
            video.codec_context.codec_tag = "hev1" if self._spliced else "hvc1"
        if self._info.display_matrix is not None:
            video.set_display_matrix(self._info.display_matrix)
        video.metadata.update(kept.stream_tags(facts.metadata, self._muxer))
        return video

    def _add(self, out: av.container.OutputContainer, stream: av.stream.Stream) -> av.stream.Stream | None:
        """The same stream in the output; None where the container can't hold it."""
        facts = self._info.streams[stream.index]
        if kept.is_named(self._muxer, facts.codec) and beside.holds(self._muxer, stream):
            new = out.add_stream_from_template(stream, opaque=True)
        elif stream.type not in self._convert or stream.codec_context is None:
            return None
        else:
            if isinstance(stream, av.AudioStream):
                new = sound.add_track(out, self._muxer, stream)
            elif subtitles.becomes(self._muxer, stream):
                new = subtitles.add_track(out, self._muxer, stream)
            else:
                return None
            self._converted[stream.index] = new
        new.metadata.update(kept.stream_tags(facts.metadata, self._muxer))
        new.disposition = facts.disposition  # type: ignore[assignment]
        return new

    def _chapters(self, source: av.container.InputContainer) -> list[dict[str, object]]:
        chapters = []
        for chapter in source.chapters():
            base = chapter["time_base"] or Fraction(1, av.time_base)
            begin, end = chapter["start"] * base, chapter["end"] * base
            if self._range is not None:
                begin, end = max(begin, self._range[0]), min(end, self._range[1])
                if begin >= end:
                    continue
            start, stop = (round((time + self._shift) / base) for time in (begin, end))
            chapters.append({**chapter, "start": start, "end": stop, "time_base": base})
        return chapters

    def _copy(
        self,
        source: av.container.InputContainer,
        out: av.container.OutputContainer,
        video: av.VideoStream,
        pairs: dict[int, av.stream.Stream],
        extradata: bytes | None,
    ) -> None:
        """Both sides in order of decoding time, so that nothing piles up in the muxer."""
        frames = self._video_packets(video, extradata)
        ahead = next(frames, None)
        copied = {n: s for n, s in pairs.items() if n not in self._converted}
        others = [beside.packets(source, copied, self._shift, self._range)]
        for number, new in self._converted.items():
            where = (self._info.source, number)
            if isinstance(new, av.AudioStream):
                others.append(sound.packets(*where, new, self._shift, self._range))
            else:
                others.append(subtitles.packets(*where, new, self._shift, self._range))
        for packet, time in heapq.merge(*others, key=lambda item: item[1]):
            while ahead is not None and ahead[1] <= time:
                out.mux_one(ahead[0])
                ahead = next(frames, None)
            out.mux_one(packet)
        while ahead is not None:
            out.mux_one(ahead[0])
            ahead = next(frames, None)

    def _video_packets(self, video: av.VideoStream, extradata: bytes | None) -> Iterator[tuple[Packet, Fraction]]:
        """Every packet with the time at which it has to be decoded, in seconds of the output."""
        base = self._info.time_base
        move = int((self._shift - self._info.moved) / base)  # a whole number: both are
        times = self._pts + move
        delay = max(segment.delay for segment in self._segments)
        step = int(min(times[1:2] - times[0], default=1)) if len(times) > 1 else 1
        done = 0
        for segment in self._segments:
            wanted = self._pts[done : done + segment.frames]
            seen = np.empty(segment.frames, np.int64)
            with open_input(segment.path) as container:
                stream = video_stream(container, 0)
                scale = ticks_per_tick(base, stream.time_base)
                if stream.codec_context.extradata != extradata:
                    raise _wrong(segment, "its parameter sets differ from the first one's")
                for count, packet in enumerate(_packets(container, stream)):
                    place = done + count
                    if count == segment.frames or packet.pts is None:
                        raise _wrong(segment, "it has another number of packets than frames")
                    seen[count] = packet.pts // scale + origin(segment.first_pts)
                    packet.stream, packet.time_base = video, base
                    packet.pts = int(seen[count]) + move
                    early = place - delay
                    packet.dts = int(times[early]) if early >= 0 else int(times[0]) + early * step
                    shown = int(np.searchsorted(wanted, seen[count]))
                    if shown == len(wanted) or wanted[shown] != seen[count]:
                        raise _wrong(segment, "its time stamps are not those of the film")
                    packet.duration = int(self._durations[done + shown])
                    yield packet, packet.dts * base
            if not np.array_equal(np.sort(seen), wanted):
                raise _wrong(segment, "it has another number of packets than frames")
            done += segment.frames


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[Packet]:
    yield from (cast(Packet, packet) for packet in container.demux(stream) if packet.size)


def _wrong(segment: Segment, why: str) -> VerifyError:
    return VerifyError(f"the segment of chunk {segment.chunk} is wrong", why, "render it again")


def _written(error: av.error.FFmpegError | OSError, part: Path) -> PipelineError:
    if isinstance(error, av.error.FFmpegError):
        return output_error(error, part)
    return OutputError(f"{part} can't be written", error.strerror or str(error), "choose another place")
