"""Lines of histories in the reader's language: everything that writes one is known to the pages."""

import pytest

from cluster.book import Control, Entry, _told
from cluster.dashboard.history import line, text, unit
from cluster.dashboard.words import Words
from cluster.edits import told
from cluster.job import Step
from cluster.ledger import Unit
from cluster.states import JobState
from cluster.trouble import Trouble
from pipeline.edits import Edit, Kind

GERMAN, ENGLISH = Words("de"), Words("en")


def an_edit(kind: Kind, **more: object) -> Edit:
    facts: dict[str, object] = {"into": 2, "tracks": (4, 5), "frame": 120, "reason": "er will es", **more}
    return Edit(id="A", kind=kind, who="kim", at=0.0, person=1, track=None, box=None, made=7, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_edit_has_its_words(kind: Kind) -> None:
    what = told(an_edit(kind))
    assert text(GERMAN, what) != what
    assert text(GERMAN, f"took back: {what}").startswith("nahm zurück: ")
    assert text(ENGLISH, what)
    if kind is not Kind.BOX:
        assert "Person 2" in text(GERMAN, what)  # pages count from 1


@pytest.mark.parametrize("kind", list(Trouble))
def test_every_failure_has_its_words(kind: Trouble) -> None:
    for of in (Unit(Step.LINK), Unit(Step.RENDER, 3), Unit(Step.RENDER, 3, "ab12")):
        what = f"{of} failed on here-1 ({kind.value}) and is tried again: the film: bad (very)\nindeed"
        found = text(GERMAN, what)
        assert found.startswith(unit(GERMAN, str(of)))
        assert found.endswith("the film: bad (very)\nindeed")
        assert GERMAN(f"trouble.{kind.value.replace(' ', '_')}") in found


@pytest.mark.parametrize("step", list(Step))
def test_every_step_has_its_words(step: Step) -> None:
    assert unit(GERMAN, str(Unit(step))) == GERMAN(f"step.{step}")


@pytest.mark.parametrize("state", list(JobState))
def test_states_with_and_without_a_reason(state: JobState) -> None:
    assert line(GERMAN, Entry(0.0, "x", state.value, state)) == GERMAN(f"state.{state}")
    assert line(GERMAN, Entry(0.0, "x", f"{state}: 3 edits", state)) == f"{GERMAN(f'state.{state}')}: 3 Änderungen"
    assert line(GERMAN, Entry(0.0, "x", f"{state}: no room: full", state)).endswith(": no room: full")


def test_changed_settings() -> None:
    before, after = (Control(JobState.QUEUED, "", 0.0, priority=one, limit=two) for one, two in ((0, None), (5, 3)))
    assert text(GERMAN, _told(before, after)) == "Vorrang: 0 → 5, Höchstens Arbeiter: keine → 3"
    assert text(GERMAN, _told(before, before)) == "Unverändert"


@pytest.mark.parametrize(
    ("what", "german"),
    [
        ("submitted", "Eingereicht"),
        ("looked at the original", "Original angesehen"),
        ("looked at the original of person 0", "Originalgesicht angesehen: Person 1"),
        ("looked at the original of person 0 on frame 12", "Originalgesicht angesehen: Person 1, Bild 12"),
        ("1 edit", "1 Änderung"),
        ("what nobody has ever said", "what nobody has ever said"),
    ],
)
def test_other_lines(what: str, german: str) -> None:
    assert text(GERMAN, what) == german
