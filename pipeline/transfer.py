"""Films in PQ and HLG: their values as those of an SDR film, and back.

A face is drawn in values in which a step means about the same everywhere, and in which skin's textures were made: those
of a display with a gamma of 2.4 (ITU-R BT.1886). Values of HDR films aren't such. Here 1 is what HDR takes for white,
203 cd/m2 (ITU-R BT.2408-7, 2.1), and what is brighter lies above 1, up to 5 for PQ's 10,000 cd/m2: nothing is clipped.

PQ: SMPTE ST 2084 and ITU-R BT.2100-2, table 4. HLG: ARIB STD-B67 and BT.2100-2, table 5, on a display of 1,000 cd/m2
with a system gamma of 1.2: tables apply it to each channel by itself, as is right for greys and near enough for
detectors, and `colours` makes of that the one of luminance. Wide colours: the matrix from BT.2020 to BT.709 (ITU-R
BT.2087-0) is applied to these values instead of to light. That is exact for greys, within 0.02 for skin, and without
powers.

All of this is tables and one matrix, and of HLG's colours a power; SDR films never come here.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Transfer = Literal["sdr", "pq", "hlg"]
Doubles = npt.NDArray[np.float64]

WHITE = 203.0  # cd/m2 of what 1 means
GAMMA = 2.4
LOW, HIGH = -0.125, 1.125  # signals that a table knows: limited range reaches beyond 0 and 1
KNEE, PEAK = 0.75, 4000.0  # for detectors: values as they are up to here, the rest up to that many cd/m2 above it
_SIGNALS, _VALUES, _COARSE = 1 << 13, 1 << 15, 1 << 12  # entries of tables
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_HLG_PEAK, _SYSTEM_GAMMA = 1000.0, 1.2
_LUMINANCE, _DARK = (0.2627, 0.6780, 0.0593), 1e-4
_NARROW = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))


def transfer_of(color_trc: int) -> Transfer:
    """Of ITU-T H.273's number: 16 is PQ, 18 is HLG."""
    return "pq" if color_trc == 16 else "hlg" if color_trc == 18 else "sdr"


def nits(signal: Doubles, transfer: Transfer) -> Doubles:
    """What a signal, 0..1, shows in cd/m2. Signals below 0 are mirrored, so that nothing is lost."""
    size = np.abs(signal)
    if transfer == "pq":
        root = size ** (1 / _M2)
        light = 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    elif transfer == "hlg":
        scene = np.where(size <= 0.5, size**2 / 3, (np.exp((size - _C) / _A) + _B) / 12)
        light = _HLG_PEAK * scene**_SYSTEM_GAMMA
    else:
        raise ValueError("an SDR film has no absolute light")
    return np.asarray(np.sign(signal) * light)


def values(signal: Doubles, transfer: Transfer) -> Doubles:
    """The same as a value of an SDR film, of which 1 is white."""
    light = nits(signal, transfer) / WHITE
    return np.asarray(np.sign(light) * np.abs(light) ** (1 / GAMMA))


def toned(value: Doubles) -> Doubles:
    """Values in 0..1 for who expects an SDR picture: highlights by their logarithm, and no step at the knee."""
    peak = (PEAK / WHITE) ** (1 / GAMMA)
    # The slope at the knee is 1 where scale * (1 - KNEE) = log(1 + scale * (peak - KNEE)).
    scale = 0.1
    for _ in range(200):
        scale = float(np.log1p(scale * (peak - KNEE)) / (1 - KNEE))
    above = KNEE + np.log1p(scale * np.maximum(value - KNEE, 0)) / scale
    return np.asarray(np.clip(np.where(value <= KNEE, value, above), 0, 1))


@lru_cache(maxsize=8)
def _forth(transfer: Transfer, device: torch.device) -> Tensor:
    return torch.from_numpy(values(np.linspace(LOW, HIGH, _SIGNALS), transfer)).float().to(device)


@lru_cache(maxsize=8)
def _back(transfer: Transfer, device: torch.device) -> Tensor:
    """Signals over the square roots of values: PQ is steep near black."""
    signals = np.linspace(LOW, HIGH, 1 << 20)
    known = values(signals, transfer)
    roots = np.sign(known) * np.sqrt(np.abs(known))
    return torch.from_numpy(np.interp(np.linspace(roots[0], roots[-1], _VALUES), roots, signals)).float().to(device)


