"""The subcommand submit: films, folders, patterns and lists of films become jobs."""

import dataclasses
import glob
import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from cluster import exits, manifest
from cluster.client.errors import Unreachable
from cluster.common import KNOWN, Json, on_farm, told
from cluster.config import (
    CONVERT_AUDIO,
    CONVERT_SUBTITLES,
    COPY_CLEAN,
    DROP_DYNAMIC_HDR,
    PICTURE_SOURCES,
    VIDEO_SUFFIXES,
    UsageError,
    moment,
    project_key,
)
from cluster.following import follow, sending, shown
from cluster.inputs import films_below
from cluster.job import Veil, born
from cluster.jobcommands import complain
from cluster.ways.way import Asked, Way
from pipeline.errors import InputError
from storage.address import is_object
from storage.objects import StoreError

_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_AHEAD = 3600.0  # seconds by which the clock of who makes an id may be ahead
_MOST_TOLD = 20  # wrong lines


@on_farm
def submit(
    farm: Way,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="IN...", help="Films: paths, folders, patterns as in 'in/**/*.mp4', s3://BUCKET/KEY."),
    ] = None,
    manifest_file: Annotated[
        Path | None,
        typer.Option("--manifest", metavar="FILE", help="A list of films with options of each: CSV or JSON lines."),
    ] = None,
    to: Annotated[
        str, typer.Option(metavar="PLACE", help="Where the films go: a path or s3://… Default: the farm's store.")
    ] = "",
    veil: Annotated[Veil, typer.Option(help="What every face becomes: nobody's face, or a cover.")] = Veil.NOBODY,
    seed_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Project key: the same person gets the same face in all jobs with this key."),
    ] = None,
    quality: Annotated[str, typer.Option(help="draft, good or best; or a CRF; or CRF:preset.")] = "good",
    codec: Annotated[str | None, typer.Option(help="h264, hevc or av1.")] = None,
    drop_dynamic_hdr: Annotated[bool, typer.Option("--drop-dynamic-hdr", help=DROP_DYNAMIC_HDR)] = False,
    convert_audio: Annotated[bool, typer.Option("--convert-audio", help=CONVERT_AUDIO)] = False,
    convert_subtitles: Annotated[bool, typer.Option("--convert-subtitles", help=CONVERT_SUBTITLES)] = False,
    copy_clean: Annotated[bool, typer.Option("--copy-clean", help=COPY_CLEAN)] = False,
    start: Annotated[str | None, typer.Option("--from", help="First moment of the output.")] = None,
    stop: Annotated[str | None, typer.Option("--until", help="Moment at which the output ends.")] = None,
    device: Annotated[str, typer.Option(help="any, cpu or cuda.")] = "any",
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="More goes first.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Most workers at once.")] = None,
    after: Annotated[list[str] | None, typer.Option(metavar="JOB", help="Wait until this job is done.")] = None,
    deadline: Annotated[float | None, typer.Option(metavar="HOURS", help="A hint: done in so many hours.")] = None,
    owner: Annotated[str, typer.Option(help="Whose job it is; owners share the farm fairly.")] = "",
    name: Annotated[str, typer.Option(help="What the film is called. Default: as its file.")] = "",
    job: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Id of the job: given again, it is the same job.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a film that is there.")] = False,
    review: Annotated[
        bool, typer.Option("--review", help="A reviewer has to approve the film before it is published.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; the exit code tells how it was.")] = False,
    as_json: Json = False,
) -> int:
    """Hand films to the farm. Prints the ids of their jobs."""
    if seed_key is not None and (warning := project_key(seed_key)[1]):
        print(f"veilfarm: {warning}", file=sys.stderr)
    plain = Asked(
        source="",
        to=to,
        veil=veil,
        quality=quality,
        codec=codec,
        drop_dynamic_hdr=drop_dynamic_hdr,
        convert_audio=convert_audio,
        convert_subtitles=convert_subtitles,
        copy_clean=copy_clean,
        start=start,
        stop=stop,
        device=device,
        overwrite=overwrite,
        priority=priority,
        limit=limit,
        deadline=deadline,
        after=farm.choose(after or ()),
        owner=owner,
        name=name,
        job=job.upper() if job is not None else None,
        review=review,
        seed_key=seed_key,
    )
    _check(plain)
    films = _films(inputs or ())
    if manifest_file is None and not films:
        raise UsageError("which films?", "none is named", "name films, folders, or a list by --manifest")
    if (name or job) and (len(films) > 1 or manifest_file is not None):
        raise UsageError("--name and --id are of one film", "here are several", "write a list for --manifest")
    asked = [dataclasses.replace(plain, source=film, several=len(films) > 1) for film in films]
    if manifest_file is not None:
        listed = _listed(farm, manifest_file, plain)
        if listed is None:
            return exits.REFUSED
        asked += listed
    return _hand_in(farm, asked, wait, as_json)


