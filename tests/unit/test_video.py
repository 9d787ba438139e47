"""The clock is repaired or refused, the index survives a file, cuts are found, and DRM is seen."""

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cuts import CutFinder
from pipeline.errors import Truncated, Unsupported, VerifyError
from pipeline.facts import NO_PTS, FrameIndex
from pipeline.intact import check_file
from pipeline.kept import stripped_tags, tags
from pipeline.video import repaired

SOURCE = Path("film.mp4")


def clock(*times: int) -> list[int]:
    raw = np.array(times, np.int64)
    return repaired(raw, np.full(len(raw), 10, np.int64), SOURCE).tolist()


def test_a_good_clock_is_left_alone() -> None:
    assert clock(-20, 0, 10, 25) == [-20, 0, 10, 25]
    assert clock(7) == [7]


def test_missing_and_doubled_times_are_set_between() -> None:
    assert clock(0, NO_PTS, 20) == [0, 10, 20]
    assert clock(0, 0, 20) == [0, 10, 20]
    assert clock(0, NO_PTS, 5) == [0, 2, 5], "in the middle, where a coarser clock can hold it, too"
    assert clock(0, NO_PTS, 0, 9) == [0, 3, 6, 9]
    assert clock(0, 10, NO_PTS) == [0, 10, 20]


def test_times_out_of_order_are_sorted() -> None:
    assert clock(1, 4, 3, 2, 5) == [1, 2, 3, 4, 5]


def test_a_broken_clock_is_refused() -> None:
    for times in ([NO_PTS, 10, 20], [*range(1000, 1100, 10), *range(0, 1000, 10)], [NO_PTS] * 5, [5] * 20):
        with pytest.raises(Unsupported, match="clock"):
            clock(*times)


def test_index_survives_a_file(tmp_path: Path) -> None:
    pts = np.array([0, 3, 9], np.int64)
    flags = np.array([True, False, True])
    index = FrameIndex(pts, np.array([3, 6, 5], np.int64), flags, ~flags, (2,), 1, Fraction(1, 90), pts + 1)
    index.save(tmp_path / "index.npz")
    again = FrameIndex.load(tmp_path / "index.npz")
    for name in ("pts", "durations", "keys", "corrupt", "stored"):
        assert np.array_equal(getattr(again, name), getattr(index, name))
    assert (again.cuts, again.damaged, again.time_base) == ((2,), 1, Fraction(1, 90))
    assert again.seconds() == Fraction(14, 90)
    assert again.repaired == 3
    assert again.pts_sha256(0, 2) != again.pts_sha256(1, 3)
    (tmp_path / "index.npz").write_bytes(b"no")
    with pytest.raises(VerifyError):
        FrameIndex.load(tmp_path / "index.npz")


def picture(scene: int, number: int, depth: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Something that moves to the right, in a scene of its own colours."""
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    luma = 90 + 40 * scene + 30 * torch.sin((columns - 2 * number) / (8 + 5 * scene)) + 20 * torch.cos(rows / 9)
    noise = torch.Generator().manual_seed(number)
    luma = luma + 3 * torch.randn(96, 128, generator=noise)
    planes = (luma, torch.full((48, 64), 120.0 + 9 * scene), torch.full((48, 64), 130.0 - 9 * scene))
    kind = torch.uint8 if depth == 8 else torch.int16
    y, u, v = ((p.clamp(0, 255) * (1 << (depth - 8))).to(kind) for p in planes)
    return y, u, v


@pytest.mark.parametrize("depth", [8, 10])
def test_cuts_but_not_flashes_nor_repeated_frames(depth: int) -> None:
    finder = CutFinder()
    for number in range(60):
        scene = 0 if number < 20 else 1 if number < 41 else 2
        y, u, v = picture(scene, number - number % 2 if 20 < number < 40 else number, depth)
        if number == 10:
            y = (y.float() * 1.6).clamp(0, 255 << (depth - 8)).to(y.dtype)
        finder.add((y, u, v), depth)
    assert finder.finish() == (20, 41)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def test_boxes_of_mp4(tmp_path: Path) -> None:
    def film(entry: bytes) -> bytes:
        stsd = box(b"stsd", bytes(4) + struct.pack(">I", 1) + box(entry, bytes(8)))
        moov = box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", stsd)))))
        return box(b"ftyp", b"isom" + bytes(4)) + moov + box(b"mdat", bytes(64))

    path = tmp_path / "film.mp4"
    path.write_bytes(film(b"avc1"))
    check_file(path)
    path.write_bytes(film(b"encv"))
    with pytest.raises(Unsupported, match="encv"):
        check_file(path)
    path.write_bytes(film(b"avc1")[:-10])
    with pytest.raises(Truncated, match="10 bytes are missing"):
        check_file(path)


def test_tags_that_identify() -> None:
    metadata = (
        ("title", "A film"),
        ("location-eng", "+52+13/"),
        ("com.apple.quicktime.GPS", "1"),
        ("com.android.version", "14"),
        ("MakerNote", "x"),
        ("DURATION", "00:01"),
        ("encoder", "Lavf"),
    )
    assert tags(metadata) == {"title": "A film", "com.android.version": "14"}
    assert stripped_tags(metadata) == ("location-eng", "com.apple.quicktime.GPS", "MakerNote")
