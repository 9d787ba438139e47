"""The client against the real API on loopback, also when the cable is cut."""

import logging
import threading
from pathlib import Path

import pytest
from apiclient import Api
from apifarm import a_film, submit
from farmserver import HASTY, Cable, answering, token

from cluster.api.limits import Limits
from cluster.client.answers import TokenMade
from cluster.client.errors import (
    Answered,
    BadAnswer,
    Clash,
    ClientError,
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
from storage.folder import FolderStore


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, FolderStore(tmp_path / "store"))


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
