from pathlib import Path

import numpy as np
import pytest
import torch
from facefilm import CPU, FRAMES, Seen, face_box, make, see

from pipeline import gate, identity
from pipeline.analyse import Eyes
from pipeline.checked import render_checked
from pipeline.decode import read
from pipeline.encode import EncoderSettings, Segment, SegmentWriter
from pipeline.errors import LeakError, VerifyError
from pipeline.link import Linked
from pipeline.models.blazeface import BlazeFace
from pipeline.render import render
from pipeline.track import Treatment


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("film")
    return see(make(folder / "film.mp4"), folder / "work", Eyes.load(CPU, 1))


@pytest.fixture(scope="module")
def other() -> BlazeFace:
    return BlazeFace(CPU)


def look(seen: Seen, segment: Segment, linked: Linked, other: BlazeFace) -> tuple[gate.GateFinding, ...]:
    return gate.check(seen.info, seen.index, seen.chunks[0], segment, linked, other, device=CPU)


def untouched(seen: Seen, path: Path, crf: int) -> Segment:
    with SegmentWriter(path, seen.info, EncoderSettings.for_source(seen.info, crf=crf)) as writer:
        for picture in read(seen.info, seen.index, 0, FRAMES):
            writer.write(picture)
        return writer.close()


@pytest.mark.parametrize("crf", [12, 30])
def test_a_face_that_only_went_through_the_encoder_is_found(
    seen: Seen, other: BlazeFace, tmp_path: Path, crf: int
) -> None:
    segment = untouched(seen, tmp_path / "0.nut", crf)
    tracked = look(seen, segment, seen.linked, other)
    assert {f.frame for f in tracked if f.why == "unchanged track"} == set(range(FRAMES))
    alone = look(seen, segment, Linked((), ()), other)
    assert {f.frame for f in alone} >= set(range(0, FRAMES, gate.STRIDE))
    assert all(f.why == "unchanged face" for f in alone)


def test_a_missed_face_is_covered_in_the_second_round(seen: Seen, other: BlazeFace, tmp_path: Path) -> None:
    model, settings = identity.load(), EncoderSettings.for_source(seen.info)
    nothing = Linked((), ())

    def attempt(linked: Linked, *found: object) -> Segment:
        return render(
            seen.info, seen.index, seen.chunks[0], seen.analyses[0], linked, model, settings, tmp_path / "0.nut",
            device=CPU, found=found,  # type: ignore[arg-type]
        )[0]  # fmt: skip

    assert look(seen, attempt(seen.linked), seen.linked, other) == ()
    findings = look(seen, attempt(nothing), nothing, other)
    with pytest.raises(LeakError, match="may still show a face"):
        gate.refuse(findings)
    covers = gate.covers(findings, nothing, seen.index)
    assert {int(f) for t in covers for f in t.frames} == set(range(FRAMES))
    again = gate.check(
        seen.info, seen.index, seen.chunks[0], attempt(nothing, *covers), nothing, other, found=covers, device=CPU
    )
    gate.refuse(again)


def test_covers_hold_and_stop_at_cuts(seen: Seen) -> None:
    box = tuple(float(v) for v in face_box(12))
    findings = [gate.GateFinding(0, f, box, "unchanged face", 0.9) for f in (12, 14)]  # type: ignore[arg-type]
    (track,) = gate.covers(findings, seen.linked, seen.index)
    assert (track.frames[0], track.frames[-1]) == (max(0, 12 - gate.HOLD), min(FRAMES - 1, 14 + gate.HOLD))
    assert (track.treatment == Treatment.COVER_GATE).all()
    assert track.id not in {t.id for t in seen.linked.tracks}


def test_change_is_measured_against_noise_and_contrast() -> None:
    generator = torch.Generator().manual_seed(1)
    before = torch.rand(100, 100, generator=generator) * 120
    box = np.array([20, 20, 80, 80], np.float32)
    noise = torch.randn(100, 100, generator=generator)

    def measure(a: torch.Tensor, b: torch.Tensor, where: np.ndarray, noise: float) -> gate.Change:
        return gate.measure(gate.Luma(a, 8), gate.Luma(b, 8), where, noise)

    assert not measure(before, before + noise, box, 0.8).enough
    assert measure(before, before.flip(1), box, 0.8).enough
    assert not measure(before, before + 5 * noise, box, 4.0).enough
    assert measure(torch.zeros(100, 100), torch.zeros(100, 100), box, 0.0).enough, "nothing to be seen"
    assert measure(before, before, box + 200, 0.0).enough, "outside of the picture"


def test_a_segment_of_other_frames_is_refused(seen: Seen, other: BlazeFace, tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "0.nut", seen.info, EncoderSettings.for_source(seen.info)) as writer:
        for picture in read(seen.info, seen.index, 0, 10):
            writer.write(picture)
        segment = writer.close()
    with pytest.raises(VerifyError):
        look(seen, segment, seen.linked, other)


def test_rendering_goes_on_until_the_gate_is_content(seen: Seen, other: BlazeFace, tmp_path: Path) -> None:
    model, settings = identity.load(), EncoderSettings.for_source(seen.info)

    def run(linked: Linked, detector: object) -> int:
        _, counts, findings = render_checked(
            seen.info, seen.index, seen.chunks[0], seen.analyses[0], linked, model, settings, tmp_path / "0.nut",
            detector=detector, device=CPU,  # type: ignore[arg-type]
        )  # fmt: skip
        assert bool(findings) == ("COVER_GATE" in counts.treated)
        return len(findings)

    assert run(seen.linked, other) == 0
    assert run(Linked((), ()), other) > 0


def test_a_chunk_that_fails_twice_is_refused(
    seen: Seen, other: BlazeFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.draw.cover", lambda *_: None)
    with pytest.raises(LeakError, match="may still show a face"):
        render_checked(
            seen.info, seen.index, seen.chunks[0], seen.analyses[0], Linked((), ()), identity.load(),
            EncoderSettings.for_source(seen.info), tmp_path / "0.nut", detector=other, device=CPU,
        )  # fmt: skip
    assert not (tmp_path / "0.nut").exists()


def test_a_cover_of_the_ground_s_own_brightness_passes_and_an_encoded_face_does_not() -> None:
    """A grey cover on a dim, blurred face differs from it by little; encoding a clear face may differ by more."""
    generator = torch.Generator().manual_seed(1)
    wave = torch.sin(torch.arange(100) / 6)
    dim = 108 + 12 * wave[None] * wave[:, None]
    face = 108 + 40 * wave[None] * wave[:, None]
    box, noise = np.array([20, 20, 80, 80], np.float32), 2 * torch.randn(100, 100, generator=generator)
    plain = torch.full((100, 100), 108.0)
    assert gate.measure(gate.Luma(dim, 8), gate.Luma(plain, 8), box, 2.0).enough
    assert not gate.measure(gate.Luma(face, 8), gate.Luma(face + noise, 8), box, 2.0).enough
    assert not gate.measure(gate.Luma(dim, 8), gate.Luma(dim + noise / 2, 8), box, 2.0).enough
