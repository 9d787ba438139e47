"""The contract of ObjectStore, run over every implementation, and what is the folder's own."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage import folder as folder_module
from storage import layout
from storage.folder import FolderStore
from storage.objects import AlreadyThere, NoSuchObject, NotPermitted, ObjectStore, StoreError, StoreFull, checked


@pytest.fixture(params=["links", "no links"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    if request.param == "no links":

        def refuse(*args: object) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(folder_module.os, "link", refuse)
    return FolderStore(tmp_path / "store")


def test_a_record_is_read_back_as_it_was_written(store: ObjectStore) -> None:
    store.create("jobs/a/spec.json", b"\x00one")
    assert store.read("jobs/a/spec.json") == b"\x00one"


def test_create_is_once(store: ObjectStore) -> None:
    store.create("a/b", b"first")
    with pytest.raises(AlreadyThere):
        store.create("a/b", b"second")
    assert store.read("a/b") == b"first"


def test_one_of_many_racers_wins(store: ObjectStore) -> None:
    def race(number: int) -> bool:
        try:
            store.create("race", str(number).encode())
        except AlreadyThere:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(32)))
    assert won.count(True) == 1
    assert int(store.read("race")) == won.index(True)
    assert list(store.keys("")) == ["race"]


def test_what_is_not_there(store: ObjectStore) -> None:
    with pytest.raises(NoSuchObject):
        store.read("nothing")
    with pytest.raises(NoSuchObject):
        store.local("nothing")
    assert list(store.keys("nothing")) == []
    assert store.erase("nothing") == 0


def test_files_of_a_step_become_objects_at_once(store: ObjectStore) -> None:
    scratch = store.scratch("unit/try/1")
    (scratch / "sub").mkdir()
    (scratch / "sub" / "x.npz").write_bytes(b"x")
    assert list(store.keys("unit")) == []
    store.keep(scratch, "unit/try/1")
    assert list(store.keys("unit")) == ["unit/try/1/sub/x.npz"]
    assert (store.local("unit/try/1") / "sub" / "x.npz").read_bytes() == b"x"
    assert not scratch.exists()


def test_kept_files_are_never_replaced(store: ObjectStore) -> None:
    first = store.scratch("try/1")
    store.keep(first, "try/1")
    with pytest.raises(StoreError):
        store.keep(store.scratch("try/1"), "try/1")


def test_erase_takes_unfinished_writes_too(store: ObjectStore) -> None:
    store.create("jobs/a/x", b"")
    store.create("jobs/b/y", b"")
    scratch = store.scratch("jobs/a/try/1")
    assert store.erase("jobs/a") == 1
    assert not scratch.exists()
    assert list(store.keys("")) == ["jobs/b/y"]


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/..", "a/./b", ".a", "a\\b", "a b", "ä", "x" * 600])
def test_keys_that_could_leave_the_store(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        store.create(key, b"")


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EFBIG, StoreFull),
        (errno.EACCES, NotPermitted),
        (errno.EROFS, NotPermitted),
        (errno.EIO, StoreError),
    ],
)
def test_no_foreign_error_gets_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[StoreError]
) -> None:
    store = FolderStore(tmp_path)

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_module.os, "fsync", fail)
    with pytest.raises(error):
        store.create("a", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        FolderStore(tmp_path / "file" / "store")


def test_work_data_is_for_its_owner_only(tmp_path: Path) -> None:
    FolderStore(tmp_path / "store").create("jobs/a/spec.json", b"")
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0


def test_the_layout_spells_keys() -> None:
    keys = [
        layout.spec("j"),
        layout.plan("j"),
        layout.result("j"),
        layout.attempt("j", "analyse", 3, "t"),
        layout.done("j", "link", None),
        layout.failure("j", "render", 0, "t"),
    ]
    assert keys == [
        "jobs/j/spec.json",
        "jobs/j/plan.json",
        "jobs/j/RESULT.json",
        "jobs/j/chunks/000003/analyse/try/t",
        "jobs/j/film/link/DONE.json",
        "jobs/j/chunks/000000/render/fail/t.json",
    ]
    assert all(checked(key) == key for key in keys)


def test_a_steps_files_are_on_the_disk_before_they_count(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    sync = os.fsync
    monkeypatch.setattr(
        folder_module.os, "fsync", lambda fd: (synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name), sync(fd))
    )
    scratch = store.scratch("unit/try/1")
    (scratch / "sub").mkdir()
    (scratch / "sub" / "x.npz").write_bytes(b"x")
    store.keep(scratch, "unit/try/1")
    assert {"x.npz", "sub", scratch.name, "try"} == set(synced)
