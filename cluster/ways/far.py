"""The way by a farm's server, as one of its users."""

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster import exits
from cluster.client.answers import Edits, Entry, Job, JobDetail, Person, Token, Workers
from cluster.client.errors import Clash, Invalid, NoSuchThing
from cluster.client.farm import FarmClient
from cluster.config import UsageError
from cluster.desk import film_name
from cluster.job import PER_CHUNK, Step
from cluster.places import look_up
from cluster.states import JobState, Move
from cluster.ways.near import check_user
from cluster.ways.pending import Pending
from cluster.ways.way import Asked, Told
from pipeline.errors import NotAVideo
from storage.address import is_object

_SERVER = "server:"
_WHOLE = 26  # letters of an id


class Far:
    """A farm by its server. See Way."""

    def __init__(self, client: FarmClient, pending: Pending) -> None:
        self.client, self._pending = client, pending
        self._me: str | None = None
        self._known: list[str] | None = None  # ids of all jobs, once they were asked for

    @property
    def me(self) -> str:
        """Whose token it is."""
        if self._me is None:
            self._me = self.client.me().name
        return self._me

    def choose(self, names: Sequence[str]) -> tuple[str, ...]:
        """See Way."""
        found = []
        for name in names:
            text = name.upper()
            if not text:
                raise UsageError("a job's id is empty", "", "see: veilfarm jobs")
            if len(text) < _WHOLE:
                if self._known is None:
                    self._known = [job.job for job in self.client.jobs(page=500)]
                fits = [job for job in self._known if job.endswith(text)]
                if len(fits) != 1:
                    why = "no job's id ends so" if not fits else f"the ids of {len(fits)} jobs end so"
                    raise UsageError(f"which job is {name}?", why, "see: veilfarm jobs")
                text = fits[0]
            found.append(text)
        return tuple(found)

    def check(self, asked: Asked) -> None:
        """See Way."""
        wish = self._wish(asked)
        if asked.job is not None and (film := self._there(asked, wish)):
            self.client.check({**wish, **film})
        elif "source" in wish:
            self.client.check(wish)
        else:
            self.client.check({**wish, "name": asked.name or _local(asked).name})

    def submit(self, asked: Asked, told: Told) -> str:
        """See Way."""
        wish = self._wish(asked)
        if asked.job is not None and (film := self._there(asked, wish)):
            return self.client.submit({**wish, **film}).job
        if "source" in wish:
            return self.client.submit(wish).job
        path = _local(asked)
        self.client.check({**wish, "name": asked.name or path.name})  # before gigabytes are sent
        return self._bring(path, wish, told)

    def _bring(self, path: Path, wish: dict[str, Any], told: Told) -> str:
        """A job of a film of this machine. An upload that was begun before is gone on with, and one that has become a
        job without anybody hearing of it is that job."""
        sender, url = self.client.sender(path, told), self.client.url
        begun = self._pending.find(url, self.me, path)
        if begun is not None:
            try:
                sender.send(begun)
                return self._made(path, wish, begun)
            except (NoSuchThing, Clash, Invalid):
                self._pending.drop(url, self.me, path)  # its time was up, or it was for something else
        upload = sender.begin(path.name)
        self._pending.keep(url, self.me, path, upload)
        sender.send(upload)
        return self._made(path, wish, upload)

    def _made(self, path: Path, wish: dict[str, Any], upload: str) -> str:
        made = self.client.submit({**wish, "upload": upload}, f"veilfarm-submit-{upload}")
        self._pending.drop(self.client.url, self.me, path)
        return made.job

    def _there(self, asked: Asked, wish: dict[str, Any]) -> dict[str, str]:
        """What names the film of a job that is there already; {} when there is no such job. Raises UsageError when it
        is of another film; whether the rest is the same, the server says."""
        assert asked.job is not None
        try:
            job = self.client.show(asked.job)
        except NoSuchThing:
            return {}
        if "source" in wish:
            return {"source": wish["source"]}
        path = _local(asked)
        upload = re.search(r"/uploads/([0-9A-Z]{26})/[^/]+$", job.source)
        if upload is None or (job.name, job.source_bytes) != (film_name(str(path), asked.name), path.stat().st_size):
            raise UsageError(f"there is a job {asked.job} already", "of another film", "take another id")
        return {"upload": upload[1]}

    def _wish(self, asked: Asked) -> dict[str, Any]:
        """The fields of NewJob, without an upload. Raises UsageError."""
        if asked.seed_key is not None:
            why = "a project key never leaves the machines of the farm"
            raise UsageError("--seed-key doesn't go to a server", why, "submit by --store")
        if asked.owner and asked.owner != self.me:
            why = f"this token is {self.me}'s"
            raise UsageError(f"a job of {asked.owner} can't be made", why, "leave --owner out, or use their token")
        if asked.several and asked.to and not asked.to.endswith("/"):
            raise UsageError(f"--to {asked.to} is one film", "several films go into a folder", "end it with a /")
        wish = {
            "to": asked.to,
            "veil": asked.veil.value,
            "quality": asked.quality,
            "codec": asked.codec,
            "drop_dynamic_hdr": asked.drop_dynamic_hdr or None,
            "convert_audio": asked.convert_audio or None,
            "convert_subtitles": asked.convert_subtitles or None,
            "copy_clean": asked.copy_clean or None,
            "start": asked.start,
            "stop": asked.stop,
            "device": asked.device,
            "overwrite": asked.overwrite,
            "priority": asked.priority,
            "limit": asked.limit,
            "deadline": time.time() + asked.deadline * 3600 if asked.deadline is not None else None,
            "after": list(asked.after),
            "review": asked.review,
            "name": asked.name,
            "job": asked.job,
        }
        if is_object(asked.source) or asked.source.startswith(_SERVER):
            wish["source"] = asked.source.removeprefix(_SERVER)
        return {name: value for name, value in wish.items() if value not in (None, "", [])}

    def jobs(self, states: Iterable[JobState], owner: str | None, text: str) -> Iterator[Job]:
        """See Way."""
        return self.client.jobs(states, owner, text=text)

    def show(self, job: str) -> JobDetail:
        """See Way."""
        return self.client.show(job)

    def history(self, job: str) -> tuple[Entry, ...]:
        """See Way."""
        return self.client.history(job)

    def follow(self, jobs: Sequence[str]) -> Iterator[Job]:
        """See Way."""
        for job in self.client.follow(jobs):
            exits.check()
            yield job

    def move(self, job: str, move: Move) -> Job:
        """See Way."""
        return self.client.move(job, move.value)

    def change(self, job: str, **fields: Any) -> Job:
        """See Way."""
        return self.client.change(job, **fields)

    def erase(self, job: str) -> str:
        """See Way."""
        self.client.delete(job)
        return "deleted"

    def people(self, job: str) -> tuple[Person, ...]:
        """See Way."""
        return self.client.people(job)

    def rate(self, job: str) -> float | None:
        """See Way."""
        return self.client.show(job).frame_rate

    def edits(self, job: str) -> Edits:
        """See Way."""
        return self.client.edits(job)

    def edit(self, job: str, wish: dict[str, Any], seen: str | None) -> Edits:
        """See Way."""
        return self.client.edit(job, wish, seen if seen is not None else self.client.edits(job).tag)

    def take_back(self, job: str, edit: str, seen: str | None) -> Edits:
        """See Way."""
        return self.client.take_back(job, edit, seen if seen is not None else self.client.edits(job).tag)

    def mend(self, job: str) -> Job:
        """See Way."""
        return self.client.mend(job)

    def approve(self, job: str, seen: str | None) -> Job:
        """See Way."""
        return self.client.approve(job, seen)

    def report(self, job: str) -> dict[str, Any]:
        """See Way."""
        return self.client.report(job)

    def fetch(self, job: str, output: Path, overwrite: bool, told: Told) -> Path:
        """See Way."""
        target = output / self.client.film(job).name if output.is_dir() else output
        return self.client.fetch(job, target, overwrite, told)

    def logs(self, job: str, unit: tuple[str, int | None] | None) -> Iterator[str]:
        """See Way."""
        units = [(each.step, each.chunk) for each in self.client.units(job)] if unit is None else [unit]
        order = [step.value for step in Step]
        for step, chunk in sorted(units, key=lambda u: order.index(u[0]) if u[0] in order else len(order)):
            if (chunk is not None) == (step in PER_CHUNK):
                for log in self.client.logs(job, step, chunk):
                    yield from (json.dumps(line, ensure_ascii=False) for line in log.lines)

    def workers(self) -> Workers:
        """See Way."""
        return self.client.workers()

    def mark(self, worker: str, mark: str) -> None:
        """See Way."""
        {"drain": self.client.drain, "undrain": self.client.undrain, "unblock": self.client.unblock}[mark](worker)

    def token(self, user: str, role: str | None, team: str, days: float | None, label: str) -> str:
        """See Way."""
        if user == self.me:
            known = self.client.me()
        else:
            known = next((each for each in self.client.users() if each.name == user), None) or self.client.add_user(
                user, role or "submitter", team
            )
        check_user(user, known.role, known.team, role, team)
        return self.client.make_token(user, label, days).token

    def tokens(self, user: str, revoke: Sequence[str]) -> tuple[Token, ...]:
        """See Way."""
        known = {token.id for token in self.client.tokens(user)}
        for name in revoke:
            if name not in known:
                raise NoSuchThing(f"{user} has no token {name}", "", "see: veilfarm token USER --list", status=404)
            self.client.revoke_token(name)
        return self.client.tokens(user)


def _local(asked: Asked) -> Path:
    """The film as a file of this machine. Raises NotAVideo."""
    path = Path(asked.source)
    try:
        found = look_up(str(path.resolve()))
    except OSError as error:
        todo = "check the path; for a file of the server's machine write server:/PATH"
        raise NotAVideo(f"{asked.source} can't be read", error.strerror or str(error), todo) from error
    if not path.is_file():
        raise NotAVideo(f"{asked.source} is no file that can be read", "", "check the path")
    if not found.bytes:
        raise NotAVideo(f"{asked.source} is empty", "it has 0 bytes", "check where it came from")
    return path
