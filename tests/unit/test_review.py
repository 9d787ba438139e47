"""A job that is reviewed: held, mended, approved or forgotten; what was not touched stays as it was."""

import dataclasses
import random
from pathlib import Path

import pytest
from doubles import FRAMES, DryPool, DrySteps, Ear, a_spec
from simfarm import until
from simworld import World

from cluster.book import NotNow
from cluster.closing import LATE, REVIEW
from cluster.controller import SCAN_EVERY
from cluster.edits import Edits
from cluster.farm import Farm
from cluster.job import Publish, PublishFacts, Step, StitchFacts, new_id
from cluster.ledger import Ledger, Unit
from cluster.roles import Job
from cluster.states import JobState, Move
from pipeline.edits import Edit, Kind
from storage import layout
from storage.folder import FolderStore


def an_edit(kind: Kind = Kind.COVER, **fields: object) -> Edit:
    return Edit(new_id(), kind, "kim", 1.0, **({"person": 0} | fields))  # type: ignore[arg-type]


def edited(ledger: Ledger, *edits: Edit) -> int:
    """The version of the list with these added."""
    held = Edits(ledger)
    latest = held.latest()
    return held.write(latest, (*latest.edits, *edits), "kim", "changed it").version


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def held(world: World) -> str:
    job = world.submit(review=True)
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    return job


def attempts(ledger: Ledger, edits: int = 0) -> list[str]:
    """Which tries count for the chunks' segments."""
    return [done.attempt for unit in ledger.units_of(Step.RENDER, edits) if (done := ledger.done(unit))]


def test_a_reviewed_job_is_held_with_its_work_and_isnt_published(world: World) -> None:
    job = held(world)
    ledger = Ledger(world.store, job)
    assert ledger.done(Unit(Step.STITCH))
    assert ledger.done(Unit(Step.PUBLISH)) is None
    assert ledger.has_secret()
    assert world.book.result(job, 1) is None
    for _ in range(50):
        world.lead.turn()
    assert world.state(job) is JobState.REVIEW
    assert not world.lead.farm.jobs
    assert world.told.count((job, JobState.REVIEW, 1)) == 1


def test_a_held_job_costs_the_controller_nothing(world: World) -> None:
    held(world)
    until(world.lead, lambda: not world.lead.controller._ended)
    before = world.lead.mortal.operations.copy()
    for _ in range(20):
        world.lead.turn()
    after = world.lead.mortal.operations - before
    assert after["read"] == 0
    assert after["keys"] == 0


def test_approved_it_is_published_and_its_work_deleted(world: World) -> None:
    job = held(world)
    world.book.change(job, "kim", Move.APPROVE)
    until(world.lead, lambda: world.state(job) is JobState.DONE)
    ledger = Ledger(world.store, job)
    assert ledger.facts(PublishFacts)
    assert not ledger.has_secret()
    assert not [key for key in world.keys(job) if "/try/" in key]
    assert {world.calls[job, unit] for unit in ledger.units()} == {1}


def test_it_is_done_only_when_somebody_has_approved_it(world: World) -> None:
    job = world.submit(review=True)
    world.book.change(job, "controller", Move.START)
    with pytest.raises(NotNow, match="nobody has approved"):
        world.book.change(job, "controller", Move.FINISH)


def test_mended_only_what_an_edit_changes_is_rendered_again(world: World) -> None:
    job = held(world)
    ledger = Ledger(world.store, job)
    before = attempts(ledger)
    version = edited(ledger, an_edit())
    world.book.change(job, "kim", Move.MEND, edits=version)
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    after = attempts(ledger, version)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]
    assert attempts(ledger) == before  # nothing was overwritten
    assert world.calls[job, Unit(Step.RENDER, 1)] == 1
    assert world.calls[job, Unit(Step.ANALYSE, 0)] == 1
    assert world.calls[job, Unit(Step.LINK)] == 1


def test_cancelled_in_review_nothing_is_left_of_its_work_or_its_edits(world: World) -> None:
    job = held(world)
    world.book.change(job, "kim", Move.MEND, edits=edited(Ledger(world.store, job), an_edit()))
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    world.book.change(job, "kim", Move.CANCEL)
    world.settle()
    left = [key for key in world.keys(job) if any(part in key for part in ("/film/", "/chunks/", "/edits/", "secret"))]
    assert left == []


def test_a_film_that_nobody_approves_is_cancelled_and_deleted_after_its_time(world: World) -> None:
    job = held(world)
    world.wait(REVIEW - SCAN_EVERY)
    assert world.state(job) is JobState.REVIEW
    world.wait(2 * SCAN_EVERY)
    world.wait(LATE)
    assert world.state(job) is JobState.CANCELLED
    assert any("nobody approved it within 14 days" in entry.what for entry in world.book.history(job))
    assert not [key for key in world.keys(job) if "/try/" in key or key.endswith("/secret")]


