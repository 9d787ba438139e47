"""How alive faces are, track by track: how much lids and lips move, what the new face keeps of it, and what measuring
itself loses."""

import math

import numpy as np
from privacy import motion, scores
from privacy.instruments import Floats
from privacy.motion import Face, Measured
from privacy.table import Row, table

PARTS = {"mouth": "mouth", "lids": "lids"}
COLUMNS = ["face, px", "frames", "moves, ‰", "kept", "correlation", "encoded again", "in a mirror"]


def mirrored(face: Face, part: str) -> list[tuple[float, int]]:
    """Correlations of the source's series with that of its mirrored picture, per run as `motion.over_time` has them."""
    found = []
    for run in motion.told_runs(face, part):
        source, other = (motion.series(face, name, part)[run] for name in ("source", motion.MIRROR))
        seen = np.isfinite(other).reshape(len(other), -1).all(1)
        if seen.sum() >= motion.LEAST:
            found.append((scores.correlation(source[seen], other[seen]), run.stop - run.start))
    return [(value, length) for value, length in found if math.isfinite(value)]


def kept(source: Floats, other: Floats) -> float:
    """How many parts of the source's movement a series (n, ...) shows: 1 where it moves as far, at the same time. The
    slope of the line that fits best."""
    a, b = source - source.mean(0), other - other.mean(0)
    return float((a * b).sum()) / max(float((a * a).sum()), 1e-12)


def tracks(measured: list[Measured]) -> list[str]:
    """Lines of a table for mouths and one for lids, with a row per track."""
    faces = [f for m in measured for f in m.faces]
    lines = list[str]()
    for title, part in PARTS.items():
        made = [row for f in faces if (row := _row(f, part)) is not None]
        lines += table(f"{title.capitalize()}, track by track", COLUMNS, made)
    return lines


def _row(face: Face, part: str) -> Row | None:
    runs = motion.runs(face)
    if not runs:
        return None
    lengths = [float(run.stop - run.start) for run in runs]
    source, output, control = ([motion.series(face, name, part)[run] for run in runs] for name in motion.FILMS)
    mesh = np.stack(face.meshes["source"])[..., :2]
    cells: list[float | str] = [f"{np.median(np.ptp(mesh, axis=1)[:, 0]):.0f}", f"{sum(lengths):.0f}"]
    cells.append(f"{1000 * scores.weighted([float((s - s.mean(0)).std()) for s in source], lengths):.0f}")
    for figure, others in ((kept, output), (scores.correlation, output), (scores.correlation, control)):
        cells.append(scores.weighted([figure(s, o) for s, o in zip(source, others, strict=True)], lengths))
    pairs = mirrored(face, part)
    cells.append(scores.weighted([v for v, _ in pairs], [float(n) for _, n in pairs]))
    counts = bool(motion.told_runs(face, part))
    return Row(face.name + ("" if counts else " (not counted)"), tuple(cells), "{:.2f}")
