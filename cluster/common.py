"""What the farm's subcommands share: how a farm is named, and how errors become one line and an exit code."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TextIO

import typer

from cluster import exits
from cluster.book import Book, NoSuchJob, NotNow
from cluster.client.errors import ClientError, Refused, Unusable
from cluster.desk import Desk
from cluster.roles import FarmError
from cluster.users import NoSuchUser, NotAllowed
from cluster.ways import settings
from cluster.ways.near import Near
from cluster.ways.pending import Pending
from cluster.ways.way import Way
from pipeline.errors import DeviceError, PipelineError
from storage.address import open_store
from storage.objects import StoreError

Store = Annotated[
    str | None,
    typer.Option("--store", metavar="PLACE", help="The farm's store: s3://BUCKET/… or a folder. Or VEILFARM_STORE."),
]
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="The farm's server, instead of its store. Or VEILFARM_SERVER."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Holds a token for the server. Or VEILFARM_TOKEN."),
]
Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs, or their last letters.")]
OneJob = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job, or its last letters.")]
Json = Annotated[bool, typer.Option("--json", help="Tell it as JSON.")]

Options = ParamSpec("Options")
# These are of what was asked for; what was asked for beside it may be done.
REFUSED = (PipelineError, NoSuchJob, NotNow, NoSuchUser, NotAllowed, Refused, Unusable)
KNOWN = (PipelineError, StoreError, NoSuchJob, NotNow, NoSuchUser, NotAllowed, FarmError, ClientError)


def opened(store: str) -> tuple[Book, Desk]:
    """A farm by its store."""
    if "://" not in store:
        store = str(Path(store).resolve())
    book = Book(open_store(store))
    return book, Desk(book, store)


def way(store: str | None, server: str | None, token_file: Path | None) -> Way:
    """To the farm that is meant. Raises UsageError, StoreError, ClientError."""
    chosen = settings.choose(store, server, token_file)
    if chosen.store:
        return Near(*opened(chosen.store))
    from cluster.client.farm import (
        FarmClient,  # these take some hundredths of a second, which a store's commands needn't
    )
    from cluster.client.wire import is_local
    from cluster.ways.far import Far

    client = FarmClient(chosen.server, chosen.token)
    if chosen.notice:
        print(f"veilfarm: {chosen.notice}", file=sys.stderr)
    if not is_local(client.url):
        print(f"veilfarm: {client.url} has no TLS: others on its network can read the token", file=sys.stderr)
    return Far(client, Pending(settings.cache()))


def told(error: Exception, err: TextIO | None = None) -> int:
    """One line for what went wrong, and the exit code. `err`: where it goes while stderr is nobody's."""
    code = exits.REFUSED if isinstance(error, REFUSED) else exits.FAILED
    code = exits.FAILED if isinstance(error, DeviceError) else code
    print(f"veilfarm: {error}", file=err or sys.stderr)
    return code


def on_farm(command: Callable[Concatenate[Way, Options], int]) -> Callable[..., int]:
    """A command whose first parameter is the way to a farm gets the options that name one instead. What is known to go
    wrong becomes one line."""

    @functools.wraps(command)
    def run(
        *args: Any, store: str | None = None, server: str | None = None, token_file: Path | None = None, **options: Any
    ) -> int:
        try:
            return command(way(store, server, token_file), *args, **options)
        except KNOWN as error:
            return told(error)
        except KeyboardInterrupt:  # Typer would end without a word
            print("veilfarm: interrupted", file=sys.stderr)
            return exits.INTERRUPTED

    _first, *own = inspect.signature(command).parameters.values()
    named = (("store", Store), ("server", Server), ("token_file", TokenFile))
    farm = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=a) for name, a in named]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([*parameters, *farm], return_annotation=int)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*parameters, *farm)}
    return run
