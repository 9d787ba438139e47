"""What people ask of a farm, whichever way leads to it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cluster.client.answers import Edits, Entry, Job, JobDetail, Person, Token, Workers
from cluster.job import Veil
from cluster.states import JobState, Move

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One film that is to be a job, as a person asked for it."""

    source: str  # a path here, "s3://bucket/key", or "server:/path" on the server's machine
    to: str = ""
    veil: Veil = Veil.NOBODY
    quality: str = "good"
    codec: str | None = None
    drop_dynamic_hdr: bool = False
    convert_audio: bool = False
    convert_subtitles: bool = False
    copy_clean: bool = False
    start: str | None = None
    stop: str | None = None
    device: str = "any"
    overwrite: bool = False
    priority: int = 0
    limit: int | None = None
    deadline: float | None = None  # hours from now
    after: tuple[str, ...] = ()  # whole ids
    owner: str = ""
    name: str = ""
    job: str | None = None  # the id that it shall have
    review: bool = False  # somebody has to approve it before it is published
    seed_key: Path | None = None
    several: bool = False  # it is one of many, so `to` is a folder
    where: str = ""  # it was asked for: file and line


class Way(Protocol):
    """One farm. Methods raise ClientError, PipelineError, StoreError, NoSuchJob, NotNow."""

    def choose(self, names: Sequence[str]) -> tuple[str, ...]:
        """Ids of jobs by what a person typed: whole ids, or ends of ids that fit one job only."""

    def check(self, asked: Asked) -> None:
        """Raise what `submit` would raise, as far as that can be known, and make nothing."""

    def submit(self, asked: Asked, told: Told) -> str:
        """A job's id. `told`: how many bytes of how many have been sent."""

    def jobs(self, states: Iterable[JobState], owner: str | None, text: str) -> Iterator[Job]:
        """The newest first. `text`: part of the film's name."""

    def show(self, job: str) -> JobDetail:
        """One job."""

    def history(self, job: str) -> tuple[Entry, ...]:
        """Oldest first."""

    def follow(self, jobs: Sequence[str]) -> Iterator[Job]:
        """Each of them as it is now, then whenever it has changed or gone on, until all are over."""

    def move(self, job: str, move: Move) -> Job:
        """Pause, resume, cancel or retry it."""

    def change(self, job: str, **fields: Any) -> Job:
        """Its priority, limit or deadline."""

    def erase(self, job: str) -> str:
        """Delete one that is over; what is to be said of that."""

    def people(self, job: str) -> tuple[Person, ...]:
        """Who was found."""

    def rate(self, job: str) -> float | None:
        """Frames per second of its film, on average; None while nobody knows."""

    def edits(self, job: str) -> Edits:
        """What reviewers have changed."""

    def edit(self, job: str, wish: dict[str, Any], seen: str | None) -> Edits:
        """Change something; `seen`: the tag of the list that was looked at, None: as it is now."""

    def take_back(self, job: str, edit: str, seen: str | None) -> Edits:
        """Undo one."""

    def mend(self, job: str) -> Job:
        """Render what was edited."""

    def approve(self, job: str, seen: str | None) -> Job:
        """Let the film be published."""

    def report(self, job: str) -> dict[str, Any]:
        """Of a finished job."""

    def fetch(self, job: str, output: Path, overwrite: bool, told: Told) -> Path:
        """Write the finished film to a file, or into a folder."""

    def logs(self, job: str, unit: tuple[str, int | None] | None) -> Iterator[str]:
        """Lines that the workers said, of one unit (step, chunk) or of all."""

    def workers(self) -> Workers:
        """As the controller saw them last."""

    def mark(self, worker: str, mark: str) -> None:
        """ "drain", "undrain" or "unblock" it."""

    def token(self, user: str, role: str | None, team: str, days: float | None, label: str) -> str:
        """A new token; somebody new is made."""

    def tokens(self, user: str, revoke: Sequence[str]) -> tuple[Token, ...]:
        """Those of a user, after some were revoked."""
