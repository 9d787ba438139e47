"""Subcommands for a farm's jobs: jobs, show, watch, pause and the like."""

import json
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from cluster import exits, records
from cluster.client.answers import Job, Person
from cluster.common import REFUSED, Jobs, Json, OneJob, on_farm, told
from cluster.config import UsageError
from cluster.following import follow, sending, shown
from cluster.job import PER_CHUNK, Step
from cluster.states import JobState, Move
from cluster.tables import ago, bar, clock, job_line, printable, table
from cluster.ways.way import Way

_MOST_TIMES = 3  # stretches of a person that a table shows


@on_farm
def jobs(
    farm: Way,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    name: Annotated[str, typer.Option(metavar="TEXT", help="Only films with this in their names.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show, the newest first.")] = 50,
    as_json: Json = False,
) -> int:
    """List the farm's jobs, the newest first."""
    found = list(islice(farm.jobs(state or (), owner, name), limit))
    if as_json:
        for job in found:
            print(json.dumps(records.plain(job), ensure_ascii=False))
        return exits.DONE
    lines = [
        (job.job[-8:], job.name, job.owner, job.state, bar(job.progress), str(job.priority), ago(job.submitted))
        for job in found
    ]
    table(("job", "film", "owner", "state", "progress", "priority", "submitted"), lines)
    return exits.DONE


@on_farm
def show(farm: Way, job: OneJob, as_json: Json = False) -> int:
    """Show one job: its state, its history, its result."""
    (name,) = farm.choose([job])
    found, history = farm.show(name), farm.history(name)
    if as_json:
        facts = {**records.plain(found), "history": records.plain(history)}
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return exits.DONE
    print(f"{printable(found.name)}  ({name})\n{job_line(found)}")
    print(f"from {printable(found.source)}\nto   {printable(found.target) or 'the store'}")
    result = found.result
    if result is not None and result.film:
        place = f" {result.place}" if result.place else ""
        print(f"film{place}; {result.frames} frames; {result.worker_seconds:.0f} s of workers' time")
    for entry in history:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at))
        print(printable(f"  {moment}  {entry.who or '-'}: {entry.what}"))
    return exits.DONE


def each(farm: Way, names: list[str], do: Callable[[str], str]) -> int:
    """Do something to each job, and print what it says of it; one that can't be done doesn't stop the others."""
    code = exits.DONE
    for name in names:
        try:
            (job,) = farm.choose([name])
            print(do(job))
        except REFUSED as error:
            code = told(error)
    return code


def _moved(farm: Way, names: list[str], move: Move) -> int:
    return each(farm, names, lambda job: f"{job} {farm.move(job, move).state}")


@on_farm
def pause(farm: Way, names: Jobs) -> int:
    """Hand out no more chunks of these jobs; those that are being worked on are finished."""
    return _moved(farm, names, Move.PAUSE)


@on_farm
def resume(farm: Way, names: Jobs) -> int:
    """Go on with paused jobs."""
    return _moved(farm, names, Move.RESUME)


@on_farm
def cancel(farm: Way, names: Jobs) -> int:
    """End jobs for good; their work is deleted."""
    return _moved(farm, names, Move.CANCEL)


@on_farm
def retry(farm: Way, names: Jobs) -> int:
    """Try failed or cancelled jobs again; what was done is kept."""
    return _moved(farm, names, Move.RETRY)


@on_farm
def priority(
    farm: Way,
    value: Annotated[int, typer.Argument(min=-1000, max=1000, help="More goes first.")],
    names: Jobs,
) -> int:
    """Change the priority of jobs, of running ones too."""

    def do(job: str) -> str:
        found = farm.change(job, priority=value)
        return f"{job} {found.state}, priority {found.priority}"

    return each(farm, names, do)


@on_farm
def watch(farm: Way, names: Jobs, as_json: Json = False) -> int:
    """Follow jobs until they are over, with progress and the time to go: bars on a terminal, lines elsewhere."""
    with shown(sys.stdout, as_json) as screen:
        code, bad = follow(farm.follow(farm.choose(names)), screen)
    complain(bad)
    return code


