"""Reviewers' edits over HTTP, over a store in memory; what the farm does with them is in test_review."""

import dataclasses
import time
from typing import Any

import pytest
from apiclient import Api
from apifarm import spec, submit
from heldjob import TRACKS, Reviewer

from cluster.job import LinkFacts, Step, Veil
from cluster.ledger import Ledger, Unit
from cluster.states import JobState, Move
from cluster.users import Role


def test_before_any_edit_there_is_a_version_and_an_end(reviewer: Reviewer) -> None:
    seen = reviewer.look()
    assert seen.pop("until") == pytest.approx(time.time() + 14 * 86400, abs=600)
    assert seen == {"version": 0, "rendered": 0, "pending": False, "editable": True, "edits": []}


def test_an_edit_is_listed_with_who_and_when_and_shows_on_the_person(reviewer: Reviewer) -> None:
    found = reviewer.edit("keep", person=0, reason="gave consent in writing")
    (edit,) = found["edits"]
    assert (found["version"], found["pending"], edit["who"], edit["rendered"]) == (1, True, "kim", False)
    assert edit["reason"] == "gave consent in writing"
    people = reviewer.people()
    assert (people[0]["mark"], people[0]["pending"], people[0]["edits"]) == ("keep", True, [edit["id"]])
    assert not people[1]["pending"]
    assert reviewer.look()["edits"] == [edit]


def test_the_history_keeps_what_was_taken_back_too(api: Api, reviewer: Reviewer) -> None:
    edit = reviewer.edit("keep", person=0, reason="consent")["edits"][0]
    reviewer.undo(edit["id"])
    said = [(entry.who, entry.what) for entry in api.book.history(reviewer.job)]
    assert ("kim", "let person 0 stay visible: consent") in said
    assert ("kim", "took back: let person 0 stay visible: consent") in said


def test_merge_split_and_box_change_who_is_who(reviewer: Reviewer) -> None:
    reviewer.edit("merge", person=1, into=2)
    made = reviewer.edit("split", person=0, tracks=[2])["edits"][-1]["made"]
    box = reviewer.edit("box", frame=12, box=[5, 5, 20, 25])["edits"][-1]["made"]
    people = reviewer.people()
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
def test_what_cant_hold_is_refused_at_once(reviewer: Reviewer, fields: dict[str, Any], what: str) -> None:
    kind = fields.pop("kind")
    assert what in reviewer.edit(kind, 422, **fields)["detail"]
    assert reviewer.look()["version"] == 0


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
def test_what_isnt_as_the_document_says_is_refused(reviewer: Reviewer, fields: dict[str, Any]) -> None:
    kind = fields.pop("kind")
    assert reviewer.edit(kind, 422, **fields)["errors"]


def test_guessed_ends_of_tracks_dont_keep_people_apart(reviewer: Reviewer) -> None:
    reviewer.edit("merge", person=1, into=2)  # tracks 1 and 3 overlap on frame 24 by guess alone


def test_the_second_of_two_reviewers_sees_what_the_first_did_and_nothing_is_lost(api: Api, reviewer: Reviewer) -> None:
    lee = Reviewer(api, reviewer.job, "lee")
    lee.look()
    reviewer.edit("cover", person=0)
    reviewer.edit("no_face", track=1)
    refused = lee.edit("face", 412, person=0)
    assert [change["what"] for change in refused["changes"]] == ["had person 0 covered", "said that track 1 is no face"]
    assert {change["who"] for change in refused["changes"]} == {"kim"}
    assert refused["version"] == 2
    assert len(lee.look()["edits"]) == 2
    assert [edit["kind"] for edit in lee.edit("face", person=0)["edits"]] == ["cover", "no_face", "face"]


def test_an_edit_without_the_version_that_was_seen_is_refused(reviewer: Reviewer) -> None:
    answer = reviewer.client.post(f"/v1/jobs/{reviewer.job}/edits", json={"kind": "cover", "person": 0})
    assert answer.status_code == 428


