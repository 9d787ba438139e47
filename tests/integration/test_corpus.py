"""Films of every kind, and broken ones: a part of what `make corpus` goes through."""

import subprocess
import sys
from pathlib import Path

import fuzz
from corpus import Case, cases, judge, place
from hypothesis import HealthCheck, given, settings


@settings(max_examples=24, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_films_of_every_kind_come_out_as_they_went_in(case: Case) -> None:
    with place() as folder:
        assert judge(case, folder) == []


def test_broken_films_are_used_or_refused_with_a_clear_line() -> None:
    # In a process without threads: each input is tried in a fork.
    command = [sys.executable, str(Path(fuzz.__file__)), "--inputs", "140", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ") and "used" not in line]
    used, refused = (sum(int(row[column]) for row in rows) for column in (2, 3))
    assert used + refused == 140
    assert min(used, refused) > 30
