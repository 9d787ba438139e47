"""HEIC in: turned, tiled, with its profile, as phones write it; or refused."""

import contextlib
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heifgen import Heic, write
from PIL import Image, ImageCms
from stillgen import carry

from cluster.config import output_suffix
from pipeline import video
from pipeline.errors import InputError, Unsupported
from pipeline.stills import kinds, reading, trial
from pipeline.verify import verify

TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # says a turn that was done already


def pixels(path: Path) -> Any:
    return np.asarray(next(reading.pictures(path)).convert("RGB")).astype(int)


def heic(path: Path, **how: Any) -> Path:
    y, x = np.mgrid[0:192, 0:256]
    rgb = np.stack([120 + 80 * np.sin(x / 30), 90 + y * 0.8, 60 + (x + y) / 3], 2).astype(np.uint8)
    return write(Image.fromarray(rgb), path, Heic(**how))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".avif"])
def test_it_is_read_as_phones_write_it(tmp_path: Path, suffix: str) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = heic(tmp_path / "a.heic", tiles=(2, 1), turns=1, icc=icc, exif=TURNED)
    upright = np.rot90(pixels(heic(tmp_path / "plain.heic")), 1)
    assert np.abs(pixels(source) - upright).mean() < 1
    out, found = carry(source, tmp_path / "work", suffix)
    assert Image.open(out).size == (192, 256)
    assert reading.look(out).icc == icc
    assert "EXIF" in found.stripped
    assert reading.look(out).beside == ()
    assert np.abs(pixels(out)[100:] - pixels(source)[100:]).mean() < 1.5
    assert all(check.good for check in verify(source, out).checks)


@pytest.mark.parametrize(
    ("how", "why"), [({"depth": 10}, "10 bits a sample"), ({"numbers": (12, 13, 1)}, "convert it to sRGB")]
)
def test_what_would_lose_something_is_refused(tmp_path: Path, how: dict[str, Any], why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        video.ingest(heic(tmp_path / "a.heic", **how), tmp_path / "work")


def test_what_is_no_whole_file_is_refused(tmp_path: Path) -> None:
    whole = heic(tmp_path / "whole.heic").read_bytes()
    empty = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for number, data in enumerate((whole[: len(whole) * 2 // 3], whole[:300], empty)):
        path = tmp_path / f"{number}.heic"
        path.write_bytes(data)
        with pytest.raises(InputError):
            video.ingest(path, tmp_path / f"work{number}")


def test_a_file_on_which_the_decoder_crashes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = heic(tmp_path / "a.heic")
    assert trial.stands(source)
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(trial, "__file__", str(crash))
    with pytest.raises(InputError, match="its decoder fails on it"):
        video.ingest(heic(tmp_path / "b.heic"), tmp_path / "work")


def test_broken_files_are_refused_or_read_and_crash_nothing(tmp_path: Path) -> None:
    whole, rng = heic(tmp_path / "whole.heic", tiles=(2, 1), exif=TURNED).read_bytes(), random.Random(6)
    for number in range(12):
        data = bytearray(whole)
        for _ in range(4):
            data[rng.randrange(12, 700)] = rng.randrange(256)
        path = tmp_path / f"{number}.heic"
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            list(reading.pictures(path))


def test_more_pictures_in_it_are_left_out_and_told(tmp_path: Path) -> None:
    assert reading.look(heic(tmp_path / "a.heic", more=True)).beside == ("more pictures in it (HEIC)",)


def test_a_folder_of_it_becomes_jpeg(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("1.heic", "2.HEIC", "3.heic"):
        heic(tmp_path / "in" / name)
    next(reading.pictures(tmp_path / "in" / "1.heic")).save(tmp_path / "in" / "3.jpg")
    out, _ = carry(tmp_path / "in", tmp_path / "work", "")
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["1.jpg", "2.jpg", "3.heic.jpg", "3.jpg"]
        archive.extractall(tmp_path / "out")
    found = [kinds.kind_of(path) for path in (tmp_path / "out").iterdir()]
    assert {kind.name for kind in found if kind is not None} == {"jpeg"}
    assert {check.name for check in verify(tmp_path / "in", tmp_path / "out").checks if not check.good} <= {"names"}


def test_its_output_is_a_jpeg(tmp_path: Path) -> None:
    assert [output_suffix(Path(name)) for name in ("a.HEIC", "a.heif", "a.png", "a.mov")] == [
        ".jpg", ".jpg", ".png", ".mov",
    ]  # fmt: skip
