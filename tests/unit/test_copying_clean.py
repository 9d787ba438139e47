"""Which groups of pictures keep the source's bits: only those where nobody is seen, and as long as nothing speaks
against it."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from facefilm import CPU, Seen, passing, see

from pipeline import identity
from pipeline.analyse import Eyes
from pipeline.analysis import ChunkAnalysis
from pipeline.checked import render_checked
from pipeline.chunk import plan
from pipeline.copying import clean
from pipeline.copying import groups as table
from pipeline.copying.clean import DOUBT, NEAR, Verdict, Why, copied, judge, load, save, within
from pipeline.copying.copies import Copies, Proof, decoded_digest, digest
from pipeline.copying.groups import Group, Groups
from pipeline.decode import read
from pipeline.detections import Detections, nothing
from pipeline.encode import EncoderSettings, Segment, verify_segment
from pipeline.errors import VerifyError
from pipeline.link import Linked
from pipeline.models.blazeface import BlazeFace
from pipeline.track import Track, Treatment

LAST, GOP = 180, 30
TEN = Groups(tuple(Group(k, k + GOP, 100, True) for k in range(0, LAST, GOP)), "", b"sets", 1)


def analysis(start: int = 0, stop: int = LAST, damaged: tuple[int, ...] = (), **scores: float) -> ChunkAnalysis:
    """Scores by frame: f12=0.3. A group has 30 frames."""
    given = np.zeros(stop - start, np.float32)
    for frame, score in scores.items():
        given[int(frame[1:]) - start] = score
    return ChunkAnalysis(0, start, stop, (64, 64), (), np.array(damaged, np.int32), {}, given)


def track(first: int, last: int, treatment: Treatment = Treatment.REPLACE) -> Track:
    frames = np.arange(first, last, dtype=np.int32)
    boxes = np.tile(np.array([1, 1, 9, 9], np.float32), (len(frames), 1))
    no = np.full((len(frames), 2), -1, np.int32)
    return Track(0, 0, frames, boxes, no, np.full(len(frames), treatment, np.uint8))


def whys(*tracks: Track, seen: ChunkAnalysis | None = None, edges: tuple[int, ...] = (0, LAST)) -> list[Why]:
    return [v.why for v in judge(TEN, edges, [seen or analysis()], tracks)]


def test_a_group_is_copied_where_nobody_is_in_it_and_beside_it() -> None:
    assert whys() == [""] * 6
    assert whys(track(75, 76)) == ["", "beside", "face", "beside", "", ""]
    assert whys(track(89, 91)) == ["", "beside", "face", "face", "beside", ""]
    assert whys(seen=analysis(f0=DOUBT)) == ["doubt", "beside", "", "", "", ""]
    assert whys(seen=analysis(f179=DOUBT - 0.01)) == [""] * 6
    assert whys(seen=analysis(damaged=(100,))) == ["", "", "beside", "damage", "beside", ""]
    assert whys(track(0, 1), seen=analysis(f75=0.4)) == ["face", "beside", "doubt", "beside", "", ""]


def test_beside_short_groups_so_many_frames_count_as_may_go_between_looks() -> None:
    every = Groups(tuple(Group(k, k + 1, 9, True) for k in range(LAST)), "", b"sets", 1)
    found = judge(every, (0, LAST), [analysis(f100=0.4)], ())
    assert {v.start for v in found if v.why} == set(range(100 - NEAR, 101 + NEAR))
    assert {v.start for v in found if v.why == "doubt"} == {100}


@pytest.mark.parametrize("treatment", [Treatment.KEPT, Treatment.NO_FACE, Treatment.COVER_CHOSEN])
def test_a_face_that_somebody_left_open_is_one_all_the_same(treatment: Treatment) -> None:
    assert whys(track(0, 5, treatment))[:2] == ["face", "beside"]


def test_frames_that_nobody_looked_at_are_in_doubt() -> None:
    assert whys(seen=replace(analysis(), scores=None)) == ["doubt"] * 6
    some = [v.why for v in judge(TEN, (0, LAST), [analysis(0, 90)], ())]
    assert some == ["", "", "beside", "doubt", "doubt", "doubt"]


def test_a_group_that_does_not_lie_whole_in_a_chunk_of_the_job_is_rendered() -> None:
    assert whys(edges=(0, 45, 90, LAST)) == ["", "cut", "", "", "", ""]
    part = judge(TEN, (15, 132), [analysis(15, 132)], ())
    assert [(v.start, v.why) for v in part] == [(0, "range"), (30, ""), (60, ""), (90, ""), (120, "range")]


def test_what_is_in_no_group_is_rendered_and_counts_as_a_neighbour() -> None:
    some = Groups((Group(60, 90, 9, True), Group(90, 120, 9, False)), "", b"sets", 1)
    found = judge(some, (0, LAST), [analysis()], ())
    assert [(v.start, v.stop, v.why) for v in found] == [
        (0, 60, "packets"), (60, 90, ""), (90, 120, "packets"), (120, LAST, "packets"),
    ]  # fmt: skip
    assert judge(some, (0, LAST), [analysis(f1=0.9)], ())[1].why == "beside"
    assert judge(Groups((), "it is interlaced"), (0, LAST), [analysis()], ()) == ()


def test_verdicts_survive_the_disk_and_are_told_by_chunk(tmp_path: Path) -> None:
    found = judge(TEN, (0, 90, LAST), [analysis(f3=0.25)], ())
    save(found, tmp_path / "copies.json")
    assert load(tmp_path / "copies.json") == found
    assert found[0].score == pytest.approx(0.25)
    assert [v.start for v in copied(found, 0, 90)] == [60]
    assert [(v.start, v.stop) for v in within(found, 15, 75)] == [(15, 30), (30, 60), (60, 75)]
    (tmp_path / "copies.json").write_text("[{}]")
    with pytest.raises(VerifyError, match="which groups are copied"):
        load(tmp_path / "copies.json")


def copies() -> Copies:
    return Copies([Verdict(k, k + GOP, 100, "", 0.0) for k in range(60, LAST, GOP)], b"sets")


def starts(some: Copies) -> list[int]:
    return [group.start for group in some.groups]


def test_what_the_gate_sees_keeps_its_group_and_those_beside_it_from_being_copied() -> None:
    some = copies()
    assert some.hold([], [])
    assert starts(some) == [60, 90, 120, 150]
    assert not some.hold([(96, 0.5)], [])
    assert starts(some) == [150]
    assert [(v.why, v.gate) for v in some.verdicts] == [("gate", 0.5)] * 3 + [("", 0.0)]
    assert some.hold([(96, 0.5)], []), "once is enough"


def test_what_the_gate_sees_near_a_group_counts_beyond_the_chunk_too() -> None:
    before, after = copies(), copies()
    assert not before.hold([(60 - NEAR, 0.6)], [])
    assert not after.hold([(LAST + NEAR - 1, 0.6)], [])
    assert (starts(before), starts(after)) == ([90, 120, 150], [60, 90, 120])
    assert copies().hold([(59 - NEAR, 0.6), (LAST + NEAR, 0.6)], [])


def test_nothing_is_copied_where_something_is_covered_or_came_out_otherwise() -> None:
    some = copies()
    some.make_way([track(45, 61, Treatment.COVER_GATE)])
    assert starts(some) == [90, 120, 150]
    assert not some.hold([], [132])
    assert starts(some) == [90, 150]
    assert [v.why for v in some.verdicts] == ["gate", "", "decoded", ""]


SHOWN = range(40, 56)
LONG, SHORT = 108, 12


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Somebody comes and goes in groups 3 and 4 of 9."""
    folder = tmp_path_factory.mktemp("film")
    path = passing(folder / "film.mp4", SHOWN, LONG, SHORT)
    return see(path, folder / "work", Eyes.load(CPU, 1))


