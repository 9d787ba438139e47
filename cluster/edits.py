"""Reviewers' edits of a job, as records in its folder. Every version of the list is a record of its own that can be
made only once: of two reviewers who change the same version, the second is refused, and nothing is ever lost. What a
job is rendered with is one of these versions (`Control.edits`), whatever is added meanwhile.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster import records
from cluster.job import LinkFacts, Step
from cluster.ledger import Ledger, Unit
from pipeline.edits import Edit, Kind, Standing, Stretch, settle
from pipeline.errors import EditRefused
from storage import layout
from storage.objects import AlreadyThere, NoSuchObject

MOST_EDITS = 500  # of one job
MOST_VERSIONS = 20_000
MOST_TOLD = 20  # changes since a version, in one answer


@dataclass(frozen=True, slots=True)
class EditList:
    """All edits that hold in one version, and who changed what to make it."""

    version: int  # 0: nothing was ever edited
    edits: tuple[Edit, ...] = ()
    at: float = 0.0  # Unix time
    who: str = ""
    what: str = ""  # one line
    approved: int | None = None  # somebody approved the film, when the job's control had this revision


class ChangedMeanwhile(Exception):
    """Somebody else was first. `since`: what was changed after the version that was seen."""

    def __init__(self, latest: EditList, since: tuple[EditList, ...]) -> None:
        super().__init__("; ".join(f"{each.who} {each.what}" for each in since) or "the list of edits has changed")
        self.latest, self.since = latest, since


class Edits:
    """The edits of one job, of what its last try at linking found."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        """Raises NoSuchObject before people were looked for."""
        done = ledger.done(Unit(Step.LINK))
        if done is None or not isinstance(done.facts, LinkFacts):
            raise NoSuchObject("nobody has looked yet who is in the film")
        self.linked, self.attempt = done.facts, done.attempt
        self._ledger, self._clock = ledger, clock

    def latest(self) -> EditList:
        """As it is now."""
        versions = self._ledger.store.keys(layout.edits(self._ledger.job_id, self.attempt))
        last = max((int(key.rpartition("/")[2].partition(".")[0]) for key in versions), default=0)
        return self.at(last)

    def at(self, version: int) -> EditList:
        """As it was in this version. Raises NoSuchObject."""
        if not version:
            return EditList(0)
        return records.loads(EditList, self._ledger.store.read(self._key(version)))

    def _key(self, version: int) -> str:
        return layout.edit_list(self._ledger.job_id, self.attempt, version)

    def tag(self, version: int) -> str:
        """What names the version over all that was ever linked."""
        return f"{self.attempt[-8:]}.{version}"

    def expect(self, tag: str) -> EditList:
        """The latest list, if that is the one that was seen. Raises ChangedMeanwhile."""
        latest = self.latest()
        if tag != self.tag(latest.version):
            raise ChangedMeanwhile(latest, self._since(tag, latest))
        return latest

    def _since(self, tag: str, latest: EditList) -> tuple[EditList, ...]:
        attempt, _, number = tag.rpartition(".")
        if attempt != self.attempt[-8:] or not number.isdecimal() or int(number) >= latest.version:
            return ()
        first = max(int(number) + 1, latest.version - MOST_TOLD + 1)
        return tuple(self.at(version) for version in range(first, latest.version + 1))

    def write(
        self, seen: EditList, edits: tuple[Edit, ...], who: str, what: str, approved: int | None = None
    ) -> EditList:
        """Make the version after the one that was seen. Raises ChangedMeanwhile, EditRefused."""
        if len(edits) > MOST_EDITS or seen.version >= MOST_VERSIONS:
            raise EditRefused(f"a job has at most {MOST_EDITS} edits", "", "render these and submit the film again")
        new = EditList(seen.version + 1, edits, self._clock(), who, what, approved)
        try:
            self._ledger.store.create(self._key(new.version), records.dumps(new))
        except AlreadyThere:
            latest = self.latest()
            if latest == new:
                return new  # one's own write, whose answer was lost
            raise ChangedMeanwhile(latest, self._since(self.tag(seen.version), latest)) from None
        return new

    def numbered(self, edit: Edit, seen: EditList) -> Edit:
        """With the number of whom it makes: one that no other version has given."""
        if edit.kind not in (Kind.SPLIT, Kind.BOX):
            return edit
        beyond = 1 + max((track.id for track in self.linked.tracks), default=-1)
        return dataclasses.replace(edit, made=max(beyond, self.linked.people) + seen.version)

    def standing(self, edits: Iterable[Edit], frames: tuple[int, int] | None = None, rate: float = 0.0) -> Standing:
        """Who is who once these hold. Raises EditRefused."""
        return settle(stretches(self.linked), tuple(edits), frames, rate)


def mended_before(ledger: Ledger, edits: int) -> Path | None:
    """The files of the latest version before `edits` that was applied; None where none was."""
    folder = layout.work(ledger.job_id)[1]
    versions = [name.partition(".")[2] for name in ledger.store.children(folder) if name.startswith(f"{Step.MEND}.")]
    for version in sorted((int(v) for v in versions if v.isdecimal() and int(v) < edits), reverse=True):
        unit = ledger.unit(Step.MEND, None, version)
        if ledger.done(unit) is not None:
            return ledger.folder(unit)
    return None


def stretches(linked: LinkFacts) -> list[Stretch]:
    """The tracks, between their first and last sight where that is known."""
    return [Stretch(t.id, t.person, *(t.seen if t.seen != (0, 0) else (t.first, t.last))) for t in linked.tracks]


def told(edit: Edit) -> str:
    """One line for a person."""
    whom = f"track {edit.track}" if edit.track is not None else f"person {edit.person}"
    return {
        Kind.FACE: f"gave {whom} another face",
        Kind.COVER: f"had {whom} covered",
        Kind.MERGE: f"took {whom} for person {edit.into}",
        Kind.SPLIT: f"made tracks {', '.join(map(str, edit.tracks))} of {whom} a person of their own",
        Kind.NO_FACE: f"said that {whom} is no face",
        Kind.KEEP: f"let {whom} stay visible: {edit.reason}",
        Kind.BOX: f"drew a box at frame {edit.frame}",
    }[edit.kind]
