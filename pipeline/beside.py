"""What lies beside the pictures of a film, packet by packet: sound, subtitles, data and attachments, as they are."""

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import TypeAlias, cast

import av
import av.container
import av.error
import av.stream

Packet: TypeAlias = "av.Packet[av.stream.Stream]"
Part = tuple[Fraction, Fraction] | None
"""Seconds of the source from which to which a film is taken; None for all of it."""


def holds(muxer: str, stream: av.stream.Stream) -> bool:
    """Whether the container takes such a stream. Some muxers say no only when they write the header (FLAC in MOV), and
    then for the whole file: so each stream is tried alone, in memory."""
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def within(packet: Packet, part: Part) -> bool:
    """Whether a packet of another stream goes along with this part of the film, in seconds of the source. A subtitle
    that began before it is cut to begin with it."""
    if part is None:
        return True
    base = packet.time_base
    pts = packet.pts if packet.pts is not None else cast(int, packet.dts)
    if pts * base >= part[1]:
        return False
    if pts * base >= part[0]:
        return True
    end = pts + (packet.duration or 0)
    if packet.stream.type != "subtitle" or end * base <= part[0]:
        return False
    packet.pts = packet.dts = -(-part[0] // base)
    packet.duration = end - packet.pts
    return True


def packets(
    source: av.container.InputContainer,
    pairs: dict[int, av.stream.Stream],
    shift: Fraction,
    part: Part,
) -> Iterator[tuple[Packet, Fraction]]:
    """Packets of the streams in `pairs` (number in the source to stream of the output), moved by `shift` seconds, each
    with the time at which it has to be decoded."""
    wanted = [s for s in source.streams if s.index in pairs and s.type != "attachment"]
    for stream in source.streams:
        if stream not in wanted:
            stream.discard = av.stream.Discard.all
    last: dict[int, int] = {}
    for packet in source.demux(wanted) if wanted else ():
        base = packet.time_base
        if packet.size == 0 or (packet.pts is None and packet.dts is None) or not within(packet, part):
            continue
        move = round(shift / base)
        pts = packet.pts if packet.pts is not None else cast(int, packet.dts)
        dts = packet.dts if packet.dts is not None else pts
        # A muxer takes rising decoding times only, of subtitles equal ones, too; sources that don't have them are set
        # right by the least.
        number, step = packet.stream_index, int(packet.stream.type != "subtitle")
        dts = max(dts + move, last.get(number, dts + move - step) + step)
        last[number] = dts
        packet.stream = pairs[number]
        packet.dts, packet.pts = dts, max(pts + move, dts)
        yield packet, dts * base
