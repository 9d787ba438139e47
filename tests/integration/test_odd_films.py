"""Films that hardly anybody thinks of: each comes out right, or is refused with the reason."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from carry import carry, numbers, run
from filmgen import Film, ffmpeg, make

from pipeline import video
from pipeline.compare import compare
from pipeline.errors import Unsupported
from pipeline.verify import verify

H264 = ("-c:v", "libx264", "-preset", "ultrafast")


def _right(source: Path, target: Path, codec: str | None = None) -> tuple[Any, Any]:
    """Carried through, and held against its source by what `veilfarm verify` compares."""
    info, index = carry(source, target, codec)
    wrong = [f"{check.name}: {check.told}" for check in verify(source, target, threads=1).checks if not check.good]
    assert wrong == []
    return info, index


def _rewritten(plain: Path, target: Path, form: str, change: Any) -> Path:
    """A copy of the video alone, each packet with the times that `change(number, pts, dts)` gives it."""
    with av.open(plain) as before, av.open(target, "w", format=form) as after:
        stream = after.add_stream_from_template(before.streams.video[0], opaque=True)
        stream.time_base = before.streams.video[0].time_base
        for number, packet in enumerate(p for p in before.demux(video=0) if p.size):
            packet.pts, packet.dts = change(number, packet.pts, packet.dts)
            packet.stream = stream
            after.mux(packet)
    return target


def test_a_size_that_changes_is_refused(tmp_path: Path) -> None:
    for size in ("128x96", "160x96"):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.4", *H264, tmp_path / f"{size}.ts")
    source = tmp_path / "film.ts"
    source.write_bytes((tmp_path / "128x96.ts").read_bytes() + (tmp_path / "160x96.ts").read_bytes())
    info = video.ingest(source, tmp_path / "work")
    with pytest.raises(Unsupported, match=r"size changes.*128x96 to 160x96.*split it"):
        video.index(info, threads=1)


@pytest.mark.parametrize("kind", ["double", "none"])
def test_times_that_are_double_or_missing(tmp_path: Path, kind: str) -> None:
    plain = make(Film(frames=30, b_frames=0, sound=0), tmp_path / "plain.mp4")

    def change(number: int, pts: int, dts: int) -> tuple[int | None, int | None]:
        if number != 12:
            return pts, dts
        return (pts - 512, dts - 512) if kind == "double" else (None, dts)

    name, form = ("film.mkv", "matroska") if kind == "double" else ("film.nut", "nut")
    source = _rewritten(plain, tmp_path / name, form, change)
    info, index, found = run(source, tmp_path / "out.mp4")
    assert numbers(info, index) == list(range(30))
    assert bool(np.all(np.diff(index.pts) > 0))
    assert found.pts_equal


def test_times_below_zero(tmp_path: Path) -> None:
    """MP4 may show frames before they are due to be decoded. Matroska has no times below 0: what wraps is refused."""
    plain = make(Film(frames=30, b_frames=2, sound=1), tmp_path / "plain.mp4")
    source, wrapped = tmp_path / "film.mp4", tmp_path / "film.mkv"
    ffmpeg("-i", plain, "-c", "copy", "-movflags", "+negative_cts_offsets", source)
    info, index = _right(source, tmp_path / "out.mp4")
    assert numbers(info, index) == list(range(30))
    ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", "-0.2", "-avoid_negative_ts", "disabled", wrapped)
    with pytest.raises(Unsupported, match="clock"):
        video.index(video.ingest(wrapped, tmp_path / "work"), threads=1)


@pytest.mark.parametrize(("width", "height"), [(1, 64), (64, 1), (1, 1), (2, 200), (4, 128), (128, 16)])
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_films_of_few_pixels(tmp_path: Path, width: int, height: int, codec: str) -> None:
    """Right, or refused: some encoders take no picture that is so narrow."""
    source = tmp_path / "narrow.nut"
    filters = f"format=yuv444p,crop={width}:{height}:exact=1"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=256x256:d=0.2", "-vf", filters, "-c:v", "rawvideo", source)
    if min(width, height) < {"h264": 1, "hevc": 16, "av1": 4}[codec]:
        with pytest.raises(Unsupported, match=f"{width}x{height}.*{codec} has no pictures below"):
            run(source, tmp_path / "out.mp4", codec)
        return
    info, index, found = run(source, tmp_path / "out.mp4", codec)
    assert (info.layout.width, info.layout.height, len(index)) == (width, height, 5)
    assert found.pts_equal
    assert not found.damaged_out


def test_one_frame_of_8k(tmp_path: Path) -> None:
    source = tmp_path / "large.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=7680x4320:r=25:d=0.04", *H264, source)
    info, index, found = run(source, tmp_path / "out.mp4")
    assert (info.layout.width, len(index), found.pts_equal) == (7680, 1, True)


def test_larger_than_8k_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "larger.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=8208x16:r=25:d=0.04", "-c:v", "ffv1", source)
    with pytest.raises(Unsupported, match=r"8208x16.*scale it down"):
        video.ingest(source, tmp_path / "work")


def test_120_frames_a_second(tmp_path: Path) -> None:
    source = tmp_path / "fast.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=120:d=0.5", *H264, source)
    _, index = _right(source, tmp_path / "out.mp4")
    assert len(index) == 60
    assert index.seconds() == Fraction(1, 2)


def test_sound_that_is_longer_than_the_pictures(tmp_path: Path) -> None:
    source = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.4", "-f", "lavfi", "-i", "sine=d=2", *H264, source)
    for suffix in ("mp4", "mkv", "mov"):
        _right(source, tmp_path / f"out.{suffix}")
        with av.open(tmp_path / f"out.{suffix}") as made:
            assert sum(frame.samples for frame in made.decode(audio=0)) >= 2 * 44_100 - 2048


def test_twenty_tracks_of_sound(tmp_path: Path) -> None:
    source = make(Film(frames=12, sound=20), tmp_path / "many.mp4")
    for suffix in ("mp4", "mkv"):
        _right(source, tmp_path / f"out.{suffix}")


def test_transparency_is_told(tmp_path: Path) -> None:
    source = tmp_path / "clear.mov"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.2", "-vf", "format=yuva444p10le", "-c:v", "prores_ks", source
    )
    _, _, found = run(source, tmp_path / "out.mp4", "hevc")
    assert found.pts_equal
    assert any("transparency" in line for line in found.stripped)


def test_a_broadcast_with_a_gap_in_its_clock(tmp_path: Path) -> None:
    plain = make(Film("ts", frames=50, gop=10, b_frames=2), tmp_path / "plain.ts")
    late = tmp_path / "late.ts"
    ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", "7", late)
    source = tmp_path / "film.ts"
    source.write_bytes(plain.read_bytes() + late.read_bytes())
    info, index, found = run(source, tmp_path / "out.mp4")
    assert numbers(info, index) == list(range(50)) * 2
    assert found.pts_equal
    assert found.audio_equal


def test_a_clock_that_jumps_back_is_refused(tmp_path: Path) -> None:
    plain = make(Film("ts", frames=50, gop=10, b_frames=2), tmp_path / "plain.ts")
    source = tmp_path / "film.ts"
    source.write_bytes(plain.read_bytes() * 2)
    info = video.ingest(source, tmp_path / "work")
    with pytest.raises(Unsupported, match="clock"):
        video.index(info, threads=1)


@pytest.mark.parametrize(("container", "audio"), [("flv", "aac"), ("3gp", "aac")])
def test_other_containers(tmp_path: Path, container: str, audio: str) -> None:
    source = make(Film(container, frames=30, gop=8, audio=audio), tmp_path / f"film.{container}")
    info, index = _right(source, tmp_path / "out.mp4")
    assert numbers(info, index) == list(range(30))


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov+delay_moov", "faststart", "frag_every_frame+empty_moov"])
def test_mp4_in_pieces_and_with_its_index_at_either_end(tmp_path: Path, flags: str) -> None:
    plain = make(Film(frames=30, gop=8, pattern="vfr", sound=2), tmp_path / "plain.mp4")
    assert plain.read_bytes().find(b"moov") > plain.read_bytes().find(b"mdat")
    source = tmp_path / "film.mp4"
    ffmpeg("-i", plain, "-map", "0", "-c", "copy", "-movflags", flags, source)
    info, index = _right(source, tmp_path / "out.mp4")
    assert numbers(info, index) == list(range(30))


@pytest.mark.parametrize("first", ["tff", "bff"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_fields_stay_told(tmp_path: Path, first: str, suffix: str) -> None:
    source = tmp_path / "fields.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.4", *H264, "-x264-params", f"{first}=1", source)
    target = tmp_path / f"out.{suffix}"
    info, _ = _right(source, target)
    assert info.field_order == first
    assert video.ingest(target, tmp_path / "again").field_order == first


_INTERLACED = ("-c:v", "mpeg2video", "-flags", "+ildct+ilme")


@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("film.ts", ("-vf", "tinterlace=interleave_top,fieldorder=tff", *_INTERLACED), "tff"),
        ("film.mpg", ("-vf", "tinterlace=interleave_bottom,fieldorder=bff", *_INTERLACED), "bff"),
        ("film.avi", ("-vf", "scale=720:576,fps=25", "-c:v", "dvvideo", "-pix_fmt", "yuv420p"), "bff"),
    ],
)
def test_fields_of_broadcasts_and_tapes_stay_told(
    tmp_path: Path, name: str, options: tuple[str, ...], order: str
) -> None:
    source, target = tmp_path / name, tmp_path / "out.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=352x288:r=50:d=0.4,format=yuv420p", *options, source)
    info, index = _right(source, target)
    assert info.field_order == order
    assert video.ingest(target, tmp_path / "again").field_order == order
    carry(source, tmp_path / "out.mkv", "hevc")
    assert f"the order of fields ({order})" in compare(info, tmp_path / "out.mkv", index, threads=1).streams_lost


def test_a_camera_does_not_sign_its_films(tmp_path: Path) -> None:
    """MXF names everything by numbers that hold the camera's network address."""
    source, target = tmp_path / "film.mxf", tmp_path / "out.mov"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.4", "-c:v", "mpeg2video", "-timecode", "10:00:00:00", source
    )
    _, _, found = run(source, target)
    assert any("material_package_umid" in line for line in found.stripped)
    with av.open(target) as after:
        tags = [*after.metadata, *(key for stream in after.streams for key in stream.metadata)]
        assert not [key for key in tags if "uid" in key.lower() or "umid" in key.lower()]
        assert after.streams.video[0].metadata["timecode"] == "10:00:00:00"


