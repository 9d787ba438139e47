"""Pictures out of films by a process of their own: whatever becomes of it, who asks goes on."""

import dataclasses
import os
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from filmgen import Film, make

from cluster import records
from cluster.apart import Apart, Busy
from pipeline import snapshot, video
from pipeline.errors import InputError, PipelineError
from pipeline.facts import FrameIndex, VideoInfo

Known = tuple[VideoInfo, FrameIndex]

BOX = (40, 40, 120, 140)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoInfo, FrameIndex]:
    folder = tmp_path_factory.mktemp("film")
    info = video.ingest(make(Film("mp4", "h264", frames=12, gop=4), folder / "film.mp4"), folder / "work")
    return info, video.index(info)


@pytest.fixture(scope="module")
def question(seen: Known, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As a farm's ledger would have it."""
    folder = tmp_path_factory.mktemp("ledger")
    info, index = seen
    here = dataclasses.replace(info, source=Path("."), path=Path("."))
    (folder / "info.json").write_bytes(records.dumps(here))
    index.save(folder / "index.npz")
    return {"film": str(folder), "index": str(folder), "source": str(info.source), "number": 7, "box": BOX}


def a_child(body: str, seconds: float = 5.0) -> Apart:
    """One that is up, and answers like this."""
    start = "import os, sys, time\nprint('up', flush=True)\nline = sys.stdin.readline()\n"
    return Apart(seconds, command=(sys.executable, "-c", start + textwrap.dedent(body)))


def test_it_is_the_picture(seen: Known, question: dict[str, Any]) -> None:
    apart = Apart()
    try:
        assert apart.ask(**question) == snapshot.from_film(*seen, 7, BOX)
        with pytest.raises(PipelineError, match="does not exist") as refused:
            apart.ask(**{**question, "source": question["source"] + ".gone"})
        assert refused.value.todo
        assert apart.ask(**question)  # by the same process
    finally:
        apart.close()


def test_it_has_limits_and_none_of_the_servers_secrets(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    apart = Apart()
    try:
        apart.ask(**question)
        process = apart._process
        assert process is not None
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert "Max file size             0" in limits
        assert str(3 << 30) in limits
        assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    finally:
        apart.close()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("os.abort()", "crashed"),
        ("os._exit(0)", "crashed"),
        ("print('no JSON', flush=True)", "crashed"),
        ("print('{\"bytes\": 99}', flush=True)", "crashed"),
        ("print('{\"bytes\": -1}', flush=True); time.sleep(60)", "crashed"),
        ("time.sleep(60)", "took more than"),
        ("print('{\"bytes\": 99}', flush=True); time.sleep(60)", "took more than"),
    ],
)
def test_who_asks_goes_on_whatever_becomes_of_it(body: str, why: str) -> None:
    apart = a_child(body, seconds=0.5 if "took" in why else 5.0)
    for _ in range(2):  # with another process
        with pytest.raises(InputError, match=why):
            apart.ask(number=1)
        assert apart._process is None


def test_one_that_doesnt_start_is_told() -> None:
    with pytest.raises(Busy, match="doesn't start"):
        Apart(command=(sys.executable, "-c", "")).ask(number=1)


def test_others_wait_for_their_turn_and_not_for_ever() -> None:
    apart = Apart(seconds=3.0, wait=0.1, command=(sys.executable, "-c", "print('up', flush=True); input(); input()"))

    def ask() -> None:
        with pytest.raises(InputError):
            apart.ask(number=1)

    first = threading.Thread(target=ask)
    first.start()
    while apart._process is None:
        pass
    with pytest.raises(Busy, match="others"):
        apart.ask(number=2)
    apart._process.kill()
    first.join()


def test_it_ends_when_nobody_asks() -> None:
    body = "print('{\"bytes\": 2}', flush=True); os.write(1, b'ok'); sys.stdin.readline()"
    apart = a_child(body)
    apart._idle = 0.05
    assert apart.ask(number=1) == b"ok"
    process = apart._process
    assert process is not None
    process.wait(10)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
