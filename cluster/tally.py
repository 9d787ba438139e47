"""What became of faces, counted: frames by treatment, as reports, the API and commands tell them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from cluster.job import TrackFacts

VISIBLE = ("kept", "no_face")  # treatments that leave a place as it is


@dataclass(frozen=True, slots=True)
class Tally:
    """Frames of some faces."""

    replaced: int
    kept: int  # a reviewer let it stay visible
    no_face: int  # a reviewer said that it is none
    why_covered: dict[str, int]  # by treatment

    @property
    def covered(self) -> int:
        """For whatever reason."""
        return sum(self.why_covered.values())


def tally(treatments: Iterable[Mapping[str, int]]) -> Tally:
    """All of them together; each is frames by treatment."""
    total: Counter[str] = Counter()
    for each in treatments:
        total.update(each)
    replaced, kept, no_face = (total.pop(name, 0) for name in ("replace", *VISIBLE))
    return Tally(replaced, kept, no_face, dict(sorted(total.items())))


class Shown(TypedDict):
    """What is told of a person's appearances, wherever it is told."""

    frames: int
    smallest: int
    largest: int
    replaced: int
    covered: int
    why_covered: dict[str, int]
    kept: int
    no_face: int


def shown(tracks: Sequence[TrackFacts]) -> Shown:
    """Of the tracks of one person; one at least."""
    counts = tally(track.treatments for track in tracks)
    return Shown(
        frames=sum(track.frames for track in tracks),
        smallest=min(track.smallest for track in tracks),
        largest=max(track.largest for track in tracks),
        replaced=counts.replaced,
        covered=counts.covered,
        why_covered=counts.why_covered,
        kept=counts.kept,
        no_face=counts.no_face,
    )
