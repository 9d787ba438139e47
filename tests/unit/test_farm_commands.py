"""The subcommands for a farm's jobs, over a store in a folder: what they print, and how they end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from simfarm import submit

from cluster import cli
from cluster.account import FarmStatus, Progress, WorkerStatus
from cluster.book import Book, JobResult
from cluster.job import Step
from cluster.service import write_status
from cluster.states import JobState, Move
from cluster.ways import near
from storage import layout
from storage.folder import FolderStore

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(FolderStore(tmp_path / "store"))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, book: Book) -> Run:
    """(exit code, what it said, what it said of errors)."""
    monkeypatch.setenv("VEILFARM_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("cluster.desk.made_by", lambda: "test")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(each) for each in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


_ENDS = {JobState.DONE: (Move.FINISH, ""), JobState.FAILED: (Move.FAIL, "the film is bad")}


def end(book: Book, job: str, state: JobState = JobState.DONE, **facts: Any) -> None:
    book.change(job, "controller", Move.START)
    book.close(job, 1, JobResult(state, facts.pop("reason", ""), 1.0, **facts))
    book.change(job, "controller", *_ENDS[state])
    book.unqueue(job)


def test_submit_prints_the_ids_of_new_jobs(run: Run, book: Book, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for name in ("a.mp4", "b.mp4", "notes.txt"):
        (films / name).write_bytes(b"film")
    code, out, err = run("submit", films, "--owner", "anna", "--priority", "-3", "--limit", "2", "--deadline", "1")
    assert (code, err) == (0, "")
    jobs = [line.split()[0] for line in out.splitlines()]
    assert jobs == list(book.jobs())
    assert [book.card(job).name for job in jobs] == ["a.mp4", "b.mp4"]
    assert {(book.card(job).owner, book.control(job).priority, book.control(job).limit) for job in jobs} == {
        ("anna", -3, 2)
    }
    code, out, _ = run("submit", films / "a.mp4", "--json", "--after", jobs[0][-9:])
    assert code == 0
    found = json.loads(out)
    assert found["source"] == str(films / "a.mp4")
    assert book.card(found["job"]).after == (jobs[0],)


@pytest.mark.parametrize(
    "wrong",
    [
        ["nothing.mp4"],
        ["{film}", "--device", "tpu"],
        ["{film}", "--quality", "superb"],
        ["{film}", "--after", "UUUU"],
        ["{film}", "--from", "soon"],
        ["{film}", "--seed-key", "nothing"],
        ["{film}", "--priority", "1001"],
        ["{film}", "--limit", "0"],
        [],
    ],
)
def test_submit_refuses_what_cant_be(run: Run, book: Book, tmp_path: Path, wrong: list[str]) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")
    code, out, err = run("submit", *(each.format(film=tmp_path / "film.mp4") for each in wrong))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("veilfarm: ")
    assert book.jobs() == ()


def test_one_bad_film_keeps_no_other_from_its_job(run: Run, book: Book, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")
    code, out, err = run("submit", tmp_path / "nothing.mp4", tmp_path / "film.mp4")
    assert code == 2
    assert len(book.jobs()) == len(out.splitlines()) == len(err.splitlines()) == 1


def test_jobs_are_listed_the_newest_first(run: Run, book: Book) -> None:
    jobs = sorted(submit(book, number, owner=f"owner-{number % 2}") for number in range(4))
    book.change(jobs[0], "u", Move.PAUSE)
    code, out, _ = run("jobs")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == [job[-8:] for job in reversed(jobs)]
    _, out, _ = run("jobs", "--json", "--limit", 2)
    assert [json.loads(line)["job"] for line in out.splitlines()] == jobs[:1:-1]
    _, out, _ = run("jobs", "--state", "paused", "--json")
    (found,) = map(json.loads, out.splitlines())
    assert (found["job"], found["state"], found["progress"]) == (jobs[0], "paused", None)
    _, out, _ = run("jobs", "--owner", "owner-1", "--json")
    assert len(out.splitlines()) == 2
    _, out, _ = run("jobs", "--owner", "nobody")
    assert len(out.splitlines()) == 1


def test_a_job_is_shown_with_its_history_and_its_reason(run: Run, book: Book) -> None:
    job = submit(book, 5)
    later = submit(book, after=[job])
    book.change(later, "controller", None, f"it waits for job {job}, which is failed; retry that one")
    end(book, job, film="outputs/x/a.mp4", frames=7, worker_seconds=3.0)
    code, out, _ = run("show", job)
    assert code == 0
    assert "film outputs/x/a.mp4; 7 frames; 3 s of workers' time" in out
    assert "submitted" in out
    _, out, _ = run("show", later[-12:])
    assert f"waiting: it waits for job {job}, which is failed; retry that one" in out
    _, out, _ = run("show", job, "--json")
    found = json.loads(out)
    assert (found["job"], found["state"], found["source"]) == (job, "done", "/films/5.mp4")
    assert found["result"]["frames"] == 7
    assert found["history"][0]["what"] == "submitted"


def test_jobs_are_moved_and_what_cant_be_is_said(run: Run, book: Book) -> None:
    job, other = submit(book), submit(book)
    assert run("pause", job, other) == (0, f"{job} paused\n{other} paused\n", "")
    code, out, err = run("pause", job, "UUUU")
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert run("resume", job)[:2] == (0, f"{job} waiting\n")
    assert run("priority", "7", job)[:2] == (0, f"{job} waiting, priority 7\n")
    assert run("cancel", job, other)[0] == 0
    code, _, err = run("resume", job)
    assert (code, err) == (2, "veilfarm: a job that is cancelled can't be resumed\n")
    assert run("retry", job)[:2] == (0, f"{job} waiting\n")
    assert run("erase", job)[0] == 2
    code, out, _ = run("erase", other)
    assert code == 0
    assert out.startswith(f"{other}: ")
    assert book.jobs() == (job,)
    assert run("show", other)[0] == 2


def test_a_film_and_its_report(run: Run, book: Book, tmp_path: Path) -> None:
    job = submit(book)
    assert run("fetch", job, "-o", tmp_path / "a.mp4")[0] == 2
    assert run("report", job)[0] == 2
    (tmp_path / "film").write_bytes(b"film")
    (tmp_path / "report").write_text('{"version": 2}')
    book.store.put_file("outputs/x/a.mp4", tmp_path / "film")
    book.store.put_file("outputs/x/a.mp4.report.json", tmp_path / "report")
    end(book, job, film="outputs/x/a.mp4", report="outputs/x/a.mp4.report.json")
    code, out, _ = run("fetch", job, "-o", tmp_path)
    assert (code, out.strip()) == (0, str(tmp_path / "a.mp4"))
    assert (tmp_path / "a.mp4").read_bytes() == b"film"
    assert run("fetch", job, "-o", tmp_path)[0] == 2
    assert run("fetch", job, "-o", tmp_path, "--overwrite")[0] == 0
    code, out, _ = run("report", job)
    assert (code, json.loads(out)) == (0, {"version": 2})


def test_waiting_for_the_end(run: Run, book: Book, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The exit code tells how it was."""
    (tmp_path / "film.mp4").write_bytes(b"film")
    states = iter([JobState.DONE, JobState.FAILED])
    for module in (near,):
        monkeypatch.setattr(module.time, "sleep", lambda _: end(book, next(iter(book.open_jobs())), next(states)))
    assert run("submit", tmp_path / "film.mp4", "--wait")[0] == 0
    code, _, err = run("submit", tmp_path / "film.mp4", "--wait")
    assert code == 1
    assert "failed: the film is bad" in err
    done, failed = book.jobs()
    code, out, _ = run("watch", done, failed)
    assert code == 1
    assert sorted(line.split("film.mp4  ")[1] for line in out.splitlines()) == ["done", "failed: the film is bad"]


