"""Every frame, time, packet and stream of a source is in the output: films by construction, through the whole way."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest
from carry import numbers, run
from filmgen import Film, ffmpeg, make, read_stamp
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline import video
from pipeline.chunk import frame_range, plan
from pipeline.compare import compare
from pipeline.decode import read
from pipeline.encode import EncoderSettings, SegmentWriter, verify_segment
from pipeline.stitch import publish, stitch

CODECS = {
    "mp4": ("h264", "hevc", "av1"),
    "mov": ("h264", "hevc"),
    "mkv": ("h264", "hevc", "av1", "vp9"),
    "webm": ("vp9", "av1"),
    "ts": ("h264", "hevc", "mpeg2video"),
    "mpg": ("mpeg2video",),
    "avi": ("mpeg4", "h264"),
}


@st.composite
def films(draw: st.DrawFn) -> tuple[Film, str, str]:
    """A film, the output's container and its codec."""
    container = draw(st.sampled_from(sorted(CODECS)))
    codec = draw(st.sampled_from(CODECS[container]))
    plain = container in ("avi", "mpg") or codec == "mpeg2video"
    film = Film(
        container=container,
        codec=codec,
        frames=draw(st.integers(4, 34)),
        gop=draw(st.sampled_from([4, 9, 100])),
        open_gop=draw(st.booleans()),
        b_frames=draw(st.integers(0, 3)),
        pattern="cfr" if plain else draw(st.sampled_from(["cfr", "ntsc", "vfr"])),
        sound=draw(st.integers(0, 2)),
        delay=draw(st.sampled_from([Fraction(0), Fraction(1, 5), Fraction(337, 1000)])),
    )
    target = draw(st.sampled_from(["mp4", "mov", "mkv", "ts"]))
    if container == "mpg":
        film = dataclasses.replace(film, frames=film.frames + 16)  # libavformat guesses times in a file of a few packs
    if target == "ts":
        film = dataclasses.replace(film, frames=film.frames + 8)  # a shorter one is no more known for what it is
    return film, target, draw(st.sampled_from(["h264", "hevc", "av1"][: 2 if target in ("ts", "mov") else 3]))


@settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(films())
@example((Film("mp4", "h264", open_gop=True, b_frames=3, pattern="vfr", sound=2, delay=Fraction(1, 5)), "mp4", "h264"))
@example((Film("mov", "hevc", open_gop=True, pattern="ntsc"), "mov", "hevc"))
@example((Film("mkv", "av1", pattern="vfr"), "mkv", "av1"))
@example((Film("webm", "vp9", pattern="ntsc"), "webm", "av1"))
@example((Film("ts", "h264", open_gop=True, b_frames=3, sound=2), "mp4", "h264"))
@example((Film("ts", "hevc", pattern="vfr", delay=Fraction(1, 5)), "ts", "hevc"))
@example((Film("mpg", "mpeg2video", sound=2), "mp4", "h264"))
@example((Film("avi", "mpeg4", b_frames=0), "mov", "h264"))
@example((Film("avi", "mpeg4", b_frames=2), "mp4", "h264"))
@example((Film("avi", "h264", b_frames=3), "mkv", "h264"))
def test_film_comes_out_as_it_went_in(tmp_path_factory: pytest.TempPathFactory, case: tuple[Film, str, str]) -> None:
    film, suffix, codec = case
    folder = tmp_path_factory.mktemp("film")
    source = make(film, folder / f"film.{film.container}")
    info, index, result = run(source, folder / f"out.{suffix}", codec)

    assert numbers(info, index) == list(range(film.frames))
    times = [int(p) * index.time_base for p in index.pts]
    expected = film.times()
    assert [t - times[0] for t in times] == [t - expected[0] for t in expected]
    assert index.damaged == 0
    assert (result.frames_in, result.frames_out) == (film.frames, film.frames)
    assert result.pts_equal
    no_opus = film.container == "webm" and suffix == "mov"
    assert result.audio_equal is not (no_opus and film.sound > 0)
    assert len(result.streams_lost) == (film.sound if no_opus else 0)
    assert result.stripped == ()
    assert result.damaged_out == 0
    if suffix in ("mp4", "mov"):
        assert result.rounding == 0


