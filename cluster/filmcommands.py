"""Subcommands that stand for themselves: pictures and comparisons of films, the store's health, shell completion."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cluster import exits
from cluster.common import KNOWN, Json, Server, TokenFile, told, way
from cluster.config import moment
from cluster.steps import film_range
from cluster.tables import table


class Shell(StrEnum):
    """Shells that complete commands."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def sheet(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="The source.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The output.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The PNG to write.")],
    columns: Annotated[int, typer.Option(min=1, max=20, help="Pairs side by side.")] = 4,
    rows: Annotated[int, typer.Option(min=1, max=50, help="Rows of pairs.")] = 2,
    width: Annotated[int, typer.Option(min=32, max=1920, help="Width of one picture in pixels.")] = 320,
) -> int:
    """Draw a contact sheet: frames of a film above the same frames of another."""
    from pipeline.sheet import contact_sheet

    contact_sheet(before, after, output, columns=columns, rows=rows, width=width)
    print(output)
    return exits.DONE


def verify(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The source.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="What was made of it.")],
    start: Annotated[str | None, typer.Option("--from", help="OUT begins here, as it was told to swap.")] = None,
    stop: Annotated[str | None, typer.Option("--to", help="OUT ends here.")] = None,
    as_json: Json = False,
) -> int:
    """Hold an output against its source: frames and their times, every packet of sound, streams and tags. The exit
    code is 0 only if nothing is lost and nothing that identifies people was left in."""
    from pipeline import verify as verifying

    try:
        first, last = (moment(text) if text is not None else None for text in (start, stop))
        found = verifying.verify(source, output, lambda index: film_range(index, first, last))
    except KNOWN as error:
        return told(error)
    if as_json:
        facts = {"source": str(source), "output": str(output), "good": found.good}
        checks = [{"name": c.name, "good": c.good, "told": c.told, "items": list(c.items)} for c in found.checks]
        print(json.dumps({**facts, "checks": checks}, indent=1, ensure_ascii=False))
    else:
        rows = [("ok" if check.good else "BAD", check.name, check.told) for check in found.checks]
        table(("", "what", "found"), rows)
    return exits.DONE if found.good else exits.FAILED


def doctor(
    store: Annotated[
        str | None, typer.Argument(metavar="STORE", help="s3://BUCKET/FOLDER, or a folder. Or VEILFARM_STORE.")
    ] = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> int:
    """Try what a farm needs of a store, say what each means, and leave nothing behind. A server tries its own."""
    from cluster import doctor as findings
    from cluster.ways import settings
    from cluster.ways.far import Far
    from storage.address import open_store
    from storage.probe import probe
    from storage.retry import HASTY

    try:
        chosen = settings.choose(store, server, token_file)
        if chosen.store:
            place, result = chosen.store, probe(open_store(chosen.store, patience=HASTY))
        else:
            farm = way(None, server, token_file)
            assert isinstance(farm, Far)
            place, result = chosen.server, findings.of_server(farm.client.store())
    except KNOWN as error:
        return told(error)
    print(findings.as_json(place, result) if as_json else "\n".join(findings.as_lines(place, result)))
    return findings.exit_code(result)


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> int:
    """Print what makes a shell complete this command; source it in the shell's own start file."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name="veilfarm", complete_var="_VEILFARM_COMPLETE", shell=shell.value))
    return exits.DONE


COMMANDS = (sheet, verify, doctor, completion)
