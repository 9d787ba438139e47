"""Hold an output against its source: every frame's time, every byte of sound, every stream.

Times are compared as fractions, since containers have clocks of their own. Where the target's clock can't hold the
source's times (Matroska and WebM count milliseconds, MPEG-TS 1/90000 s), each may be off by half a tick of it and no
more; `rounding` says that tick, and is 0 where times are equal to the last digit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.stream
import numpy as np

from pipeline import dynamic, kept, subtitles, tracks
from pipeline.facts import FrameIndex, Int64, StreamFacts, VideoInfo
from pipeline.probe import field_order
from pipeline.reading import decoded, has_captions, open_input, video_stream


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
    converted: tuple[str, ...] = ()  # sound and text that the container couldn't hold, and what it became
    sound_changed: bool = False  # a track that is there isn't the source's; unlike `audio_equal`, not for lost ones
    changed: tuple[str, ...] = ()  # streams that are there, but not with the source's contents or times


def compare(
    info: VideoInfo,
    target: Path,
    index: FrameIndex,
    first: int = 0,
    last: int | None = None,
    threads: int = 0,
    look: Callable[[int, av.VideoFrame], None] | None = None,
) -> Comparison:
    """Decode the target's video and read every packet of both files once. Memory: some bytes per frame and packet.
    `look` gets each frame of the target and its number, from 0."""
    last = len(index) if last is None else last
    wanted = index.pts[first:last]
    part = None
    if (first, last) != (0, len(index)):
        end = int(index.pts[last - 1] + index.durations[last - 1])
        part = (info.source_time(int(wanted[0])), info.source_time(end))
    with open_input(target) as container:
        stream = video_stream(container, next(s.index for s in container.streams if s.type == "video"))
        base = stream.time_base or Fraction(0)
        seen, damaged, captions = _times(container, stream, threads, look)
        fields = _fields(info, stream)
    equal, shift, rounding = _same_times(wanted, info.time_base, seen, base)
    shift += info.moved
    copied = [s for s in info.streams if kept.is_copied(s, info)]
    pairs, lost, converted, wrong = _beside(info, target, copied, shift, rounding, part)
    audio = {s.index for s in copied if s.kind == "audio"}
    return Comparison(
        frames_in=len(wanted),
        frames_out=len(seen),
        pts_equal=equal,
        audio_equal=all(n in pairs and n not in wrong for n in audio),
        streams_lost=(*lost, *_captions(index, first, last, captions), *fields),
        converted=converted,
        stripped=_stripped(dynamic.with_late(info, index)),
        shift=shift,
        rounding=rounding,
        damaged_out=damaged,
        sound_changed=not audio.isdisjoint(wrong),
        changed=tuple(name(facts) for facts in copied if facts.index in wrong),
    )


def _beside(
    info: VideoInfo,
    target: Path,
    copied: Sequence[StreamFacts],
    shift: Fraction,
    rounding: Fraction,
    part: tuple[Fraction, Fraction] | None,
) -> tuple[dict[int, int], tuple[str, ...], tuple[str, ...], set[int]]:
    """What became of the other streams: the numbers of those that are there as they were, in the source and in the
    target; names of lost ones; what converted ones became; numbers of those that aren't as they should be."""
    with open_input(info.source) as container:
        before = tracks.read(container, [s.index for s in copied if s.kind in tracks.KINDS], part)
        held = _attached(container)
    with open_input(target) as container:
        pairs, others, lost = _pair(copied, list(container.streams))
        after = tracks.read(container, [s.index for s in container.streams if s.type in tracks.KINDS], None)
        held_after = _attached(container)
        ticks = {s.index: s.time_base or Fraction(0) for s in container.streams}
        became = {number: _codec(container.streams[other]) for number, other in others.items()}
    wrong, converted = set[int](), list[str]()
    for facts in copied:
        number = facts.index
        if number in pairs and facts.kind in tracks.KINDS:
            good = tracks.same(before[number], after[pairs[number]], shift, rounding)
        elif number in pairs:
            good = held.get(number) == held_after.get(pairs[number])
        elif number not in others:
            continue
        elif facts.kind == "audio":
            converted.append(f"{name(facts)}: {became[number]}")
            good = tracks.same_sound(info.source, number, target, others[number], shift, part)
        else:
            looks = subtitles.kept_looks(became[number])
            converted.append(f"{name(facts)}: {became[number]}, of its looks only {looks}")
            slack = max(rounding, facts.time_base, ticks[others[number]])
            good = tracks.same_words(info.source, number, target, others[number], shift, part, slack)
        if not good:
            wrong.add(number)
    return pairs, lost, tuple(converted), wrong


