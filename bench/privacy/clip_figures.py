"""Tables about clips."""

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from privacy import alive, films, instruments, motion, reid, scores
from privacy.instruments import RECOGNISERS
from privacy.motion import Face, Measured
from privacy.photo_figures import FACES, LANDMARKS, MATCHES, ROLES
from privacy.reid import Known
from privacy.stills import PEERS
from privacy.table import Goal, Row, table

COLUMNS = ["veilfarm", "untouched or encoded again", "worst clip"]
PEER_CLIPS = ("grid_bbaf2n.mpg", "pyfeat_single_face.mp4")
_LIVELY = Goal(0.9, "least", "{:.2f}")
_OVER_TIME = Goal(0.97, "least", "{:.2f}")
_STEADY = Goal(0.85, "least", "{:.2f}")
_FLICKER = Goal(1.15, "most", "{:.2f}")
Figure = Callable[[list[Measured], str], float]
Which = Callable[[list[tuple[float, str]]], tuple[float, str]]


def rows(measured: list[Measured], gallery: Known) -> list[Row]:
    """All clips together; every face-frame counts the same."""
    return [
        *_recognised(measured, gallery),
        *_detected(measured),
        *_moved(measured),
        *(row for name in RECOGNISERS for row in _steady(measured, name)),
        *_looks(measured),
    ]


def _recognised(measured: list[Measured], gallery: Known) -> list[Row]:
    output, source = (reid.frames(measured, film, gallery) for film in ("output", "source"))
    rank = Goal(2 / (gallery.people + 1), "most", "{:.1%}")
    found = [Row("face-frames that recognisers looked at", (str(output.count), "", ""))]
    for name in RECOGNISERS:
        who = ROLES[name]
        per_clip = [(reid.frames([m], "output", gallery).matches[name], m.name) for m in measured]
        known = output.matches[name], source.matches[name], _worst(per_clip, max)
        found.append(Row(f"{who}: known by frames of the clip's other half, FAR 0.1 %", known, "{:.1%}", MATCHES))
        ranks = output.rank1[name], source.rank1[name], ""
        found.append(Row(f"{who}: rank-1 of {gallery.people + 1}", ranks, "{:.1%}", rank))
    return found


def _detected(measured: list[Measured]) -> list[Row]:
    names = ("seen", "kept", "seen_replaced", "kept_replaced", "replaced", "covered")
    total = {n: sum(getattr(m, n) for m in measured) for n in names}
    shown, lost = _shown(measured)
    whole = total["replaced"] + total["covered"]
    found = [Row("face-frames replaced, not covered", (_share(total["replaced"], whole), "", ""), "{:.1%}")]
    if instruments.detector() is not None:
        for end, title in (("", "faces still found (SCRFD), of all"), ("_replaced", "... of those that are replaced")):
            kept, seen = f"kept{end}", f"seen{end}"
            per_clip = [(_share(getattr(m, kept), getattr(m, seen)), m.name) for m in measured]
            values = _share(total[kept], total[seen]), "", _worst(per_clip, min)
            found.append(Row(title, values, "{:.1%}", FACES))
    found.append(Row("landmarks still found, of replaced faces", (_share(shown, shown + lost), "", ""), "{:.1%}"))
    return found


def _moved(measured: list[Measured]) -> list[Row]:
    found = list[Row]()
    for title, figure, goal in (
        ("landmark error, of the eye distance", motion.landmark_error, LANDMARKS),
        ("... of movement: without what is constant in a track", motion.moving_error, None),
    ):
        found.append(_of_films(title, measured, partial(_mean, figure), max, "{:.2%}", goal))
    for title, part, goal in (
        ("landmarks, correlation over time", "landmarks", _OVER_TIME),
        ("... without the head's own movement", "shape", None),
        ("mouth opening, correlation", "mouth", _LIVELY),
        ("lids, correlation", "lids", _LIVELY),
        ("gaze, correlation", "iris", None),
    ):
        found.append(_of_films(title, measured, partial(_over_time, part), min, "{:.3f}", goal))
        if goal is _LIVELY:
            worst = _worst([(_in_a_mirror(part, [m]), m.name) for m in measured], min, "{:.3f}")
            found.append(Row("... of the source with itself, in a mirror", ("", _in_a_mirror(part, measured), worst)))
    title = "gaze, error of movement, of the eye's width"
    found.append(_of_films(title, measured, partial(_mean, motion.gaze_error), max, "{:.2%}"))
    found.append(_of_films("blinks: frames agreed on", measured, _blinks, min, "{:.1%}"))
    return found


def _of_films(
    title: str, measured: list[Measured], figure: Figure, which: Which, form: str, goal: Goal | None = None
) -> Row:
    """Output, second encoding, and the clip that is worst."""
    worst = _worst([(figure([m], "output"), m.name) for m in measured], which, form)
    return Row(title, (figure(measured, "output"), figure(measured, "control"), worst), form, goal)


def _steady(measured: list[Measured], name: str) -> list[Row]:
    output, source = (reid.steadiness(measured, film, name) for film in ("output", "source"))
    inside = output[0], source[0], f"{output[2]:.3f}"
    return [
        Row(f"{ROLES[name]}: likeness inside a track", inside, "{:.3f}", _STEADY),
        Row("... across the chunks of a track", (output[1], source[1], ""), "{:.3f}", _STEADY),
    ]


