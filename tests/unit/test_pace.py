"""What films cost, and how long chunks should be."""

from fractions import Fraction

import pytest

from cluster.job import AnalysisFacts, IndexFacts, RenderFacts, SourceFacts, Step, SurveyFacts, Veil
from cluster.pace import BEGIN, COVERED, FACES, TARGET, Load, Pace, film_load, of_unit

FILM = Load(1000, 2.0, 1.0)


def a_pace(*notes: tuple[Step, str, Load, float]) -> Pace:
    pace = Pace()
    for note in notes:
        pace.note(*note)
    return pace


def a_source(survey: SurveyFacts | None) -> SourceFacts:
    return SourceFacts("0" * 64, "mov", "h264", "yuv420p", 2000, 1000, 0, Fraction(25), (), survey)


def rendered(**treated: int) -> RenderFacts:
    return RenderFacts("s.nut", 10, 0, 9, "1" * 64, 10, 0, "h264", treated, {}, 0, {})


def test_there_is_an_estimate_before_anything_was_measured() -> None:
    seconds = Pace().seconds(FILM)
    assert seconds is not None
    assert seconds == pytest.approx(sum(Pace().step(step, FILM) for step in BEGIN))
    assert Pace().seconds(Load(0, 2.0)) is None  # nobody knows how long it is
    assert Pace().chunk_frames(FILM) is None  # chunks are cut by what was measured


def test_more_frames_pixels_and_faces_cost_more() -> None:
    pace, plain = Pace(), Pace().seconds(FILM)
    assert plain is not None
    for more in (Load(2000, 2.0, 1.0), Load(1000, 8.0, 1.0), Load(1000, 2.0, 6.0)):
        assert (pace.seconds(more) or 0) > plain * 1.2


def test_the_first_measurement_tells_how_fast_the_machine_is() -> None:
    before = Pace().step(Step.RENDER, Load(500, 0.5, 3.0))
    pace = a_pace((Step.RENDER, "cpu", FILM, 3 * Pace().step(Step.RENDER, FILM)))
    assert pace.step(Step.RENDER, FILM) == pytest.approx(3 * Pace().step(Step.RENDER, FILM))
    assert pace.step(Step.RENDER, Load(500, 0.5, 3.0)) == pytest.approx(3 * before)


def test_a_machine_that_is_slow_at_one_step_is_thought_slow_at_the_others() -> None:
    pace = a_pace((Step.ANALYSE, "cpu", FILM, 2 * Pace().step(Step.ANALYSE, FILM)))
    assert pace.step(Step.RENDER, FILM) == pytest.approx(2 * Pace().step(Step.RENDER, FILM))
    pace.note(Step.RENDER, "cpu", FILM, 7.0)
    assert pace.step(Step.RENDER, FILM) == pytest.approx(7.0)


def test_what_is_measured_later_changes_the_parts_that_it_is_about() -> None:
    bare, crowd = Load(100, 1.0, 0.0), Load(100, 1.0, 20.0)
    pace = Pace()
    for _ in range(40):  # this machine draws faces at half the cost that is known, and does all else as is known
        pace.note(Step.RENDER, "cpu", bare, Pace().step(Step.RENDER, bare))
        told = Pace().step(Step.RENDER, bare) + (Pace().step(Step.RENDER, crowd) - Pace().step(Step.RENDER, bare)) / 2
        pace.note(Step.RENDER, "cpu", crowd, told)
    assert pace.step(Step.RENDER, bare) == pytest.approx(Pace().step(Step.RENDER, bare), rel=0.1)
    assert pace.step(Step.RENDER, crowd) == pytest.approx(told, rel=0.1)


def test_a_chunk_keeps_the_slower_step_busy_for_the_target() -> None:
    pace = a_pace((Step.ANALYSE, "cpu", FILM, 100.0))
    assert pace.chunk_frames(FILM) is None  # one of the two isn't known
    pace.note(Step.RENDER, "cpu", FILM, 400.0)
    assert pace.chunk_frames(FILM) == pytest.approx(TARGET / 0.4, abs=1)
    assert (pace.chunk_frames(Load(1000, 8.0, 1.0)) or 0) < round(TARGET / 0.4)
    assert pace.chunk_frames(Load(1, 1e9)) == 1


def test_the_fastest_device_counts_unless_one_is_asked_for() -> None:
    pace = a_pace((Step.RENDER, "cpu", FILM, 100.0), (Step.RENDER, "cuda", FILM, 10.0))
    assert pace.step(Step.RENDER, FILM) == pytest.approx(10.0)
    assert pace.step(Step.RENDER, FILM, ("cpu",)) == pytest.approx(100.0)


def test_one_measurement_that_is_far_off_isnt_wholly_believed() -> None:
    pace = a_pace((Step.RENDER, "cpu", FILM, 40.0), (Step.RENDER, "cpu", FILM, 4e6))
    assert pace.step(Step.RENDER, FILM) < 40.0 * 30
    pace.note(Step.RENDER, "cpu", FILM, 0.0)
    pace.note(Step.RENDER, "cpu", Load(0, 1.0), 5.0)
    assert pace.step(Step.RENDER, FILM) < 40.0 * 30


def test_a_survey_says_how_long_a_film_is_and_how_many_faces_are_in_it() -> None:
    source = a_source(SurveyFacts(500, 4, (100, 90, 80, 70, 60, 12, 12, 12)))
    assert film_load(source) == Load(500, 2.0, (5 + 3 * COVERED) / 4)
    assert film_load(source, 480).frames == 480
    assert film_load(source, veil=Veil.MOSAIC).faces == pytest.approx((5 + 3 * COVERED) / 4 * COVERED)
    assert film_load(a_source(None)) == Load(0, 2.0, FACES)


def test_a_unit_tells_its_own_frames_and_faces() -> None:
    assert of_unit(FILM, 10, rendered(replace=10, cover_small=10)) == Load(10, 2.0, 1 + COVERED)
    assert of_unit(FILM, 10, AnalysisFacts(1, 0, {})) == Load(10, 2.0, 1.0)
    assert of_unit(FILM, 0, IndexFacts(77, Fraction(3), 1, 0)) == Load(77, 2.0, 1.0)
