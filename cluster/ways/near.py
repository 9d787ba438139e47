"""The way by the farm's store, for who holds its keys: no server is asked."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster import exits, records, tally
from cluster.account import Progress as Now
from cluster.book import Book, Card, Control, NoSuchJob, NotNow
from cluster.client.answers import Edits, Entry, Job, JobDetail, Person, Result, Token, Track, Workers
from cluster.config import UsageError, moment, project_key
from cluster.desk import Desk, Wish
from cluster.job import Step, TrackFacts
from cluster.ledger import Unit
from cluster.places import read_report
from cluster.service import read_status
from cluster.states import OVER, JobState, Move
from cluster.users import NoSuchUser, Role, Users
from cluster.ways.way import Asked, Told
from storage import layout
from storage.objects import AlreadyThere, NoSuchObject

WHO = "command line"
_LOOK = 1.0  # seconds between looks at jobs that are followed


class Near:
    """A farm by its store. See Way."""

    def __init__(self, book: Book, desk: Desk) -> None:
        self.book, self.desk = book, desk

    def choose(self, names: Sequence[str]) -> tuple[str, ...]:
        """See Way."""
        return self.desk.choose(names)

    def check(self, asked: Asked) -> None:
        """See Way."""
        wish, _ = self._wish(asked)
        if asked.job is None or not self.desk.submitted(asked.job, asked.source, wish, asked.several):
            self.desk.check(asked.source, wish, asked.several)

    def submit(self, asked: Asked, told: Told) -> str:
        """See Way."""
        wish, key = self._wish(asked)
        if asked.job is None:
            return self.desk.submit(asked.source, wish, key, asked.several)
        if self.desk.submitted(asked.job, asked.source, wish, asked.several):
            return asked.job
        try:
            return self.desk.submit(asked.source, wish, key, asked.several, asked.job)
        except AlreadyThere as error:
            todo = "wait a moment, or take another id"
            raise UsageError(f"somebody is making job {asked.job} just now", "", todo) from error

    def _wish(self, asked: Asked) -> tuple[Wish, bytes | None]:
        key, mark = None, None
        if asked.seed_key is not None:
            mark, _ = project_key(asked.seed_key)
            key = asked.seed_key.read_bytes()
        if asked.source.startswith("server:"):
            todo = "leave it out, or name a server by --server"
            raise UsageError(f"{asked.source}: no server was named", "the store is asked directly", todo)
        wish = Wish(
            to=asked.to,
            veil=asked.veil,
            quality=asked.quality,
            codec=asked.codec,
            drop_dynamic_hdr=asked.drop_dynamic_hdr,
            convert_audio=asked.convert_audio,
            convert_subtitles=asked.convert_subtitles,
            copy_clean=asked.copy_clean,
            start=moment(asked.start) if asked.start is not None else None,
            stop=moment(asked.stop) if asked.stop is not None else None,
            device=asked.device,
            overwrite=asked.overwrite,
            owner=asked.owner,
            priority=asked.priority,
            limit=asked.limit,
            deadline=time.time() + asked.deadline * 3600 if asked.deadline is not None else None,
            after=asked.after,
            key_fingerprint=mark,
            name=asked.name,
            review=asked.review,
        )
        return wish, key

    def jobs(self, states: Iterable[JobState], owner: str | None, text: str) -> Iterator[Job]:
        """See Way."""
        wanted, now = frozenset(states), self._now()
        for job in reversed(self.book.jobs()):
            try:
                card, control = self.book.card(job), self.book.control(job)
            except NoSuchJob:
                continue  # half submitted, or being erased
            if (wanted and control.state not in wanted) or (owner is not None and card.owner != owner):
                continue
            if text.casefold() in card.name.casefold():
                yield _job(job, card, control, now.get(job))

    def _now(self) -> dict[str, Now]:
        status = read_status(self.book.store)
        return {each.job: each for each in status.progress} if status else {}

    def show(self, job: str) -> JobDetail:
        """See Way."""
        card, control, ledger = self.book.card(job), self.book.control(job), self.book.ledger(job)
        spec = ledger.spec()
        found = self.book.result(job, control.round)
        settings = records.plain(spec)
        result = None
        if found is not None:
            result = records.taken(Result, {**records.plain(found), "film": bool(found.film), "place": found.film})
        return JobDetail(
            **_facts(job, card, control, self._now().get(job)),
            source=spec.source.place,
            source_bytes=spec.source.bytes,
            target=spec.target,
            settings={name: settings[name] for name in ("veil", "encoding", "start", "stop", "device")},
            result=result,
            frame_rate=ledger.frame_rate(),
        )

    def history(self, job: str) -> tuple[Entry, ...]:
        """See Way."""
        return tuple(records.taken(Entry, records.plain(entry)) for entry in self.book.history(job))

    def follow(self, jobs: Sequence[str]) -> Iterator[Job]:
        """See Way."""
        cards = {job: self.book.card(job) for job in jobs}
        left, seen = list(dict.fromkeys(jobs)), dict[str, Job]()
        while left:
            exits.check()
            now = self._now()
            for job in list(left):
                control = self.book.control(job)
                found = _job(job, cards[job], control, now.get(job))
                if seen.get(job) != found:
                    seen[job] = found
                    yield found
                if control.state in OVER:
                    left.remove(job)
            if left:
                time.sleep(_LOOK)

    def move(self, job: str, move: Move) -> Job:
        """See Way."""
        return _job(job, self.book.card(job), self.book.change(job, WHO, move), None)

    def change(self, job: str, **fields: Any) -> Job:
        """See Way."""
        return _job(job, self.book.card(job), self.book.change(job, WHO, None, **fields), None)

    def erase(self, job: str) -> str:
        """See Way."""
        return f"{self.book.erase(job)} objects deleted"

    def people(self, job: str) -> tuple[Person, ...]:
        """See Way."""
        try:
            linked = self.book.ledger(job).linked(self.book.control(job).edits)
        except NoSuchObject as error:
            raise NotNow("nobody has looked yet who is in the film") from error
        tracks: dict[int, list[TrackFacts]] = {}
        for track in linked.tracks:
            tracks.setdefault(track.person, []).append(track)
        return tuple(_person(n, linked.identities.get(str(n)), tracks[n]) for n in sorted(tracks))

    def rate(self, job: str) -> float | None:
        """See Way."""
        return self.book.ledger(job).frame_rate()

    def edits(self, job: str) -> Edits:
        """See Way."""
        raise _reviewing()

    def edit(self, job: str, wish: dict[str, Any], seen: str | None) -> Edits:
        """See Way."""
        raise _reviewing()

    def take_back(self, job: str, edit: str, seen: str | None) -> Edits:
        """See Way."""
        raise _reviewing()

    def mend(self, job: str) -> Job:
        """See Way."""
        raise _reviewing()

    def approve(self, job: str, seen: str | None) -> Job:
        """See Way."""
        raise _reviewing()

    def report(self, job: str) -> dict[str, Any]:
        """See Way."""
        control = self.book.control(job)
        result = self.book.result(job, control.round)
        if result is None or not result.report:
            raise NotNow(f"job {job} is {control.state}; there is no report yet")
        return read_report(self.book.ledger(job), result.report)

    def fetch(self, job: str, output: Path, overwrite: bool, told: Told) -> Path:
        """See Way."""
        control = self.book.control(job)
        result = self.book.result(job, control.round)
        if result is None or not result.film:
            raise NotNow(f"job {job} is {control.state}; there is no film yet")
        return self.desk.fetch(result.film, output, overwrite)

    def logs(self, job: str, unit: tuple[str, int | None] | None) -> Iterator[str]:
        """See Way."""
        ledger = self.book.ledger(job)
        units = ledger.units() if unit is None else (Unit(Step(unit[0]), unit[1]),)
        for each in sorted(units, key=lambda u: list(Step).index(u.step)):
            for _, text in ledger.logs(each):
                yield from text.decode(errors="replace").splitlines()

    def workers(self) -> Workers:
        """See Way."""
        status = read_status(self.book.store)
        return Workers(None, "", ()) if status is None else records.taken(Workers, records.plain(status))

    def mark(self, worker: str, mark: str) -> None:
        """See Way."""
        if mark == "undrain":
            self.book.store.delete(layout.drain(worker))
        else:
            self.book.mark({"drain": layout.drain, "unblock": layout.unblock}[mark](worker))

    def token(self, user: str, role: str | None, team: str, days: float | None, label: str) -> str:
        """See Way."""
        users = Users(self.book.store)
        try:
            known = users.user(user)
        except NoSuchUser:
            known = users.add(user, Role(role or Role.SUBMITTER), team)
        check_user(user, known.role, known.team, role, team)
        return users.issue(user, label, days)[0]

    def tokens(self, user: str, revoke: Sequence[str]) -> tuple[Token, ...]:
        """See Way."""
        users = Users(self.book.store)
        users.user(user)
        for name in revoke:
            if users.token(name).user != user:
                raise NoSuchUser(f"{user} has no token {name}")
            users.revoke(name)
        return tuple(records.taken(Token, records.plain(each)) for each in users.tokens(user))


def check_user(user: str, is_role: str, is_team: str, role: str | None, team: str) -> None:
    """Raises UsageError when somebody who is known shall be somebody else."""
    if role not in (None, is_role) or team not in ("", is_team):
        why = f"role {is_role}, team {is_team or '-'}"
        raise UsageError(f"there is a user {user} already", why, "leave --role and --team out")


def _reviewing() -> UsageError:
    why = "who reviews a film is written down, and the store knows no users"
    return UsageError("reviewing goes through a farm's server", why, "name it by --server, with a reviewer's token")


def _facts(job: str, card: Card, control: Control, now: Now | None) -> dict[str, Any]:
    running = now if control.state is JobState.RUNNING else None
    facts = {**records.plain(card), **records.plain(control), "job": job, "progress": records.plain(running)}
    found = records.taken(Job, facts)
    return {name: getattr(found, name) for name in Job.__slots__}


def _job(job: str, card: Card, control: Control, now: Now | None) -> Job:
    return Job(**_facts(job, card, control, now))


def _person(number: int, identity: str | None, tracks: list[TrackFacts]) -> Person:
    return Person(
        person=number,
        identity=identity,
        **tally.shown(tracks),
        tracks=tuple(records.taken(Track, records.plain(track)) for track in tracks),
    )
