"""The client against the real API on loopback, also when the cable is cut."""

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiclient import Api
from apifarm import a_film, submit
from farmserver import Cable, answering, cable, token

from cluster.api import incoming
from cluster.api.limits import Limits
from cluster.book import JobResult
from cluster.client import sending
from cluster.client.answers import TokenMade
from cluster.client.errors import (
    Answered,
    BadAnswer,
    Clash,
    ClientError,
    Damaged,
    Forbidden,
    Invalid,
    NoSuchThing,
    NotAuthenticated,
    NotAvailable,
    Refused,
    TooLarge,
    TooMany,
    Unreachable,
    Unusable,
    of_problem,
)
from cluster.client.farm import FarmClient
from cluster.client.listening import parsed
from cluster.client.wire import Patience
from cluster.job import new_id
from cluster.states import JobState, Move
from cluster.users import Role
from storage.folder import FolderStore

HASTY = Patience(4, 0.01, 0.05)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, FolderStore(tmp_path / "store"))


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    with answering(api) as found:
        yield found


@pytest.fixture
def wire(url: str) -> Iterator[Cable]:
    with cable(url) as found:
        yield found


@pytest.fixture
def kim(api: Api, wire: Cable) -> Iterator[FarmClient]:
    with FarmClient(wire.url, token(api, "kim", Role.REVIEWER), HASTY) as found:
        yield found


@pytest.fixture
def admin(api: Api, url: str) -> Iterator[FarmClient]:
    with FarmClient(url, token(api, "root", Role.ADMIN), HASTY) as found:
        yield found


def finish(api: Api, job: str, film: bytes, report: dict[str, Any] | None = None) -> None:
    """As a controller ends it."""
    store, name = api.store, f"outputs/{job}/talk.mp4"
    store.create(name, film)
    report = {"output": {"sha256": hashlib.sha256(film).hexdigest()}} if report is None else report
    store.create(f"{name}.report.json", json.dumps(report).encode())
    api.book.change(job, "controller", Move.START)
    api.book.close(job, 1, JobResult(JobState.DONE, "", 1.0, film=name, report=f"{name}.report.json"))
    api.book.change(job, "controller", Move.FINISH)


def test_a_job_is_made_shown_changed_and_deleted(kim: FarmClient, tmp_path: Path) -> None:
    film = str(a_film(tmp_path / "films", "talk.mp4"))
    made = kim.submit({"source": film, "priority": 2})
    assert (made.name, made.owner, made.state, made.source_bytes) == ("talk.mp4", "kim", JobState.QUEUED, 4)
    assert kim.show(made.job) == made
    assert [job.job for job in kim.jobs()] == [made.job]
    assert kim.move(made.job, "pause").state is JobState.PAUSED
    with pytest.raises(Clash, match="can't be paused"):
        kim.move(made.job, "pause")
    assert kim.move(made.job, "resume").state is JobState.WAITING
    assert kim.change(made.job, priority=9).priority == 9
    assert kim.history(made.job)[0].what == "submitted"
    with pytest.raises(Clash, match="there is no report yet"):
        kim.report(made.job)
    with pytest.raises(Clash, match="cancel it first"):
        kim.delete(made.job)
    kim.move(made.job, "cancel")
    kim.delete(made.job)
    with pytest.raises(NoSuchThing):
        kim.show(made.job)
    with pytest.raises(ValueError, match="none of"):
        kim.move(made.job, "explode")


def test_pages_of_jobs_are_one_list(api: Api, kim: FarmClient) -> None:
    jobs = [submit(api.book, f"{number}.mp4", "kim") for number in range(7)]
    for job in jobs:
        api.index.row(job)
    api.book.change(jobs[3], "kim", Move.PAUSE)
    assert [job.job for job in kim.jobs(page=3)] == sorted(jobs, reverse=True)
    assert [job.job for job in kim.jobs(["paused"])] == [jobs[3]]
    assert [job.job for job in kim.jobs(text="5.mp4")] == [jobs[5]]
    assert list(kim.jobs(owner="lee")) == []


def test_a_request_whose_answer_was_lost_makes_one_job(api: Api, kim: FarmClient, wire: Cable, tmp_path: Path) -> None:
    film = str(a_film(tmp_path / "films", "talk.mp4"))
    wire.down = [10, None]
    made = kim.submit({"source": film})
    assert api.book.jobs() == (made.job,)
    assert wire.connections == 2