def _fields(info: VideoInfo, stream: av.VideoStream) -> tuple[str, ...]:
    """That the picture is made of fields, if nobody can know any more."""
    lost = info.field_order != "progressive" and field_order(stream) != info.field_order
    return (f"the order of fields ({info.field_order})",) if lost else ()


def _captions(index: FrameIndex, first: int, last: int, found: int) -> tuple[str, ...]:
    """Those that lie in the pictures (CEA-608 and CEA-708), if they are lost."""
    wanted = 0 if index.captions is None else int(np.count_nonzero(index.captions[first:last]))
    return () if found == wanted else (f"captions in the pictures: of {wanted} pictures that have some, {found}",)


def _attached(container: av.container.InputContainer) -> dict[int, bytes]:
    found = (s for s in container.streams if isinstance(s, av.stream.AttachmentStream))
    return {s.index: bytes(s.data or b"") for s in found}


def _stripped(info: VideoInfo) -> tuple[str, ...]:
    streams = [f"{name(s)}: {why}" for s in info.streams if (why := kept.why_stripped(s, info))]
    streams += dynamic.told(info)
    form = av.VideoFormat(info.source_pix_fmt)
    beside = ("alpha_mode", "1") in (  # VP8 and VP9 have it in a second picture, which decoders here don't look at
        (key.lower(), value) for key, value in info.streams[info.source_stream].metadata
    )
    if beside or (any(component.is_alpha for component in form.components) and not form.has_palette):
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
) -> tuple[dict[int, int], dict[int, int], tuple[str, ...]]:
    """Number in the source to number in the target, of those that are there as they were and of those that are there
    as another kind of sound or text; and the names of those that aren't there. Order is kept within a kind, so the next
    stream of the same kind and codec is the one."""
    free = list(found)
    pairs, others, lost = dict[int, int](), dict[int, int](), list[str]()
    for facts in copied:
        match = next((s for s in free if s.type == facts.kind and _codec(s) == _family(facts.codec)), None)
        if match is not None:
            free.remove(match)
            pairs[facts.index] = match.index
    for facts in (facts for facts in copied if facts.index not in pairs):
        may = facts.kind == "audio" or facts.codec in subtitles.TEXT
        other = next((s for s in free if may and s.type == facts.kind), None)
        if other is None:
            lost.append(name(facts))
        else:
            free.remove(other)
            others[facts.index] = other.index
    return pairs, others, tuple(lost)


def _codec(stream: av.stream.Stream) -> str:
    context = stream.codec_context
    return _family(context.codec.canonical_name if context is not None else (getattr(stream, "name", None) or ""))


def _family(codec: str) -> str:
    return "mpeg audio" if codec in ("mp1", "mp2", "mp3") else codec  # MP4 has one name for the three


def _times(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    threads: int,
    look: Callable[[int, av.VideoFrame], None] | None,
) -> tuple[Int64, int, int]:
    """(times, how many frames are damaged, how many have captions in them)."""
    seen, damaged, captions = list[int](), 0, 0
    for frame, lost in decoded(container, stream, threads):
        if look is not None:
            look(len(seen), frame)
        damaged += lost + frame.is_corrupt
        captions += has_captions(frame)
        seen.append(-1 if frame.pts is None else frame.pts)
    return np.array(seen, np.int64), damaged, captions


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
