"""Groups of pictures that keep the source's bits: the bits, between others."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from filmgen import Film, ffmpeg, make

from pipeline import video
from pipeline.chunk import Chunk, plan, plan_whole
from pipeline.copying import groups as table
from pipeline.copying import nal
from pipeline.copying.groups import Group, Groups
from pipeline.copying.splice import SplicedWriter, head
from pipeline.decode import read
from pipeline.encode import EncoderSettings, Segment, SegmentWriter, verify_segment
from pipeline.errors import VerifyError
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.stitch import stitch

FRAMES, GOP = 64, 8


@dataclass(frozen=True)
class Case:
    """A film, and how its packets are to be told."""

    info: VideoInfo
    index: FrameIndex
    settings: EncoderSettings
    groups: Groups


def case(film: Film, folder: Path, codec: str | None = None) -> Case:
    folder.mkdir(exist_ok=True)
    info = video.ingest(make(film, folder / f"film.{film.container}"), folder / "work")
    index = video.index(info)
    settings = EncoderSettings.for_source(info, codec or film.codec, preset="ultrafast")  # type: ignore[arg-type]
    found = table.find(info, index, settings)
    return Case(info, index, replace(settings, sets=found.number), found)


def splice(case: Case, chunk: Chunk, copied: set[int], path: Path) -> Segment:
    """A chunk of the film, with the groups of those numbers as they are in the source."""
    groups = [g for k, g in enumerate(case.groups.groups) if k in copied and chunk.start <= g.start < chunk.stop]
    args = (path, case.info, case.index, case.settings, 1, chunk, groups, case.groups.sets)
    with SplicedWriter(*args) as writer:
        for picture in read(case.info, case.index, chunk.start, chunk.stop):
            writer.write(picture)
        segment = writer.close()
    verify_segment(segment, case.index, chunk)
    return segment


def stitched(case: Case, copied: set[int], folder: Path, suffix: str = ".mp4", parts: int = 1) -> Path:
    starts = [group.start for group in case.groups.groups]
    target = case.index.seconds() / parts + Fraction(1, 100)
    chunks = plan_whole(case.index, starts, target=target, most=400)
    segments = [splice(case, chunk, copied, folder / f"{chunk.index}.nut") for chunk in chunks]
    joined = stitch(case.info, case.index, segments, folder / f"out{suffix}", last=len(case.index), spliced=True)
    return joined.rename(folder / f"out{suffix}")


def pictures(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def by_ffmpeg(path: Path, pix_fmt: str) -> list[str]:
    """Hashes of pictures as the ffmpeg command sees them."""
    out = path.with_suffix(".md5")
    ffmpeg("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-pix_fmt", pix_fmt, "-f", "framemd5", out)
    return [line.rpartition(",")[2].strip() for line in out.read_text().splitlines() if line[:1] != "#"]


def slices(path: Path, codec: str) -> dict[int, list[bytes]]:
    """What each picture is coded as, by its place in the order of decoding."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        form = nal.Form.of(codec, stream.codec_context.extradata or b"")
        return {n: nal.slices(form, bytes(p)) for n, p in enumerate(q for q in container.demux(stream) if q.size)}


def frames_of(case: Case, copied: set[int]) -> set[int]:
    return {f for k in copied for f in range(case.groups.groups[k].start, case.groups.groups[k].stop)}


FILMS = {
    "h264 without B-frames": Film(frames=FRAMES, gop=GOP, b_frames=0),
    "h264 with deep reordering, variable rate": Film(frames=FRAMES, gop=GOP, b_frames=5, pattern="vfr"),
    "h264 in mkv": Film("mkv", frames=FRAMES, gop=GOP, pattern="ntsc"),
    "h264 in ts": Film("ts", frames=FRAMES, gop=GOP, b_frames=3),
    "h264, 10 bits, 4:2:2": Film(frames=FRAMES, gop=GOP, pix_fmt="yuv422p10le"),
    "hevc": Film(codec="hevc", frames=FRAMES, gop=GOP, b_frames=2, pattern="vfr"),
    "hevc in mkv": Film("mkv", codec="hevc", frames=FRAMES, gop=GOP, b_frames=0, pix_fmt="yuv420p10le"),
}


