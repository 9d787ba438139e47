"""Sound that a container can't hold: left out and told, or converted where that is asked for, to the sample."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from carry import carry, segments_of
from filmgen import Film, ffmpeg, make

from pipeline import video
from pipeline.compare import compare
from pipeline.stitch import stitch
from pipeline.verify import verify

RATE = 48_000
CLICKS = (0.25, 0.5, 0.9)


def _source(folder: Path, codec: str, rate: int = RATE, begin: float = 0.0, channels: int = 1) -> Path:
    """A film with a sound of clicks, which begins later than the pictures."""
    plain, wave = make(Film(frames=40, sound=0), folder / "plain.mp4"), folder / "clicks.wav"
    samples = np.zeros(int(1.4 * rate))
    for time in CLICKS:
        at = round(time * rate)
        samples[at : at + rate // 400] = 0.8 * np.hanning(rate // 400)
    with av.open(wave, "w", format="wav") as out:
        track = out.add_stream("pcm_s16le", rate=rate)
        track.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    path = folder / "film.mkv"
    ffmpeg("-i", plain, "-itsoffset", str(begin), "-i", wave, "-map", "0:v", "-map", "1:a", "-c:v", "copy",
           "-c:a", codec, "-ac", str(channels), "-strict", "-2", "-metadata:s:a:0", "language=fra", path)  # fmt: skip
    return path


def _heard(path: Path, number: int = 0) -> tuple[Any, Fraction, int]:
    """(samples of one channel on the film's own clock from 0 on, the first one's time, how many a second)."""
    parts, first, rate = list[Any](), None, 0
    with av.open(path) as container:
        stream = container.streams.audio[number]
        shift = Fraction(container.streams.video[0].start_time or 0) * container.streams.video[0].time_base
        for frame in container.decode(stream):
            rate = frame.sample_rate
            first = frame.pts * frame.time_base - shift if first is None else first
            data = frame.to_ndarray().astype(np.float64)
            channels = frame.layout.nb_channels
            parts.append(data[0] if frame.format.is_planar else data.reshape(-1, channels)[:, 0])
    assert first is not None
    return np.concatenate(parts), first, rate


def _at(path: Path, wanted: float) -> float:
    """Where the click near `wanted` seconds has its middle, in samples."""
    samples, first, rate = _heard(path)
    begin = int((wanted - 0.05 - float(first)) * rate)
    part = np.abs(samples[max(0, begin) : begin + int(0.1 * rate)])
    part = np.where(part > 0.2 * part.max(), part, 0)
    return (float((part * np.arange(len(part))).sum() / part.sum()) + max(0, begin)) + float(first) * rate


def _converted(source: Path, target: Path, codec: str | None = None, part: tuple[int, int] | None = None) -> Any:
    info, index = carry(source, target.with_name(f"left{target.suffix}"), codec, part)
    first, last = part or (0, len(index))
    segments = segments_of(source, target.parent, index, part)
    made = stitch(info, index, segments, target, first=first, last=last, convert_audio=True)
    made.rename(target)
    return compare(info, target, index, first, last, threads=1)


@pytest.mark.parametrize(
    ("codec", "rate", "suffix", "video_codec", "becomes"),
    [
        ("libopus", 48_000, "mov", "h264", "aac"),
        ("libvorbis", 44_100, "mov", "h264", "aac"),
        ("flac", 48_000, "webm", "av1", "opus"),
        ("aac", 44_100, "webm", "av1", "opus"),
        ("flac", 48_000, "ts", "h264", "aac"),
    ],
)
def test_every_sample_keeps_its_time(
    tmp_path: Path, codec: str, rate: int, suffix: str, video_codec: str, becomes: str
) -> None:
    source, target = _source(tmp_path, codec, rate, begin=0.1), tmp_path / f"out.{suffix}"
    found = _converted(source, target, video_codec)
    assert (found.streams_lost, found.pts_equal, found.damaged_out) == ((), True, 0)
    assert found.converted == (f"stream 1 audio {codec.removeprefix('lib')} fra: {becomes}",)
    ratio = _heard(target)[2] / rate
    # Matroska, WebM and MPEG-TS say the sound's begin by a coarser clock than its samples.
    slack = {"mov": 2, "webm": 60, "ts": 60}[suffix] + 50 * (codec != "flac" and rate == 44_100)
    for click in CLICKS:
        assert abs(_at(target, click + 0.1) - _at(source, click + 0.1) * ratio) <= slack


def test_without_the_switch_it_is_left_out_and_told(tmp_path: Path) -> None:
    source, target = _source(tmp_path, "libopus"), tmp_path / "out.mov"
    carry(source, target, "h264")
    checks = {check.name: check for check in verify(source, target, threads=1).checks}
    assert not checks["streams"].good
    assert "opus" in checks["streams"].told


def test_verify_tells_what_was_converted(tmp_path: Path) -> None:
    source, target = _source(tmp_path, "libopus"), tmp_path / "out.mov"
    _converted(source, target, "h264")
    found = verify(source, target, threads=1)
    assert [c.items for c in found.checks if c.name == "of another kind"] == [("stream 1 audio opus fra: aac",)]
    assert {c.name: c.good for c in found.checks}["sound"]
    assert video.ingest(target, tmp_path / "again").streams[1].language == "fra"


def test_a_part_has_its_own_sound_only(tmp_path: Path) -> None:
    source, target = _source(tmp_path, "libopus"), tmp_path / "out.mov"
    found = _converted(source, target, "h264", part=(10, 30))  # 0.4 s to 1.2 s
    assert found.pts_equal
    samples, first, rate = _heard(target)
    assert first + Fraction(len(samples), rate) == pytest.approx(Fraction(8, 10), abs=0.03)
    assert abs(_at(target, 0.5 - 0.4) - (_at(source, 0.5) - 0.4 * RATE)) <= 2