def test_a_move_whose_answer_was_lost_isnt_sent_again(api: Api, kim: FarmClient, wire: Cable) -> None:
    job = submit(api.book, owner="kim")
    wire.down = [10]
    with pytest.raises(Unreachable):
        kim.move(job, "pause")
    assert wire.connections == 1
    assert api.book.control(job).state is JobState.PAUSED


def test_a_deletion_whose_answer_was_lost_is_one(api: Api, kim: FarmClient, wire: Cable) -> None:
    job = submit(api.book, owner="kim")
    api.book.change(job, "kim", Move.CANCEL)
    wire.down = [10]
    kim.delete(job)
    assert api.book.jobs() == ()


def test_nobody_there() -> None:
    with FarmClient("http://127.0.0.1:9", "vf_x", Patience(2, 0.01)) as client, pytest.raises(Unreachable) as found:
        client.me()
    assert str(found.value).startswith("http://127.0.0.1:9 can't be reached; nobody listens there; ")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "farm",
        "ftp://farm",
        "http://",
        "http://farm/?a=1",
        "http://me:secret@farm",
        "file:///etc/passwd",
        "http://[x",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(Unusable) as found:
        FarmClient(address, "t")
    assert "secret" not in str(found.value)


def test_a_token_is_in_no_text(api: Api, url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = token(api, "lee")
    client = FarmClient(url, secret, HASTY)
    texts = [repr(client), str(client), repr(client._wire)]
    api.users.revoke(secret.split("_")[1])
    for path in (lambda: client.me(), lambda: client.show("../../etc")):
        with pytest.raises(ClientError) as found:
            path()
        texts += [str(found.value), repr(found.value), repr(vars(found.value))]
    client.close()
    with pytest.raises(ClientError) as found:
        FarmClient("http://127.0.0.1:9", secret, Patience(1)).me()
    texts += [str(found.value), repr(found.value.__context__), repr(found.value.__cause__), caplog.text]
    texts.append(repr(TokenMade("a", "b", "c", 0.0, None, None, secret)))
    assert not [text for text in texts if secret in text or secret.split("_", 2)[2] in text]
    with pytest.raises(Unusable) as unusable:
        FarmClient(url, "vf_with\nline")
    assert "vf_with" not in str(unusable.value)


def test_what_a_problem_says_is_what_the_error_says(api: Api, kim: FarmClient) -> None:
    with pytest.raises(Invalid) as found:
        kim.submit({"source": "/x", "quality": 3})
    assert found.value.what == "the request isn't as the OpenAPI document says"
    assert "body.quality" in found.value.why
    with pytest.raises(Forbidden, match="ask its operator"):
        kim.submit({"source": "/etc/passwd"})
    with pytest.raises(Forbidden, match="role admin"):
        kim.users()
    with FarmClient(kim.url, "vf_wrong", HASTY) as stranger, pytest.raises(NotAuthenticated) as refused:
        stranger.me()
    assert refused.value.todo == "give a token that counts, by VEILFARM_TOKEN or --token-file"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (404, NoSuchThing),
        (412, Clash),
        (413, TooLarge),
        (418, Refused),
        (429, TooMany),
        (500, Answered),
        (503, NotAvailable),
    ],
)
def test_every_status_is_an_error_of_the_tree(status: int, kind: type[Answered]) -> None:
    found = of_problem(status, {"detail": "it is so; because; do that; and that"}, 3.0)
    assert type(found) is kind or (status == 500 and isinstance(found, kind))
    assert (found.what, found.why, found.todo) == ("it is so", "because", "do that; and that")
    assert (found.status, found.wait) == (status, 3.0)
    assert str(of_problem(409, {"detail": "film\x1b[2J\nx"})) == "film [2J x"
    for odd in (None, [], "text", {"detail": None}, {"errors": [1]}):
        assert str(status) in str(of_problem(status, odd))


def test_a_server_that_is_another(monkeypatch: pytest.MonkeyPatch, kim: FarmClient) -> None:
    from cluster.client.wire import Answer, Wire

    for data in (b"<html>", b"[]", b'{"name": 3}', b"\xff"):
        monkeypatch.setattr(Wire, "ask", lambda *_, data=data, **__: Answer(200, {}, data))
        with pytest.raises(BadAnswer):
            kim.me()


def test_an_answer_of_a_newer_server_has_more_fields(monkeypatch: pytest.MonkeyPatch, kim: FarmClient) -> None:
    from cluster.client.wire import Answer, Wire

    text = b'{"name": "kim", "role": "viewer", "team": "", "made": 1, "colour": "green"}'
    monkeypatch.setattr(Wire, "ask", lambda *_, **__: Answer(200, {}, text))
    assert (kim.me().name, kim.me().disabled) == ("kim", False)