@lru_cache(maxsize=8)
def _viewing(transfer: Transfer, device: torch.device) -> Tensor:
    return torch.from_numpy(toned(values(np.linspace(LOW, HIGH, _COARSE), transfer))).float().to(device)


@lru_cache(maxsize=8)
def _gamut(back: bool, device: torch.device) -> Tensor:
    matrix = torch.tensor(_NARROW, dtype=torch.float64)
    return (torch.linalg.inv(matrix) if back else matrix).float().to(device)


def _between(table: Tensor, place: Tensor) -> Tensor:
    """What a table says at places 0..len - 1, linear between its entries."""
    place = place.clamp(0, len(table) - 1)
    low = place.to(torch.int32).clamp_max_(len(table) - 2)
    flat = low.flatten()
    one, other = torch.index_select(table, 0, flat), torch.index_select(table, 0, flat + 1)
    return torch.lerp(one, other, (place - low).flatten()).reshape(place.shape)


def shown(signal: Tensor, transfer: Transfer) -> Tensor:
    """Values of signals of any shape, 0..1 from black to white."""
    return _between(_forth(transfer, signal.device), (signal - LOW) * ((_SIGNALS - 1) / (HIGH - LOW)))


def stored(value: Tensor, transfer: Transfer) -> Tensor:
    """Signals of values: the way back from `shown`."""
    low, high = _ends(transfer)
    root = value.abs().sqrt_().copysign_(value)
    return _between(_back(transfer, value.device), (root - low) * ((_VALUES - 1) / (high - low)))


@lru_cache(maxsize=4)
def _ends(transfer: Transfer) -> tuple[float, float]:
    ends = values(np.array([LOW, HIGH]), transfer)
    low, high = np.sign(ends) * np.sqrt(np.abs(ends))
    return float(low), float(high)


def brightest(transfer: Transfer) -> float:
    """The value of the strongest signal."""
    return 1.0 if transfer == "sdr" else float(values(np.array([1.0]), transfer)[0])


def colours(signal: Tensor, transfer: Transfer, wide_gamut: bool) -> Tensor:
    """Values (..., 3, N) of RGB signals, of BT.709's primaries; those that BT.709 hasn't lie outside of 0..1."""
    rgb = shown(signal, transfer)
    rgb = _coupled(rgb) if transfer == "hlg" else rgb
    return _narrow(rgb) if wide_gamut else rgb


def signals(rgb: Tensor, transfer: Transfer, wide_gamut: bool) -> Tensor:
    """Signals of values: the way back from `colours`."""
    rgb = torch.matmul(_gamut(True, rgb.device), rgb) if wide_gamut else rgb
    return stored(_uncoupled(rgb) if transfer == "hlg" else rgb, transfer)


def _narrow(rgb: Tensor) -> Tensor:
    return torch.matmul(_gamut(False, rgb.device), rgb)


def _coupled(rgb: Tensor) -> Tensor:
    """Values (..., 3, N) of HLG's signals, each by itself, as the display shows them: its system gamma is one of
    luminance."""
    size = rgb.abs().clamp_min_(_DARK)
    return rgb * (_luminance(size.square()) / size.square()).pow_((_SYSTEM_GAMMA - 1) / GAMMA)


def _uncoupled(rgb: Tensor) -> Tensor:
    """The way back from `_coupled`."""
    size = rgb.abs().clamp_min_(_DARK)
    # Luminance of the display is that of the scene to the power of the system gamma.
    scene = _luminance(size.pow(GAMMA)).pow_(1 / _SYSTEM_GAMMA)
    alone = size.pow(GAMMA / 2).mul_(scene.pow_((1 - _SYSTEM_GAMMA) / 2))
    return alone.copysign_(rgb)


def _luminance(light: Tensor) -> Tensor:
    """(..., 1, N) of light (..., 3, N) of BT.2020's primaries."""
    return torch.matmul(torch.tensor(_LUMINANCE, device=light.device), light)[..., None, :]


def viewed(signal: Tensor, transfer: Transfer, wide_gamut: bool) -> Tensor:
    """RGB signals (3, ...) as an SDR picture in 0..1, for detectors and for people. Good to a step of 8 bits."""
    place = ((signal - LOW) * ((_COARSE - 1) / (HIGH - LOW)) + 0.5).clamp_(0, _COARSE - 1).to(torch.int32)
    rgb = torch.index_select(_viewing(transfer, signal.device), 0, place.flatten()).reshape(3, -1)
    return (_narrow(rgb) if wide_gamut else rgb).reshape(signal.shape)
