"""What reviewers left open passes the leak gate, and only that."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from facefilm import CPU, FRAMES, SIDE, Seen, make, see

from pipeline import gate, identity
from pipeline.analyse import Eyes
from pipeline.checked import render_checked
from pipeline.decode import read
from pipeline.draw import Painter, RenderCounts
from pipeline.encode import EncoderSettings, Segment
from pipeline.errors import LeakError
from pipeline.link import Linked
from pipeline.models.blazeface import BlazeFace
from pipeline.track import Floats, Track, Treatment
from pipeline.witness import without_open

LEFT, RIGHT = (0, 60, SIDE), (168, 60, SIDE)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Two people side by side."""
    folder = tmp_path_factory.mktemp("two")
    found = see(make(folder / "film.mp4", faces=lambda _: [LEFT, RIGHT]), folder / "work", Eyes.load(CPU, 1))
    assert len(found.linked.tracks) == 2
    return found


@pytest.fixture(scope="module")
def other() -> BlazeFace:
    return BlazeFace(CPU)


def left_open(seen: Seen, *numbers: int, treatment: Treatment = Treatment.KEPT) -> Linked:
    def opened(track: Track) -> Track:
        return replace(track, treatment=np.full(len(track.frames), treatment, np.uint8))

    return replace(seen.linked, tracks=tuple(opened(t) if t.id in numbers else t for t in seen.linked.tracks))


def rendered(
    seen: Seen, linked: Linked, other: BlazeFace, path: Path
) -> tuple[Segment, RenderCounts, tuple[gate.GateFinding, ...]]:
    return render_checked(
        seen.info, seen.index, seen.chunks[0], seen.analyses[0], linked, identity.load(),
        EncoderSettings.for_source(seen.info, crf=14), path, detector=other, device=CPU,
    )  # fmt: skip


def difference(seen: Seen, segment: Segment, box: Floats, number: int = 14) -> float:
    """Mean change of brightness in a box."""
    import av

    before = next(read(seen.info, seen.index, number, number + 1)).planes[0].numpy()
    with av.open(segment.path) as container:
        frames = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]
    x0, y0, x1, y1 = (int(v) for v in box)
    return float(np.abs(frames[number][y0:y1, x0:x1].astype(float) - before[y0:y1, x0:x1]).mean())


def box_of(linked: Linked, number: int) -> Floats:
    track = linked.tracks[number]
    return np.asarray(track.boxes[14 - int(track.frames[0])], np.float32)


@pytest.mark.parametrize("treatment", [Treatment.KEPT, Treatment.NO_FACE])
def test_what_is_left_open_stays_as_it_was_and_the_other_face_goes(
    two: Seen, other: BlazeFace, tmp_path: Path, treatment: Treatment
) -> None:
    linked = left_open(two, 0, treatment=treatment)
    segment, counts, findings = rendered(two, linked, other, tmp_path / "0.nut")
    assert findings == ()
    assert counts.treated == {treatment.name: FRAMES, "REPLACE": FRAMES}
    assert difference(two, segment, box_of(two.linked, 0)) < 4
    assert difference(two, segment, box_of(two.linked, 1)) > 4


def test_a_face_that_is_to_go_is_still_found_beside_one_that_stays(
    two: Seen, other: BlazeFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Painter, "draw", lambda *_: None)
    monkeypatch.setattr("pipeline.draw.cover", lambda *_: None)
    with pytest.raises(LeakError, match="places in chunk 0 may still show a face"):
        rendered(two, left_open(two, 0), other, tmp_path / "0.nut")
    rendered(two, left_open(two, 0, 1), other, tmp_path / "0.nut")  # with both open there is nothing to find


def test_an_untracked_face_is_covered_though_somebody_stays(two: Seen, other: BlazeFace, tmp_path: Path) -> None:
    alone = left_open(two, 0)
    alone = replace(alone, tracks=alone.tracks[:1])
    segment, counts, findings = rendered(two, alone, other, tmp_path / "0.nut")
    assert findings
    assert counts.treated["KEPT"] == FRAMES
    assert difference(two, segment, box_of(two.linked, 1)) > 4
    assert difference(two, segment, box_of(two.linked, 0)) < 4


def test_an_open_place_elsewhere_excuses_no_face(two: Seen, other: BlazeFace, tmp_path: Path) -> None:
    (first, second) = left_open(two, 0, treatment=Treatment.NO_FACE).tracks
    away = replace(first, boxes=first.boxes + np.array([0, 120, 0, 120], np.float32))
    _, counts, findings = rendered(two, replace(two.linked, tracks=(away, second)), other, tmp_path / "0.nut")
    assert findings
    assert counts.treated["COVER_GATE"] > 0


def boxes(*found: Sequence[float]) -> list[Floats]:
    return [np.array(box, np.float32) for box in found]


def left(found: list[Floats], opened: list[Floats], closed: list[Floats]) -> list[list[float]]:
    return [box.tolist() for box, _ in without_open([(box, 0.9) for box in found], opened, closed)]


def test_each_open_place_excuses_one_finding_at_most() -> None:
    one, same, near = [10, 10, 50, 50], [11, 11, 51, 51], [20, 12, 60, 52]
    assert left(boxes(one, near), boxes(same), []) == [near]
    assert left(boxes(one, near), boxes(same, near), []) == []


def test_what_may_be_a_face_that_is_to_go_is_never_excused() -> None:
    one, kept, hidden = [10, 10, 50, 50], [8, 8, 48, 48], [14, 14, 54, 54]
    assert left(boxes(one), boxes(kept), boxes(hidden)) == [one]


def test_a_small_face_in_a_large_place_that_is_none_is_found() -> None:
    assert left(boxes([40, 40, 60, 60]), boxes([0, 0, 200, 200]), []) == [[40, 40, 60, 60]]