@pytest.mark.parametrize("film", FILMS.values(), ids=FILMS)
def test_what_is_copied_has_the_source_s_bits_and_every_decoder_sees_the_source_s_pictures(
    film: Film, tmp_path: Path
) -> None:
    it, copied = case(film, tmp_path), {0, 2, 3, 5}
    assert [(g.start, g.stop, g.whole) for g in it.groups.groups] == [(k, k + GOP, True) for k in range(0, FRAMES, GOP)]
    out = stitched(it, copied, tmp_path, ".mkv" if film.container == "mkv" else ".mp4", parts=3)
    same, other = frames_of(it, copied), set(range(FRAMES)) - frames_of(it, copied)
    before, after = pictures(it.info.source), pictures(out)
    assert len(after) == FRAMES
    assert {k for k in range(FRAMES) if before[k] == after[k]} == same, "the others were encoded anew"
    old, new = (by_ffmpeg(path, film.pix_fmt) for path in (it.info.source, out))
    assert {k for k in range(FRAMES) if old[k] == new[k]} == same
    # Groups stay where they are in the order of decoding, too.
    coded, now = slices(it.info.source, film.codec), slices(out, film.codec)
    assert all(coded[k] == now[k] for k in same)
    assert not any(coded[k] == now[k] for k in other)


def test_seeking_to_any_keyframe_of_a_spliced_film_shows_what_playing_it_shows(tmp_path: Path) -> None:
    it = case(Film(frames=FRAMES, gop=GOP, b_frames=3), tmp_path)
    out = stitched(it, {1, 2, 4, 7}, tmp_path)
    whole = pictures(out)
    for start in range(0, FRAMES, GOP):
        with av.open(str(out)) as container:
            stream = container.streams.video[0]
            container.seek(int(start / 25 / stream.time_base), stream=stream)
            frame = next(f for f in container.decode(stream) if f.time is not None and f.time > start / 25 - 0.001)
            assert frame.to_ndarray().tobytes() == whole[start], start


def test_both_parameter_sets_stand_in_the_head_and_the_one_that_asks_for_more_comes_first(tmp_path: Path) -> None:
    it = case(Film(frames=16, gop=GOP), tmp_path)
    numbers = nal.ParameterSets("h264")
    numbers.see(nal.in_record("h264", it.groups.sets))
    assert it.settings.sets == numbers.free() == 1
    chunk = plan(it.index, target=Fraction(10))[0]
    segment = splice(it, chunk, {0}, tmp_path / "0.nut")
    with av.open(str(segment.path)) as container:
        found = nal.in_record("h264", container.streams.video[0].codec_context.extradata or b"")
    assert Counter(nal.kind("h264", unit) for unit in found) == {7: 2, 8: 2}
    low, high = nal.START + b"\x67\x42\0\x1e" + b"low", nal.START + b"\x67\x64\0\x0b" + b"high"
    assert head("h264", low, high) == high + low == head("h264", high, low)
    assert head("hevc", b"own", b"source's") == b"own"


def test_a_film_without_one_copied_group_and_one_of_nothing_else_can_be_joined(tmp_path: Path) -> None:
    it = case(Film(frames=FRAMES, gop=GOP), tmp_path)
    out = stitched(it, set(range(4)), tmp_path, parts=2)
    same = [a == b for a, b in zip(pictures(it.info.source), pictures(out), strict=True)]
    assert same == [True] * 32 + [False] * 32


@pytest.mark.parametrize(
    ("film", "codec", "why"),
    [
        (Film(frames=8), "hevc", "its codec is h264, and the output's hevc"),
        (Film("avi", codec="mpeg4", frames=8), "h264", "its codec is mpeg4"),
        (Film(frames=8, codec="hevc", pix_fmt="yuv420p10le"), "h264", "its codec is hevc"),
    ],
)
def test_where_the_source_s_packets_don_t_fit_it_says_why(film: Film, codec: str, why: str, tmp_path: Path) -> None:
    found = case(film, tmp_path, codec).groups
    assert why in found.why_none
    assert found.groups == ()