def complain(bad: list[Job]) -> None:
    """One line for each job that didn't end well."""
    for job in bad:
        print(f"veilfarm: {job.job} {job_line(job)}", file=sys.stderr)


@on_farm
def people(farm: Way, job: OneJob, as_json: Json = False) -> int:
    """Show the persons that were found in a film: when, how small, what was replaced, what was covered and why."""
    (name,) = farm.choose([job])
    found = farm.people(name)
    if as_json:
        print(json.dumps(records.plain(found), indent=1, ensure_ascii=False))
        return exits.DONE
    rate = farm.rate(name) if found else None
    lines = [
        (
            str(person.person),
            (person.identity or "-")[:8],
            _when(person, rate),
            f"{person.smallest} px",
            str(person.replaced),
            str(person.covered),
            ", ".join(f"{why.removeprefix('cover_')} {count}" for why, count in _most_first(person)),
            _reviewed(person),
        )
        for person in found
    ]
    table(("person", "face", "when", "smallest", "replaced", "covered", "why covered", "reviewer"), lines)
    return exits.DONE


def _most_first(person: Person) -> list[tuple[str, int]]:
    return sorted(person.why_covered.items(), key=lambda item: (-item[1], item[0]))


def _reviewed(person: Person) -> str:
    """What reviewers have made of them."""
    said = [(person.mark or "").replace("_", " "), "drawn" if person.drawn else ""]
    return ", ".join(filter(None, [*said, "not rendered yet" if person.pending else ""]))


def _when(person: Person, rate: float | None) -> str:
    """Times of the film; frames, as --from and --to take them, while nobody knows its rate."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted((track.first, track.last) for track in person.tracks):
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    told = [f"{clock(a / rate)}-{clock(b / rate)}" if rate else f"{a}f-{b}f" for a, b in spans]
    more = f" and {len(told) - _MOST_TIMES} more" if len(told) > _MOST_TIMES else ""
    return ", ".join(told[:_MOST_TIMES]) + more


@on_farm
def report(farm: Way, job: OneJob) -> int:
    """Print the report of a finished job: JSON."""
    (name,) = farm.choose([job])
    print(json.dumps(farm.report(name), indent=1, ensure_ascii=False))
    return exits.DONE


@on_farm
def fetch(
    farm: Way,
    job: OneJob,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file or folder to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> int:
    """Copy the film of a finished job to this machine. What broke off is gone on with."""
    (name,) = farm.choose([job])
    with sending(sys.stderr, name) as sent:
        path = farm.fetch(name, output, overwrite, sent)
    print(path)
    return exits.DONE


@on_farm
def erase(farm: Way, names: Jobs) -> int:
    """Delete jobs that are over: their films in the farm's store, their records and their history."""
    return each(farm, names, lambda job: f"{job}: {farm.erase(job)}")


@on_farm
def logs(
    farm: Way,
    job: OneJob,
    unit: Annotated[
        str | None, typer.Option(metavar="STEP[:CHUNK]", help="Only of this: stitch, or render:12. Default: all.")
    ] = None,
) -> int:
    """Print what the workers said of a job, one JSON object a line, by steps and tries. A try that goes on has said
    nothing yet."""
    wanted = _unit(unit) if unit is not None else None
    (name,) = farm.choose([job])
    for line in farm.logs(name, wanted):
        print(line)
    return exits.DONE


def _unit(text: str) -> tuple[str, int | None]:
    """Raises UsageError."""
    step, colon, chunk = text.partition(":")
    wanted = Step(step) if step in list(Step) else None
    if wanted is None or bool(colon) != (wanted in PER_CHUNK) or (colon and not (chunk.isascii() and chunk.isdigit())):
        why = f"steps are {', '.join(Step)}; analyse and render are of a chunk"
        raise UsageError(f"--unit {text} is unknown", why, "write STEP or STEP:CHUNK")
    return wanted.value, int(chunk) if colon else None


COMMANDS = (jobs, show, watch, pause, resume, cancel, retry, priority, people, report, logs, fetch, erase)
