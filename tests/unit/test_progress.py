"""What is said, where, and how often."""

import io
import json
import re
from pathlib import Path

import pytest
from doubles import a_job
from rich.console import Console

from cluster import progress
from cluster.job import Failure, Step
from cluster.ledger import Unit
from cluster.progress import Bars, JsonLines, Lines, rate, voice
from cluster.roles import Job

FAILURE = Failure("VerifyError", "a frame is missing", "", "", "")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return a_job(tmp_path)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def test_rates() -> None:
    assert rate(0, 10, 5.0) == (None, None)
    assert rate(10, 30, 5.0) == (2.0, 10.0)
    assert rate(10, 0, 5.0) == (2.0, None)


def test_lines_are_few(job: Job, now: list[float]) -> None:
    out, err = io.StringIO(), io.StringIO()
    lines = Lines(out, err)
    for frame in range(100):
        lines.step(job, Step.ANALYSE, frame, 100, frame / 10 + 0.1)
        now[0] += 0.1
    lines.step(job, Step.ANALYSE, 100, 100, 10.1)
    lines.step(job, Step.ANALYSE, 100, 100, 10.1)
    said = err.getvalue().splitlines()
    assert len(said) == 2
    assert re.match(r"film.mp4: analyse: 5\d/100 frames, ", said[0])
    assert "fps" in said[0]
    assert "to go" in said[0]
    assert said[-1].startswith("film.mp4: analyse: 100/100 frames")
    assert out.getvalue() == ""


def test_steps_without_frames_are_told_at_their_end(job: Job, now: list[float]) -> None:
    err = io.StringIO()
    lines = Lines(io.StringIO(), err)
    lines.step(job, Step.LINK, 0, 1, 0.0)
    lines.step(job, Step.LINK, 1, 1, 2.0)
    assert err.getvalue() == "film.mp4: link: done, 2.0 s\n"


def test_a_resumed_step_has_the_rate_of_this_run(job: Job, now: list[float]) -> None:
    out = io.StringIO()
    lines = JsonLines(out, io.StringIO())
    lines.step(job, Step.RENDER, 80, 100, 0.0)
    now[0] += 10
    lines.step(job, Step.RENDER, 90, 100, 5.0)
    assert json.loads(out.getvalue().splitlines()[-1])["fps"] == 2.0


def test_json_lines(job: Job) -> None:
    out, err = io.StringIO(), io.StringIO()
    speaker = JsonLines(out, err)
    speaker.step(job, Step.INDEX, 5, 0, 1.0)
    speaker.retry(job, Unit(Step.RENDER, 2), FAILURE)
    speaker.notice("so")
    speaker.result("done", output="o.mp4")
    speaker.error("it failed", exit=1)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["event"] for e in events] == ["step", "retry", "notice", "done", "error"]
    assert events[0] == {
        "event": "step",
        "job": "film.mp4",
        "step": "index",
        "done": 5,
        "total": None,
        "fps": 5.0,
        "eta_s": None,
        "seconds": 1.0,
    }
    assert events[1]["chunk"] == 2
    assert err.getvalue() == "veilfarm: it failed\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Console", lambda **options: Console(**options, force_terminal=True, width=120))
    err = Terminal()
    speaker = voice(False, io.StringIO(), err)
    assert isinstance(speaker, Bars)
    speaker.step(job, Step.ANALYSE, 10, 100, 1.0)
    speaker.step(job, Step.ANALYSE, 100, 100, 10.0)
    speaker.error("[not markup]")
    speaker.close()
    assert "analyse" in err.getvalue()
    assert "100/100" in err.getvalue()
    assert "[not markup]" in err.getvalue()


def test_who_speaks() -> None:
    assert isinstance(voice(True, io.StringIO(), Terminal()), JsonLines)
    assert type(voice(False, io.StringIO(), io.StringIO())) is Lines