def _looks(measured: list[Measured]) -> list[Row]:
    count = max(1, sum(m.samples for m in measured))
    noise = tuple(scores.psnr(sum(getattr(m, n) for m in measured) / count) for n in ("error", "error_control"))
    return [
        _of_films("flicker, of the source's", measured, _flicker, max, "{:.2f}", _FLICKER),
        Row("PSNR outside the faces, dB", (*noise, ""), "{:.1f}"),
    ]


def _shown(measured: list[Measured]) -> tuple[int, int]:
    """Face-frames with landmarks in the output, and without, of those that have them in the source."""
    faces = [f for m in measured for f in (*m.faces, *m.blank)]
    return sum(len(f.frames) for f in faces), sum(f.lost for f in faces)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _faces(measured: list[Measured]) -> list[Face]:
    return [f for m in measured for f in m.faces]


def _mean(figure: Callable[[Face, str], float], measured: list[Measured], film: str) -> float:
    faces = _faces(measured)
    return scores.weighted([figure(f, film) for f in faces], [float(len(f.frames)) for f in faces])


def _over_time(part: str, measured: list[Measured], film: str) -> float:
    return _mean_of([pair for f in _faces(measured) for pair in motion.over_time(f, film, part)])


def _in_a_mirror(part: str, measured: list[Measured]) -> float:
    return _mean_of([pair for f in _faces(measured) for pair in alive.mirrored(f, part)])


def _mean_of(pairs: list[tuple[float, int]]) -> float:
    """The mean of values with the lengths of their runs."""
    return scores.weighted([v for v, _ in pairs], [float(n) for _, n in pairs])


def _flicker(measured: list[Measured], film: str) -> float:
    faces = _faces(measured)
    lengths = [float(len(f.frames)) for f in faces]
    own, source = (scores.weighted([motion.flicker(f, n) for f in faces], lengths) for n in (film, "source"))
    return own / source if source else math.nan


def _blinks(measured: list[Measured], film: str) -> float:
    found = [motion.blinks(f, film) for f in _faces(measured)]
    return _share(sum(agreed for agreed, _ in found), sum(either for _, either in found))


def _worst(found: list[tuple[float, str]], which: Which, form: str = "{:.1%}") -> str:
    numbers = [pair for pair in found if math.isfinite(pair[0])]
    if not numbers:
        return ""
    value, name = which(numbers)
    return f"{form.format(value)}, {name}"


def each(measured: list[Measured], gallery: Known) -> list[str]:
    """Lines of a table with a row per clip."""
    columns = ["faces replaced", "found", *(f"{n}: known" for n in RECOGNISERS)]
    columns += ["landmark error", "movement", "landmarks", "mouth", "lids", "gaze", "flicker"]
    made = []
    for m in measured:
        known = reid.frames([m], "output", gallery)
        parts = [_over_time(p, [m], "output") for p in ("landmarks", "mouth", "lids", "iris")]
        cells: list[float | str] = [f"{m.replaced} of {m.replaced + m.covered}", f"{m.kept} of {m.seen}"]
        cells += ["-" if math.isnan(v) else f"{v:.1%}" for v in known.matches.values()]
        cells += [_percent(_mean(figure, [m], "output")) for figure in (motion.landmark_error, motion.moving_error)]
        made.append(Row(m.name, (*cells, *parts, _flicker([m], "output"))))
    return table("Clip by clip", columns, made)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1%}"


def peers(names: list[str], most: int, gallery: Known) -> list[str]:
    """deface beside Veilfarm on a few clips: what there is to be measured on a covered face."""
    columns, cells = list[str](), list[list[float | str]]()
    for kind in ("veilfarm", *PEERS):
        measured = [motion.measure(_peer(films.prepared(n, most=most), kind)) for n in names]
        known = reid.frames(measured, "output", gallery)
        shown, lost = _shown(measured)
        columns.append(kind)
        column: list[float | str] = [
            _percent(_share(sum(m.kept for m in measured), sum(m.seen for m in measured))),
            _percent(_share(shown, shown + lost)), _percent(_mean(motion.landmark_error, measured, "output")),
        ]  # fmt: skip
        values = [_over_time(p, measured, "output") for p in ("landmarks", "mouth", "lids")]
        column += ["-" if math.isnan(v) else f"{v:.3f}" for v in values]
        column += [_percent(v) for v in known.matches.values()]
        cells.append(column)
    titles = ["faces still found (SCRFD)", "landmarks still found", "landmark error, where found"]
    titles += ["landmarks, correlation over time", "mouth opening, correlation", "lids, correlation"]
    titles += [f"{n}: frames known" for n in RECOGNISERS]
    made = [Row(title, tuple(c[k] for c in cells)) for k, title in enumerate(titles)]
    return table("deface beside it, on " + ", ".join(names), columns, made)


def _peer(clip: films.Clip, kind: str) -> films.Clip:
    if kind not in PEERS:
        return clip
    target = clip.control.with_name(f"{kind.replace(' ', '_')}.mp4")
    if not target.exists():
        command = [str(Path(sys.executable).parent / "deface"), str(clip.info.source), "-o", str(target), *PEERS[kind]]
        subprocess.run(command, check=True, capture_output=True)
    return dataclasses.replace(clip, segments=(target,))
