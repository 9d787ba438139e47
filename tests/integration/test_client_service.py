"""The command line and the client against a farm's server as it runs: from a folder of films to the films that came
out, also when the server goes away in the middle."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from apifarm import a_film
from command import Ran, veilfarm
from doubles import DrySteps
from dryfarm import PATIENCE, serving, until

from cluster.api import incoming
from cluster.client import sending
from cluster.client.answers import Job
from cluster.client.errors import Clash, Forbidden, NoSuchThing
from cluster.client.farm import FarmClient
from cluster.client.wire import Patience
from cluster.states import JobState
from cluster.ways.far import Far
from cluster.ways.pending import Pending

WHOLE = "segment 0\nsegment 1\nsegment 2\n"  # the film that DrySteps make
STUBBORN = Patience(50, 0.05, 0.5)
Run = Callable[..., Ran]


def runner(url: str, token: str, folder: Path) -> Run:
    """The command as a process of its own, with a server named by its environment."""
    env = {"VEILFARM_SERVER": url, "VEILFARM_TOKEN": token, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "200"}
    return lambda *arguments: veilfarm(*arguments, env=env)


def test_from_a_folder_of_films_to_what_came_out(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        a_film(tmp_path / "mine", name)
    with serving(tmp_path) as farm:
        run = runner(farm.url, farm.token(), tmp_path)
        token = run("token", "kim", "--role", "reviewer").out.strip()
        run = runner(farm.url, token, tmp_path)
        ran = run("submit", tmp_path / "mine", "--wait", "--json")
        assert ran.code == 0, ran.err
        jobs = [each["job"] for each in ran.events]
        assert [line.rpartition("  ")[2] for line in ran.err.splitlines() if line.endswith("  done")] == ["done"] * 2
        for job in jobs:
            assert run("fetch", job[-8:], "-o", tmp_path).code == 0
        assert (tmp_path / "a.mp4").read_text() == (tmp_path / "b.mp4").read_text() == WHOLE
        assert json.loads(run("report", jobs[0]).out)["frames"]["out"] == 30
        assert "0:00.0-0:01.2" in run("people", jobs[0]).out
        assert [each["state"] for each in run("jobs", "--json").events] == ["done", "done"]
        assert run("watch", *jobs).code == 0
        assert "ends so" in run("show", "ZZZZ").complaint
        assert run("erase", *jobs).code == 0
        assert run("jobs", "--json").out == ""
        assert not list((tmp_path / "store/uploads").rglob("*.*"))


def test_a_server_that_comes_back_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an upload, and of a job that is followed."""
    monkeypatch.setattr(sending, "PIECE", 100_000)
    monkeypatch.setattr(incoming, "PART", 50_000)
    film = tmp_path / "long.mp4"
    film.write_bytes(b"0123456789" * 100_000)
    go, half, gone = threading.Event(), threading.Event(), threading.Event()
    steps = DrySteps(trouble=lambda unit, _: go.wait(PATIENCE) and None)
    ended: list[Job] = []

    def told(done: int, total: int) -> None:
        if done > total / 2 and not half.is_set():
            half.set()
            gone.wait(PATIENCE)

    def work() -> None:
        client = FarmClient(url, token, STUBBORN)
        way = Far(client, Pending(tmp_path / "cache"))
        upload = client.upload(film, told=told)
        ended.extend(way.follow([client.submit({"upload": upload}).job]))
        client.close()

    with serving(tmp_path, steps=steps) as farm:
        url, token = farm.url, farm.token()
        port = int(url.rpartition(":")[2])
        worker = threading.Thread(target=work)
        worker.start()
        assert half.wait(PATIENCE)
    gone.set()
    with serving(tmp_path, steps=steps, port=port) as farm:
        until(lambda: ended)
    go.set()
    with serving(tmp_path, port=port):
        worker.join(PATIENCE)
    assert not worker.is_alive()
    assert (ended[0].name, ended[-1].state) == ("long.mp4", JobState.DONE)
    assert len({job.job for job in ended}) == 1


def test_bad_input(tmp_path: Path) -> None:
    film = a_film(tmp_path / "films", "there.mp4")
    gone = a_film(tmp_path / "films", "gone.mp4")
    go = threading.Event()
    go.set()
    with serving(tmp_path, steps=DrySteps(trouble=lambda unit, _: go.wait(PATIENCE) and None)) as farm:
        admin = FarmClient(farm.url, farm.token())
        admin.add_user("kim", "submitter", "news")
        admin.add_user("lee", "reviewer", "desk")
        kim = FarmClient(farm.url, admin.make_token("kim").token)
        lee = FarmClient(farm.url, admin.make_token("lee").token)
        job = kim.submit({"source": str(film)}, key="once").job
        assert kim.submit({"source": str(film)}, key="once").job == job
        # A token of another team sees nothing of it, not even that it is there.
        for ask in (lee.show, lee.people, lee.history, lee.delete, lambda name: lee.move(name, "cancel")):
            with pytest.raises(NoSuchThing):
                ask(job)
        assert list(lee.jobs()) == []
        with pytest.raises(Forbidden):
            kim.people(job)
        # A name that leads elsewhere is a name.
        upload = kim.upload(film, name="../../../../etc/cron.d/film.mp4")
        other = kim.submit({"upload": upload}).job
        assert kim.show(other).name == "film.mp4"
        # A film that vanished before its turn.
        first = kim.submit({"source": str(film)}).job
        until(lambda: kim.show(first).state is JobState.DONE)
        go.clear()  # no step ends, so this one can't be through before it is asked for
        waiting = kim.submit({"source": str(gone), "after": [first]})
        assert waiting.source_bytes == 4
        gone.unlink()
        with pytest.raises(Clash):
            kim.fetch(waiting.job, tmp_path / "never.mp4")
        go.set()
        for client in (admin, kim, lee):
            client.close()
    assert not (tmp_path / "never.mp4").exists()
