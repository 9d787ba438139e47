"""The contract of ObjectStore over real S3 servers, and what goes wrong with them."""

import dataclasses
import datetime
import json
import re
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import minio.time
import pytest
from flaky import Harm, flaky
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from minio.versioningconfig import ENABLED, VersioningConfig
from rclone import rclone
from rgw import SECRET, Gateway, gateway
from servers import free_port
from store_contract import StoreContract, content
from store_machine import StoreMachine

from cluster.doctor import as_lines
from storage import conditional
from storage.cache import Cache
from storage.lock import STALE
from storage.objects import (
    AlreadyThere,
    ClockSkew,
    Conflict,
    Interrupted,
    NoSuchBucket,
    NoSuchObject,
    NotPermitted,
    NotSupported,
    ObjectStore,
    StoreError,
    StoreFull,
    Unreachable,
    WrongKeys,
)
from storage.probe import ProbeResult, Verdict, probe
from storage.retry import Patience
from storage.s3 import S3Store
from storage.settings import Conditions, S3Settings

_names = count()


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("rgw")) as server:
        yield server


@pytest.fixture(scope="session")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Settings]:
    with rclone(tmp_path_factory.mktemp("rclone")) as settings:
        yield settings


def new_store(settings: S3Settings, folder: Path, bucket: str = "", **patience: int) -> S3Store:
    """A store that hardly waits. Without a name, in a bucket of its own."""
    cache = Cache(folder / "cache", 10**9)
    name = bucket or f"test-{next(_names)}"
    quick = Patience(sleep=lambda seconds: time.sleep(seconds / 1000), **patience)
    store = S3Store(settings, name, "farm/one", cache, quick)
    if not bucket:
        store.bucket.client.make_bucket(name)
    return store


class TestCeph(StoreContract):
    """Ceph's gateway keeps conditions."""

    @pytest.fixture
    def store(self, ceph: Gateway, tmp_path: Path) -> ObjectStore:
        return new_store(ceph.settings, tmp_path)

    def test_stores_without_urls_say_so(self, store: ObjectStore) -> None:
        """This one has URLs: anybody may read there, ranges too, and nothing else, and not for ever."""
        store.create("a", b"0123456789")
        url = store.presigned("a", 60)
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"0123456789"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=3-5"})) as answer:
            assert (answer.status, answer.read()) == (206, b"345")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(url, method="PUT", data=b""))
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url.replace("Expires=60", "Expires=600"))

    def test_more_keys_than_one_answer_holds(self, store: ObjectStore) -> None:
        assert isinstance(store, S3Store)
        keys = sorted(f"jobs/{n % 3}/{n:05}" for n in range(2101))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.bucket.put(f"farm/one/{key}", b""), keys))
        assert tuple(store.keys("jobs")) == tuple(keys)
        assert store.list("jobs") == tuple(keys[:1000])
        assert store.list("jobs", keys[1500], 1200) == tuple(keys[1501:])
        assert store.list("", keys[10], 3) == tuple(keys[11:14])
        assert store.children("jobs") == ("0", "1", "2")
        assert store.erase("jobs/1") == 700
        assert store.erase("") == 1401
        assert store.list("") == ()

    def test_nothing_outside_its_folder_is_seen_or_erased(self, store: ObjectStore) -> None:
        assert isinstance(store, S3Store)
        for name in ("farm/other", "farm/one1/x", "farm/one"):
            store.bucket.put(name, b"")
        store.create("x", b"")
        assert list(store.keys("")) == ["x"]
        assert store.erase("") == 1
        assert store.bucket.listed("") == ("farm/one", "farm/one1/x", "farm/other")

    def test_erase_takes_former_versions(self, store: ObjectStore) -> None:
        """Ceph's gateway keeps no conditions in a bucket with versions: records are refused there."""
        assert isinstance(store, S3Store)
        store.bucket.client.set_bucket_versioning(store.bucket.name, VersioningConfig(ENABLED))
        with pytest.raises(NotSupported, match="ignores conditional writes"):
            store.create("a", b"")
        for name in ("farm/one/a", "farm/one/b", "farm/one/a"):
            store.bucket.put(name, b"")
        store.delete("b")
        assert store.bucket.keeps_versions()
        assert store.erase("") == 1
        left = list(store.bucket.client.list_objects(store.bucket.name, recursive=True, include_version=True))
        assert left == []

    def test_erase_takes_parts_of_unfinished_uploads(self, store: ObjectStore) -> None:
        assert isinstance(store, S3Store)
        client, name = store.bucket.client, store.bucket.name
        for key in ("farm/one/a/film", "farm/one/b/film"):
            upload = client._create_multipart_upload(name, key, {})
            client._upload_part(name, key, bytes(5 << 20), {}, upload, 1)
        store.erase("a")
        left = client._list_multipart_uploads(name).uploads
        assert [each.object_name for each in left] == ["farm/one/b/film"]

    def test_local_copies_are_made_once(self, ceph: Gateway, store: ObjectStore, tmp_path: Path) -> None:
        assert isinstance(store, S3Store)
        scratch = store.scratch("try/1")
        (scratch / "x").write_bytes(b"x")
        store.keep(scratch, "try/1")
        first = store.local("try/1")
        store.bucket.delete("farm/one/try/1/x")
        assert store.local("try/1") == first
        elsewhere = S3Store(ceph.settings, store.bucket.name, "farm/one", Cache(tmp_path / "other", 10**9))
        assert elsewhere.erase("") == 0
        store.erase("try")
        assert not first.exists()