def test_telemetry_is_left_out_and_told(tmp_path: Path) -> None:
    """Action cameras write where they are; the name of such data is the one that chapters have."""
    plain, source = make(Film(frames=20), tmp_path / "plain.mp4"), tmp_path / "film.mov"
    chapter = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle=One\n"
    (tmp_path / "meta.txt").write_text(";FFMETADATA1\n" + chapter.format(0, 400) + chapter.format(400, 700))
    (tmp_path / "place.bin").write_bytes(b"GPS5" * 99)
    ffmpeg("-i", plain, "-i", tmp_path / "meta.txt", "-f", "data", "-i", tmp_path / "place.bin",
           "-map", "0", "-map", "2", "-map_chapters", "1", "-c", "copy", "-tag:d", "gpmd", source)  # fmt: skip
    assert b"gpmd" in source.read_bytes()
    info, _, found = run(source, tmp_path / "out.mp4")
    assert [s.chapters for s in info.streams if s.kind == "data"] == [False, True]
    assert [line for line in found.stripped if "where it was filmed" in line] == list(found.stripped)
    assert len(found.stripped) == 1
    assert b"GPS5" not in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparency_beside_the_picture_is_told(tmp_path: Path, codec: str) -> None:
    source, target = tmp_path / "film.webm", tmp_path / "out.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.4,format=yuva420p", "-c:v", codec, "-auto-alt-ref", "0",
           "-deadline", "realtime", source)  # fmt: skip
    _, _, found = run(source, target)
    assert any("transparency" in line for line in found.stripped)
    with av.open(target) as after:
        assert "alpha_mode" not in {key.lower() for key in after.streams.video[0].metadata}


