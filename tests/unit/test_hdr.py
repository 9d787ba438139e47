"""A face in a PQ or HLG film is worked on in values that mean the same as an SDR film's, and comes out alike."""

import dataclasses

import hdr
import numpy as np
import pytest
import torch
from faces import identities, mesh, portrait

from pipeline import gate, transfer
from pipeline.identity import load
from pipeline.look import look
from pipeline.picture import Picture, PixelLayout
from pipeline.region import shown, stored, to_chroma, to_rgb
from pipeline.replace import Face, Replacer
from pipeline.shape import mean_shape

CPU = torch.device("cpu")
WIDTH, HEIGHT, SCALE = 320, 240, 80


def _copy(picture: Picture) -> Picture:
    return dataclasses.replace(picture, planes=tuple(p.clone() for p in picture.planes))  # type: ignore[arg-type]


def _replaced(picture: Picture) -> Picture:
    after = _copy(picture)
    where, (other,) = mesh(SCALE, WIDTH / 2, HEIGHT / 2), identities("other")
    Replacer(load(), CPU).apply([Face(after, where, mean_shape(), other)])
    return after


def _layout(kind: str) -> PixelLayout:
    return PixelLayout(64, 48, 10, 0, 0, "bt2020", False, 0, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", hdr.KINDS)
def test_values_are_the_standards(kind: str) -> None:
    light = np.array([0.01, 1.0, 20.0, 203.0, 600.0, 1000.0])
    grey = np.broadcast_to(light, (3, 6)).copy()
    signal = {"pq": hdr.pq, "hlg": hdr.hlg}[kind](grey)[0]
    assert np.allclose(transfer.nits(signal, kind), light, rtol=1e-3)  # type: ignore[arg-type]
    assert signal[3] == pytest.approx({"pq": 0.581, "hlg": 0.749}[kind], abs=0.002)  # BT.2408, table 1
    assert transfer.values(signal, kind)[3] == pytest.approx(1, abs=1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", hdr.KINDS)
def test_every_sample_comes_back(kind: str) -> None:
    """Those below black and above white, too: nothing is clipped."""
    layout = _layout(kind)
    samples = torch.arange(4, 1020).float()
    assert (stored(shown(samples, layout), layout) - samples).abs().max() < 0.25
    colours = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    chroma = to_chroma(colours, layout)
    luma = torch.tensordot(torch.tensor([0.2627, 0.6780, 0.0593]), transfer.signals(
        colours.flatten(2), kind, True  # type: ignore[arg-type]
    ).reshape(colours.shape).movedim(1, 0), 1) * 876 + 64  # fmt: skip
    back = to_rgb(torch.cat([luma[:, None], chroma], 1), layout)
    assert (back - colours).abs().max() < 0.002


def test_an_sdr_film_is_left_alone() -> None:
    luma, layout = torch.rand(4, 4), portrait().layout
    assert shown(luma, layout) is luma
    assert stored(luma, layout) is luma


@pytest.mark.parametrize(("kind", "most"), [("pq", 3), ("hlg", 7)])
def test_detectors_see_an_sdr_picture(kind: str, most: float) -> None:
    """Mean difference in levels of 255."""
    plain = portrait(WIDTH, HEIGHT, SCALE)
    ours, theirs = (
        look(p, (0, 0, WIDTH, HEIGHT), WIDTH // 2, HEIGHT // 2) * 255 for p in (hdr.as_hdr(plain, kind), plain)
    )
    assert (ours - theirs).abs().mean() < most
    bright = look(hdr.as_hdr(plain, kind, 3.0), (0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT)
    assert bright.amax() < 1  # three times white, and still no patch of plain white
    assert bright.std() > 0.02


@pytest.mark.parametrize("kind", hdr.KINDS)
@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
def test_a_new_face_looks_as_it_does_in_the_sdr_film(kind: str, gain: float) -> None:
    """Both as an SDR display shows them. Limits in levels of 255; the conversion itself makes 0.5, and arithmetic on
    what is stored made 16 (PQ) and 6 (HLG) at the usual brightness."""
    plain = portrait(WIDTH, HEIGHT, SCALE)
    wanted, before = hdr.as_sdr(_replaced(plain)), hdr.as_sdr(plain)
    changed = np.abs(wanted - before).max(0) > 0.02
    assert changed.mean() > 0.05
    film = hdr.as_hdr(plain, kind, gain)
    new = _replaced(film)
    difference = (hdr.as_sdr(new, gain) - wanted)[:, changed] * 255
    dim = gain < 1  # in which the same noise of a camera counts for more
    assert np.abs(difference).mean() < (4 if dim else 2)
    assert np.percentile(np.abs(difference), 99) < (16 if dim else 8)
    assert np.abs(difference.mean(1)).max() < 2.5  # no cast
    assert torch.equal(new.planes[0][:, :40], film.planes[0][:, :40])


def test_hlgs_system_gamma_is_one_of_luminance() -> None:
    """And the way back is exact, also where a colour has no place among BT.2020's."""
    scene = np.array([[0.4, 0.02, 0.2], [0.1, 0.3, 0.2], [0.05, 0.01, 0.2]])  # red, green, grey
    signal = torch.from_numpy(hdr.hlg(scene * 1000)).float()
    values = transfer.colours(signal, "hlg", False)
    assert np.allclose(values.numpy() ** 2.4 * 203, scene * 1000, rtol=2e-3)
    wild = torch.tensor([[0.9, 0.01], [-0.1, 0.2], [0.3, 1.2]])
    assert torch.allclose(transfer.colours(transfer.signals(wild, "hlg", True), "hlg", True), wild, atol=1e-3)


def test_the_gate_counts_what_can_be_seen() -> None:
    """A difference in PQ is one of fewer samples than in an SDR film of 10 bits, and is still the same difference."""
    deep = PixelLayout(64, 48, 10, 0, 0, "bt709", False)
    samples = np.array([[100, 180]], np.int16) * 4
    light = (((samples / 4) - 16) / 219) ** 2.4 * 203
    coded = np.round(hdr.pq(light) * 876 + 64).astype(np.int16)
    plain, seen = gate.levels(samples, deep), gate.levels(coded, _layout("pq"))
    assert np.abs(seen - plain).max() < 3
    assert coded[0, 1] - coded[0, 0] < 0.6 * (samples[0, 1] - samples[0, 0])
