"""Who may do what on a farm: users, their roles and their tokens, as records in the store.

A token is `vf_ID_SECRET`, with 256 random bits in the secret. The store has its hash only: plain SHA-256, since nobody
can guess so many bits. Tokens are shown once, end by themselves or by being revoked.
"""

import contextlib
import dataclasses
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from cluster import records
from cluster.book import Card
from cluster.credentials import Remembered, digest, new_secret
from cluster.job import new_id
from storage import layout
from storage.objects import AlreadyThere, Conflict, NoSuchObject, ObjectStore

NAME = r"[a-z0-9][a-z0-9_.\-]{0,62}"
_TOKEN = re.compile(r"vf_([0-9A-HJKMNP-TV-Z]{26})_([A-Za-z0-9_\-]{43})")
Record = TypeVar("Record")


class Role(StrEnum):
    """What somebody may do; each may also do what those before may."""

    VIEWER = "viewer"  # look at jobs of their own and of their team, and fetch what came out
    SUBMITTER = "submitter"  # bring films, make jobs, change their own
    REVIEWER = "reviewer"  # look at the people of a job, change jobs of their team
    ADMIN = "admin"  # everything: all jobs, workers, the store, users

    @property
    def rank(self) -> int:
        """More may do more."""
        return _RANKS[self]


_RANKS = {role: rank for rank, role in enumerate(Role)}


class NoSuchUser(Exception):
    """Nobody is called so."""


class NotAllowed(Exception):
    """This can't be done to that user."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who uses the farm."""

    name: str
    role: Role
    team: str  # whose jobs they see, too; "": none
    made: float  # Unix time
    disabled: bool = False
    revision: int = 0

    def may(self, role: Role) -> bool:
        """Whether they may do what `role` may."""
        return not self.disabled and self.role.rank >= role.rank

    def sees(self, card: Card) -> bool:
        """Whether they may know of a job."""
        return card.owner == self.name or (self.team != "" and card.team == self.team) or self.may(Role.ADMIN)

    def changes(self, card: Card) -> bool:
        """Whether they may change a job that they see."""
        own = card.owner == self.name and self.may(Role.SUBMITTER)
        return own or (self.sees(card) and self.may(Role.REVIEWER))


@dataclass(frozen=True, slots=True)
class Token:
    """By which a user is known. The token itself can't be read off it."""

    id: str
    user: str
    digest: str  # SHA-256 of the secret part, in hex
    label: str  # what it is for
    made: float  # Unix time
    expires: float | None
    revoked: float | None = None

    def good(self, now: float) -> bool:
        """Whether it still counts."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class Users:
    """The users of one store. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._known = Remembered[tuple[User, Token]]()

    def first(self) -> str | None:
        """A token of a first admin, if there is no user yet; else None."""
        if self._store.list("farm/users", limit=1):
            return None
        try:
            self.add("admin", Role.ADMIN)
        except NotAllowed:
            return None  # another process was first
        return self.issue("admin", "made at first start")[0]

    def add(self, name: str, role: Role, team: str = "") -> User:
        """Raises NotAllowed for a name that is taken or that can't be one."""
        user = User(_checked(name), role, team, self._clock())
        try:
            self._store.create(layout.user(name), records.dumps(user))
        except AlreadyThere as error:
            raise NotAllowed(f"there is a user {name} already") from error
        return user

    def user(self, name: str) -> User:
        """Raises NoSuchUser."""
        return self._read(User, layout.user(_known(name)), name)[0]

    def users(self) -> tuple[User, ...]:
        """All, by name."""
        return tuple(records.loads(User, self._store.read(key)) for key in self._store.keys("farm/users"))

    def change(self, name: str, **fields: Any) -> User:
        """Change role, team or disabled. Raises NoSuchUser, NotAllowed for the last admin, Conflict."""
        before, etag = self._read(User, layout.user(_known(name)), name)
        after = dataclasses.replace(before, revision=before.revision + 1, **fields)
        if not after.may(Role.ADMIN):
            self._keep_an_admin(name)
        self._store.replace(layout.user(name), records.dumps(after), etag)
        self._known.forget()
        return after

    def remove(self, name: str) -> None:
        """With all tokens. Jobs stay. Raises NoSuchUser, NotAllowed for the last admin."""
        self.user(name)
        self._keep_an_admin(name)
        for token in self.tokens(name):
            self._store.delete(layout.token(token.id))
        self._store.delete(layout.user(name))
        self._known.forget()

    def _keep_an_admin(self, without: str) -> None:
        if self.user(without).may(Role.ADMIN) and not any(
            user.may(Role.ADMIN) for user in self.users() if user.name != without
        ):
            raise NotAllowed(f"{without} is the last admin; make another one first")

    def issue(self, name: str, label: str = "", days: float | None = None) -> tuple[str, Token]:
        """(the token, what is kept of it). Raises NoSuchUser."""
        self.user(name)
        secret = new_secret()
        now = self._clock()
        token = Token(new_id(), name, digest(secret), label, now, None if days is None else now + days * 86400)
        self._store.create(layout.token(token.id), records.dumps(token))
        return f"vf_{token.id}_{secret}", token

    def tokens(self, name: str | None = None) -> tuple[Token, ...]:
        """Of one user, or of all, the oldest first."""
        found = (records.loads(Token, self._store.read(key)) for key in self._store.keys("farm/tokens"))
        return tuple(token for token in found if name is None or token.user == name)

    def token(self, token_id: str) -> Token:
        """Raises NoSuchUser when there is none."""
        if not re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", token_id):
            raise NoSuchUser(f"there is no token {token_id[:40]}")
        return self._read(Token, layout.token(token_id), token_id)[0]

    def revoke(self, token_id: str) -> Token:
        """It counts no more. Raises NoSuchUser when there is none."""
        if (token := self.token(token_id)).revoked is None:
            data, etag = self._store.read_versioned(layout.token(token_id))
            token = dataclasses.replace(records.loads(Token, data), revoked=self._clock())
            with contextlib.suppress(Conflict):  # somebody else has revoked it
                self._store.replace(layout.token(token_id), records.dumps(token), etag)
        self._known.forget()
        return token

    def who(self, text: str) -> User | None:
        """Whose token it is; None for one that doesn't count. Raises StoreError."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        now = self._clock()
        known = self._known.get(text, now, lambda: self._look_up(match[1], match[2]))
        if known is None:
            return None
        user, token = known
        return user if token.good(now) and not user.disabled else None

    def met(self, text: str) -> bool:
        """Whether this token has counted here lately. Asks nobody."""
        return text in self._known

    def _look_up(self, token_id: str, secret: str) -> tuple[User, Token] | None:
        try:
            token = records.loads(Token, self._store.read(layout.token(token_id)))
            user = records.loads(User, self._store.read(layout.user(token.user)))
        except NoSuchObject:
            return None
        return (user, token) if hmac.compare_digest(token.digest, digest(secret)) else None

    def _read(self, kind: type[Record], key: str, name: str) -> tuple[Record, str]:
        try:
            data, etag = self._store.read_versioned(key)
        except NoSuchObject as error:
            raise NoSuchUser(f"there is no {kind.__name__.lower()} {name}") from error
        return records.loads(kind, data), etag


def _checked(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise NotAllowed(f"{name[:80]!r} can't be a name; take small letters, digits, dots, dashes and underscores")
    return name


def _known(name: str) -> str:
    """The name itself. Raises NoSuchUser for what can't be one, so that no request leads to another key."""
    if not re.fullmatch(NAME, name):
        raise NoSuchUser(f"there is no user {name[:80]}")
    return name
