"""A bad line to a real S3 server: what breaks off is tried again, and nothing is done twice."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from buckets import new_store
from flaky import Harm, flaky
from rgw import Gateway
from store_contract import content

from storage import conditional
from storage.objects import (
    AlreadyThere,
    Conflict,
    Interrupted,
)
from storage.retry import Patience
from storage.s3 import S3Store


@pytest.fixture
def harmed(ceph: Gateway, tmp_path: Path) -> Iterator[tuple[S3Store, Harm]]:
    """A store behind a proxy that does harm."""
    with flaky(ceph.port) as harm:
        direct = new_store(ceph.settings, tmp_path)
        settings = dataclasses.replace(ceph.settings, endpoint=f"127.0.0.1:{harm.port}")
        store = new_store(settings, tmp_path, direct.bucket.name)
        store.conditions()
        store._honoured = conditional.Honoured(True, True)
        harm.seen.clear()
        yield store, harm


@pytest.mark.parametrize("what", ["cut", "503"])
def test_what_fails_twice_is_tried_a_third_time(harmed: tuple[S3Store, Harm], tmp_path: Path, what: str) -> None:
    store, harm = harmed
    (tmp_path / "in").write_bytes(content(20_000_003))
    calls = {
        "create": lambda: store.create("a", b"1"),
        "read": lambda: store.read("a"),
        "stat": lambda: store.stat("a"),
        "replace": lambda: store.replace("a", b"2", store.stat("a").etag),
        "put_file": lambda: store.put_file("film", tmp_path / "in"),
        "fetch": lambda: store.fetch("film", tmp_path / "out"),
        "list": lambda: store.list(""),
        "erase": lambda: store.erase(""),
    }
    for name, call in calls.items():
        harm.plan = [what, what]
        call()
        assert harm.seen[:3] == [what, what, "fine"], name
        harm.seen.clear()
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_patience_ends(harmed: tuple[S3Store, Harm]) -> None:
    store, harm = harmed
    harm.plan = ["503"] * 100
    with pytest.raises(Interrupted, match="SlowDown"):
        store.read("a")
    assert harm.seen == ["503"] * Patience().attempts


def test_ones_own_write_whose_answer_was_lost_counts(harmed: tuple[S3Store, Harm]) -> None:
    store, harm = harmed
    harm.plan = ["lost"]
    store.create("mine", b"by me")
    assert harm.seen[:2] == ["lost", "fine"]
    assert store.read("mine") == b"by me"
    etag = store.stat("mine").etag
    harm.plan = ["lost"]
    newer = store.replace("mine", b"by me again", etag)
    assert store.read_versioned("mine") == (b"by me again", newer)


def test_somebody_elses_write_is_told_from_ones_own(harmed: tuple[S3Store, Harm]) -> None:
    store, harm = harmed
    store.create("theirs", b"by them")
    _, etag = store.read_versioned("theirs")
    harm.plan = ["cut"]
    with pytest.raises(AlreadyThere):
        store.create("theirs", b"by me")
    store.replace("theirs", b"by them again", etag)
    harm.plan = ["503"]
    with pytest.raises(Conflict):
        store.replace("theirs", b"by me", etag)
    assert store.read("theirs") == b"by them again"


def test_an_upload_that_was_finished_unheard(harmed: tuple[S3Store, Harm], tmp_path: Path) -> None:
    """The last request of a multipart upload works, its answer is lost, and the server knows no such upload then."""
    store, harm = harmed
    (tmp_path / "in").write_bytes(content(20_000_003))
    harm.plan = ["fine"] * 4 + ["lost"]
    harm.requests.clear()
    assert store.put_file("film", tmp_path / "in").size == 20_000_003
    assert harm.seen[4] == "lost"
    assert harm.requests[4].startswith("POST")
    store.fetch("film", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_a_transfer_that_breaks_off_goes_on_where_it_was(harmed: tuple[S3Store, Harm], tmp_path: Path) -> None:
    store, harm = harmed
    (tmp_path / "in").write_bytes(content(20_000_003))
    store.put_file("film", tmp_path / "in")
    harm.cut_after = 7_000_000
    harm.plan = ["fine", "half", "half"]
    harm.requests.clear()
    store.fetch("film", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    assert len(harm.requests) == 4  # HEAD, and three pieces
    harm.cut_after = 1000
    harm.plan = ["half"]
    assert store.read_range("film", 5_000_000, 2000) == content(20_000_003)[5_000_000:5_002_000]
