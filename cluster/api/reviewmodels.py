"""What reviewers send and see. Nothing that goes in has room for a face, here either."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from cluster.api.models import JOB, In
from pipeline.edits import NEEDS, Edit, Kind, Mark

Number = Annotated[int, Field(ge=0, le=1_000_000_000)]
Pixel = Annotated[float, Field(ge=-100_000, le=100_000, allow_inf_nan=False)]
Reason = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
EDIT = JOB


class NewEdit(In):
    """One change to who is in the film and what becomes of them. Which fields it needs, and takes, follows from `kind`:
    `face` and `cover`: person; `merge`: person, into; `split`: person, tracks; `no_face` and `keep`: one of person and
    track; `keep` a reason besides; `box`: frame, box. A reason may stand on any."""

    kind: Kind
    person: Number | None = Field(None, description="Number of a person, as GET people has it.")
    into: Number | None = Field(None, description="Whose the merged tracks are from then on.")
    tracks: list[Number] = Field(default=[], max_length=1000, description="Those that become a person of their own.")
    track: Number | None = Field(None, description="One track alone.")
    frame: Number | None = Field(None, description="Number of the film's frame, from 0.")
    box: tuple[Pixel, Pixel, Pixel, Pixel] | None = Field(
        None, description="Left, top, right, bottom, in pixels of the picture as it is shown upright."
    )
    reason: Reason = Field("", description="Why; it stands in the report.")

    @model_validator(mode="after")
    def _fits(self) -> "NewEdit":
        given = {name for name in ("person", "into", "track", "frame", "box") if getattr(self, name) is not None}
        given |= {"tracks"} if self.tracks else set()
        needs = set(NEEDS[self.kind]) - {"reason"}
        if "target" in needs:
            needs = (needs - {"target"}) | ({"track"} if self.track is not None else {"person"})
        if given != needs:
            raise ValueError(f"{self.kind} takes {', '.join(sorted(needs))}; got {', '.join(sorted(given)) or 'none'}")
        if self.kind is Kind.KEEP and not self.reason.strip():
            raise ValueError("a face stays visible for a reason only: say why")
        if self.box is not None and not (self.box[2] - self.box[0] >= 2 and self.box[3] - self.box[1] >= 2):
            raise ValueError("a box is left, top, right, bottom, and at least 2 pixels wide and high")
        return self


class EditOut(BaseModel):
    """One edit that holds."""

    id: str
    kind: Kind
    who: str
    at: float
    person: int | None
    into: int | None
    tracks: list[int]
    track: int | None
    frame: int | None
    box: tuple[float, float, float, float] | None
    reason: str
    made: int | None = Field(description="Number of the person that a `split` or a `box` makes.")
    rendered: bool = Field(description="Whether the film is rendered with it, or is being so.")


class EditsOut(BaseModel):
    """All edits that hold. The ETag of the answer names the version."""

    version: int = Field(description="Counts changes; 0: nothing was ever edited.")
    rendered: int = Field(description="The version that the film is rendered with, or is being rendered with.")
    pending: bool = Field(description="Whether something is to be rendered before the film can be approved.")
    editable: bool = Field(description="Whether edits are taken now.")
    until: float | None = Field(description="When a held job is cancelled that nobody approves; null: it isn't held.")
    edits: list[EditOut]


class TrackOut(BaseModel):
    """One face over a stretch of frames."""

    id: int
    first: int = Field(description="Frame number of the film; half-open with `last`.")
    last: int
    frames: int
    smallest: int = Field(description="Longer side of its box in pixels.")
    largest: int
    treatments: dict[str, int]
    best: int = Field(-1, description="The frame that shows it best; -1: not known.")
    mark: Mark | None = Field(None, description="What a reviewer chose for it.")
    edits: list[str] = Field(default=[], description="Ids of the edits that touched it.")


class PersonOut(BaseModel):
    """Somebody in the film: a number, and the public id of the face that they got."""

    person: int
    identity: str | None
    frames: int
    smallest: int
    largest: int
    replaced: int
    covered: int
    why_covered: dict[str, int]
    kept: int = Field(description="Frames on which the face stays visible, as a reviewer wanted.")
    no_face: int = Field(description="Frames of tracks that are no face, as a reviewer said.")
    mark: Mark | Literal["mixed"] | None = Field(description="What reviewers chose for the tracks.")
    drawn: bool = Field(description="A box that a reviewer drew, and not found by itself.")
    pending: bool = Field(description="An edit of them isn't rendered yet: the counts are from before it.")
    edits: list[str] = Field(description="Ids of the edits that made them what they are.")
    tracks: list[TrackOut]


def edit_out(edit: Edit, rendered: frozenset[str]) -> EditOut:
    """For people."""
    return EditOut(
        id=edit.id,
        kind=edit.kind,
        who=edit.who,
        at=edit.at,
        person=edit.person,
        into=edit.into,
        tracks=list(edit.tracks),
        track=edit.track,
        frame=edit.frame,
        box=edit.box,
        reason=edit.reason,
        made=edit.made,
        rendered=edit.id in rendered,
    )
