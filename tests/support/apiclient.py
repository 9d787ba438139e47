"""The API over a store in memory, without a controller: a test plays that itself."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from cluster.account import FarmStatus, Progress
from cluster.api.allowed import Allowed
from cluster.api.app import create
from cluster.api.context import Context
from cluster.api.hub import Hub
from cluster.api.incoming import Incoming
from cluster.api.limits import Buckets, Limits
from cluster.book import Book
from cluster.desk import Desk
from cluster.jobindex import JobIndex
from cluster.sessions import Sessions
from cluster.users import Role, Users
from storage.memory import MemoryStore
from storage.objects import ObjectStore


class Api:
    """A farm's API and its users' clients."""

    def __init__(
        self,
        place: Path,
        store: ObjectStore | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.store = store if store is not None else MemoryStore()
        self.book, self.users, self.hub = Book(self.store), Users(self.store), Hub()
        self.index = JobIndex(self.book)
        self.book.seen, self.index.changed = self.index.seen, self.hub.tell
        self.index.ready = True
        self.status: FarmStatus | None = None
        self.progress: tuple[Progress, ...] = ()
        self.leads = True
        limits = limits or Limits(rate=1e6, burst=10**6)
        ticks: dict[str, Any] = {"clock": clock} if clock else {}
        self.incoming = Incoming(self.store, limits.upload_days)
        self.context = Context(
            book=self.book,
            desk=Desk(self.book, str(place / "store")),
            index=self.index,
            users=self.users,
            sessions=Sessions(self.store, self.users),
            hub=self.hub,
            incoming=self.incoming,
            allowed=Allowed([str(place / "films"), "s3://films/in"]),
            limits=limits,
            asked=Buckets(limits.rate, limits.burst, **ticks),
            refused=Buckets(limits.bad_rate, limits.bad_burst, **ticks),
            status=lambda: self.status,
            progress=lambda: self.progress,
            metrics=lambda: b"veilfarm_leader 1.0\n",
            leads=lambda: self.leads,
            stopping=threading.Event(),
        )
        self.app = create(self.context)

    def place(self, desk: Desk, allowed: Allowed) -> None:
        """Films come from elsewhere."""
        self.context = self.app.state.context = dataclasses.replace(self.context, desk=desk, allowed=allowed)

    def anonymous(self, **options: Any) -> TestClient:
        """Somebody without a token."""
        return TestClient(self.app, raise_server_exceptions=False, follow_redirects=False, **options)

    def client(self, name: str, role: Role = Role.SUBMITTER, team: str = "") -> TestClient:
        """A new user with a token."""
        self.users.add(name, role, team)
        return self.anonymous(headers={"Authorization": f"Bearer {self.users.issue(name)[0]}"})
