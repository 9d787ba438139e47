"""What is the folder's own, beyond the contract of all stores, and how keys are spelt."""

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from storage import layout
from storage.folder import FolderStore
from storage.objects import NotPermitted, StoreError, StoreFull, checked


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

    monkeypatch.setattr(os, "fsync", fail)
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
        layout.control("j"),
        layout.result("j", 2),
        layout.log("j", "render", 7, "t"),
        layout.output("j", "../Müller & Söhne.mp4"),
        layout.notice("n", "j"),
        layout.attempt("j", "analyse", 3, "t"),
        layout.done("j", "link", None),
        layout.failure("j", "render", 0, "t"),
    ]
    assert keys == [
        "jobs/j/spec.json",
        "jobs/j/control.json",
        "jobs/j/results/002.json",
        "jobs/j/chunks/000007/render/log/t.jsonl",
        "outputs/j/_M_ller_S_hne.mp4",
        "notices/n-j",
        "jobs/j/chunks/000003/analyse/try/t",
        "jobs/j/film/link/DONE.json",
        "jobs/j/chunks/000000/render/fail/t.json",
    ]
    assert all(checked(key) == key for key in keys)


def test_a_steps_files_are_on_the_disk_before_they_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path / "store")
    synced = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name), sync(fd))
    )
    scratch = store.scratch("unit/try/1")
    (scratch / "sub").mkdir()
    (scratch / "sub" / "x.npz").write_bytes(b"x")
    store.keep(scratch, "unit/try/1")
    assert {"x.npz", "sub", scratch.name, "try"} == set(synced)


def test_a_lock_whose_holder_died_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / ".lock").touch()
    monkeypatch.setattr(os, "link", _no_links)
    store.create("a", b"1")
    assert store.read("a") == b"1"


def _no_links(*args: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


def test_a_big_file_that_changes_gets_another_etag(tmp_path: Path) -> None:
    """Beyond records the content isn't hashed."""
    store = FolderStore(tmp_path)
    (tmp_path / "in").write_bytes(bytes(2_000_000))
    first = store.put_file("film", tmp_path / "in")
    second = store.put_file("film", tmp_path / "in")
    assert first.etag != second.etag
    with open(tmp_path / "film", "r+b") as file:
        file.write(b"1")
    os.utime(tmp_path / "film", ns=(1, 1))
    assert store.stat("film").etag not in (first.etag, second.etag)


@pytest.mark.parametrize("call", ["create", "put_file", "fetch"])
def test_a_full_disk(tmp_path: Path, call: str) -> None:
    """Real: this process may write no more than so many bytes into a file."""
    store = FolderStore(tmp_path / "store")
    (tmp_path / "in").write_bytes(bytes(100_000))
    store.put_file("in", tmp_path / "in")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StoreFull, match="free some space"):
            {
                "create": lambda: store.create("a", bytes(100_000)),
                "put_file": lambda: store.put_file("a", tmp_path / "in"),
                "fetch": lambda: store.fetch("in", tmp_path / "out"),
            }[call]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "in", "store"]