def test_undo_takes_back_one_edit_unless_another_rests_on_it(reviewer: Reviewer) -> None:
    split = reviewer.edit("split", person=0, tracks=[2])["edits"][0]
    face = reviewer.edit("face", person=split["made"])["edits"][1]
    assert "another edit rests on this one" in reviewer.undo(split["id"], 409)["detail"]
    reviewer.undo(face["id"])
    found = reviewer.undo(split["id"])
    assert (found["edits"], found["version"], found["pending"]) == ([], 4, False)
    reviewer.undo(split["id"], 404)
    again = reviewer.edit("split", person=0, tracks=[2])["edits"][0]
    assert again["made"] != split["made"]


def test_mend_renders_what_was_edited_and_only_then(api: Api, reviewer: Reviewer) -> None:
    assert "all edits already" in reviewer.post("mend", 409)["detail"]
    reviewer.edit("cover", person=0)
    assert "mend it first" in reviewer.post("approve", 409)["detail"]
    found = reviewer.post("mend")
    assert (found["state"], found["edits"]) == ("queued", 1)
    assert reviewer.look()["until"] is None
    assert reviewer.look()["rendered"] == 1
    assert not reviewer.look()["pending"]
    reviewer.edit("cover", person=1)  # while it is being rendered: for the next time
    assert reviewer.look()["pending"]
    reviewer.post("approve", 409)


def test_approve_publishes_and_ends_editing(api: Api, reviewer: Reviewer) -> None:
    found = reviewer.post("approve")
    assert (found["state"], found["approved"]) == ("queued", True)
    assert "the job is approved" in reviewer.edit("cover", 409, person=0)["detail"]
    assert not reviewer.look()["editable"]
    assert any("approved" in entry.what for entry in api.book.history(reviewer.job))


def test_an_edit_that_comes_between_the_look_and_the_approval_stops_it(
    api: Api, reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lee = Reviewer(api, reviewer.job, "lee")
    lee.look()
    change = api.book.change

    def late(job: str, who: str, move: Move | None = None, *rest: Any, **more: Any) -> Any:
        if move is Move.APPROVE:
            monkeypatch.setattr(api.book, "change", change)
            lee.look()
            lee.edit("cover", person=0)
        return change(job, who, move, *rest, **more)

    monkeypatch.setattr(api.book, "change", late)
    assert "changed meanwhile" in reviewer.post("approve", 409)["detail"]
    assert api.book.control(reviewer.job).state is JobState.REVIEW
    assert lee.look()["pending"]


def test_an_approval_that_was_first_refuses_the_edit(api: Api, reviewer: Reviewer) -> None:
    lee = Reviewer(api, reviewer.job, "lee")
    lee.look()
    ledger_seen = lee.tag
    reviewer.post("approve")
    lee.tag = ledger_seen
    assert "approved" in lee.edit("cover", 409, person=0)["detail"]


def test_only_reviewers_edit_and_approve_and_only_what_they_see(api: Api, reviewer: Reviewer) -> None:
    ann = Reviewer(api, reviewer.job, "ann", Role.SUBMITTER)
    assert ann.edit("cover", 403, person=0)
    assert ann.post("approve", 403)
    assert ann.post("mend", 403)
    other = Reviewer(api, reviewer.job, "eve", team="sports")
    assert other.edit("cover", 404, person=0)
    assert other.post("approve", 404)


def test_a_job_that_isnt_reviewed_takes_no_edits(api: Api) -> None:
    job = submit(api.book, "b.mp4", "kim")
    Ledger(api.store, job).commit(Unit(Step.LINK), "B" * 26, LinkFacts(3, {}, TRACKS), 0.2)
    reviewer = Reviewer(api, job)
    assert not reviewer.look()["editable"]
    assert "wasn't submitted for review" in reviewer.edit("cover", 409, person=0)["detail"]


def test_where_all_faces_are_covered_nobody_gets_another(reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "spec", lambda self: dataclasses.replace(spec(), veil=Veil.MOSAIC))
    assert "every face is covered" in reviewer.edit("face", 422, person=0)["detail"]
    reviewer.edit("keep", person=0, reason="consent")


def test_there_is_an_end_to_edits(reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.edits.MOST_EDITS", 2)
    reviewer.edit("cover", person=0)
    reviewer.edit("cover", person=1)
    assert "at most 2 edits" in reviewer.edit("cover", 422, person=2)["detail"]
