"""One at a time: a lock in a bucket, for the moment in which a record is compared and swapped.

Servers decide between creators of an object, but not all decide between those who replace one: of eight writers with
the same If-Match, Ceph's gateway 16.2 told two that they had won in 95 of 120 races, while only one had (it takes a
lost race for a success on purpose: ceph/ceph#439). So whoever replaces a record first makes an object beside it that
can be made only once. It is a short moment; who dies in it leaves a lock that others break when it stood still for
half a minute.

The lock alone would not be enough: somebody may be stopped for longer and go on then. What it does still is
conditional, and refused. To get two winners, one must be stopped that long and also hit another's request within
milliseconds.
"""

import contextlib
import secrets
from collections.abc import Iterator

from storage import conditional
from storage.bucket import Bucket
from storage.objects import Interrupted, NoSuchObject
from storage.s3errors import failure

STALE = 30.0  # seconds; a holder makes two requests
_PATIENCE = 120.0  # seconds: then others hold it all the time
_FIRST, _LONGEST = 0.02, 1.0  # seconds between looks


@contextlib.contextmanager
def locked(bucket: Bucket, name: str) -> Iterator[None]:
    """Alone in this block among all who lock the object `name`. Raises Interrupted when others never let go."""
    folder, _, last = name.rpartition("/")
    lock = f"{folder}/.lock-{last}" if folder else f".lock-{last}"
    taken = _taken(bucket, lock, name)
    try:
        yield
    finally:
        # Later it may be another's: that one is broken instead, should it have been left.
        if bucket.patience.clock() - taken < STALE / 2:
            bucket.delete(lock)


def _taken(bucket: Bucket, lock: str, name: str) -> float:
    """When the lock was taken."""
    me = secrets.token_bytes(16)
    patience = bucket.patience
    begun = since = patience.clock()
    holder, pause = b"", _FIRST
    while patience.clock() - begun < _PATIENCE:
        asked = patience.clock()
        if conditional.create(bucket, lock, me):
            return asked
        patience.sleep(pause * patience.chance())
        pause = min(2 * pause, _LONGEST)
        try:
            now = bucket.read(lock)[0]
        except NoSuchObject:
            continue
        if now != holder:
            holder, since = now, patience.clock()
        elif patience.clock() - since > STALE:
            bucket.delete(lock)
    raise failure(Interrupted, bucket.where(name), "others hold its lock all the time", "try again later")
