"""Following a box that was drawn."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from pipeline import box as boxes
from pipeline.box import Followed, flow, follow_box
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.video import index, ingest

W, H, N, CUT = 320, 240, 90, 60


def texture(seed: int, width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (height // 4 + 1, width // 4 + 1), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


ROOM, OTHER, FACE = texture(1, W, H), texture(2, W, H), texture(3, 120, 120)


def where(frame: int) -> np.ndarray:
    """It moves to the right and grows."""
    side = 40 + 0.4 * frame
    x, y = 30 + 2.0 * frame, 60 + 20 * np.sin(frame / 12)
    return np.array([x, y, x + side, y + side], np.float32)


def picture(frame: int) -> np.ndarray:
    if frame >= CUT:
        return OTHER
    image = ROOM.copy()
    x0, y0, x1, y1 = (round(float(v)) for v in where(frame))
    image[y0:y1, x0:x1] = cv2.resize(FACE, (x1 - x0, y1 - y0))
    return image


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoInfo, FrameIndex]:
    folder = tmp_path_factory.mktemp("box")
    with av.open(folder / "film.mp4", "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for number in range(N):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="gray")))
        out.mux(stream.encode())
    info = ingest(folder / "film.mp4", folder / "work")
    found = index(info)
    assert found.cuts == (CUT,)
    return info, found


def followed(
    film: tuple[VideoInfo, FrameIndex], frame: int, box: np.ndarray, within: tuple[int, int] = (0, N)
) -> Followed:
    x0, y0, x1, y1 = (float(v) for v in box)
    return follow_box(*film, frame, (x0, y0, x1, y1), within)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = float(np.prod(np.clip(high - low, 0, None)))
    return inter / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)


def within(inner: np.ndarray, outer: np.ndarray) -> bool:
    return bool((inner[:2] >= outer[:2]).all() and (inner[2:] <= outer[2:]).all())


@pytest.mark.parametrize("frame", [0, 25, CUT - 1])
def test_it_is_followed_both_ways_and_lies_in_its_margin_on_every_frame(
    film: tuple[VideoInfo, FrameIndex], frame: int
) -> None:
    found = followed(film, frame, where(frame))
    assert found.frames.tolist() == list(range(CUT))  # to the beginning, and not over the cut
    assert found.sure == CUT
    for number, box in zip(found.frames, found.boxes, strict=True):
        assert within(where(int(number)), box), number
        assert overlap(where(int(number)), box) > 0.3


def test_the_range_of_the_job_is_not_left(film: tuple[VideoInfo, FrameIndex]) -> None:
    assert followed(film, 25, where(25), (20, 40)).frames.tolist() == list(range(20, 40))


def test_going_backwards_holds_few_pictures(
    film: tuple[VideoInfo, FrameIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = followed(film, 50, where(50))
    monkeypatch.setattr(boxes, "_WINDOW_BYTES", 1)
    asked: list[tuple[int, int]] = []
    read = boxes.read

    def counted(info: VideoInfo, index: FrameIndex, start: int, stop: int, **more: int):  # type: ignore[no-untyped-def]
        asked.append((start, stop))
        return read(info, index, start, stop, **more)

    monkeypatch.setattr(boxes, "read", counted)
    again = followed(film, 50, where(50))
    assert np.array_equal(whole.boxes, again.boxes)
    assert max(stop - start for start, stop in asked if stop <= 51) == 8


def test_what_is_lost_is_held_for_a_while(film: tuple[VideoInfo, FrameIndex]) -> None:
    """Into the other shot's pictures nothing can be followed; without the cut it must be noticed."""
    info, known = film
    blind = FrameIndex(
        known.pts,
        known.durations,
        known.keys,
        known.corrupt,
        (),
        known.damaged,
        Fraction(known.time_base),
        known.stored,
    )
    found = followed((info, blind), CUT - 5, where(CUT - 5))
    assert found.frames[-1] == CUT - 1 + boxes._HELD
    assert found.sure == CUT
    last, lost = found.boxes[-1], found.boxes[CUT - 1]
    assert within(lost, last)


def test_what_goes_behind_something_is_not_followed_on_the_room() -> None:
    """The room stands still and could be followed for ever."""

    def shown(frame: int) -> np.ndarray:
        image = picture(frame)
        image[:, 110:] = ROOM[:, 110:]  # it goes behind this
        return image

    found = list(boxes._track(map(shown, range(CUT)), where(0)))
    gone = next(frame for frame in range(CUT) if where(frame)[0] >= 110)
    assert 20 < len(found) <= gone


def test_where_there_is_nothing_to_go_by_it_is_lost() -> None:
    flat = np.full((H, W), 128, np.uint8)
    assert flow(flat, flat, np.array([50, 50, 90, 90], np.float32)) is None
    assert flow(ROOM, OTHER, np.array([50, 50, 90, 90], np.float32)) is None
    assert flow(ROOM, ROOM, np.array([-90, 50, -50, 90], np.float32)) is None
