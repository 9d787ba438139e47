import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detections import Detections
from pipeline.track import START, Trace, Tracker, believable, between, overlap, pair, to_box, to_state


def found(*faces: tuple[float, float, float, float]) -> Detections:
    """Faces as centre x, centre y, size, score."""
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s, _ in faces], np.float32).reshape(-1, 4)
    scores = np.array([f[3] for f in faces], np.float32)
    return Detections(boxes, scores, np.zeros((len(faces), 5, 2), np.float32))


def follow(frames: list[Detections], cuts: tuple[int, ...] = ()) -> list[Trace]:
    tracker = Tracker(cuts)
    for number, detections in enumerate(frames):
        tracker.update(number, detections)
    return tracker.finish()


def test_one_face_is_one_trace() -> None:
    (trace,) = follow([found((100 + 3 * t, 80, 40, 0.9)) for t in range(30)])
    assert trace.frames == list(range(30))


def test_a_face_faster_than_its_size_is_followed() -> None:
    (trace,) = follow([found((100 + 24 * t, 80, 30, 0.9)) for t in range(20)])
    assert len(trace.frames) == 20


def test_two_faces_that_pass_each_other_keep_their_traces() -> None:
    frames = [found((100 + 8 * t, 100, 50, 0.9), (420 - 8 * t, 128, 56, 0.9)) for t in range(40)]
    traces = follow(frames)
    assert len(traces) == 2
    for trace in traces:
        xs = [float(b[0] + b[2]) / 2 for b in trace.boxes]
        steps = np.diff(xs)
        assert (np.sign(steps) == np.sign(steps[0])).all(), "a trace turned round: the faces were swapped"


def test_a_weak_detection_carries_a_trace() -> None:
    scores = [0.9, 0.9, 0.3, 0.25, 0.3, 0.9]
    (trace,) = follow([found((100, 80, 40, s)) for s in scores])
    assert trace.frames == [0, 1, 2, 3, 4, 5]


def test_a_gap_of_two_full_looks_is_bridged_and_a_long_one_is_not() -> None:
    for gap, count in ((16, 1), (25, 2)):
        frames = [found((100, 80, 40, 0.9))] * 5 + [found()] * gap + [found((104, 80, 40, 0.9))] * 5
        assert len(follow(frames)) == count


def test_everything_ends_at_a_cut() -> None:
    traces = follow([found((100, 80, 40, 0.9))] * 20, cuts=(10,))
    assert [(t.frames[0], t.frames[-1]) for t in traces] == [(0, 9), (10, 19)]


def test_a_second_box_on_the_same_face_starts_nothing() -> None:
    assert len(follow([found((100, 80, 40, 0.9), (103, 82, 46, 0.6))] * 5)) == 1


def test_a_single_sure_detection_is_a_face() -> None:
    (trace,) = follow([found(), found((100, 80, 40, START)), found()])
    assert believable(np.array(trace.scores, np.float32), np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("scores", "presence", "expected"),
    [
        ([0.3] * 4, [0] * 4, False),  # too few
        ([0.35] * 5, [0] * 5, True),
        ([0.22] * 9, [0] * 9, False),  # too weak
        ([0.22] * 9, [0.95] * 9, True),  # the landmarks see a face
        ([0.22] * 9, [0.95] * 3 + [0.1] * 6, False),
    ],
)
def test_who_never_scores_high_must_be_seen_often(scores: list[float], presence: list[float], expected: bool) -> None:
    assert believable(np.array(scores, np.float32), np.array(presence, np.float32)) is expected


boxes = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(4, 300), st.floats(4, 300)).map(
    lambda b: np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]], np.float32)
)


@given(boxes, boxes, st.integers(1, 9))
@settings(deadline=None)
def test_boxes_in_between_lie_in_between(a: np.ndarray, b: np.ndarray, count: int) -> None:
    filled = between(a, b, count)
    assert filled.shape == (count, 4)
    states = to_state(np.concatenate([a[None], filled, b[None]]))
    assert np.allclose(np.diff(states, axis=0), np.diff(states, axis=0)[0], atol=0.02)


@given(boxes)
@settings(deadline=None)
def test_state_and_back(box: np.ndarray) -> None:
    assert np.allclose(to_box(to_state(box)), box, atol=0.05)
    assert overlap(box[None], box[None])[0, 0] == pytest.approx(1, abs=1e-4)


def test_pairs_are_one_to_one_and_cheapest_first() -> None:
    cost = np.array([[1, 0.5], [0.6, np.inf]], np.float32)
    assert pair(cost) == [(0, 1), (1, 0)]
    assert pair(np.zeros((0, 3), np.float32)) == []