class Half:
    """A detector for the gate that half sees something in one picture, and nothing in the others."""

    multiple = 1

    def __init__(self, number: int) -> None:
        self._number = number

    def detect(self, image: torch.Tensor) -> Detections:
        # It sees the picture at half its size: the bar begins at the column of that number.
        bright = (image[0, 114] > 0.8).nonzero().flatten()
        if not len(bright) or abs(int(bright[0]) - self._number) > 3:
            return nothing()
        box, points = np.array([[2, 2, 22, 22]], np.float32), np.zeros((1, 5, 2), np.float32)
        return Detections(box, np.array([0.55], np.float32), points)

    def detect_batch(self, images: torch.Tensor) -> list[Detections]:
        return [self.detect(image) for image in images]


def rendered(seen: Seen, linked: Linked, detector: object, folder: Path) -> tuple[Segment, Copies, dict[str, int]]:
    """The film as one chunk, clean groups copied."""
    settings = EncoderSettings.for_source(seen.info)
    found = table.find(seen.info, seen.index, settings)
    verdicts = judge(found, (0, LONG), seen.analyses, linked.tracks)
    some = Copies(verdicts, found.sets)
    segment, counts, _ = render_checked(
        seen.info, seen.index, seen.chunks[0], seen.analyses[0], linked, identity.load(),
        replace(settings, sets=found.number), folder / "0.nut", detector=detector, device=CPU, copies=some,  # type: ignore[arg-type]
    )  # fmt: skip
    return segment, some, counts.treated


