from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.analysis import ChunkAnalysis, pack, unpack
from pipeline.errors import NoIdentity
from pipeline.facts import FrameIndex
from pipeline.identity import Seed
from pipeline.keys import person_keys
from pipeline.link import Linked, link
from pipeline.people import cluster
from pipeline.shape import mean_shape
from pipeline.track import Sample, Tracklet, Treatment
from pipeline.treat import runs, treat

SIZE = (640, 480)


def index(frames: int, cuts: tuple[int, ...] = ()) -> FrameIndex:
    pts = np.arange(frames, dtype=np.int64) * 512
    ones, off = np.full(frames, 512, np.int64), np.zeros(frames, bool)
    return FrameIndex(pts, ones, off.copy(), off, cuts, 0, Fraction(1, 15360))


def person(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=128)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def tracklet(
    number: int,
    first: int,
    last: int,
    who: np.ndarray | None = None,
    *,
    x: float = 100,
    speed: float = 0,
    size: float = 80,
    presence: float = 0.99,
    yaw: float = 0,
    score: float = 0.9,
) -> Tracklet:
    """A face seen on the frames [first, last], at x on frame 0."""
    frames = np.arange(first, last + 1, dtype=np.int32)
    n = len(frames)
    left = x + speed * frames
    boxes = np.stack([left, np.full(n, 90), left + size, np.full(n, 90 + size * 1.2)], 1).astype(np.float32)
    angles = np.tile(np.array([yaw, 0, 0], np.float32), (n, 1))
    meshes = np.repeat(mean_shape().numpy()[None] * size, n, 0)
    meshes[:, :, 0] += (left + size / 2)[:, None]
    samples = ()
    if who is not None:
        crop = np.zeros((3, 256, 256), np.uint8)
        samples = (Sample(first, crop, meshes[0], who, 0.8),)
    ones = np.ones(n, np.float32)
    return Tracklet(number, frames, boxes, ones * score, ones * presence, angles, meshes, mean_shape().numpy(), samples)


def chunk(number: int, start: int, stop: int, *tracklets: Tracklet, damaged: Sequence[int] = ()) -> ChunkAnalysis:
    return ChunkAnalysis(number, start, stop, SIZE, tracklets, np.array(damaged, np.int32), {})


def choose(model: object, secret: bytes, key: str, samples: Sequence[Sample], taken: Sequence[Seed], *_: bool) -> Seed:
    return Seed.derive(secret, key)


def run(analyses: list[ChunkAnalysis], idx: FrameIndex, **options: object) -> Linked:
    settings = {"veil": "nobody", "secret": b"s", "model": None, "choose": choose} | options
    return link(analyses, idx, **settings)  # type: ignore[arg-type]


def test_a_face_over_three_chunks_is_one_track_of_one_person() -> None:
    parts = [
        chunk(0, 0, 40, tracklet(0, 0, 47, person(1), speed=2)),
        chunk(1, 40, 80, tracklet(3, 32, 87, person(1), speed=2)),
        chunk(2, 80, 120, tracklet(0, 72, 119, person(1), speed=2)),
    ]
    linked = run(parts, index(120))
    (track,) = linked.tracks
    assert track.frames.tolist() == list(range(120))
    assert (track.treatment == Treatment.REPLACE).all()
    assert [tuple(r) for r in track.tracklet_of[[39, 40, 79, 80]]] == [(0, 0), (1, 3), (1, 3), (2, 0)]
    assert len(linked.people) == 1


def test_linking_does_not_depend_on_the_chunks() -> None:
    whole = run([chunk(0, 0, 90, tracklet(0, 5, 80, person(1)), tracklet(1, 20, 89, person(2), x=400))], index(90))
    parts = run(
        [
            chunk(0, 0, 45, tracklet(0, 5, 52, person(1)), tracklet(1, 20, 52, person(2), x=400)),
            chunk(1, 45, 90, tracklet(0, 37, 80, person(1)), tracklet(1, 37, 89, person(2), x=400)),
        ],
        index(90),
    )
    assert [p.identity for p in whole.people] == [p.identity for p in parts.people]
    for a, b in zip(whole.tracks, parts.tracks, strict=True):
        assert a.frames.tolist() == b.frames.tolist()
        assert a.treatment.tolist() == b.treatment.tolist()
        assert np.allclose(a.boxes, b.boxes)


