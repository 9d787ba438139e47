"""Copies of objects on this machine, for all its processes, within a bound.

    {root}/.lock          held for moments: whoever looks, adds or removes
    {root}/{name}/        a copy: files that are only read
    {root}/{name}.json    its key, its size; its time of change is when it was last asked for
    {root}/{name}.fill    held by the one that makes the copy, so that others wait for it
    {root}/{id}.lease     held by a process as long as it lives; lists the copies that it uses
    {root}/{id}.part-…/   what this process is making

The kernel frees the locks of a process that dies: what it used and what it left half done may go then. A copy that a
living process uses stays, even if that takes more room than allowed.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import secrets
import shutil
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from storage.files import filled, translated
from storage.objects import ObjectStore, StoreError

_LOCK = ".lock"
_LIMIT = 20.0  # GB


class Cache:
    """Copies below `root`, of at most `limit` bytes, none unused for longer than `age` seconds."""

    def __init__(self, root: Path, limit: int, age: float = 86400.0, clock: Callable[[], float] = time.time) -> None:
        self.root, self.limit, self.age, self._clock = root, limit, age, clock
        self._id = secrets.token_hex(8)
        self._used, self._given = Counter[str](), Counter[str]()
        with translated(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                self._lease = os.open(root / f"{self._id}.lease", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._lease, fcntl.LOCK_EX)
                weakref.finalize(self, os.close, self._lease)
                self._sweep()

    @contextlib.contextmanager
    def file(self, store: ObjectStore, key: str, version: str) -> Iterator[Path]:
        """A copy of one version of an object, to be read only, with the last part of its key as name. It stays during
        the block. Raises Conflict for another version, NoSuchObject."""
        name = key.rpartition("/")[2]

        def fill(folder: Path) -> None:
            store.fetch(key, folder / name, version)

        copy = f"{store!r}/{key}\n{version}"
        folder = self._get(copy, fill, self._used)
        try:
            yield folder / name
        finally:
            with translated(self.root), self._locked():
                self._used[_name(copy)] -= 1
                self._note()

    def get(self, key: str, fill: Callable[[Path], None]) -> Path:
        """The folder with the copy of `key`, which `fill` makes in a new folder if there is none.

        It stays until `release`. Copies are of what never changes: a new version is another key.
        """
        return self._get(key, fill, self._given)

    def _get(self, key: str, fill: Callable[[Path], None], users: Counter[str]) -> Path:
        name = _name(key)
        with translated(self.root):
            if (there := self._found(name, users)) is not None:
                return there
            with open(self.root / f"{name}.fill", "ab") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
                if (there := self._found(name, users)) is not None:
                    return there
                part = self.scratch()
                try:
                    fill(part)
                    return self._adopt(part, key, users)
                except BaseException:
                    shutil.rmtree(part, ignore_errors=True)
                    Path(file.name).unlink(missing_ok=True)
                    raise

    def adopt(self, folder: Path, key: str) -> Path:
        """Make a scratch folder of this cache the copy of `key`. It stays until `release`."""
        return self._adopt(folder, key, self._given)

    def _adopt(self, folder: Path, key: str, users: Counter[str]) -> Path:
        name = _name(key)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        with translated(self.root), self._locked():
            if (self.root / f"{name}.json").exists():  # somebody else was first, and it may be in use
                shutil.rmtree(folder)
                self._use(name, users)
                return self.root / name
            shutil.rmtree(self.root / name, ignore_errors=True)  # of a process that died just here
            folder.rename(self.root / name)
            try:
                with filled(self.root / f"{name}.json") as file:
                    file.write(json.dumps({"key": key, "size": size}).encode())
                self._use(name, users)
            except BaseException:  # a full disk: without its note nobody would ever remove it
                self._remove(name)
                raise
            self._sweep()
        return self.root / name

    def scratch(self) -> Path:
        """A new folder below the cache, which goes when this process ends."""
        path = self.root / f"{self._id}.part-{secrets.token_hex(8)}"
        with translated(path):
            path.mkdir(mode=0o700)
        return path

    def release(self) -> None:
        """What `get` and `adopt` gave out may go when room is needed."""
        with translated(self.root), self._locked():
            self._given.clear()
            self._note()
            self._sweep()

    def forget(self, prefix: str) -> None:
        """Remove the copies of keys that begin with `prefix`, in use or not: they show what must be gone."""
        with translated(self.root), self._locked():
            for note in self.root.glob("*.json"):
                if str(json.loads(note.read_bytes())["key"]).startswith(prefix):
                    self._remove(note.stem)

    def size(self) -> int:
        """Bytes that the copies take."""
        with translated(self.root), self._locked():
            return sum(size for _, _, size in self._copies())

    def _found(self, name: str, users: Counter[str]) -> Path | None:
        with self._locked():
            if not (self.root / f"{name}.json").exists():
                return None
            self._use(name, users)
        return self.root / name

    def _use(self, name: str, users: Counter[str]) -> None:
        now = self._clock()
        os.utime(self.root / f"{name}.json", (now, now))
        users[name] += 1
        try:
            self._note()
        except BaseException:
            users[name] -= 1
            raise

    def _note(self) -> None:
        """Tell other processes which copies are used here."""
        names = +self._used + +self._given
        data = "\n".join(names).encode()
        os.pwrite(self._lease, data, 0)  # first: on a full disk it fails, and what was noted stays
        os.ftruncate(self._lease, len(data))

    def _sweep(self) -> None:
        """Remove what the dead left, and of what nobody uses the oldest until the rest is small enough."""
        used = set[str]()
        for lease in self.root.glob("*.lease"):
            names = self._names(lease)
            if names is None:
                for part in self.root.glob(f"{lease.stem}.part-*"):
                    shutil.rmtree(part, ignore_errors=True)
                lease.unlink()
            else:
                used |= names
        for folder in self.root.iterdir():  # of a process that died before it had noted its copy
            if folder.is_dir() and ".part-" not in folder.name and not (self.root / f"{folder.name}.json").exists():
                shutil.rmtree(folder, ignore_errors=True)
        copies = sorted(self._copies())
        total = sum(size for _, _, size in copies)
        for last, name, size in copies:
            if name not in used and (total > self.limit or last < self._clock() - self.age):
                self._remove(name)
                total -= size

    def _names(self, lease: Path) -> set[str] | None:
        """The copies that its holder uses, or None if it lives no more."""
        with open(lease, "rb") as file:
            if lease.stem != self._id:
                try:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return None
                except BlockingIOError:
                    pass
            return set(file.read().decode().split())

    def _copies(self) -> list[tuple[float, str, int]]:
        """When each was last asked for, its name, its bytes."""
        notes = list(self.root.glob("*.json"))
        return [(note.stat().st_mtime, note.stem, int(json.loads(note.read_bytes())["size"])) for note in notes]

    def _remove(self, name: str) -> None:
        (self.root / f"{name}.json").unlink(missing_ok=True)
        (self.root / f"{name}.fill").unlink(missing_ok=True)
        shutil.rmtree(self.root / name, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.root / _LOCK, "ab") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            yield


def node_cache(env: Mapping[str, str] | None = None) -> Cache:
    """This process's view of the machine's cache: in VEILFARM_CACHE, of VEILFARM_CACHE_GB. Raises StoreError."""
    env = os.environ if env is None else env
    home = env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home()) / ".cache"
    root = env.get("VEILFARM_CACHE") or Path(home) / "veilfarm"
    try:
        limit = float(env.get("VEILFARM_CACHE_GB") or _LIMIT)
    except ValueError as error:
        raise StoreError(f"VEILFARM_CACHE_GB is {env['VEILFARM_CACHE_GB']!r}; set it to a number") from error
    return _opened(Path(root).absolute(), int(limit * 1e9))


@functools.cache
def _opened(root: Path, limit: int) -> Cache:
    return Cache(root, limit)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
