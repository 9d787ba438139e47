"""A few faults of kinds that no other test has, under a real farm; `make chaos` does as many as one likes."""

from pathlib import Path

import chaos
import pytest
from chaos import Plan


@pytest.mark.parametrize(
    "plan",
    [
        Plan("local", 4, only=("store_says_503", "disk_full", "poisonous_chunk", "store_bad_line")),
        Plan("local", 2, store="folder", only=("everything_killed", "all_workers_killed")),
        Plan("hosts", 1, only=("link_cut_5_s",)),
    ],
    ids=lambda plan: f"{plan.ground}-{plan.store}",
)
@pytest.mark.slow
def test_what_breaks_leaves_no_trace_in_the_films(tmp_path: Path, plan: Plan) -> None:
    said: list[str] = []
    assert chaos.run(plan, tmp_path, said.append) == [], said
