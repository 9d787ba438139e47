"""Where films come from and go to: files of this machine, and objects in a store."""

import json
import os
from pathlib import Path

import pytest
from doubles import DryPool, DrySteps, Ear, a_spec

from cluster import places, records
from cluster.farm import Farm
from cluster.job import JobSpec, Publish, Source, Step, StitchFacts
from cluster.ledger import Ledger, Unit
from cluster.places import check_unchanged, look_up, publish, publish_file, read_report, source_file
from cluster.roles import Job
from pipeline.errors import InputError, NotAVideo, OutputError, VerifyError
from storage.folder import FolderStore
from storage.memory import MemoryStore
from storage.objects import ObjectStore


@pytest.fixture(params=["memory", "folder"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """What "s3://bucket/…" is for this test."""
    store: ObjectStore = MemoryStore() if request.param == "memory" else FolderStore(tmp_path / "bucket")
    monkeypatch.setattr(places, "parse_object", lambda url: (store, url.removeprefix("s3://bucket/")))
    monkeypatch.setenv("VEILFARM_CACHE", str(tmp_path / "cache"))
    return store


def put(store: ObjectStore, key: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(data)
    store.put_file(key, path)


def test_a_file_as_a_source(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    source = look_up(str(path))
    assert (source.place, source.bytes, source.name) == (str(path), 4, "film.mp4")
    with source_file(source) as found:
        assert found == path
    check_unchanged(source)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="has changed since"), source_file(source):
        pass
    with pytest.raises(InputError, match="changed while"):
        check_unchanged(source)
    path.unlink()
    with pytest.raises(NotAVideo, match="can't be read"), source_file(source):
        pass
    with pytest.raises(InputError):
        check_unchanged(source)


def test_an_object_as_a_source(bucket: ObjectStore, tmp_path: Path) -> None:
    place = "s3://bucket/in/my film.mp4"
    put(bucket, "in/my film.mp4", b"film", tmp_path)
    source = look_up(place)
    assert (source.place, source.bytes) == (place, 4)
    with source_file(source) as found:
        assert found.read_bytes() == b"film"
    check_unchanged(source)
    places.release()
    put(bucket, "in/my film.mp4", b"another", tmp_path)  # this machine has a copy of what was asked for
    with pytest.raises(InputError, match="has changed since"), source_file(source):
        pass
    with pytest.raises(InputError):
        check_unchanged(source)
    bucket.delete("in/my film.mp4")
    with pytest.raises(InputError), source_file(Source(place, 1, "gone")):
        pass
    with pytest.raises(NotAVideo, match="no such object"):
        look_up(place)


def finished(tmp_path: Path, target: str, overwrite: bool = False) -> Ledger:
    """A job whose film is there and isn't published."""
    source = tmp_path / "film.mp4"
    source.write_bytes(b"source")
    plain = a_spec(source, Path("/"))
    spec = JobSpec(plain.source, target, plain.veil, plain.encoding, None, None, "any", None)
    root = tmp_path / "store"
    first = Ledger.create(FolderStore(root), spec)
    first.give_secret()
    (ended,) = Farm(DryPool(DrySteps()), Ear()).run([Job("film", str(root), first, None)])
    assert ended.failure is None
    record = root / "jobs" / first.job_id / "spec.json"
    text = json.loads(record.read_text())
    text["publish"] = records.plain(Publish("film.mp4", overwrite))
    record.write_text(json.dumps(text))
    return first


FILM = b"segment 0\nsegment 1\nsegment 2\n"


def test_publishing_a_file_may_be_done_twice(tmp_path: Path) -> None:
    """A worker was lost after it had published, and before it could say so."""
    target = tmp_path / "out" / "a.mp4"
    ledger = finished(tmp_path, str(target))
    for _ in range(2):
        facts = publish(ledger)
        assert facts.film == str(target)
        assert facts.bytes == len(FILM)
        assert target.read_bytes() == FILM
        assert read_report(ledger, facts.report)["frames"]["out"] == 30
    assert sorted(path.name for path in target.parent.iterdir()) == ["a.mp4", "a.mp4.report.json"]


def test_a_film_whose_bytes_have_changed_is_not_released(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    ledger = finished(tmp_path, str(target))
    film = ledger.folder(Unit(Step.STITCH)) / ledger.facts(StitchFacts).film
    film.write_bytes(film.read_bytes()[::-1])
    with pytest.raises(VerifyError, match="isn't the one that was checked"):
        publish(ledger)
    assert not target.exists()


def test_publishing_takes_nobodys_place(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"x" * len(FILM))
    with pytest.raises(OutputError, match="exists"):
        publish(finished(tmp_path, str(target)))
    assert target.read_bytes() == b"x" * len(FILM)
    folder = tmp_path / "again"
    folder.mkdir()
    publish(finished(folder, str(target), overwrite=True))
    assert target.read_bytes() == FILM


def test_a_target_that_cant_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="can't be written"):
        publish(finished(tmp_path, str(tmp_path / "file" / "a.mp4")))


def test_publishing_an_object_may_be_done_twice(bucket: ObjectStore, tmp_path: Path) -> None:
    ledger = finished(tmp_path, "s3://bucket/out/a.mp4")
    for _ in range(2):
        facts = publish(ledger)
        assert facts.film == "s3://bucket/out/a.mp4"
        assert bucket.read("out/a.mp4") == FILM
        assert read_report(ledger, facts.report)["frames"]["out"] == 30
    put(bucket, "out/a.mp4", b"x" * len(FILM), tmp_path)
    with pytest.raises(OutputError, match="exists"):
        publish(ledger)
    put(bucket, "out/a.mp4", b"shorter", tmp_path)
    with pytest.raises(OutputError, match="exists"):
        publish(ledger)
    assert bucket.read("out/a.mp4") == b"shorter"


def test_an_object_is_replaced_where_that_was_asked_for(bucket: ObjectStore, tmp_path: Path) -> None:
    put(bucket, "a.mp4", b"old", tmp_path)
    publish(finished(tmp_path, "s3://bucket/a.mp4", overwrite=True))
    assert bucket.read("a.mp4") == FILM


def test_a_film_may_stay_in_the_farms_store(tmp_path: Path) -> None:
    ledger = finished(tmp_path, "")
    for _ in range(2):
        facts = publish(ledger)
        assert facts.film == f"outputs/{ledger.job_id}/film.mp4"
        assert ledger.store.read(facts.film) == FILM
        assert read_report(ledger, facts.report)["output"]["place"] == facts.film


def test_a_file_gets_its_name_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film, target = tmp_path / "film", tmp_path / "target"
    film.write_bytes(FILM)
    (tmp_path / ".target.unfinished").write_bytes(b"half a copy of a worker that died")
    publish_file(film, target, overwrite=False)
    assert target.read_bytes() == film.read_bytes() == FILM
    with pytest.raises(OutputError, match="came up during the work"):
        publish_file(film, target, overwrite=False)

    def no_links(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(places.os, "link", no_links)
    with pytest.raises(OutputError):
        publish_file(film, target, overwrite=False)
    publish_file(film, tmp_path / "other", overwrite=False)
    assert (tmp_path / "other").read_bytes() == film.read_bytes() == FILM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film", "other", "target"]