def test_what_would_not_be_exact_is_not_copied(tmp_path: Path) -> None:
    it = case(Film(frames=16, gop=GOP), tmp_path)

    def why(info: VideoInfo, index: FrameIndex = it.index, settings: EncoderSettings = it.settings) -> str:
        return table.find(info, index, settings).why_none

    assert why(replace(it.info, field_order="tff")) == "it is interlaced"
    assert "dynamic" in why(replace(it.info, dynamic_hdr=("HDR10+",)))
    assert why(replace(it.info, pictures=True)) == "it is made of pictures"
    assert "repaired" in why(it.info, replace(it.index, stored=it.index.pts))
    assert "yuv444p" in why(it.info, settings=replace(it.settings, pix_fmt="yuv444p"))
    moved = replace(it.index, pts=it.index.pts + (np.arange(16) == 3))
    assert [g.whole for g in table.find(it.info, moved, it.settings).groups] == [False, True]


def test_groups_of_open_gops_belong_to_the_idr_picture_before(tmp_path: Path) -> None:
    it = case(Film(frames=32, gop=GOP, open_gop=True, b_frames=2), tmp_path)
    assert [(g.start, g.stop) for g in it.groups.groups] == [(0, 32)]
    out = stitched(it, {0}, tmp_path)
    assert pictures(out) == pictures(it.info.source)


def test_a_film_whose_parameter_sets_change_is_not_copied(tmp_path: Path) -> None:
    one, two = tmp_path / "one.ts", tmp_path / "two.ts"
    make(Film("ts", frames=8, gop=GOP, b_frames=0, sound=0), one)
    make(Film("ts", frames=8, gop=GOP, b_frames=3, sound=0), two)
    (tmp_path / "list").write_text(f"file '{one}'\nfile '{two}'\n")
    both = tmp_path / "both.ts"
    ffmpeg("-f", "concat", "-safe", "0", "-i", tmp_path / "list", "-c", "copy", both)
    info = video.ingest(both, tmp_path / "work")
    found = table.find(info, video.index(info), EncoderSettings.for_source(info, "h264"))
    assert found.why_none == "its parameter sets change on the way"


def test_the_table_of_groups_survives_the_disk_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    found = Groups((Group(0, 8, 1000, True), Group(8, 20, 50, False)), "", b"\0\0\0\1abc", 3)
    found.save(tmp_path / "groups.npz")
    assert Groups.load(tmp_path / "groups.npz") == found
    Groups((), "it is interlaced").save(tmp_path / "groups.npz")
    assert Groups.load(tmp_path / "groups.npz").why_none == "it is interlaced"
    (tmp_path / "groups.npz").write_bytes(b"no table")
    with pytest.raises(VerifyError, match="not a table of groups"):
        Groups.load(tmp_path / "groups.npz")


def test_packets_that_aren_t_where_they_were_fail_the_segment(tmp_path: Path) -> None:
    it = case(Film(frames=16, gop=GOP), tmp_path)
    other = replace(it.index, pts=it.index.pts + (np.arange(16) == 12))
    with pytest.raises(VerifyError, match="are not found"):
        list(table.pieces(it.info, other, [Group(8, 16, 0, True)], b""))
    wrong = replace(it.index, pts=it.index.pts + 7)
    with pytest.raises(VerifyError, match="0 of 8 are there"):
        list(table.pieces(it.info, wrong, [Group(8, 16, 0, True)], b""))


def test_what_makers_say_in_a_packet_goes_and_captions_stay() -> None:
    def sei(kind: int, payload: bytes) -> bytes:
        return bytes([6, kind, len(payload)]) + payload + b"\x80"

    where, captions = sei(5, bytes(16) + b"lat=48.1"), sei(4, bytes([0xB5, 0, 0x31]) + b"GA94\x03")
    hdr, recovery, idr = sei(4, bytes([0xB5, 0, 0x3C])), sei(6, b"\x80"), b"\x65slice"
    data = b"".join(nal.START + unit for unit in (b"\x09\xf0", b"\x67sps", where, captions, hdr, recovery, idr))
    form = nal.Form("h264", 0)
    kept = list(form.units(nal.rewritten(form, data, nal.START + b"\x67own")))
    assert kept == [b"\x09\xf0", b"\x67own", captions, recovery, idr]
    assert list(form.units(nal.rewritten(form, data, b"")))[1] == b"\x67sps"
    lengths = b"".join(len(unit).to_bytes(4) + unit for unit in (recovery, idr))
    assert list(nal.Form("h264", 4).units(lengths)) == [recovery, idr]


