"""What goes wrong with real S3 servers, told by its own kind and in one line."""

import dataclasses
import datetime
import traceback
from pathlib import Path

import minio.time
import pytest
from buckets import new_store
from rgw import SECRET, Gateway
from servers import free_port

from storage.objects import (
    ClockSkew,
    NoSuchBucket,
    NotPermitted,
    StoreError,
    StoreFull,
    Unreachable,
    WrongKeys,
)
from storage.s3 import S3Store


@pytest.mark.parametrize("secret", ["", "vf-Secret+123/-"])
def test_wrong_keys(ceph: Gateway, tmp_path: Path, secret: str) -> None:
    there = new_store(ceph.settings, tmp_path)
    wrong = dataclasses.replace(ceph.settings, secret_key=secret) if secret else None
    settings = wrong or dataclasses.replace(ceph.settings, access_key="nobody")
    every_call_raises(new_store(settings, tmp_path, there.bucket.name), WrongKeys, tmp_path, "VEILFARM_S3_SECRET_KEY")


def test_missing_bucket(ceph: Gateway, tmp_path: Path) -> None:
    every_call_raises(new_store(ceph.settings, tmp_path, "not-there"), NoSuchBucket, tmp_path, "no such bucket")
    with pytest.raises(NoSuchBucket, match="can't be the name"):
        new_store(ceph.settings, tmp_path, "Not_A_Bucket!")


def test_somebody_elses_bucket(ceph: Gateway, tmp_path: Path) -> None:
    store = new_store(ceph.settings, tmp_path)
    ceph.admin("user", "create", "--uid=other", "--display-name=o", "--access-key=otherkey", "--secret-key=othersecret")
    settings = dataclasses.replace(ceph.settings, access_key="otherkey", secret_key="othersecret")
    every_call_raises(new_store(settings, tmp_path, store.bucket.name), NotPermitted, tmp_path, "policy")


def test_nobody_listens(ceph: Gateway, tmp_path: Path) -> None:
    settings = dataclasses.replace(ceph.settings, endpoint=f"127.0.0.1:{free_port()}")
    every_call_raises(new_store(settings, tmp_path, "films"), Unreachable, tmp_path, "check the address")


def test_no_such_server(ceph: Gateway, tmp_path: Path) -> None:
    settings = dataclasses.replace(ceph.settings, endpoint="nowhere.invalid")
    every_call_raises(new_store(settings, tmp_path, "films", attempts=2), Unreachable, tmp_path, "name isn't known")


def test_tls_where_there_is_none(ceph: Gateway, tmp_path: Path) -> None:
    settings = dataclasses.replace(ceph.settings, secure=True)
    every_call_raises(new_store(settings, tmp_path, "films"), Unreachable, tmp_path, "http://")


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wrong_clock(ceph: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """The SDK signs with another time than it is."""
    store = new_store(ceph.settings, tmp_path)
    real = minio.time.utcnow
    monkeypatch.setattr(minio.time, "utcnow", lambda: real() + datetime.timedelta(hours=hours))
    every_call_raises(store, ClockSkew, tmp_path, "set the clock")


def test_the_clock_of_the_server(ceph: Gateway, tmp_path: Path) -> None:
    ahead = new_store(ceph.settings, tmp_path).bucket.clock_ahead()
    assert ahead is not None
    assert abs(ahead) < 5


def test_a_full_store(ceph: Gateway, tmp_path: Path) -> None:
    """A quota of the user: 20 kB."""
    keys = ["--access-key=smallkey", "--secret-key=smallsecret"]
    ceph.admin("user", "create", "--uid=small", "--display-name=s", *keys)
    ceph.admin("quota", "set", "--quota-scope=user", "--uid=small", "--max-size=20480")
    ceph.admin("quota", "enable", "--quota-scope=user", "--uid=small")
    settings = dataclasses.replace(ceph.settings, access_key="smallkey", secret_key="smallsecret")
    store = new_store(settings, tmp_path)
    (tmp_path / "big").write_bytes(bytes(100_000))
    with pytest.raises(StoreFull, match="raise the quota"):
        store.put_file("big", tmp_path / "big")
    with pytest.raises(StoreFull, match="raise the quota"):
        store.create("big", bytes(100_000))


def every_call_raises(store: S3Store, kind: type[StoreError], folder: Path, advice: str) -> None:
    """Whatever is asked for, the reason is the same, in one line that holds no secret, nor does what led to it."""
    (folder / "file").write_bytes(b"x")
    (folder / "scratch").mkdir()
    (folder / "scratch" / "x").write_bytes(b"x")
    calls = {
        "create": lambda: store.create("a", b""),
        "read": lambda: store.read("a"),
        "read_versioned": lambda: store.read_versioned("a"),
        "replace": lambda: store.replace("a", b"", "etag"),
        "put_file": lambda: store.put_file("a", folder / "file"),
        "read_range": lambda: store.read_range("a", 1, 1),
        "fetch": lambda: store.fetch("a", folder / "out"),
        "stat": lambda: store.stat("a"),
        "delete": lambda: store.delete("a"),
        "list": lambda: store.list("a"),
        "keys": lambda: list(store.keys("a")),
        "children": lambda: store.children("a"),
        "keep": lambda: store.keep(folder / "scratch", "a"),
        "local": lambda: store.local("a"),
        "erase": lambda: store.erase("a"),
        "conditions": lambda: store.conditions(),
    }
    secrets = (SECRET, "Signature=", store.bucket.settings.secret_key)
    for name, call in calls.items():
        with pytest.raises(StoreError) as caught:
            call()
        error = caught.value
        assert type(error) is kind, f"{name}: {error!r}"
        assert advice in str(error), f"{name}: {error}"
        assert "\n" not in str(error)
        text = "".join(traceback.format_exception(error))
        assert not any(secret in text for secret in secrets), f"{name}: {text}"
    assert not (folder / "out").exists()
