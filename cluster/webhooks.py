"""Tells other programs of new states of jobs: a signed POST to each URL that the operator gave at start.

An event is written into the store before it is sent, and deleted when all URLs have it or were given up: so each comes
at least once, also after a crash, and a receiver tells repeats by the event's id. Events of one URL go in order; one
that fails is tried again with growing pauses while the later ones wait. The controller never waits: it puts events into
a queue with a bound, and what doesn't fit is left out and said so in the log.

The body is JSON. The header `Veilfarm-Signature: t=UNIX_TIME,v1=HEX` holds HMAC-SHA256, by the shared secret, over the
time, a dot, and the body as it came. `verified` is how a receiver checks it.
"""

import contextlib
import hashlib
import hmac
import json
import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import urllib3

from cluster import records
from cluster.book import Card, Control
from cluster.states import JobState
from storage import layout
from storage.objects import AlreadyThere, ObjectStore, StoreError

_LOG = logging.getLogger(__name__)

SIGNATURE, EVENT = "Veilfarm-Signature", "Veilfarm-Event"
WINDOW = 300.0
"""Seconds by which a signature's time may be away from the receiver's clock: later, it may be a replay."""

SHORTEST_SECRET = 16  # bytes
QUEUE = 10_000  # events that may wait
RECENT = 900.0  # seconds: older states that a new leader finds were told by the one before


@dataclass(frozen=True, slots=True)
class Event:
    """A job is in another state."""

    id: str  # the same for the same change, however often it is told
    job: str
    name: str  # of the film
    owner: str
    state: JobState
    reason: str
    at: float  # Unix time of the change


@dataclass(frozen=True, slots=True)
class Pauses:
    """How often an event is tried, and the seconds between: doubled each time, and drawn at random up to that."""

    tries: int = 10
    first: float = 1.0
    most: float = 300.0
    timeout: float = 10.0  # for an answer

    def before(self, attempt: int) -> float:
        """Seconds before the try number `attempt`; 0 for the first."""
        if attempt == 0:
            return 0.0
        return random.uniform(0.5, 1.0) * min(self.most, self.first * 2.0 ** (attempt - 1))


def event_of(job: str, card: Card, control: Control) -> Event:
    """Its id is made of what changed, so that another controller gives it the same."""
    text = f"{job} {control.round} {control.state} {control.since!r}"
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Event(name, job, card.name, card.owner, control.state, control.reason, control.since)


