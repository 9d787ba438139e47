"""A few seeded faults under a real farm; `make chaos` does as many as one likes."""

from pathlib import Path

import chaos


def test_what_breaks_leaves_no_trace_in_the_films(tmp_path: Path) -> None:
    said: list[str] = []
    assert chaos.run(4, 3, "folder", tmp_path, said.append) == [], said
