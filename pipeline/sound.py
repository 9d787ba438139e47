"""Sound that the output's container can't hold, as sound that it can: only where it was asked for.

Every sample keeps its time. Decoded samples are put on one clock of samples, gaps become silence, what overlaps is cut;
and the encoder's own delay lies before the first one, as packets with earlier times that players skip.
"""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.container
import av.error
import av.stream
import numpy as np

from pipeline.beside import Part
from pipeline.reading import open_input

_ENCODERS = {"webm": ("libopus", 48_000), "matroska": ("libopus", 48_000)}  # others: AAC, at the source's rate
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
_PER_CHANNEL = 96_000  # bits per second
_BLOCK = 1 << 14  # samples that are encoded at a time


def add_track(out: av.container.OutputContainer, muxer: str, source: av.AudioStream) -> av.AudioStream:
    """The stream for `source` in a container that can't hold it as it is."""
    name, rate = _ENCODERS.get(muxer, ("aac", 0))
    own = source.codec_context.sample_rate
    rate = rate or min(_AAC_RATES, key=lambda known: abs(known - own))
    new = cast(av.AudioStream, out.add_stream(name, rate=rate))
    context, layout = new.codec_context, source.codec_context.layout
    # A layout without a name (of channels only counted) is none that encoders know.
    context.layout = layout.name if layout.nb_channels <= 8 and "channels" not in layout.name else "stereo"
    context.bit_rate = _PER_CHANNEL * context.layout.nb_channels
    new.time_base = context.time_base = Fraction(1, rate)
    return new


def packets(
    source: Path, number: int, new: av.AudioStream, shift: Fraction, part: Part
) -> Iterator[tuple[Any, Fraction]]:
    """Packets of the source's stream `number` for `new`, each with the time at which it has to be decoded. Times of the
    source are moved by `shift` seconds; of a part of it, only its own samples are taken."""
    base = Fraction(1, new.codec_context.sample_rate)
    begun: int | None = None
    for start, samples in _clocked(source, number, new, part):
        begun = start if begun is None else begun
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format=_packed(new), layout=new.codec_context.layout.name
        )
        frame.sample_rate, frame.time_base = new.codec_context.sample_rate, base
        frame.pts = start + round(shift / base)
        yield from _timed(new.encode(frame))
    if begun is not None:
        yield from _timed(new.encode(None))


def _timed(made: list[Any]) -> Iterator[tuple[Any, Fraction]]:
    for packet in made:
        yield packet, packet.dts * packet.time_base


def _packed(new: av.AudioStream) -> str:
    """The encoder's own format."""
    return new.codec_context.format.name


def _clocked(source: Path, number: int, new: av.AudioStream, part: Part) -> Iterator[tuple[int, Any]]:
    """(the first one's place on the clock, samples) without gaps and overlaps."""
    context = new.codec_context
    rate, planar = context.sample_rate, _packed(new).endswith("p")
    width = 1 if planar else context.layout.nb_channels  # numbers of one sample in a row of the array
    low, high = (round(time * rate) for time in part) if part is not None else (None, None)
    due: int | None = None
    for start, samples in _resampled(source, number, new):
        if due is None:
            due = start if low is None else max(low, start)
        if high is not None:
            start, samples = min(start, high), samples[:, : max(0, high - start) * width]
        if start > due:
            for place in range(due, start, _BLOCK):
                count = min(_BLOCK, start - place)
                yield place, np.zeros((len(samples), count * width), samples.dtype)
            due = start
        samples = samples[:, (due - start) * width :]
        if samples.shape[1]:
            yield due, samples
            due += samples.shape[1] // width


def _resampled(source: Path, number: int, new: av.AudioStream) -> Iterator[tuple[int, Any]]:
    """(place on the encoder's clock, samples in its format) as the source's decoder gives them."""
    context = new.codec_context
    resampler = av.AudioResampler(_packed(new), context.layout.name, context.sample_rate)
    first: Fraction | None = None
    done = 0
    with open_input(source) as container:
        stream = cast(av.AudioStream, container.streams[number])
        rate = stream.codec_context.sample_rate
        end: Fraction | None = None
        for frame in _frames(container, stream):
            time = end if frame.pts is None else frame.pts * (frame.time_base or Fraction(0))
            time = time if time is not None else Fraction(0)
            if end is not None and abs(time - end) <= Fraction(2, rate) + (frame.time_base or 0):
                time = end  # the container's clock is coarser than a sample
            elif end is not None or first is None:
                yield from _drained(resampler, first, done, context.sample_rate)
                resampler = av.AudioResampler(_packed(new), context.layout.name, context.sample_rate)
                first, done = time, 0
            end = time + Fraction(frame.samples, frame.sample_rate)
            frame.pts = None
            for made in resampler.resample(frame):
                assert first is not None
                yield round(first * context.sample_rate) + done, made.to_ndarray()
                done += made.samples
    yield from _drained(resampler, first, done, context.sample_rate)


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """What can be decoded."""
    for packet in container.demux(stream):
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()


def span(source: Path, number: int, part: Part) -> tuple[Fraction, Fraction] | None:
    """Seconds of the film's own clock from the first sample that is heard to the last one's end; None for none."""
    begin: Fraction | None = None
    end = Fraction(0)
    with open_input(source) as container:
        for frame in _frames(container, cast(av.AudioStream, container.streams[number])):
            time = end if frame.pts is None else frame.pts * (frame.time_base or Fraction(0))
            begin = time if begin is None else min(begin, time)
            end = max(end, time + Fraction(frame.samples, frame.sample_rate))
    if begin is None:
        return None
    low, high = part if part is not None else (begin, end)
    return (max(begin, low), min(end, high)) if max(begin, low) < min(end, high) else None


def _drained(resampler: av.AudioResampler, first: Fraction | None, done: int, rate: int) -> Iterator[tuple[int, Any]]:
    if first is None:
        return
    for made in resampler.resample(None):
        yield round(first * rate) + done, made.to_ndarray()
        done += made.samples
