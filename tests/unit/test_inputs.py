"""From what was typed to pairs of source and target."""

import os
from pathlib import Path

import pytest
from PIL import Image

from cluster.config import Request, UsageError
from cluster.inputs import Pair, check_target, pairs
from pipeline.errors import InputError, OutputError


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder with films in a tree, and with what is none."""
    folder = tmp_path / "films"
    for name in ("a.mp4", "sub/b.MKV", "sub/deep/c.ts", "notes.txt", ".hidden.mp4", ".a.mp4.veilfarm/film.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")
    return folder


def names(found: tuple[Pair, ...], output: Path) -> list[str]:
    return [pair.target.relative_to(output).as_posix() for pair in found]


def test_one_file_to_one_file(films: Path, tmp_path: Path) -> None:
    assert pairs([films / "a.mp4"], tmp_path / "o.mkv") == (Pair(films / "a.mp4", tmp_path / "o.mkv"),)


def test_one_file_into_a_folder(films: Path, tmp_path: Path) -> None:
    assert names(pairs([films / "a.mp4"], tmp_path), tmp_path) == ["a.mp4"]


def test_a_folder_is_mirrored(films: Path, tmp_path: Path) -> None:
    assert names(pairs([films], tmp_path / "out"), tmp_path / "out") == ["a.mp4", "sub/b.MKV", "sub/deep/c.mp4"]


def test_the_output_folder_may_lie_inside(films: Path) -> None:
    out = films / "out"
    out.mkdir()
    (out / "a.mp4").write_bytes(b"earlier output")
    assert [p.source.name for p in pairs([films], out)] == ["a.mp4", "b.MKV", "c.ts"]


def test_several_files(films: Path, tmp_path: Path) -> None:
    found = pairs([films / "a.mp4", films / "sub/b.MKV"], tmp_path / "out")
    assert names(found, tmp_path / "out") == ["a.mp4", "b.MKV"]


def test_a_bad_input_is_refused_alone(films: Path, tmp_path: Path) -> None:
    (films / "empty.mp4").touch()
    found = pairs([films / "a.mp4", films / "empty.mp4", films / "none.mp4"], tmp_path / "out")
    assert [pair.refused is None for pair in found] == [True, False, False]
    assert "empty" in str(found[1].refused)
    assert "no such file" in str(found[2].refused)


def test_two_films_of_one_name(films: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same name"):
        pairs([films / "sub/deep/c.ts", films / "a.mp4", _film(tmp_path / "c.mp4")], tmp_path / "out")


def test_a_folder_without_videos(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="no video in this folder"):
        pairs([tmp_path], tmp_path / "out")


def picture(path: Path, side: int = 9) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (side, 9)).save(path)
    return path


def test_a_folder_of_pictures_of_one_size_is_a_sequence(tmp_path: Path) -> None:
    folder = picture(tmp_path / "in" / "1.png").parent
    picture(folder / "2.png")
    assert pairs([folder], tmp_path / "out") == (Pair(folder, tmp_path / "out"),)
    assert pairs([folder], tmp_path / "out.mp4") == (Pair(folder, tmp_path / "out.mp4"),)
    assert [pair.to_folder for pair in pairs([folder], tmp_path / "out")] == [True]
    picture(folder / "3.png", side=8)
    assert names(pairs([folder], tmp_path / "out"), tmp_path / "out") == ["1.png", "2.png", "3.png"]
    _film(folder / "sub.mp4")
    assert names(pairs([folder], tmp_path / "out"), tmp_path / "out") == ["sub.mp4"]


def test_pictures_are_not_lost_in_a_folder_that_is_there(tmp_path: Path) -> None:
    pair = Pair(picture(tmp_path / "in" / "1.png").parent, tmp_path / "out")
    (tmp_path / "out").mkdir()
    check_target(pair, [pair.source], Request((pair.source,), pair.target))
    picture(tmp_path / "out" / "1.png")
    with pytest.raises(UsageError, match="exists"):
        check_target(pair, [pair.source], Request((pair.source,), pair.target))
    check_target(pair, [pair.source], Request((pair.source,), pair.target, overwrite=True))


def test_several_into_a_file(films: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a file"):
        pairs([films], _film(tmp_path / "out.mp4"))


def test_a_pipe_is_no_film(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert pairs([tmp_path / "pipe.mp4"], tmp_path / "o.mp4")[0].refused is not None


@pytest.mark.parametrize("how", ["same", "symlink", "hard link", "dots", "symlinked folder"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_source_is_never_overwritten(films: Path, tmp_path: Path, how: str, overwrite: bool) -> None:
    source, target = films / "a.mp4", tmp_path / "o.mp4"
    match how:
        case "same":
            target = source
        case "symlink":
            target.symlink_to(source)
        case "hard link":
            target.hardlink_to(source)
        case "dots":
            target = films / "sub" / ".." / "a.mp4"
        case _:
            (tmp_path / "link").symlink_to(films)
            target = tmp_path / "link" / "a.mp4"
    with pytest.raises(UsageError, match="input itself"):
        check_target(Pair(source, target), [source], Request((source,), target, overwrite=overwrite))


def test_nor_is_another_source(films: Path) -> None:
    one, other = films / "a.mp4", films / "sub/b.MKV"
    with pytest.raises(UsageError, match="input itself"):
        check_target(Pair(one, other), [one, other], Request((one, other), other, overwrite=True))


def test_an_output_that_exists(films: Path, tmp_path: Path) -> None:
    source, target = films / "a.mp4", _film(tmp_path / "o.mp4")
    with pytest.raises(UsageError, match="exists"):
        check_target(Pair(source, target), [source], Request((source,), target))
    check_target(Pair(source, target), [source], Request((source,), target, overwrite=True))


def test_a_file_in_the_place_of_the_output_folder(films: Path, tmp_path: Path) -> None:
    source, target = films / "a.mp4", _film(tmp_path / "file") / "o.mp4"
    with pytest.raises(OutputError, match="can't write"):
        check_target(Pair(source, target), [source], Request((source,), target))


def test_missing_output_folders_are_made(films: Path, tmp_path: Path) -> None:
    source, target = films / "a.mp4", tmp_path / "new" / "deep" / "o.mp4"
    check_target(Pair(source, target), [source], Request((source,), target))
    assert list(target.parent.iterdir()) == []


def _film(path: Path) -> Path:
    path.write_bytes(b"film")
    return path


@pytest.mark.parametrize("name", ["films/a.mp4", "films/sub/b.MKV", "o.mp4", "films", "none/r.json", "pipe"])
def test_reports_that_cannot_be(films: Path, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    source, target = films / "a.mp4", tmp_path / "o.mp4"
    request = Request((source,), target, report=tmp_path / name, overwrite=True)
    with pytest.raises(UsageError, match="report"):
        check_target(Pair(source, target), [source, films / "sub/b.MKV"], request)


def test_a_report_in_a_folder_that_is_there(films: Path, tmp_path: Path) -> None:
    source, target = films / "a.mp4", tmp_path / "o.mp4"
    check_target(Pair(source, target), [source], Request((source,), target, report=films / "r.json"))
    assert not (films / "r.json").exists()
