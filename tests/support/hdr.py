"""SDR pictures as PQ and HLG have them, and back, by the standards' formulas in double precision and nothing else.

SDR's white is shown with 203 cd/m2 (ITU-R BT.2408) by a display with a gamma of 2.4 (BT.1886).
"""

from typing import Any

import numpy as np
import torch

from pipeline.picture import Picture, PixelLayout

Array = np.ndarray[Any, np.dtype[np.float64]]

KINDS = ("pq", "hlg")
_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087-0
_WEIGHTS = {"bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def _matrix(name: str) -> Array:
    kr, kb = _WEIGHTS[name]
    kg = 1 - kr - kb
    return np.array(
        [
            [kr, kg, kb],
            [-kr / (2 - 2 * kb), -kg / (2 - 2 * kb), 0.5],
            [0.5, -kg / (2 - 2 * kr), -kb / (2 - 2 * kr)],
        ]
    )


def pq(nits: Array) -> Array:
    """SMPTE ST 2084, equation 5.2."""
    y = (np.maximum(nits, 0) / 10_000) ** (2610 / 16384)
    return np.asarray(((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32))


def from_pq(signal: Array) -> Array:
    """SMPTE ST 2084, equation 4.1."""
    root = np.maximum(signal, 0) ** (32 / 2523)
    light = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
    return np.asarray(10_000 * light ** (16384 / 2610))


def hlg(nits: Array) -> Array:
    """ARIB STD-B67 with BT.2100's OOTF for 1,000 cd/m2: a system gamma of 1.2 on luminance."""
    light = np.maximum(nits, 0) / 1000
    y = np.tensordot([0.2627, 0.6780, 0.0593], light, 1)
    scene = light * np.maximum(y, 1e-9) ** (1 / 1.2 - 1)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def from_hlg(signal: Array) -> Array:
    """The way back from `hlg`."""
    s = np.maximum(signal, 0)
    scene = np.where(s <= 0.5, s**2 / 3, (np.exp((s - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    y = np.tensordot([0.2627, 0.6780, 0.0593], scene, 1)
    return np.asarray(1000 * scene * np.maximum(y, 1e-9) ** 0.2)


def rgb(picture: Picture) -> Array:
    """(3, H, W) signals in 0..1 of a 4:2:0 picture in limited range."""
    layout = picture.layout
    unit = 2 ** (layout.depth - 8)
    y, u, v = (p.numpy().astype(np.float64) for p in picture.planes)
    u, v = (c.repeat(2, 0).repeat(2, 1)[: y.shape[0], : y.shape[1]] for c in (u, v))
    ycc = np.stack([(y / unit - 16) / 219, (u / unit - 128) / 224, (v / unit - 128) / 224])
    return np.tensordot(np.linalg.inv(_matrix(layout.matrix)), ycc, 1)


def as_hdr(picture: Picture, kind: str, gain: float = 1.0) -> Picture:
    """An SDR picture as a 10-bit HDR one with BT.2020's colours, `gain` times as bright as BT.2408 has it."""
    light = np.clip(rgb(picture), 0, None) ** 2.4 * 203 * gain
    signal = {"pq": pq, "hlg": hlg}[kind](np.tensordot(_TO_2020, light, 1))
    ycc = np.tensordot(_matrix("bt2020"), signal, 1)
    height, width = ycc.shape[1:]
    luma = ycc[0] * 219 * 4 + 64
    chroma = ycc[1:].reshape(2, height // 2, 2, width // 2, 2).mean((2, 4)) * 224 * 4 + 512
    y, u, v = (torch.from_numpy(p.round().astype(np.int16)) for p in (luma, *chroma))
    layout = PixelLayout(width, height, 10, 1, 1, "bt2020", False, picture.layout.rotation, kind)  # type: ignore[arg-type]
    return Picture(picture.number, picture.pts, (y, u, v), layout)


def as_sdr(picture: Picture, gain: float = 1.0) -> Array:
    """(3, H, W) RGB in 0..1 and beyond that an SDR display would show, without any tone curve."""
    if picture.layout.transfer == "sdr":
        return rgb(picture)
    light = {"pq": from_pq, "hlg": from_hlg}[picture.layout.transfer](rgb(picture)) / (203 * gain)
    return np.asarray(np.maximum(np.tensordot(np.linalg.inv(_TO_2020), light, 1), 0) ** (1 / 2.4))
