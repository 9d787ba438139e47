"""Hold an output against its source: every frame's time, every byte of sound, every stream.

Times are compared as fractions, since containers have clocks of their own. Where the target's clock can't hold the
source's times (Matroska and WebM count milliseconds, MPEG-TS 1/90000 s), each may be off by half a tick of it and no
more; `rounding` says that tick, and is 0 where times are equal to the last digit.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.stream
import numpy as np

from pipeline import dynamic, kept
from pipeline.facts import FrameIndex, Int64, StreamFacts, VideoInfo
from pipeline.reading import decoded, open_input, video_stream
from pipeline.stitch import Packet, within


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is the same, and what isn't."""

    frames_in: int
    frames_out: int
    pts_equal: bool  # as many frames, each at its time, but for one shift of the whole and the clock's rounding
    audio_equal: bool  # every track is there, with the same packets' contents, and times moved with the video's
    streams_lost: tuple[str, ...]  # what the target's container can't hold
    stripped: tuple[str, ...]  # what was left out on purpose, and why
    shift: Fraction = Fraction(0)  # seconds by which the output's clock is moved
    rounding: Fraction = Fraction(0)  # seconds: one tick of the target's clock, if it can't hold the source's times
    damaged_out: int = 0  # frames of the output that don't decode without fault
    converted: tuple[str, ...] = ()  # sound that the container couldn't hold, and what it became
    sound_changed: bool = False  # a track that is there isn't the source's; unlike `audio_equal`, not for lost ones


@dataclass(slots=True)
class _Track:
    """Contents and times of one audio or subtitle stream."""

    digest: "hashlib._Hash"
    size: int
    times: list[int]
    time_base: Fraction


def compare(
    info: VideoInfo, target: Path, index: FrameIndex, first: int = 0, last: int | None = None, threads: int = 0
) -> Comparison:
    """Decode the target's video and read every packet of both files once. Memory: some bytes per frame and packet."""
    last = len(index) if last is None else last
    wanted = index.pts[first:last]
    part = None
    if (first, last) != (0, len(index)):
        end = int(index.pts[last - 1] + index.durations[last - 1])
        part = (info.source_time(int(wanted[0])), info.source_time(end))
    with open_input(info.source) as container:
        copied = [s for s in info.streams if kept.is_copied(s, info)]
        before = _tracks(container, [s.index for s in copied if s.kind in ("audio", "subtitle")], part)
    with open_input(target) as container:
        found = [s for s in container.streams if s.type in ("audio", "subtitle")]
        pairs, lost, converted = _pair(copied, list(container.streams))
        after = _tracks(container, [s.index for s in found], None)
    with open_input(target) as container:
        stream = video_stream(container, next(s.index for s in container.streams if s.type == "video"))
        base = stream.time_base or Fraction(0)
        seen, damaged = _times(container, stream, threads)
    equal, shift, rounding = _same_times(wanted, info.time_base, seen, base)
    shift += info.moved
    audio = [s.index for s in copied if s.kind == "audio"]
    sound = {n: _same_track(before[n], after[pairs[n]], shift, rounding) for n in audio if n in pairs}
    return Comparison(
        frames_in=len(wanted),
        frames_out=len(seen),
        pts_equal=equal,
        audio_equal=all(sound.get(n, False) for n in audio),
        streams_lost=lost,
        converted=converted,
        stripped=_stripped(info),
        shift=shift,
        rounding=rounding,
        damaged_out=damaged,
        sound_changed=not all(sound.values()),
    )


def _stripped(info: VideoInfo) -> tuple[str, ...]:
    streams = [f"{name(s)}: {why}" for s in info.streams if (why := kept.why_stripped(s, info))]
    streams += dynamic.told(info)
    form = av.VideoFormat(info.source_pix_fmt)
    if any(component.is_alpha for component in form.components) and not form.has_palette:
        streams.append("transparency: no codec of the output has it")
    tags = [f"tag {key}" for key in kept.stripped_tags(info.metadata)]
    tags += [f"tag {key} of {name(s)}" for s in info.streams for key in kept.stripped_tags(s.metadata)]
    return (*streams, *tags)


def name(stream: StreamFacts) -> str:
    """How a report calls a stream: number, kind, codec, language."""
    parts = [f"stream {stream.index}", stream.kind, stream.codec, stream.language]
    return " ".join(part for part in parts if part)


