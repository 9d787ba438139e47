"""Lists of films: what a line may say, and that nothing is submitted when one of them is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from apifarm import a_film

from cluster import cli, manifest
from cluster.book import Book
from cluster.config import UsageError
from cluster.job import Veil, new_id
from cluster.ways.way import Asked
from storage.folder import FolderStore

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(FolderStore(tmp_path / "store"))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("VEILFARM_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("cluster.desk.made_by", lambda: "test")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(each) for each in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "tonight"
    for name in ("a.mp4", "b.mov", "c d.mkv"):
        a_film(folder, name)
    return folder


def test_copying_is_asked_for_on_the_line_or_for_all_and_by_nobody_else(run: Run, book: Book, films: Path) -> None:
    (films / "list.csv").write_text("source,copy_clean\na.mp4,yes\nb.mov,\n", encoding="utf-8")
    for more, wanted in ((), [True, False]), (("--copy-clean",), [True, True]):
        code, out, err = run("submit", "--manifest", films / "list.csv", *more)
        assert (code, err) == (0, "")
        jobs = [line.split()[0] for line in out.splitlines()]
        assert [book.ledger(job).spec().encoding.copy_clean for job in jobs] == wanted


def test_a_csv_with_options_of_each(run: Run, book: Book, films: Path) -> None:
    first = new_id()
    (films / "list.csv").write_text(
        "\ufeffsource, veil ,quality,priority,after,owner,name,id,overwrite,from\n"
        f"a.mp4,mosaic,draft,5,,anna,,{first},yes,\n"
        f'"c d.mkv",,,,{first},,"Tuesday, late",,,1.5\n'
        "\n"
        f"{films}/b.mov\n",
        encoding="utf-8",
    )
    code, out, err = run("submit", "--manifest", films / "list.csv", "--owner", "newsdesk", "--priority", "1")
    assert (code, err) == (0, "")
    one, two, three = (line.split()[0] for line in out.splitlines())
    assert one == first
    spec, card, control = book.ledger(one).spec(), book.card(one), book.control(one)
    assert (spec.source.place, spec.veil, spec.encoding.preset) == (str(films / "a.mp4"), Veil.MOSAIC, "superfast")
    assert (card.owner, control.priority, spec.publish and spec.publish.overwrite) == ("anna", 5, True)
    assert (book.card(two).after, book.card(two).name) == ((first,), "Tuesday, late.mkv")
    assert (book.card(two).owner, book.control(two).priority) == ("newsdesk", 1)
    assert book.ledger(three).spec().source.place == str(films / "b.mov")
    again, out, _ = run("submit", "--manifest", films / "list.csv")
    assert out.split()[0] == first
    assert again == 0


def test_json_lines(run: Run, book: Book, films: Path) -> None:
    lines = [{"source": "a.mp4", "priority": 3, "overwrite": True, "from": 2}, {"source": "b.mov", "to": "out/"}]
    (films / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    code, out, err = run("submit", "--manifest", films / "list.jsonl", "--json")
    assert (code, err) == (0, "")
    one, two = (json.loads(line)["job"] for line in out.splitlines())
    assert book.control(one).priority == 3
    assert book.ledger(two).spec().target == str(films / "out/b.mov")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("none.mp4", "can't be read"),
        (",mosaic", "source is missing"),
        ("b.mov,blur", "veil can't be 'blur'; it is nobody, mosaic or solid"),
        ("b.mov,,high", "priority can't be 'high'; it is no such number"),
        ("b.mov,,5000", "from -1000 to 1000"),
        ("b.mov,,,superb", "--quality superb is unknown"),
        ("b.mov,,,,ZZZZ", "which job is ZZZZ?"),
        ("b.mov,,,,,x,soon", "'soon' is no time"),
        ("b.mov,,,,,,,bad", "BAD is no job's id"),
        ("b.mov,,,,,,,,a.gif", "can't write this kind of file"),
        ("b.mov,1,2,3,4,5,6,7,8,9", "10 values for 9 columns"),
        ('b.mov,"mosaic', "this is no CSV"),
        ("b.mov,,,,,,,,b.mov", "would replace its own source"),
    ],
)
def test_one_wrong_line_and_nothing_is_submitted(run: Run, book: Book, films: Path, line: str, says: str) -> None:
    path = films / "list.csv"
    path.write_text(f"source,veil,priority,quality,after,owner,from,id,to\na.mp4\n{line}\n")
    code, out, err = run("submit", "--manifest", path)
    assert (code, out) == (2, "")
    complaint, last = err.splitlines()
    assert complaint.startswith(f"veilfarm: {path}:3: ")
    assert says in complaint
    assert last == "veilfarm: nothing was submitted"
    assert book.jobs() == ()


def test_every_wrong_line_is_told_up_to_a_bound(run: Run, films: Path) -> None:
    path = films / "list.jsonl"
    path.write_text("\n".join(['{"source": "a.mp4"}', "{", "[1]", *['{"source": "x"}'] * 30]))
    code, _, err = run("submit", "--manifest", path)
    lines = err.splitlines()
    assert (code, len(lines)) == (2, 22)
    assert lines[0].startswith(f"veilfarm: {path}:2: this is no JSON")
    assert lines[1] == f"veilfarm: {path}:3: this is no JSON object"
    assert lines[-2] == "veilfarm: 12 more lines are wrong"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column source"),
        (b"film,veil\na.mp4,mosaic\n", "no column source"),
        (b"source,source\na,b\n", "two columns have one name"),
        (b"source\n", "names no film"),
        (b"source\n\xff\xfe\n", "isn't UTF-8"),
        (None, "can't be read"),
    ],
)
def test_a_file_that_is_no_list(run: Run, tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "list").write_bytes(content)
    code, _, err = run("submit", "--manifest", tmp_path / "list")
    assert (code, len(err.splitlines())) == (2, 1)
    assert says in err


def test_two_lines_that_would_write_one_film(run: Run, films: Path) -> None:
    path = films / "list.csv"
    path.write_text("source,to\na.mp4,out/\nb.mov,out/a.mp4\nb.mov,out/\nb.mov,out/\n")
    code, _, err = run("submit", "--manifest", path)
    assert code == 2
    assert f"{path}:5: " in err
    assert f"is written by {path}:4, too" in err


def test_ids_that_are_given_twice(run: Run, films: Path) -> None:
    path, job = films / "list.csv", new_id()
    path.write_text(f"source,id\na.mp4,{job}\nb.mov,{job.lower()}\n")
    code, _, err = run("submit", "--manifest", path)
    assert (code, f"{path}:3: this id is given twice" in err) == (2, True)


def test_unknown_columns_name_the_known(films: Path) -> None:
    path = films / "list.csv"
    path.write_text("source,face\na.mp4,me.jpg\n")
    asked, wrong = manifest.read(path, Asked(""))
    assert asked == []
    assert "'face' is unknown; known are source, to, veil" in str(wrong[0])


def test_a_list_without_end(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_MOST", 3)
    path = films / "list.csv"
    path.write_text("source\n" + "a.mp4\n" * 4)
    with pytest.raises(UsageError, match="more than 3 lines"):
        manifest.read(path, Asked(""))


def test_patterns_and_folders(run: Run, book: Book, films: Path) -> None:
    a_film(films / "deep/er", "e.mp4")
    (films / "notes.txt").write_text("x")
    code, out, _ = run("submit", "tonight/**/*", "--quality", "draft")
    assert code == 0
    assert [line.split("  ")[1] for line in out.splitlines()] == [
        f"tonight/{name}" for name in ("a.mp4", "b.mov", "c d.mkv", "deep/er/e.mp4")
    ]
    assert len(run("submit", films, "tonight/a.*")[1].splitlines()) == 5
    for wrong in ("tonight/*.avi", "tonight/*.txt", "nowhere/*"):
        code, out, err = run("submit", wrong)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert len(book.jobs()) == 9


def test_a_film_whose_name_is_a_pattern(run: Run, book: Book, tmp_path: Path) -> None:
    a_film(tmp_path, "take [1].mp4")
    assert run("submit", "take [1].mp4")[0] == 0
    assert book.card(book.jobs()[0]).name == "take [1].mp4"


def test_one_name_and_one_id_are_of_one_film(run: Run, films: Path) -> None:
    for option in (["--name", "x"], ["--id", new_id()]):
        code, _, err = run("submit", films, *option)
        assert (code, "are of one film" in err) == (2, True)
    code, _, err = run("submit")
    assert (code, "which films?" in err) == (2, True)


def test_the_same_id_on_the_store(run: Run, book: Book, films: Path) -> None:
    job = new_id()
    for _ in range(2):
        code, out, _ = run("submit", films / "a.mp4", "--id", job)
        assert (code, out.split()[0]) == (0, job)
    code, _, err = run("submit", films / "a.mp4", "--id", job, "--veil", "solid")
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"there is a job {job} already; with another veil; take another id" in err
    assert book.jobs() == (job,)
