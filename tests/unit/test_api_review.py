"""Reviewers' edits over HTTP, over a store in memory; what the farm does with them is in test_review."""

import contextlib
import dataclasses
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from apiclient import Api
from apifarm import spec as plain_spec
from apifarm import submit

from cluster.apart import Busy
from cluster.job import (
    ChunkRecord,
    IndexFacts,
    JobSpec,
    LinkFacts,
    MendFacts,
    Plan,
    RenderFacts,
    Source,
    SourceFacts,
    Step,
    TrackFacts,
    Veil,
    source_of,
)
from cluster.ledger import Ledger, Unit
from cluster.states import JobState, Move
from cluster.users import Role
from pipeline.errors import InputError
from storage.objects import AlreadyThere

TRACKS = (
    TrackFacts(0, 0, 0, 20, 20, 40, 60, {"replace": 18, "cover_small": 2}, (2, 18), 7, (1, 2, 3, 4)),
    TrackFacts(1, 1, 15, 25, 10, 12, 14, {"cover_small": 10}, (16, 24), 20, (1, 2, 3, 4)),
    TrackFacts(2, 0, 25, 30, 5, 30, 90, {"replace": 5}, (25, 30), 28, (1, 2, 3, 4)),
    TrackFacts(3, 2, 24, 30, 6, 30, 90, {"replace": 6}, (26, 30), 28, (1, 2, 3, 4)),
)


@pytest.fixture
def job(api: Api) -> str:
    """Kim's, rendered and held for review."""
    found = submit(api.book, "talk.mp4", "kim", review=True, team="news")
    ledger = Ledger(api.store, found)
    chunks = tuple(ChunkRecord(i, i * 10, i * 10 + 10, i * 10, i * 10 + 10, "") for i in range(3))
    ledger.commit(
        Unit(Step.INGEST), "I", SourceFacts("0" * 64, "mov", "h264", "yuv420p", 64, 48, 90, Fraction(25), ()), 1
    )
    ledger.commit(Unit(Step.INDEX), "X", IndexFacts(30, Fraction(30, 25), 1, 0), 1)
    ledger.commit(Unit(Step.PLAN), "A", Plan(0, 30, chunks), 0.1)
    ledger.commit(Unit(Step.LINK), "B" * 26, LinkFacts(3, {"0": "0123456789abcdef"}, TRACKS), 0.2)
    api.book.change(found, "controller", Move.START)
    api.book.change(found, "controller", Move.HOLD)
    return found


def spec(source: Source) -> JobSpec:
    return dataclasses.replace(plain_spec(), source=source)


class Reviewer:
    """Somebody who edits by what they saw last."""

    def __init__(self, api: Api, job: str, name: str = "kim", role: Role = Role.REVIEWER, team: str = "news") -> None:
        self.client, self.job = api.client(name, role, team), job
        self.tag = ""

    def look(self) -> dict[str, Any]:
        answer = self.client.get(f"/v1/jobs/{self.job}/edits")
        assert answer.status_code == 200, answer.text
        self.tag = answer.headers["ETag"]
        found: dict[str, Any] = answer.json()
        return found

    def edit(self, kind: str, status: int = 201, **fields: Any) -> dict[str, Any]:
        answer = self.client.post(
            f"/v1/jobs/{self.job}/edits", json={"kind": kind, **fields}, headers={"If-Match": self.tag}
        )
        assert answer.status_code == status, answer.text
        if status == 201:
            self.tag = answer.headers["ETag"]
        found: dict[str, Any] = answer.json()
        return found

    def undo(self, edit: str, status: int = 200) -> dict[str, Any]:
        answer = self.client.delete(f"/v1/jobs/{self.job}/edits/{edit}", headers={"If-Match": self.tag})
        assert answer.status_code == status, answer.text
        if status == 200:
            self.tag = answer.headers["ETag"]
        found: dict[str, Any] = answer.json()
        return found

    def people(self) -> dict[int, dict[str, Any]]:
        return {each["person"]: each for each in self.client.get(f"/v1/jobs/{self.job}/people").json()}

    def post(self, what: str, status: int = 202) -> dict[str, Any]:
        answer = self.client.post(f"/v1/jobs/{self.job}/{what}")
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def kim(api: Api, job: str) -> Reviewer:
    found = Reviewer(api, job)
    seen = found.look()
    assert seen.pop("until") == pytest.approx(time.time() + 14 * 86400, abs=600)
    assert seen == {"version": 0, "rendered": 0, "pending": False, "editable": True, "edits": []}
    return found


