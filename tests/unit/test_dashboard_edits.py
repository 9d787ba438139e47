"""Reviewing on the dashboard's pages without a browser: who may, what is kept, and what is told."""

import html
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from dashfarm import Dash, held, indexed

from cluster.book import Control
from cluster.edits import Edits
from cluster.job import Step, Veil
from cluster.ledger import Ledger, Unit
from cluster.sessions import COOKIE, mark
from cluster.states import JobState, Move
from cluster.users import Role
from pipeline.edits import Edit


@pytest.fixture
def dash(tmp_path: Path) -> Iterator[Dash]:
    farm = Dash(tmp_path, serve=False)
    yield farm
    farm.context.stopping.set()


class Somebody:
    """At a browser; sends forms with the version that the page has shown."""

    def __init__(self, dash: Dash, job: str, name: str, role: Role = Role.REVIEWER, team: str = "news") -> None:
        cookie = dash.context.sessions.begin(dash.token(name, role, team))
        assert cookie is not None
        self.client, self.form, self.job = dash.anonymous(cookies={COOKIE: cookie}), mark(cookie), job
        self.tag = ""

    def look(self, page: str = "people", **headers: str) -> Any:
        answer = self.client.get(f"/jobs/{self.job}/{page}", headers=headers)
        if tag := re.search(r'name="tag" value="([^"]+)"', answer.text):
            self.tag = tag[1]
        return answer

    def send(self, page: str = "people", **fields: Any) -> Any:
        given = {"csrf": self.form, "tag": self.tag, **fields}
        return self.client.post(f"/jobs/{self.job}/{page}", data=given)


@pytest.fixture
def job(dash: Dash) -> str:
    return held(dash, "Council meeting.mp4")


@pytest.fixture
def kim(dash: Dash, job: str) -> Somebody:
    found = Somebody(dash, job, "kim")
    assert found.look().status_code == 200
    return found


def edits(dash: Dash, job: str) -> tuple[Edit, ...]:
    return Edits(dash.book.ledger(job)).latest().edits


def control(dash: Dash, job: str) -> Control:
    return dash.book.control(job)


def test_edits_are_told_in_both_languages_without_raw_names(dash: Dash, job: str, kim: Somebody) -> None:
    forms: tuple[dict[str, Any], ...] = (
        {"kind": "face", "person": "0"},
        {"kind": "cover", "person": "1"},
        {"kind": "keep", "person": "3", "reason": "gave <b>consent</b>"},
        {"kind": "split", "person": "1", "tracks": ["4"]},
        {"kind": "no_face", "person": "2", "tracks": ["6"]},
        {"kind": "box", "frame": "25", "left": "4", "top": "5", "wide": "20", "high": "30", "back": "compare"},
    )
    for fields in forms:
        answer = kim.send(**fields)
        place = "compare" if fields["kind"] == "box" else f"people#p-{fields['person']}"  # one goes on where one was
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job}/{place}"), answer.text
        kim.look()
    text = html.unescape(kim.look().text)
    for told in (
        "Person 1 gets another face",
        "Person 4 stays visible: gave <b>consent</b>",
        "1 appearance of Person 2 is somebody else",
        "What appears at 4:40 is no face",
        "A face that was missed at 0:01 is covered",
        "6 changes are to be drawn",
    ):
        assert told in text, told
    assert "<b>consent" not in kim.look().text
    german = kim.look(**{"Accept-Language": "de"}).text
    assert "Person 1 bekommt ein anderes Gesicht" in german
    assert "6 Änderungen sind zu zeichnen" in german
    first = edits(dash, job)[0]
    assert kim.send("people/undo", edit=first.id).status_code == 303
    assert len(edits(dash, job)) == 5


def test_only_reviewers_of_the_team_change_anything(dash: Dash, job: str, kim: Somebody) -> None:
    for name, role, team, status in (
        ("vic", Role.VIEWER, "news", 403),
        ("sue", Role.SUBMITTER, "news", 403),
        ("sam", Role.REVIEWER, "sport", 404),
    ):
        other = Somebody(dash, job, name, role, team)
        other.tag = kim.tag
        for page in ("people", "people/part", "people/0/keep", "result"):
            assert other.look(page).status_code == status, (name, page)
        assert other.send(kind="cover", person="0").status_code == status
        assert other.send("people/undo", edit="0" * 26).status_code == status
        assert other.send("people/do", do="approve").status_code == status
    assert kim.send(kind="cover", person="0", csrf="0" * 64).status_code == 403
    assert kim.send("people/do", do="approve", csrf="").status_code == 403
    assert not edits(dash, job)
    assert control(dash, job).state is JobState.REVIEW


