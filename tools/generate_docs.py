"""Write what the code itself says into the documents: the commands' help, the list of models, the HTTP API.

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


def api() -> str:
    """One section per operation, and one per record, from the OpenAPI document."""
    from cluster.api.app import create

    document = create(None).openapi()
    operations = [
        (operation["tags"][0], f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = []
    for tag in dict.fromkeys(tag for tag, _, _ in operations):
        parts.append(f"## {tag[0].upper()}{tag[1:]}")
        parts += [_operation(name, operation) for found, name, operation in operations if found == tag]
    parts.append("## Records")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(f"### {name}\n\n{schema.get('description', '')}\n\n{_fields(schema)}".rstrip())
    return "\n\n".join(parts)


def _operation(name: str, operation: dict[str, Any]) -> str:
    parts = [f"### {name}", operation.get("description", operation["summary"])]
    rows = [
        f"| `{p['name']}` | {p['in']} | {_kind(p['schema'])} | {'yes' if p.get('required') else ''} | "
        f"{_cell(p.get('description', p['schema'].get('description', '')))} |"
        for p in operation.get("parameters", ())
    ]
    if rows:
        parts.append("\n".join(["| parameter | in | type | needed | |", "|---|---|---|---|---|", *rows]))
    if body := operation.get("requestBody"):
        parts.append(f"Body: {_content(body['content'])}.")
    answers = [
        f"`{status}` {_content(answer.get('content', {})) or _cell(answer['description'])}"
        for status, answer in operation["responses"].items()
        if "application/problem+json" not in answer.get("content", {})
    ]
    problems = [
        f"`{s}`" for s, a in operation["responses"].items() if "application/problem+json" in a.get("content", {})
    ]
    parts.append("Answers: " + ", ".join(answers) + (f"; problems {', '.join(problems)}" if problems else "") + ".")
    return "\n\n".join(parts)


def _content(content: dict[str, Any]) -> str:
    return ", ".join(
        _kind(each.get("schema", {})) if media == "application/json" else f"`{media}`"
        for media, each in content.items()
    )


def _fields(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."
    rows = [
        f"| `{name}` | {_kind(field)} | {'yes' if name in schema.get('required', ()) else ''} | "
        f"{_cell(field.get('description', ''))} |"
        for name, field in schema.get("properties", {}).items()
    ]
    return "\n".join(["| field | type | always | |", "|---|---|---|---|", *rows]) if rows else ""


def _kind(schema: dict[str, Any]) -> str:
    """A schema in few words, with links to records."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = [f"{sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([schema.get("type", "any"), *bounds])


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {"docs/guide.md": commands, "docs/models.md": models, "docs/api.md": api}


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
