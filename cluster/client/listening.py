"""What happens on a farm, as server-sent events that go on after a cut
(https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from cluster import records
from cluster.client.answers import Event, Job, Progress
from cluster.client.errors import Answered, NoSuchThing, Unreachable
from cluster.client.wire import Wire
from cluster.states import OVER, JobState

_BLOCK = 1 << 16
_MOST = 1 << 20  # bytes of one event; what is longer is none of this API's


def events(wire: Wire, job: str | None = None, last: str | None = None, patience: float = 600.0) -> Iterator[Event]:
    """Events without end, of all jobs or of one. Begins with "open" as soon as somebody listens there, so that what is
    read then misses nothing; after a cut it goes on after the last event. `last`: go on after this one; `patience`:
    seconds without a connection after which it is given up. Raises ClientError."""
    query = [("job", job)] if job is not None else []
    failed, heard = 0, time.monotonic()
    while True:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        try:
            with wire.open("GET", "/v1/events", query, None, headers) as response:
                failed = 0
                if last is None:
                    yield Event("", "open")
                for event in parsed(response.stream(_BLOCK, decode_content=True)):
                    heard, last = time.monotonic(), event.id or last
                    yield event
            heard = time.monotonic()
        except (Unreachable, Answered) as error:
            if isinstance(error, Answered) and error.status not in (429, 502, 503, 504):
                raise
            if time.monotonic() - heard > patience or getattr(error, "lasting", False):
                raise
        failed += 1
        wire.sleep(wire.patience.pause(failed))


def follow(show: Callable[[str], Job], told: Iterable[Event], jobs: Sequence[str]) -> Iterator[Job]:
    """Each job as it is now, then whenever it has changed or gone on, until all are over. `show`: one as it is; `told`:
    the events of all of them. Raises ClientError; NoSuchThing for one that is erased meanwhile."""
    left, known = list(dict.fromkeys(jobs)), dict[str, Job]()
    for event in told:
        for found in _news(show, event, left, known):
            if known.get(found.job) != found:
                known[found.job] = found
                yield found
        left = [job for job in left if job not in known or known[job].state not in OVER]
        if not left:
            return


def _news(show: Callable[[str], Job], event: Event, left: Sequence[str], known: dict[str, Job]) -> Iterator[Job]:
    """What an event says of the jobs that are followed."""
    if event.kind in ("open", "reset"):
        yield from map(show, left)
        return
    job = event.data.get("job")
    if not isinstance(job, str) or job not in left:
        return
    if event.kind == "job":
        before = known.get(job)
        found = records.taken(Job, {**event.data, "progress": None})
        running = before is not None and found.state is JobState.RUNNING
        yield replace(found, progress=before.progress if before is not None and running else None)
    elif event.kind == "progress" and job in known:
        yield replace(known[job], progress=records.taken(Progress, event.data))
    elif event.kind == "gone":
        raise NoSuchThing(f"job {job} was erased", status=404)


def parsed(blocks: Iterable[bytes]) -> Iterator[Event]:
    """The events of a stream. One that was cut off in its middle is none."""
    fields: dict[str, str] = {}
    for line in _lines(blocks):
        if not line:
            if fields.get("data"):
                yield _event(fields)
            fields = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in fields:
            value = f"{fields['data']}\n{value}"
        if name:  # else it is a comment, which keeps the connection alive
            fields[name] = value


def _event(fields: dict[str, str]) -> Event:
    try:
        data = json.loads(fields["data"])
    except ValueError:
        data = {}
    return Event(fields.get("id", ""), fields.get("event", "message"), data if isinstance(data, dict) else {})


def _lines(blocks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode(errors="replace")
        if len(rest) > _MOST:
            raise Unreachable("an event of the server has no end", "", "check the address")
