"""Who is logged in with a browser: sessions as records in the store, so that they outlive a controller.

A session begins with a token and ends with it, after half a day, or when the user logs out. Its cookie is
`vs_ID_SECRET`; as with tokens, the store has the hash of the secret only.
"""

import contextlib
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster import records
from cluster.credentials import Remembered, digest, new_secret
from cluster.job import born, new_id
from cluster.users import NoSuchUser, Token, User, Users
from storage import layout
from storage.objects import NoSuchObject, ObjectStore, StoreError

COOKIE = "veilfarm_session"
LASTS = 12 * 3600.0  # seconds
_TEXT = re.compile(r"vs_([0-9A-HJKMNP-TV-Z]{26})_([A-Za-z0-9_\-]{43})")


@dataclass(frozen=True, slots=True)
class Session:
    """One browser of one user."""

    id: str
    user: str
    token: str  # id of the token that it was begun with
    digest: str  # SHA-256 of the cookie's secret part, in hex
    expires: float  # Unix time


class Sessions:
    """The sessions of one store. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, users: Users, clock: Callable[[], float] = time.time) -> None:
        self._store, self._users, self._clock = store, users, clock
        self._known = Remembered[tuple[User, Session, Token]]()

    def begin(self, token: str) -> str | None:
        """The cookie of a new session; None for a token that doesn't count. Raises StoreError."""
        user = self._users.who(token)
        if user is None:
            return None
        secret = new_secret()
        session = Session(new_id(), user.name, token.split("_")[1], digest(secret), self._clock() + LASTS)
        self._store.create(layout.session(session.id), records.dumps(session))
        with contextlib.suppress(StoreError):
            self._tidy()
        return f"vs_{session.id}_{secret}"

    def who(self, cookie: str) -> User | None:
        """Whose session it is; None for one that doesn't count any more. Raises StoreError."""
        match = _TEXT.fullmatch(cookie)
        if match is None:
            return None
        now = self._clock()
        known = self._known.get(cookie, now, lambda: self._look_up(match[1], match[2]))
        if known is None:
            return None
        user, session, token = known
        return user if token.good(now) and now < session.expires and not user.disabled else None

    def _look_up(self, session_id: str, secret: str) -> tuple[User, Session, Token] | None:
        try:
            session = records.loads(Session, self._store.read(layout.session(session_id)))
            token, user = self._users.token(session.token), self._users.user(session.user)
        except (NoSuchObject, NoSuchUser):
            return None
        return (user, session, token) if hmac.compare_digest(session.digest, digest(secret)) else None

    def end(self, cookie: str) -> None:
        """Log out."""
        match = _TEXT.fullmatch(cookie)
        if match is not None and self.who(cookie) is not None:
            self._store.delete(layout.session(match[1]))
            self._known.forget(cookie)

    def forget(self) -> None:
        """Look all sessions up again."""
        self._known.forget()

    def _tidy(self) -> None:
        """Delete those whose time is up; their ids say when they were made."""
        for key in self._store.keys("farm/sessions"):
            if born(key.rpartition("/")[2]) > self._clock() - LASTS:
                break
            self._store.delete(key)


def mark(cookie: str) -> str:
    """What every form of this session carries, and no other site can know (CSRF)."""
    return hashlib.sha256(f"form {cookie}".encode()).hexdigest()


def marked(cookie: str, given: str) -> bool:
    """Whether a request comes from a page of this session."""
    return hmac.compare_digest(mark(cookie), given)
