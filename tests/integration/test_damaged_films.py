"""What can't be used is refused with one clear line; what is damaged is concealed, counted, and comes out in full."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
from carry import run
from filmgen import Film, ffmpeg, make

from pipeline import video
from pipeline.chunk import plan
from pipeline.decode import read
from pipeline.encode import EncoderSettings, Segment, SegmentWriter, verify_segment
from pipeline.errors import InputError, NotAVideo, OutputError, Truncated, Unsupported, VerifyError
from pipeline.stitch import publish, stitch


def refused(path: Path, kind: type[InputError], match: str) -> None:
    """Ingest fails with that error, which names the file and says what to do."""
    with pytest.raises(kind, match=match) as caught:
        video.ingest(path, path.parent / "work")
    assert str(path) in caught.value.what
    assert caught.value.todo
    assert "\n" not in str(caught.value)


def test_not_a_video(tmp_path: Path) -> None:
    refused(tmp_path / "none.mp4", NotAVideo, "does not exist")
    refused(tmp_path, NotAVideo, "folder")
    empty, text, noise, picture = (tmp_path / name for name in ("empty.mp4", "text.mp4", "noise.mp4", "picture.png"))
    empty.touch()
    refused(empty, NotAVideo, "empty")
    text.write_text("not a film\n" * 100)
    refused(text, NotAVideo, "not a video")
    noise.write_bytes(bytes(range(256)) * 400)
    refused(noise, NotAVideo, "not a video")
    film = make(Film(frames=4, sound=1), tmp_path / "film.mp4")
    ffmpeg("-i", film, "-frames:v", "1", picture)
    assert video.ingest(picture, tmp_path / "work").pictures
    song, cover = tmp_path / "song.m4a", tmp_path / "cover.m4a"
    ffmpeg("-i", film, "-map", "0:a", "-c", "copy", song)
    refused(song, NotAVideo, "no video")
    ffmpeg("-i", song, "-i", picture, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", cover)
    refused(cover, NotAVideo, "no video")


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
def test_cut_off_in_the_middle(tmp_path: Path, kind: str) -> None:
    codec = "mpeg4" if kind == "avi" else "h264"
    data = make(Film(kind, codec, frames=20), tmp_path / f"film.{kind}").read_bytes()
    for part in (len(data) // 3, len(data) - 1000):
        cut = tmp_path / f"cut.{kind}"
        cut.write_bytes(data[:part])
        refused(cut, Truncated, "cut off")


def test_index_at_the_front_and_cut_off(tmp_path: Path) -> None:
    film, front = make(Film(frames=20), tmp_path / "film.mp4"), tmp_path / "front.mp4"
    ffmpeg("-i", film, "-c", "copy", "-movflags", "+faststart", front)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(front.read_bytes()[:-3000])
    refused(cut, Truncated, "3000 bytes are missing")


def test_encrypted(tmp_path: Path) -> None:
    film, locked = make(Film(frames=8), tmp_path / "film.mp4"), tmp_path / "locked.mp4"
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb")
    ffmpeg("-i", film, "-c", "copy", *key, "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8", locked)
    refused(locked, Unsupported, "encrypted")
    stream = tmp_path / "locked.ts"
    packet = bytes([0x47, 0x01, 0x00, 0x90]) + bytes(184)
    stream.write_bytes(packet * 100)
    refused(stream, Unsupported, "encrypted")


def test_too_large(tmp_path: Path) -> None:
    wide = tmp_path / "wide.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=s=8194x16:d=0.1", "-c:v", "ffv1", wide)
    refused(wide, Unsupported, "8194x16")


def test_no_clock(tmp_path: Path) -> None:
    film, bare = make(Film(frames=8, sound=0), tmp_path / "film.mp4"), tmp_path / "film.h264"
    ffmpeg("-i", film, "-c", "copy", bare)
    refused(bare, Unsupported, "no time stamps")


def test_size_changes_in_the_middle(tmp_path: Path) -> None:
    first, second = tmp_path / "a.ts", tmp_path / "b.ts"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=128x96:d=0.4", "-c:v", "libx264", first)
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x96:d=0.4", "-c:v", "libx264", "-output_ts_offset", "0.4", second)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    info = video.ingest(both, tmp_path / "work")
    with pytest.raises(Unsupported, match="from 128x96 to 160x96"):
        video.index(info)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
def test_damaged_frames_are_concealed_counted_and_kept(tmp_path: Path, kind: str) -> None:
    source = make(Film(kind, frames=60, gop=30), tmp_path / f"film.{kind}")
    with av.open(source) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.pos is not None and p.size > 90]
    data = bytearray(source.read_bytes())
    for pos, size in places[5::6]:
        for i in range(pos + size // 3, pos + size):
            if kind != "ts" or i % 188 > 11:
                data[i] ^= 0x5A
    source.write_bytes(data)
    info, index, result = run(source, tmp_path / "out.mp4")
    assert index.damaged > 0
    assert len(index) >= 55
    assert result.pts_equal
    assert result.damaged_out == 0
    flagged = [p.number for p in read(info, index, 0, len(index)) if p.damaged]
    assert flagged == [n for n in range(len(index)) if index.corrupt[n]]


def test_transport_stream_cut_off_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    source = make(Film("ts", frames=40, gop=10), tmp_path / "film.ts")
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    _, index, result = run(source, tmp_path / "out.mp4")
    assert 10 < len(index) < 40
    assert result.pts_equal
    assert result.audio_equal


def _segment(tmp_path: Path) -> tuple[video.VideoInfo, video.FrameIndex, list[Segment]]:
    info = video.ingest(make(Film(frames=10), tmp_path / "film.mp4"), tmp_path)
    index = video.index(info)
    with SegmentWriter(tmp_path / "0.nut", info, EncoderSettings.for_source(info)) as writer:
        for picture in read(info, index, 0, 10):
            writer.write(picture)
        return info, index, [writer.close()]


def test_output_exists_or_has_no_place(tmp_path: Path) -> None:
    info, index, segments = _segment(tmp_path)
    target = tmp_path / "out.mp4"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        publish(stitch(info, index, segments, target, first=0, last=10), target)
    assert target.read_text() == "mine"
    with pytest.raises(OutputError, match="folder"):
        stitch(info, index, segments, tmp_path / "none" / "out.mp4", first=0, last=10)
    publish(stitch(info, index, segments, target, first=0, last=10), target, overwrite=True)
    assert target.stat().st_size > 1000
    assert not list(tmp_path.glob(".*part*"))


def test_segments_that_are_not_the_film(tmp_path: Path) -> None:
    info, index, segments = _segment(tmp_path)
    chunk = plan(index, target=Fraction(10))[0]
    verify_segment(segments[0], index, chunk)
    with SegmentWriter(tmp_path / "1.nut", info, EncoderSettings.for_source(info)) as writer:
        for picture in list(read(info, index, 0, 10))[:9]:
            writer.write(picture)
        short = writer.close()
    with pytest.raises(VerifyError, match="9 frames of 10"):
        verify_segment(short, index, chunk)
    with pytest.raises(VerifyError):
        stitch(info, index, [short], tmp_path / "out.mp4", first=0, last=10)
    with pytest.raises(VerifyError, match="time stamps"):
        stitch(info, index, [short], tmp_path / "out.mp4", first=1, last=10)
    assert not list(tmp_path.glob("*out*"))


def test_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    info, index, _ = _segment(tmp_path)
    path = tmp_path / "half.nut"
    with SegmentWriter(path, info, EncoderSettings.for_source(info)) as writer:
        for picture in read(info, index, 0, 5):
            writer.write(picture)
    assert not path.exists()


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = [str(Path.cwd()), str(Path.cwd() / "tests" / "support"), str(Path.cwd() / "tests" / "integration")]
from test_damaged_films import _segment
from pipeline.errors import OutputError
from pipeline.stitch import stitch
folder = Path(sys.argv[1])
info, index, segments = _segment(folder)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    stitch(info, index, segments, folder / "out.mp4", first=0, last=10)
except OutputError as error:
    print("refused:", error)
"""


def test_no_room_for_the_output(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the write fails in the same place."""
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], cwd=root, capture_output=True, text=True, timeout=100)
    assert "refused:" in done.stdout, done.stderr
    assert not [p for p in os.listdir(tmp_path) if "out" in p]