def test_an_edit_is_listed_with_who_and_when_and_shows_on_the_person(kim: Reviewer) -> None:
    found = kim.edit("keep", person=0, reason="gave consent in writing")
    (edit,) = found["edits"]
    assert (found["version"], found["pending"], edit["who"], edit["rendered"]) == (1, True, "kim", False)
    assert edit["reason"] == "gave consent in writing"
    people = kim.people()
    assert (people[0]["mark"], people[0]["pending"], people[0]["edits"]) == ("keep", True, [edit["id"]])
    assert not people[1]["pending"]
    assert kim.look()["edits"] == [edit]


def test_the_history_keeps_what_was_taken_back_too(api: Api, kim: Reviewer) -> None:
    edit = kim.edit("keep", person=0, reason="consent")["edits"][0]
    kim.undo(edit["id"])
    said = [(entry.who, entry.what) for entry in api.book.history(kim.job)]
    assert ("kim", "let person 0 stay visible: consent") in said
    assert ("kim", "took back: let person 0 stay visible: consent") in said


def test_merge_split_and_box_change_who_is_who(kim: Reviewer) -> None:
    kim.edit("merge", person=1, into=2)
    made = kim.edit("split", person=0, tracks=[2])["edits"][-1]["made"]
    box = kim.edit("box", frame=12, box=[5, 5, 20, 25])["edits"][-1]["made"]
    people = kim.people()
    assert {number: [t["id"] for t in each["tracks"]] for number, each in people.items()} == {
        0: [0],
        2: [1, 3],
        made: [2],
        box: [box],
    }
    assert people[box]["drawn"]
    assert people[box]["tracks"][0]["first"] == 12


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"kind": "cover", "person": 9}, "there is no person 9"),
        ({"kind": "keep", "track": 9, "reason": "x"}, "there is no track 9"),
        ({"kind": "merge", "person": 0, "into": 1}, "0.64 s to 0.72 s (frames 16 to 17)"),
        ({"kind": "merge", "person": 0, "into": 0}, "can't become themselves"),
        ({"kind": "split", "person": 0, "tracks": [1]}, "not all of the tracks 1 are of person 0"),
        ({"kind": "split", "person": 0, "tracks": [0, 2]}, "these are all tracks"),
        ({"kind": "box", "frame": 30, "box": [1, 1, 9, 9]}, "the output has the frames 0 to 29"),
        ({"kind": "box", "frame": 3, "box": [50, 1, 60, 9]}, "which is 48 x 64 px"),
    ],
)
def test_what_cant_hold_is_refused_at_once(kim: Reviewer, fields: dict[str, Any], what: str) -> None:
    kind = fields.pop("kind")
    assert what in kim.edit(kind, 422, **fields)["detail"]
    assert kim.look()["version"] == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "keep", "person": 0, "reason": "  "},
        {"kind": "keep", "person": 0, "track": 0, "reason": "x"},
        {"kind": "cover"},
        {"kind": "cover", "person": 0, "box": [0, 0, 9, 9]},
        {"kind": "box", "frame": 3, "box": [9, 9, 1, 1]},
        {"kind": "box", "frame": 3, "box": [1, 1, 9]},
        {"kind": "face", "person": 0, "photo": "x"},
        {"kind": "swap", "person": 0},
    ],
)
def test_what_isnt_as_the_document_says_is_refused(kim: Reviewer, fields: dict[str, Any]) -> None:
    kind = fields.pop("kind")
    assert kim.edit(kind, 422, **fields)["errors"]