def _check(asked: Asked) -> None:
    """What is wrong with all of them is said once. Raises UsageError."""
    if asked.device not in manifest.DEVICES:
        raise UsageError(f"--device {asked.device} is unknown", "it is any, cpu or cuda", "give one of these")
    for text in (asked.start, asked.stop):
        if text is not None:
            moment(text)
    check_id(asked.job)


def check_id(job: str | None) -> None:
    """Raises UsageError for what can't be a job's id."""
    if job is None:
        return
    if not _ID.fullmatch(job):
        why = "an id is a ULID: 26 digits and letters, without I, L, O and U"
        raise UsageError(f"{job[:40]} is no job's id", why, "make a new ULID, or leave it out")
    if born(job) > time.time() + _AHEAD:
        why = "jobs are listed by it"
        raise UsageError(f"the id {job} says that it will be made in the future", why, "make a new ULID")


def _films(inputs: Iterable[str]) -> list[str]:
    """Raises InputError for a folder or a pattern without films."""
    found: list[str] = []
    for each in inputs:
        path = Path(each)
        if is_object(each) or each.startswith("server:"):
            found.append(each)
        elif path.is_dir():
            found += [str(film) for film in films_below(path)]
        elif glob.has_magic(each) and not path.exists():
            found += _matching(each)
        else:
            found.append(each)
    return found


def _matching(pattern: str) -> list[str]:
    names = sorted(glob.glob(pattern, recursive=True))
    known = VIDEO_SUFFIXES | PICTURE_SOURCES
    films = [name for name in names if Path(name).suffix.lower() in known and Path(name).is_file()]
    if not films:
        why = "no file has such a name" if not names else "no file of such a name has a video's extension"
        raise InputError(f"{pattern}: no video", why, "check the pattern")
    return films


def _listed(farm: Way, path: Path, plain: Asked) -> list[Asked] | None:
    """What a list asks for; None, and a line for each that is wrong, when one of them can't be done."""
    asked, wrong = manifest.read(path, plain)
    complaints: list[Exception] = list(wrong)
    own: set[str] = set()
    places: dict[str, str] = {}
    found = []
    for each in asked:
        try:
            check_id(each.job)
            if each.job is not None and each.job in own:
                raise UsageError("this id is given twice", "", "take another")
            ids = {after: after for after in each.after if after in own}
            each = dataclasses.replace(each, after=tuple(ids.get(a) or farm.choose([a])[0] for a in each.after))
            _check_place(each, places)
            farm.check(dataclasses.replace(each, after=tuple(a for a in each.after if a not in own)))
            found.append(each)
        except (Unreachable, StoreError):
            raise
        except KNOWN as error:
            complaints.append(UsageError(f"{each.where}: {error}"))
        if each.job is not None:
            own.add(each.job)
    if not complaints:
        return found
    for complaint in complaints[:_MOST_TOLD]:
        told(complaint)
    if len(complaints) > _MOST_TOLD:
        print(f"veilfarm: {len(complaints) - _MOST_TOLD} more lines are wrong", file=sys.stderr)
    print("veilfarm: nothing was submitted", file=sys.stderr)
    return None


def _check_place(asked: Asked, places: dict[str, str]) -> None:
    """Raises UsageError when two lines would write one film."""
    if not asked.to:
        return
    folder = asked.to.endswith("/") or (not is_object(asked.to) and Path(asked.to).is_dir())
    name = Path(asked.name or asked.source).stem
    place = f"{asked.to.rstrip('/')}/{name}" if folder else asked.to
    if (first := places.setdefault(place, asked.where)) != asked.where:
        raise UsageError(f"{place} is written by {first}, too", "one would replace the other", "change one of them")


def _hand_in(farm: Way, asked: Sequence[Asked], wait: bool, as_json: bool) -> int:
    code, made = exits.DONE, list[str]()
    for each in asked:
        try:
            with sending(sys.stderr, Path(each.source).name) as sent:
                job = farm.submit(each, sent)
        except KNOWN as error:
            code = max(code, told(error))
            if isinstance(error, Unreachable) and len(asked) > 1:
                print(f"veilfarm: {len(made)} of {len(asked)} films were submitted", file=sys.stderr)
                break  # nor would the others get there
            continue
        made.append(job)
        print(json.dumps({"job": job, "source": each.source}) if as_json else f"{job}  {each.source}", flush=True)
    if not wait or not made:
        return code
    with shown(sys.stderr) as screen:
        ended, bad = follow(farm.follow(made), screen)
    complain(bad)
    return max(code, ended)


COMMANDS = (submit,)
