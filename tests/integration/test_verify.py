"""`veilfarm verify`: any two films are held against each other."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from command import Ran, veilfarm
from filmgen import Film, ffmpeg, make

from pipeline.verify import verify

TAGGED = ("-metadata", "title=A talk", "-metadata", "artist=Kim")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sound of two tracks and two tags."""
    folder = tmp_path_factory.mktemp("verify")
    plain = make(Film(pattern="ntsc", sound=2, delay=Fraction(1, 10)), folder / "plain.mp4")
    ffmpeg("-i", plain, "-map", "0", "-c", "copy", *TAGGED, folder / "film.mp4")
    return folder / "film.mp4"


def checks(ran: Ran) -> dict[str, Any]:
    """By name, of a run with --json."""
    found = json.loads(ran.out)
    assert found["good"] is (ran.code == 0)
    return {each["name"]: each for each in found["checks"]}


def test_a_copy_is_the_same(film: Path, tmp_path: Path) -> None:
    ffmpeg("-i", film, "-map", "0", "-c", "copy", tmp_path / "copy.mp4")
    ran = veilfarm("verify", film, tmp_path / "copy.mp4")
    assert ran.code == 0, ran.out
    assert "30 of 30" in ran.out
    assert "every packet of 2 tracks is the same" in ran.out
    assert "all 2 are there" in ran.out


META = """;FFMETADATA1
[CHAPTER]
TIMEBASE=1/1000
START=0
END={end}
title=First
[CHAPTER]
TIMEBASE=1/1000
START={end}
END=1000
title=Second
"""
SRT = "1\n00:00:00,{begin} --> 00:00:00,800\n{text}\n"


def _rich(film: Path, folder: Path, **other: Any) -> Path:
    """The film with chapters, subtitles, a timecode and a font."""
    have = {"end": 400, "begin": 100, "text": "Hello", "code": "01:00:00:00", "font": 1} | other
    folder.mkdir()
    (folder / "meta.txt").write_text(META.format(**have))
    (folder / "text.srt").write_text(SRT.format(**have))
    (folder / "font.ttf").write_bytes(bytes([0, 1, 0, have["font"]]) * 100)
    font = ("-attach", folder / "font.ttf", "-metadata:s:t:0", "mimetype=font/ttf")
    ffmpeg("-i", film, "-i", folder / "text.srt", "-i", folder / "meta.txt", "-map", "0", "-map", "1", "-map_chapters",
           "2", "-c", "copy", "-metadata", f"timecode={have['code']}", *font, folder / "rich.mkv")  # fmt: skip
    return folder / "rich.mkv"


@pytest.mark.parametrize(
    ("other", "bad"),
    [
        ({}, None),
        ({"end": 450}, "chapters"),
        ({"begin": 150}, "contents of streams"),
        ({"text": "Hallo"}, "contents of streams"),
        ({"font": 2}, "contents of streams"),
        ({"code": "02:00:00:00"}, "timecode"),
    ],
)
def test_contents_of_all_that_lies_beside(film: Path, tmp_path: Path, other: dict[str, Any], bad: str | None) -> None:
    found = verify(_rich(film, tmp_path / "a"), _rich(film, tmp_path / "b", **other), threads=1)
    wrong = {check.name for check in found.checks if not check.good}
    assert wrong - {"tags"} == ({bad} if bad else set())  # a timecode is a tag of Matroska, too


def test_converted_sound_that_is_late_is_noticed(film: Path, tmp_path: Path) -> None:
    for name, late, good in (("right", "0", True), ("late", "0.2", False)):
        target = tmp_path / f"{name}.mkv"
        ffmpeg("-i", film, "-itsoffset", late, "-i", film, "-map", "0:v", "-map", "1:a", "-c", "copy", *TAGGED,
               "-c:a", "libopus", target)  # fmt: skip
        found = {check.name: check for check in verify(film, target, threads=1).checks}
        assert found["contents of streams"].good is good, name
        assert len(found["of another kind"].items) == 2


def test_what_swap_makes_is_the_same(film: Path, tmp_path: Path) -> None:
    assert veilfarm("swap", film, "-o", tmp_path / "out.mp4", "--veil", "mosaic").code == 0
    ran = veilfarm("verify", film, tmp_path / "out.mp4", "--json")
    assert ran.code == 0, ran.out
    part = tmp_path / "part.mp4"
    assert veilfarm("swap", film, "-o", part, "--veil", "mosaic", "--from", "5f", "--to", "20f").code == 0
    assert veilfarm("verify", film, part, "--from", "5f", "--to", "20f").code == 0
    assert checks(veilfarm("verify", film, part, "--json"))["frames"]["told"] == "15 of 30"


@pytest.mark.parametrize(
    ("options", "bad"),
    [
        (("-map", "0", "-c", "copy", "-map_metadata", "-1"), {"tags": ["title", "artist"]}),
        (("-map", "0:v", "-map", "0:a:0", "-c", "copy"), {"streams": 1, "sound": 0}),
        (("-map", "0", "-c:v", "copy", "-c:a", "aac", "-b:a", "32k"), {"sound": 0}),
        (("-map", "0", "-c:a", "copy", "-r", "25"), {"frames": 0, "frame times": 0}),
        (("-map", "0", "-c", "copy", "-metadata", "location=+48.1+011.5/"), {"what identifies": 2}),
        (("-map", "0:v", "-c", "copy", "-frames:v", "20"), {"frames": 0, "frame times": 0, "streams": 2, "sound": 0}),
    ],
)
def test_what_is_lost_is_told(film: Path, tmp_path: Path, options: tuple[str, ...], bad: dict[str, Any]) -> None:
    ffmpeg("-i", film, *options, tmp_path / "other.mp4")
    ran = veilfarm("verify", film, tmp_path / "other.mp4", "--json")
    assert ran.code == 1
    found = checks(ran)
    assert {name for name, each in found.items() if not each["good"]} == set(bad)
    for name, items in bad.items():
        told = found[name]["items"]
        assert sorted(told) == sorted(items) if isinstance(items, list) else len(told) == items


@pytest.mark.parametrize(
    "wrong", [("none.mp4", "{film}"), ("{film}", "none.mp4"), ("{text}", "{film}"), ("{film}", "{text}")]
)
def test_what_is_no_film_is_one_line(film: Path, tmp_path: Path, wrong: tuple[str, str]) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    names = [each.format(film=film, text=tmp_path / "text.mp4") for each in wrong]
    ran = veilfarm("verify", *names)
    assert ran.code == 2
    assert ran.complaint
