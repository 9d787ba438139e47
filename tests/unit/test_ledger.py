"""The job's own secret, and what is deleted when a job is over."""

from pathlib import Path

import pytest
from doubles import DryPool, DrySteps, Ear, a_job

from cluster.farm import Farm
from cluster.job import Step
from cluster.ledger import SECRET_BYTES, Ledger, Unit
from storage import layout
from storage.folder import FolderStore
from storage.memory import MemoryStore
from storage.objects import StoreError


def test_a_secret_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    ledger = Ledger(FolderStore(tmp_path / "store"), "A")
    ledger.give_secret()
    first = ledger.secret()
    assert len(first) == SECRET_BYTES
    ledger.give_secret()
    ledger.give_secret(b"x" * 32)
    assert ledger.secret() == first
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("value", [None, b"", b"0" * 15])
def test_half_a_secret_is_none(value: bytes | None) -> None:
    ledger = Ledger(MemoryStore(), "A")
    if value is not None:
        ledger.store.create(layout.secret("A"), value)
    with pytest.raises(StoreError, match=r"secret is (damaged|gone)"):
        ledger.secret()


def test_erasing_the_work_leaves_the_records_and_nothing_that_shows_a_face(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    (ended,) = Farm(DryPool(DrySteps()), Ear()).run([job])
    assert ended.failure is None
    unfinished = job.ledger.begin(Unit(Step.RENDER, 1), "0" * 26)  # of a try that was given up
    (unfinished / "segment.nut").write_bytes(b"faces")
    assert job.ledger.erase_work() == 3 + 3 + 1 + 1  # faces, segments, the film, the secret
    left = {path.name for path in Path(job.store).rglob("*") if path.is_file()}
    records = {name for name in left if not name.endswith((".jsonl", ".lock"))}
    assert records == {"spec.json", "made_by.json", "DONE.json"}
    assert job.ledger.done(Unit(Step.RENDER, 1)) is not None
    with pytest.raises(StoreError):
        job.ledger.secret()
