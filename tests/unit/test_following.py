"""Jobs that are followed: bars on a terminal, lines elsewhere, JSON for programs."""

import io
import json

from cluster.client.answers import Job, Progress
from cluster.following import JsonLines, Lines, OnTerminal, follow, sending, shown
from cluster.states import JobState


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def job(name: str, state: JobState, now: Progress | None = None, reason: str = "") -> Job:
    return Job(name * 26, f"film {name}.mp4", "kim", "", state, reason, 0.0, 0.0, 0, None, None, 1, (), now)


def story() -> list[Job]:
    """Two jobs, of which one fails."""
    steps = [Progress("render", done, 100, 10.0, (100 - done) / 10, left=130.0) for done in (20, 60)]
    return [
        job("A", JobState.QUEUED),
        job("B", JobState.RUNNING, Progress("plan", 0, 1, 0.0, None)),
        *(job("A", JobState.RUNNING, step) for step in steps),
        job("B", JobState.FAILED, None, "the film\x1b[2J is bad"),
        job("A", JobState.DONE),
    ]


def test_lines_for_changes_and_now_and_then_for_progress() -> None:
    out = io.StringIO()
    code, bad = follow(story(), Lines(out))
    assert (code, [each.name for each in bad]) == (1, ["film B.mp4"])
    assert [line.split("  ", 1)[1] for line in out.getvalue().splitlines()] == [
        "film A.mp4  queued",
        "film B.mp4  running plan",
        "film A.mp4  running render 20/100 (20 %), 10 fps, about 2 min to go",
        "film B.mp4  failed: the film�[2J is bad",
        "film A.mp4  done",
    ]
    out = io.StringIO()
    follow(story(), Lines(out, every=0))
    assert "render 60/100 (60 %), 10 fps, about 2 min to go" in out.getvalue()


def test_every_change_as_json() -> None:
    out = io.StringIO()
    follow(story(), JsonLines(out))
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(each["name"][5], each["state"]) for each in told[-2:]] == [("B", "failed"), ("A", "done")]
    assert told[3]["progress"]["eta"] == 4.0


def test_bars_on_a_terminal() -> None:
    out = Terminal()
    with shown(out) as screen:
        assert isinstance(screen, OnTerminal)
        follow(story(), screen)
    text = out.getvalue()
    assert "film A.mp4" in text
    assert "failed: the film" in text
    assert "\x1b[2J" not in text
    with shown(Terminal()) as screen:
        follow([job(chr(65 + number % 26) * 1, JobState.DONE) for number in range(100)], screen)


def test_a_transfer_has_a_bar_on_a_terminal_only() -> None:
    for out, told in ((Terminal(), True), (io.StringIO(), False)):
        with sending(out, "big\x1b[2J.mp4") as sent:
            sent(50, 100)
            sent(100, 100)
        assert bool(out.getvalue()) is told
        assert "\x1b[2J" not in out.getvalue().replace("\x1b[2K", "")
