"""Photos, animations and folders of pictures through the real command."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import veilfarm
from PIL import Image
from portrait import FILE
from stillgen import animate, moving, smooth

PLACE = (220, 60)  # where the portrait is in `photo`


def photo(path: Path, *, shift: int = 0, **options: Any) -> Path:
    """A face of nobody before a wall."""
    image = smooth().resize((800, 500))
    image.paste(Image.open(FILE), (PLACE[0] + shift, PLACE[1]))
    image.save(path, **options)
    return path


def apart(one: Path, other: Path) -> "np.ndarray[Any, np.dtype[Any]]":
    a, b = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (one, other))
    return np.abs(a - b).max(2)


def report(path: Path) -> Any:
    return json.loads(Path(f"{path}.report.json").read_text())


def test_the_face_in_a_photo_is_replaced_and_nothing_else_changes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    source, out = photo(tmp_path / "a.png", exif=exif), tmp_path / "out.png"
    ran = veilfarm("swap", source, "-o", out)
    assert ran.code == 0, ran.err
    found = report(out)
    assert (found["frames"]["in"], found["frames"]["out"], found["faces"]["replaced"]) == (1, 1, 1)
    assert "EXIF place (GPS)" in found["stripped"]
    differs = apart(source, out)
    assert differs[160:380, 330:500].mean() > 5
    differs[PLACE[1] : PLACE[1] + 384, PLACE[0] : PLACE[0] + 384] = 0
    assert not differs.any()
    assert not Image.open(out).getexif()
    assert veilfarm("verify", source, out).code == 0


def test_a_folder_of_pictures_has_one_face_per_person(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in (1, 2, 10):
        photo(tmp_path / "in" / f"p{number}.jpg", shift=8 * number, quality=90)
    out = tmp_path / "out"
    ran = veilfarm("swap", tmp_path / "in", "-o", out)
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in out.iterdir()) == ["p1.jpg", "p10.jpg", "p2.jpg"]
    found = report(out)
    assert (found["source"]["container"], found["frames"]["out"], len(found["people"])) == ("folder", 3, 1)
    assert found["faces"]["replaced"] + found["faces"]["covered"] == 3
    assert veilfarm("verify", tmp_path / "in", out).code == 0
    assert veilfarm("swap", tmp_path / "in", "-o", out).code == 2
    again = veilfarm("swap", tmp_path / "in", "-o", out, "--resume")
    assert (again.code, again.out.count("done before")) == (0, 1)


@pytest.mark.parametrize("name", ["o.gif", "o.webp", "o.mp4"])
def test_an_animation(tmp_path: Path, name: str) -> None:
    source = animate(tmp_path / "a.gif")
    ran = veilfarm("swap", source, "-o", tmp_path / name)
    assert ran.code == 0, ran.err
    assert veilfarm("verify", source, tmp_path / name).code == 0
    assert report(tmp_path / name)["frames"]["out"] == len(moving())


def test_what_is_refused_and_in_one_line(tmp_path: Path) -> None:
    cut = photo(tmp_path / "cut.jpg")
    cut.write_bytes(cut.read_bytes()[:9000])
    moves = animate(tmp_path / "a.gif")
    for source, out, word in (
        (cut, "o.jpg", "cut off"),
        (moves, "o.jpg", "moves"),
        (shutil.copy(FILE, tmp_path / "p.jpg"), "o.mp4", "is a picture"),
    ):
        ran = veilfarm("swap", source, "-o", tmp_path / out)
        assert (ran.code, ran.out) == (2, "")
        assert word in ran.complaint
        assert not (tmp_path / out).exists()
