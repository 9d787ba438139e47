"""Text subtitles that the output's container can't hold, as ones that it can: only where it was asked for.

libavcodec's decoders make ASS of any text, and its encoders read that. Every cue keeps its text and its times; of its
looks, what the other kind can say.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.container
import av.error
import av.stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from pipeline.beside import Packet, Part, within
from pipeline.reading import open_input

TEXT = ("subrip", "ass", "mov_text", "webvtt", "text")  # kinds of which a packet is a cue
_BECOMES = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_PLAIN = "bold, italics and underlines"  # what a kind keeps of a cue's looks
_MORE = {"subrip": "bold, italics, underlines, colours and fonts"}
_UNTIMED = Fraction(5)  # seconds for which a cue is shown that has no end
_WEBVTT = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BLOCK = re.compile(rb"(\{\\[^}]*\})")  # codes of ASS for how text looks; other braces are text
_BRACE = (rb"\{{}", b"{")  # how the decoder of WebVTT says a brace, and how the encoders want it
_DRAWING = re.compile(rb"\\p[1-9]")
_JOINER = "\u2060"  # nothing that is seen


@dataclass(frozen=True, slots=True)
class Cue:
    """Text on the screen."""

    start: Fraction  # seconds of the film's own clock
    end: Fraction
    text: bytes  # as in an ASS event, with its codes
    style: bytes = b"Default"  # its name in the track's header


def becomes(muxer: str, stream: av.stream.Stream) -> str:
    """What such a stream can be made into for the container, by FFmpeg's name; "" for none."""
    context = stream.codec_context
    if stream.type != "subtitle" or context is None or context.codec.canonical_name not in TEXT:
        return ""
    return _BECOMES.get(muxer, "")


def kept_looks(codec: str) -> str:
    """What a cue that was made into this kind keeps of its looks."""
    return _MORE.get(codec, _PLAIN)


def add_track(out: av.container.OutputContainer, muxer: str, source: av.stream.Stream) -> av.stream.Stream:
    """The stream for `source` in a container that can't hold it as it is."""
    decoder = cast(SubtitleCodecContext, source.codec_context)
    decoder.open(strict=False)
    new = cast(av.stream.Stream, out.add_stream(_BECOMES[muxer]))
    encoder = cast(SubtitleCodecContext, new.codec_context)
    encoder.subtitle_header = decoder.subtitle_header
    new.time_base = encoder.time_base = source.time_base or Fraction(1, 1000)
    return new


def packets(
    source: Path, number: int, new: av.stream.Stream, shift: Fraction, part: Part
) -> Iterator[tuple[Packet, Fraction]]:
    """Packets of the source's stream `number` for `new`, each with its time. Times of the source are moved by `shift`
    seconds; of a part of it, only its own cues are taken."""
    encoder = cast(SubtitleCodecContext, new.codec_context)
    kind, base = encoder.codec.canonical_name, encoder.time_base
    with open_input(source) as container:
        cues = _cues(container, number, part)
        # MP4 shows one cue at a time.
        for cue in alone(cues) if kind == "mov_text" else cues:
            text = _escaped(cue.text, kind)
            event = b"0,0,%s,,0,0,0,,%s" % (cue.style, text)
            packet = encoder.encode_subtitle(SubtitleSet.create(event, 0, 1000))
            start, end = (round((time + shift) / base) for time in (cue.start, cue.end))
            packet.stream, packet.time_base = new, base
            packet.pts = packet.dts = start
            packet.duration = max(1, end - start)
            yield cast(Packet, packet), start * base


def alone(cues: Iterable[Cue]) -> Iterator[Cue]:
    """The same, with cues that are on the screen together as one for as long as they are. Memory: those that are."""
    shown, now = list[Cue](), Fraction(0)
    for cue in cues:
        start = max(cue.start, now)
        yield from _until(shown, now, start)
        shown = [*(each for each in shown if each.end > start), cue]
        now = start
    yield from _until(shown, now, max((cue.end for cue in shown), default=now))


def _until(shown: list[Cue], now: Fraction, stop: Fraction) -> Iterator[Cue]:
    edges = sorted({min(cue.end, stop) for cue in shown if cue.end > now} | ({stop} if shown else set()))
    for edge in edges:
        there = [cue for cue in shown if cue.end > now]
        if len(there) == 1 and edge > now:
            yield Cue(now, edge, there[0].text, there[0].style)
        elif there and edge > now:
            yield Cue(now, edge, rb"{\r}\N".join(cue.text for cue in there))
        now = max(now, edge)


def _cues(container: av.container.InputContainer, number: int, part: Part) -> Iterator[Cue]:
    """Cues that show something, in the file's order."""
    wanted = container.streams[number]
    for stream in container.streams:
        if stream is not wanted:
            stream.discard = av.stream.Discard.all
    decoder = cast(SubtitleCodecContext, wanted.codec_context)
    for packet in container.demux(wanted):
        if packet.size == 0 or packet.pts is None or not within(packet, part):
            continue
        try:
            found = decoder.decode2(packet) or ()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            continue
        fields = [rect.ass.split(b",", 8) for rect in found if isinstance(rect, AssSubtitle)]
        events = [each for each in fields if len(each) == 9 and not _DRAWING.search(each[8]) and words(each[8])]
        if events:
            start = packet.pts * packet.time_base
            end = start + (packet.duration * packet.time_base if packet.duration else _UNTIMED)
            yield Cue(start, end, rb"\N".join(each[8] for each in events).replace(*_BRACE), events[0][2])


def words(text: bytes) -> str:
    """What a cue says, without how it looks."""
    plain = _BLOCK.sub(b"", text).replace(rb"\N", b"\n").replace(rb"\n", b"\n").replace(rb"\h", b" ")
    lines = (line.strip() for line in plain.decode(errors="replace").replace(_JOINER, "").splitlines())
    return "\n".join(line for line in lines if line)


def _escaped(text: bytes, kind: str) -> bytes:
    """Text in which no `<` or `&` is read as a code of the other kind."""
    if kind == "mov_text":
        return text
    parts = _BLOCK.split(text)
    for place in range(0, len(parts), 2):  # the others are ASS's own codes
        plain = parts[place].decode(errors="replace")
        if kind == "webvtt":
            plain = "".join(_WEBVTT.get(letter, letter) for letter in plain)
        else:
            plain = plain.replace("<", "<" + _JOINER)  # SubRip has no other way
        parts[place] = plain.encode()
    return b"".join(parts)


def timed_words(path: Path, number: int, part: Part) -> Iterator[tuple[Fraction, Fraction, str]]:
    """(start, end, words) of what is on the screen, one after another: the same for any kind of subtitles that show
    the same. Two spans with the same words that touch are one."""
    with open_input(path) as container:
        before: tuple[Fraction, Fraction, str] | None = None
        for cue in alone(_cues(container, number, part)):
            said = words(cue.text)
            if before is not None and before[1] == cue.start and before[2] == said:
                before = (before[0], cue.end, said)
                continue
            if before is not None:
                yield before
            before = (cue.start, cue.end, said)
        if before is not None:
            yield before