def signature(secret: bytes, body: bytes, now: float) -> str:
    """The header's value."""
    moment = str(int(now))
    digest = hmac.new(secret, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def verified(secret: bytes, header: str, body: bytes, now: float, window: float = WINDOW) -> bool:
    """Whether `body` came from who has the secret, at a time that is near `now`."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    moment = parts.get("t", "")
    if not (moment.isascii() and moment.isdigit()) or abs(now - int(moment)) > window:
        return False
    return hmac.compare_digest(signature(secret, body, int(moment)).encode(), header.encode())


def checked_url(url: str) -> str:
    """The URL itself. Raises ValueError for what is no http(s) URL of a host."""
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError as error:
        raise ValueError(f"{url} is no URL") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"{url} is no http:// or https:// URL")
    return url


class _Lane:
    """One URL: its events in order, sent by a thread of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.queue: queue.Queue[Event] = queue.Queue(QUEUE)
        self.shown = (
            f"{urllib3.util.parse_url(url).scheme}://{urllib3.util.parse_url(url).netloc}"  # the path may be a key
        )


class Webhooks:
    """`tell` never blocks. `start` and `close` once each."""

    def __init__(
        self,
        store: ObjectStore,
        urls: Sequence[str],
        secret: bytes,
        pauses: Pauses | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._secret, self._clock = store, secret, clock
        self._pauses = pauses or Pauses()
        self._lanes = tuple(_Lane(url) for url in urls)
        self._new: queue.Queue[Event] = queue.Queue(QUEUE)
        self._left: dict[str, int] = {}  # URLs that haven't got the event yet
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._outcomes: Counter[str] = Counter()
        self._threads: list[threading.Thread] = []
        # Redirects would lead to places that the operator didn't name.
        self._http = urllib3.PoolManager(
            num_pools=len(self._lanes) or 1, retries=False, timeout=urllib3.Timeout(total=self._pauses.timeout)
        )

    def outcomes(self) -> dict[str, int]:
        """How many were delivered, tried again, given up, and left out since the queue was full."""
        with self._lock:
            return {name: self._outcomes[name] for name in ("delivered", "retried", "given_up", "left_out")}

    def waiting(self) -> int:
        """Events that are on their way."""
        with self._lock:
            return len(self._left) + self._new.qsize()

    def tell(self, job: str, card: Card, control: Control) -> None:
        """A job is in this state."""
        if self._clock() - control.since > RECENT:
            return
        try:
            self._new.put_nowait(event_of(job, card, control))
        except queue.Full:
            self._count("left_out")
            _LOG.error("too many webhooks wait: job %s is %s wasn't told", job, control.state, extra={"job": job})

    def start(self) -> None:
        """Send in threads: what an earlier run has left first."""
        self._threads = [threading.Thread(target=self._keep, name="webhooks", daemon=True)]
        for lane in self._lanes:
            self._threads.append(threading.Thread(target=self._send_all, args=(lane,), name="webhook", daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self, patience: float = 2.0) -> None:
        """Send no more; what is left lies in the store for the next start. Takes `patience` seconds at most."""
        self._stop.set()
        ends = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        self._http.clear()

    def _count(self, outcome: str) -> None:
        with self._lock:
            self._outcomes[outcome] += 1

    def _keep(self) -> None:
        """Take events from the controller, write them down, and hand them to all lanes."""
        with contextlib.suppress(StoreError):
            for key in self._store.keys("farm/outbox"):
                with contextlib.suppress(ValueError):
                    self._hand(records.loads(Event, self._store.read(key)))
        while not (self._stop.is_set() and self._new.empty()):
            with contextlib.suppress(queue.Empty):
                event = self._new.get(timeout=0.2)
                try:
                    self._store.create(layout.waiting_event(event.id), records.dumps(event))
                except AlreadyThere:
                    if event.id in self._left:
                        continue  # it is on its way
                except StoreError as error:
                    _LOG.warning("webhook %s is sent, but would be lost in a crash: %s", event.id, error)
                self._hand(event)

    def _hand(self, event: Event) -> None:
        with self._lock:
            self._left[event.id] = len(self._lanes)
        for lane in self._lanes:
            try:
                lane.queue.put_nowait(event)
            except queue.Full:
                self._count("left_out")
                _LOG.error("too many webhooks wait for %s: %s is left out", lane.shown, event.id)
                self._through(event)

    def _send_all(self, lane: _Lane) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                event = lane.queue.get(timeout=0.2)
                if self._send(lane, event):
                    self._through(event)

    def _send(self, lane: _Lane, event: Event) -> bool:
        """Until it is delivered or given up. False when there was no time for either."""
        trouble = ""
        for attempt in range(self._pauses.tries):
            if self._stop.wait(self._pauses.before(attempt)):
                return False
            trouble = self._post(lane.url, event)
            if not trouble:
                self._count("delivered")
                return True
            self._count("retried" if attempt + 1 < self._pauses.tries else "given_up")
        text = "webhook %s to %s is given up after %d tries: %s"
        _LOG.error(text, event.id, lane.shown, self._pauses.tries, trouble, extra={"job": event.job})
        return True

    def _post(self, url: str, event: Event) -> str:
        """What went wrong; "" when it was taken."""
        body = json.dumps(records.plain(event), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "veilfarm",
            EVENT: event.id,
            SIGNATURE: signature(self._secret, body, self._clock()),
        }
        try:
            answer = self._http.request("POST", url, body=body, headers=headers, redirect=False, preload_content=False)
        except urllib3.exceptions.HTTPError as error:
            return type(error).__name__
        try:
            return "" if 200 <= answer.status < 300 else f"the answer was {answer.status}"
        finally:
            answer.close()  # whatever it says, and however long: nobody reads it

    def _through(self, event: Event) -> None:
        """One URL less."""
        with self._lock:
            self._left[event.id] -= 1
            if self._left[event.id]:
                return
            del self._left[event.id]
        with contextlib.suppress(StoreError):
            self._store.delete(layout.waiting_event(event.id))