def test_edit_list_hides_frames(tmp_path: Path) -> None:
    whole = make(Film(frames=40, gop=20, open_gop=True, b_frames=3), tmp_path / "whole.mp4")
    source = tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.6", "-i", whole, "-c", "copy", source)
    info, index, result = run(source, tmp_path / "out.mp4")
    assert numbers(info, index) == list(range(15, 40))
    assert result.pts_equal
    assert result.audio_equal


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_part_of_a_film(tmp_path: Path, suffix: str) -> None:
    source = make(Film(frames=50, gop=12, open_gop=True, b_frames=3, pattern="vfr", sound=2), tmp_path / "film.mp4")
    info = video.ingest(source, tmp_path)
    index = video.index(info)
    part = frame_range(index, Fraction(1), Fraction(3))
    assert 0 < part[0] < part[1] < 50
    target = tmp_path / f"out.{suffix}"
    _, _, result = run(source, target, part=part)
    assert result.pts_equal
    assert result.audio_equal
    assert result.frames_out == part[1] - part[0]
    again = video.ingest(target, tmp_path)
    made = video.index(again)
    assert numbers(again, made) == list(range(*part))
    # MP4 begins at 0 with the first frame. Matroska moves all, so that sound which decodes earlier has a place.
    assert suffix == "mkv" or made.pts[0] == 0


def test_long_gop_is_split_and_read_exactly(tmp_path: Path) -> None:
    source = make(Film(frames=60, gop=250, b_frames=3, pattern="vfr"), tmp_path / "film.mp4")
    info = video.ingest(source, tmp_path)
    index = video.index(info)
    chunks = plan(index, target=Fraction(1))
    assert len(chunks) > 3
    assert [c.start for c in chunks[1:]] == [c.stop for c in chunks[:-1]]
    for chunk in chunks:
        seen = [read_stamp(p.planes[0]) for p in read(info, index, chunk.start, chunk.stop)]
        assert seen == list(range(chunk.start, chunk.stop))


@pytest.mark.parametrize(
    "film",
    [
        Film(frames=60, gop=1, b_frames=0),
        Film(frames=60, gop=8, open_gop=True, b_frames=3),
        Film(frames=60, gop=250),
        Film("ts", frames=60, gop=20, open_gop=True, b_frames=3),
        Film("mkv", "hevc", frames=60, gop=24),
    ],
    ids=lambda film: f"{film.container}-{film.gop}",
)
def test_frames_before_a_start_are_read_exactly(tmp_path: Path, film: Film) -> None:
    info = video.ingest(make(film, tmp_path / f"film.{film.container}"), tmp_path / "work")
    index = video.index(info)
    for start, lead in ((0, 5), (3, 17), (8, 8), (24, 17), (25, 1), (31, 17), (48, 17), (59, 0)):
        seen = [read_stamp(p.planes[0]) for p in read(info, index, start, start + 1, lead=lead)]
        assert seen == list(range(max(0, start - lead), start + 1))
    assert list(read(info, index, 9, 9, lead=5)) == []


def test_broadcast_clock_that_overflows(tmp_path: Path) -> None:
    plain, source = make(Film(frames=60, gop=20), tmp_path / "plain.mp4"), tmp_path / "film.ts"
    ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", "95441.5", source)  # 2 ** 33 / 90000 s is 95443.7
    info, index, result = run(source, tmp_path / "out.mp4")
    assert info.start < 0 < info.moved
    assert numbers(info, index) == list(range(60))
    assert result.pts_equal
    assert result.audio_equal


def test_clock_that_begins_below_zero(tmp_path: Path) -> None:
    """As from a file whose first times are negative and shown all the same."""
    info = video.ingest(make(Film(frames=30, gop=10, sound=0), tmp_path / "film.mp4"), tmp_path)
    index = video.index(info)
    early = dataclasses.replace(index, pts=index.pts - 5000)
    segments = []
    for chunk in plan(early, target=Fraction(1, 2)):
        with SegmentWriter(tmp_path / f"{chunk.index}.nut", info, EncoderSettings.for_source(info)) as writer:
            for picture in read(info, index, chunk.start, chunk.stop):
                writer.write(dataclasses.replace(picture, pts=picture.pts - 5000))
            segments.append(writer.close())
        assert segments[-1].first_pts == chunk.first_pts
        verify_segment(segments[-1], early, chunk)
    assert segments[0].first_pts < 0 < segments[-1].first_pts
    target = tmp_path / "out.mp4"
    publish(stitch(info, early, segments, target, first=0, last=30), target)
    result = compare(info, target, early)
    assert (result.pts_equal, result.shift) == (True, 5000 * info.time_base)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_odd_width_and_height(tmp_path: Path, codec: str) -> None:
    source = tmp_path / "odd.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=130x98:d=0.4", "-vf", "scale=129:97", "-c:v", "ffv1", source)
    info, index, result = run(source, tmp_path / "out.mp4", codec)
    assert (info.layout.width, info.layout.height) == (129, 97)
    assert result.pts_equal
    assert len(index) == 10


def test_film_of_one_frame(tmp_path: Path) -> None:
    source = tmp_path / "one.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.04", "-c:v", "libx264", source)
    _, index, result = run(source, tmp_path / "out.mp4")
    assert (len(index), result.pts_equal) == (1, True)
