"""The contract of ObjectStore over real S3 servers, their conditions, and what the doctor says of them."""

import dataclasses
import json
import re
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from buckets import new_store
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from minio.versioningconfig import ENABLED, VersioningConfig
from rgw import Gateway
from store_contract import StoreContract, content
from store_machine import StoreMachine

from cluster.doctor import as_lines
from storage import conditional
from storage.cache import Cache
from storage.lock import STALE
from storage.objects import (
    Interrupted,
    NoSuchObject,
    NotPermitted,
    NotSupported,
    ObjectStore,
)
from storage.probe import ProbeResult, Verdict, probe
from storage.retry import Patience
from storage.s3 import S3Store
from storage.settings import Conditions, S3Settings


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
