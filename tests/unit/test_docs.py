"""The documents say what is there: commands, options, targets, files and links."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from cluster.commands import app

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "tools/generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["docs/guide.md", "docs/models.md", "docs/api.md"])
def test_what_is_generated_is_up_to_date(name: str) -> None:
    """If this fails: .venv/bin/python tools/generate_docs.py"""
    text = read(ROOT / name)
    assert generator().updated(name, text) == text


def test_every_command_and_option_is_explained() -> None:
    """Outside the generated part, too: help alone doesn't tell how to use it."""
    guide = read(ROOT / "docs/guide.md").partition("<!-- generated")[0] + read(ROOT / "docs/operations.md")
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        assert re.search(rf"veilfarm {name}|make {name}", guide), name
        if name == "swap":
            for option in [option for p in command.params for option in p.opts if option.startswith("--")]:
                if option not in ("--help", "--output"):
                    assert option in guide, option


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(there), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", read(ROOT / "Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", read(page), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths of this project in code style; what a user would have is not among them."""
    for name in re.findall(r"`((?:pipeline|storage|cluster|tests|tools|docs|bench)/[\w./\-]*)`", read(page)):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_every_page_is_linked_from_the_readme() -> None:
    text = read(ROOT / "README.md")
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in text, page.name


def test_every_make_target_is_a_chore_or_a_file() -> None:
    text = read(ROOT / "Makefile")
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^([a-z]+):.*##", text, re.MULTILINE))