def test_guessed_ends_of_tracks_dont_keep_people_apart(kim: Reviewer) -> None:
    kim.edit("merge", person=1, into=2)  # tracks 1 and 3 overlap on frame 24 by guess alone


def test_the_second_of_two_reviewers_sees_what_the_first_did_and_nothing_is_lost(api: Api, kim: Reviewer) -> None:
    lee = Reviewer(api, kim.job, "lee")
    lee.look()
    kim.edit("cover", person=0)
    kim.edit("no_face", track=1)
    refused = lee.edit("face", 412, person=0)
    assert [change["what"] for change in refused["changes"]] == ["had person 0 covered", "said that track 1 is no face"]
    assert {change["who"] for change in refused["changes"]} == {"kim"}
    assert refused["version"] == 2
    assert len(lee.look()["edits"]) == 2
    assert [edit["kind"] for edit in lee.edit("face", person=0)["edits"]] == ["cover", "no_face", "face"]


def test_an_edit_without_the_version_that_was_seen_is_refused(kim: Reviewer) -> None:
    answer = kim.client.post(f"/v1/jobs/{kim.job}/edits", json={"kind": "cover", "person": 0})
    assert answer.status_code == 428


def test_undo_takes_back_one_edit_unless_another_rests_on_it(kim: Reviewer) -> None:
    split = kim.edit("split", person=0, tracks=[2])["edits"][0]
    face = kim.edit("face", person=split["made"])["edits"][1]
    assert "another edit rests on this one" in kim.undo(split["id"], 409)["detail"]
    kim.undo(face["id"])
    found = kim.undo(split["id"])
    assert (found["edits"], found["version"], found["pending"]) == ([], 4, False)
    kim.undo(split["id"], 404)
    again = kim.edit("split", person=0, tracks=[2])["edits"][0]
    assert again["made"] != split["made"]


def test_mend_renders_what_was_edited_and_only_then(api: Api, kim: Reviewer) -> None:
    assert "all edits already" in kim.post("mend", 409)["detail"]
    kim.edit("cover", person=0)
    assert "mend it first" in kim.post("approve", 409)["detail"]
    found = kim.post("mend")
    assert (found["state"], found["edits"]) == ("queued", 1)
    assert kim.look()["until"] is None
    assert kim.look()["rendered"] == 1
    assert not kim.look()["pending"]
    kim.edit("cover", person=1)  # while it is being rendered: for the next time
    assert kim.look()["pending"]
    kim.post("approve", 409)


def test_approve_publishes_and_ends_editing(api: Api, kim: Reviewer) -> None:
    found = kim.post("approve")
    assert (found["state"], found["approved"]) == ("queued", True)
    assert "the job is approved" in kim.edit("cover", 409, person=0)["detail"]
    assert not kim.look()["editable"]
    assert any("approved" in entry.what for entry in api.book.history(kim.job))


