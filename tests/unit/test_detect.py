"""Where and how the finder looks, with a real detector on small scenes and with a made-up one that counts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from portrait import as_picture, portrait, scene

from pipeline.detect import Detections, FaceFinder, Looks, full_every
from pipeline.detections import join, nothing, overlaps, suppress
from pipeline.look import back, look, upright, warped
from pipeline.models.centerface import CenterFace
from pipeline.picture import PixelLayout, read_rgb, to_rgb

CPU = torch.device("cpu")
FACE = (0.38, 0.15, 0.62, 0.53)  # of the portrait's side


def box_of(x: int, y: int, side: int) -> np.ndarray:
    return np.array([[x, y, x, y]], np.float32) + np.array(FACE, np.float32) * side


def layout(width: int, height: int, rotation: int = 0) -> PixelLayout:
    return PixelLayout(width, height, 8, 1, 1, "bt709", False, rotation)


class Bright:
    """A detector of white rectangles, at least 6 px wide; it notes the sizes of what it was shown."""

    multiple = 1

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def detect(self, image: torch.Tensor) -> Detections:
        return self.detect_batch(image[None])[0]

    def detect_batch(self, images: torch.Tensor) -> list[Detections]:
        return [self._one(image) for image in images]

    def _one(self, image: torch.Tensor) -> Detections:
        self.shown.append((image.shape[2], image.shape[1]))
        rows, columns = (image.mean(0) > 0.6).nonzero(as_tuple=True)
        if len(rows) < 36:
            return nothing()
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Detections(np.array([box], np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))


def film(boxes: list[tuple[int, int, int] | None], width: int = 640, height: int = 480) -> list:
    pictures = []
    for number, place in enumerate(boxes):
        image = torch.full((3, height, width), 0.2)
        if place is not None:
            x, y, side = place
            image[:, y : y + side, x : x + side] = 1.0
        pictures.append(as_picture(image, number))
    return pictures


def test_a_small_face_is_followed_between_full_looks():
    # 12 px are 4 px in a scan at 224 px: only the full look at picture 5 can see it; it moves all the time.
    places = [(100 + 4 * i, 200, 12) for i in range(10)]
    detector = Bright()
    finder = FaceFinder(detector, layout(640, 480), CPU, Looks(scan=224, every=3))
    found = finder.find(film(places), [i == 5 for i in range(10)])
    for (x, y, side), detections in zip(places, found, strict=True):
        assert len(detections) == 1
        np.testing.assert_allclose(detections.boxes[0], [x, y, x + side, y + side], atol=2)
    assert detector.shown.count((640, 480)) == 1
    assert detector.shown.count((192, 192)) == 9


def test_the_next_call_goes_on_from_the_last_one():
    places = [(100 + 4 * i, 200, 12) for i in range(12)]
    finder = FaceFinder(Bright(), layout(640, 480), CPU, Looks(scan=224, every=100))
    pictures = film(places)
    first = finder.find(pictures[:6], [i == 0 for i in range(6)])
    second = finder.find(pictures[6:], [False] * 6)
    assert [len(d) for d in first + second] == [1] * 12


def test_a_face_that_leaves_is_given_up_after_a_while():
    detector = Bright()
    finder = FaceFinder(detector, layout(640, 480), CPU, Looks(scan=224, every=100, patience=3))
    found = finder.find(film([(100, 200, 12)] * 4 + [None] * 8), [i == 0 for i in range(12)])
    assert [len(d) for d in found] == [1] * 4 + [0] * 8
    assert detector.shown.count((192, 192)) == 3 + 3


def test_a_hint_is_looked_at():
    finder = FaceFinder(Bright(), layout(640, 480), CPU, Looks(scan=224, every=100))
    hint = np.array([[96, 196, 116, 216]], np.float32)
    found = finder.find(film([(100, 200, 12)])[:1], [False], [hint])
    assert len(found[0]) == 1


def test_no_pictures_give_nothing():
    assert FaceFinder(Bright(), layout(64, 48), CPU).find([], []) == []


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotated_films_give_boxes_in_coded_pixels(rotation):
    upright_image = scene(320, 256, (30, 20, 224))
    coded = upright(upright_image, 4 - rotation // 90).contiguous()
    picture = as_picture(coded, rotation=rotation)
    finder = FaceFinder(CenterFace(CPU, threshold=0.5), picture.layout, CPU)
    (found,) = finder.find([picture], [True])
    linear, shift = back(rotation // 90, (0, 0, coded.shape[2], coded.shape[1]), coded.shape[2], coded.shape[1])
    expected = Detections(box_of(30, 20, 224), np.ones(1), np.zeros((1, 5, 2))).moved(linear, shift)
    assert len(found) == 1
    assert overlaps(found.boxes, expected.boxes)[0, 0] > 0.6
    x0, y0, x1, y1 = found.boxes[0]
    assert ((found.points[0] > [x0, y0]) & (found.points[0] < [x1, y1])).all()


def test_what_a_detector_sees_beyond_the_edge_is_cut_off() -> None:
    class Large(Bright):
        multiple = 64

        def _one(self, image: torch.Tensor) -> Detections:
            self.shown.append((image.shape[2], image.shape[1]))
            box = [600, 400, image.shape[2], image.shape[1]]
            return Detections(np.array([box], np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))

    detector = Large()
    (found,) = FaceFinder(detector, layout(640, 480), CPU, Looks()).find(film([None]), [True])
    assert detector.shown == [(640, 512)]
    assert found.boxes.tolist() == [[600, 400, 640, 480]]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_lying_face_is_found_when_asked_for(quarters):
    lying = upright(scene(256, 256, (16, 16, 224)), quarters).contiguous()
    detector = CenterFace(CPU, threshold=0.5)
    (found,) = FaceFinder(detector, layout(256, 256), CPU, Looks(turned=True)).find([as_picture(lying)], [True])
    assert len(found) >= 1
    centre = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2
    assert (np.abs(centre - 128) < 64).all()


def test_looks_are_means_of_areas():
    picture = as_picture(portrait())
    whole = read_rgb(picture, (0, 0, 384, 384))[None]
    for size in (384, 192, 128, 96):
        seen = look(picture, (0, 0, 384, 384), size, size)
        assert seen.shape == (3, size, size)
        expected = torch.nn.functional.interpolate(whole, size=(size, size), mode="area")[0]
        assert float((seen - expected).abs().mean()) < 0.01


@pytest.mark.parametrize("size", [(384, 384), (192, 192), (190, 100), (300, 384), (77, 31), (400, 500)])
def test_looks_in_strips_show_the_same(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    picture = as_picture(portrait())
    whole = look(picture, (0, 0, 384, 384), *size)
    monkeypatch.setattr("pipeline.look._STRIP", 5000)
    canvas = torch.full((3, size[1] + 8, size[0] + 8), -1.0)
    look(picture, (0, 0, 384, 384), *size, canvas[:, : size[1], : size[0]])
    torch.testing.assert_close(canvas[:, : size[1], : size[0]], whole, rtol=0, atol=1e-6)
    assert (canvas[:, size[1] :] == -1).all()
    assert (canvas[:, :, size[0] :] == -1).all()


def test_colours_are_blended_between_their_samples() -> None:
    picture = as_picture(portrait())
    chroma = torch.stack(picture.planes[1:]).float()
    ycc = torch.cat([picture.planes[0][None].float(), _interpolate(chroma, (384, 384))])
    expected = to_rgb(ycc, picture.layout).clamp(0, 1)
    torch.testing.assert_close(look(picture, (0, 0, 384, 384), 384, 384), expected, rtol=0, atol=1e-5)


def _interpolate(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(planes[None], size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.8, 3.1])
@pytest.mark.parametrize("centre", [(190.0, 200.0), (20.0, 370.0), (-500.0, 0.0)])
def test_warped_crops_are_what_many_samples_per_pixel_give(scale, centre):
    picture = as_picture(portrait())
    linear = torch.tensor([[0.95, -0.3], [0.3, 0.95]]) * scale
    matrix = torch.cat([linear, (torch.tensor(centre) - linear.sum(1) * 48)[:, None]], 1)
    fine = warped(picture, torch.cat([linear / 4, matrix[:, 2:]], 1), 384)[None]
    expected = torch.nn.functional.avg_pool2d(fine, 4)[0]
    seen = warped(picture, matrix, 96)
    assert seen.shape == (3, 96, 96)
    assert float((seen - expected).abs().mean()) < 0.02


def test_ten_bit_pictures_look_the_same():
    picture = as_picture(portrait())
    deep = as_picture(portrait())
    deep.layout = PixelLayout(384, 384, 10, 1, 1, "bt709", False)
    deep.planes = tuple(p.to(torch.int16) * 4 for p in picture.planes)
    torch.testing.assert_close(look(picture, (0, 0, 384, 384), 96, 96), look(deep, (0, 0, 384, 384), 96, 96))


def test_full_looks_become_rarer_with_size():
    assert [full_every(layout(w, h)) for w, h in ((640, 360), (1280, 720), (1920, 1080), (3840, 2160))] == [
        8,
        8,
        18,
        24,
    ]


@given(st.integers(0, 3), st.integers(8, 60), st.integers(8, 60))
def test_turning_and_back_is_the_identity(quarters, width, height):
    image = torch.zeros(3, height, width)
    image[:, height // 2, width // 3] = 1
    turned = upright(image, quarters)
    row, column = (turned[0] > 0).nonzero()[0].tolist()
    linear, shift = back(quarters, (10, 20, 10 + 2 * width, 20 + 2 * height), width, height)
    there = linear @ np.array([column + 0.5, row + 0.5]) + shift
    np.testing.assert_allclose(there, [10 + 2 * (width // 3 + 0.5), 20 + 2 * (height // 2 + 0.5)])


def test_suppression_keeps_the_best_of_each_face():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [40, 40, 50, 50]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.9, 0.3], np.float32), 0.3).tolist() == [1, 2]
    assert len(suppress(boxes[:0], np.zeros(0, np.float32), 0.3)) == 0
    assert len(join([], 0.3)) == 0
    assert overlaps(boxes[:0], boxes).shape == (0, 3)


def test_turned_looks_come_where_a_shot_begins_and_one_now_and_then() -> None:
    detector = Bright()
    finder = FaceFinder(detector, layout(640, 320), CPU, Looks(turned=True, scan=224, every=100, rest=32))
    pictures = film([None] * 100, 640, 320)
    lying, looks, shown = [], [], 0
    for start in range(0, 96, 8):
        batch = pictures[start : start + 8]
        begins = [p.number == 48 for p in batch]
        finder.find(batch, [p is batch[-1] or p.number in (0, 48) for p in batch], None, begins)
        new, shown = detector.shown[shown:], len(detector.shown)
        looks.append(len(new))
        lying.append(sum(height > width for width, height in new))
    # Two upright looks at each of the pictures; all quarters at 0 and 48; a half turn at 39, and a quarter at 87.
    assert looks == [4 + 3, 2, 2, 2, 3, 2, 4 + 3, 2, 2, 2, 3, 2]
    assert lying == [2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0]


class Standing(Bright):
    """Sees a white square with a score that depends on where the black mark on its edge is: its top."""

    def __init__(self, upside_down: float) -> None:
        super().__init__()
        self.upside_down = upside_down

    def _one(self, image: torch.Tensor) -> Detections:
        seen = super()._one(image)
        if not len(seen):
            return seen
        x0, y0, x1, y1 = (int(v) for v in seen.boxes[0])
        part, third = image.mean(0)[y0:y1, x0:x1], (y1 - y0) // 3
        up = float(part[:third].mean()) < float(part[-third:].mean())
        across, down = x1 - x0, y1 - y0
        eyes = [[x0 + across * 0.3, y0 + down * 0.4], [x0 + across * 0.7, y0 + down * 0.4]]
        points = np.array([[*eyes, *eyes, eyes[0]]], np.float32)
        return Detections(seen.boxes, np.array([0.9 if up else self.upside_down], np.float32), points)


def on_its_head(number: int) -> torch.Tensor:
    image = torch.full((3, 480, 640), 0.2)
    image[:, 200:260, 300:360] = 1.0
    image[:, 246:252, 310:350] = 0.62  # below the middle: the head's top is down
    return image


@pytest.mark.parametrize(("half_seen", "turned"), [(0.0, True), (0.3, True), (0.85, False)])
def test_a_face_on_its_head_has_its_eyes_where_they_are(half_seen: float, turned: bool) -> None:
    pictures = [as_picture(on_its_head(i), i) for i in range(6)]
    finder = FaceFinder(Standing(half_seen), layout(640, 480), CPU, Looks(turned=True, every=100))
    for found in finder.find(pictures, [i == 0 for i in range(6)]):
        assert len(found) == 1
        # Seen upside down, what looks like the left eye is on the picture's right.
        assert (found.points[0, 0, 0] > found.points[0, 1, 0]) == turned


def test_only_a_sure_look_at_a_turned_picture_starts_a_face() -> None:
    class Weak(Standing):
        def _one(self, image: torch.Tensor) -> Detections:
            seen = super()._one(image)
            return Detections(seen.boxes, seen.scores * 0.5, seen.points).take(np.flatnonzero(seen.scores > 0.5))

    picture = as_picture(on_its_head(0))
    (found,) = FaceFinder(Weak(0.0), layout(640, 480), CPU, Looks(turned=True)).find([picture], [True])
    assert len(found) == 0


class Upright(Standing):
    """Sees nothing that stands on its head."""

    def _one(self, image: torch.Tensor) -> Detections:
        seen = super()._one(image)
        return seen.take(np.flatnonzero(seen.scores > 0.5))


def _late(keen: bool, all_round: bool = False) -> tuple[list[int], bool]:
    """Pictures in which a face on its head is found that comes with picture 12 of 32, and whether that was news."""
    empty = torch.full((3, 480, 640), 0.2)
    pictures = [as_picture(on_its_head(i) if i >= 12 else empty, i) for i in range(32)]
    finder = FaceFinder(Upright(0.0), layout(640, 480), CPU, Looks(turned=True, every=100, rest=100), keen=keen)
    found = list[Detections]()
    for start in range(0, 32, 8):
        batch = pictures[start : start + 8]
        last = [p.number == 31 and all_round for p in batch]
        found += finder.find(batch, [p.number == 0 or p is batch[-1] for p in batch], all_round=last)
    return [i for i, faces in enumerate(found) if len(faces)], finder.surprised


def test_a_face_on_its_head_that_comes_later_is_news_and_then_found_from_its_first_picture() -> None:
    assert _late(keen=False) == ([], False), "no turned look was due"
    assert _late(keen=False, all_round=True) == ([*range(24, 32)], True)
    assert _late(keen=True) == ([*range(12, 32)], True)
