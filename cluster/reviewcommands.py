"""Subcommands of reviewers: what is wrong in a film that waits for them is changed, drawn again, and approved."""

import json
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from cluster import exits, records
from cluster.client.answers import Edit, Edits
from cluster.common import Jobs, Json, OneJob, on_farm
from cluster.config import UsageError
from cluster.jobcommands import each
from cluster.tables import table
from cluster.ways.way import Way


class Kind(StrEnum):
    """What an edit does."""

    FACE = "face"
    COVER = "cover"
    MERGE = "merge"
    SPLIT = "split"
    NO_FACE = "no_face"
    KEEP = "keep"
    BOX = "box"


Seen = Annotated[
    str | None, typer.Option(metavar="TAG", help="Only if the edits are still those of this tag, as `edits` shows it.")
]


@on_farm
def edits(
    farm: Way,
    job: OneJob,
    undo: Annotated[str | None, typer.Option(metavar="EDIT", help="Take this one back.")] = None,
    seen: Seen = None,
    as_json: Json = False,
) -> int:
    """Show what reviewers have changed in a film, in the order in which it holds."""
    (name,) = farm.choose([job])
    found = farm.edits(name)
    if undo is not None:
        fits = [made.id for made in found.edits if made.id.endswith(undo.upper())]
        if len(fits) != 1:
            why = "no edit's id ends so" if not fits else f"the ids of {len(fits)} edits end so"
            raise UsageError(f"which edit is {undo}?", why, "see: veilfarm edits JOB")
        found = farm.take_back(name, fits[0], seen if seen is not None else found.tag)
    return _tell(found, as_json)


@on_farm
def edit(
    farm: Way,
    job: OneJob,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="face, cover, merge, split, no_face, keep or box.")],
    person: Annotated[int | None, typer.Option(min=0, help="Whom, as `people` numbers them.")] = None,
    into: Annotated[int | None, typer.Option(min=0, help="Whose the merged tracks are from then on.")] = None,
    tracks: Annotated[list[int] | None, typer.Option(min=0, help="Tracks that become a person of their own.")] = None,
    track: Annotated[int | None, typer.Option(min=0, help="One track alone, instead of a person.")] = None,
    frame: Annotated[int | None, typer.Option(min=0, help="On which frame the box is.")] = None,
    box: Annotated[
        str | None,
        typer.Option(metavar="L,T,R,B", help="Pixels of the picture as it is shown: left, top, right, bottom."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the report. `keep` needs one.")] = "",
    seen: Seen = None,
    as_json: Json = False,
) -> int:
    """Change what becomes of somebody in a film that waits for review; `mend` renders it."""
    wish: dict[str, Any] = {
        "kind": kind.value,
        "person": person,
        "into": into,
        "tracks": tracks,
        "track": track,
        "frame": frame,
        "box": _box(box) if box is not None else None,
        "reason": reason,
    }
    (name,) = farm.choose([job])
    said = {field: value for field, value in wish.items() if value not in (None, "", [])}
    return _tell(farm.edit(name, said, seen), as_json)


def _box(text: str) -> list[float]:
    """Raises UsageError."""
    try:
        left, top, right, bottom = (float(each) for each in text.split(","))
    except ValueError as error:
        raise UsageError(f"--box {text} is no box", "it is four numbers, as in 10,20,90,120", "correct it") from error
    return [left, top, right, bottom]


def _tell(found: Edits, as_json: bool) -> int:
    if as_json:
        print(json.dumps(records.plain(found), indent=1, ensure_ascii=False))
        return exits.DONE
    lines = [
        (
            made.id[-8:],
            made.kind.replace("_", " "),
            _whom(made),
            made.who,
            time.strftime("%Y-%m-%d %H:%M", time.localtime(made.at)),
            "yes" if made.rendered else "no",
            made.reason,
        )
        for made in found.edits
    ]
    table(("edit", "what", "whom", "who", "when", "rendered", "reason"), lines)
    state = "; some aren't rendered yet: see veilfarm mend" if found.pending else ""
    print(f"tag {found.tag}{state}{'' if found.editable else '; nothing can be changed any more'}")
    return exits.DONE


def _whom(made: Edit) -> str:
    if made.box is not None:
        return f"frame {made.frame}, box {','.join(f'{side:g}' for side in made.box)}"
    if made.track is not None:
        return f"track {made.track}"
    if made.into is not None:
        return f"person {made.person} into {made.into}"
    return f"person {made.person}" + (f", tracks {', '.join(map(str, made.tracks))}" if made.tracks else "")


@on_farm
def mend(farm: Way, names: Jobs) -> int:
    """Render what was edited: those chunks only in which something changes."""
    return each(farm, names, lambda job: f"{job} {farm.mend(job).state}")


@on_farm
def approve(farm: Way, names: Jobs, seen: Seen = None) -> int:
    """Let films that wait for review be published as they are."""
    return each(farm, names, lambda job: f"{job} {farm.approve(job, seen).state}")


COMMANDS = (edits, edit, mend, approve)
