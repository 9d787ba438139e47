"""Tables about photos: recognition, the adaptive attacker, groups of people."""

import math

import numpy as np
from privacy import attack, groups, instruments, reid, scores
from privacy.instruments import RECOGNISERS
from privacy.reid import Found, Known
from privacy.stills import MOODS, Shot, describe
from privacy.table import Goal, Row, table

from pipeline.detections import overlaps

MATCHES = Goal(0.005, "most", "{:.1%}")
FACES = Goal(0.98, "least", "{:.0%}")
LANDMARKS = Goal(0.04, "most", "{:.0%}")
ATTACK = Goal(0.05, "most", "{:.0%}")
ROLES = {"dlib": "dlib (the pipeline chooses with it)", "faceres": "faceres", "faceres with hair": "faceres, wider"}


def heading(gallery: Known, versions: dict[str, list[Shot]]) -> tuple[str, list[str]]:
    """Title and columns of `recognition`."""
    turns = max(s.turn for s in versions["veilfarm"]) + 1
    return f"Photos of {gallery.people} people, {turns} identities each", [*versions, "untouched"]


def recognition(
    originals: list[Shot], versions: dict[str, list[Shot]], gallery: Known
) -> tuple[list[Row], dict[str, dict[str, Found]]]:
    """Rows, and by version and recogniser what was found."""
    everything = {**versions, "untouched": originals}
    found = {name: reid.photos(shots, describe(shots), gallery) for name, shots in everything.items()}
    rank = Goal(2 / gallery.people, "most", "{:.1%}")
    rows = list[Row]()
    for name in RECOGNISERS:
        who = ROLES[name]
        mine = [found[v][name] for v in everything]
        rows.append(Row(f"{who}: known by another photo, FAR 0.1 %", tuple(f.matches for f in mine), "{:.2%}", MATCHES))
        # The same photo untouched is at distance 0.
        same = [f.same_photo for f in mine[:-1]] + [math.nan]
        rows.append(Row(f"{who}: by the very photo", tuple(same), "{:.2%}"))
        rows.append(Row(f"{who}: rank-1 of {gallery.people}", tuple(f.rank1 for f in mine), "{:.2%}", rank))
        low, high = zip(*(scores.interval(f.rank1, f.count) for f in mine), strict=True)
        spans = tuple(f"{a:.1%} to {b:.1%}" for a, b in zip(low, high, strict=True))
        rows.append(Row(f"{who}: rank-1, 95 % interval", spans))
        rows.append(
            Row(f"{who}: mean distance over the limit", tuple(float(f.distances.mean()) for f in mine), "{:.2f}")
        )
    rows.append(
        Row(
            "replaced, not covered",
            tuple(float(np.mean([s.replaced for s in v])) for v in everything.values()),
            "{:.1%}",
        )
    )
    kept = tuple(_kept(originals, shots) for shots in everything.values())
    if instruments.detector() is not None:
        rows.append(Row("faces still found (SCRFD)", kept, "{:.1%}", FACES))
    rows.append(
        Row("landmarks still found", tuple(float(np.mean([s.seen for s in v])) for v in everything.values()), "{:.1%}")
    )
    errors = tuple(float(np.mean(landmark_errors(originals, shots))) for shots in versions.values())
    rows.append(Row("landmark error, of the eye distance", (*errors, math.nan), "{:.2%}", LANDMARKS))
    return rows, found


def landmark_errors(originals: list[Shot], shots: list[Shot]) -> list[float]:
    """Of each shot, over the eye distance; NaN where no landmarks were found on it."""
    by_key = {(s.person, s.mood): s for s in originals}
    return [instruments.offset(by_key[s.person, s.mood].mesh, s.mesh) if s.seen else math.nan for s in shots]


def _kept(originals: list[Shot], shots: list[Shot]) -> float:
    """The share of the faces in the untouched photos that the independent detector finds at their place."""
    if instruments.detector() is None:
        return math.nan
    by_key = {(s.person, s.mood): instruments.bounds(s.mesh)[None] for s in originals}
    hits = []
    for shot in shots:
        boxes = instruments.found_faces(shot.picture)
        hits.append(bool(len(boxes)) and bool((overlaps(by_key[shot.person, shot.mood], boxes) >= 0.4).any()))
    return float(np.mean(hits))


def adaptive(originals: list[Shot], versions: dict[str, list[Shot]], folds: int) -> tuple[list[str], list[Row]]:
    """Columns and rows: rank-1 of the best attacker per thing shown."""
    columns, rows = [*versions, "untouched"], list[Row]()
    half = len({s.person for s in originals}) // 2
    for shown in attack.SHOWN:
        untouched = attack.seen(originals, shown)
        less = max(2, folds * 2 // 5)  # for what the goal isn't for
        turns = [folds if name == "veilfarm" else less for name in versions]
        pairs = zip(versions.values(), turns, strict=True)
        found = [attack.attack(attack.seen(shots, shown), untouched, n) for shots, n in pairs]
        found.append(attack.attack(untouched, untouched, less))
        # What lies outside the face isn't promised to be anonymous.
        goal = ATTACK if shown != "head" else None
        rows.append(Row(f"rank-1, shown the {shown}", tuple(max(f.values()) for f in found), "{:.1%}", goal))
        for name in ("network", "linear", "untrained"):
            rows.append(Row(f"... {name}", tuple(f[name] for f in found), "{:.1%}"))
    rows.append(Row("chance", tuple([1 / max(1, half)] * len(columns)), "{:.1%}"))
    return columns, rows


def by_group(originals: list[Shot], shots: list[Shot], found: dict[str, Found]) -> list[str]:
    """Lines of a table."""
    errors = landmark_errors(originals, shots)
    columns = ["people", *(f"{n}: matches" for n in RECOGNISERS), *(f"{n}: distance" for n in RECOGNISERS)]
    columns += ["landmark error", "replaced"]
    rows = []
    for g in groups.split(groups.people(originals), shots, found, errors):
        cells = [str(g.people), *(f"{m:.2%}" for m in g.matches), *(f"{d:.2f}" for d in g.distances)]
        rows.append(Row(g.name, (*cells, f"{g.landmarks:.2%}", f"{g.replaced:.1%}")))
    return table(f"The same by group ({len(MOODS)} photos a person; distances over the limit)", columns, rows)