class TestRclone(StoreContract):
    """A server that ignores conditions, with one writer."""

    @pytest.fixture
    def store(self, careless: S3Settings, tmp_path: Path) -> ObjectStore:
        return new_store(dataclasses.replace(careless, conditions=Conditions.SINGLE_WRITER), tmp_path)

    def test_stores_without_urls_say_so(self, store: ObjectStore) -> None:
        store.create("a", b"0123456789")
        with urllib.request.urlopen(store.presigned("a", 60)) as answer:
            assert answer.read() == b"0123456789"


def test_a_server_that_ignores_conditions_is_refused(careless: S3Settings, tmp_path: Path) -> None:
    store = new_store(careless, tmp_path)
    assert store.conditions() == conditional.Honoured(create=False, replace=False)
    with pytest.raises(NotSupported, match="single-writer"):
        store.create("a", b"")
    with pytest.raises(NotSupported, match="single-writer"):
        store.replace("a", b"", "etag")
    assert store.list("") == ()


def test_conditions_of_ceph(ceph: Gateway, tmp_path: Path) -> None:
    """In one function, so that a new version of the SDK can't lose them in silence."""
    store = new_store(ceph.settings, tmp_path)
    assert conditional.put_if(store.bucket, "a", b"1", {"If-None-Match": "*"}).etag
    assert conditional.put_if(store.bucket, "a", b"2", {"If-None-Match": "*"}).etag is None
    assert store.bucket.read("a")[0] == b"1"
    assert store.conditions() == conditional.Honoured(create=True, replace=True)
    assert store.bucket.listed("") == ("a",)


class Time:
    """Time that passes by waiting only."""

    def __init__(self) -> None:
        self.now = 0.0

    def patience(self) -> Patience:
        return Patience(sleep=self.sleep, clock=lambda: self.now, chance=lambda: 1.0)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_lock_of_one_who_died_is_broken(ceph: Gateway, tmp_path: Path) -> None:
    there, waits = new_store(ceph.settings, tmp_path), Time()
    store = S3Store(ceph.settings, there.bucket.name, "farm/one", there.cache, waits.patience())
    store.create("control", b"one")
    there.bucket.put("farm/one/.lock-control", b"somebody")
    store.replace("control", b"two", store.stat("control").etag)
    assert STALE < waits.now < STALE + 5
    assert store.read("control") == b"two"
    assert there.bucket.read("farm/one/control")[0] == b"two"
    with pytest.raises(NoSuchObject):
        there.bucket.read("farm/one/.lock-control")
    assert list(store.keys("")) == ["control"]


