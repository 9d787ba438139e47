"""Webhooks: what is sent, how it is signed, and what happens when nobody answers."""

import dataclasses
import json
import logging
import time
from collections.abc import Iterator

import pytest
from hookserver import Receiver

from cluster import records, webhooks
from cluster.book import Card, Control
from cluster.states import JobState
from cluster.webhooks import Event, Pauses, Webhooks, checked_url, event_of, signature, verified
from storage import layout
from storage.memory import MemoryStore

SECRET = b"a secret that both sides know"
FAST = Pauses(tries=4, first=0.01, most=0.02, timeout=2.0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def hooks_to(store: MemoryStore, *urls: str, pauses: Pauses = FAST) -> Webhooks:
    return Webhooks(store, urls, SECRET, pauses)


CARD = Card("talk.mp4", "newsdesk", 1.0)


def control(state: JobState = JobState.DONE, reason: str = "") -> Control:
    return Control(state, reason, time.time())


def until(hooks: Webhooks) -> None:
    """All that was told is through."""
    limit = time.monotonic() + 20
    while hooks.waiting() and time.monotonic() < limit:
        time.sleep(0.01)
    assert hooks.waiting() == 0


def test_an_event_is_signed_and_says_what_happened(receiver: Receiver, store: MemoryStore) -> None:
    hooks = hooks_to(store, receiver.url)
    hooks.start()
    hooks.tell("JOB", CARD, control(JobState.FAILED, "no frame could be decoded"))
    until(hooks)
    hooks.close()
    ((headers, body),) = receiver.got
    assert verified(SECRET, headers["veilfarm-signature"], body, time.time())
    told = json.loads(body)
    assert told.keys() == {"id", "job", "name", "owner", "state", "reason", "at"}
    assert (told["job"], told["name"], told["owner"], told["state"]) == ("JOB", "talk.mp4", "newsdesk", "failed")
    assert told["reason"] == "no frame could be decoded"
    assert told["id"] == headers["veilfarm-event"]
    assert hooks.outcomes() == {"delivered": 1, "retried": 0, "given_up": 0, "left_out": 0}
    assert list(store.keys("farm/outbox")) == []


@pytest.mark.parametrize("change", ["body", "secret", "time", "late", "early", "nonsense"])
def test_a_signature_that_is_wrong_or_old_is_refused(change: str) -> None:
    header, body, now = signature(SECRET, b"{}", 1000.0), b"{}", 1000.0
    assert verified(SECRET, header, body, now)
    assert verified(SECRET, header, body, now + webhooks.WINDOW - 1)
    bad = {
        "body": (SECRET, header, b"{ }", now),
        "secret": (b"another secret, just as long", header, body, now),
        "time": (SECRET, header.replace("t=1000", "t=1001"), body, now),
        "late": (SECRET, header, body, now + webhooks.WINDOW + 1),
        "early": (SECRET, header, body, now - webhooks.WINDOW - 1),
        "nonsense": (SECRET, "t=²,v1", body, now),
    }
    assert not verified(*bad[change])


def test_what_fails_is_tried_again_and_later_events_wait_for_it(receiver: Receiver, store: MemoryStore) -> None:
    receiver.answers = [500, 302, 503]
    hooks = hooks_to(store, receiver.url)
    hooks.start()
    hooks.tell("FIRST", CARD, control())
    hooks.tell("SECOND", CARD, control())
    until(hooks)
    hooks.close()
    assert [json.loads(body)["job"] for _, body in receiver.got] == ["FIRST"] * 4 + ["SECOND"]
    assert len({headers["veilfarm-event"] for headers, _ in receiver.got[:4]}) == 1
    assert hooks.outcomes() == {"delivered": 2, "retried": 3, "given_up": 0, "left_out": 0}


def test_giving_up_is_logged_without_the_secret_or_the_path(
    receiver: Receiver, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500] * 4
    hooks = hooks_to(store, f"{receiver.url}/key-in-the-path")
    hooks.start()
    hooks.tell("JOB", CARD, control())
    until(hooks)
    hooks.close()
    assert hooks.outcomes()["given_up"] == 1
    assert "is given up after 4 tries: the answer was 500" in caplog.text
    assert "key-in-the-path" not in caplog.text
    assert SECRET.decode() not in caplog.text
    assert list(store.keys("farm/outbox")) == []


def test_one_url_that_is_down_doesnt_hold_up_another(receiver: Receiver, store: MemoryStore) -> None:
    down = "http://127.0.0.1:1"
    hooks = hooks_to(store, down, receiver.url, pauses=dataclasses.replace(FAST, first=30.0, most=30.0))
    hooks.start()
    hooks.tell("JOB", CARD, control())
    limit = time.monotonic() + 10
    while not receiver.got and time.monotonic() < limit:
        time.sleep(0.01)
    assert receiver.got
    hooks.close()
    assert len(list(store.keys("farm/outbox"))) == 1  # for the next start


def test_what_was_told_last_is_written_down_before_the_end(store: MemoryStore) -> None:
    hooks = hooks_to(store, "http://127.0.0.1:1", pauses=dataclasses.replace(FAST, first=30.0, most=30.0))
    hooks.start()
    for number in range(5):
        hooks.tell(f"JOB{number}", CARD, control())
    hooks.close(patience=30.0)
    left = [records.loads(Event, store.read(key)).job for key in store.keys("farm/outbox")]
    assert sorted(left) == [f"JOB{number}" for number in range(5)]


def test_what_was_left_is_sent_at_the_next_start(receiver: Receiver, store: MemoryStore) -> None:
    event = event_of("JOB", CARD, control())
    store.create(layout.waiting_event(event.id), records.dumps(event))
    store.create(layout.waiting_event("damaged"), b"{")
    hooks = hooks_to(store, receiver.url)
    hooks.start()
    limit = time.monotonic() + 10
    while not receiver.got and time.monotonic() < limit:
        time.sleep(0.01)
    until(hooks)
    hooks.close()
    assert [headers["veilfarm-event"] for headers, _ in receiver.got] == [event.id]


def test_telling_never_waits_and_what_doesnt_fit_is_left_out(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "QUEUE", 3)
    hooks = hooks_to(store, "http://127.0.0.1:1")  # not started: nobody takes anything away
    with caplog.at_level(logging.ERROR):
        for number in range(5):
            hooks.tell(f"JOB{number}", CARD, control())
    assert hooks.outcomes()["left_out"] == 2
    assert "job JOB4 is done wasn't told" in caplog.text


def test_what_another_controller_told_long_ago_isnt_told_again(store: MemoryStore) -> None:
    hooks = hooks_to(store, "http://127.0.0.1:1")
    hooks.tell("JOB", CARD, dataclasses.replace(control(), since=time.time() - webhooks.RECENT - 1))
    assert hooks.waiting() == 0


def test_the_same_change_has_the_same_id() -> None:
    one = control()
    assert event_of("JOB", CARD, one).id == event_of("JOB", CARD, dataclasses.replace(one, revision=9, priority=1)).id
    others = {
        event_of("OTHER", CARD, one).id,
        event_of("JOB", CARD, dataclasses.replace(one, round=2)).id,
        event_of("JOB", CARD, dataclasses.replace(one, state=JobState.QUEUED)).id,
    }
    assert len(others | {event_of("JOB", CARD, one).id}) == 4
    assert isinstance(event_of("JOB", CARD, one), Event)


def test_pauses_grow_to_a_bound() -> None:
    pauses = Pauses(tries=20, first=1.0, most=60.0)
    assert pauses.before(0) == 0
    for attempt, least in ((1, 0.5), (2, 1.0), (5, 8.0), (19, 30.0)):
        drawn = [pauses.before(attempt) for _ in range(50)]
        assert least <= min(drawn) <= max(drawn) <= min(60.0, least * 2)
        assert len(set(drawn)) > 1


@pytest.mark.parametrize("url", ["ftp://host/x", "/path", "file:///etc/passwd", "http://", "https:", "http://[::1"])
def test_only_web_addresses(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        checked_url(url)
    assert checked_url("https://host:8443/hook?x=1") == "https://host:8443/hook?x=1"