def test_how_long_that_is_is_for_the_operator_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    job = held(world)
    world.lead.controller._review = 3600.0
    world.wait(3600 + 2 * SCAN_EVERY)
    assert world.state(job) is JobState.CANCELLED
    assert "nobody approved it within 0.0417 days" in world.book.control(job).reason


def test_retried_after_cancelling_it_begins_anew_without_edits(world: World) -> None:
    job = held(world)
    first = Edits(Ledger(world.store, job)).attempt
    world.book.change(job, "kim", Move.MEND, edits=edited(Ledger(world.store, job), an_edit()))
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    world.book.change(job, "kim", Move.CANCEL)
    world.settle()
    control = world.book.change(job, "kim", Move.RETRY)
    assert (control.edits, control.approved) == (0, False)
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    edits = Edits(Ledger(world.store, job))
    assert edits.attempt != first
    assert edits.latest().version == 0


def test_retried_after_publishing_failed_it_keeps_its_edits_and_is_looked_at_again(world: World) -> None:
    job = held(world)
    version = edited(Ledger(world.store, job), an_edit())
    world.book.change(job, "kim", Move.MEND, edits=version)
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    world.poison[job] = {Unit(Step.PUBLISH)}
    world.book.change(job, "kim", Move.APPROVE)
    until(world.lead, lambda: world.state(job) is JobState.FAILED)
    world.poison.clear()
    world.book.change(job, "kim", Move.RETRY)
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    control = world.book.control(job)
    assert (control.edits, control.approved) == (version, False)
    world.book.change(job, "kim", Move.APPROVE)
    until(world.lead, lambda: world.state(job) is JobState.DONE)


def test_edits_that_cant_be_rendered_dont_lock_reviewers_out(world: World) -> None:
    job = held(world)
    ledger = Ledger(world.store, job)
    good = edited(ledger, an_edit())
    world.book.change(job, "kim", Move.MEND, edits=good)
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    bad = edited(ledger, an_edit())
    world.poison[job] = {ledger.unit(Step.MEND, None, bad)}
    world.book.change(job, "kim", Move.MEND, edits=bad)
    until(world.lead, lambda: world.state(job) is JobState.FAILED)
    world.book.change(job, "kim", Move.RETRY)
    until(world.lead, lambda: world.state(job) is JobState.REVIEW)
    assert world.book.control(job).edits == good
    assert Edits(ledger).latest().version == bad  # still there, to be taken back
    assert world.calls[job, Unit(Step.RENDER, 1)] == 1


def test_one_that_waits_for_a_held_job_goes_on_waiting(world: World) -> None:
    job = held(world)
    other = world.submit(1, after=(job,))
    for _ in range(50):
        world.lead.turn()
    assert world.state(other) is JobState.WAITING
    world.book.change(job, "kim", Move.APPROVE)
    until(world.lead, lambda: world.state(other) is JobState.DONE)


def test_a_late_controller_doesnt_hold_what_was_mended_meanwhile(world: World) -> None:
    """It saw the end of the first rendering, and was away while another held the job and a reviewer mended it."""
    job = world.submit(review=True)
    until(world.lead, lambda: world.state(job) is JobState.RUNNING)
    control = world.book.control(job)
    world.book.change(job, "other", Move.HOLD)
    world.book.change(job, "kim", Move.MEND, edits=1)
    world.book.change(job, "other", Move.START)
    with pytest.raises(NotNow, match="changed meanwhile"):
        world.book.change(job, "late", Move.HOLD, of_round=control.round, of_edits=control.edits)


