"""What goes in and out, as the OpenAPI document shows it. Nothing that goes in has room for a face: see the test of the
first promise."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cluster import records
from cluster.account import Progress
from cluster.job import Veil
from cluster.jobindex import Row
from cluster.states import JobState
from cluster.users import NAME, Role, Token, User

JOB = r"^[0-9A-HJKMNP-TV-Z]{26}$"
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Place = Annotated[str, StringConstraints(max_length=1024)]
Time = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False, description="Unix time in seconds.")]
Priority = Annotated[int, Field(ge=-1000, le=1000, description="More goes first.")]
Limit = Annotated[int, Field(ge=1, le=1_000_000, description="Most workers at once; null: no limit.")]
UserName = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
Team = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9_.\-]{0,62})?$")]
Label = Annotated[str, StringConstraints(max_length=100, pattern=_PRINTABLE)]


class In(BaseModel):
    """What comes in has no unknown fields."""

    model_config = ConfigDict(extra="forbid")


class NewJob(In):
    """A film and how it is to be done. Give one of `upload` and `source`."""

    upload: Annotated[str, StringConstraints(pattern=JOB)] | None = Field(None, description="Id of an upload.")
    source: Place | None = Field(None, description="`s3://BUCKET/KEY` or an absolute path, in an allowed place.")
    job: Annotated[str, StringConstraints(pattern=JOB)] | None = Field(
        None, description="Id that the job shall have. Asked for again, and in the same way, it is the same job."
    )
    name: Annotated[str, StringConstraints(max_length=200, pattern=_PRINTABLE)] = Field(
        "", description="What the film is called, with an extension. Empty: as its file."
    )
    to: Place = Field("", description="A film, or a folder that ends with `/`, in an allowed place. Empty: the store.")
    veil: Veil = Veil.NOBODY
    quality: Annotated[str, StringConstraints(max_length=40)] = Field("good", description="As `--quality`.")
    codec: Literal["h264", "hevc", "av1"] | None = None
    drop_dynamic_hdr: bool = Field(False, description="As `--drop-dynamic-hdr`.")
    convert_audio: bool = Field(False, description="As `--convert-audio`.")
    convert_subtitles: bool = Field(False, description="As `--convert-subtitles`.")
    copy_clean: bool = Field(False, description="As `--copy-clean`.")
    start: Annotated[str, StringConstraints(max_length=40)] | None = Field(None, description="As `--from`.")
    stop: Annotated[str, StringConstraints(max_length=40)] | None = Field(None, description="As `--until`.")
    device: Literal["any", "cpu", "cuda"] = "any"
    overwrite: bool = False
    priority: Priority = 0
    limit: Limit | None = None
    deadline: Time | None = None
    after: list[Annotated[str, StringConstraints(pattern=JOB)]] = Field(
        default=[], max_length=100, description="Jobs that must be done first."
    )
    review: bool = Field(False, description="Whether a reviewer has to approve the film before it is published.")


class JobChange(In):
    """What shall be otherwise. What is left out stays."""

    priority: Priority | None = None
    limit: Limit | None = None
    deadline: Time | None = None


class ProgressOut(BaseModel):
    """How far the step is that is being worked on."""

    step: str
    done: int
    total: int = Field(description="Frames, or 1 for a step without; 0 while not known.")
    seconds: float
    fps: float
    eta: float | None = Field(description="Seconds to the end of the step.")
    left: float | None = Field(description="Seconds to the end of the job, about; null while nobody knows.")
    cost: float | None = Field(description="Worker seconds that the job takes in all, about; null while nobody knows.")


class JobOut(BaseModel):
    """A job."""

    job: str
    name: str
    owner: str
    team: str
    state: JobState
    reason: str
    since: float = Field(description="Unix time of the last change of state.")
    submitted: float
    priority: int
    limit: int | None
    deadline: float | None
    round: int = Field(description="Retries begin a new one.")
    after: list[str]
    review: bool = Field(description="A reviewer has to approve the film before it is published.")
    approved: bool
    edits: int = Field(description="Version of the reviewers' edits that it is rendered with; 0: none.")
    progress: ProgressOut | None


class JobList(BaseModel):
    """Part of a list, the newest first."""

    jobs: list[JobOut]
    next: str | None = Field(description="`cursor` of the next page; null: this is the last.")
    total: int = Field(description="Of all pages.")
    complete: bool = Field(description="False while the farm, just started, still reads its store.")


class ResultOut(BaseModel):
    """How the job ended."""

    state: JobState
    reason: str
    ended: float
    film: bool = Field(description="Whether there is a film to fetch.")
    frames: int
    worker_seconds: float
    people: int
    bytes: int
    erased: int | None = Field(description="Work objects that showed or measured faces, deleted at the end.")


class JobDetail(JobOut):
    """A job, with what was asked for and how it ended."""

    source: str
    source_bytes: int
    target: str
    settings: dict[str, Any]
    frame_rate: float | None = Field(description="Frames a second of the film, on average; null while nobody knows.")
    result: ResultOut | None


class EntryOut(BaseModel):
    """A line of a job's history."""

    at: float
    who: str
    what: str
    state: JobState | None
    cause: str