def test_two_faces_side_by_side_stay_two_over_a_border() -> None:
    def pair(first: int, last: int) -> list[Tracklet]:
        return [tracklet(0, first, last, person(1)), tracklet(1, first, last, person(2), x=190)]

    linked = run([chunk(0, 0, 40, *pair(0, 47)), chunk(1, 40, 80, *pair(32, 79))], index(80))
    assert len(linked.tracks) == len(linked.people) == 2


def test_ends_are_extended_but_not_over_a_cut() -> None:
    linked = run([chunk(0, 0, 100, tracklet(0, 30, 59, person(1)))], index(100, cuts=(25, 62)))
    (track,) = linked.tracks
    assert (track.frames[0], track.frames[-1]) == (25, 61)
    assert (track.treatment[:5] == Treatment.COVER_FILLED).all()
    assert (track.tracklet_of[:5] == -1).all()


def test_an_extension_follows_the_motion_and_ends_outside() -> None:
    linked = run([chunk(0, 0, 100, tracklet(0, 40, 60, person(1), x=-400, speed=15))], index(100))
    (track,) = linked.tracks
    assert track.frames[-1] > 60
    assert (np.diff(track.boxes[-4:, 0]) > 0).all()
    assert (track.boxes[:, 2] > 0).all()


def test_a_brief_sight_does_not_tell_where_it_goes_on() -> None:
    linked = run([chunk(0, 0, 100, tracklet(0, 40, 42, person(1), x=300, speed=15))], index(100))
    (track,) = linked.tracks
    seen = track.boxes[track.tracklet_of[:, 0] >= 0]
    assert abs(track.boxes[-1, :2] - seen[-1, :2]).max() < 30, "at full speed it would be 62 px away"


def test_what_passes_before_a_replaced_face_is_covered_while_it_is_seen_and_no_longer() -> None:
    face, hand = tracklet(0, 0, 99, person(1)), tracklet(1, 40, 42, x=150, score=0.55)
    linked = run([chunk(0, 0, 100, face, hand)], index(100))
    brief = min(linked.tracks, key=lambda track: len(track.frames))
    assert brief.frames.tolist() == [40, 41, 42]
    assert (brief.treatment != Treatment.REPLACE).all()


@pytest.mark.parametrize("alone", [{"x": 300.0}, {"longer": 12.0}, {"score": 0.65}])
def test_what_is_beside_a_face_or_seen_for_longer_or_surely_is_covered_before_and_after(
    alone: dict[str, float],
) -> None:
    last = 40 + int(alone.get("longer", 2))
    face, other = (
        tracklet(0, 0, 99, person(1)),
        tracklet(1, 40, last, x=alone.get("x", 150.0), score=alone.get("score", 0.55)),
    )
    linked = run([chunk(0, 0, 100, face, other)], index(100))
    track = min(linked.tracks, key=lambda track: len(track.frames))
    assert (track.frames[0], track.frames[-1]) == (32, last + 8)


def test_a_gap_within_a_second_is_filled_and_covered() -> None:
    parts = tracklet(0, 0, 39, person(1), speed=1), tracklet(1, 55, 99, person(1), speed=1)
    (track,) = run([chunk(0, 0, 100, *parts)], index(100)).tracks
    assert track.frames.tolist() == list(range(100))
    assert (track.treatment[40:55] == Treatment.COVER_FILLED).all()
    assert np.allclose(np.diff(track.boxes[:, 0]), 1, atol=0.2)


def test_a_gap_is_not_joined_to_another_person_nor_over_a_cut() -> None:
    other = tracklet(0, 0, 39, person(1)), tracklet(1, 50, 99, person(2))
    assert len(run([chunk(0, 0, 100, *other)], index(100)).tracks) == 2
    same = tracklet(0, 0, 39, person(1)), tracklet(1, 50, 99, person(1))
    linked = run([chunk(0, 0, 100, *same)], index(100, cuts=(45,)))
    assert len(linked.tracks) == 2
    assert len(linked.people) == 1, "recognition joins them over the cut"


def test_people_seen_together_are_never_one() -> None:
    twins = tracklet(0, 0, 50, person(1)), tracklet(1, 0, 50, person(1), x=400)
    assert len(run([chunk(0, 0, 60, *twins)], index(60)).people) == 2


