"""Pictures of the people in a job that is reviewed, over HTTP: seen once that is written down, decoded apart."""

import contextlib
import dataclasses
from pathlib import Path

import pytest
from apiclient import Api
from apifarm import spec
from heldjob import TRACKS, Reviewer

from cluster.apart import Busy
from cluster.job import LinkFacts, MendFacts, RenderFacts, Step, TrackFacts, source_of
from cluster.ledger import Ledger, Unit
from cluster.users import Role
from pipeline.errors import InputError
from storage.objects import AlreadyThere


def is_of(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is of this film, which is there."""
    film.parent.mkdir(exist_ok=True)
    film.write_bytes(b"film")
    monkeypatch.setattr(Ledger, "spec", lambda self: dataclasses.replace(spec(), source=source_of(film)))


def test_a_look_at_an_original_is_written_down_first(
    api: Api, reviewer: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def picture(ledger: Ledger, source: Path, track: TrackFacts) -> bytes:
        seen.extend(entry.what for entry in api.book.history(reviewer.job))
        return b"jpeg"

    is_of(tmp_path / "films" / "talk.mp4", monkeypatch)
    monkeypatch.setattr("cluster.glimpse.before", picture)
    answer = reviewer.client.get(f"/v1/jobs/{reviewer.job}/people/0/before.jpg")
    assert (answer.content, answer.headers["Cache-Control"]) == (b"jpeg", "no-store")
    assert seen[-1] == "looked at the original of person 0"
    reviewer.client.get(f"/v1/jobs/{reviewer.job}/people/0/before.jpg")
    assert [e.what for e in api.book.history(reviewer.job)].count(seen[-1]) == 2
    assert reviewer.client.get(f"/v1/jobs/{reviewer.job}/people/9/before.jpg").status_code == 404
    is_of(tmp_path / "elsewhere.mp4", monkeypatch)
    assert reviewer.client.get(f"/v1/jobs/{reviewer.job}/people/0/before.jpg").status_code == 403
    ann = Reviewer(api, reviewer.job, "ann", Role.SUBMITTER)
    assert ann.client.get(f"/v1/jobs/{reviewer.job}/people/0/before.jpg").status_code == 403
    assert [e.who for e in api.book.history(reviewer.job)].count("ann") == 0


def test_the_new_face_is_shown_once_it_is_rendered(
    api: Api, reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.glimpse.after", lambda ledger, chunk, unit, track: f"{unit} {track.id}".encode())
    where = f"/v1/jobs/{reviewer.job}/people/0/after.jpg"
    assert reviewer.client.get(where).status_code == 409
    facts = RenderFacts("s", 10, 0, 9, "", 1, 0, "", {}, {}, 0, {})
    Ledger(api.store, reviewer.job).commit(
        Unit(Step.RENDER, 2), "R", facts, 1
    )  # where the largest face is, that is new
    answer = reviewer.client.get(where)
    assert (answer.status_code, answer.content) == (200, b"render of chunk 2 2")
    assert reviewer.client.get(where, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    box = reviewer.edit("box", frame=12, box=[5, 5, 20, 25])["edits"][0]["made"]
    assert reviewer.client.get(f"/v1/jobs/{reviewer.job}/people/{box}/after.jpg").status_code == 409


def test_each_appearance_has_its_own_pictures(
    api: Api, reviewer: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_of(tmp_path / "films" / "talk.mp4", monkeypatch)
    monkeypatch.setattr("cluster.glimpse.before", lambda ledger, source, track: f"{track.id}".encode())
    monkeypatch.setattr("cluster.glimpse.after", lambda ledger, chunk, unit, track: f"{unit} {track.id}".encode())
    people = reviewer.client.get(f"/v1/jobs/{reviewer.job}/people").json()
    one = people[0]
    for track in one["tracks"]:
        where = f"/v1/jobs/{reviewer.job}/people/0/tracks/{track['id']}"
        assert reviewer.client.get(f"{where}/before.jpg").content == f"{track['id']}".encode()
        assert api.book.history(reviewer.job)[-1].what == f"looked at the original of person 0 on frame {track['best']}"
        facts = RenderFacts("s", 10, 0, 9, "", 1, 0, "", {}, {}, 0, {})
        chunk = next(c.index for c in Ledger(api.store, reviewer.job).chunks() if c.start <= track["best"] < c.stop)
        with contextlib.suppress(AlreadyThere):
            Ledger(api.store, reviewer.job).commit(Unit(Step.RENDER, chunk), "R", facts, 1)
        assert reviewer.client.get(f"{where}/after.jpg").content == f"render of chunk {chunk} {track['id']}".encode()
    count = len(api.book.history(reviewer.job))
    other = next(each["tracks"][0]["id"] for each in people if each["person"] != 0)
    for wrong in (other, 999):
        assert reviewer.client.get(f"/v1/jobs/{reviewer.job}/people/0/tracks/{wrong}/before.jpg").status_code == 404
    assert len(api.book.history(reviewer.job)) == count


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("no picture of this film can be shown", "its decoder crashed", "check the film"), 422),
        (Busy("others are being shown pictures just now"), 503),
    ],
)
def test_a_film_that_breaks_a_decoder_is_told(
    reviewer: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    is_of(tmp_path / "films" / "talk.mp4", monkeypatch)

    def ask(self: object, **question: object) -> bytes:
        raise error

    monkeypatch.setattr("cluster.apart.Apart.ask", ask)
    monkeypatch.setattr(Ledger, "folder", lambda self, unit: tmp_path)
    for _ in range(2):  # the next one isn't kept waiting
        answer = reviewer.client.get(f"/v1/jobs/{reviewer.job}/people/0/before.jpg")
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert str(error) in answer.json()["detail"]


def test_while_edits_are_rendered_the_face_from_before_is_shown(
    api: Api, reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.glimpse.after", lambda ledger, chunk, unit, track: str(unit).encode())
    ledger, where = Ledger(api.store, reviewer.job), f"/v1/jobs/{reviewer.job}/people/0/after.jpg"
    facts = RenderFacts("s", 10, 0, 9, "", 1, 0, "", {}, {}, 0, {})
    ledger.commit(Unit(Step.RENDER, 2), "R", facts, 1)
    reviewer.edit("face", person=0)
    reviewer.post("mend")
    assert reviewer.client.get(where).content == b"render of chunk 2"
    assert reviewer.people()[0]["identity"] == "0123456789abcdef"
    new = LinkFacts(3, {"0": "fedcba9876543210"}, TRACKS)
    ledger.commit(Unit(Step.MEND, None, "000001"), "M", MendFacts(new, {"2": "e"}, "f", {}), 1)
    assert reviewer.client.get(where).content == b"render of chunk 2"
    assert reviewer.people()[0]["identity"] == "fedcba9876543210"
    ledger.commit(Unit(Step.RENDER, 2, "e"), "S", facts, 1)
    assert reviewer.client.get(where).content == b"render of chunk 2 with edits"
