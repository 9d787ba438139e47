"""The farm's outer side in the process of its controller: index, metrics, webhooks and the HTTP API."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.account import FarmStatus, Progress
from cluster.api.allowed import Allowed
from cluster.api.app import create
from cluster.api.context import Context
from cluster.api.hub import Hub
from cluster.api.incoming import Incoming
from cluster.api.limits import Buckets, Limits
from cluster.api.once import Once
from cluster.api.server import Server
from cluster.book import Book, Card, Control
from cluster.config import LISTEN, UsageError
from cluster.counted import CountedStore
from cluster.dashboard.mount import mount
from cluster.desk import Desk
from cluster.jobindex import JobIndex
from cluster.metrics import FarmMetrics, Sources
from cluster.service import Service, read_status
from cluster.sessions import Sessions
from cluster.users import Users
from cluster.webhooks import SHORTEST_SECRET, Webhooks, checked_url
from storage.objects import ObjectStore, StoreError

_LOG = logging.getLogger(__name__)

_STATUS_FRESH = 1.0  # seconds
_TIDY_EVERY = 3600.0  # seconds
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API listens."""

    host: str
    port: int
    asked_for: bool  # else it is the default, and a farm without an API is better than none


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """What `veilfarm serve` was told of its outer side."""

    listen: Address | None = None
    webhooks: tuple[str, ...] = ()
    secret: bytes = b""  # signs webhooks
    allow: tuple[str, ...] = ()  # places that requests may name
    limits: Limits = field(default_factory=Limits)


def front_settings(
    listen: str | None, no_listen: bool, webhooks: Sequence[str], secret: Path | None, allow: Sequence[str]
) -> FrontSettings:
    """Options as values. Raises UsageError."""
    try:
        urls = tuple(checked_url(url) for url in webhooks)
        Allowed(allow)
    except ValueError as error:
        raise UsageError(str(error), "", "correct it") from error
    if urls and secret is None:
        raise UsageError("--webhook needs --webhook-secret", "receivers must know who calls", _MAKE)
    address = None if no_listen else _address(LISTEN if listen is None else listen, listen is not None)
    return FrontSettings(address, urls, _secret(secret) if secret else b"", tuple(allow))


_MAKE = "make one with: head -c 32 /dev/urandom | base64 > FILE"


def _secret(path: Path) -> bytes:
    try:
        found = path.read_bytes().strip()  # editors and echo leave a line's end
    except OSError as error:
        raise UsageError(f"--webhook-secret {path} can't be read", error.strerror or str(error), _MAKE) from error
    if len(found) < SHORTEST_SECRET:
        why = f"it has {len(found)} bytes, {SHORTEST_SECRET} are needed"
        raise UsageError(f"--webhook-secret {path} is too short", why, _MAKE)
    return found


def _address(text: str, asked_for: bool) -> Address:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {text} is no address", "", "write HOST:PORT, such as 127.0.0.1:8470")
    return Address(host, int(port), asked_for)


class Front:
    """Make it before the service, which works on its `store` and tells `changed`; then `start` and `close` once."""

    def __init__(self, store: ObjectStore, place: str, settings: FrontSettings) -> None:
        """`place`: of the store, as workers open it. Raises UsageError when an address that was asked for can't be
        had."""
        self.store = CountedStore(store)
        self._book, self._settings = Book(self.store), settings
        self.index, self.hub = JobIndex(self._book), Hub()
        self._book.seen = self.index.seen
        self.index.changed = self.hub.tell
        self.webhooks = Webhooks(self.store, settings.webhooks, settings.secret) if settings.webhooks else None
        self.users = Users(self.store)
        self._desk = Desk(self._book, place)
        self._incoming = Incoming(self.store, settings.limits.upload_days)
        self._stopping = threading.Event()
        self._seen: tuple[float, FarmStatus | None] = (float("-inf"), None)
        self.server = self._listening(settings.listen)

    @staticmethod
    def _listening(address: Address | None) -> Server | None:
        if address is None:
            return None
        try:
            server = Server(address.host, address.port)
        except OSError as error:
            why = error.strerror or str(error)
            if address.asked_for:
                text = f"can't listen on {address.host}:{address.port}"
                raise UsageError(text, why, "give another --listen, or --no-listen") from error
            _LOG.warning("no API here: %s:%d can't be had: %s", address.host, address.port, why)
            return None
        if address.host not in _LOOPBACK:
            _LOG.warning("the API listens on %s without TLS: put a proxy before it", server.url)
        return server

    def changed(self, job: str, card: Card, control: Control) -> None:
        """A job is in another state; see Service."""
        self.index.put(job, card, control)
        if self.webhooks is not None:
            self.webhooks.tell(job, card, control)

    def start(self, service: Service, say: Callable[[str], None] = lambda _: None) -> None:
        """Work beside the service, until `close`. `say`: what a person at the console must know, once."""
        service.book.seen = self.index.seen
        self.index.start()
        if self.webhooks is not None:
            self.webhooks.start()
        if self.server is not None:
            self.server.start(mount(create(self.context(service))))
            _LOG.info("the API listens on %s", self.server.url)
            say(f"The API listens on {self.server.url}")
        threading.Thread(target=self._keep_house, args=(service, say), name="house", daemon=True).start()

    def context(self, service: Service) -> Context:
        """What the API works with."""
        limits = self._settings.limits
        sources = Sources(service.account, self.index, self.store, self.webhooks, self._status, lambda: service.leads)
        return Context(
            book=self._book,
            desk=self._desk,
            index=self.index,
            users=self.users,
            sessions=Sessions(self.store, self.users),
            hub=self.hub,
            incoming=self._incoming,
            allowed=Allowed(self._settings.allow),
            limits=limits,
            asked=Buckets(limits.rate, limits.burst),
            refused=Buckets(limits.bad_rate, limits.bad_burst),
            status=self._status,
            progress=lambda: self._progress(service),
            metrics=FarmMetrics(sources).text,
            leads=lambda: service.leads,
            stopping=self._stopping,
            review=service.review,
            worth=service.pace.seconds,
        )

    def close(self) -> None:
        """End everything; requests get a few seconds."""
        self._stopping.set()
        self.index.close()
        if self.server is not None:
            self.server.close()
        if self.webhooks is not None:
            self.webhooks.close()

    def _status(self) -> FarmStatus | None:
        """As the leading controller, which may be another process, wrote it last."""
        now = time.monotonic()
        if now - self._seen[0] > _STATUS_FRESH:
            with contextlib.suppress(StoreError, ValueError):
                self._seen = (now, read_status(self.store))
        return self._seen[1]

    def _progress(self, service: Service) -> tuple[Progress, ...]:
        if service.leads:
            return service.account.progress()
        status = self._status()
        return status.progress if status is not None else ()

    def _keep_house(self, service: Service, say: Callable[[str], None]) -> None:
        """Make a first token, as soon as the store answers; then now and then delete uploads and keys of requests
        whose time is up."""
        wait = 0.0
        while self.server is not None and not self._stopping.wait(wait):
            try:
                token = self.users.first()
            except StoreError:
                wait = 5.0
                continue
            if token is not None:
                say(f"The first token, of the user admin. It is shown this once: {token}")
            break
        once = Once(self._book)
        while not self._stopping.wait(_TIDY_EVERY):
            if service.leads:
                with contextlib.suppress(StoreError, ValueError):
                    self._incoming.tidy()
                    once.tidy()
