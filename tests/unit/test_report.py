"""The report against its schema, and what must never be in it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from doubles import DryPool, DrySteps, Ear, a_job

from cluster import report, tally
from cluster.edits import Edits
from cluster.farm import Farm
from cluster.job import Step
from cluster.roles import Job
from pipeline.edits import Edit, Kind
from pipeline.track import OPEN, Treatment

SCHEMA = json.loads((Path(__file__).parent.parent.parent / "docs/report.schema.json").read_text(encoding="utf-8"))
MODELS = [{"name": "centerface", "sha256": "3" * 64, "licence": "MIT"}]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return a_job(tmp_path)


@pytest.fixture
def found(job: Job) -> dict[str, Any]:
    (ended,) = Farm(DryPool(DrySteps()), Ear()).run([job])
    return {**report.build(job.ledger, ended.seconds, MODELS), "seconds": 1.0}


def test_it_fits_its_schema(found: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(found, SCHEMA, jsonschema.Draft202012Validator)


def test_the_schema_describes_every_field(found: dict[str, Any]) -> None:
    assert set(SCHEMA["properties"]) == set(found) == set(SCHEMA["required"])
    assert set(SCHEMA["properties"]["steps"]["required"]) == {
        str(step) for step in Step if step not in (Step.MEND, Step.PUBLISH)
    }


def test_the_schema_knows_every_reason_to_cover() -> None:
    reasons = set(SCHEMA["$defs"]["reasons"]["propertyNames"]["enum"])
    assert reasons == {treatment.name.lower() for treatment in Treatment} - {"replace", *tally.VISIBLE}
    assert set(tally.VISIBLE) == {treatment.name.lower() for treatment in OPEN}


def test_it_counts(found: dict[str, Any]) -> None:
    assert found["faces"] == {
        "replaced": 27,
        "covered": 3,
        "kept_visible": 0,
        "no_face": 0,
        "why_covered": {"cover_small": 3},
        "failures": {},
    }
    (track,) = found["tracks"]
    assert (track["frames"], track["replaced"], track["covered"]) == (30, 28, 2)
    assert found["steps"]["render"]["stages"] == {"encode": 3.0}
    assert found["people"] == [{"person": 0, "identity": "0123456789abcdef"}]


def test_it_holds_no_secret(job: Job, found: dict[str, Any]) -> None:
    text = json.dumps(found)
    assert job.ledger.secret().hex() not in text
    assert str(job.store) not in text


def test_no_file_of_the_job_holds_the_secret_but_its_own(job: Job, found: dict[str, Any]) -> None:
    secret = job.ledger.secret()
    holders = [path for path in Path(job.store).rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert [path.name for path in holders] == ["secret"]


def test_it_is_written_as_a_whole(found: dict[str, Any], tmp_path: Path) -> None:
    report.write(found, tmp_path / "r.json")
    assert report.read(tmp_path / "r.json") == found
    with pytest.raises(TypeError):
        report.write({"bad": object()}, tmp_path / "r.json")
    assert report.read(tmp_path / "r.json") == found
    assert report.read(tmp_path / "none.json") is None


def test_one_line_for_people(found: dict[str, Any]) -> None:
    assert report.line(found).endswith("30 frames, 1 person, 27 faces replaced, 3 covered")
    assert "no face was found" in report.line({**found, "tracks": []})


def test_facts_are_plain_records(job: Job) -> None:
    assert dataclasses.is_dataclass(job.ledger.spec())


def test_it_tells_every_edit_and_who_approved_it(job: Job) -> None:
    farm = Farm(DryPool(DrySteps()), Ear())
    list(farm.run([dataclasses.replace(job, hold=True)]))
    held = Edits(job.ledger, lambda: 5.0)
    keep = Edit("E1", Kind.KEEP, "kim", 4.0, person=0, reason="consent")
    box = held.numbered(Edit("E2", Kind.BOX, "lee", 4.5, frame=3, box=(1, 2, 3, 4)), held.latest())
    version = held.write(held.latest(), (keep, box), "kim", "two edits").version
    list(farm.run([dataclasses.replace(job, hold=True, edits=version)]))
    held.write(held.latest(), (keep, box), "ann", "approved the film", 7)
    found = {**report.build(job.ledger, {}, MODELS, version), "seconds": 1.0}
    jsonschema.validate(found, SCHEMA, jsonschema.Draft202012Validator)
    told = [(e["kind"], e["who"], e["at"], e["reason"]) for e in found["review"]["edits"]]
    assert told == [("keep", "kim", 4.0, "consent"), ("box", "lee", 4.5, "")]
    assert (found["review"]["approved_by"], found["review"]["approved_at"]) == ("ann", 5.0)
    assert found["tracks"][0]["kept_visible"] == 2
    assert found["tracks"][0]["covered"] == 0
    assert "mend" in found["steps"]


def test_what_stays_visible_is_in_the_line_for_people(found: dict[str, Any]) -> None:
    assert "left visible" not in report.line(found)
    found["faces"]["kept_visible"] = 3
    assert "3 left visible by a reviewer" in report.line(found)
