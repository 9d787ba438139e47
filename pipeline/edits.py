"""What reviewers change in what was found in a film: a list of edits, and who is who once they hold.

No pictures and no arrays, so that a request can be checked where it comes in. An edit names people and tracks by
number, a place by a box; a face comes from a seed, here as everywhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.errors import EditRefused


class Kind(StrEnum):
    """What an edit does."""

    FACE = "face"  # a person gets another face of nobody: the next that the seed draws
    COVER = "cover"  # a person is covered instead
    MERGE = "merge"  # a person's tracks are another's
    SPLIT = "split"  # some of a person's tracks are a person of their own
    NO_FACE = "no_face"  # a track, or all of a person's, is no face: it is left alone
    KEEP = "keep"  # a track, or all of a person's, stays visible, for a reason
    BOX = "box"  # a face that was missed: followed from one frame, and covered


NEEDS: dict[Kind, frozenset[str]] = {
    Kind.FACE: frozenset({"person"}),
    Kind.COVER: frozenset({"person"}),
    Kind.MERGE: frozenset({"person", "into"}),
    Kind.SPLIT: frozenset({"person", "tracks"}),
    Kind.NO_FACE: frozenset({"target"}),  # one of person and track
    Kind.KEEP: frozenset({"target", "reason"}),
    Kind.BOX: frozenset({"frame", "box"}),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """One change by a reviewer. What its kind has no use for is None or empty."""

    id: str
    kind: Kind
    who: str  # the reviewer
    at: float  # Unix time
    person: int | None = None
    into: int | None = None
    tracks: tuple[int, ...] = ()
    track: int | None = None
    frame: int | None = None  # of the film, from 0
    box: tuple[float, float, float, float] | None = None  # xyxy px of the picture as it is shown
    reason: str = ""
    made: int | None = None  # the number of the person that SPLIT makes, or of the person and the track of a BOX


class Mark(StrEnum):
    """What a track is to be, whatever was chosen by itself."""

    COVER = "cover"
    KEEP = "keep"
    NO_FACE = "no_face"


_MARKS = {Kind.COVER: Mark.COVER, Kind.KEEP: Mark.KEEP, Kind.NO_FACE: Mark.NO_FACE}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A track, as far as edits are concerned."""

    id: int
    person: int
    first: int  # frames [first, last) between its first and its last sight
    last: int


@dataclass(slots=True)
class Fate:
    """Whose a track is by now, and what becomes of it."""

    person: int
    mark: Mark | None = None
    edits: list[str] = field(default_factory=list)  # ids of those that touched it


@dataclass(slots=True)
class Standing:
    """Who is who, once all edits hold."""

    tracks: dict[int, Fate]
    boxes: dict[int, Edit] = field(default_factory=dict)  # by track: those that people drew
    edits: dict[int, list[str]] = field(default_factory=dict)  # ids by person

    def of(self, person: int) -> list[int]:
        """Their tracks, in order."""
        return sorted(track for track, fate in self.tracks.items() if fate.person == person)

    def people(self) -> list[int]:
        """The numbers of all who have a track, in order."""
        return sorted({fate.person for fate in self.tracks.values()})


class Settling:
    """Lets edits hold one after the other."""

    def __init__(self, tracks: Iterable[Stretch], frames: tuple[int, int] | None = None, rate: float = 0.0) -> None:
        """`frames`: [first, last) of the output; `rate`: frames per second, for telling times."""
        self._spans = {each.id: each for each in tracks}
        self._frames, self._rate = frames, rate
        self.standing = Standing({each.id: Fate(each.person) for each in self._spans.values()})

    def apply(self, edit: Edit) -> None:
        """The next one. Raises EditRefused when it can't hold."""
        standing = self.standing
        if edit.kind is Kind.BOX:
            _box(standing, self._spans, edit, self._frames)
            return
        touched = _touched(standing, edit)
        if edit.kind is Kind.KEEP and not edit.reason.strip():
            raise EditRefused("a face stays visible for a reason only", "the reason is empty", "say why")
        if edit.kind is Kind.MERGE:
            _check_apart(standing, self._spans, edit, self._rate)
        about = {edit.person, edit.into, *(standing.tracks[t].person for t in touched)} - {None}
        for track in touched:
            _change(standing.tracks[track], edit)
        for person in about | ({edit.made} if edit.kind is Kind.SPLIT else set()):
            assert person is not None
            standing.edits.setdefault(person, []).append(edit.id)
        if edit.kind is Kind.MERGE and edit.person is not None and edit.into is not None:
            both = [*standing.edits.get(edit.into, []), *standing.edits.pop(edit.person, [])]
            standing.edits[edit.into] = list(dict.fromkeys(both))


