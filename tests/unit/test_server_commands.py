"""The subcommands through a farm's server: the same as by its store, and one clear line where they can't be."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from apiclient import Api
from apifarm import a_film, submit
from farmserver import answering, token

from cluster import cli
from cluster.account import FarmStatus, Progress, WorkerStatus
from cluster.book import JobResult
from cluster.desk import Desk
from cluster.job import IndexFacts, LinkFacts, Step, TrackFacts, new_id
from cluster.ledger import Unit
from cluster.states import JobState, Move
from cluster.users import Role
from cluster.ways.near import Near
from cluster.ways.pending import Pending
from storage import layout
from storage.folder import FolderStore

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, FolderStore(tmp_path / "store"))


@pytest.fixture
def run(api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """(exit code, what it said, what it said of errors), as kim, a reviewer."""
    with answering(api) as url:
        monkeypatch.setenv("VEILFARM_SERVER", url)
        monkeypatch.setenv("VEILFARM_TOKEN", token(api, "kim", Role.REVIEWER, "news"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.delenv("VEILFARM_STORE", raising=False)

        def run(*arguments: object) -> tuple[int, str, str]:
            code = cli.run([str(each) for each in arguments])
            said = capsys.readouterr()
            return code, said.out, said.err

        yield run


def made(api: Api, name: str = "talk.mp4", owner: str = "kim") -> str:
    job = submit(api.book, name, owner)
    api.index.row(job)
    return job


def finish(api: Api, job: str, state: JobState = JobState.DONE, film: bytes = b"a film") -> None:
    place = f"outputs/{job}/talk.mp4"
    if state is JobState.DONE:
        api.store.create(place, film)
        report = {"output": {"sha256": hashlib.sha256(film).hexdigest()}, "source": {"frame_rate": "25/1"}}
        api.store.create(f"{place}.report.json", json.dumps(report).encode())
    api.book.change(job, "controller", Move.START)
    done = state is JobState.DONE
    result = JobResult(state, "", 1.0, place, f"{place}.report.json", 7) if done else JobResult(state, "bad film", 1.0)
    api.book.close(job, 1, result)
    api.book.change(job, "controller", Move.FINISH if done else Move.FAIL, "" if done else "the film is bad")


def test_films_of_this_machine_are_brought_and_become_jobs(run: Run, api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for name in ("a.mp4", "b.mov"):
        a_film(folder, name).write_bytes(name.encode() * 1000)
    code, out, err = run("submit", folder, "--priority", 4, "--veil", "mosaic")
    assert (code, err) == (0, "")
    jobs = [line.split()[0] for line in out.splitlines()]
    assert [api.book.card(job).name for job in jobs] == ["a.mp4", "b.mov"]
    spec = api.book.ledger(jobs[0]).spec()
    assert Path(spec.source.place).read_bytes() == b"a.mp4" * 1000
    assert (spec.veil, api.book.control(jobs[0]).priority, api.book.card(jobs[0]).owner) == ("mosaic", 4, "kim")
    assert not list((tmp_path / "cache/veilfarm-uploads").iterdir())


def test_films_of_the_server_are_named(run: Run, api: Api, tmp_path: Path) -> None:
    film = a_film(tmp_path / "films", "there.mp4")
    code, out, _ = run("submit", f"server:{film}", "--name", "Tuesday", "--json")
    assert code == 0
    job = json.loads(out)["job"]
    assert (api.book.ledger(job).spec().source.place, api.book.card(job).name) == (str(film), "Tuesday.mp4")
    code, _, err = run("submit", "server:/etc/passwd")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "ask its operator" in err


def test_an_upload_that_broke_off_is_gone_on_with(run: Run, api: Api, tmp_path: Path) -> None:
    film = a_film(tmp_path / "mine")
    film.write_bytes(b"film" * 1000)
    begun = api.incoming.begin("kim", "film.mp4", 4000)
    half = tmp_path / "half"
    half.write_bytes(b"film" * 500)
    api.incoming.add(begun, 0, half)
    from os import environ

    Pending(tmp_path / "cache").keep(environ["VEILFARM_SERVER"], "kim", film, begun.id)
    code, out, _ = run("submit", film)
    assert code == 0
    source = Path(api.book.ledger(out.split()[0]).spec().source.place)
    assert source.parent.name == begun.id
    assert source.read_bytes() == b"film" * 1000


def test_an_upload_whose_time_was_up_begins_anew(run: Run, api: Api, tmp_path: Path) -> None:
    from os import environ

    film = a_film(tmp_path / "mine")
    Pending(tmp_path / "cache").keep(environ["VEILFARM_SERVER"], "kim", film, new_id())
    assert run("submit", film)[0] == 0


def test_a_job_that_was_made_without_a_word_is_that_job(run: Run, api: Api, tmp_path: Path) -> None:
    """The command was killed between its request and the answer."""
    from os import environ

    film = a_film(tmp_path / "mine")
    first = run("submit", film)[1].split()[0]
    upload = Path(api.book.ledger(first).spec().source.place).parent.name
    pending = Pending(tmp_path / "cache")
    pending.keep(environ["VEILFARM_SERVER"], "kim", film, upload)
    assert run("submit", film)[1].split()[0] == first
    pending.keep(environ["VEILFARM_SERVER"], "kim", film, upload)
    other = run("submit", film, "--veil", "solid")[1].split()[0]
    assert other != first
    assert len(api.book.jobs()) == 2


def test_a_list_with_an_id_of_another_wish_submits_nothing(run: Run, api: Api, tmp_path: Path) -> None:
    film, job = a_film(tmp_path), new_id()
    assert run("submit", film, "--id", job)[0] == 0
    path = tmp_path / "list.csv"
    path.write_text(f"source,id,quality\nfilm.mp4,{new_id()},\nfilm.mp4,{job},best\n")
    code, out, err = run("submit", "--manifest", path)
    assert (code, out) == (2, "")
    assert f"{path}:3: there is a job {job} already" in err
    path.write_text(f"source,id,quality\nfilm.mp4,{job},\n")
    assert run("submit", "--manifest", path)[1].split()[0] == job
    assert api.book.jobs() == (job,)


def test_the_same_id_is_the_same_job(run: Run, api: Api, tmp_path: Path) -> None:
    film, job = a_film(tmp_path / "mine"), new_id()
    for _ in range(2):
        code, out, err = run("submit", film, "--id", job)
        assert (code, out.split()[0], err) == (0, job, "")
    assert api.book.jobs() == (job,)
    code, _, err = run("submit", film, "--id", job, "--quality", "best")
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"there is a job {job} already" in err
    film.write_bytes(b"longer")
    code, _, err = run("submit", film, "--id", job)
    assert (code, "of another film" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seed-key", "KEY"], "never leaves the machines of the farm"),
        (["--owner", "lee"], "this token is kim's"),
        (["--quality", "splendid"], "unknown"),
        (["--from", "soon"], "is no time"),
        (["--to", "/elsewhere/"], "isn't one that the farm may use"),
        (["--after", new_id()], "there is no job"),
        (["--id", "short"], "is no job's id"),
        (["--id", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"], "in the future"),
        (["--codec", "av1", "--name", "x.mov"], "av1"),
    ],
)
def test_what_cant_be_is_one_line_and_brings_no_film(
    run: Run, api: Api, tmp_path: Path, options: list[str], says: str
) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "key").chmod(0o600)
    options = [str(tmp_path / "key") if each == "KEY" else each for each in options]
    code, out, err = run("submit", a_film(tmp_path / "mine"), *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert says in err
    assert api.book.jobs() == ()
    assert not list(api.store.keys("incoming"))


def test_films_that_are_none(run: Run, api: Api, tmp_path: Path) -> None:
    a_film(tmp_path, "empty.mp4").write_bytes(b"")
    for film in (tmp_path / "none.mp4", tmp_path / "empty.mp4"):
        code, _, err = run("submit", film)
        assert (code, len(err.splitlines())) == (2, 1)
    assert not list(api.store.keys("incoming"))


def test_jobs_are_listed_shown_and_moved(run: Run, api: Api) -> None:
    jobs = [made(api, f"{number}.mp4") for number in range(3)]
    theirs = made(api, "theirs.mp4", "lee")
    code, out, _ = run("jobs")
    assert [line.split()[1] for line in out.splitlines()[1:]] == ["2.mp4", "1.mp4", "0.mp4"]
    assert [json.loads(line)["job"] for line in run("jobs", "--json", "--limit", 2)[1].splitlines()] == jobs[:0:-1]
    assert len(run("jobs", "--name", "1.mp", "--json")[1].splitlines()) == 1
    assert run("pause", jobs[0], jobs[1][-8:]) == (0, f"{jobs[0]} paused\n{jobs[1]} paused\n", "")
    code, out, err = run("resume", jobs[0], jobs[2], theirs)
    assert (code, out, len(err.splitlines())) == (2, f"{jobs[0]} waiting\n", 2)
    assert "there is no job" in err
    assert run("priority", 7, jobs[0])[1] == f"{jobs[0]} waiting, priority 7\n"
    assert run("cancel", *jobs)[0] == 0
    assert run("retry", jobs[0])[1] == f"{jobs[0]} waiting\n"
    code, out, _ = run("show", jobs[0])
    assert code == 0
    assert "cancelled" in out
    found = json.loads(run("show", jobs[0], "--json")[1])
    assert (found["job"], found["history"][0]["what"]) == (jobs[0], "submitted")
    assert run("erase", jobs[1])[:2] == (0, f"{jobs[1]}: deleted\n")
    assert run("erase", jobs[0])[0] == 2
    assert run("show", "ZZZZ")[0] == 2


def test_what_came_out(run: Run, api: Api, tmp_path: Path) -> None:
    job = made(api)
    assert run("fetch", job, "-o", tmp_path)[0] == 2
    assert run("people", job)[0] == 2
    track = TrackFacts(0, 0, 0, 100, 100, 40, 60, {"replace": 90, "cover_small": 7, "cover_profile": 3})
    again = TrackFacts(1, 0, 200, 250, 50, 90, 95, {"replace": 50})
    linked = LinkFacts(1, {"0": "0123456789abcdef"}, (track, again))
    api.book.ledger(job).commit(Unit(Step.LINK), "B", linked, 0.2)
    _, out, _ = run("people", job)
    assert "0f-100f, 200f-250f" in out
    api.book.ledger(job).commit(Unit(Step.INDEX), "C", IndexFacts(250, Fraction(10), 1, 0), 0.2)
    _, before, _ = run("people", job)
    assert Near(api.book, Desk(api.book, "store")).rate(job) == 25.0  # by the store it says the same
    finish(api, job)
    _, out, _ = run("people", job)
    assert out == before
    columns = out.splitlines()[1].split("  ")
    assert [each.strip() for each in columns if each.strip()] == [
        *("0", "01234567", "0:00.0-0:04.0, 0:08.0-0:10.0", "40 px", "140", "10", "small 7, profile 3"),
    ]
    (person,) = json.loads(run("people", job, "--json")[1])
    assert (person["smallest"], person["why_covered"]) == (40, {"cover_profile": 3, "cover_small": 7})
    code, out, _ = run("fetch", job[-8:], "-o", tmp_path)
    assert (code, out) == (0, f"{tmp_path / 'talk.mp4'}\n")
    assert (tmp_path / "talk.mp4").read_bytes() == b"a film"
    code, _, err = run("fetch", job, "-o", tmp_path)
    assert (code, "give --overwrite" in err) == (2, True)
    assert json.loads(run("report", job)[1])["source"] == {"frame_rate": "25/1"}


def test_logs(run: Run, api: Api) -> None:
    job = made(api)
    ledger = api.book.ledger(job)
    ledger.keep_log(Unit(Step.INGEST), "C", b'{"text": "reading"}\nnot JSON\n')
    code, out, _ = run("logs", job)
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, [{"text": "reading"}, {"text": "not JSON"}])
    assert run("logs", job, "--unit", "ingest")[1] == out
    assert run("logs", job, "--unit", "render")[0] == 2


def test_watch_follows_to_the_end(run: Run, api: Api) -> None:
    job, other = made(api, "a.mp4"), made(api, "b.mp4")

    def play() -> None:
        while not getattr(api.app.state, "streams", 0):
            time.sleep(0.02)
        time.sleep(1)  # it reads how the jobs are
        api.book.change(job, "controller", Move.START)
        api.progress = (Progress(job, Step.RENDER, 5, 20, 2.0, 2.5, 6.0, 40.0),)
        time.sleep(3)  # progress is looked at every second
        api.book.close(job, 1, JobResult(JobState.FAILED, "bad", 1.0))
        api.book.change(job, "controller", Move.FAIL, "the film is bad")
        finish(api, other)

    player = threading.Thread(target=play)
    player.start()
    code, out, err = run("watch", job, other)
    player.join()
    assert code == 1
    lines = [line.split("  ", 1)[1] for line in out.splitlines()]
    assert "a.mp4  queued" in lines
    assert "a.mp4  running render 5/20 (25 %), 2.5 fps, about 40 s to go" in lines
    assert "a.mp4  failed: the film is bad" in lines
    assert "b.mp4  done" in lines
    assert err == f"veilfarm: {job} failed: the film is bad\n"
    code, out, _ = run("watch", other, "--json")
    assert (code, json.loads(out)["state"]) == (0, "done")


def test_an_interrupted_command_says_so(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cluster.ways.far.Far.follow", interrupt)
    assert run("watch", made(api)) == (130, "", "veilfarm: interrupted\n")


def test_submit_waits(run: Run, api: Api, tmp_path: Path) -> None:
    def play() -> None:
        while not api.book.jobs():
            time.sleep(0.05)
        time.sleep(0.3)
        finish(api, api.book.jobs()[0])

    player = threading.Thread(target=play)
    player.start()
    code, out, err = run("submit", a_film(tmp_path / "mine"), "--wait")
    player.join()
    assert (code, len(out.splitlines())) == (0, 1)
    assert err.splitlines()[-1].endswith("film.mp4  done")


def test_workers(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("workers")[0] == 1
    worker = WorkerStatus("host-1", "cpu", "busy", "0" * 26, "render of chunk 3", 5, 2.5, "")
    api.status = FarmStatus(time.time(), "host:1", (worker,), ())
    code, out, err = run("workers")
    assert (code, err, "render of chunk 3" in out) == (0, "", True)
    code, _, err = run("workers", "--drain", "host-1")
    assert (code, "role admin" in err) == (2, True)
    monkeypatch.setenv("VEILFARM_TOKEN", token(api, "root", Role.ADMIN))
    assert run("workers", "--drain", "host-1", "--unblock", "host-1")[0] == 0
    assert api.store.list("farm/drain") == (layout.drain("host-1"),)
    assert run("workers", "--undrain", "host-1")[0] == 0
    assert api.store.list("farm/drain") == ()


def test_tokens(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("token", "kim", "--label", "laptop")
    assert code == 0
    user = api.users.who(out.strip())
    assert user is not None
    assert user.name == "kim"
    assert run("token", "lee")[0] == 2
    monkeypatch.setenv("VEILFARM_TOKEN", token(api, "root", Role.ADMIN))
    assert run("token", "lee", "--role", "viewer", "--team", "news")[0] == 0
    assert (api.users.user("lee").role, api.users.user("lee").team) == (Role.VIEWER, "news")
    assert run("token", "lee", "--role", "admin")[0] == 2
    _, out, _ = run("token", "lee", "--list")
    ids = [line.split()[0] for line in out.splitlines()[1:]]
    code, out, _ = run("token", "lee", "--revoke", ids[0])
    assert (code, "revoked" in out) == (0, True)
    assert run("token", "lee", "--revoke", new_id())[0] == 2


def test_doctor(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("doctor")[0] == 2  # a reviewer may not
    monkeypatch.setenv("VEILFARM_TOKEN", token(api, "root", Role.ADMIN))
    code, out, _ = run("doctor")
    assert (code, "A farm can use http://127.0.0.1" in out) == (0, True)
    assert json.loads(run("doctor", "--json")[1])["usable"] is True


def test_a_server_that_isnt_there_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cluster.client.wire.Patience.pause", lambda *_: 0.0)
    for command in (["jobs"], ["show", new_id()], ["submit", str(a_film(tmp_path))]):
        code, _, err = run(*command, "--server", "http://127.0.0.1:9")
        assert (code, len(err.splitlines())) == (1, 1)
        assert "can't be reached; nobody listens there" in err
    code, _, err = run("jobs", "--server", "nonsense")
    assert (code, len(err.splitlines())) == (2, 1)
    monkeypatch.setenv("VEILFARM_TOKEN", "vf_wrong")
    code, _, err = run("jobs")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "VEILFARM_TOKEN" in err
