"""What of a source reaches the output beside its pictures, and what doesn't, on purpose."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.sidedata.sidedata import Type
from carry import run
from filmgen import Film, ffmpeg, make, read_stamp

from pipeline import video
from pipeline.decode import read
from pipeline.encode import EncoderSettings
from pipeline.errors import OutputError
from pipeline.kept import muxer_for

CHAPTERS = """;FFMETADATA1
title=A film
location=+52.5200+013.4050/
com.apple.quicktime.location.ISO6709=+52.5200+013.4050+034.000/
[CHAPTER]
TIMEBASE=1/1000
START=0
END=600
title=First
[CHAPTER]
TIMEBASE=1/1000
START=600
END=2000
title=Second
"""
SUBTITLES = """1
00:00:00,100 --> 00:00:00,700
Good morning

2
00:00:00,900 --> 00:00:01,600
and good night
"""


@pytest.fixture
def rich(tmp_path: Path) -> dict[str, Path]:
    """A film with two tracks of sound, subtitles, chapters, a place, cover art and a timecode, in MP4 and MKV."""
    plain = make(Film(frames=50, gop=12, b_frames=2, sound=2), tmp_path / "plain.mp4")
    (tmp_path / "meta.txt").write_text(CHAPTERS)
    (tmp_path / "text.srt").write_text(SUBTITLES)
    (tmp_path / "font.ttf").write_bytes(b"\0\1\0\0" + bytes(400))
    cover = tmp_path / "cover.jpg"
    ffmpeg("-i", plain, "-frames:v", "1", cover)
    inputs = ("-i", plain, "-i", tmp_path / "text.srt", "-i", tmp_path / "meta.txt")
    common = (
        "-map_metadata",
        "2",
        "-map_chapters",
        "2",
        "-metadata:s:s:0",
        "language=spa",
        "-disposition:a:1",
        "default",
    )
    mp4, mkv = tmp_path / "rich.mp4", tmp_path / "rich.mkv"
    ffmpeg(
        *inputs, "-i", cover, "-map", "0", "-map", "1", "-map", "3", *common, "-c", "copy", "-c:s", "mov_text",
        "-disposition:v:1", "attached_pic", "-disposition:a:0", "0", "-timecode", "01:00:00:00",
        mp4,
    )  # fmt: skip
    font = ("-attach", tmp_path / "font.ttf", "-metadata:s:t:0", "mimetype=font/ttf")
    picture = ("-attach", cover, "-metadata:s:t:1", "mimetype=image/jpeg")
    ffmpeg(*inputs, "-map", "0", "-map", "1", *common, "-c", "copy", *font, *picture, mkv)
    return {"mp4": mp4, "mkv": mkv}


@pytest.mark.parametrize(("kind", "suffix"), [("mp4", "mp4"), ("mp4", "mov"), ("mkv", "mkv")])
def test_everything_but_what_identifies(rich: dict[str, Path], tmp_path: Path, kind: str, suffix: str) -> None:
    target = tmp_path / f"out.{suffix}"
    info, _, result = run(rich[kind], target)
    assert result.pts_equal
    assert result.audio_equal
    assert result.streams_lost == ()
    assert any("cover art" in line for line in result.stripped), info.streams
    assert any("location" in line.lower() for line in result.stripped)
    with av.open(rich[kind]) as before, av.open(target) as after:
        assert [c["metadata"]["title"] for c in after.chapters()] == ["First", "Second"]
        assert [c["start"] * c["time_base"] for c in after.chapters()] == [0, Fraction(3, 5)]
        assert after.metadata["title"] == "A film"
        assert not any("location" in key.lower() for key in after.metadata)
        assert [s.language for s in after.streams.audio] == ["eng", "fra"]
        assert [s.language for s in after.streams.subtitles] == ["spa"]
        assert len(after.streams.video) == 1
        for kind_ in ("audio", "subtitles"):
            ours, theirs = getattr(after.streams, kind_), getattr(before.streams, kind_)
            assert [int(s.disposition) for s in ours] == [int(s.disposition) for s in theirs]
        texts = [bytes(p) for p in after.demux(subtitles=0) if p.size and b"good" in bytes(p).lower()]
        assert len(texts) == 2
        if kind == "mkv":
            assert [s.metadata["filename"] for s in after.streams.attachments] == ["font.ttf"]
            assert after.streams.attachments[0].data == before.streams.attachments[0].data
        else:
            assert after.streams.video[0].metadata["timecode"] == "01:00:00:00"


def test_part_takes_its_chapters_and_subtitles_along(rich: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "part.mkv"
    _, _, result = run(rich["mkv"], target, part=(10, 30))  # 0.4 s to 1.2 s
    assert result.pts_equal
    assert result.audio_equal
    with av.open(target) as after:
        chapters = [(c["metadata"]["title"], c["start"] * c["time_base"]) for c in after.chapters()]
        assert chapters == [("First", 0), ("Second", Fraction(1, 5))]
        shown = [(p.pts * p.time_base, p.duration * p.time_base) for p in after.demux(subtitles=0) if p.size]
    assert [length for _, length in shown] == [Fraction(3, 10), Fraction(7, 10)]
    assert shown[1][0] - shown[0][0] == Fraction(1, 2)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_stays(tmp_path: Path, degrees: int) -> None:
    plain, source = make(Film(frames=12, sound=0), tmp_path / "plain.mp4"), tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(degrees), "-i", plain, "-c", "copy", source)
    for suffix in ("mp4", "mkv"):
        target = tmp_path / f"out.{suffix}"
        info, _, _ = run(source, target)
        assert info.layout.rotation == -degrees % 360
        assert video.ingest(target, tmp_path).display_matrix == info.display_matrix


def test_hdr_stays(tmp_path: Path) -> None:
    plain = make(Film(codec="hevc", frames=12, sound=0, pix_fmt="yuv420p10le"), tmp_path / "plain.mp4")
    source = tmp_path / "hdr.mp4"
    params = (
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
        ":hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none"
    )
    colours = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
    ffmpeg("-i", plain, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params, *colours, source)
    info = video.ingest(source, tmp_path)
    assert info.is_hdr
    assert info.layout.depth == 10
    assert info.layout.matrix == "bt2020"
    assert info.hdr.display == "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    assert info.hdr.light == (1000, 400)
    assert EncoderSettings.for_source(info).codec == "hevc"
    for codec in (None, "h264", "av1"):
        target = tmp_path / f"out-{codec}.mp4"
        run(source, target, codec)
        again = video.ingest(target, tmp_path)
        assert again.layout.depth == 10
        assert (again.color_primaries, again.color_trc, again.colorspace) == (9, 16, 9)
        assert (codec, again.hdr) == (codec, info.hdr)


def test_sample_aspect_ratio_stays(tmp_path: Path) -> None:
    plain, source = make(Film(frames=8, sound=0), tmp_path / "plain.mp4"), tmp_path / "wide.mp4"
    ffmpeg("-i", plain, "-c", "copy", "-aspect", "16:9", source)
    run(source, tmp_path / "out.mp4")
    assert video.ingest(tmp_path / "out.mp4", tmp_path).sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p", "yuv444p10le", "gray", "rgb24", "nv12", "yuva420p", "pal8"])
def test_any_pixel_format(tmp_path: Path, pix_fmt: str) -> None:
    plain = make(Film(frames=6, sound=0), tmp_path / "plain.mp4")
    source = tmp_path / "film.nut"
    ffmpeg("-i", plain, "-c:v", "rawvideo", "-pix_fmt", pix_fmt, source)
    target = tmp_path / "out.mp4"
    info, index, result = run(source, target)
    assert result.pts_equal
    assert [read_stamp(p.planes[0], p.layout.depth) for p in read(info, index, 0, 6)] == list(range(6))
    again = video.ingest(target, tmp_path)
    assert (again.layout.sub_x, again.layout.sub_y, again.layout.depth) == (
        info.layout.sub_x,
        info.layout.sub_y,
        info.layout.depth,
    )
    assert again.layout.full_range == info.layout.full_range


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can't hold h264"):
        muxer_for(tmp_path / "a.webm", "h264")
    with pytest.raises(OutputError, match="use"):
        muxer_for(tmp_path / "a.avi", "h264")


def _with_captions(packet: bytes, number: int) -> bytes:
    """An H.264 picture (Annex B) with a caption of two bytes in front, as ATSC A/53 puts it."""
    captions = bytes([0xFC, 0x41 + number % 26, 0x61 + number % 26])
    payload = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | 1, 0xFF]) + captions + b"\xff"
    sei = b"\0\0\0\1\x06\x04" + bytes([len(payload)]) + payload + b"\x80"
    # Parameter sets come first in an access unit; a delimiter and they may stay in front of the message.
    slices = (packet.find(b"\0\0\1" + bytes([kind])) for kind in (0x65, 0x41, 0x01))
    place = min(found for found in slices if found >= 0)
    return packet[:place] + sei[1:] + packet[place:]


@pytest.mark.parametrize(("codec", "kept"), [("h264", True), ("hevc", True), ("av1", False)])
def test_captions_in_the_pictures_stay_or_are_told(tmp_path: Path, codec: str, kept: bool) -> None:
    plain, source = make(Film("ts", frames=12, b_frames=0, sound=0), tmp_path / "plain.ts"), tmp_path / "film.ts"
    with av.open(plain) as before, av.open(source, "w", format="mpegts") as after:
        stream = after.add_stream_from_template(before.streams.video[0], opaque=True)
        for number, packet in enumerate(p for p in before.demux(video=0) if p.size):
            new = av.Packet(_with_captions(bytes(packet), number))
            new.pts, new.dts, new.time_base, new.is_keyframe = (
                packet.pts,
                packet.dts,
                packet.time_base,
                packet.is_keyframe,
            )
            new.stream = stream
            after.mux(new)
    target = tmp_path / "out.mp4"
    _, _, found = run(source, target, codec)
    captions = [_captions(path) for path in (source, target)]
    assert len(captions[0]) == 12
    assert all(captions[0])
    assert (captions[1] == captions[0]) is kept
    lost = "captions in the pictures: of 12 pictures that have some, 0"
    assert found.streams_lost == (() if kept else (lost,))


def _captions(path: Path) -> list[bytes]:
    with av.open(path) as container:
        return [bytes(f.side_data.get(Type.A53_CC) or b"") for f in container.decode(video=0)]