def test_too_many_requests_are_waited_for(tmp_path: Path) -> None:
    api = Api(tmp_path, limits=Limits(rate=4.0, burst=2))
    waits: list[float] = []
    with answering(api) as url, FarmClient(url, token(api, "kim"), HASTY) as kim:
        kim._wire.sleep = lambda seconds: waits.append(seconds) or threading.Event().wait(0.3)  # type: ignore[assignment]
        for _ in range(6):
            kim.me()
    assert waits
    assert min(waits) >= 1  # what Retry-After says


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


# Events


def test_events_go_on_after_a_cut(api: Api, kim: FarmClient, wire: Cable) -> None:
    job = submit(api.book, owner="kim")
    api.index.row(job)
    wire.down = [1200]
    seen: list[tuple[str, str]] = []
    for event in kim.events():
        seen.append((event.kind, str(event.data.get("state", ""))))
        if event.kind == "open":
            api.book.change(job, "kim", Move.PAUSE)
        elif event.data.get("state") == "paused":
            api.book.change(job, "kim", Move.RESUME)
        elif event.data.get("state") == "waiting":
            api.book.change(job, "kim", Move.CANCEL)
        elif event.data.get("state") == "cancelled":
            break
    assert [state for kind, state in seen if kind == "job"] == ["paused", "waiting", "cancelled"]
    assert wire.connections == 2
    assert [kind for kind, _ in seen].count("open") == 1


def test_a_job_that_is_followed_ends_or_is_erased(api: Api, kim: FarmClient) -> None:
    over, gone = submit(api.book, owner="kim"), submit(api.book, owner="kim")
    for job in (over, gone):
        api.index.row(job)
        api.book.change(job, "kim", Move.PAUSE)
    api.book.change(over, "kim", Move.CANCEL)
    assert [job.state for job in kim.follow([over])] == ["cancelled"]
    followed = kim.follow([over, gone])
    assert [next(followed).state for _ in range(2)] == ["cancelled", "paused"]
    api.index.drop(gone)
    with pytest.raises(NoSuchThing, match="was erased"):
        next(followed)


def test_events_of_a_job_of_nobody(kim: FarmClient) -> None:
    with pytest.raises(NoSuchThing):
        next(kim.events(new_id()))


def test_an_event_that_was_cut_off_is_none() -> None:
    whole = b'id: a-1\nevent: job\ndata: {"job": "x",\ndata:  "n": 1}\r\n\r\n: still here\n\nevent: job\ndata: {"jo'
    for size in (1, 7, 1000):
        blocks = [whole[at : at + size] for at in range(0, len(whole), size)]
        (event,) = parsed(blocks)
        assert (event.id, event.kind, event.data) == ("a-1", "job", {"job": "x", "n": 1})
    (odd,) = parsed([b"data: nonsense\n\n"])
    assert (odd.kind, odd.data) == ("message", {})
    with pytest.raises(Unreachable):
        list(parsed([b"x" * (3 << 20)]))


# The farm and its users


def test_users_and_tokens(admin: FarmClient, url: str) -> None:
    assert admin.add_user("lee", "viewer", "news").team == "news"
    with pytest.raises(Clash):
        admin.add_user("lee", "viewer")
    made = admin.make_token("lee", "laptop", 2.0)
    with FarmClient(url, made.token, HASTY) as lee:
        assert lee.me().role == "viewer"
        assert [each.label for each in lee.tokens("lee")] == ["laptop"]
    assert admin.change_user("lee", role="submitter").role == "submitter"
    admin.revoke_token(made.id)
    assert admin.tokens("lee")[0].revoked is not None
    admin.remove_user("lee")
    assert [user.name for user in admin.users()] == ["root"]


def test_the_farm(api: Api, admin: FarmClient) -> None:
    assert admin.workers().at is None
    with pytest.raises(NoSuchThing):
        admin.drain("nobody/../x")
    admin.undrain("nobody")
    assert admin.store().usable
    assert admin.ready().ready
    api.index.ready = False
    assert not admin.ready().ready
    assert "veilfarm_leader" in admin.metrics()
    job = submit(api.book)
    assert [unit.step for unit in admin.units(job)][:3] == ["ingest", "index", "plan"]
    assert admin.logs(job, "ingest") == ()
    with pytest.raises(Invalid):
        admin.logs(job, "render")
    with pytest.raises(Clash, match="nobody has looked"):
        admin.people(job)
    with pytest.raises(Clash):
        admin.findings(job)
