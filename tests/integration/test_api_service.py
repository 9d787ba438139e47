"""The farm's outer side as `serve` puts it together: a real server, a real controller, webhooks; workers that see no
film."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from apifarm import a_film
from doubles import DrySteps
from dryfarm import PATIENCE, SECRET, serving, until
from hookserver import Receiver
from prometheus_client.parser import text_string_to_metric_families

from cluster.api import incoming
from cluster.config import UsageError
from cluster.front import Address, Front, FrontSettings
from cluster.webhooks import verified
from storage.folder import FolderStore

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def state(client: httpx2.Client, job: str) -> str:
    return str(client.get(f"/v1/jobs/{job}").json()["state"])


def test_from_an_upload_to_the_film(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "PART", 1000)
    film = b"a film " * 1000
    with serving(tmp_path) as farm:
        token = farm.token()
        client = farm.client(token)
        place = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(film))}).headers["location"]
        client.patch(place, content=film[:3000], headers={**OCTETS, "Upload-Offset": "0"}).raise_for_status()
    with serving(tmp_path, receiver.url) as farm:  # restarted in the middle
        client = farm.client(token)
        assert client.head(place, headers=TUS).headers["upload-offset"] == "3000"
        client.patch(place, content=film[3000:], headers={**OCTETS, "Upload-Offset": "3000"}).raise_for_status()
        upload = place.rpartition("/")[2]
        made = client.post("/v1/jobs", json={"upload": upload}, headers={"Idempotency-Key": "one"})
        assert made.status_code == 201, made.text
        job = made.json()["job"]
        assert client.post("/v1/jobs", json={"upload": upload}).status_code == 409
        until(lambda: state(client, job) == "done")
        answer = client.get(f"/v1/jobs/{job}/film", headers={"Range": "bytes=0-6"})
        assert (answer.status_code, answer.content) == (206, b"segment")
        assert client.get(f"/v1/jobs/{job}/film").text == "segment 0\nsegment 1\nsegment 2\n"
        assert client.get(f"/v1/jobs/{job}/report").json()["frames"]["out"] == 30
        assert client.get(f"/v1/jobs/{job}/people").json()[0]["replaced"] == 28
        assert all(unit["done"] for unit in client.get(f"/v1/jobs/{job}/units").json())
        assert client.get(f"/v1/jobs/{job}/logs", params={"step": "render", "chunk": 1}).status_code == 200
        assert not list((tmp_path / "store/uploads").rglob("*.*"))  # deleted with the job's end
        until(lambda: len(receiver.got) >= 3)
        told = [json.loads(body) for _, body in receiver.got]
        assert [(each["job"], each["state"]) for each in told] == [(job, s) for s in ("queued", "running", "done")]
        for headers, body in receiver.got:
            assert verified(SECRET, headers["veilfarm-signature"], body, time.time())
        _metrics(client, job)
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
        assert client.get("/v1/jobs").json()["total"] == 0


def _metrics(client: httpx2.Client, job: str) -> None:
    text = client.get("/metrics").text
    assert job not in text
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["veilfarm_jobs", "done"] == 1
    assert found["veilfarm_units_total", "done", "render"] == 3
    assert sum(value for name, value in found.items() if name[0] == "veilfarm_frames_total" and "render" in name) == 30
    assert found["veilfarm_leader",] == 1
    assert found["veilfarm_webhooks_total", "delivered"] == 3
    assert found["veilfarm_store_written_bytes_total",] > 0
    assert found["veilfarm_store_read_bytes_total",] > 0


def test_events_come_while_they_happen(tmp_path: Path) -> None:
    go = threading.Event()
    steps = DrySteps(trouble=lambda unit, _: go.wait(PATIENCE) and None)
    a_film(tmp_path / "films", "talk.mp4")
    with serving(tmp_path, steps=steps) as farm:
        client = farm.client(farm.token())
        states: list[str] = []
        with client.stream("GET", "/v1/events") as answer:
            made = client.post("/v1/jobs", json={"source": str(tmp_path / "films/talk.mp4")})
            assert made.status_code == 201, made.text
            for line in answer.iter_lines():
                if line.startswith("data: ") and "state" in (facts := json.loads(line[6:])):
                    states.append(facts["state"])
                    if states[-1] == "running":
                        go.set()
                    if states[-1] == "done":
                        break
        assert list(dict.fromkeys(states)) == ["queued", "running", "done"]


def test_two_serve_one_store_and_both_know_all_jobs(tmp_path: Path) -> None:
    a_film(tmp_path / "films", "talk.mp4")
    with serving(tmp_path) as first:
        token = first.token()
        until(lambda: first.service.leads)
        with serving(tmp_path) as second:
            assert not second.service.leads
            one, two = first.client(token), second.client(token)
            job = two.post("/v1/jobs", json={"source": str(tmp_path / "films/talk.mp4")}).json()["job"]
            until(lambda: state(two, job) == "done")
            assert one.get("/v1/jobs").json()["jobs"][0]["state"] == "done"
            assert until(lambda: two.get("/v1/workers").json()["workers"])
            assert two.get("/readyz").json() == {"ready": True, "index": True, "store": True, "leads": False}
            assert not any("token" in each for each in second.said)


def test_a_default_address_that_is_taken_is_no_end_but_one_that_was_asked_for_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path) as farm:
        assert farm.front.server is not None
        port = farm.front.server.port
        store = FolderStore(tmp_path / "other")
        front = Front(store, str(tmp_path / "other"), FrontSettings(Address("127.0.0.1", port, False)))
        assert front.server is None
        assert f"no API here: 127.0.0.1:{port} can't be had" in caplog.text
        with pytest.raises(UsageError, match="can't listen"):
            Front(store, str(tmp_path / "other"), FrontSettings(Address("127.0.0.1", port, True)))


def test_open_streams_dont_keep_a_farm_from_ending(tmp_path: Path) -> None:
    ended = threading.Event()

    def listen(client: httpx2.Client) -> None:
        with client.stream("GET", "/v1/events") as answer:
            started.set()
            for _ in answer.iter_lines():
                pass
        ended.set()

    started = threading.Event()
    with serving(tmp_path) as farm:
        client = farm.client(farm.token())
        farm.clients.clear()
        listener = threading.Thread(target=listen, args=(client,))
        listener.start()
        assert started.wait(PATIENCE)
    assert ended.wait(PATIENCE)
    listener.join()
    client.close()
    assert not farm.front.server._thread.is_alive()  # type: ignore[union-attr]
