"""Dolby Vision and HDR10+: never lost in silence."""

from pathlib import Path
from typing import cast

import av
import pytest
from av.sidedata.sidedata import SideDataContainer, Type
from carry import run
from command import veilfarm
from filmgen import HEIGHT, WIDTH, Film, ffmpeg, make
from inject import with_dolby, with_messages

from pipeline import dynamic, video
from pipeline.errors import Unsupported
from pipeline.facts import FrameIndex

COLOURS = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")


def _pq(folder: Path, name: str, frames: int = 8) -> Path:
    plain = make(Film(codec="hevc", frames=frames, sound=0, pix_fmt="yuv420p10le"), folder / "plain.mp4")
    params = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none:pools=1"
    ffmpeg("-i", plain, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params, *COLOURS, folder / name)
    return folder / name


def _messages(path: Path) -> int:
    with av.open(path) as container:
        return sum(
            cast(SideDataContainer, frame.side_data).get(Type.DYNAMIC_HDR_PLUS) is not None
            for frame in container.decode(video=0)
        )


@pytest.mark.parametrize("codec", ["hevc", "av1", "h264"])
def test_hdr10_plus_is_refused_or_dropped_and_told(tmp_path: Path, codec: str) -> None:
    source = with_messages(_pq(tmp_path, "pq.ts"), tmp_path / "film.ts")
    assert _messages(source) == 8
    info = video.ingest(source, tmp_path / "work")
    assert info.dynamic_hdr == ("HDR10+",)
    with pytest.raises(Unsupported, match=r"HDR10\+.*would be lost.*--drop-dynamic-hdr"):
        dynamic.check(info, drop=False)
    dynamic.check(info, drop=True)
    target = tmp_path / "out.mp4"
    _, _, found = run(source, target, codec)
    assert any("HDR10+ metadata" in line for line in found.stripped)
    assert found.pts_equal
    assert _messages(target) == 0  # what was true of other pictures isn't said of these
    assert video.ingest(target, tmp_path / "again").color_trc == 16


def test_what_begins_late_is_refused_when_it_is_met(tmp_path: Path) -> None:
    source = with_messages(_pq(tmp_path, "pq.ts", frames=30), tmp_path / "film.ts", first=20)
    info = video.ingest(source, tmp_path / "work")
    assert info.dynamic_hdr == ()
    index = video.index(info, threads=1)
    assert index.dynamic_hdr == ("HDR10+",)
    index.save(tmp_path / "index.npz")
    assert FrameIndex.load(tmp_path / "index.npz").dynamic_hdr == ("HDR10+",)
    ran = veilfarm("swap", source, "-o", tmp_path / "out.mp4", "--veil", "mosaic")
    assert (ran.code, "give --drop-dynamic-hdr to go on without it" in ran.err) == (2, True), ran.err
    assert not (tmp_path / "out.mp4").exists()
    _, _, found = run(source, tmp_path / "dropped.mp4")
    assert any("HDR10+ metadata" in line for line in found.stripped)


@pytest.mark.parametrize("encoder", ["libx265", "libx264", "libsvtav1"])
def test_encoders_write_none_of_it(tmp_path: Path, encoder: str) -> None:
    """Why it isn't passed through. Where this fails, it can be."""
    source, target = with_messages(_pq(tmp_path, "pq.ts"), tmp_path / "film.ts"), tmp_path / "out.mkv"
    with av.open(source) as before, av.open(target, "w") as after:
        stream = after.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p10le"
        for frame in before.decode(video=0):
            assert "HDR10+" in dynamic.of_frame(frame)
            after.mux(stream.encode(frame))
        after.mux(stream.encode(None))
    assert _messages(target) == 0


def test_dolby_vision_is_refused_or_dropped_and_told(tmp_path: Path) -> None:
    source = with_dolby(_pq(tmp_path, "pq.mp4"), tmp_path / "film.mp4")
    info = video.ingest(source, tmp_path / "work")
    assert info.dynamic_hdr == ("Dolby Vision",)
    with pytest.raises(Unsupported, match="Dolby Vision"):
        dynamic.check(info, drop=False)
    dynamic.check(info, drop=True)
    target = tmp_path / "out.mp4"
    _, _, found = run(source, target)
    assert any("Dolby Vision metadata" in line for line in found.stripped)
    assert video.ingest(target, tmp_path / "again").dynamic_hdr == ()


def test_dolby_vision_in_matroska_is_found(tmp_path: Path) -> None:
    film = with_dolby(_pq(tmp_path, "pq.mp4"), tmp_path / "film.mp4")
    ffmpeg("-i", film, "-c", "copy", "-strict", "unofficial", tmp_path / "film.mkv")
    assert video.ingest(tmp_path / "film.mkv", tmp_path / "work").dynamic_hdr == ("Dolby Vision",)


def test_dolby_vision_without_a_picture_for_others_is_refused(tmp_path: Path) -> None:
    plain = make(Film(codec="hevc", frames=8, sound=0, pix_fmt="yuv420p10le"), tmp_path / "plain.mp4")
    info = video.ingest(with_dolby(plain, tmp_path / "film.mp4", profile=5), tmp_path / "work")
    with pytest.raises(Unsupported, match="Dolby Vision alone"):
        dynamic.check(info, drop=True)


def test_an_hdr_film_without_such_metadata_passes(tmp_path: Path) -> None:
    info = video.ingest(_pq(tmp_path, "pq.mp4"), tmp_path / "work")
    assert info.dynamic_hdr == ()
    dynamic.check(info, drop=False)
