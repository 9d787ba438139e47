"""What is noted of the source is what the source was, however it is stored and wherever it lies."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import witness
from pipeline.chunk import Chunk
from pipeline.detections import Detections, nothing
from pipeline.errors import VerifyError
from pipeline.facts import FrameIndex
from pipeline.link import Linked
from pipeline.picture import Picture, PixelLayout
from pipeline.track import Track, Treatment
from pipeline.witness import HOLD, STRIDE, Witness, in_place, looks

CPU = torch.device("cpu")
FILM = FrameIndex(
    np.arange(200), np.ones(200, np.int64), np.arange(200) % 50 == 0, np.zeros(200, bool), (), 0, Fraction(1, 25)
)
CHUNK = Chunk(1, 100, 140, 100, 140, "")
WIDTH, HEIGHT = 400, 300


class Sees:
    """A detector that always sees one face, and counts."""

    multiple = 1

    def __init__(self, score: float = 0.9) -> None:
        self.looks, self.score = 0, score

    def detect(self, image: torch.Tensor) -> Detections:
        return self.detect_batch(image[None])[0]

    def detect_batch(self, images: torch.Tensor) -> list[Detections]:
        self.looks += len(images)
        found = nothing()
        box = np.array([[300, 200, 340, 250]], np.float32) * images.shape[3] / WIDTH
        return [Detections(box, np.array([self.score], np.float32), np.resize(found.points, (1, 5, 2))) for _ in images]


def layout(depth: int = 8) -> PixelLayout:
    return PixelLayout(WIDTH, HEIGHT, depth, 1, 1, "bt709", False)


def picture(number: int, depth: int = 8) -> Picture:
    generator = torch.Generator().manual_seed(number)
    kind = torch.uint8 if depth == 8 else torch.int16
    sizes = ((HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2), (HEIGHT // 2, WIDTH // 2))
    planes = [torch.randint(0, 2**depth, size, generator=generator).to(kind) for size in sizes]
    return Picture(number, number, (planes[0], planes[1], planes[2]), layout(depth))


def track(number: int, box: tuple[float, ...], frames: range) -> Track:
    n = len(frames)
    boxes, nothing = np.tile(np.array(box, np.float32), (n, 1)), np.full((n, 2), -1, np.int32)
    return Track(number, -1, np.array(frames, np.int32), boxes, nothing, np.full(n, Treatment.REPLACE, np.uint8))


LINKED = Linked((track(0, (20, 30, 160, 240), range(90, 120)), track(1, (10, 10, 16, 16), range(200))), ())


def noted(book: Witness, depth: int = 8) -> None:
    for number in range(*book.span):
        shown = picture(number, depth)
        book.note([shown])
        shown.planes[0].zero_()  # painted over


@pytest.mark.parametrize("memory", [1000, 1 << 30])
@pytest.mark.parametrize("depth", [8, 10])
def test_notes_are_the_source_before_it_was_painted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, depth: int
) -> None:
    monkeypatch.setattr(witness, "_IN_MEMORY", memory)
    with Witness(layout(depth), FILM, CHUNK, LINKED, Sees(), CPU, tmp_path) as book:
        for _ in range(2):
            book.begin()
            noted(book, depth)
            pages = list(book.pages())
            assert [page.frame for page in pages] == list(range(CHUNK.start, CHUNK.stop))
            for page in pages:
                luma = picture(page.frame, depth).planes[0].numpy()
                assert np.array_equal(page.grid, luma[page.rows, page.columns])
                for place, samples in zip(page.places, page.patches, strict=True):
                    assert np.array_equal(samples, luma[place.patch.rows, place.patch.columns])
                assert [p.tracked for p in page.places].count(True) == (page.frame < 120), "the tiny one doesn't count"
        assert not list(tmp_path.iterdir()), "the file has no name"


def test_the_detector_looks_once_at_each_picture_however_often_it_is_rendered(tmp_path: Path) -> None:
    sees = Sees()
    with Witness(layout(), FILM, CHUNK, LINKED, sees, CPU, tmp_path) as book:
        for turn in range(2):
            book.begin([track(7, (300, 200, 340, 250), range(100, 140))] * turn)
            assert book.span == ((100, 140) if turn else (96, 145))
            noted(book)
            places = {page.frame: page.places for page in book.pages()}
            looked = [frame for frame, there in places.items() if not all(p.tracked for p in there)]
            assert looked == [112, 128]
            assert len(places[130]) == turn
    assert sees.looks == 4, "one more on either side"


def test_a_part_of_a_tracked_head_and_a_doubtful_sight_are_no_faces(tmp_path: Path) -> None:
    head = Linked((track(0, (240, 120, 390, 290), range(90, 150)),), ())
    for linked, score, count in ((LINKED, 0.9, 1), (LINKED, 0.4, 0), (head, 0.6, 0)):
        with Witness(layout(), FILM, CHUNK, linked, Sees(score), CPU, tmp_path) as book:
            noted(book)
            page = list(book.pages())[128 - CHUNK.start]
            assert sum(not p.tracked for p in page.places) == count
            assert len(book.beyond()) == 2 * count


def test_a_chunk_that_was_not_seen_as_a_whole_is_not_judged(tmp_path: Path) -> None:
    with Witness(layout(), FILM, CHUNK, LINKED, Sees(), CPU, tmp_path) as book:
        book.note([picture(number) for number in range(CHUNK.start, CHUNK.stop - 1)])
        with pytest.raises(VerifyError, match="not seen as a whole"):
            next(book.pages())


def test_notes_of_a_large_picture_are_small() -> None:
    big = PixelLayout(3840, 2160, 10, 1, 1, "bt2020", False)
    rows, columns = witness.grid(big)
    assert len(range(3840)[columns]) * len(range(2160)[rows]) < 50_000
    assert rows.step % 2 == 1
    patch = witness.Patch.of(np.array([500, 100, 2000, 2000], np.float32), 3840, 2160)
    assert patch is not None
    assert np.prod(patch.shape) < 40_000


def test_neighbours_look_at_the_same_frames() -> None:
    film = replace(FILM, cuts=(40, 90))
    borders = [3, 33, 40, 45, 88, 100, 150, 190]
    wide = (3, 190)
    every = {f for f in range(*wide) if f % STRIDE == 0} | {3, 39, 40, 89, 90, 189}
    for start, stop in pairwise(borders):
        mine = looks(film, Chunk(0, start, stop, 0, 0, ""), wide)
        shot = (max(c for c in (3, *film.cuts) if c <= start), min(c for c in (*film.cuts, 190) if c >= stop))
        assert mine == {f for f in every if max(shot[0], start - HOLD) <= f < min(shot[1], stop + HOLD)}


def test_a_face_in_a_tracked_face_s_place_is_no_other() -> None:
    face = np.array([100, 100, 150, 170], np.float32)
    for box, expected in (
        ((95, 90, 160, 180), True),  # around it
        ((80, 60, 175, 195), True),  # the whole head
        ((110, 115, 140, 165), True),  # its inner part
        ((145, 100, 195, 170), False),  # beside it
        ((0, 0, 400, 400), False),  # much nearer, before it
    ):
        assert in_place(np.array(box, np.float32), [face]) == expected
    assert not in_place(face, [])


class Doubts:
    """A network for landmarks that gives every face the same flag, and counts."""

    def __init__(self, presence: float) -> None:
        self.presence, self.asked = presence, 0

    def locate(
        self, pictures: object, which: np.ndarray, boxes: np.ndarray, points: object = None, looks: int = 2
    ) -> tuple[np.ndarray, np.ndarray]:
        self.asked += len(boxes)
        return np.zeros((len(boxes), 468, 3), np.float32), np.full(len(boxes), self.presence, np.float32)


@pytest.mark.parametrize(
    ("score", "presence", "stays"), [(0.8, 0.0, False), (0.8, 0.05, True), (0.9, 0.0, True), (0.6, 0.01, False)]
)
def test_what_is_nothing_like_a_face_is_no_finding(score: float, presence: float, stays: bool, tmp_path: Path) -> None:
    doubts = Doubts(presence)
    with Witness(layout(), FILM, CHUNK, LINKED, Sees(score), CPU, tmp_path, mesher=doubts) as book:
        noted(book)
        seen = [p for page in book.pages() for p in page.places if not p.tracked]
    assert bool(seen) == stays
    assert (doubts.asked > 0) == (score < witness.CERTAIN)