def test_who_has_no_identity_is_covered() -> None:
    def nobody(*_: object) -> Seed:
        raise NoIdentity("none left")

    (track,) = run([chunk(0, 0, 40, tracklet(0, 0, 39, person(1)))], index(40), choose=nobody).tracks
    assert (track.treatment == Treatment.COVER_NO_IDENTITY).all()


def test_who_has_no_identity_with_glasses_on_gets_one_without(tmp_path: Path) -> None:
    asked = list[bool]()

    def thick(model: object, secret: bytes, key: str, samples: object, taken: object, steady: bool, bare: bool) -> Seed:
        asked.append(bare)
        if not bare:
            raise NoIdentity("all look alike behind such glasses")
        return Seed.derive(secret, key)

    linked = run([chunk(0, 0, 40, tracklet(0, 0, 39, person(1)))], index(40), choose=thick)
    assert asked == [False, True]
    assert (linked.tracks[0].treatment[:40] == Treatment.REPLACE).all()
    (someone,) = linked.people
    assert someone.bare
    linked.save(tmp_path / "linked.npz")
    assert Linked.load(tmp_path / "linked.npz").people[0].bare
    assert not run([chunk(0, 0, 40, tracklet(0, 0, 39, person(1)))], index(40)).people[0].bare


def test_who_was_only_ever_small_has_the_mean_shape_and_gets_a_face() -> None:
    small = replace(tracklet(0, 0, 39, size=16, presence=0.9), neutral=None)
    linked = run([chunk(0, 0, 40, small)], index(40))
    (track,), (someone,) = linked.tracks, linked.people
    assert (track.treatment[:40] == Treatment.REPLACE).all()
    assert someone.identity is not None
    assert someone.neutral is not None
    assert np.array_equal(someone.neutral, mean_shape().numpy())


def test_who_was_never_seen_well_has_no_shape() -> None:
    unseen = replace(tracklet(0, 0, 39, size=14, presence=0.1), neutral=None)
    (someone,) = run([chunk(0, 0, 40, unseen)], index(40)).people
    assert someone.identity is None
    assert someone.neutral is None


def test_a_chosen_cover_covers_all() -> None:
    linked = run([chunk(0, 0, 40, tracklet(0, 0, 39, person(1)))], index(40), veil="solid")
    assert (linked.tracks[0].treatment == Treatment.COVER_ALL).all()
    assert linked.people[0].identity is None


def test_a_tracklet_seen_only_by_the_neighbour_is_covered_not_dropped() -> None:
    linked = run([chunk(0, 0, 40, tracklet(0, 41, 46, person(1))), chunk(1, 40, 80)], index(80))
    (track,) = linked.tracks
    assert set(range(41, 47)) <= set(track.frames.tolist())
    assert (track.treatment != Treatment.REPLACE).all()


def test_damaged_frames_are_covered() -> None:
    (track,) = run([chunk(0, 0, 40, tracklet(0, 0, 39, person(1)), damaged=[20])], index(40)).tracks
    assert track.treatment[20] == Treatment.COVER_DAMAGED


def facts(n: int, yaw: np.ndarray | float = 0.0, presence: np.ndarray | float = 0.99, size: float = 60) -> list:
    boxes = np.tile(np.array([10, 10, 10 + size, 10 + size * 1.3], np.float32), (n, 1))
    angles = np.zeros((n, 3), np.float32)
    angles[:, 0] = yaw
    off = np.zeros(n, bool)
    return [boxes, np.broadcast_to(np.float32(presence), n).copy(), angles, off.copy(), off.copy()]


def test_a_head_that_sways_at_the_limit_does_not_pop() -> None:
    yaw = 48 + 6 * np.sin(np.arange(120) / 3)  # between 42 and 54
    assert len(runs(treat(*facts(120, yaw)) != Treatment.REPLACE)) <= 1


def test_no_run_is_short() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        presence = np.repeat(rng.choice([0.2, 0.6, 0.95], 40), rng.integers(1, 6))[:60].astype(np.float32)
        result = treat(*facts(len(presence), 0.0, presence))
        replaced = result == Treatment.REPLACE
        inner = [(a, b) for a, b in runs(replaced) if (a, b) != (0, len(replaced))]
        assert all(b - a >= 8 for a, b in inner)
        assert all(b - a >= 6 for a, b in runs(~replaced) if a > 0 and b < len(replaced))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"size": 10}, Treatment.COVER_SMALL),
        ({"yaw": 70}, Treatment.COVER_PROFILE),
        ({"presence": 0.3}, Treatment.COVER_PRESENCE),
    ],
)
def test_why_a_face_is_covered(options: dict, why: Treatment) -> None:
    assert (treat(*facts(30, **options)) == why).all()


