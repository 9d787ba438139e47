"""Edits applied to what was linked: who changes, who doesn't, and which chunks see it."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from test_link import chunk, index, person, run, tracklet

from pipeline.analysis import ChunkAnalysis
from pipeline.chunk import Chunk, plan
from pipeline.edits import Edit, Kind, turned
from pipeline.errors import EditRefused, NoIdentity
from pipeline.identity import Seed
from pipeline.link import Linked
from pipeline.mend import REACH, Artist, Face, Mended, changed, film_edition, mend
from pipeline.track import Floats, Ints, Sample, Track, Treatment

FRAMES = 300


def analyses() -> list[ChunkAnalysis]:
    """Ann from 0 to 99 and again from 200 on, Ben from 0 to 99 beside her, a poster from 120 to 180."""
    return [
        chunk(
            0,
            0,
            FRAMES,
            tracklet(0, 10, 90, person(1)),
            tracklet(1, 10, 90, person(2), x=400),
            tracklet(2, 120, 180, person(3), x=200),
            tracklet(3, 210, 290, person(1)),
        )
    ]


class Draws:
    """A choice of faces that remembers what it was asked."""

    def __init__(self, nobody: bool = False) -> None:
        self.asked: list[tuple[str, tuple[Seed, ...], bool]] = []
        self.nobody = nobody

    def __call__(
        self,
        model: object,
        secret: bytes,
        key: str,
        samples: Sequence[Sample],
        taken: Sequence[Seed],
        steady: bool = False,
        bare: bool = False,
    ) -> Seed:
        self.asked.append((key, tuple(taken), bare))
        if self.nobody:
            raise NoIdentity("nobody")
        return Seed.derive(secret, key)


@pytest.fixture
def linked() -> Linked:
    found = run(analyses(), index(FRAMES, (100, 200)))
    assert [(t.id, t.person) for t in found.tracks] == [(0, 0), (1, 1), (2, 2), (3, 0)]
    return found


def edit(kind: Kind, number: int = 0, **fields: object) -> Edit:
    return Edit(f"edit{number}", kind, "kim", 0.0, **fields)  # type: ignore[arg-type]


def follow(_: Edit) -> tuple[Ints, Floats]:
    frames = np.arange(140, 160, dtype=np.int32)
    return frames, np.tile(np.array([5, 5, 50, 60], np.float32), (20, 1))


def mended(linked: Linked, *edits: Edit, draws: Draws | None = None, known: dict[str, Face] | None = None) -> Mended:
    artist = Artist(None, b"s", draws or Draws())  # type: ignore[arg-type]
    return mend(linked, edits, analyses(), artist, follow, known)


def faces(linked: Linked) -> dict[int, Seed | None]:
    return {p.id: p.identity for p in linked.people}


def track(linked: Linked, number: int) -> Track:
    return next(t for t in linked.tracks if t.id == number)


def same(a: Track, b: Track) -> bool:
    return (a.id, a.person) == (b.id, b.person) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("frames", "boxes", "tracklet_of", "treatment")
    )


def chunks(count: int = 6) -> tuple[Chunk, ...]:
    found = plan(index(FRAMES), target=Fraction(FRAMES * 512, 15360 * count))
    assert len(found) == count
    return found


def test_without_edits_nothing_changes(linked: Linked) -> None:
    after = mended(linked).linked
    assert all(same(a, b) for a, b in zip(linked.tracks, after.tracks, strict=True))
    assert faces(after) == faces(linked)
    assert changed(linked, after, chunks()) == {}
    assert film_edition({}) == ""


def test_another_face_is_another_draw_and_changes_nobody_else(linked: Linked) -> None:
    draws = Draws()
    found = mended(linked, edit(Kind.FACE, person=0), draws=draws)
    before, after = faces(linked), faces(found.linked)
    assert after[0] not in (None, before[0])
    assert {n: f for n, f in after.items() if n} == {n: f for n, f in before.items() if n}
    ((_, taken, _),) = draws.asked
    assert set(taken) == set(before.values())  # unlike all others, and unlike the one before
    assert mended(linked, edit(Kind.FACE, person=0)).linked.people[0].identity == after[0]


def test_a_face_that_was_drawn_stays_when_another_edit_is_taken_back(linked: Linked) -> None:
    both = mended(linked, edit(Kind.FACE, 1, person=0), edit(Kind.FACE, 2, person=1))
    draws = Draws()
    one = mended(linked, edit(Kind.FACE, 2, person=1), draws=draws, known=both.faces)
    assert one.faces["edit2"] == both.faces["edit2"]
    assert draws.asked == []
    assert faces(one.linked)[0] == faces(linked)[0]


def test_a_person_for_whom_nobody_is_found_is_covered(linked: Linked) -> None:
    draws = Draws(nobody=True)
    after = mended(linked, edit(Kind.FACE, person=0), draws=draws).linked
    assert [bare for _, _, bare in draws.asked] == [False, True]
    assert (track(after, 0).treatment == Treatment.COVER_NO_IDENTITY).any()
    assert not (track(after, 0).treatment == Treatment.REPLACE).any()
    assert (track(after, 1).treatment == Treatment.REPLACE).any()


def test_cover_covers_and_another_face_uncovers(linked: Linked) -> None:
    covered = mended(linked, edit(Kind.COVER, person=0)).linked
    for number in (0, 3):
        assert not (track(covered, number).treatment == Treatment.REPLACE).any()
        assert (track(covered, number).treatment == Treatment.COVER_CHOSEN).any()
    again = mended(linked, edit(Kind.COVER, 1, person=0), edit(Kind.FACE, 2, person=0)).linked
    assert np.array_equal(track(again, 0).treatment, track(linked, 0).treatment)


def test_merging_gives_the_tracks_and_keeps_the_face(linked: Linked) -> None:
    after = mended(linked, edit(Kind.MERGE, person=2, into=0)).linked
    assert [t.person for t in after.tracks] == [0, 1, 0, 0]
    assert faces(after) == {0: faces(linked)[0], 1: faces(linked)[1]}
    assert set(changed(linked, after, chunks())) == {1, 2, 3, 4}  # frames 120 to 180, and what reaches there


def test_two_who_are_seen_together_are_never_one(linked: Linked) -> None:
    with pytest.raises(EditRefused, match=r"seen at the same time; both at frames 10 to 90"):
        mended(linked, edit(Kind.MERGE, person=0, into=1))
    mended(linked, edit(Kind.NO_FACE, 1, track=1), edit(Kind.MERGE, 2, person=1, into=0))


def test_a_split_makes_a_person_with_a_face_and_a_shape_of_their_own(linked: Linked) -> None:
    after = mended(linked, edit(Kind.SPLIT, person=0, tracks=(3,), made=7)).linked
    assert [t.person for t in after.tracks] == [0, 1, 2, 7]
    assert faces(after)[7] not in (None, *faces(linked).values())
    assert after.people[-1].neutral is not None
    assert faces(after)[0] == faces(linked)[0]
    assert set(changed(linked, after, chunks())) == {3, 4, 5}


def test_what_people_leave_open_is_marked_and_nothing_else(linked: Linked) -> None:
    after = mended(linked, edit(Kind.KEEP, 1, person=1, reason="consent"), edit(Kind.NO_FACE, 2, track=2)).linked
    assert set(track(after, 1).treatment) == {Treatment.KEPT}
    assert set(track(after, 2).treatment) == {Treatment.NO_FACE}
    assert [t.id for t in after.closed()] == [0, 3]
    assert same(track(after, 0), track(linked, 0))


def test_a_box_is_a_person_and_a_track_that_is_covered(linked: Linked) -> None:
    after = mended(linked, edit(Kind.BOX, frame=150, box=(1, 1, 9, 9), made=8)).linked
    box = track(after, 8)
    assert (box.person, set(box.treatment), faces(after)[8]) == (8, {Treatment.COVER_CHOSEN}, None)
    renders = changed(linked, after, chunks())
    assert set(renders) == {2, 3}  # [100, 150) and [150, 200)
    assert changed(linked, mended(linked).linked, chunks()) == {}


def test_a_chunk_is_named_by_what_it_shows_not_by_how_that_came(linked: Linked) -> None:
    box = edit(Kind.BOX, 1, frame=150, box=(1, 1, 9, 9), made=8)
    one = changed(linked, mended(linked, box).linked, chunks())
    two = changed(linked, mended(linked, box, edit(Kind.COVER, 2, person=2)).linked, chunks())
    assert one[2] != two[2]
    again = changed(
        linked, mended(linked, edit(Kind.COVER, 3, person=2), edit(Kind.FACE, 4, person=2), box).linked, chunks()
    )
    assert again[2] != one[2]  # of person 2 another face is seen there
    assert mended(linked, box, known={}).linked.tracks[-1].id == 8
    assert one == changed(
        linked, mended(linked, edit(Kind.BOX, 9, frame=150, box=(1, 1, 9, 9), made=8)).linked, chunks()
    )
    assert film_edition(one) != film_edition(two)


def test_only_faces_near_a_chunk_count_for_it(linked: Linked) -> None:
    far = changed(linked, mended(linked, edit(Kind.COVER, person=2)).linked, chunks(30))
    near = track(linked, 2).frames
    reached = {c.index for c in chunks(30) if near[0] < c.stop + REACH and near[-1] >= c.start - REACH}
    assert set(far) <= reached
    assert {c.index for c in chunks(30) if near[0] < c.start and c.stop < near[-1]} <= set(far)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [(0, (10, 20, 30, 50)), (90, (20, 450, 50, 470)), (180, (610, 430, 630, 460)), (270, (590, 10, 620, 30))],
)
def test_a_box_of_the_shown_picture_is_found_in_the_coded_one(
    rotation: int, expected: tuple[float, float, float, float]
) -> None:
    """A mark in the coded picture, turned as a player does, is in the shown box."""
    assert turned((10, 20, 30, 50), 640, 480, rotation) == expected
    coded = np.zeros((480, 640))
    x0, y0, x1, y1 = (int(v) for v in expected)
    coded[y0:y1, x0:x1] = 1
    shown = np.rot90(coded, -rotation // 90)
    assert shown[20:50, 10:30].all()
    assert shown.sum() == 20 * 30