@pytest.mark.parametrize("seed", range(12))
def test_controllers_that_die_anywhere_lose_nothing(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    world = World(monkeypatch, seed, heads=2)
    rng = random.Random(seed)
    job = world.submit(review=True)
    world.bad_luck = 0.1

    def work(what: JobState) -> None:
        for _ in range(4000):
            if world.state(job) is what:
                return
            for head in world.heads:
                if rng.random() < 0.01:
                    head.mortal.die_at(rng.randrange(40), rng.choice(["before", "after"]))
            world.turn()
        raise AssertionError(world.book.history(job))

    work(JobState.REVIEW)
    ledger = Ledger(world.store, job)
    first = attempts(ledger)
    version = edited(ledger, an_edit())
    world.book.change(job, "kim", Move.MEND, edits=version)
    work(JobState.REVIEW)
    assert attempts(ledger, version)[1] == first[1]
    world.book.change(job, "kim", Move.APPROVE)
    work(JobState.DONE)
    world.settle()
    assert not [key for key in world.keys(job) if "/try/" in key or key.endswith("/secret")]


class Held:
    """A job of three chunks with real workers and steps without pictures."""

    def __init__(self, folder: Path) -> None:
        source = folder / "film.mp4"
        source.write_bytes(b"film")
        self.store = FolderStore(folder / "work")
        self.ledger = Ledger.create(self.store, a_spec(source, folder / "out.mp4"))
        self.ledger.give_secret()
        self.steps = DrySteps(chunks=3)
        self.place = str(folder / "work")

    def run(self, edits: int = 0) -> None:
        job = Job("film", self.place, self.ledger, None, edits=edits, hold=True)
        (ended,) = Farm(DryPool(self.steps), Ear()).run([job])
        assert ended.failure is None, ended.failure.trace


@pytest.fixture
def dry(tmp_path: Path) -> Held:
    found = Held(tmp_path)
    found.run()
    return found


def a_box(ledger: Ledger, frame: int) -> Edit:
    edits = Edits(ledger)
    return edits.numbered(an_edit(Kind.BOX, person=None, frame=frame, box=(1, 1, 9, 9)), edits.latest())


def test_untouched_chunks_keep_the_very_try_that_was_rendered_first(dry: Held) -> None:
    ledger = dry.ledger
    first, film = attempts(ledger), ledger.facts(StitchFacts).sha256
    one = edited(ledger, a_box(ledger, FRAMES + 3))
    dry.run(one)
    assert [a == b for a, b in zip(first, attempts(ledger, one), strict=True)] == [True, False, True]
    assert ledger.facts(StitchFacts, edits=one).sha256 != film
    two = edited(ledger, a_box(ledger, 2 * FRAMES + 3))
    dry.run(two)
    before, after = attempts(ledger, one), attempts(ledger, two)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]
    assert dry.steps.before == ledger.folder(ledger.unit(Step.MEND, None, one))
    assert dry.steps.calls[Unit(Step.RENDER, 0)] == 1


def test_what_is_taken_back_needs_no_rendering_at_all(dry: Held) -> None:
    ledger = dry.ledger
    first, film = attempts(ledger), ledger.facts(StitchFacts)
    one = edited(ledger, a_box(ledger, 3))
    dry.run(one)
    held = Edits(ledger)
    two = held.write(held.latest(), (), "kim", "took it back").version
    rendered = dry.steps.calls[Unit(Step.RENDER, 0)]
    dry.run(two)
    assert attempts(ledger, two) == first
    assert ledger.facts(StitchFacts, edits=two) == film
    assert dry.steps.calls[Unit(Step.RENDER, 0)] == rendered


def test_a_held_film_can_be_approved_under_a_new_version_but_not_rendered_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(b"film")
    spec = dataclasses.replace(a_spec(source, tmp_path / "out.mp4"), publish=Publish("out.mp4", False))
    ledger = Ledger.create(FolderStore(tmp_path / "work"), spec)
    ledger.give_secret()
    job = Job("film", str(tmp_path / "work"), ledger, None, hold=True)
    list(Farm(DryPool(DrySteps()), Ear()).run([job]))
    monkeypatch.setattr("cluster.workers.made_by", lambda: "another")
    version = edited(ledger, a_box(ledger, 3))
    (ended,) = Farm(DryPool(DrySteps()), Ear()).run([dataclasses.replace(job, edits=version)])
    assert ended.failure is not None
    assert ended.failure.cause == "OtherVersion"
    (ended,) = Farm(DryPool(DrySteps()), Ear()).run([dataclasses.replace(job, hold=False, since="~")])
    assert ended.failure is None, ended.failure.trace
    assert (tmp_path / "out.mp4").exists()


def test_units_with_edits_are_among_those_that_are_deleted(dry: Held) -> None:
    ledger = dry.ledger
    version = edited(ledger, a_box(ledger, 3))
    dry.run(version)
    editions = {unit for unit in ledger.units() if unit.edition}
    assert {(unit.step, unit.chunk) for unit in editions} == {(Step.MEND, None), (Step.RENDER, 0), (Step.STITCH, None)}
    units = ledger.units()
    assert units.index(ledger.unit(Step.MEND, None, version)) < units.index(ledger.unit(Step.RENDER, 0, version))
    ledger.erase_work()
    assert not [key for key in dry.store.keys(layout.job(ledger.job_id)) if "/try/" in key]


def test_a_version_that_isnt_there_fails_the_job_rather_than_being_left_out(dry: Held) -> None:
    job = Job("film", dry.place, dry.ledger, None, edits=7, hold=True)
    farm = Farm(DryPool(dry.steps), Ear())
    ended = None
    farm.add(job)
    for _ in range(40):
        for run in farm._runs:
            run.later = [(0.0, unit) for _, unit in run.later]
        ended = next(iter(farm.turn()), ended)
    assert ended is not None
    assert ended.failure is not None
    assert dry.ledger.done(Unit(Step.STITCH, None, "x")) is None
