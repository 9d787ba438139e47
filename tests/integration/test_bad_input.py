"""Everything that can be wrong with what is asked for, through the real command: one clear line, the right exit code,
and nothing half-written."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import VEILFARM, Ran, veilfarm
from filmgen import Film, make

GOOD = Film(frames=50, gop=10)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(GOOD, tmp_path_factory.mktemp("films") / "film.mp4")


def content(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def refused(ran: Ran, *words: str, code: int = 2) -> None:
    assert ran.code == code, ran.err
    assert ran.out == ""
    for word in words:
        assert word in ran.complaint


def test_no_such_file(tmp_path: Path) -> None:
    refused(veilfarm("swap", tmp_path / "none.mp4", "-o", tmp_path / "o.mp4"), "none.mp4: no such file")
    assert content(tmp_path) == set()


def test_a_folder_without_videos(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    refused(veilfarm("swap", tmp_path / "in", "-o", tmp_path / "out"), "no video in this folder")
    assert content(tmp_path) == {"in"}


@pytest.mark.parametrize("kind", ["text", "random", "zero bytes", "picture", "sound only", "cut off"])
def test_what_is_no_film(tmp_path: Path, film: Path, kind: str) -> None:
    source = tmp_path / "in.mp4"
    match kind:
        case "text":
            source.write_text("This is not a film.\n" * 1000)
        case "random":
            source.write_bytes(os.urandom(100_000))
        case "zero bytes":
            source.touch()
        case "picture":
            from PIL import Image

            Image.new("RGB", (64, 64)).save(source, "PNG")
        case "sound only":
            _sound(source)
        case _:
            source.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    refused(veilfarm("swap", source, "-o", tmp_path / "o.mp4"), "in.mp4")
    assert content(tmp_path) == {"in.mp4"}


def _sound(path: Path) -> None:
    import av
    import numpy as np

    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("how", ["itself", "symlink", "hard link"])
def test_the_output_is_the_input(tmp_path: Path, film: Path, how: str) -> None:
    source, target = tmp_path / "in.mp4", tmp_path / "o.mp4"
    source.write_bytes(film.read_bytes())
    match how:
        case "itself":
            target = source
        case "symlink":
            target.symlink_to(source)
        case _:
            target.hardlink_to(source)
    refused(veilfarm("swap", source, "-o", target, "--overwrite"), "is an input itself")
    assert source.read_bytes() == film.read_bytes()


def test_the_output_exists(tmp_path: Path, film: Path) -> None:
    target = tmp_path / "o.mp4"
    target.write_bytes(b"precious")
    refused(veilfarm("swap", film, "-o", target), "exists", "--overwrite")
    assert target.read_bytes() == b"precious"
    ran = veilfarm("swap", film, "-o", target, "--overwrite", "--quality", "draft")
    assert ran.code == 0, ran.err
    assert target.read_bytes() != b"precious"


def test_the_output_stays_when_the_source_is_bad(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mp4", tmp_path / "o.mp4"
    source.write_text("no film\n" * 100)
    target.write_bytes(b"precious")
    refused(veilfarm("swap", source, "-o", target, "--overwrite"), "in.mp4")
    assert target.read_bytes() == b"precious"


def test_a_file_in_the_place_of_the_output_folder(tmp_path: Path, film: Path) -> None:
    (tmp_path / "file").touch()
    refused(veilfarm("swap", film, "-o", tmp_path / "file" / "o.mp4"), "can't write into", code=1)
    assert content(tmp_path) == {"file"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB. Skips where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_read_only_file_system(small_disk: Path, film: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused(veilfarm("swap", film, "-o", small_disk / "o.mp4"), "can't write into", "Read-only", code=1)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    big = make(Film(frames=250, gop=50, sound=2), tmp_path / "big.mp4")
    ran = veilfarm("swap", big, "-o", small_disk / "o.mp4", "--quality", "1")
    assert ran.code == 1, ran.err
    assert "disk is full" in ran.err
    assert not (small_disk / "o.mp4").exists()
    assert not list(small_disk.glob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--veil", "batman"], "--veil"),
        (["--codec", "vp9"], "--codec"),
        (["--device", "tpu"], "--device"),
        (["--quality", "fine"], "--quality"),
        (["--quality", "99"], "--quality"),
        (["--workers", "0"], "--workers"),
        (["--workers", "two"], "--workers"),
        (["--from", "noon"], "noon"),
        (["--from", "5", "--to", "4"], "no frame"),
        (["--from", "1000"], "no frame"),
        (["--from", "1000f"], "no frame"),
        (["--seed-key", "/none"], "--seed-key"),
        (["--face", "me.jpg"], "--face"),
        (["--codec", "h264", "-o", "o.webm"], "o.webm"),
        (["-o", "o.xyz"], "o.xyz"),
    ],
)
def test_values_that_are_unknown(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(veilfarm("swap", film, "-o", "o.mp4", *arguments), word)
    assert content(tmp_path) == set()


def test_cuda_where_there_is_none(tmp_path: Path, film: Path) -> None:
    ran = veilfarm("swap", film, "-o", tmp_path / "o.mp4", "--device", "cuda", env={"CUDA_VISIBLE_DEVICES": ""})
    refused(ran, "there is no CUDA device", code=1)
    assert content(tmp_path) == set()


def test_nothing_at_all() -> None:
    ran = veilfarm()
    assert ran.code == 2
    assert "Usage" in ran.err
    assert veilfarm("swap").code == 2
    assert veilfarm("swap", "--help").code == 0
    assert veilfarm("--version").out.startswith("veilfarm ")


def test_json_tells_errors_too(tmp_path: Path) -> None:
    ran = veilfarm("swap", tmp_path / "none.mp4", "-o", tmp_path / "o.mp4", "--json")
    assert ran.code == 2
    assert [(event["event"], event["exit"]) for event in ran.events] == [("error", 2)]
    assert "no such file" in ran.complaint


def test_debug_shows_the_stack(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_text("no film\n" * 100)
    process = subprocess.run(
        [VEILFARM, "swap", source, "-o", tmp_path / "o.mp4", "--debug"], capture_output=True, text=True, timeout=240
    )
    assert process.returncode == 2
    assert "Traceback" in process.stderr
