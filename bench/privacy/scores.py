"""The benchmark's arithmetic: distances and matches, correlations, differences over time. numpy in, numbers out."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def distances(first: Floats, second: Floats) -> Floats:
    """Euclidean distances (N, M) of rows (N, d) and (M, d)."""
    square = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    return np.asarray(np.sqrt(np.maximum(square, 0)), np.float64)


def threshold(impostors: Floats, rate: float = 1e-3) -> float:
    """The largest distance below which at most `rate` of the impostors' distances lie. Raises ValueError when they are
    fewer than it takes to tell such a rate."""
    ordered = np.sort(np.asarray(impostors, np.float64).ravel())
    allowed = math.floor(rate * len(ordered))
    if allowed < 1:
        raise ValueError(f"{len(ordered)} impostors can't show a rate of {rate:g}")
    return float(ordered[allowed])


def matches(found: Floats, limit: float) -> float:
    """The share of distances that lie below a limit: 0..1, NaN for none."""
    return float(np.mean(found < limit)) if found.size else math.nan


def rank1(table: Floats, who: NDArray[np.integer]) -> float:
    """The share of probes whose own person is the nearest. `table` (N, G) are distances of N probes to G people of a
    gallery, `who` (N,) the probe's place in it. Where others are as near, it counts as guessing among them."""
    if not len(table):
        return math.nan
    own = table[np.arange(len(table)), who]
    ties = (table == own[:, None]).sum(1)
    return float(np.mean(np.where(own <= table.min(1), 1 / ties, 0)))


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's interval of 95 % for a share of `count` independent trials."""
    if count == 0:
        return 0.0, 1.0
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def correlation(first: Floats, second: Floats) -> float:
    """Correlation over time of series (n, ...), all taken together: each about its own mean, those that move more
    count more. NaN where one of them doesn't move."""
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (first, second))
    if len(a) < 3:
        return math.nan
    a, b = a - a.mean(0), b - b.mean(0)
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else math.nan


def weighted(values: list[float], weights: list[float]) -> float:
    """The mean of those that are numbers; NaN for none."""
    pairs = [(v, w) for v, w in zip(values, weights, strict=True) if math.isfinite(v) and w > 0]
    return sum(v * w for v, w in pairs) / sum(w for _, w in pairs) if pairs else math.nan


def likeness(vectors: Floats) -> float:
    """The mean cosine of all pairs of rows (n, d); NaN for fewer than two."""
    if len(vectors) < 2:
        return math.nan
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return float(((unit @ unit.T).sum() - len(unit)) / (len(unit) * (len(unit) - 1)))


def likeness_between(first: Floats, second: Floats) -> float:
    """The mean cosine of pairs of one row of (n, d) and one of (m, d); NaN where one is empty."""
    if not len(first) or not len(second):
        return math.nan
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    return float((a @ b.T).mean())


def flicker(textures: Floats, mask: NDArray[np.bool_]) -> float:
    """The mean absolute difference from frame to frame inside a mask (s, s), of faces (n, s, s) that were warped to one
    shape. NaN for fewer than two."""
    if len(textures) < 2:
        return math.nan
    return float(np.abs(np.diff(textures, axis=0))[:, mask].mean())


def psnr(square_error: float) -> float:
    """Decibels of a mean squared error in levels of 255."""
    return math.inf if square_error <= 0 else 10 * math.log10(255**2 / square_error)


def told(source: Floats, again: Floats, least: float = 2.0) -> bool:
    """Whether a series (n, ...) moves enough to say anything: its deviation is `least` times what a second measurement
    of the same differs by."""
    noise = float(np.std(source - again))
    return len(source) >= 8 and float(np.std(source - source.mean(0))) > least * max(noise, 1e-9)