def test_a_blink_of_the_landmarks_is_bridged_and_a_lasting_loss_is_not() -> None:
    presence = np.full(60, 0.99, np.float32)
    presence[20:22] = 0.1
    assert (treat(*facts(60, 0.0, presence)) == Treatment.REPLACE).all()
    presence[20:30] = 0.1
    assert (treat(*facts(60, 0.0, presence))[20:30] == Treatment.COVER_PRESENCE).all()


def test_clusters() -> None:
    a, b = person(1), person(2)
    near = (a + 0.02 * person(3)).astype(np.float32)
    nothing = np.full(128, np.nan, np.float32)
    spans = [[(0, 9)], [(0, 9)], [(20, 29)], [(30, 39)], [(30, 39)]]
    assert cluster(np.stack([a, b, near, nothing, a]), spans).tolist() == [0, 1, 0, 2, 0]


def test_many_clusters_in_blocks() -> None:
    people = [person(i) for i in range(40)]
    embeddings = np.stack([people[i % 40] for i in range(3200)])
    labels = cluster(embeddings, [[(i, i)] for i in range(3200)])
    assert labels.tolist() == [i % 40 for i in range(3200)]


def sample(embedding: np.ndarray) -> Sample:
    return Sample(0, np.zeros((3, 256, 256), np.uint8), np.zeros((468, 3), np.float32), embedding, 1.0)


def test_keys_are_distinct_and_with_a_project_key_the_same_again() -> None:
    people = [[sample(person(i))] for i in range(20)] + [[]]
    keys = person_keys(people, b"project")
    assert len(set(keys)) == len(keys)
    assert person_keys(people, b"project") == keys
    assert person_keys(people, b"another") != keys
    near = [[sample((person(0) + 0.01 * person(99)).astype(np.float32))]]
    assert person_keys(near, b"project") == keys[:1]
    assert len(set(person_keys(people, None))) == len(people)


def test_linked_comes_back_from_disk(tmp_path: Path) -> None:
    linked = run([chunk(0, 0, 40, tracklet(0, 0, 39, person(1)), tracklet(1, 3, 20, x=300, yaw=80))], index(40))
    linked.save(tmp_path / "linked.npz")
    again = Linked.load(tmp_path / "linked.npz")
    assert [p.identity for p in again.people] == [p.identity for p in linked.people]
    for a, b in zip(again.tracks, linked.tracks, strict=True):
        assert (a.id, a.person) == (b.id, b.person)
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.treatment, b.treatment)


def test_an_analysis_comes_back_from_disk(tmp_path: Path) -> None:
    seen = chunk(4, 0, 40, tracklet(7, 0, 39, person(1)), tracklet(9, 3, 20, x=300), damaged=[3])
    seen.tracklets[1].meshes[5] = np.nan  # type: ignore[index]
    seen.save(tmp_path)
    light, full = ChunkAnalysis.load(tmp_path, meshes=False), ChunkAnalysis.load(tmp_path, meshes=True)
    assert all(t.meshes is None for t in light.tracklets)
    assert light.tracklets[0].samples[0].crop.size == 0
    assert light.tracklets[0].samples[0].whole().crop.shape == (3, 256, 256)
    assert (full.chunk, full.frames, full.size, full.damaged.tolist()) == (4, 40, SIZE, [3])
    for a, b in zip(full.tracklets, seen.tracklets, strict=True):
        assert a.id == b.id
        assert np.nanmax(np.abs(a.meshes - b.meshes)) < 0.05
        assert np.array_equal(np.isnan(a.meshes), np.isnan(b.meshes))
        assert len(a.samples) == len(b.samples)
    assert np.array_equal(full.tracklets[0].samples[0].embedding, person(1))


def test_packed_meshes_of_large_faces() -> None:
    meshes = (mean_shape().numpy()[None] * 700 + np.float32([3000, 1500, 0])).astype(np.float32)
    assert np.abs(unpack(*pack(meshes)) - meshes).max() < 0.05
