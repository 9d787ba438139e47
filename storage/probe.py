"""What a store can do, found out by doing it under a key of its own. Nothing is left behind."""

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from storage.objects import AlreadyThere, Conflict, NoSuchObject, NotSupported, ObjectStore, StoreError
from storage.s3 import S3Store

_BIG = 9_000_000  # bytes: more than one part of a multipart upload
_RACERS, _HEATS = 8, 6
_SKEW = 60.0  # seconds; S3 refuses from 15 minutes
_OPTIONAL = "films are read through the machine's cache instead"


class Verdict(StrEnum):
    """What a finding means for a farm."""

    GOOD = "good"
    LIMITED = "limited"  # it works, with less
    BAD = "bad"  # a farm can't use this store
    UNKNOWN = "unknown"  # not asked, since something before it failed, or there is nobody to ask


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    name: str  # in few words
    verdict: Verdict
    meaning: str  # a sentence


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """All that was tried, in the order of trying."""

    store: str  # what it calls itself; no secret
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Whether a farm can use this store."""
        return all(each.verdict is not Verdict.BAD for each in self.findings)


def probe(store: ObjectStore) -> ProbeResult:
    """Try what the farm needs. Raises nothing: what goes wrong is a finding."""
    top = f"probe-{secrets.token_hex(8)}"
    findings = [_asked("write, read, delete", lambda: _basics(store, top))]
    if findings[0].verdict is Verdict.GOOD:
        asked: dict[str, Callable[[], Finding]] = {
            "create once": lambda: _create_once(store, top),
            "compare and swap": lambda: _swap(store, top),
            "listing after writing": lambda: _listing(store, top),
            "ranges": lambda: _ranges(store, top),
            "files in several parts": lambda: _multipart(store, top),
            "URLs for readers": lambda: _presigned(store, top),
            "clock": lambda: _clock(store),
            "former versions": lambda: _versions(store),
        }
        findings += [_asked(name, ask) for name, ask in asked.items()]
    left = _cleaned(store, top)
    return ProbeResult(repr(store), (*findings, *left))


def _asked(name: str, ask: Callable[[], Finding]) -> Finding:
    try:
        return ask()
    except (StoreError, OSError) as error:
        return Finding(name, Verdict.BAD, str(error))


def _basics(store: ObjectStore, top: str) -> Finding:
    name = "write, read, delete"
    with _file(b"probe") as path:
        store.put_file(f"{top}/basics", path)
    if store.read(f"{top}/basics") != b"probe" or store.stat(f"{top}/basics").size != 5:
        return Finding(name, Verdict.BAD, "What is read isn't what was written.")
    store.delete(f"{top}/basics")
    try:
        store.read(f"{top}/basics")
    except NoSuchObject:
        return Finding(name, Verdict.GOOD, "The store answers, and these keys may write, read and delete.")
    return Finding(name, Verdict.BAD, "What was deleted can still be read.")


def _create_once(store: ObjectStore, top: str) -> Finding:
    name = "create once"
    if isinstance(store, S3Store) and store.single_writer:
        honoured = store.conditions().create
        text = "The settings say single-writer: records are safe only while one controller runs, never two at once."
        if honoured:
            text += " This server could decide itself: unset VEILFARM_S3_CONDITIONS."
        return Finding(name, Verdict.LIMITED, text)
    try:
        store.create(f"{top}/once", b"first")
        try:
            store.create(f"{top}/once", b"second")
        except AlreadyThere:
            if store.read(f"{top}/once") == b"first":
                return _race(store, top)
        return Finding(name, Verdict.BAD, "A second writer overwrites the first: work could be lost in silence.")
    except NotSupported:
        todo = "Use another server, or one controller with VEILFARM_S3_CONDITIONS=single-writer."
        if isinstance(store, S3Store) and store.bucket.keeps_versions():
            todo = "The bucket keeps former versions, which some servers can't combine with that; use one that doesn't."
        return Finding(name, Verdict.BAD, f"The server ignores If-None-Match: a second writer would overwrite. {todo}")


def _race(store: ObjectStore, top: str) -> Finding:
    """Servers that look first and write then keep the condition only while nobody else writes."""
    name = "create once"

    def create(number: int) -> bool:
        try:
            store.create(f"{top}/race/{number // _RACERS}", str(number).encode())
        except AlreadyThere:
            return False
        return True

    with ThreadPoolExecutor(_RACERS) as pool:
        won = list(pool.map(create, range(_RACERS * _HEATS)))
    winners = [won[start : start + _RACERS].count(True) for start in range(0, len(won), _RACERS)]
    if winners == [1] * _HEATS:
        return Finding(name, Verdict.GOOD, "Of several workers that finish the same chunk, one counts.")
    text = f"Of {_RACERS} writers at the same moment, {max(winners)} believe that they were first. Update the server."
    return Finding(name, Verdict.BAD, text)


def _swap(store: ObjectStore, top: str) -> Finding:
    name, key = "compare and swap", f"{top}/swap"
    try:
        store.create(key, b"one")
        _, etag = store.read_versioned(key)
        store.replace(key, b"two", etag)
        try:
            store.replace(key, b"three", etag)
        except Conflict:
            pass
        else:
            return Finding(name, Verdict.BAD, "A change that nobody has seen is overwritten.")
    except NotSupported:
        return Finding(name, Verdict.BAD, "Not without creating once.")
    if isinstance(store, S3Store) and store.single_writer:
        text = "Pausing, priorities and who leads are safe only while one controller runs."
        return Finding(name, Verdict.LIMITED, text)
    if isinstance(store, S3Store) and not store.conditions().replace:
        text = (
            "The server ignores If-Match; a lock takes its place, which a machine that hangs for half a minute loses."
        )
        return Finding(name, Verdict.LIMITED, text)
    return Finding(name, Verdict.GOOD, "Of two people who change a job at the same time, the second is told.")


def _listing(store: ObjectStore, top: str) -> Finding:
    name = "listing after writing"
    keys = tuple(f"{top}/list/{number}/x" for number in range(3))
    for key in keys:
        with _file(b"") as path:
            store.put_file(key, path)
    there = store.list(f"{top}/list") == keys and store.children(f"{top}/list") == ("0", "1", "2")
    page = store.list(f"{top}/list", keys[0], 1) == keys[1:2]
    store.delete(keys[0])
    if there and page and store.list(f"{top}/list") == keys[1:]:
        return Finding(name, Verdict.GOOD, "What was written or deleted shows at once.")
    return Finding(name, Verdict.BAD, "Listings lag behind or leave keys out: the farm would not see its own work.")


def _ranges(store: ObjectStore, top: str) -> Finding:
    name, data = "ranges", bytes(range(256)) * 40
    with _file(data) as path:
        store.put_file(f"{top}/range", path)
    right = (
        store.read_range(f"{top}/range", 1000, 500) == data[1000:1500]
        and store.read_range(f"{top}/range", len(data) - 3, 10) == data[-3:]
        and store.read_range(f"{top}/range", len(data), 1) == b""
    )
    if right:
        return Finding(
            name, Verdict.GOOD, "Part of a film can be read without the rest, and a broken transfer goes on."
        )
    return Finding(name, Verdict.BAD, "Other bytes come than were asked for.")


def _multipart(store: ObjectStore, top: str) -> Finding:
    name, data = "files in several parts", secrets.token_bytes(_BIG)
    with _file(data) as path:
        facts = store.put_file(f"{top}/big", path)
        copy = path.with_name("copy")
        store.fetch(f"{top}/big", copy, facts.etag)
        same = copy.read_bytes() == data
    if same and facts.size == _BIG:
        return Finding(name, Verdict.GOOD, f"A file of {_BIG / 1e6:.0f} MB went and came back.")
    return Finding(name, Verdict.BAD, "A big file comes back as another.")


def _presigned(store: ObjectStore, top: str) -> Finding:
    name = "URLs for readers"
    with _file(b"0123456789") as path:
        store.put_file(f"{top}/url", path)
    try:
        url = store.presigned(f"{top}/url", 60)
    except NotSupported:
        return Finding(name, Verdict.LIMITED, "A folder has no URLs: results are fetched through the farm.")
    assert isinstance(store, S3Store)
    try:
        status, body = store.bucket.open_url(url, 2, 3)
    except StoreError as error:
        return Finding(name, Verdict.LIMITED, f"Readers without keys get nothing: {error}")
    if body == b"234":
        return Finding(name, Verdict.GOOD, "Results can be handed out by a URL that ends by itself.")
    return Finding(name, Verdict.LIMITED, f"Readers without keys get no range (HTTP status {status}); {_OPTIONAL}.")


def _clock(store: ObjectStore) -> Finding:
    name = "clock"
    if not isinstance(store, S3Store):
        return Finding(name, Verdict.GOOD, "It is this machine's own.")
    ahead = store.bucket.clock_ahead()
    if ahead is None:
        return Finding(name, Verdict.UNKNOWN, "The server doesn't tell its time.")
    if abs(ahead) < _SKEW:
        return Finding(name, Verdict.GOOD, "This machine and the server agree on the time.")
    text = (
        f"This machine is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server; set its clock, by NTP."
    )
    return Finding(name, Verdict.LIMITED, text)


def _versions(store: ObjectStore) -> Finding:
    name = "former versions"
    if isinstance(store, S3Store) and store.bucket.keeps_versions():
        text = "The bucket keeps what is deleted or replaced; erasing a job takes that, too, if the keys may."
        return Finding(name, Verdict.LIMITED, text)
    return Finding(name, Verdict.GOOD, "What is deleted is gone, as far as the server tells.")


def _cleaned(store: ObjectStore, top: str) -> list[Finding]:
    try:
        store.erase(top)
    except StoreError as error:
        return [Finding("cleaning up", Verdict.BAD, f"{error}; what was written for this lies below {top}")]
    return []


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="veil-probe-") as folder:
        path = Path(folder) / "probe"
        path.write_bytes(data)
        yield path
