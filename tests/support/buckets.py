"""Stores in new buckets of a real server."""

import time
from itertools import count
from pathlib import Path

from storage.cache import Cache
from storage.retry import Patience
from storage.s3 import S3Store
from storage.settings import S3Settings

_names = count()


def new_store(settings: S3Settings, folder: Path, bucket: str = "", **patience: int) -> S3Store:
    """A store that hardly waits. Without a name, in a bucket of its own."""
    cache = Cache(folder / "cache", 10**9)
    name = bucket or f"test-{next(_names)}"
    quick = Patience(sleep=lambda seconds: time.sleep(seconds / 1000), **patience)
    store = S3Store(settings, name, "farm/one", cache, quick)
    if not bucket:
        store.bucket.client.make_bucket(name)
    return store