def settle(
    tracks: Iterable[Stretch], edits: Iterable[Edit], frames: tuple[int, int] | None = None, rate: float = 0.0
) -> Standing:
    """Who is who once all edits hold; see Settling. Raises EditRefused for the first that can't."""
    settling = Settling(tracks, frames, rate)
    for edit in edits:
        settling.apply(edit)
    return settling.standing


def _change(fate: Fate, edit: Edit) -> None:
    fate.edits.append(edit.id)
    if edit.kind is Kind.MERGE:
        assert edit.into is not None
        fate.person = edit.into
    elif edit.kind is Kind.SPLIT:
        assert edit.made is not None
        fate.person = edit.made
    elif edit.kind is Kind.FACE:
        fate.mark = None if fate.mark is Mark.COVER else fate.mark
    else:
        fate.mark = _MARKS[edit.kind]


def _touched(standing: Standing, edit: Edit) -> list[int]:
    """The tracks that it is about. Raises EditRefused for a person or a track that isn't there."""
    if edit.track is not None:
        if edit.track not in standing.tracks:
            raise EditRefused(f"there is no track {edit.track}", "", "look at the people of the job again")
        return [edit.track]
    if edit.person is None:
        raise EditRefused(f"an edit of the kind {edit.kind} needs a person", "", "give its number")
    own = standing.of(edit.person)
    if not own:
        raise EditRefused(f"there is no person {edit.person}", "", "look at the people of the job again")
    if edit.kind is not Kind.SPLIT:
        return own
    chosen = sorted(set(edit.tracks))
    if not chosen or not set(chosen) <= set(own):
        what = f"not all of the tracks {', '.join(map(str, chosen))} are of person {edit.person}"
        raise EditRefused(what if chosen else "no track was given", "", "give some of their tracks")
    if chosen == own:
        raise EditRefused(f"these are all tracks of person {edit.person}", "", "leave them one at least")
    return chosen


def _check_apart(standing: Standing, spans: dict[int, Stretch], edit: Edit, rate: float) -> None:
    """Nobody is in two places. Raises EditRefused for two people who are seen at the same time."""
    assert edit.into is not None
    if edit.into == edit.person:
        raise EditRefused(f"person {edit.person} can't become themselves", "", "give another one")
    if not standing.of(edit.into):
        raise EditRefused(f"there is no person {edit.into}", "", "look at the people of the job again")
    assert edit.person is not None
    mine, theirs = (
        [spans[t] for t in standing.of(p) if t in spans and standing.tracks[t].mark is not Mark.NO_FACE]
        for p in (edit.person, edit.into)
    )
    for a in mine:
        for b in theirs:
            first, last = max(a.first, b.first), min(a.last, b.last)
            if first < last:
                when = f"frames {first} to {last - 1}"
                if rate > 0:
                    when = f"{first / rate:.2f} s to {last / rate:.2f} s ({when})"
                raise EditRefused(
                    f"person {edit.person} and person {edit.into} are seen at the same time",
                    f"both at {when}",
                    "they can't be one; split first what doesn't belong to them",
                )


def _box(standing: Standing, spans: dict[int, Stretch], edit: Edit, frames: tuple[int, int] | None) -> None:
    assert edit.frame is not None
    assert edit.box is not None
    assert edit.made is not None
    if frames is not None and not frames[0] <= edit.frame < frames[1]:
        why = f"the output has the frames {frames[0]} to {frames[1] - 1}"
        raise EditRefused(f"frame {edit.frame} is outside of the film", why, "choose another frame")
    standing.tracks[edit.made] = Fate(edit.made, Mark.COVER, [edit.id])
    standing.boxes[edit.made] = edit
    standing.edits[edit.made] = [edit.id]
    spans[edit.made] = Stretch(edit.made, edit.made, edit.frame, edit.frame + 1)


def turned(
    box: tuple[float, float, float, float], width: int, height: int, rotation: int
) -> tuple[float, float, float, float]:
    """A box of the picture as it is shown, in the coded picture of `width` x `height`, which a player turns by
    `rotation` degrees clockwise."""
    x0, y0, x1, y1 = box
    if rotation == 90:  # shown (x, y) was at (y, height - x)
        return y0, height - x1, y1, height - x0
    if rotation == 180:
        return width - x1, height - y1, width - x0, height - y0
    if rotation == 270:
        return width - y1, x0, width - y0, x1
    return box