def test_durations_and_begins_of_streams(tmp_path: Path) -> None:
    """The last frame is shown as long as it was, and the sound begins as much later."""
    plain = make(Film(frames=20, b_frames=0, pattern="vfr", sound=1, delay=Fraction(1, 4)), tmp_path / "plain.mp4")
    for suffix in ("mp4", "mov"):
        target = tmp_path / f"out.{suffix}"
        _, index = _right(plain, target)
        made = video.index(video.ingest(target, tmp_path / "again"), threads=1)
        scale = index.time_base / made.time_base
        assert [int(d * scale) for d in index.durations] == made.durations.tolist()
        with av.open(plain) as before, av.open(target) as after:
            begins = [[s.start_time * s.time_base for s in c.streams] for c in (before, after)]
        assert begins[0] == begins[1]


def test_an_edit_list_that_begins_with_nothing(tmp_path: Path) -> None:
    plain, source = make(Film(frames=20, sound=1), tmp_path / "plain.mp4"), tmp_path / "late.mp4"
    ffmpeg("-i", plain, "-itsoffset", "0.5", "-i", plain, "-map", "1:v", "-map", "0:a", "-c", "copy", source)
    assert struct.pack(">i", -1) in source.read_bytes()  # an empty edit
    _, index = _right(source, tmp_path / "out.mp4")
    assert index.pts[0] * index.time_base == Fraction(1, 2)
