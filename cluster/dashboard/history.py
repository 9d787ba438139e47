"""Lines of a job's history in the reader's language.

Records are written in English, by whatever wrote them at any time: so lines are known again by their form. What has
none of these forms, such as the words of an error, stays as it is.
"""

import re
from collections.abc import Callable

from cluster.book import Entry
from cluster.dashboard.words import Words
from cluster.job import Step
from cluster.states import JobState

Made = Callable[[Words, re.Match[str]], str]


def line(t: Words, entry: Entry) -> str:
    """What happened."""
    state, _, reason = entry.what.partition(": ")
    if entry.what in set(JobState):
        return t(f"state.{entry.what}")
    if state in set(JobState) and reason:
        return t("history.state", state=t(f"state.{state}"), reason=text(t, reason))
    return text(t, entry.what)


def text(t: Words, what: str) -> str:
    """A line, or the reason of a state."""
    for form, made in _FORMS:
        if match := form.fullmatch(what):
            return made(t, match)
    return what


def unit(t: Words, name: str) -> str:
    """A unit of work by its name in records: "render of chunk 3 with edits"."""
    match = _UNIT.fullmatch(name)
    if match is None:
        return name
    found = t(f"step.{match['step']}")
    if match["chunk"] is not None:
        found = t("history.chunk", step=found, chunk=match["chunk"])
    return t("history.edited", unit=found) if match["edited"] else found


def _person(t: Words, number: str) -> str:
    return t("people.person", n=int(number) + 1)


def _whom(t: Words, told: str) -> str:
    """Pages count people from 1."""
    kind, _, number = told.partition(" ")
    return _person(t, number) if kind == "person" else t("history.track", n=int(number))


def _plain(key: str) -> Made:
    return lambda t, match: t(key, **match.groupdict()) if match.groupdict() else t(key)


def _edited(key: str) -> Made:
    return lambda t, match: t(key, whom=_whom(t, match["whom"]))


def _failed(t: Words, match: re.Match[str]) -> str:
    where = t("history.worker") if match["where"] == "a worker" else match["where"]
    trouble = t.maybe(f"trouble.{match['kind'].replace(' ', '_')}", match["kind"])
    return t("history.failed", unit=unit(t, match["unit"]), where=where, kind=trouble, why=match["why"])


def _changed(t: Words, match: re.Match[str]) -> str:
    found = []
    for part in match[0].split(", "):
        name, before, _, after = part.split(" ")
        values = [_value(t, name, each) for each in (before, after)]
        found.append(t("history.changed", what=t(_FIELDS[name]), before=values[0], after=values[1]))
    return ", ".join(found)


def _value(t: Words, name: str, value: str) -> str:
    if value == "None":
        return t("history.none")
    return t.moment(float(value)) if name == "deadline" else value


def _waits(t: Words, match: re.Match[str]) -> str:
    return t("history.waits.over", state=t(f"state.{match['state']}"), job=match["job"][-8:])


_FIELDS = {"priority": "jobs.priority", "limit": "job.limit", "deadline": "job.deadline"}
_WHOM = r"(?P<whom>(?:person|track) \d{1,9})"
_CHANGE = r"(?:priority|limit|deadline) \S+ → \S+"
_UNIT = re.compile(r"(?P<step>" + "|".join(Step) + r")(?: of chunk (?P<chunk>\d+))?(?P<edited> with edits)?")
_FORMS: list[tuple[re.Pattern[str], Made]] = [
    (re.compile(form), made)
    for form, made in (
        ("submitted", _plain("job.submitted")),
        ("unchanged", _plain("history.unchanged")),
        ("approved", _plain("history.approved")),
        ("edited again", _plain("history.again")),
        ("looked at the original", _plain("history.looked")),
        (
            r"looked at the original of person (?P<n>\d{1,9})",
            lambda t, m: t("history.looked.person", whom=_person(t, m["n"])),
        ),
        (
            r"looked at the original of person (?P<n>\d{1,9}) on frame (?P<frame>\d{1,9})",
            lambda t, m: t("history.looked.frame", whom=_person(t, m["n"]), frame=m["frame"]),
        ),
        (r"(?P<n>\d{1,6}) edits?", lambda t, m: t("history.edits", n=int(m["n"]))),
        (r"(?s)(?P<unit>.+) failed on (?P<where>.+?) \((?P<kind>[a-z ]+)\) and is tried again: (?P<why>.*)", _failed),
        (rf"{_CHANGE}(?:, {_CHANGE})*", _changed),
        (r"it waits for job (?P<job>\w+), which was erased", lambda t, m: t("history.waits.erased", job=m["job"][-8:])),
        (r"it waits for job (?P<job>\w+), which is (?P<state>\w+); retry that one", _waits),
        (
            r"nobody approved it within (?P<days>\S+) days; what was kept for that is deleted",
            _plain("history.expired"),
        ),
        (r"took back: (?P<what>.+)", lambda t, m: t("edit.undone", what=text(t, m["what"]))),
        (rf"gave {_WHOM} another face", _edited("edit.face")),
        (rf"had {_WHOM} covered", _edited("edit.cover")),
        (
            rf"took {_WHOM} for person (?P<into>\d{{1,9}})",
            lambda t, m: t("edit.merge", whom=_whom(t, m["whom"]), into=_person(t, m["into"])),
        ),
        (
            rf"made tracks (?P<tracks>[\d, ]+) of {_WHOM} a person of their own",
            lambda t, m: t("history.split", whom=_whom(t, m["whom"]), n=m["tracks"].count(",") + 1),
        ),
        (rf"said that {_WHOM} is no face", _edited("edit.no_face")),
        (
            rf"(?s)let {_WHOM} stay visible: (?P<reason>.*)",
            lambda t, m: t("edit.keep", whom=_whom(t, m["whom"]), reason=m["reason"]),
        ),
        (r"drew a box at frame (?P<frame>\d{1,9})", _plain("history.box")),
    )
]
