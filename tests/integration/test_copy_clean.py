"""`veilfarm swap --copy-clean`, as its users run it."""

import json
from collections import Counter
from pathlib import Path

import av
import jsonschema
import pytest
from command import veilfarm
from facefilm import passing
from filmgen import Film, ffmpeg, make

from pipeline.copying import nal

FRAMES, GOP, SHOWN, LAST = 160, 12, range(64, 80), 155
SCHEMA = Path(__file__).parent.parent.parent / "docs/report.schema.json"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films in one run: H.264 and HEVC in which somebody passes, and one that can't be copied."""
    films, out = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("out")
    passing(films / "h264.mp4", SHOWN, FRAMES, GOP)
    passing(films / "hevc.mkv", SHOWN, FRAMES, GOP, "libx265")
    make(Film("avi", codec="mpeg4", frames=20), films / "old.avi")
    inputs = [films / name for name in ("h264.mp4", "hevc.mkv", "old.avi")]
    ran = veilfarm("swap", *inputs, "-o", out, "--copy-clean", "--quality", "draft", "--to", f"{LAST}f")
    assert ran.code == 0, ran.err
    lines = {line.split(":")[0].rpartition("/")[2]: line for line in ran.out.splitlines()}
    assert "none copied: its codec is mpeg4" in lines["old.mp4"]
    assert " frames copied" in lines["h264.mp4"]
    (out / "films").symlink_to(films)
    return out


def report(out: Path, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((out / f"{name}.report.json").read_text())
    # Of the other films' reports the schema's own tests take care.
    jsonschema.validate(found["copied"], json.loads(SCHEMA.read_text())["properties"]["copied"] | {"$defs": DEFS})
    return found


DEFS = json.loads(SCHEMA.read_text())["$defs"]


def by_ffmpeg(path: Path, to: Path) -> list[str]:
    ffmpeg("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", to)
    return [line.rpartition(",")[2].strip() for line in to.read_text().splitlines() if line[:1] != "#"]


def units(path: Path, codec: str) -> list[list[bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        form = nal.Form.of(codec, stream.codec_context.extradata or b"")
        return [nal.slices(form, bytes(packet)) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize(("name", "codec"), [("h264.mp4", "h264"), ("hevc.mkv", "hevc")])
def test_what_the_report_says_is_copied_is_the_source_s_and_nothing_else(
    out: Path, name: str, codec: str, tmp_path: Path
) -> None:
    told = report(out, name)["copied"]
    assert isinstance(told, dict)
    groups = told["groups"]
    kept = {k for group in groups if group["copied"] for k in range(group["first"], group["last"])}
    assert told["frames"] == len(kept) >= 4 * GOP
    assert told["bytes"] == sum(group["bytes"] for group in groups if group["copied"])
    whys = Counter(group["why"] for group in groups)
    assert whys["face"] >= 2
    assert whys["range"] == 1, "the part ends in the middle of a group"
    assert not kept & set(SHOWN)
    source = out / "films" / name
    before, after = by_ffmpeg(source, tmp_path / "a"), by_ffmpeg(out / name, tmp_path / "b")
    assert len(after) == LAST
    assert {k for k in range(LAST) if before[k] == after[k]} == kept
    coded, now = units(source, codec), units(out / name, codec)
    same = [k for k in range(LAST) if coded[k] == now[k]]
    assert set(same) == kept, "groups are closed, so that packets and frames of one have the same numbers"


def test_every_seek_of_another_program_s_finds_the_same_picture(out: Path, tmp_path: Path) -> None:
    whole = by_ffmpeg(out / "h264.mp4", tmp_path / "whole")
    for frame in range(6, LAST, GOP):
        one = tmp_path / f"{frame}.md5"
        ffmpeg("-ss", f"{frame / 25:.3f}", "-i", out / "h264.mp4", "-frames:v", "1", "-f", "framemd5", one)
        assert one.read_text().splitlines()[-1].rpartition(",")[2].strip() == whole[frame], frame


def test_verify_is_content_with_it(out: Path) -> None:
    ran = veilfarm("verify", out / "films" / "h264.mp4", out / "h264.mp4", "--to", f"{LAST}f")
    assert ran.code == 0, ran.out + ran.err
