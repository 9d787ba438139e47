"""`veilfarm swap` as its users run it, on a private Ray of its own."""

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import Ran, alive, named, ray_folders, started, veilfarm
from filmgen import Film, make

from cluster import report
from cluster.job import Step


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films without a face: a short one, and one of three chunks or more."""
    folder = tmp_path_factory.mktemp("films")
    make(Film(frames=50, gop=10), folder / "short.mp4")
    make(Film(frames=250, gop=10, sound=2), folder / "long.mp4")
    return folder


@pytest.fixture(scope="module")
def done(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """One plain run."""
    out = tmp_path_factory.mktemp("out") / "out.mp4"
    return veilfarm("swap", films / "short.mp4", "-o", out, "--quality", "draft"), out


def test_a_film_without_a_face_is_done_and_the_report_says_so(done: tuple[Ran, Path]) -> None:
    ran, out = done
    assert ran.code == 0, ran.err
    assert "no face was found" in ran.out
    found = report.read(Path(f"{out}.report.json"))
    assert found is not None
    assert (found["tracks"], found["people"]) == ([], [])
    assert found["frames"]["in"] == found["frames"]["out"] == 50
    assert found["pts_equal"]
    assert found["audio_equal"]
    assert found["output"]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()


def test_results_go_to_stdout_and_progress_to_stderr(done: tuple[Ran, Path]) -> None:
    ran, out = done
    assert len(ran.out.splitlines()) == 1
    assert str(out) in ran.out
    assert "analyse" in ran.err
    assert "ray" not in ran.err.lower()


def test_the_work_data_is_deleted_and_that_is_said(done: tuple[Ran, Path]) -> None:
    ran, out = done
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.mp4", "out.mp4.report.json"]
    assert "work data is deleted" in ran.out
    found = report.read(Path(f"{out}.report.json"))
    assert found is not None
    assert found["work_deleted"] is True


def test_json_lines(films: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "o.mkv", tmp_path / "told.json"
    ran = veilfarm("swap", films / "short.mp4", "-o", out, "--json", "--report", told, "--from", "10f", "--to", "1.5")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    events = ran.events
    assert {event["event"] for event in events} == {"step", "done"}
    steps = [event for event in events if event["event"] == "step"]
    whole = [str(step) for step in Step if step not in (Step.MEND, Step.PUBLISH)]
    assert list(dict.fromkeys(e["step"] for e in steps)) == whole
    assert all(set(e) == {"event", "job", "step", "done", "total", "fps", "eta_s", "seconds"} for e in steps)
    assert events[-1]["output"] == str(out)
    found = json.loads(told.read_text())
    assert (found["frames"]["first"], found["frames"]["last"], found["frames"]["out"]) == (10, 38, 28)


def test_several_films_one_of_them_bad(films: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "a.mp4").write_bytes((films / "short.mp4").read_bytes())
    (source / "sub" / "b.mp4").write_bytes(b"this is no film at all\n" * 100)
    (source / "sub" / "c.mp4").write_bytes((films / "short.mp4").read_bytes())
    out = tmp_path / "out"
    ran = veilfarm("swap", source, "-o", out, "--quality", "draft")
    assert ran.code == 2, ran.err
    made = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert made == {"a.mp4", "a.mp4.report.json", "sub/c.mp4", "sub/c.mp4.report.json"}
    assert "3 videos: 2 done, 0 failed, 1 refused" in ran.err
    again = veilfarm("swap", source, "-o", out, "--quality", "draft", "--resume")
    assert again.code == 2
    assert again.out.count("done before") == 2


def _wait_for(path: Path, pattern: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not list(path.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed(films: Path, tmp_path: Path, number: int) -> None:
    out, work = tmp_path / "out.mp4", tmp_path / ".out.mp4.veilfarm"
    with started("swap", films / "long.mp4", "-o", out) as (process, mark):
        _wait_for(work, "jobs/*/chunks/*/analyse/DONE.json", process)
        assert named(mark, "ray::")
        process.send_signal(number)
        process.send_signal(number)  # an impatient user
        begun = time.monotonic()
        _, err = process.communicate(timeout=30)
        ended = time.monotonic() - begun
        assert process.returncode == 130, err
        assert alive(mark) == []
    assert ended < 10  # it is below one second on an idle machine
    assert ray_folders(process) == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == [work.name]
    last = err.splitlines()[-1]
    assert last.startswith("veilfarm: interrupted; go on with: veilfarm swap ")
    assert "--resume" in last
    assert f"rm -r {work}" in last
    assert work.stat().st_mode & 0o077 == 0
    before = {path: path.stat().st_mtime_ns for path in work.rglob("DONE.json")}
    assert before
    ran = veilfarm("swap", films / "long.mp4", "-o", out, "--resume")
    assert ran.code == 0, ran.err
    assert not work.exists()
    found = report.read(Path(f"{out}.report.json"))
    assert found is not None
    assert found["frames"]["out"] == 250


def test_interrupted_before_anything_is_up(films: Path, tmp_path: Path) -> None:
    with started("swap", films / "long.mp4", "-o", tmp_path / "out.mp4") as (process, mark):
        _wait_for(tmp_path, ".out.mp4.veilfarm", process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130
        assert alive(mark) == []
    assert not (tmp_path / "out.mp4").exists()


def test_a_worker_that_is_killed_is_replaced(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with started("swap", films / "long.mp4", "-o", out, "--json") as (process, mark):
        _wait_for(tmp_path / ".out.mp4.veilfarm", "jobs/*/film/plan/DONE.json", process)
        deadline = time.monotonic() + 120
        while not (workers := named(mark, "ray::ActorWorker.run")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(workers[0], signal.SIGKILL)
        stdout, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert alive(mark) == []
    events = [json.loads(line) for line in stdout.splitlines()]
    assert [e["cause"] for e in events if e["event"] == "retry"] == ["WorkerDied"]
    assert events[-1]["event"] == "done"


def test_a_killed_server_ends_the_command(films: Path, tmp_path: Path) -> None:
    with started("swap", films / "long.mp4", "-o", tmp_path / "out.mp4") as (process, mark):
        _wait_for(tmp_path / ".out.mp4.veilfarm", "jobs/*/chunks", process)
        for pid in alive(mark):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet":
                os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
        assert alive(mark) == []
    assert "--resume" in err.splitlines()[-1]


def test_two_runs_do_not_work_on_one_output(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with started("swap", films / "long.mp4", "-o", out) as (process, _):
        _wait_for(tmp_path / ".out.mp4.veilfarm", "jobs/*/spec.json", process)
        second = veilfarm("swap", films / "long.mp4", "-o", out)
        assert second.code == 2
        assert "another run is at work" in second.complaint
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_resume_wants_the_same_options_and_source(films: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    source.write_bytes((films / "long.mp4").read_bytes())
    with started("swap", source, "-o", out) as (process, _):
        _wait_for(tmp_path / ".out.mp4.veilfarm", "jobs/*/film/index/DONE.json", process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    other = veilfarm("swap", source, "-o", out, "--resume", "--veil", "solid")
    assert other.code == 2
    assert "not the same as before" in other.complaint
    os.utime(source, ns=(0, 0))
    touched = veilfarm("swap", source, "-o", out, "--resume")
    assert touched.code == 2
    assert "not the same as before" in touched.complaint