class UnitOut(BaseModel):
    """A step of the film, or of one chunk."""

    step: str
    chunk: int | None
    edited: bool = Field(description="Made again, since a reviewer's edit changed it.")
    frames: int | None = Field(description="Of the chunk.")
    done: bool
    worker: str
    seconds: float


class LogOut(BaseModel):
    """What one try at a unit said."""

    step: str
    chunk: int | None
    attempt: str
    lines: list[dict[str, Any]]


class FindingOut(BaseModel):
    """What the leak gate and the renderer found in one chunk."""

    chunk: int
    first: int
    last: int
    leaks: int = Field(description="Places that the gate found in a first rendering, and that are covered in this one.")
    failures: dict[str, int] = Field(description="Face frames that were covered since replacing failed, by error.")


class Findings(BaseModel):
    """Chunks in which something was found."""

    findings: list[FindingOut]
    looked: int = Field(description="Chunks that are rendered.")
    chunks: int


class Link(BaseModel):
    """A URL that anybody may use for a while: a secret."""

    url: str
    expires: float


class UploadOut(BaseModel):
    """A film that is being brought."""

    id: str
    name: str
    length: int
    offset: int
    complete: bool
    expires: float
    job: str | None


class WorkerOut(BaseModel):
    """A worker, as the controller saw it lately."""

    name: str
    device: str
    state: str
    job: str
    unit: str
    frames: int
    fps: float
    why: str


class Workers(BaseModel):
    """All of them."""

    at: float | None = Field(description="When the controller looked; null: none has yet.")
    controller: str
    workers: list[WorkerOut]


class StoreFinding(BaseModel):
    """One thing that was tried with the store."""

    name: str
    verdict: str
    meaning: str


class StoreHealth(BaseModel):
    """What `veilfarm doctor` would say."""

    at: float
    usable: bool
    findings: list[StoreFinding]


class Ready(BaseModel):
    """Whether the farm can work."""

    ready: bool
    index: bool = Field(description="All jobs are known.")
    store: bool = Field(description="The store answers.")
    leads: bool = Field(description="This process' controller leads; another may.")


class NewUser(In):
    """Somebody who shall use the farm."""

    name: UserName
    role: Role
    team: Team = ""


class UserChange(In):
    """What shall be otherwise. What is left out stays."""

    role: Role | None = None
    team: Team | None = None
    disabled: bool | None = None


class UserOut(BaseModel):
    """Somebody who uses the farm."""

    name: str
    role: Role
    team: str
    made: float
    disabled: bool


class NewToken(In):
    """What the token is for, and for how long."""

    label: Label = ""
    days: Annotated[float, Field(gt=0, le=3660, allow_inf_nan=False)] | None = None


class TokenOut(BaseModel):
    """What is kept of a token."""

    id: str
    user: str
    label: str
    made: float
    expires: float | None
    revoked: float | None


class TokenMade(TokenOut):
    """A new token. It is shown here and never again."""

    token: str


def progress_out(now: Progress | None) -> ProgressOut | None:
    """For people."""
    if now is None:
        return None
    eta, left, cost = (
        each if each is not None and math.isfinite(each) else None for each in (now.eta, now.left, now.cost)
    )
    return ProgressOut(
        step=now.step.value,
        done=now.done,
        total=now.total,
        seconds=now.seconds,
        fps=now.fps,
        eta=eta,
        left=left,
        cost=cost,
    )


def job_facts(row: Row, now: Progress | None) -> dict[str, Any]:
    """The fields of a JobOut."""
    card, control = row.card, row.control
    return {
        "job": row.job,
        "name": card.name,
        "owner": card.owner,
        "team": card.team,
        "state": control.state,
        "reason": control.reason,
        "since": control.since,
        "submitted": card.submitted,
        "priority": control.priority,
        "limit": control.limit,
        "deadline": control.deadline,
        "round": control.round,
        "after": list(card.after),
        "review": control.review,
        "approved": control.approved,
        "edits": control.edits,
        "progress": progress_out(now),
    }


def user_out(user: User) -> UserOut:
    """For people."""
    return UserOut(name=user.name, role=user.role, team=user.team, made=user.made, disabled=user.disabled)


def token_facts(token: Token) -> dict[str, Any]:
    """The fields of a TokenOut: all but the hash."""
    return {name: value for name, value in records.plain(token).items() if name != "digest"}
