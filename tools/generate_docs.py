"""Write what the code itself says into the documents: the commands' help, and the list of models.

Run it after a change to either: `.venv/bin/python tools/generate_docs.py`. A test checks that it was run.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer.main

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- generated from here on -->", "<!-- up to here -->"


def commands() -> str:
    """One section per command, with its help."""
    from cluster.commands import app

    root: Any = typer.main.get_command(app)
    parts = []
    for name, command in root.commands.items():
        context = command.make_context(f"veilfarm {name}", [], resilient_parsing=True, max_content_width=100)
        parts.append(f"### veilfarm {name}\n\n```text\n{command.get_help(context).rstrip()}\n```")
    return "\n\n".join(parts)


def models() -> str:
    """One row per weight file."""
    entries = json.loads((ROOT / "pipeline/data/MODELS.json").read_text(encoding="utf-8"))
    rows = ["| file | what it is | taken from | licence | SHA-256 of the file |", "|---|---|---|---|---|"]
    for entry in entries:
        source = f"{entry['package']}, `{entry['path']}` (SHA-256 `{entry['source_sha256']}`)"
        rows.append(f"| `{entry['file']}` | {entry['network']} | {source} | {entry['licence']} | `{entry['sha256']}` |")
    return "\n".join(rows)


PARTS: dict[str, Callable[[], str]] = {"docs/guide.md": commands, "docs/models.md": models}


def updated(name: str, text: str) -> str:
    """The document with what the code says now. Raises ValueError when it has no place for it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{name} has no place for what is generated")
    return f"{before}{BEGIN}\n\n{PARTS[name]()}\n\n{END}{after}"


if __name__ == "__main__":
    for each in PARTS:
        path = ROOT / each
        path.write_text(updated(each, path.read_text(encoding="utf-8")), encoding="utf-8")
