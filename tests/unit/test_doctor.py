"""What the doctor says of a store that is well, and of one that is not."""

import json
from pathlib import Path

import pytest

from cluster import cli, doctor
from storage.folder import FolderStore
from storage.memory import MemoryStore
from storage.objects import ObjectFacts, ObjectStore, StoreFull
from storage.probe import Finding, ProbeResult, Verdict, probe


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_healthy_store(tmp_path: Path, kind: str) -> None:
    store: ObjectStore = FolderStore(tmp_path) if kind == "folder" else MemoryStore()
    store.create("jobs/a/spec.json", b"there before")
    result = probe(store)
    verdicts = {each.name: each.verdict for each in result.findings}
    assert verdicts.pop("URLs for readers") is Verdict.LIMITED
    assert set(verdicts.values()) == {Verdict.GOOD}
    assert len(verdicts) == 8
    assert result.usable
    assert list(store.keys("")) == ["jobs/a/spec.json"]
    assert store.children("") == ("jobs",)


class Careless(MemoryStore):
    """A store in memory with one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def create(self, key: str, data: bytes) -> None:
        if self.fault == "create once" or (self.fault == "race" and "/race/" in key):
            self.delete(key)
        super().create(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return super().replace(key, data, self.stat(key).etag if self.fault == "compare and swap" else etag)

    def list(self, prefix: str, after: str | None = None, limit: int = 1000) -> tuple[str, ...]:
        return () if self.fault == "listing after writing" else super().list(prefix, after, limit)

    def read_range(self, key: str, start: int, length: int, etag: str | None = None) -> bytes:
        return super().read_range(key, 0 if self.fault == "ranges" else start, length, etag)

    def fetch(self, key: str, path: Path, etag: str | None = None) -> ObjectFacts:
        facts = super().fetch(key, path, etag)
        if self.fault == "files in several parts":
            path.write_bytes(bytes(facts.size))
        return facts

    def put_file(self, key: str, path: Path) -> ObjectFacts:
        if self.fault == "write, read, delete":
            raise StoreFull("no room")
        return super().put_file(key, path)

    def erase(self, prefix: str) -> int:
        if self.fault == "cleaning up":
            raise StoreFull("no room")
        return super().erase(prefix)


@pytest.mark.parametrize(
    "fault",
    [
        "write, read, delete",
        "create once",
        "compare and swap",
        "listing after writing",
        "ranges",
        "files in several parts",
        "cleaning up",
    ],
)
def test_each_fault_is_found(fault: str) -> None:
    store = Careless(fault)
    result = probe(store)
    assert [each.name for each in result.findings if each.verdict is Verdict.BAD] == [fault]
    assert not result.usable
    assert doctor.exit_code(result) == 1
    store.fault = ""
    assert fault in ("cleaning up", "listing after writing") or list(store.keys("")) == []


def test_a_server_that_looks_first_and_writes_then() -> None:
    """One writer after the other is refused, writers at the same moment aren't."""
    finding = next(each for each in probe(Careless("race")).findings if each.name == "create once")
    assert finding.verdict is Verdict.BAD
    assert "8 believe" in finding.meaning


def test_what_is_said() -> None:
    good = Finding("ranges", Verdict.GOOD, "They work.")
    limited = Finding("clock", Verdict.LIMITED, "It is late.")
    bad = Finding("create once", Verdict.BAD, "It doesn't.")
    assert doctor.as_lines("s3://a", ProbeResult("x", (good,))) == [
        "ok       ranges  They work.",
        "A farm can use s3://a.",
    ]
    assert doctor.as_lines("s3://a", ProbeResult("x", (good, limited)))[-1] == (
        "A farm can use s3://a, with the limits above."
    )
    assert doctor.as_lines("s3://a", ProbeResult("x", (good, limited, bad))) == [
        "ok       ranges       They work.",
        "limited  clock        It is late.",
        "BAD      create once  It doesn't.",
        "A farm can't use s3://a as it is: create once.",
    ]
    assert json.loads(doctor.as_json("s3://a", ProbeResult("x", (bad,)))) == {
        "store": "s3://a",
        "usable": False,
        "findings": [{"name": "create once", "verdict": "bad", "meaning": "It doesn't."}],
    }


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.run(["doctor", str(tmp_path)]) == 0
    assert "A farm can use" in capsys.readouterr().out
    monkeypatch.setenv("VEILFARM_STORE", str(tmp_path))
    assert cli.run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["usable"] is True


def test_the_command_without_keys(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VEILFARM_S3_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    assert cli.run(["doctor", "s3://films"]) == 1
    assert "VEILFARM_S3_ACCESS_KEY" in capsys.readouterr().err