def test_an_edit_that_comes_between_the_look_and_the_approval_stops_it(
    api: Api, kim: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lee = Reviewer(api, kim.job, "lee")
    lee.look()
    change = api.book.change

    def late(job: str, who: str, move: Move | None = None, *rest: Any, **more: Any) -> Any:
        if move is Move.APPROVE:
            monkeypatch.setattr(api.book, "change", change)
            lee.look()
            lee.edit("cover", person=0)
        return change(job, who, move, *rest, **more)

    monkeypatch.setattr(api.book, "change", late)
    assert "changed meanwhile" in kim.post("approve", 409)["detail"]
    assert api.book.control(kim.job).state is JobState.REVIEW
    assert lee.look()["pending"]


def test_an_approval_that_was_first_refuses_the_edit(api: Api, kim: Reviewer) -> None:
    lee = Reviewer(api, kim.job, "lee")
    lee.look()
    ledger_seen = lee.tag
    kim.post("approve")
    lee.tag = ledger_seen
    assert "approved" in lee.edit("cover", 409, person=0)["detail"]


def test_only_reviewers_edit_and_approve_and_only_what_they_see(api: Api, kim: Reviewer) -> None:
    ann = Reviewer(api, kim.job, "ann", Role.SUBMITTER)
    assert ann.edit("cover", 403, person=0)
    assert ann.post("approve", 403)
    assert ann.post("mend", 403)
    other = Reviewer(api, kim.job, "eve", team="sports")
    assert other.edit("cover", 404, person=0)
    assert other.post("approve", 404)


def test_a_job_that_isnt_reviewed_takes_no_edits(api: Api) -> None:
    job = submit(api.book, "b.mp4", "kim")
    Ledger(api.store, job).commit(Unit(Step.LINK), "B" * 26, LinkFacts(3, {}, TRACKS), 0.2)
    kim = Reviewer(api, job)
    assert not kim.look()["editable"]
    assert "wasn't submitted for review" in kim.edit("cover", 409, person=0)["detail"]


def test_where_all_faces_are_covered_nobody_gets_another(kim: Reviewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "spec", lambda self: dataclasses.replace(plain_spec(), veil=Veil.MOSAIC))
    assert "every face is covered" in kim.edit("face", 422, person=0)["detail"]
    kim.edit("keep", person=0, reason="consent")


def test_there_is_an_end_to_edits(kim: Reviewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.edits.MOST_EDITS", 2)
    kim.edit("cover", person=0)
    kim.edit("cover", person=1)
    assert "at most 2 edits" in kim.edit("cover", 422, person=2)["detail"]


def test_a_look_at_an_original_is_written_down_first(
    api: Api, kim: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def picture(ledger: Ledger, source: Path, track: TrackFacts) -> bytes:
        seen.extend(entry.what for entry in api.book.history(kim.job))
        return b"jpeg"

    film = tmp_path / "films" / "talk.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film")
    monkeypatch.setattr("cluster.glimpse.before", picture)
    monkeypatch.setattr(Ledger, "spec", lambda self: spec(source_of(film)))
    answer = kim.client.get(f"/v1/jobs/{kim.job}/people/0/before.jpg")
    assert (answer.content, answer.headers["Cache-Control"]) == (b"jpeg", "no-store")
    assert seen[-1] == "looked at the original of person 0"
    kim.client.get(f"/v1/jobs/{kim.job}/people/0/before.jpg")
    assert [e.what for e in api.book.history(kim.job)].count(seen[-1]) == 2
    assert kim.client.get(f"/v1/jobs/{kim.job}/people/9/before.jpg").status_code == 404
    elsewhere = tmp_path / "elsewhere.mp4"
    elsewhere.write_bytes(b"film")
    monkeypatch.setattr(Ledger, "spec", lambda self: spec(source_of(elsewhere)))
    assert kim.client.get(f"/v1/jobs/{kim.job}/people/0/before.jpg").status_code == 403
    ann = Reviewer(api, kim.job, "ann", Role.SUBMITTER)
    assert ann.client.get(f"/v1/jobs/{kim.job}/people/0/before.jpg").status_code == 403
    assert [e.who for e in api.book.history(kim.job)].count("ann") == 0


def test_the_new_face_is_shown_once_it_is_rendered(api: Api, kim: Reviewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.glimpse.after", lambda ledger, chunk, unit, track: f"{unit} {track.id}".encode())
    where = f"/v1/jobs/{kim.job}/people/0/after.jpg"
    assert kim.client.get(where).status_code == 409
    facts = RenderFacts("s", 10, 0, 9, "", 1, 0, "", {}, {}, 0, {})
    Ledger(api.store, kim.job).commit(Unit(Step.RENDER, 2), "R", facts, 1)  # where the largest face is, that is new
    answer = kim.client.get(where)
    assert (answer.status_code, answer.content) == (200, b"render of chunk 2 2")
    assert kim.client.get(where, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    box = kim.edit("box", frame=12, box=[5, 5, 20, 25])["edits"][0]["made"]
    assert kim.client.get(f"/v1/jobs/{kim.job}/people/{box}/after.jpg").status_code == 409


def test_each_appearance_has_its_own_pictures(
    api: Api, kim: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "films" / "talk.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film")
    monkeypatch.setattr("cluster.glimpse.before", lambda ledger, source, track: f"{track.id}".encode())
    monkeypatch.setattr("cluster.glimpse.after", lambda ledger, chunk, unit, track: f"{unit} {track.id}".encode())
    monkeypatch.setattr(Ledger, "spec", lambda self: spec(source_of(film)))
    people = kim.client.get(f"/v1/jobs/{kim.job}/people").json()
    one = people[0]
    for track in one["tracks"]:
        where = f"/v1/jobs/{kim.job}/people/0/tracks/{track['id']}"
        assert kim.client.get(f"{where}/before.jpg").content == f"{track['id']}".encode()
        assert api.book.history(kim.job)[-1].what == f"looked at the original of person 0 on frame {track['best']}"
        facts = RenderFacts("s", 10, 0, 9, "", 1, 0, "", {}, {}, 0, {})
        chunk = next(c.index for c in Ledger(api.store, kim.job).chunks() if c.start <= track["best"] < c.stop)
        with contextlib.suppress(AlreadyThere):
            Ledger(api.store, kim.job).commit(Unit(Step.RENDER, chunk), "R", facts, 1)
        assert kim.client.get(f"{where}/after.jpg").content == f"render of chunk {chunk} {track['id']}".encode()
    count = len(api.book.history(kim.job))
    other = next(each["tracks"][0]["id"] for each in people if each["person"] != 0)
    for wrong in (other, 999):
        assert kim.client.get(f"/v1/jobs/{kim.job}/people/0/tracks/{wrong}/before.jpg").status_code == 404
    assert len(api.book.history(kim.job)) == count


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("no picture of this film can be shown", "its decoder crashed", "check the film"), 422),
        (Busy("others are being shown pictures just now"), 503),
    ],
)
def test_a_film_that_breaks_a_decoder_is_told(
    kim: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    film = tmp_path / "films" / "talk.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film")
    monkeypatch.setattr(Ledger, "spec", lambda self: spec(source_of(film)))

    def ask(self: object, **question: object) -> bytes:
        raise error

    monkeypatch.setattr("cluster.apart.Apart.ask", ask)
    monkeypatch.setattr(Ledger, "folder", lambda self, unit: tmp_path)
    for _ in range(2):  # the next one isn't kept waiting
        answer = kim.client.get(f"/v1/jobs/{kim.job}/people/0/before.jpg")
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert str(error) in answer.json()["detail"]


def test_while_edits_are_rendered_the_face_from_before_is_shown(
    api: Api, kim: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.glimpse.after", lambda ledger, chunk, unit, track: str(unit).encode())
    ledger, where = Ledger(api.store, kim.job), f"/v1/jobs/{kim.job}/people/0/after.jpg"
    facts = RenderFacts("s", 10, 0, 9, "", 1, 0, "", {}, {}, 0, {})
    ledger.commit(Unit(Step.RENDER, 2), "R", facts, 1)
    kim.edit("face", person=0)
    kim.post("mend")
    assert kim.client.get(where).content == b"render of chunk 2"
    assert kim.people()[0]["identity"] == "0123456789abcdef"
    new = LinkFacts(3, {"0": "fedcba9876543210"}, TRACKS)
    ledger.commit(Unit(Step.MEND, None, "000001"), "M", MendFacts(new, {"2": "e"}, "f", {}), 1)
    assert kim.client.get(where).content == b"render of chunk 2"
    assert kim.people()[0]["identity"] == "fedcba9876543210"
    ledger.commit(Unit(Step.RENDER, 2, "e"), "S", facts, 1)
    assert kim.client.get(where).content == b"render of chunk 2 with edits"
