"""Copies of objects on this machine: within a bound, shared by processes, never pulled away from who uses them."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from storage.cache import Cache, node_cache
from storage.memory import MemoryStore
from storage.objects import Conflict, NoSuchObject, StoreError, StoreFull

ROOT = Path(__file__).parent.parent.parent


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        self.now += 1
        return self.now


def kilobyte(folder: Path) -> None:
    (folder / "x").write_bytes(bytes(1000))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 3000, clock=Clock())


def test_a_copy_is_made_once(cache: Cache) -> None:
    calls = []
    first = cache.get("a", lambda folder: (calls.append(folder), kilobyte(folder))[1])
    assert cache.get("a", kilobyte) == first
    assert len(calls) == 1
    assert (first / "x").stat().st_size == 1000
    assert not calls[0].exists()


def test_what_was_unused_longest_goes(cache: Cache) -> None:
    a, b, c = (cache.get(name, kilobyte) for name in "abc")
    cache.release()
    cache.get("a", kilobyte)
    cache.release()
    d = cache.get("d", kilobyte)
    assert [path.exists() for path in (a, b, c, d)] == [True, False, True, True]
    assert cache.size() == 3000


def test_what_is_used_stays(cache: Cache, tmp_path: Path) -> None:
    """By this process, by another object of it, and after release no longer."""
    other = Cache(tmp_path / "cache", 3000, clock=Clock())
    used = [cache.get(name, kilobyte) for name in "abcd"] + [other.get("e", kilobyte)]
    assert all(path.exists() for path in used)
    assert cache.size() == 5000
    cache.release()
    assert [path.exists() for path in used] == [False, False, True, True, True]


def test_a_file_stays_during_its_block(cache: Cache) -> None:
    store = MemoryStore()
    store.create("films/in.mp4", bytes(2500))
    version = store.stat("films/in.mp4").etag
    with cache.file(store, "films/in.mp4", version) as path, cache.file(store, "films/in.mp4", version) as again:
        assert path == again
        assert path.name == "in.mp4"
        cache.get("a", kilobyte)
        cache.release()
        assert path.read_bytes() == bytes(2500)
    cache.get("b", kilobyte)
    assert not path.exists()


def test_a_file_is_of_one_version(cache: Cache) -> None:
    store = MemoryStore()
    store.create("a", b"one")
    _, old = store.read_versioned("a")
    with cache.file(store, "a", old) as path:
        new = store.replace("a", b"two", old)
        with cache.file(store, "a", new) as other:
            assert (path.read_bytes(), other.read_bytes()) == (b"one", b"two")
    with pytest.raises(Conflict), cache.file(store, "a", "another"):
        pass
    with pytest.raises(NoSuchObject), cache.file(store, "b", "another"):
        pass
    names = [path.name for path in cache.root.iterdir()]
    assert len([name for name in names if ".part-" in name]) == 0
    assert len([name for name in names if name.endswith(".fill")]) == 2


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    clock = Clock()
    cache = Cache(tmp_path, 10**6, age=100, clock=clock)
    old = cache.get("a", kilobyte)
    cache.release()
    clock.now += 200
    assert cache.get("b", kilobyte).exists()
    assert not old.exists()


def test_what_must_be_gone_goes_used_or_not(cache: Cache) -> None:
    a, b = cache.get("store/jobs/a/x", kilobyte), cache.get("store/jobs/b/x", kilobyte)
    cache.forget("store/jobs/a/")
    assert (a.exists(), b.exists()) == (False, True)
    assert cache.size() == 1000


def test_threads_wait_for_the_one_that_makes_the_copy(cache: Cache) -> None:
    calls, start = [], Barrier(8)

    def fill(folder: Path) -> None:
        calls.append(folder)
        kilobyte(folder)

    def get(_: int) -> Path:
        start.wait()
        return cache.get("a", fill)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(get, range(8)))) == 1
    assert len(calls) == 1


def test_a_failed_copy_leaves_nothing(cache: Cache) -> None:
    def fail(folder: Path) -> None:
        kilobyte(folder)
        raise NoSuchObject("gone")

    with pytest.raises(NoSuchObject):
        cache.get("a", fail)
    assert sorted(path.suffix for path in cache.root.iterdir() if path.name != ".lock") == [".lease"]
    assert cache.get("a", kilobyte).exists()


@pytest.mark.parametrize("at", ["the note", "the lease"])
def test_a_disk_that_is_full_in_the_last_moment_leaves_nothing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """What isn't noted would never be removed, and a lease that was emptied would let go of what is in use."""
    used = cache.get("used", kilobyte)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if at == "the note":
            patch.setattr("storage.cache.filled", full)
        else:
            patch.setattr("storage.cache.os.pwrite", full)
        with pytest.raises(StoreFull):
            cache.get("a", kilobyte)
        folder = cache.scratch()
        kilobyte(folder)
        with pytest.raises(StoreFull):
            cache.adopt(folder, "b")
    assert [path.name for path in cache.root.iterdir() if path.is_dir()] == [used.name]
    (lease,) = cache.root.glob("*.lease")
    assert lease.read_text() == used.name
    assert cache.get("a", kilobyte).exists()


def test_a_copy_that_was_never_noted_goes(cache: Cache) -> None:
    """Its maker died between the two."""
    (cache.root / "0123").mkdir()
    kilobyte(cache.root / "0123")
    cache.get("a", kilobyte)
    assert not (cache.root / "0123").exists()


_USER = """
import os, sys
from pathlib import Path
from storage.cache import Cache
cache = Cache(Path(sys.argv[1]), 3000)
cache.get("theirs", lambda folder: (folder / "x").write_bytes(bytes(1000)) and None)
(cache.scratch() / "half").write_bytes(b"half")
print("ready", flush=True)
sys.stdin.read()
os._exit(9)
"""


def test_what_the_dead_used_may_go(cache: Cache) -> None:
    command = [sys.executable, "-c", _USER, str(cache.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        theirs = cache.get("theirs", lambda folder: pytest.fail("it is there already"))
        cache.release()
        for name in "abc":
            cache.get(name, kilobyte)
        assert theirs.exists()
        assert list(cache.root.glob("*.part-*/half"))
        cache.release()
        other.kill()
    for name in "def":
        cache.get(name, kilobyte)
    assert not theirs.exists()
    assert not list(cache.root.glob("*.part-*"))
    assert len(list(cache.root.glob("*.lease"))) == 1


def test_copies_are_for_their_owner_only(cache: Cache) -> None:
    cache.get("a", kilobyte)
    assert cache.root.stat().st_mode & 0o077 == 0


def test_the_cache_of_this_machine(tmp_path: Path) -> None:
    env = {"VEILFARM_CACHE": str(tmp_path / "here"), "VEILFARM_CACHE_GB": "1.5"}
    cache = node_cache(env)
    assert (cache.root, cache.limit) == (tmp_path / "here", 1_500_000_000)
    assert node_cache(env) is cache
    home = node_cache({"HOME": str(tmp_path)})
    assert (home.root, home.limit) == (tmp_path / ".cache" / "veilfarm", 20_000_000_000)
    with pytest.raises(StoreError, match="set it to a number"):
        node_cache({"VEILFARM_CACHE_GB": "much"})


def test_no_foreign_error_gets_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        Cache(tmp_path / "file" / "cache", 1)
    cache = Cache(tmp_path / "cache", 1)
    os.rename(tmp_path / "cache", tmp_path / "moved")
    with pytest.raises(StoreError):
        cache.get("a", kilobyte)