def _pair(
    copied: Sequence[StreamFacts], found: Sequence[av.stream.Stream]
) -> tuple[dict[int, int], tuple[str, ...], tuple[str, ...]]:
    """Number in the source to number in the target, the names of those that aren't there, and those that are there as
    another kind of sound. Order is kept within a kind, so the next stream of the same kind and codec is the one."""
    free = list(found)
    pairs: dict[int, int] = {}
    for facts in copied:
        match = next((s for s in free if s.type == facts.kind and _codec(s) == _family(facts.codec)), None)
        if match is not None:
            free.remove(match)
            pairs[facts.index] = match.index
    lost, converted = list[str](), list[str]()
    for facts in (facts for facts in copied if facts.index not in pairs):
        other = next((s for s in free if s.type == facts.kind == "audio"), None)
        if other is None:
            lost.append(name(facts))
        else:
            free.remove(other)
            converted.append(f"{name(facts)}: {_codec(other)}")
    return pairs, tuple(lost), tuple(converted)


def _codec(stream: av.stream.Stream) -> str:
    context = stream.codec_context
    return _family(context.codec.canonical_name if context is not None else (getattr(stream, "name", None) or ""))


def _family(codec: str) -> str:
    return "mpeg audio" if codec in ("mp1", "mp2", "mp3") else codec  # MP4 has one name for the three


def _tracks(
    container: av.container.InputContainer, numbers: Sequence[int], part: tuple[Fraction, Fraction] | None
) -> dict[int, _Track]:
    streams = [container.streams[number] for number in numbers]
    tracks = {s.index: _Track(hashlib.sha256(), 0, [], s.time_base or Fraction(0)) for s in streams}
    for stream in container.streams:
        if stream.index not in tracks:
            stream.discard = av.stream.Discard.all
    for packet in container.demux(streams) if streams else ():
        if packet.size == 0 or (packet.pts is None and packet.dts is None) or not within(packet, part):
            continue
        track, payload = tracks[packet.stream_index], _payload(packet)
        track.digest.update(payload)
        track.size += len(payload)
        track.times.append(packet.pts if packet.pts is not None else packet.dts or 0)
    return tracks


def _payload(packet: Packet) -> memoryview:
    """The packet's bytes without an ADTS header, which AAC has in some containers and not in others."""
    data = memoryview(packet)
    context = packet.stream.codec_context
    aac = context is not None and context.name.startswith("aac")
    if aac and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]
    return data


def _times(container: av.container.InputContainer, stream: av.VideoStream, threads: int) -> tuple[Int64, int]:
    seen, damaged = [], 0
    for frame, lost in decoded(container, stream, threads):
        damaged += lost + frame.is_corrupt
        seen.append(-1 if frame.pts is None else frame.pts)
    return np.array(seen, np.int64), damaged


def _same_times(wanted: Int64, base: Fraction, seen: Int64, target_base: Fraction) -> tuple[bool, Fraction, Fraction]:
    """Whether they are equal, the shift, and the tick to which they had to be rounded."""
    if len(wanted) != len(seen) or not len(seen):
        return False, Fraction(0), Fraction(0)
    # Both as whole numbers of one clock that is fine enough for either.
    unit = Fraction(1, np.lcm(base.denominator, target_base.denominator).item())
    differences = seen * int(target_base / unit) - wanted * int(base / unit)
    low, high = int(differences.min()), int(differences.max())
    shift = Fraction(low + high, 2) * unit
    if low == high:
        return True, shift, Fraction(0)
    rising = bool(np.all(np.diff(seen) > 0))
    inexact = (base / target_base).denominator != 1
    return rising and inexact and (high - low) * unit <= target_base, shift, target_base


def _same_track(before: _Track, after: _Track, shift: Fraction, rounding: Fraction) -> bool:
    if before.size != after.size or before.digest.digest() != after.digest.digest():
        return False
    if not before.times:
        return True
    # A container may cut sound without frames (PCM) into other packets; begin and end still have to agree.
    slack = max(before.time_base, after.time_base, rounding)
    pairs = zip(before.times, after.times, strict=True) if len(before.times) == len(after.times) else ()
    ends = [(before.times[0], after.times[0]), *pairs]
    return all(abs(b * after.time_base - a * before.time_base - shift) <= slack for a, b in ends)
