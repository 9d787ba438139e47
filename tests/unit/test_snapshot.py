"""A face as a picture, out of a film and out of a rendered chunk."""

import io
from pathlib import Path

import numpy as np
import pytest
from facefilm import CPU, FRAMES, Seen, face_box, make, see
from PIL import Image

from pipeline.analyse import Eyes
from pipeline.decode import read
from pipeline.encode import EncoderSettings, SegmentWriter
from pipeline.errors import VerifyError
from pipeline.snapshot import Box, from_film, from_segment


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("film")
    return see(make(folder / "film.mp4"), folder / "work", Eyes.load(CPU, 1))


def box(frame: int) -> Box:
    x0, y0, x1, y1 = (float(v) for v in face_box(frame))
    return x0, y0, x1, y1


def grey(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"), np.float32)


@pytest.fixture(scope="module")
def segment(seen: Seen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("segment") / "0.nut"
    with SegmentWriter(path, seen.info, EncoderSettings.for_source(seen.info, crf=10)) as writer:
        for picture in read(seen.info, seen.index, 0, FRAMES):
            writer.write(picture)
        writer.close()
    return path


@pytest.mark.parametrize("frame", [0, 13, FRAMES - 1])
def test_both_show_the_same_place_on_the_same_frame(seen: Seen, segment: Path, frame: int) -> None:
    before = grey(from_film(seen.info, seen.index, frame, box(frame)))
    after = grey(from_segment(segment, frame, box(frame), 0))
    assert before.shape == after.shape
    assert np.abs(before - after).mean() < 3
    other = grey(from_segment(segment, (frame + 9) % FRAMES, box(frame), 0))
    assert np.abs(before - other).mean() > 5


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_it_is_turned_upright_as_a_player_does(segment: Path, rotation: int) -> None:
    plain, turned = (grey(from_segment(segment, 3, box(3), r)) for r in (0, rotation))
    assert np.abs(np.rot90(plain, -rotation // 90) - turned).mean() < 3


def test_a_box_at_the_edge_or_beyond_still_gives_a_picture(seen: Seen) -> None:
    for place in ((-50.0, -50.0, 20.0, 20.0), (5000.0, 5000.0, 5100.0, 5100.0), (10.0, 10.0, 11.0, 11.0)):
        assert grey(from_film(seen.info, seen.index, 5, place)).size > 0


def test_a_frame_that_isnt_there_is_told(segment: Path) -> None:
    with pytest.raises(VerifyError, match="has no frame 99"):
        from_segment(segment, 99, box(0), 0)
