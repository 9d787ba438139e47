"""Reviewers from the command line: what is wrong is changed, drawn again, approved; by a server only."""

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from apiclient import Api
from apifarm import a_film, submit
from farmserver import answering, token

from cluster import cli
from cluster.job import ChunkRecord, IndexFacts, LinkFacts, Plan, SourceFacts, Step, TrackFacts, new_id
from cluster.ledger import Unit
from cluster.states import JobState, Move
from cluster.users import Role
from storage.folder import FolderStore

Run = Callable[..., tuple[int, str, str]]
TRACKS = (
    TrackFacts(0, 0, 0, 20, 20, 40, 60, {"replace": 20}, (2, 18)),
    TrackFacts(1, 1, 20, 25, 5, 12, 14, {"cover_small": 5}, (20, 24)),
    TrackFacts(2, 0, 25, 30, 5, 30, 90, {"replace": 5}, (25, 30)),
)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, FolderStore(tmp_path / "store"))


@pytest.fixture
def run(api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """(exit code, what it said, what it said of errors), as kim, a reviewer."""
    with answering(api) as url:
        monkeypatch.setenv("VEILFARM_SERVER", url)
        monkeypatch.setenv("VEILFARM_TOKEN", token(api, "kim", Role.REVIEWER))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("COLUMNS", "200")

        def run(*arguments: object) -> tuple[int, str, str]:
            code = cli.run([str(each) for each in arguments])
            said = capsys.readouterr()
            return code, said.out, said.err

        yield run


@pytest.fixture
def job(api: Api) -> str:
    """Kim's, rendered and held for review."""
    found = submit(api.book, "talk.mp4", "kim", review=True)
    ledger = api.book.ledger(found)
    chunks = tuple(ChunkRecord(i, i * 10, i * 10 + 10, i * 10, i * 10 + 10, "") for i in range(3))
    facts = SourceFacts("0" * 64, "mov", "h264", "yuv420p", 64, 48, 0, Fraction(25), ())
    ledger.commit(Unit(Step.INGEST), "I", facts, 1)
    ledger.commit(Unit(Step.INDEX), "X", IndexFacts(30, Fraction(30, 25), 1, 0), 1)
    ledger.commit(Unit(Step.PLAN), "A", Plan(0, 30, chunks), 0.1)
    ledger.commit(Unit(Step.LINK), "B" * 26, LinkFacts(2, {"0": "0123456789abcdef"}, TRACKS), 0.2)
    api.book.change(found, "controller", Move.START)
    api.book.change(found, "controller", Move.HOLD)
    api.index.row(found)
    return found


def tag(run: Run, job: str) -> str:
    return str(json.loads(run("edits", job, "--json")[1])["tag"])


def test_a_film_is_mended_and_approved(run: Run, api: Api, job: str) -> None:
    code, out, _ = run("edits", job)
    assert (code, out.splitlines()[-1]) == (0, f"tag {tag(run, job)}")
    code, out, err = run("edit", job, "merge", "--person", 1, "--into", 0)
    assert (code, err) == (0, "")
    assert "person 1 into 0" in out
    assert out.splitlines()[-1].endswith("; some aren't rendered yet: see veilfarm mend")
    run("edit", job, "split", "--person", 0, "--tracks", 1, "--tracks", 2, "--reason", "two of them")
    run("edit", job[-8:], "box", "--frame", 3, "--box", "1,2,20,30")
    code, out, _ = run("edit", job, "keep", "--track", 0, "--reason", "she agreed")
    assert code == 0
    for text in ("person 0, tracks 1, 2", "two of them", "frame 3, box 1,2,20,30", "track 0", "she agreed"):
        assert text in out
    made = json.loads(run("edits", job, "--json")[1])["edits"]
    assert [each["kind"] for each in made] == ["merge", "split", "box", "keep"]
    code, out, _ = run("edits", job, "--undo", made[2]["id"][-8:])
    assert (code, "box" in out) == (0, False)
    assert "not rendered yet" in run("people", job)[1]
    code, _, err = run("approve", job)
    assert (code, "not all edits are rendered; mend it first" in err) == (2, True)
    assert run("mend", job)[1] == f"{job} queued\n"
    assert run("approve", job)[0] == 2
    assert api.book.control(job).edits > 0


def test_what_was_seen_is_what_is_approved(run: Run, api: Api, job: str) -> None:
    seen = tag(run, job)
    run("edit", job, "cover", "--person", 0)
    code, _, err = run("approve", job, "--seen", seen)
    assert (code, "kim had person 0 covered" in err) == (2, True)
    code, _, err = run("edit", job, "face", "--person", 0, "--seen", seen)
    assert (code, "somebody else has changed" in err) == (2, True)
    made = json.loads(run("edits", job, "--json")[1])["edits"]
    assert run("edits", job, "--undo", made[0]["id"])[0] == 0
    assert run("approve", job, "--seen", tag(run, job))[1] == f"{job} queued\n"
    assert api.book.control(job).approved


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["edit", "JOB", "face"], "face takes person"),
        (["edit", "JOB", "face", "--person", "7"], "person 7"),
        (["edit", "JOB", "keep", "--person", "0"], "say why"),
        (["edit", "JOB", "box", "--frame", "1", "--box", "1,2"], "is no box"),
        (["edit", "JOB", "box", "--frame", "1", "--box", "900,900,990,990"], "outside of the picture"),
        (["edit", "JOB", "blur", "--person", "0"], "blur"),
        (["edits", "JOB", "--undo", "ZZZZ"], "which edit is ZZZZ?"),
        (["edits", new_id()], "there is no job"),
    ],
)
def test_what_cant_be_is_one_line(run: Run, api: Api, job: str, arguments: list[str], says: str) -> None:
    code, out, err = run(*(job if each == "JOB" else each for each in arguments))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert says in err
    assert json.loads(run("edits", job, "--json")[1])["edits"] == []


def test_a_job_is_submitted_for_review(run: Run, api: Api, tmp_path: Path) -> None:
    for options in ([], ["--store", tmp_path / "store"]):
        code, out, _ = run("submit", a_film(tmp_path / "mine"), "--review", *options)
        assert code == 0
        assert api.book.control(out.split()[0]).review


def test_a_list_says_what_is_to_be_reviewed(run: Run, api: Api, tmp_path: Path) -> None:
    a_film(tmp_path)
    (tmp_path / "list.csv").write_text("source,review\nfilm.mp4,yes\nfilm.mp4,\n")
    code, out, _ = run("submit", "--manifest", tmp_path / "list.csv")
    assert code == 0
    assert [api.book.control(line.split()[0]).review for line in out.splitlines()] == [True, False]


def test_a_store_knows_no_reviewers(run: Run, job: str, tmp_path: Path) -> None:
    for command in (["edits", job], ["edit", job, "face", "--person", 0], ["mend", job], ["approve", job]):
        code, _, err = run(*command, "--store", tmp_path / "store")
        assert (code, len(err.splitlines())) == (2, 1)
        assert "name it by --server" in err
    assert JobState.REVIEW in run("jobs", "--store", tmp_path / "store")[1]
    assert "16 px" not in run("people", job, "--store", tmp_path / "store")[1]
