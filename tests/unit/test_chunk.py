"""Chunks cover the film without a gap, and ranges fall on exact frames."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chunk import frame_range, plan
from pipeline.errors import InputError
from pipeline.facts import FrameIndex

BASE = Fraction(1, 1000)


def film(steps: list[int], keys: list[int], start: int = 0) -> FrameIndex:
    """A film whose frames are shown for so many milliseconds each."""
    durations = np.array(steps, np.int64)
    pts = start + np.concatenate([[0], np.cumsum(durations)[:-1]])
    flags = np.isin(np.arange(len(steps)), [0, *keys])
    return FrameIndex(pts, durations, flags, np.zeros(len(steps), np.bool_), (), 0, BASE)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    steps=st.lists(st.integers(1, 400), min_size=1, max_size=120),
    keys=st.lists(st.integers(0, 119), max_size=12),
    start=st.integers(-500, 500),
    target=st.integers(1, 4000),
    ends=st.tuples(st.integers(0, 119), st.integers(1, 120)),
)
def test_chunks_cover_every_frame_once(
    steps: list[int], keys: list[int], start: int, target: int, ends: tuple[int, int]
) -> None:
    index = film(steps, keys, start)
    first = min(ends[0], len(steps) - 1)
    last = max(first + 1, min(ends[1], len(steps)))
    chunks = plan(index, target=target * BASE, first=first, last=last)
    assert [c.index for c in chunks] == list(range(len(chunks)))
    assert chunks[0].start == first
    assert chunks[-1].stop == last
    assert all(a.stop == b.start and a.end_pts == b.first_pts for a, b in pairwise(chunks))
    for chunk in chunks:
        assert chunk.start < chunk.stop
        assert chunk.first_pts == index.pts[chunk.start]
        assert chunk.pts_sha256 == index.pts_sha256(chunk.start, chunk.stop)
        # Never longer than one and a half targets, but for one frame that is.
        assert chunk.end_pts - chunk.first_pts <= target * 3 / 2 + 400


def test_chunks_begin_on_keyframes_that_are_near() -> None:
    index = film([40] * 250, [0, 54, 70, 107, 144, 240])
    starts = [c.start for c in plan(index, target=Fraction(2))]
    assert starts == [0, 54, 100, 144, 200]


def test_the_last_chunk_is_no_shorter_than_the_others() -> None:
    for frames, keys in ((500, range(0, 500, 49)), (500, [0]), (751, range(0, 751, 250)), (130, range(130))):
        chunks = plan(film([40] * frames, list(keys)), target=Fraction(5))
        lengths = [c.stop - c.start for c in chunks]
        assert len(lengths) == -(-frames // 125)
        # Each of its two borders is moved by an eighth at most.
        assert min(lengths) * len(lengths) >= frames * 3 / 4 - len(lengths)
        assert max(lengths) <= 125 * 5 / 4 + 1


def test_no_chunks_of_nothing() -> None:
    index = film([40] * 10, [])
    for first, last in ((5, 5), (-1, 4), (2, 11)):
        with pytest.raises(ValueError, match="are not in a film of 10"):
            plan(index, target=Fraction(1), first=first, last=last)


def test_range_counts_from_the_first_frame() -> None:
    index = film([40] * 100, [], start=1400)
    assert frame_range(index, None, None) == (0, 100)
    assert frame_range(index, Fraction(1), Fraction(2)) == (25, 50)
    assert frame_range(index, Fraction(1, 1000), Fraction(81, 1000)) == (1, 3)
    assert frame_range(index, Fraction(3), Fraction(60)) == (75, 100)
    for start, stop in ((Fraction(4), None), (Fraction(2), Fraction(2)), (Fraction(-1), None)):
        with pytest.raises(InputError):
            frame_range(index, start, stop)
