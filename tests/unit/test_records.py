"""Records as JSON and back."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Literal

import pytest
from doubles import a_spec
from hypothesis import given
from hypothesis import strategies as st

from cluster import records
from cluster.job import FACTS, JobSpec, Moment, new_id
from cluster.records import BadRecord


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    ratio: Fraction
    path: Path


@dataclass(frozen=True, slots=True)
class Outer:
    text: str
    number: int
    real: float
    flag: bool
    colour: Colour
    maybe: Inner | None
    many: tuple[Inner, ...]
    pair: tuple[int, str]
    table: dict[str, int]
    word: Literal["yes", "no"]


inner = st.builds(Inner, st.fractions(), st.text("abc/", min_size=1).map(Path))
outer = st.builds(
    Outer,
    text=st.text(),
    number=st.integers(),
    real=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    colour=st.just(Colour.RED),
    maybe=st.none() | inner,
    many=st.lists(inner).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
    table=st.dictionaries(st.text(), st.integers()),
    word=st.sampled_from(["yes", "no"]),
)


@given(outer)
def test_what_is_written_is_read(record: Outer) -> None:
    assert records.loads(Outer, records.dumps(record)) == record


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"seconds": null}',
        b'{"seconds": null, "frame": "3"}',
        b'{"seconds": null, "frame": true}',
        b'{"seconds": "1/0", "frame": null}',
        b'{"seconds": 1, "frame": null}',
        b'{"seconds": null, "frame": 3, "more": 1}',
        b"\xff",
    ],
)
def test_what_is_no_such_record(data: bytes) -> None:
    with pytest.raises(BadRecord):
        records.loads(Moment, data)


def test_a_spec_survives(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    spec = a_spec(tmp_path / "film.mp4", tmp_path / "out.mp4")
    assert records.loads(JobSpec, records.dumps(spec)) == spec


def test_facts_can_be_told_apart_by_their_fields() -> None:
    """A DONE record doesn't name its type: a union is read as the first that fits."""
    fields = [frozenset(kind.__dataclass_fields__) for kind in FACTS.values()]
    assert len(set(fields)) == len(fields)


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [each[:10] for each in ids] == sorted(each[:10] for each in ids)
    assert {len(each) for each in ids} == {26}