def test_who_was_second_is_told_and_keeps_what_they_wrote(dash: Dash, job: str, kim: Somebody) -> None:
    lea = Somebody(dash, job, "lea")
    lea.look()
    kim.send(kind="cover", person="0")
    answer = lea.send(kind="keep", person="0", reason="is the mayor")
    assert answer.status_code == 409
    assert "kim changed this meanwhile" in answer.text
    assert "Person 1 is covered" in answer.text
    assert 'value="is the mayor"' in answer.text
    assert lea.send(kind="face", person="3").status_code == 303, "kim was at somebody else"
    lea.look()
    undone = edits(dash, job)[0].id
    assert kim.send("people/undo", edit=undone).status_code == 303, "lea was at somebody else"
    answer = lea.send("people/undo", edit=undone)
    assert answer.status_code == 409
    assert "changed this meanwhile" in answer.text
    lea.tag = "x.1"  # of people who were found by another try
    assert lea.send(kind="cover", person="0").status_code == 409
    assert [edit.person for edit in edits(dash, job)] == [3]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"kind": "keep", "person": "0", "reason": " "}, "Something is missing"),
        ({"kind": "keep", "person": "99", "reason": "x"}, "There is no such person"),
        ({"kind": "merge", "person": ["0", "1"]}, "on screen at the same time"),
        ({"kind": "merge", "person": ["0"]}, "Something is missing"),
        ({"kind": "split", "person": "2", "tracks": ["6"]}, "Leave the person at least one"),
        ({"kind": "split", "person": "1"}, "Something is missing"),
        ({"kind": "box", "frame": "999999", "left": "0", "top": "0", "wide": "9", "high": "9"}, "outside"),
        ({"kind": "box", "frame": "1", "left": "0", "top": "0", "wide": "1", "high": ""}, "Something is missing"),
        ({"kind": "box", "frame": "1", "left": "x", "top": "0", "wide": "1", "high": "1"}, "Something is missing"),
        ({"kind": "erase", "person": "0"}, "Something is missing"),
        ({"kind": "cover", "person": "zero"}, "Something is missing"),
        ({}, "Something is missing"),
    ],
)
def test_what_cant_be_is_told_on_the_page(
    dash: Dash, job: str, kim: Somebody, fields: dict[str, Any], told: str
) -> None:
    answer = kim.send(**fields)
    assert answer.status_code == 422
    assert told in answer.text
    assert not edits(dash, job)


def test_mending_and_releasing(dash: Dash, job: str, kim: Somebody) -> None:
    assert "nothing to be drawn" in kim.send("people/do", do="mend").text
    kim.send(kind="cover", person="0")
    kim.look()
    assert "isn&#39;t drawn yet" in kim.send("people/do", do="approve").text
    assert kim.send("people/do", do="mend").status_code == 303
    assert (control(dash, job).state, control(dash, job).edits) == (JobState.QUEUED, 1)
    assert "The film is being drawn" in kim.look().text
    for move in (Move.START, Move.HOLD):
        dash.book.change(job, "controller", move)
    lea = Somebody(dash, job, "lea")
    lea.look()
    kim.look()
    kim.send(kind="cover", person="1")
    answer = lea.send("people/do", do="approve")
    assert (answer.status_code, "<b>kim:</b> Person 2 is covered" in answer.text) == (409, True)
    kim.look()
    kim.send("people/undo", edit=edits(dash, job)[-1].id)
    kim.look()
    assert kim.send("people/do", do="approve").headers["location"] == f"/jobs/{job}"
    assert control(dash, job).approved
    assert "nothing can be changed any more" in kim.look().text
    assert kim.send(kind="cover", person="0").status_code == 409
    assert kim.look("people/0/keep").status_code == 404
    assert kim.send("people/do", do="destroy").status_code == 422


def test_where_all_are_covered_nobody_gets_a_face(dash: Dash) -> None:
    job = held(dash, "a.mp4", veil=Veil.MOSAIC)
    kim = Somebody(dash, job, "kim")
    assert 'value="face"' not in kim.look().text
    assert 'value="no_face"' in kim.look().text
    assert kim.send(kind="face", person="0").status_code == 422


def test_the_film_that_waits_is_sent_in_ranges_and_only_while_it_waits(dash: Dash, job: str, kim: Somebody) -> None:
    answer = kim.look("result", Range="bytes=1-2")
    assert (answer.status_code, answer.content) == (206, b"il")
    dash.book.change(job, "kim", Move.CANCEL)
    assert kim.look("result").status_code == 404


def test_the_frame_at_a_moment_is_the_one_that_is_shown_then(dash: Dash, job: str, kim: Somebody) -> None:
    ledger = Ledger(dash.store, job)
    indexed(ledger, (100, 140, 150, 400, 410), 430, Fraction(1, 100), first=1)  # a variable rate, in hundredths

    def look(what: str) -> tuple[int, float, float]:
        found = kim.look(f"frames?{what}").json()
        return found["frame"], found["begins"], found["ends"]

    assert look("at=0") == (1, 0.0, 0.1)
    assert look("at=0.1") == (2, 0.1, 2.6)
    assert look("at=2.59") == (2, 0.1, 2.6)
    assert look("at=99") == (4, 2.7, 2.9)
    assert look("frame=3") == (3, 2.6, 2.7)
    assert look("frame=0") == (1, 0.0, 0.1)
    assert kim.look("frames?at=nan").status_code == 404
    ledger.erase_tries(Unit(Step.INDEX))
    assert kim.look("frames?at=0").status_code == 404
