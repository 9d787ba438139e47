"""Is anyone served worse? The photos' figures by apparent sex, age and skin tone.

Sex and age are what a network that the pipeline doesn't know says of the untouched photo; skin tone is measured on it.
They are how people look to a machine, no facts about them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from privacy import instruments, scores
from privacy.instruments import RECOGNISERS
from privacy.reid import Found
from privacy.stills import MOODS, Shot

_LIGHT = ((41.0, "light (ITA > 41°)"), (28.0, "intermediate (28 to 41°)"), (10.0, "tan (10 to 28°)"))
_DARK = "brown and dark (< 10°)"


@dataclass(frozen=True, slots=True)
class Group:
    """One group of people."""

    name: str
    people: int
    probes: int
    matches: tuple[float, ...]  # by RECOGNISERS
    distances: tuple[float, ...]  # mean over the limit: below 1 is a match
    landmarks: float  # error over the eye distance
    replaced: float  # share of photos that were replaced, not covered


def people(originals: list[Shot]) -> dict[str, NDArray[np.bool_]]:
    """Who belongs to which group: by name, (people,)."""
    firsts = [s for s in originals if s.mood == MOODS[0]]
    male, age = instruments.apparent([s.view() for s in firsts])
    tone = np.array([instruments.skin(s.picture, s.mesh) for s in firsts])
    result = {"looks female": male < 0.5, "looks male": male >= 0.5}
    third = np.quantile(age, [1 / 3, 2 / 3])
    result[f"younger third (looks below {third[0]:.0f})"] = age < third[0]
    result["middle third"] = (age >= third[0]) & (age < third[1])
    result[f"older third (looks {third[1]:.0f} and more)"] = age >= third[1]
    rest = np.ones(len(firsts), bool)
    for limit, name in _LIGHT:
        result[name] = rest & (tone > limit)
        rest &= tone <= limit
    result[_DARK] = rest
    return result


def split(
    members: dict[str, NDArray[np.bool_]], shots: list[Shot], found: dict[str, Found], errors: list[float]
) -> list[Group]:
    """The figures of every group that has anybody; `errors` are the shots' landmark errors."""
    person = np.array([s.person for s in shots])
    replaced, error = np.array([s.replaced for s in shots]), np.array(errors)
    groups = [
        Group(
            "everyone", int(person.max()) + 1, len(shots), *_figures(found, np.ones(len(shots), bool), error, replaced)
        )
    ]
    for name, who in members.items():
        rows = who[person]
        if rows.any():
            groups.append(Group(name, int(who.sum()), int(rows.sum()), *_figures(found, rows, error, replaced)))
    return groups


def _figures(
    found: dict[str, Found], rows: NDArray[np.bool_], error: NDArray[np.floating], replaced: NDArray[np.bool_]
) -> tuple[tuple[float, ...], tuple[float, ...], float, float]:
    mine = [found[name].distances[rows] for name in RECOGNISERS]
    return (
        tuple(scores.matches(d, 1.0) for d in mine),
        tuple(float(d.mean()) for d in mine),
        float(error[rows].mean()),
        float(replaced[rows].mean()),
    )
