"""The client sends films and fetches them, also when the cable is cut."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from apiclient import Api
from apifarm import a_film, submit
from farmserver import HASTY, Cable, answering, token

from cluster.api import incoming
from cluster.api.limits import Limits
from cluster.book import JobResult
from cluster.client import sending
from cluster.client.errors import (
    Clash,
    Damaged,
    NoSuchThing,
    TooLarge,
    Unreachable,
    Unusable,
)
from cluster.client.farm import FarmClient
from cluster.client.wire import Patience
from cluster.job import new_id
from cluster.states import JobState, Move
from storage.folder import FolderStore


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, FolderStore(tmp_path / "store"))


def finish(api: Api, job: str, film: bytes, report: dict[str, Any] | None = None) -> None:
    """As a controller ends it."""
    store, name = api.store, f"outputs/{job}/talk.mp4"
    store.create(name, film)
    report = {"output": {"sha256": hashlib.sha256(film).hexdigest()}} if report is None else report
    store.create(f"{name}.report.json", json.dumps(report).encode())
    api.book.change(job, "controller", Move.START)
    api.book.close(job, 1, JobResult(JobState.DONE, "", 1.0, film=name, report=f"{name}.report.json"))
    api.book.change(job, "controller", Move.FINISH)


# Films to the server


def test_an_upload_goes_on_after_cuts(
    api: Api, kim: FarmClient, wire: Cable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PIECE", 3_000_000)
    monkeypatch.setattr(incoming, "PART", 500_000)
    film = a_film(tmp_path, "long.mp4")
    data = bytes(range(256)) * 20_000
    film.write_bytes(data)
    told: list[tuple[int, int]] = []
    # The first connection announces it and asks how far it is; then it breaks in the middle of pieces, twice.
    wire.up = [1_700_000, 2_500_000]
    upload = kim.upload(film, told=lambda done, total: told.append((done, total)))
    assert wire.connections >= 3
    assert told[-1] == (len(data), len(data))
    found = kim.uploaded(upload)
    assert (found.name, found.complete, found.length) == ("long.mp4", True, len(data))
    stored = next(Path(tmp_path / "store/uploads" / upload).iterdir())
    assert stored.read_bytes() == data
    assert kim.submit({"upload": upload}).name == "long.mp4"
    with pytest.raises(Clash):
        kim.submit({"upload": upload, "veil": "solid"})


def test_an_upload_goes_on_in_another_process(api: Api, kim: FarmClient, tmp_path: Path) -> None:
    film = tmp_path / "a.mp4"
    film.write_bytes(b"film" * 1000)
    sender = kim.sender(film)
    upload = sender.begin("a.mp4")
    api.incoming.add(api.incoming.find(upload), 0, _file(tmp_path, b"film" * 500))
    sent: list[int] = []
    kim.upload(film, upload=upload, told=lambda done, _: sent.append(done))
    assert sent[0] == 2000
    assert kim.uploaded(upload).complete
    other = tmp_path / "b.mp4"
    other.write_bytes(b"x")
    with pytest.raises(Unusable, match="isn't the film of this upload"):
        kim.upload(other, upload=upload)
    with pytest.raises(NoSuchThing):
        kim.upload(film, upload=new_id())
    kim.drop_upload(upload)
    with pytest.raises(NoSuchThing):
        kim.uploaded(upload)


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "part"
    path.write_bytes(data)
    return path


def test_a_film_that_changes_while_it_is_sent(kim: FarmClient, tmp_path: Path) -> None:
    film = tmp_path / "a.mp4"
    film.write_bytes(b"film")
    with pytest.raises(Unusable, match="changed while it was sent"):
        kim.upload(film, told=lambda done, total: film.write_bytes(b"mlif") if done == total else None)
    with pytest.raises(Unusable, match="can't be read"):
        kim.upload(tmp_path / "none.mp4")


def test_an_upload_that_is_too_large(tmp_path: Path) -> None:
    api = Api(tmp_path, limits=Limits(upload=3))
    film = a_film(tmp_path)
    with answering(api) as url, FarmClient(url, token(api, "kim"), HASTY) as kim, pytest.raises(TooLarge):
        kim.upload(film)


# Films from the server


def test_a_film_comes_whole_after_cuts(api: Api, kim: FarmClient, wire: Cable, tmp_path: Path) -> None:
    job, film = submit(api.book, "talk.mov", "kim"), bytes(range(251)) * 20_000
    finish(api, job, film)
    wire.down = [1_500_000, 2_000_000]
    target = kim.fetch(job, tmp_path / "new/out.mp4")
    assert target.read_bytes() == film
    assert [path.name for path in target.parent.iterdir()] == ["out.mp4"]
    assert wire.connections >= 3
    assert kim.film(job).name == "talk.mp4"
    with pytest.raises(Unusable, match="exists"):
        kim.fetch(job, target)
    assert kim.fetch(job, target, overwrite=True) == target


def test_a_download_goes_on_in_another_process(api: Api, kim: FarmClient, wire: Cable, tmp_path: Path) -> None:
    job, film = submit(api.book, "talk.mov", "kim"), b"0123456789" * 300_000
    finish(api, job, film)
    kim._wire.patience = Patience(1)
    wire.down = [1_500_000]
    with pytest.raises(Unreachable):
        kim.fetch(job, tmp_path / "out.mp4")
    (part,) = tmp_path.glob(".out.mp4.*.part")
    there = part.stat().st_size
    assert 0 < there < len(film)
    came: list[int] = []
    kim.fetch(job, tmp_path / "out.mp4", told=lambda done, _: came.append(done))
    assert came[0] == there
    assert (tmp_path / "out.mp4").read_bytes() == film


def test_a_film_that_isnt_the_reports_is_thrown_away(api: Api, kim: FarmClient, tmp_path: Path) -> None:
    job = submit(api.book, owner="kim")
    finish(api, job, b"another film", {"output": {"sha256": "0" * 64}})
    with pytest.raises(Damaged, match="isn't the one of the report"):
        kim.fetch(job, tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*.mp4")) + list(tmp_path.glob(".out*"))


def test_a_film_that_isnt_there_yet(api: Api, kim: FarmClient, tmp_path: Path) -> None:
    with pytest.raises(Clash):
        kim.fetch(submit(api.book, owner="kim"), tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
