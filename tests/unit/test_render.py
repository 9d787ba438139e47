import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from facefilm import CPU, FRAMES, Seen, face_box, make, see, where

from pipeline import identity
from pipeline.ahead import ahead
from pipeline.analyse import Eyes
from pipeline.chunk import plan
from pipeline.decode import read
from pipeline.draw import Painter, plans
from pipeline.encode import EncoderSettings
from pipeline.glasses import Optician
from pipeline.link import Linked
from pipeline.reading import decoded, open_input, video_stream
from pipeline.render import RenderCounts, render
from pipeline.replace import Face, Replacer
from pipeline.track import Treatment
from pipeline.treat import fades


@pytest.fixture(scope="module")
def eyes() -> Eyes:
    return Eyes.load(CPU, 1)


@pytest.fixture(scope="module")
def seen(eyes: Eyes, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("film")
    return see(make(folder / "film.mp4"), folder / "work", eyes)


@pytest.fixture(scope="module")
def model() -> identity.NobodyModel:
    return identity.load()


def lumas(path: Path) -> list[np.ndarray]:
    with open_input(path) as container:
        stream = video_stream(container, 0)
        return [f.to_ndarray(format="gray").astype(np.float32) for f, _ in decoded(container, stream, 1)]


def rendered(
    seen: Seen, model: identity.NobodyModel, target: Path, replacer: Replacer | None = None
) -> tuple[list[np.ndarray], RenderCounts]:
    settings = EncoderSettings.for_source(seen.info, crf=12)
    segment, counts = render(
        seen.info, seen.index, seen.chunks[0], seen.analyses[0], seen.linked, model, settings, target, device=CPU,
        replacer=replacer,
    )  # fmt: skip
    assert segment.frames == FRAMES
    return lumas(target), counts


def changes(before: np.ndarray, after: np.ndarray, number: int) -> tuple[float, float]:
    """Mean difference inside the face, and far from the portrait."""
    difference = np.abs(before - after)
    x0, y0, x1, y1 = face_box(number).astype(int)
    x, _, side = where(number)
    outside = np.ones_like(difference, bool)
    outside[:, max(0, x - 10) : x + side + 10] = False
    return float(difference[y0:y1, x0:x1].mean()), float(difference[outside].mean())


def test_one_face_is_one_track_on_every_frame(seen: Seen) -> None:
    (track,) = seen.linked.tracks
    assert track.frames.tolist() == list(range(FRAMES))
    assert (track.treatment == Treatment.REPLACE).all()
    for number, box in zip(track.frames, track.boxes, strict=True):
        inner = face_box(int(number))
        assert np.abs((box[:2] + box[2:]) / 2 - (inner[:2] + inner[2:]) / 2).max() < 15


def test_every_face_changes_and_nothing_else(seen: Seen, model: identity.NobodyModel, tmp_path: Path) -> None:
    source = lumas(seen.info.path)
    output, counts = rendered(seen, model, tmp_path / "0.nut")
    assert counts.treated == {"REPLACE": FRAMES}
    assert counts.failures == {}
    for number, (before, after) in enumerate(zip(source, output, strict=True)):
        inside, outside = changes(before, after, number)
        assert inside > 5
        assert outside < 1


class Broken(Replacer):
    """Fails on one frame."""

    def apply(self, faces: Sequence[Face]) -> None:
        if any(face.picture.number == 7 for face in faces):
            raise RuntimeError("no luck")
        super().apply(faces)


def test_what_can_not_be_replaced_is_covered(seen: Seen, model: identity.NobodyModel, tmp_path: Path) -> None:
    source = lumas(seen.info.path)
    output, counts = rendered(seen, model, tmp_path / "0.nut", Broken(model, CPU))
    assert counts.failures == {"RuntimeError": 1}
    assert counts.treated == {"REPLACE": FRAMES - 1, "COVER_NO_IDENTITY": 1}
    assert changes(source[7], output[7], 7)[0] > 8


class Blind(Replacer):
    """Does nothing: whatever is changed was covered."""

    def apply(self, faces: Sequence[Face]) -> None:
        return


def test_a_damaged_picture_is_covered_wherever_a_face_is_near(seen: Seen, model: identity.NobodyModel) -> None:
    (raw,) = read(seen.info, seen.index, 20, 21)
    (picture,) = read(seen.info, seen.index, 20, 21)
    picture.damaged = True
    painter = Painter(seen.chunks[0], seen.analyses[0], seen.linked, (), Blind(model, CPU), "solid", CPU)
    painter.draw([picture])
    assert painter.counts.damaged == 1
    for number in (12, 20, 26):  # concealment may show the face of any of them
        x0, y0, x1, y1 = face_box(number).astype(int)
        same = (raw.planes[0][y0:y1, x0:x1] == picture.planes[0][y0:y1, x0:x1]).float().mean()
        assert float(same) < 0.05


def test_a_face_without_landmarks_is_never_left(seen: Seen, model: identity.NobodyModel) -> None:
    nobody = Linked(seen.linked.tracks, ())
    for todo in plans(seen.chunks[0], seen.analyses[0], nobody).values():
        assert all(p.treatment == Treatment.COVER_FILLED for p in todo)


def test_chunks_draw_the_same_face_where_they_meet(eyes: Eyes, seen: Seen, tmp_path: Path) -> None:
    parts = see(seen.info.source, tmp_path, eyes, target=Fraction(14, 25))
    assert len(parts.chunks) == 2
    whole = plans(plan(seen.index, target=Fraction(10))[0], seen.analyses[0], seen.linked)
    for chunk, analysis in zip(parts.chunks, parts.analyses, strict=True):
        for number, todo in plans(chunk, analysis, parts.linked).items():
            (a,), (b,) = todo, whole[number]
            assert a.treatment == b.treatment == Treatment.REPLACE
            assert a.mesh is not None
            assert b.mesh is not None
            assert np.abs(a.mesh - b.mesh)[:, :2].mean() < 0.4
    assert [p.identity for p in parts.linked.people] == [p.identity for p in seen.linked.people]


def test_a_film_without_faces(eyes: Eyes, model: identity.NobodyModel, tmp_path: Path) -> None:
    empty = see(make(tmp_path / "empty.mp4", 10, lambda _: []), tmp_path / "work", eyes)
    assert empty.linked == Linked((), ())
    settings = EncoderSettings.for_source(empty.info)
    segment, counts = render(
        empty.info, empty.index, empty.chunks[0], empty.analyses[0], empty.linked, model, settings, tmp_path / "0.nut",
        device=CPU,
    )  # fmt: skip
    assert segment.frames == 10
    assert counts.treated == {}


def test_ahead_keeps_order_and_raises_where_it_happened() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("the end")

    got = list[int]()
    with pytest.raises(OSError, match="the end"):
        got.extend(ahead(items(), 2))
    stream = ahead(iter(range(10**9)), 2)
    assert next(stream) == 0
    stream.close()


def test_ahead_ends_its_thread_and_closes_what_it_reads() -> None:
    closed = list[str]()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    def use() -> None:
        with closing(ahead(items(), 2)) as stream:
            for item in stream:
                if item == 3:
                    raise RuntimeError("the user of it fails")

    with pytest.raises(RuntimeError, match="fails"):
        use()
    assert closed == ["ahead"]
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_a_cover_comes_and_goes_over_some_frames() -> None:
    treatment = np.full(40, Treatment.REPLACE, np.uint8)
    treatment[20:25] = Treatment.COVER_PROFILE
    veiled = fades(treatment)
    assert (veiled[20:25] == 0).all()  # covered as a whole: nothing lies over it
    assert (veiled[:13] == 0).all()
    assert (veiled[32:] == 0).all()
    assert (np.diff(veiled[13:20]) > 0).all()
    assert np.allclose(veiled[14:20], veiled[25:31][::-1])
    assert 0.7 < veiled[19] < 1


@pytest.mark.parametrize("treatment", [Treatment.REPLACE, Treatment.COVER_DAMAGED, Treatment.COVER_GATE])
def test_what_was_not_decided_for_the_look_of_it_does_not_fade(treatment: Treatment) -> None:
    treatments = np.full(20, Treatment.REPLACE, np.uint8)
    treatments[10] = treatment
    assert (fades(treatments) == 0).all()


def test_a_fading_cover_lies_over_the_replaced_face(seen: Seen, model: identity.NobodyModel) -> None:
    (track,) = seen.linked.tracks
    treatment = track.treatment.copy()
    treatment[20:] = Treatment.COVER_PROFILE
    linked = replace(seen.linked, tracks=(replace(track, treatment=treatment),))
    pictures = {}
    for name, one in (("replaced", seen.linked), ("fading", linked)):
        painter = Painter(seen.chunks[0], seen.analyses[0], one, (), Replacer(model, CPU), "solid", CPU)
        pictures[name] = list(read(seen.info, seen.index, 10, 20))
        painter.draw(pictures[name])
    rates = []
    for number in range(10, 20):
        x0, y0, x1, y1 = face_box(number).astype(int)
        a, b = (pictures[n][number - 10].planes[0][y0:y1, x0:x1].float() for n in ("replaced", "fading"))
        rates.append(float((a - b).abs().mean()))
    assert rates[0] == 0
    assert rates[9] > 2 * rates[5] > 0


@pytest.mark.parametrize("bare", [False, True])
def test_nobody_looks_for_glasses_that_are_painted_over(
    bare: bool, seen: Seen, model: identity.NobodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[set[int]]()

    class Noting(Optician):
        def __init__(self, samples: dict[int, torch.Tensor], device: torch.device) -> None:
            asked.append(set(samples))
            super().__init__(samples, device)

    monkeypatch.setattr("pipeline.draw.Optician", Noting)
    linked = replace(seen.linked, people=tuple(replace(p, bare=bare) for p in seen.linked.people))
    Painter(seen.chunks[0], seen.analyses[0], linked, (), Replacer(model, CPU), "solid", CPU)
    assert asked == [set() if bare else {0}]
