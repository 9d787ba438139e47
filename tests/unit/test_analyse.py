"""What becomes of landmarks when a face has been followed to its end."""

import numpy as np

from pipeline.analyse import batch_size, toppled
from pipeline.picture import PixelLayout


def test_landmarks_that_stand_on_a_heads_head_for_a_moment_are_wrong() -> None:
    roll = np.array([178, -179, 177, 2, 5, -178, 179, np.nan, 180, -177], np.float32)
    assert toppled(roll).tolist() == [False] * 3 + [True] * 2 + [False] * 5


def test_a_head_may_roll_round_and_round() -> None:
    roll = ((np.arange(40) * 15.0 + 180) % 360 - 180).astype(np.float32)
    assert not toppled(roll).any()


def test_a_face_without_neighbours_is_left_alone() -> None:
    assert toppled(np.array([np.nan, 90, np.nan], np.float32)).tolist() == [False] * 3


def test_after_out_of_memory_batches_are_halved() -> None:
    small, large = PixelLayout(640, 360, 8, 1, 1, "bt709", False), PixelLayout(7680, 4320, 10, 1, 1, "bt709", False)
    assert [batch_size(small, lean) for lean in range(5)] == [16, 8, 4, 2, 2]
    assert batch_size(large, 2) <= max(2, batch_size(large) // 4)
