"""Pictures in and out: outside of what was changed, nothing is."""

import struct
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stillgen import DELAYS, HEIGHT, PLACE, WIDTH, animate, carry, moving, outside, smooth

from pipeline import probe, video
from pipeline.errors import InputError, Truncated, Unsupported
from pipeline.stills import kinds, reading
from pipeline.stills.coding import paletted
from pipeline.stills.moving import structure
from pipeline.track import believable
from pipeline.verify import verify

EXACT = ["rgb.png", "rgba.png", "l.png", "p.png", "rgb.webp", "rgba.webp", "rgb.tiff", "rgb.bmp", "p.gif"]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(next(reading.pictures(path)).convert("RGBA")).astype(int)


def picture(path: Path) -> Path:
    image = smooth(alpha=path.stem == "rgba")
    image = {"l": image.convert("L"), "p": image.quantize(64)}.get(path.stem, image)
    image.save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


def path_is_clear(path: Path) -> bool:
    """Whether a part of what is painted over is transparent."""
    return path.stem == "rgba"


@pytest.mark.parametrize("name", EXACT)
def test_only_what_was_changed_is_another(tmp_path: Path, name: str) -> None:
    source = picture(tmp_path / name)
    out, _ = carry(source, tmp_path / "work", source.suffix)
    before, after = pixels(source), pixels(out)
    assert np.array_equal(before[outside()], after[outside()])
    assert np.abs(before - after)[PLACE][..., :3].mean() > 20
    assert np.array_equal(before[..., 3], after[..., 3])
    found = {check.name: check for check in verify(source, out).checks}
    assert all(check.good for check in found.values())
    assert ("93.45" if path_is_clear(source) else "89.9") in found["pixels"].told


@pytest.mark.parametrize(("name", "limit"), [("a.jpg", 0.2), ("l.jpg", 0.2), ("a.webp", 1.5), ("a.avif", 1.5)])
def test_formats_with_loss_stay_near(tmp_path: Path, name: str, limit: float) -> None:
    source = tmp_path / name
    smooth().convert("L" if name[0] == "l" else "RGB").save(source, quality=80)
    out, _ = carry(source, tmp_path / "work", source.suffix)
    far = outside()
    far[8:64, 16:88] = False  # blocks that the changed place touches
    assert np.abs(pixels(source) - pixels(out))[far].mean() < limit
    assert Image.open(out).mode == Image.open(source).mode


@pytest.mark.parametrize("source", ["gif", "webp", "png"])
@pytest.mark.parametrize("target", ["gif", "webp", "png"])
@pytest.mark.parametrize("alpha", [False, True])
def test_animations_keep_every_picture_and_time(tmp_path: Path, source: str, target: str, alpha: bool) -> None:
    path = animate(tmp_path / f"a.{source}", alpha)
    out, _ = carry(path, tmp_path / "work", f".{target}")
    assert structure(out, target).delays == tuple(Fraction(delay, 1000) for delay in DELAYS)
    assert structure(out, target).plays == structure(path, source).plays == (4 if source == "gif" else 3)
    for wanted, found in zip(moving(alpha), reading.pictures(out), strict=True):
        a, b = (np.asarray(image.convert("RGBA")).astype(int) for image in (wanted, found))
        seen = outside() & (a[..., 3] > 0)
        assert np.array_equal(a[seen], b[seen])
        assert np.array_equal(a[..., 3], b[..., 3])
    assert verify(path, out).good


def test_equal_pictures_are_not_melted_together(tmp_path: Path) -> None:
    path = animate(tmp_path / "a.gif")
    for suffix in (".gif", ".webp", ".png"):
        out, _ = carry(path, tmp_path / suffix[1:], suffix)
        again, _ = carry(out, tmp_path / f"again{suffix}", suffix, paint=False)
        assert len(structure(again, suffix[1:]).delays) == len(DELAYS)


def test_a_folder_is_a_sequence_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["p1.png", "p2.jpg", "p9.png", "p10.png"]
    for number, name in enumerate(names):
        smooth().point(lambda v, n=number: min(255, v + 20 * n)).save(folder / name)
    (folder / "notes.txt").touch()
    out, found = carry(folder, tmp_path / "work", "")
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == names
        archive.extractall(tmp_path / "out")
    assert (found.frames_in, found.frames_out) == (4, 4)
    assert np.array_equal(pixels(folder / "p10.png")[outside()], pixels(tmp_path / "out" / "p10.png")[outside()])
    assert verify(folder, tmp_path / "out").good
    (tmp_path / "out" / "p9.png").unlink()
    assert not verify(folder, tmp_path / "out").good


