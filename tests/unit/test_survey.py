"""A look at a few pictures before anything else is known of a film."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from filmgen import Film, make
from torch import Tensor

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