@pytest.mark.parametrize("data", [b"\0\0\0\x09abc", b"\0\0\0\0", b"\0\0"])
def test_packets_of_another_form_are_told(data: bytes) -> None:
    with pytest.raises(nal.BadStream):
        list(nal.Form("h264", 4).units(data))
    with pytest.raises(nal.BadStream):
        list(nal.Form("h264", 0).units(b"abc"))


def index_of(frames: int) -> FrameIndex:
    flags = np.zeros(frames, bool)
    return FrameIndex(np.arange(frames), np.ones(frames, np.int64), flags, flags, (), 0, Fraction(1, 25))


def edges(chunks: tuple[Chunk, ...]) -> list[int]:
    return [chunks[0].start, *(chunk.stop for chunk in chunks)]


def test_chunks_begin_where_groups_do_and_a_group_that_is_too_long_is_cut() -> None:
    index, starts = index_of(100), range(0, 100, 10)
    assert edges(plan_whole(index, starts, target=Fraction(1), most=400)) == [0, 20, 40, 60, 80, 100]
    assert edges(plan_whole(index, starts, target=Fraction(1, 25), most=400)) == [*range(0, 101, 10)]
    assert edges(plan_whole(index, starts, target=Fraction(10), most=35)) == [0, 30, 60, 90, 100]
    assert edges(plan_whole(index, (0, 20), target=Fraction(1), most=30)) == [0, 20, 46, 73, 100]
    assert edges(plan_whole(index, starts, target=Fraction(1), most=400, first=5, last=33)) == [5, 30, 33]
    assert edges(plan_whole(index, (), target=Fraction(1), most=400)) == [0, 100]
    for bad in ((5, 5), (0, 101)):
        with pytest.raises(ValueError, match="not in a film"):
            plan_whole(index, starts, target=Fraction(1), most=10, first=bad[0], last=bad[1])


def test_groups_that_follow_each_other_are_read_at_once() -> None:
    a, b, c = Group(0, 8, 0, True), Group(8, 12, 0, True), Group(20, 30, 0, True)
    assert table.in_rows([a, b, c]) == [[a, b], [c]]
    assert table.in_rows([]) == []


def every_way() -> Iterator[set[int]]:
    for size in range(5):
        yield from map(set, itertools.combinations(range(4), size))


def test_every_way_of_copying_some_of_four_groups_decodes(tmp_path: Path) -> None:
    it = case(Film(frames=16, gop=4, b_frames=2), tmp_path)
    before, chunk = pictures(it.info.source), plan(it.index, target=Fraction(10))[0]
    for number, copied in enumerate(every_way()):
        after = pictures(splice(it, chunk, copied, tmp_path / f"{number}.nut").path)
        assert {k for k in range(16) if before[k] == after[k]} == frames_of(it, copied), copied


def test_an_encoder_of_its_own_makes_what_the_segment_s_makes(tmp_path: Path) -> None:
    """Rendered groups of a spliced film look as they do in any other."""
    it = case(Film(frames=16, gop=GOP), tmp_path)
    chunk = plan(it.index, target=Fraction(10))[0]
    with SegmentWriter(tmp_path / "plain.nut", it.info, replace(it.settings, sets=0)) as writer:
        for picture in read(it.info, it.index, 0, 16):
            writer.write(picture)
        plain = writer.close()
    assert pictures(splice(it, chunk, set(), tmp_path / "spliced.nut").path) == pictures(plain.path)


def test_the_command_that_tests_ask_is_another_build_than_the_library() -> None:
    assert imageio_ffmpeg.get_ffmpeg_version().split(".")[0] != av.ffmpeg_version_info.split(".")[0]
