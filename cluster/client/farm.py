"""A farm, as its server tells of it: one method per thing that people do."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cluster import records
from cluster.client import fetching, listening, sending
from cluster.client.answers import (
    Edits,
    Entry,
    Event,
    Finding,
    Findings,
    Job,
    JobDetail,
    Link,
    Log,
    Page,
    Person,
    Ready,
    StoreHealth,
    Token,
    TokenMade,
    Unit,
    Upload,
    User,
    Workers,
)
from cluster.client.errors import Answered, BadAnswer, Clash, NoSuchThing
from cluster.client.wire import Answer, Patience, Wire, part
from cluster.states import JobState

Record = TypeVar("Record")
MOVES = ("pause", "resume", "cancel", "retry")


class FarmClient:
    """One server, as one user. Safe to use from several threads. Every method raises ClientError.

    What may be sent twice is tried again when nobody answers; what may not is sent once.
    """

    def __init__(self, url: str, token: str = "", patience: Patience | None = None, timeout: float = 60.0) -> None:
        """`url`: as in https://farm.example; `timeout`: seconds without a byte after which a connection is given up."""
        self._wire = Wire(url, token, patience, timeout)

    def __repr__(self) -> str:
        return f"FarmClient({self.url})"

    def __enter__(self) -> "FarmClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its connections."""
        self._wire.close()

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._wire.url

    # Jobs

    def submit(self, wish: Mapping[str, Any], key: str | None = None) -> JobDetail:
        """Make a job; `wish`: the fields of NewJob in docs/api.md. `key`: makes one job, however often it is sent;
        without one, this call makes one."""
        headers = {"Idempotency-Key": key or secrets.token_urlsafe(24)}
        answer = self._wire.ask("POST", "/v1/jobs", body=dict(wish), headers=headers, again=True)
        return _record(JobDetail, answer)

    def check(self, wish: Mapping[str, Any]) -> None:
        """Raise what `submit` would raise, and make no job."""
        self._wire.ask("POST", "/v1/jobs", [("check", "true")], dict(wish), again=True)

    def upload(
        self, path: Path, name: str = "", upload: str | None = None, told: sending.Told | None = None, **options: Any
    ) -> str:
        """Bring a film, piece by piece, on after cuts; the upload's id, of which `submit` makes a job. `upload`: go on
        with this one; `told`: how many bytes of how many are there."""
        return sending.send(self._wire, path, name or path.name, upload, told, **options)

    def sender(self, path: Path, told: sending.Told | None = None) -> sending.Sender:
        """The same in steps, for who wants to keep the upload's id before all of it is there."""
        return sending.Sender(self._wire, path, told)

    def uploaded(self, upload: str) -> Upload:
        """How far an upload is."""
        return self._get(Upload, f"/v1/uploads/{part(upload)}")

    def drop_upload(self, upload: str) -> None:
        """Delete it; a job that works on the film keeps it."""
        self._wire.ask("DELETE", f"/v1/uploads/{part(upload)}", headers={"Tus-Resumable": "1.0.0"})

    def jobs(
        self,
        states: Iterable[JobState | str] = (),
        owner: str | None = None,
        team: str | None = None,
        text: str = "",
        page: int = 200,
    ) -> Iterator[Job]:
        """The jobs that one may see, the newest first, page after page. `text`: part of the film's name."""
        query: list[tuple[str, object]] = [("limit", page), *(("state", str(state)) for state in states)]
        query += [(name, value) for name, value in (("owner", owner), ("team", team)) if value is not None]
        query += [("q", text)] if text else []
        cursor: list[tuple[str, object]] = []
        while True:
            found = _record(Page, self._wire.ask("GET", "/v1/jobs", [*query, *cursor]))
            yield from found.jobs
            if found.next is None:
                return
            cursor = [("cursor", found.next)]

    def show(self, job: str) -> JobDetail:
        """One job."""
        return self._get(JobDetail, _job(job))

    def move(self, job: str, move: str) -> Job:
        """`move`: one of MOVES."""
        if move not in MOVES:
            raise ValueError(f"{move} is none of {', '.join(MOVES)}")
        return _record(Job, self._wire.ask("POST", f"{_job(job)}/{move}"))

    def change(self, job: str, **fields: Any) -> Job:
        """Its priority, limit or deadline."""
        return _record(Job, self._wire.ask("PATCH", _job(job), body=fields, again=True))

    def delete(self, job: str) -> None:
        """One that is over: its film in the farm's store, its records and its history."""
        self._wire.ask("DELETE", _job(job))

    def history(self, job: str) -> tuple[Entry, ...]:
        """What happened to it, oldest first."""
        return self._get(tuple[Entry, ...], f"{_job(job)}/history")

    def units(self, job: str) -> Iterator[Unit]:
        """The steps of the film, then those of each chunk, once it is planned."""
        found, most = 0, 1000
        while True:
            query = [("offset", found), ("limit", most)]
            page = _record(tuple[Unit, ...], self._wire.ask("GET", f"{_job(job)}/units", query))
            yield from page
            found += len(page)
            if len(page) < most:
                return

    def logs(self, job: str, step: str, chunk: int | None = None) -> tuple[Log, ...]:
        """What each try at a unit said, the oldest try first."""
        query: list[tuple[str, object]] = [("step", step), *([("chunk", chunk)] if chunk is not None else [])]
        return _record(tuple[Log, ...], self._wire.ask("GET", f"{_job(job)}/logs", query))

    # What came out

    def people(self, job: str) -> tuple[Person, ...]:
        """Who was found in the film; no pictures, no measures."""
        return self._get(tuple[Person, ...], f"{_job(job)}/people")

    def findings(self, job: str) -> Findings:
        """Chunks in which the leak gate or the renderer found something."""
        found: list[Finding] = []
        looked, offset, most = 0, 0, 500
        while True:
            query = [("offset", offset), ("limit", most)]
            page = _record(Findings, self._wire.ask("GET", f"{_job(job)}/findings", query))
            found += page.findings
            looked, offset = looked + page.looked, offset + most
            if offset >= page.chunks:
                return Findings(tuple(found), looked, page.chunks)

    def report(self, job: str) -> dict[str, Any]:
        """The report of a finished job; docs/report.schema.json says what its fields mean."""
        return self._get(dict[str, Any], f"{_job(job)}/report")

    def link(self, job: str, seconds: int = 3600) -> Link:
        """A URL by which anybody can get the film from the bucket for a while."""
        return _record(Link, self._wire.ask("GET", f"{_job(job)}/film/link", [("seconds", seconds)]))

    def film(self, job: str) -> fetching.Film:
        """What the finished film is called, and how large it is."""
        return fetching.look(self._wire, job)

    def fetch(self, job: str, target: Path, overwrite: bool = False, told: fetching.Told | None = None) -> Path:
        """Write the finished film to a file; its bytes are held against the report's hash. What an earlier call left
        half done beside it is gone on with."""
        try:
            sha256 = self.report(job).get("output", {}).get("sha256")
        except (NoSuchThing, Clash):
            sha256 = None  # the report was moved away; the film's own answer says the rest
        return fetching.fetch(self._wire, job, target, overwrite, sha256, told)

    def events(self, job: str | None = None, last: str | None = None, patience: float = 600.0) -> Iterator[Event]:
        """What happens, without end, on after cuts. `last`: the id of the last event that is known."""
        return listening.events(self._wire, job, last, patience)

    def follow(self, jobs: Sequence[str]) -> Iterator[Job]:
        """Each of them as it is now, then whenever it has changed or gone on, until all are over; on after cuts."""
        return listening.follow(self.show, self.events(jobs[0] if len(set(jobs)) == 1 else None), jobs)

    # Review

    def edits(self, job: str) -> Edits:
        """What reviewers have changed."""
        return _edits(self._wire.ask("GET", f"{_job(job)}/edits"))

    def edit(self, job: str, wish: Mapping[str, Any], seen: str) -> Edits:
        """Change something; `wish`: the fields of NewEdit in docs/api.md. `seen`: the tag of the list that was looked
        at. Raises Clash, which says what others did, when it is another one by now."""
        return _edits(self._wire.ask("POST", f"{_job(job)}/edits", body=dict(wish), headers={"If-Match": f'"{seen}"'}))

    def take_back(self, job: str, edit: str, seen: str) -> Edits:
        """Undo one."""
        headers = {"If-Match": f'"{seen}"'}
        return _edits(self._wire.ask("DELETE", f"{_job(job)}/edits/{part(edit)}", headers=headers, again=False))

    def mend(self, job: str) -> Job:
        """Render what was edited."""
        return _record(Job, self._wire.ask("POST", f"{_job(job)}/mend"))

    def approve(self, job: str, seen: str | None = None) -> Job:
        """Let the film be published; only if the list of edits is the one that was `seen`."""
        headers = {"If-Match": f'"{seen}"'} if seen is not None else None
        return _record(Job, self._wire.ask("POST", f"{_job(job)}/approve", headers=headers))

    # The farm

    def workers(self) -> Workers:
        """As the controller saw them last."""
        return self._get(Workers, "/v1/workers")

    def drain(self, worker: str) -> None:
        """Give it no more orders."""
        self._wire.ask("PUT", f"/v1/workers/{part(worker)}/drain")

    def undrain(self, worker: str) -> None:
        """Give it orders again."""
        self._wire.ask("DELETE", f"/v1/workers/{part(worker)}/drain")

    def unblock(self, worker: str) -> None:
        """Give it another chance."""
        self._wire.ask("POST", f"/v1/workers/{part(worker)}/unblock", again=True)

    def store(self) -> StoreHealth:
        """What `veilfarm doctor` says of the farm's store; for admins."""
        return self._get(StoreHealth, "/v1/store")

    def ready(self) -> Ready:
        """Whether the farm can work. Takes no token."""
        try:
            return _record(Ready, self._wire.ask("GET", "/readyz", again=False))
        except Answered as error:
            if error.status == 503:
                return Ready(False)
            raise

    def metrics(self) -> str:
        """In Prometheus' text format."""
        return self._wire.ask("GET", "/metrics").data.decode(errors="replace")

    # Users

    def me(self) -> User:
        """Whose token this is."""
        return self._get(User, "/v1/me")

    def users(self) -> tuple[User, ...]:
        """All of them; for admins."""
        return self._get(tuple[User, ...], "/v1/users")

    def add_user(self, name: str, role: str, team: str = "") -> User:
        """Somebody new. They need a token next."""
        return _record(User, self._wire.ask("POST", "/v1/users", body={"name": name, "role": role, "team": team}))

    def change_user(self, name: str, **fields: Any) -> User:
        """Role, team, or disabled."""
        return _record(User, self._wire.ask("PATCH", f"/v1/users/{part(name)}", body=fields, again=True))

    def remove_user(self, name: str) -> None:
        """And their tokens. Their jobs stay."""
        self._wire.ask("DELETE", f"/v1/users/{part(name)}")

    def tokens(self, user: str) -> tuple[Token, ...]:
        """What is kept of somebody's tokens."""
        return self._get(tuple[Token, ...], f"/v1/users/{part(user)}/tokens")

    def make_token(self, user: str, label: str = "", days: float | None = None) -> TokenMade:
        """A new one. It is shown this once."""
        body = {"label": label, "days": days}
        return _record(TokenMade, self._wire.ask("POST", f"/v1/users/{part(user)}/tokens", body=body))

    def revoke_token(self, token_id: str) -> None:
        """It counts no more."""
        self._wire.ask("DELETE", f"/v1/tokens/{part(token_id)}")

    def _get(self, kind: type[Record], path: str) -> Record:
        return _record(kind, self._wire.ask("GET", path))


def _job(job: str) -> str:
    return f"/v1/jobs/{part(job)}"


def _edits(answer: Answer) -> Edits:
    return replace(_record(Edits, answer), tag=answer.headers.get("ETag", "").removeprefix("W/").strip('"'))


def _record(kind: type[Record], answer: Answer) -> Record:
    try:
        return records.taken(kind, answer.json())
    except records.BadRecord as error:
        why = str(error)[:300]
        raise BadAnswer("the server's answer isn't what this client expects", why, "use the same version") from error
