"""How people name stores and objects: "s3://BUCKET", "s3://BUCKET/FOLDER", or the path of a folder."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from storage.cache import Cache, node_cache
from storage.folder import FolderStore
from storage.objects import ObjectStore, StoreError, foreign
from storage.retry import Patience
from storage.settings import S3Settings

if TYPE_CHECKING:
    from storage.s3 import S3Store

_S3 = "s3://"


def is_object(place: str | None) -> bool:
    """Whether it names something in a bucket, and not a path."""
    return bool(place) and str(place).startswith(_S3)


def open_store(url: str, env: Mapping[str, str] | None = None, patience: Patience | None = None) -> ObjectStore:
    """The store that `url` names, with keys and cache as the environment says. A process gets the same one each time.

    Raises StoreError for what is no address, WrongKeys when there are no keys. Nothing is sent yet.
    """
    env = os.environ if env is None else env
    if not is_object(url):
        if "://" in url:
            raise StoreError(f"{url} is neither a folder nor a bucket; write s3://BUCKET/FOLDER or a path")
        return FolderStore(Path(url))
    bucket, _, prefix = url.removeprefix(_S3).partition("/")
    prefix = prefix.rstrip("/")
    try:
        prefix and foreign(prefix)
    except ValueError as error:
        raise StoreError(f"{url} can't be a folder in a bucket; write s3://BUCKET/FOLDER") from error
    return _s3(S3Settings.from_env(env), bucket, prefix, node_cache(env), patience)


def parse_object(url: str, env: Mapping[str, str] | None = None) -> tuple[ObjectStore, str]:
    """The store of the object that `url` names, and its key there. The object needn't be there. Raises as open_store
    does."""
    if not is_object(url):
        path = Path(url).absolute()
        return open_store(str(path.parent), env), path.name
    bucket, _, key = url.removeprefix(_S3).partition("/")
    try:
        return open_store(f"{_S3}{bucket}", env), foreign(key)
    except ValueError as error:
        raise StoreError(f"{url} can't be an object; write s3://BUCKET/KEY") from error


@functools.lru_cache(maxsize=64)
def _s3(settings: S3Settings, bucket: str, prefix: str, cache: Cache, patience: Patience | None) -> "S3Store":
    from storage.s3 import S3Store  # MinIO's SDK takes a tenth of a second, which a folder needn't wait for

    return S3Store(settings, bucket, prefix, cache, patience)
