"""What a farm tells, as frozen records. Times are Unix times in seconds; ranges of frame numbers are half-open."""

from dataclasses import dataclass, field
from typing import Any

from cluster.records import Open
from cluster.states import JobState


@dataclass(frozen=True, slots=True)
class Progress(Open):
    """How far the step is that is being worked on."""

    step: str
    done: int
    total: int  # frames, or 1 for a step without; 0 while not known
    fps: float
    eta: float | None  # seconds to the end of the step
    seconds: float = 0.0  # since it began
    left: float | None = None  # seconds to the end of the job, about
    cost: float | None = None  # worker seconds that the job takes in all, about


@dataclass(frozen=True, slots=True)
class Job(Open):
    """A job."""

    job: str
    name: str
    owner: str
    team: str
    state: JobState
    reason: str
    since: float  # of the last change of state
    submitted: float
    priority: int
    limit: int | None
    deadline: float | None
    round: int  # retries begin a new one
    after: tuple[str, ...]
    progress: Progress | None = None
    review: bool = False  # a reviewer has to approve the film before it is published
    approved: bool = False
    edits: int = 0  # version of the reviewers' edits that it is rendered with


@dataclass(frozen=True, slots=True)
class Result(Open):
    """How a job ended."""

    state: JobState
    reason: str
    ended: float
    film: bool  # whether there is one to fetch
    frames: int
    worker_seconds: float
    people: int
    bytes: int
    erased: int | None = None  # work objects that showed or measured faces, deleted at the end
    place: str = ""  # of the film, where the store is asked itself


@dataclass(frozen=True, slots=True)
class JobDetail(Job):
    """A job, with what was asked for and how it ended."""

    source: str = ""
    source_bytes: int | None = None
    target: str = ""  # "": the farm's own store
    settings: dict[str, Any] = field(default_factory=dict)
    result: Result | None = None
    frame_rate: float | None = None  # of its film, on average; None while nobody knows


@dataclass(frozen=True, slots=True)
class Page(Open):
    """Part of a list of jobs, the newest first."""

    jobs: tuple[Job, ...]
    next: str | None
    total: int
    complete: bool = True  # False while the farm, just started, still reads its store


@dataclass(frozen=True, slots=True)
class Entry(Open):
    """A line of a job's history."""

    at: float
    who: str
    what: str
    state: JobState | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Unit(Open):
    """A step of the film, or of one chunk."""

    step: str
    chunk: int | None
    frames: int | None
    done: bool
    worker: str
    seconds: float
    edited: bool = False  # made again, since a reviewer's edit changed it


@dataclass(frozen=True, slots=True)
class Log(Open):
    """What one try at a unit said."""

    step: str
    chunk: int | None
    attempt: str
    lines: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Track(Open):
    """One face over a stretch of frames."""

    id: int
    first: int
    last: int
    frames: int
    smallest: int  # longer side of its box in pixels
    largest: int
    treatments: dict[str, int]
    best: int = -1  # the frame that shows it best; -1: not known
    mark: str | None = None  # what a reviewer chose for it
    edits: tuple[str, ...] = ()  # ids of those that touched it


@dataclass(frozen=True, slots=True)
class Person(Open):
    """Somebody in the film: a number, and the public id of the face that they got."""

    person: int
    identity: str | None
    frames: int
    smallest: int
    largest: int
    replaced: int
    covered: int
    why_covered: dict[str, int]
    tracks: tuple[Track, ...]
    kept: int = 0  # frames on which the face stays visible, as a reviewer wanted
    no_face: int = 0  # frames of tracks that are no face, as a reviewer said
    mark: str | None = None  # what reviewers chose for the tracks; "mixed": more than one thing
    drawn: bool = False  # a box that a reviewer drew
    pending: bool = False  # an edit of them isn't rendered yet
    edits: tuple[str, ...] = ()  # ids of those that made them what they are


@dataclass(frozen=True, slots=True)
class Edit(Open):
    """One thing that a reviewer changed. `kind`: "face", "cover", "merge", "split", "no_face", "keep" or "box"."""

    id: str
    kind: str
    who: str
    at: float
    person: int | None = None
    into: int | None = None
    tracks: tuple[int, ...] = ()
    track: int | None = None
    frame: int | None = None
    box: tuple[float, float, float, float] | None = None
    reason: str = ""
    made: int | None = None  # number of the person that a "split" or a "box" makes
    rendered: bool = False  # the film is rendered with it, or is being so


@dataclass(frozen=True, slots=True)
class Edits(Open):
    """All edits that hold, in their order."""

    version: int  # counts changes
    rendered: int  # the version that the film is rendered with
    pending: bool  # something is to be rendered before the film can be approved
    editable: bool
    edits: tuple[Edit, ...]
    tag: str = ""  # names the version: what was seen


@dataclass(frozen=True, slots=True)
class Finding(Open):
    """What the leak gate and the renderer found in one chunk."""

    chunk: int
    first: int
    last: int
    leaks: int
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class Findings(Open):
    """Chunks in which something was found."""

    findings: tuple[Finding, ...]
    looked: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Link(Open):
    """A URL by which anybody may get a film for a while."""

    url: str = field(repr=False)  # a secret
    expires: float


@dataclass(frozen=True, slots=True)
class Upload(Open):
    """A film that is being brought."""

    id: str
    name: str
    length: int
    offset: int
    complete: bool
    expires: float
    job: str | None = None


@dataclass(frozen=True, slots=True)
class Worker(Open):
    """A worker, as the controller saw it lately."""

    name: str
    device: str
    state: str
    job: str
    unit: str
    frames: int
    fps: float
    why: str


@dataclass(frozen=True, slots=True)
class Workers(Open):
    """All of them. `at`: when the controller looked; None: none has yet."""

    at: float | None
    controller: str
    workers: tuple[Worker, ...]


@dataclass(frozen=True, slots=True)
class StoreFinding(Open):
    """One thing that was tried with the store."""

    name: str
    verdict: str
    meaning: str


@dataclass(frozen=True, slots=True)
class StoreHealth(Open):
    """What a farm needs of its store, and whether it has it."""

    at: float
    usable: bool
    findings: tuple[StoreFinding, ...]


@dataclass(frozen=True, slots=True)
class Ready(Open):
    """Whether the farm can work."""

    ready: bool
    index: bool = False
    store: bool = False
    leads: bool = False


@dataclass(frozen=True, slots=True)
class User(Open):
    """Somebody who uses the farm. `role`: "viewer", "submitter", "reviewer" or "admin"."""

    name: str
    role: str
    team: str
    made: float
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Token(Open):
    """What is kept of a token."""

    id: str
    user: str
    label: str
    made: float
    expires: float | None
    revoked: float | None = None


@dataclass(frozen=True, slots=True)
class TokenMade(Token):
    """A new one. It is shown here and never again."""

    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Event(Open):
    """What happened: `kind` is "job", "gone", "progress" or "reset" (events were missed: read the list anew)."""

    id: str
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