def test_workers_are_shown_and_marked(run: Run, book: Book) -> None:
    assert run("workers")[0] == 1
    worker = WorkerStatus("host-1", "cpu", "busy", "0" * 26, "render of chunk 3", 5, 2.5, "")
    progress = Progress("0" * 26, Step.RENDER, 5, 20, 2.0, 2.5, 6.0)
    write_status(book.store, FarmStatus(1.0, "host:1", (worker,), (progress,)))
    code, out, err = run("workers", "--drain", "host-1", "--unblock", "odd name")
    assert code == 0
    assert "render of chunk 3" in out
    assert "fell silent" in err
    assert book.store.list("farm/drain") == (layout.drain("host-1"),)
    assert book.store.list("farm/unblock") == (layout.unblock("odd name"),)
    assert run("workers", "--undrain", "host-1", "--json")[0] == 0
    assert book.store.list("farm/drain") == ()


@pytest.mark.parametrize("command", [["jobs"], ["show", "X"], ["pause", "X"], ["workers"], ["submit", "x.mp4"]])
def test_a_store_that_is_no_address_is_one_line(run: Run, command: list[str]) -> None:
    code, _, err = run(*command, "--store", "ftp://nowhere/x")
    assert code in (1, 2)
    assert len(err.splitlines()) == 1
