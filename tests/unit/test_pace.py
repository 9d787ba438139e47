"""How fast the farm is, and how long chunks should be."""

from cluster.job import Step
from cluster.pace import TARGET, Pace


def a_pace(*notes: tuple[Step, str, int, float, float]) -> Pace:
    pace = Pace()
    for note in notes:
        pace.note(*note)
    return pace


def test_nothing_is_said_before_both_steps_were_measured() -> None:
    assert Pace().chunk_frames(2.0) is None
    assert Pace().seconds(100, 2.0) is None
    pace = a_pace((Step.ANALYSE, "cpu", 100, 2.0, 10.0))
    assert pace.chunk_frames(2.0) is None
    assert pace.seconds(100, 2.0) is None


def test_a_chunk_keeps_the_slower_step_busy_for_the_target() -> None:
    pace = a_pace((Step.ANALYSE, "cpu", 100, 2.0, 10.0), (Step.RENDER, "cpu", 100, 2.0, 40.0))
    assert pace.chunk_frames(2.0) == round(TARGET / 0.4)
    assert pace.chunk_frames(4.0) == round(TARGET / 0.8)  # four times the pixels of 1 MP, half the frames of 2 MP
    assert pace.seconds(100, 2.0) == 50.0
    assert pace.chunk_frames(1e9) == 1


def test_the_fastest_device_counts() -> None:
    pace = a_pace(
        (Step.ANALYSE, "cpu", 100, 1.0, 50.0),
        (Step.ANALYSE, "cuda", 100, 1.0, 5.0),
        (Step.RENDER, "cuda", 100, 1.0, 10.0),
    )
    assert pace.chunk_frames(1.0) == round(TARGET / 0.1)


def test_it_follows_what_is_measured_slowly() -> None:
    pace = a_pace((Step.ANALYSE, "cpu", 1, 1.0, 0.001), (Step.RENDER, "cpu", 100, 1.0, 100.0))
    pace.note(Step.RENDER, "cpu", 100, 1.0, 200.0)
    assert pace.chunk_frames(1.0) == round(TARGET / 1.3)
    for _ in range(30):
        pace.note(Step.RENDER, "cpu", 100, 1.0, 200.0)
    assert pace.chunk_frames(1.0) == round(TARGET / 2.0) or pace.chunk_frames(1.0) == round(TARGET / 2.0) + 1


def test_what_says_nothing_is_left_out() -> None:
    pace = a_pace(
        (Step.STITCH, "cpu", 100, 1.0, 1.0),
        (Step.ANALYSE, "cpu", 0, 1.0, 1.0),
        (Step.RENDER, "cpu", 10, 0.0, 1.0),
    )
    assert pace.chunk_frames(1.0) is None