def test_what_identifies_is_left_out_and_told_and_the_picture_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[271] = 6, "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    for suffix in (".jpg", ".png", ".webp"):
        source = tmp_path / f"a{suffix}"
        smooth().save(source, exif=exif, icc_profile=b"a profile" * 20)
        out, found = carry(source, tmp_path / suffix[1:], suffix)
        image = Image.open(out)
        assert image.size == (HEIGHT, WIDTH)
        assert {"EXIF", "EXIF place (GPS)"} <= set(found.stripped)
        assert not image.getexif()
        assert image.info["icc_profile"] == b"a profile" * 20
        assert verify(source, out).good
        assert not verify(source, source).good


def test_pictures_of_different_things_are_shots_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(8):
        tone = np.full((64, 64, 3), 40 + 25 * number, np.uint8)
        Image.fromarray(tone).save(folder / f"{number}.png")
    info = video.ingest(folder, tmp_path / "work")
    assert video.index(info).cuts == tuple(range(1, 8))


def refused(path: Path, kind: type[InputError], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        video.ingest(path, path.parent / "work")
    assert str(path) in caught.value.what
    assert caught.value.todo
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "m.gif", "m.webp", "m.png", "a.tiff", "a.bmp"])
def test_a_picture_that_is_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name[0] == "m":
        animate(path)
    else:
        smooth().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    refused(path, InputError, "cut off|can't be read")
    if path.suffix in (".gif", ".png", ".webp"):
        path.write_bytes(data[:-3])
        refused(path, Truncated, "cut off")


def test_bombs_and_what_is_not_done(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    smooth().save(path)
    data = bytearray(path.read_bytes())
    for width in (9000, 60_000):
        data[16:24] = struct.pack(">II", width, width)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)
        refused(path, Unsupported, "too large")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(path)
    refused(path, Unsupported, "16 bits")
    smooth().convert("CMYK").save(tmp_path / "c.jpg")
    refused(tmp_path / "c.jpg", Unsupported, "CMYK")
    first, *others = moving()
    first.save(tmp_path / "many.tiff", save_all=True, append_images=others)
    refused(tmp_path / "many.tiff", Unsupported, "holds 6 pictures")


def test_other_sizes_in_a_sequence(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    smooth().save(folder / "1.png")
    smooth().resize((50, 50)).save(folder / "2.png")
    with pytest.raises(Unsupported, match="another size"):
        video.ingest(folder, tmp_path / "work")
    assert not reading.is_sequence(kinds.in_folder(folder))


@pytest.mark.parametrize(
    ("make", "suffix", "match"),
    [
        ("a.gif", ".jpg", "moves"),
        ("t.gif", ".mp4", "transparent"),
        ("rgba.png", ".jpg", "transparent"),
        ("a.png", ".mp4", "is a picture"),
    ],
)
def test_what_pictures_do_not_become(tmp_path: Path, make: str, suffix: str, match: str) -> None:
    path = tmp_path / make
    if path.suffix == ".gif":
        animate(path, alpha=path.stem == "t")
    else:
        smooth(alpha=path.stem == "rgba").save(path)
    with pytest.raises(Unsupported, match=match):
        carry(path, tmp_path / "work", suffix)


def test_a_palette_keeps_the_colours_of_what_was_not_changed() -> None:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (64, 64, 3), np.uint8)
    rgb[:, :32] = rng.integers(0, 256, (200, 3), np.uint8)[rng.integers(0, 200, (64, 32))]
    changed = np.zeros((64, 64), bool)
    changed[:, 32:] = True
    indices, palette, hole = paletted(rgb, changed, np.zeros((64, 64), bool))
    table = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    assert len(table) <= 256
    assert hole is None
    assert np.array_equal(table[indices][:, :32], rgb[:, :32])


def test_one_weak_sight_with_landmarks_is_enough_where_nothing_comes_again() -> None:
    weak, seen, unseen = (np.array([value], np.float32) for value in (0.35, 0.9, 0.3))
    assert believable(weak, seen, most=1)
    assert not believable(weak, unseen, most=1)
    assert not believable(weak, seen)


def test_the_largest_side_is_that_of_films() -> None:
    assert kinds.MAX_SIDE == probe.MAX_SIDE
