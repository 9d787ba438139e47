"""Subcommands for a farm's jobs: jobs, show, watch, pause and the like."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster import exits, records
from cluster.book import Book, NoSuchJob, NotNow
from cluster.common import KNOWN, Jobs, Json, Store, opened, told, wait_for
from cluster.config import UsageError
from cluster.job import PER_CHUNK, Step
from cluster.ledger import Unit
from cluster.places import read_report
from cluster.service import read_status
from cluster.states import OVER, JobState, Move
from cluster.tables import ago, bar, table
from pipeline.errors import PipelineError


def jobs(
    store: Store,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show, the newest first.")] = 50,
    as_json: Json = False,
) -> int:
    """List the farm's jobs, the newest first."""
    try:
        book, _ = opened(store)
        rows = []
        status = read_status(book.store)
        progress = {p.job: p for p in status.progress} if status else {}
        for job in reversed(book.jobs()):
            try:
                card, control = book.card(job), book.control(job)
            except NoSuchJob:
                continue  # half submitted, or being erased
            if (state and control.state not in state) or (owner is not None and card.owner != owner):
                continue
            rows.append((job, card, control, progress.get(job)))
            if len(rows) == limit:
                break
    except KNOWN as error:
        return told(error)
    if as_json:
        for job, card, control, now in rows:
            facts = {"job": job, **records.plain(card), **records.plain(control), "progress": records.plain(now)}
            print(json.dumps(facts))
        return exits.DONE
    lines = [
        (
            job[-8:],
            card.name,
            card.owner,
            control.state.value,
            bar(now) if control.state is JobState.RUNNING else "",
            str(control.priority),
            ago(card.submitted),
        )
        for job, card, control, now in rows
    ]
    table(("job", "film", "owner", "state", "progress", "priority", "submitted"), lines)
    return exits.DONE


def show(job: Annotated[str, typer.Argument(metavar="JOB")], store: Store, as_json: Json = False) -> int:
    """Show one job: its state, its history, its result."""
    try:
        book, desk = opened(store)
        (name,) = desk.choose([job])
        card, control, spec = book.card(name), book.control(name), book.ledger(name).spec()
        history, result = book.history(name), book.result(name, control.round)
    except KNOWN as error:
        return told(error)
    if as_json:
        facts = {"job": name, "card": card, "control": control, "spec": spec, "history": history, "result": result}
        print(json.dumps({key: records.plain(value) for key, value in facts.items()}, indent=1))
        return exits.DONE
    print(f"{card.name}  ({name})\n{control.state}{': ' + control.reason if control.reason else ''}")
    print(f"from {spec.source.place}\nto   {spec.target or 'the store'}")
    if result is not None and result.film:
        print(f"film {result.film}; {result.frames} frames; {result.worker_seconds:.0f} s of workers' time")
    for entry in history:
        print(f"  {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(entry.at))}  {entry.who or '-'}: {entry.what}")
    return exits.DONE


def _each(names: list[str], store: str, do: Callable[[Book, str], str]) -> int:
    """Do something to each job, and print what it says of it; one that can't be done doesn't stop the others."""
    code = exits.DONE
    try:
        book, desk = opened(store)
        for name in names:
            try:
                (job,) = desk.choose([name])
                print(do(book, job))
            except (PipelineError, NoSuchJob, NotNow) as error:
                code = told(error)
    except KNOWN as error:
        return told(error)
    return code


def _moved(names: list[str], store: str, move: Move | None, **fields: Any) -> int:
    def do(book: Book, job: str) -> str:
        control = book.change(job, "command line", move, **fields)
        return f"{job} {control.state}" + (f", priority {control.priority}" if move is None else "")

    return _each(names, store, do)


def pause(names: Jobs, store: Store) -> int:
    """Hand out no more chunks of these jobs; those that are being worked on are finished."""
    return _moved(names, store, Move.PAUSE)


def resume(names: Jobs, store: Store) -> int:
    """Go on with paused jobs."""
    return _moved(names, store, Move.RESUME)


def cancel(names: Jobs, store: Store) -> int:
    """End jobs for good; their work is deleted."""
    return _moved(names, store, Move.CANCEL)


