"""A look at a few pictures before anything else is known of a film."""

import dataclasses
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from doubles import a_spec
from filmgen import Film, make
from torch import Tensor

from cluster.job import Publish, SourceFacts
from cluster.steps import PipelineSteps
from pipeline import video
from pipeline.detections import Detections
from pipeline.survey import LOOKS, Survey, survey


class Bright:
    """Sees one face, as large as the picture, in pictures that it is shown; remembers their mean."""

    multiple = 1

    def __init__(self) -> None:
        self.means: list[float] = []

    def detect(self, image: Tensor) -> Detections:
        self.means.append(float(image.mean()))
        box = np.array([[0, 0, image.shape[2] / 2, image.shape[1]]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))

    def detect_batch(self, images: Tensor) -> list[Detections]:
        return [self.detect(image) for image in images]


def look(path: Path, clock: Callable[[], float] = lambda: 0.0) -> tuple[Survey, Bright]:
    seen = Bright()
    return survey(video.ingest(path, path.parent / "work"), seen, clock=clock), seen


@pytest.mark.parametrize(
    "film",
    [
        Film("mp4", "h264", frames=60, gop=8, b_frames=2),
        Film("mp4", "h264", frames=60, gop=100),
        Film("mkv", "h264", frames=60, gop=8),
        Film("ts", "h264", frames=60, gop=8),
        Film("mpg", "mpeg2video", frames=60, gop=8),
    ],
    ids=lambda film: f"{film.container}-{film.gop}",
)
def test_pictures_are_spread_over_the_film(film: Film, tmp_path: Path) -> None:
    path = make(film, tmp_path / f"film.{film.container}")
    found, seen = look(path)
    assert found.looked == LOOKS
    assert abs(found.frames - film.frames) <= 3
    assert len(found.sides) == LOOKS
    assert len(set(seen.means)) >= LOOKS - 1  # not the same picture again and again


def test_sides_are_in_pixels_of_the_film(tmp_path: Path) -> None:
    film = Film("mp4", "h264", frames=12, gop=4)
    found, _ = look(make(film, tmp_path / "film.mp4"))
    info = video.ingest(tmp_path / "film.mp4", tmp_path / "work")
    assert set(found.sides) == {max(info.layout.width // 2, info.layout.height)}


def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    path = make(Film("mp4", "h264", frames=60, gop=100), tmp_path / "film.mp4")
    ticks = count()
    found, seen = look(path, clock=lambda: float(next(ticks)))
    assert 1 <= found.looked == len(seen.means) < LOOKS


def test_a_film_of_one_picture_is_looked_at(tmp_path: Path) -> None:
    found, _ = look(make(Film("mp4", "h264", frames=1, gop=1), tmp_path / "film.mp4"))
    assert found.looked >= 1
    assert found.frames == 1


def ingested(tmp_path: Path, steps: PipelineSteps, publish: bool = True) -> SourceFacts:
    path = make(Film("mp4", "h264", frames=12, gop=4), tmp_path / "film.mp4")
    wanted = a_spec(path, tmp_path / "out.mp4")
    (tmp_path / "into").mkdir()
    if publish:
        wanted = dataclasses.replace(wanted, publish=Publish("film.mp4", overwrite=False))
    return steps.ingest(wanted, path, tmp_path / "into")


def eyed(monkeypatch: pytest.MonkeyPatch) -> PipelineSteps:
    """As in a worker of a farm, with its networks loaded."""
    monkeypatch.setattr("cluster.steps._eyes", lambda name, threads: SimpleNamespace(detector=Bright()))
    steps = PipelineSteps()
    steps._prepared = "cpu", 1
    return steps


def test_a_worker_looks_at_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ingested(tmp_path, eyed(monkeypatch)).survey
    assert found is not None
    assert (found.frames, found.looked, len(found.sides)) == (12, LOOKS, LOOKS)


def test_a_command_that_shows_no_estimate_doesnt_wait_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ingested(tmp_path, eyed(monkeypatch), publish=False).survey is None


def test_where_no_network_is_loaded_none_is_loaded_for_it(tmp_path: Path) -> None:
    assert ingested(tmp_path, PipelineSteps()).survey is None


def test_ingest_goes_on_without_a_survey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> Survey:
        raise RuntimeError("the detector fell over")

    monkeypatch.setattr("pipeline.survey.survey", fail)
    facts = ingested(tmp_path, eyed(monkeypatch))
    assert (facts.survey, facts.codec) == (None, "h264")
    assert "the detector fell over" in caplog.text
