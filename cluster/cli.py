"""The command `veilfarm`: its entry point, and what holds for all subcommands: signals, exit codes, one-line errors."""

import os
import sys
import traceback
from typing import TextIO

from cluster import exits
from cluster.exits import DONE, FAILED, INTERRUPTED, REFUSED


def main() -> None:
    """Run the command line and end the process, whatever still runs in it."""
    exits.listen()
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        print("veilfarm: interrupted", file=sys.stderr)
        code = INTERRUPTED
    end(code)


def run(arguments: list[str]) -> int:
    """The exit code. Only usage errors and bugs come up to here; commands tell their own failures."""
    # Imported here: these take 0.3 s, and Ctrl-C must find its handler in place.
    import typer
    from typer.completion import completion_init  # type: ignore[attr-defined]

    from cluster.commands import app
    from pipeline.errors import PipelineError

    if "_VEILFARM_COMPLETE" in os.environ:
        completion_init()  # a shell asks how a command could go on
    try:
        result = app(arguments, standalone_mode=False, prog_name="veilfarm")
    except typer.Exit as error:
        return error.exit_code
    except typer.Abort:
        return INTERRUPTED
    except PipelineError as error:
        print(f"veilfarm: {error}", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        return FAILED  # nobody reads any more
    except Exception as error:  # noqa: BLE001  the last border: one line for a person
        # Typer brings Click's errors under names that differ by version; this is what they have in common.
        if (usage := getattr(error, "format_message", None)) is not None:
            text = " ".join(usage().split("\n")) if len(arguments) else usage()
            print(f"veilfarm: {text.rstrip('.')}; see veilfarm --help" if arguments else text, file=sys.stderr)
            return REFUSED
        if "--debug" in arguments:
            traceback.print_exc()
        print(
            f"veilfarm: a bug: {type(error).__name__}: {error}; run again with --debug and report it", file=sys.stderr
        )
        return FAILED
    return result if isinstance(result, int) else DONE


def end(code: int) -> None:
    """Leave at once: threads may still sit in a decoder, and Ray's own exit handlers wait for servers that are gone."""
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    os._exit(code)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        return  # nobody reads any more