def retry(names: Jobs, store: Store) -> int:
    """Try failed or cancelled jobs again; what was done is kept."""
    return _moved(names, store, Move.RETRY)


def priority(
    value: Annotated[int, typer.Argument(min=-1000, max=1000, help="More goes first.")], names: Jobs, store: Store
) -> int:
    """Change the priority of jobs, of running ones too."""
    return _moved(names, store, None, priority=value)


def watch(names: Jobs, store: Store) -> int:
    """Follow jobs until they are over: a line for every step and change."""
    try:
        book, desk = opened(store)
        chosen = desk.choose(names)
        seen: dict[str, str] = {}
        left = list(chosen)
        while left:
            exits.check()
            status = read_status(book.store)
            progress = {p.job: p for p in status.progress} if status else {}
            for job in list(left):
                control = book.control(job)
                now = progress.get(job) if control.state is JobState.RUNNING else None
                text = f"{control.state} {bar(now)}".rstrip() + (f": {control.reason}" if control.reason else "")
                if seen.get(job) != text:
                    seen[job] = text
                    print(f"{job[-8:]}  {book.card(job).name}  {text}")
                if control.state in OVER:
                    left.remove(job)
            if left:
                time.sleep(1)
        return wait_for(book, list(chosen))
    except KNOWN as error:
        return told(error)


def report(job: Annotated[str, typer.Argument(metavar="JOB")], store: Store) -> int:
    """Print the report of a finished job: JSON."""
    try:
        book, desk = opened(store)
        (name,) = desk.choose([job])
        result = book.result(name, book.control(name).round)
        if result is None or not result.report:
            raise NotNow(f"job {name} is {book.control(name).state}; there is no report yet")
        print(json.dumps(read_report(book.ledger(name), result.report), indent=1, ensure_ascii=False))
    except KNOWN as error:
        return told(error)
    return exits.DONE


def fetch(
    job: Annotated[str, typer.Argument(metavar="JOB")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file or folder to write.")],
    store: Store,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> int:
    """Copy the film of a finished job to this machine."""
    try:
        book, desk = opened(store)
        (name,) = desk.choose([job])
        result = book.result(name, book.control(name).round)
        if result is None or not result.film:
            raise NotNow(f"job {name} is {book.control(name).state}; there is no film yet")
        print(desk.fetch(result.film, output, overwrite))
    except KNOWN as error:
        return told(error)
    return exits.DONE


def erase(names: Jobs, store: Store) -> int:
    """Delete jobs that are over: their films in the farm's store, their records and their history."""
    return _each(names, store, lambda book, job: f"{job}: {book.erase(job)} objects deleted")


def logs(
    job: Annotated[str, typer.Argument(metavar="JOB")],
    store: Store,
    unit: Annotated[
        str | None, typer.Option(metavar="STEP[:CHUNK]", help="Only of this: stitch, or render:12. Default: all.")
    ] = None,
) -> int:
    """Print what the workers said of a job, one JSON object a line, by steps and tries. A try that goes on has said
    nothing yet."""
    try:
        book, desk = opened(store)
        (name,) = desk.choose([job])
        ledger = book.ledger(name)
        units = ledger.units() if unit is None else (_unit(unit),)
        for each in sorted(units, key=lambda u: list(Step).index(u.step)):
            for _, text in ledger.logs(each):
                print(text.decode(errors="replace"), end="")
    except KNOWN as error:
        return told(error)
    return exits.DONE


def _unit(text: str) -> Unit:
    """Raises UsageError."""
    step, colon, chunk = text.partition(":")
    wanted = Step(step) if step in list(Step) else None
    if wanted is None or bool(colon) != (wanted in PER_CHUNK) or (colon and not (chunk.isascii() and chunk.isdigit())):
        why = f"steps are {', '.join(Step)}; analyse and render are of a chunk"
        raise UsageError(f"--unit {text} is unknown", why, "write STEP or STEP:CHUNK")
    return Unit(wanted, int(chunk) if colon else None)


COMMANDS = (jobs, show, watch, pause, resume, cancel, retry, priority, report, logs, fetch, erase)
