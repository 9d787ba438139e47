"""Streams beside the pictures, held against their source's: contents and times of every packet; of what was converted,
what is heard and read when."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import cast

import av
import av.container
import av.stream

from pipeline import sound, subtitles
from pipeline.beside import Packet, Part, within
from pipeline.reading import open_input

KINDS = ("audio", "subtitle", "data")  # that have packets

_EMPTY_TEXT = b"\0\0"  # of MP4: nothing is shown until the next cue
_BLOCKS = 2 * 1024  # samples: two blocks of an encoder, by which its sound may be longer


@dataclass(slots=True)
class Track:
    """Contents and times of one stream."""

    time_base: Fraction
    exact_lengths: bool = False  # durations are part of it: of subtitles
    size: int = 0
    times: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)


def read(container: av.container.InputContainer, numbers: Sequence[int], part: Part) -> dict[int, Track]:
    """The streams of these numbers; of a part of the film, what belongs to it. Memory: some bytes per packet."""
    streams = [container.streams[number] for number in numbers]
    tracks = {s.index: Track(s.time_base or Fraction(0), s.type == "subtitle") for s in streams}
    for stream in container.streams:
        if stream.index not in tracks:
            stream.discard = av.stream.Discard.all
    for packet in container.demux(streams) if streams else ():
        if packet.size == 0 or (packet.pts is None and packet.dts is None) or not within(packet, part):
            continue
        track, payload = tracks[packet.stream_index], _payload(packet)
        if track.exact_lengths and payload == _EMPTY_TEXT:
            continue
        track.digest.update(payload)
        track.size += len(payload)
        track.times.append(packet.pts if packet.pts is not None else packet.dts or 0)
        track.durations.append(packet.duration or 0)
    return tracks


def _payload(packet: Packet) -> memoryview:
    """The packet's bytes without an ADTS header, which AAC has in some containers and not in others."""
    data = memoryview(packet)
    context = packet.stream.codec_context
    aac = context is not None and context.name.startswith("aac")
    if aac and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]
    return data


def same(before: Track, after: Track, shift: Fraction, rounding: Fraction) -> bool:
    """Whether contents are equal, and times but for `shift` seconds and the coarser clock's rounding."""
    if before.size != after.size or before.digest.digest() != after.digest.digest():
        return False
    if not before.times:
        return True
    # A container may cut sound without frames (PCM) into other packets; begin and end still have to agree.
    slack = max(before.time_base, after.time_base, rounding)
    whole = len(before.times) == len(after.times)
    pairs = zip(before.times, after.times, strict=True) if whole else ()
    ends = [(before.times[0], after.times[0]), *pairs]
    if not all(abs(b * after.time_base - a * before.time_base - shift) <= slack for a, b in ends):
        return False
    if not before.exact_lengths:
        return True
    lengths = zip(before.durations, after.durations, strict=True) if whole else ()
    return whole and all(abs(b * after.time_base - a * before.time_base) <= slack for a, b in lengths if a and b)


def same_sound(source: Path, number: int, target: Path, other: int, shift: Fraction, part: Part) -> bool:
    """Whether converted sound begins and ends when the source's does, but for the blocks that encoders work in."""
    before, after = sound.span(source, number, part), sound.span(target, other, None)
    if before is None or after is None:
        return before is after
    with open_input(target) as container:
        slack = Fraction(_BLOCKS, cast(av.AudioStream, container.streams[other]).codec_context.sample_rate)
    return all(abs(b - a - shift) <= slack for a, b in zip(before, after, strict=True))


def same_words(
    source: Path, number: int, target: Path, other: int, shift: Fraction, part: Part, rounding: Fraction
) -> bool:
    """Whether converted subtitles say the same at the same times."""
    pairs = zip_longest(subtitles.timed_words(source, number, part), subtitles.timed_words(target, other, None))
    for before, after in pairs:
        if before is None or after is None or before[2] != after[2]:
            return False
        if any(abs(b - a - shift) > rounding for a, b in zip(before[:2], after[:2], strict=True)):
            return False
    return True