def test_a_lock_that_changes_hands_is_not_broken(ceph: Gateway, tmp_path: Path) -> None:
    there, waits = new_store(ceph.settings, tmp_path), Time()
    there.create("control", b"one")

    def sleep(seconds: float) -> None:
        waits.sleep(seconds)
        there.bucket.put("farm/one/.lock-control", str(int(waits.now) // 20).encode())  # each holds it for 20 s

    sleep(0)
    patience = dataclasses.replace(waits.patience(), sleep=sleep)
    store = S3Store(ceph.settings, there.bucket.name, "farm/one", there.cache, patience)
    with pytest.raises(Interrupted, match="hold its lock"):
        store.replace("control", b"two", there.stat("control").etag)
    assert there.read("control") == b"one"


def test_who_was_stopped_with_the_lock_does_no_harm(ceph: Gateway, tmp_path: Path) -> None:
    """Its lock is broken, another swaps, and then it goes on."""
    store = new_store(ceph.settings, tmp_path)
    store.create("control", b"one")
    etag = store.stat("control").etag
    assert conditional.replace(store.bucket, "farm/one/control", b"two", etag)
    assert conditional.replace(store.bucket, "farm/one/control", b"three", etag) is None
    assert store.read("control") == b"two"


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


def test_memory_stays_small_however_large_the_file(ceph: Gateway, tmp_path: Path) -> None:
    """300 MB go up and down, and come as they were."""
    import resource

    store = new_store(ceph.settings, tmp_path)
    with open(tmp_path / "in", "wb") as file:
        file.truncate(300_000_000)
        file.write(content(1000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store.put_file("film", tmp_path / "in")
    store.fetch("film", tmp_path / "out")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert (tmp_path / "out").stat().st_size == 300_000_000
    assert grown < 150e6
    assert time.time() - store.stat("film").modified < 600


def verdicts(result: ProbeResult) -> dict[str, str]:
    return {each.name: each.verdict.value for each in result.findings if each.verdict is not Verdict.GOOD}


def test_the_doctor_on_ceph(ceph: Gateway, tmp_path: Path) -> None:
    store = new_store(ceph.settings, tmp_path)
    result = probe(store)
    assert verdicts(result) == {}
    assert len(result.findings) == 9
    assert store.bucket.listed("") == ()
    store.bucket.client.set_bucket_versioning(store.bucket.name, VersioningConfig(ENABLED))
    with_versions = probe(new_store(ceph.settings, tmp_path, store.bucket.name))
    assert verdicts(with_versions) == {"create once": "bad", "compare and swap": "bad", "former versions": "limited"}
    assert "keeps former versions" in next(f.meaning for f in with_versions.findings if f.name == "create once")
    wrong = dataclasses.replace(ceph.settings, secret_key="wrong")
    refused = probe(new_store(wrong, tmp_path, store.bucket.name))
    assert set(verdicts(refused).values()) == {"bad"}
    assert "VEILFARM_S3_SECRET_KEY" in refused.findings[0].meaning


def test_the_doctor_on_a_server_that_ignores_conditions(careless: S3Settings, tmp_path: Path) -> None:
    store = new_store(careless, tmp_path)
    result = probe(store)
    assert verdicts(result) == {"create once": "bad", "compare and swap": "bad"}
    assert store.bucket.listed("") == ()
    single = dataclasses.replace(careless, conditions=Conditions.SINGLE_WRITER)
    limited = probe(new_store(single, tmp_path, store.bucket.name))
    assert verdicts(limited) == {"create once": "limited", "compare and swap": "limited"}
    assert limited.usable


def test_the_documented_permissions_are_enough(ceph: Gateway, tmp_path: Path) -> None:
    """A user who may do what docs/operations.md lists, and nothing else, can run a farm and erase it."""
    page = (Path(__file__).parent.parent.parent / "docs/operations.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(.+?)```", page, re.DOTALL)
    assert found is not None
    owner = new_store(ceph.settings, tmp_path)
    ceph.admin("user", "create", "--uid=limited", "--display-name=l", "--access-key=limkey", "--secret-key=limsecret")
    policy = json.loads(
        found[1].replace("BUCKET/FOLDER", f"{owner.bucket.name}/farm").replace("BUCKET", owner.bucket.name)
    )
    for statement in policy["Statement"]:
        statement["Principal"] = {"AWS": ["arn:aws:iam:::user/limited"]}
    owner.bucket.client.set_bucket_policy(owner.bucket.name, json.dumps(policy))
    settings = dataclasses.replace(ceph.settings, access_key="limkey", secret_key="limsecret")
    store = new_store(settings, tmp_path, owner.bucket.name)
    result = probe(store)
    assert verdicts(result) == {}, [each.meaning for each in result.findings]
    upload = owner.bucket.client._create_multipart_upload(owner.bucket.name, "farm/one/a/film", {})
    store.create("a/x", b"")
    assert store.erase("a") == 1
    assert owner.bucket.client._list_multipart_uploads(owner.bucket.name).uploads == [], upload
    with pytest.raises(NotPermitted):
        store.bucket.put("elsewhere/x", b"")


def test_the_documented_answer_of_the_doctor(ceph: Gateway, tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs/operations.md").read_text(encoding="utf-8")
    lines = as_lines("s3://films/farm", probe(new_store(ceph.settings, tmp_path)))
    assert "\n".join(lines) in page


def test_ceph_answers_as_the_double_does(ceph: Gateway, tmp_path: Path) -> None:
    class CephMachine(StoreMachine):
        @staticmethod
        def other() -> ObjectStore:
            return new_store(ceph.settings, tmp_path)

    few = settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(CephMachine, settings=few)
