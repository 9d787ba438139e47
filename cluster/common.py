"""What the farm's subcommands share: how a store is named, and how errors become one line and an exit code."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from cluster import exits
from cluster.book import Book, NoSuchJob, NotNow
from cluster.desk import Desk
from cluster.roles import FarmError
from cluster.states import OVER, JobState
from pipeline.errors import DeviceError, PipelineError
from storage.address import open_store
from storage.objects import StoreError

Store = Annotated[
    str,
    typer.Option(
        "--store", metavar="PLACE", envvar="VEILFARM_STORE", help="The farm's store: s3://BUCKET/… or a folder."
    ),
]
Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs, or their last letters.")]
Json = Annotated[bool, typer.Option("--json", help="Tell it as JSON.")]


def opened(store: str) -> tuple[Book, Desk]:
    if "://" not in store:
        store = str(Path(store).resolve())
    book = Book(open_store(store))
    return book, Desk(book, store)


def told(error: Exception) -> int:
    """One line for what went wrong, and the exit code."""
    code = exits.REFUSED if isinstance(error, PipelineError | NoSuchJob | NotNow) else exits.FAILED
    code = exits.FAILED if isinstance(error, DeviceError) else code
    print(f"veilfarm: {error}", file=sys.stderr)
    return code


KNOWN = (PipelineError, StoreError, NoSuchJob, NotNow, FarmError)


def wait_for(book: Book, jobs: list[str]) -> int:
    """Until all are over. 0 when all are done."""
    left, bad = set(jobs), 0
    while left:
        exits.check()
        for job in sorted(left):
            control = book.control(job)
            if control.state in OVER:
                left.discard(job)
                if control.state is not JobState.DONE:
                    bad += 1
                    print(f"veilfarm: {job} {control.state}: {control.reason}", file=sys.stderr)
        if left:
            time.sleep(0.5)
    return exits.FAILED if bad else exits.DONE
