"""The command over dry steps: what is published, what is left for --resume, and what --resume refuses."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doubles import DryPool, DrySteps, Ear

from cluster import commands, report, swap
from cluster.config import Request, moment
from cluster.inputs import pairs
from cluster.job import Step, Veil
from cluster.ledger import Unit
from cluster.places import publish_file
from cluster.swap import Result, Swap
from pipeline.errors import LeakError, NoIdentity, OutputError

MODELS = [{"name": "centerface", "sha256": "3" * 64, "licence": "MIT"}]


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    (tmp_path / "in.mp4").write_bytes(b"film")
    return Request((tmp_path / "in.mp4",), tmp_path / "out.mp4")


class HashedSteps(DrySteps):
    """A film whose hash is true: --resume holds it against the file."""

    def stitch(self, setup, plan, segments, into):  # type: ignore[no-untyped-def]
        facts = super().stitch(setup, plan, segments, into)
        return dataclasses.replace(facts, sha256=hashlib.sha256((into / facts.film).read_bytes()).hexdigest())


def run(request: Request, trouble: Callable[[Unit, int], None] | None = None) -> Result:
    job = Swap(request, pairs(request.inputs, request.output), "cpu", lambda: MODELS)
    (result,) = job.run(DryPool(HashedSteps(trouble=trouble)), Ear())
    return result


def why(result: Result) -> str:
    assert result.failure is not None
    return result.failure.line


def work(request: Request) -> Path:
    return request.output.with_name(f".{request.output.name}.veilfarm")


def test_a_finished_film_is_done_before(request_: Request) -> None:
    assert run(request_).report
    assert not work(request_).exists()
    found = report.read(swap.report_path(request_, request_.output))
    assert found is not None
    assert found["work_deleted"]
    assert run(dataclasses.replace(request_, resume=True)).skipped


@pytest.mark.parametrize("other", [{"veil": Veil.SOLID}, {"quality": "best"}, {"start": moment("1f")}, None])
def test_another_film_or_other_options_are_not_done_before(request_: Request, other: dict[str, Any] | None) -> None:
    run(request_)
    if other is None:
        os.utime(request_.inputs[0], ns=(1, 1))
    result = run(dataclasses.replace(request_, resume=True, **(other or {})))
    assert "--overwrite" in why(result)


def test_work_of_another_version_is_not_gone_on_with(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(unit: Unit, call: int) -> None:
        if unit.step is Step.LINK:
            raise NoIdentity("nobody")

    run(request_, fail)
    monkeypatch.setattr(swap, "made_by", lambda: "later")
    result = run(dataclasses.replace(request_, resume=True))
    assert "another version" in why(result)
    assert "without --resume" in why(result)
    assert run(request_).report


def test_a_face_that_may_still_show_fails_the_film_at_once(request_: Request) -> None:
    tries = 0

    def leak(unit: Unit, call: int) -> None:
        nonlocal tries
        if unit == Unit(Step.RENDER, 1):
            tries += 1
            raise LeakError("a face may still show", "at frame 3", "cover all faces")

    result = run(request_, leak)
    assert (result.exit_code, tries) == (1, 1)
    assert "may still show" in why(result)
    assert not request_.output.exists()


def test_an_output_that_comes_up_during_the_work_costs_none_of_it(request_: Request) -> None:
    def appear(unit: Unit, call: int) -> None:
        if unit.step is Step.STITCH:
            request_.output.write_bytes(b"another")

    result = run(request_, appear)
    assert "--resume --overwrite" in why(result)
    assert result.exit_code == 1
    assert request_.output.read_bytes() == b"another"
    assert work(request_).exists()

    def never(unit: Unit, call: int) -> None:
        raise AssertionError(unit)

    assert run(dataclasses.replace(request_, resume=True, overwrite=True), never).report
    assert request_.output.read_bytes() != b"another"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_report_that_fails_costs_no_work(request_: Request, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(report, "write", fail)
        assert "its report is not" in why(run(dataclasses.replace(request_, overwrite=overwrite)))
    assert work(request_).exists()
    assert run(dataclasses.replace(request_, resume=True, overwrite=True)).report


@pytest.mark.parametrize("overwrite", [False, True])
def test_half_a_copy_never_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError

    def half(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    film, target = tmp_path / "film.mp4", tmp_path / "to" / "out.mp4"
    target.parent.mkdir()
    film.write_bytes(b"film")
    monkeypatch.setattr("os.link", refuse)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", half)
        with pytest.raises(OSError, match="No space"):
            publish_file(film, target, overwrite)
    assert list(target.parent.iterdir()) == []
    publish_file(film, target, overwrite)
    assert [each.name for each in target.parent.iterdir()] == ["out.mp4"]
    if not overwrite:
        with pytest.raises(OutputError, match="exists"):
            publish_file(film, target, overwrite)


def test_every_lost_stream_is_told(request_: Request) -> None:
    result = run(request_)
    assert result.report is not None
    result.report["streams_lost"] = ["stream 1 audio opus", "stream 2 subtitle ass"]
    ear = Ear()
    commands._tell(result, request_, ear, False)
    told = [text for text in ear.notices if "was left out" in text]
    assert len(told) == 2
    assert "stream 1 audio opus can't be held by mp4 and was left out; write .mkv to keep it" in told[0]