def same(seen: Seen, segment: Segment) -> set[int]:
    """Frames whose pictures are the source's, bit for bit."""
    with av.open(str(segment.path)) as container:
        after = [decoded_digest(frame, seen.info) for frame in container.decode(video=0)]
    before = read(seen.info, seen.index, 0, LONG)
    return {p.number for p, now in zip(before, after, strict=True) if digest(p.planes) == now}


def frames(some: Copies) -> set[int]:
    return {k for group in some.groups for k in range(group.start, group.stop)}


def test_clean_groups_keep_their_bits_and_faces_are_replaced_in_the_others(seen: Seen, tmp_path: Path) -> None:
    segment, some, treated = rendered(seen, seen.linked, BlazeFace(CPU), tmp_path)
    verify_segment(segment, seen.index, seen.chunks[0])
    reasons = [v.why for v in some.verdicts]
    assert len(reasons) == LONG // SHORT
    assert set(reasons[3:5]) == {"face"}
    assert {"", "beside"} <= set(reasons)
    assert reasons[0] == reasons[-1] == ""
    assert same(seen, segment) == frames(some)
    assert treated.get("REPLACE", 0) >= len(SHOWN) - 2


def test_a_face_that_only_the_gate_finds_is_covered_and_its_group_is_not_copied(seen: Seen, tmp_path: Path) -> None:
    blind = [replace(a, scores=np.zeros(LONG, np.float32)) for a in seen.analyses]
    nobody = replace(seen, linked=Linked((), ()), analyses=tuple(blind))
    segment, some, treated = rendered(nobody, nobody.linked, BlazeFace(CPU), tmp_path)
    assert treated["COVER_GATE"] >= len(SHOWN)
    assert not frames(some) & set(SHOWN)
    assert same(seen, segment) == frames(some)


def test_what_the_gate_is_unsure_of_is_enough(seen: Seen, tmp_path: Path) -> None:
    segment, some, _ = rendered(seen, seen.linked, Half(-9), tmp_path)
    usual = frames(some)
    assert {*range(12), *range(84, LONG)} <= usual
    # Frame 96 is looked at, in the last group of nine. Such a score, once, is nothing that the gate would cover.
    segment, some, treated = rendered(seen, seen.linked, Half(96), tmp_path)
    assert "COVER_GATE" not in treated
    assert [v.why for v in some.verdicts[7:]] == ["gate", "gate"]
    assert frames(some) == usual - set(range(84, LONG))
    assert same(seen, segment) == frames(some)


def test_copied_pictures_that_come_out_otherwise_are_rendered(
    seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = table.pieces

    def pieces(info, index, row, sets):  # type: ignore[no-untyped-def]
        """The first group has the last one's packets, with its own times."""
        later = int(index.pts[SHORT * 8] - index.pts[0])
        if row[0].start == 0:
            for piece in own(info, index, [table.Group(SHORT * 8, SHORT * 9, 0, True)], sets):
                yield replace(piece, pts=piece.pts - later)
            row = row[1:]
        if row:
            yield from own(info, index, row, sets)

    monkeypatch.setattr("pipeline.copying.splice.pieces", pieces)
    segment, some, _ = rendered(seen, seen.linked, Half(-9), tmp_path)
    assert some.verdicts[0].why == "decoded"
    assert same(seen, segment) == frames(some)


def test_a_whole_film_is_held_against_what_was_copied(seen: Seen, tmp_path: Path) -> None:
    segment, some, _ = rendered(seen, seen.linked, Half(-9), tmp_path)
    some.save_proof(tmp_path / "proof.npz")

    def proof(skipped: int = -1) -> Proof:
        found = Proof(seen.info, 0, [tmp_path / "proof.npz"])
        with av.open(str(segment.path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number != skipped:
                    found.look(number, frame)
        return found

    proof().check()
    with pytest.raises(VerifyError, match="1 copied frames are not the source's, the first of them is frame 3"):
        proof(3).check()
    wrong = proof(3)
    with av.open(str(segment.path)) as container:
        wrong.look(3, next(container.decode(video=0)))
    with pytest.raises(VerifyError, match="frame 3"):
        wrong.check()
    with pytest.raises(VerifyError, match="what was copied"):
        Proof(seen.info, 0, [tmp_path / "missing.npz"])


def test_other_colours_are_another_picture(seen: Seen) -> None:
    with av.open(str(seen.info.source)) as container:
        frame = next(container.decode(video=0))
    picture = next(iter(read(seen.info, seen.index, 0, 1)))
    assert decoded_digest(frame, seen.info) == digest(picture.planes)
    assert decoded_digest(frame, replace(seen.info, color_trc=16)) == b""
    assert clean.DOUBT < 0.5
    assert plan(seen.index, target=seen.index.seconds())[0].stop == LONG
