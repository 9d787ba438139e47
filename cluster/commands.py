"""The subcommands and their options. What they do stands in `swap`, `demo` and `pipeline.sheet`."""

import functools
import importlib.metadata
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cluster import exits, farmcommands, filmcommands, jobcommands, processes, report, reviewcommands, submitting
from cluster.config import (
    CONVERT_AUDIO,
    CONVERT_SUBTITLES,
    COPY_CLEAN,
    DROP_DYNAMIC_HDR,
    Request,
    UsageError,
    moment,
    pool_settings,
)
from cluster.inputs import check_writable, pairs
from cluster.job import Veil
from cluster.localray import LocalPool
from cluster.progress import Voice, own_streams, voice
from cluster.roles import FarmError
from cluster.steps import PipelineSteps
from cluster.swap import Result, Swap, failure_text, report_path
from pipeline import device as devices
from pipeline.errors import DeviceError, PipelineError

app = typer.Typer(
    name="veilfarm",
    help="Give every face in a video a face that belongs to nobody. Everything else stays as it is.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Codec(StrEnum):
    """Video codecs of the output."""

    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"


class Device(StrEnum):
    """Where the work is done."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"veilfarm {importlib.metadata.version('veilfarm')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def swap(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, pictures, or folders of them.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file to write; a folder for several or a folder.")
    ],
    veil: Annotated[Veil, typer.Option(help="What every face becomes: nobody's face, or a cover.")] = Veil.NOBODY,
    seed_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Project key: the same person gets the same face in all jobs with this key."),
    ] = None,
    quality: Annotated[str, typer.Option(help="draft, good or best; or a CRF; or CRF:preset.")] = "good",
    codec: Annotated[
        Codec | None, typer.Option(help="Video codec. Default: h264, or hevc where the source is HDR or has 12 bits.")
    ] = None,
    drop_dynamic_hdr: Annotated[bool, typer.Option("--drop-dynamic-hdr", help=DROP_DYNAMIC_HDR)] = False,
    convert_audio: Annotated[bool, typer.Option("--convert-audio", help=CONVERT_AUDIO)] = False,
    convert_subtitles: Annotated[bool, typer.Option("--convert-subtitles", help=CONVERT_SUBTITLES)] = False,
    copy_clean: Annotated[bool, typer.Option("--copy-clean", help=COPY_CLEAN)] = False,
    start: Annotated[
        str | None, typer.Option("--from", help="First moment of the output: seconds, [H:]MM:SS.mmm, or a frame: 120f.")
    ] = None,
    stop: Annotated[str | None, typer.Option("--to", help="Moment at which the output ends; not part of it.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: one per core.")] = None,
    device: Annotated[Device, typer.Option(help="auto takes a CUDA device where there is one.")] = Device.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="Tell progress and results as JSON lines on stdout.")] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="The report. Default: OUT.report.json.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the work data. Default: beside the output.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show stacks and the noise of libraries.")] = False,
) -> int:
    """Give every face in the videos a face that belongs to nobody."""
    request = Request(
        inputs=tuple(inputs),
        output=output,
        veil=veil,
        seed_key=seed_key,
        quality=quality,
        codec=codec and codec.value,
        drop_dynamic_hdr=drop_dynamic_hdr,
        convert_audio=convert_audio,
        convert_subtitles=convert_subtitles,
        copy_clean=copy_clean,
        start=moment(start) if start is not None else None,
        stop=moment(stop) if stop is not None else None,
        workers=workers,
        device=device.value,
        report=report_file,
        overwrite=overwrite,
        resume=resume,
        work=work,
    )
    return run_swap(request, as_json, debug)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the films and the sheet.")] = Path(
        "demo"
    ),
    seconds: Annotated[float, typer.Option(min=1, help="Length of the film.")] = 12,
    seed: Annotated[int, typer.Option(help="Which film: the same people move and speak otherwise.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: one per core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell progress and results as JSON lines on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stacks and the noise of libraries.")] = False,
) -> int:
    """Make a film of people who do not exist, give them other faces, and show before and after."""
    from pipeline.film import make_film
    from pipeline.sheet import contact_sheet

    before, after, sheet = out / "before.mp4", out / "after.mp4", out / "contact-sheet.png"
    check_writable(out)
    if not as_json:
        print(f"veilfarm: making a film of {seconds:g} s in {before}", file=sys.stderr)
    make_film(before, seconds, seed)
    code = run_swap(Request((before,), after, workers=workers, overwrite=True), as_json, debug)
    if code == exits.DONE:
        contact_sheet(before, after, sheet)
        print(f"before: {before}\nafter:  {after}\nlook at: {sheet}", file=sys.stderr if as_json else sys.stdout)
    return code


for module in (farmcommands, submitting, jobcommands, reviewcommands, filmcommands):
    for command in module.COMMANDS:
        app.command()(command)


def run_swap(request: Request, as_json: bool, debug: bool) -> int:
    """Do it, tell how it goes, and leave no process behind. Returns the exit code."""
    with own_streams(debug) as (out, err):
        return _run_swap(request, voice(as_json, out, err), debug)


def _run_swap(request: Request, speaker: Voice, debug: bool) -> int:
    try:
        films = pairs(request.inputs, request.output)
        if request.report is not None and len(films) > 1:
            raise UsageError("--report is for one video", f"here are {len(films)}", "leave it out: each gets its own")
        device, gpus = devices.choose(request.device)
    except PipelineError as error:
        code = exits.FAILED if isinstance(error, DeviceError) else exits.REFUSED
        speaker.close()
        speaker.error(str(error), exit=code)
        return code
    job = Swap(request, films, device, _models)
    processes.adopt_orphans()
    pool = LocalPool(PipelineSteps(), pool_settings(request.workers, device, gpus))
    results: list[Result] = []
    try:
        for result in job.run(pool, speaker):
            results.append(result)
            _tell(result, request, speaker, debug)
    except BaseException as error:  # the border between a farm in trouble and one line for a person
        pool.leave()
        processes.end_all()
        if exits.told() or isinstance(error, KeyboardInterrupt):
            _tell_left(job, speaker, "interrupted", exits.INTERRUPTED)
            return exits.INTERRUPTED
        if isinstance(error, FarmError):
            _tell_left(job, speaker, f"the farm stopped; {error}", exits.FAILED)
            return exits.FAILED
        raise
    finally:
        pool.leave()
        processes.end_all()
        pool.close()
        speaker.close()
    return _sum_up(results, speaker, job)


@functools.cache
def _models() -> tuple[dict[str, str], ...]:
    from pipeline.models.weights import catalogue

    return tuple({"name": f.name, "sha256": f.sha256, "licence": f.licence} for f in catalogue().values())


def _tell(result: Result, request: Request, speaker: Voice, debug: bool) -> None:
    if result.failure is not None:
        if debug and result.failure.trace:
            speaker.trace(result.failure.trace)
        speaker.error(
            failure_text(result), job=result.pair.source.name, cause=result.failure.cause, exit=result.exit_code
        )
        return
    assert result.report is not None
    _tell_lost(result, speaker)
    path = report_path(request, result.pair.target)
    text = report.line(result.report)
    if result.skipped:
        text += "; done before"
    else:
        fps = result.report["frames"]["out"] / result.report["seconds"]
        text += f"; {result.report['seconds']:.1f} s ({fps:.1f} fps); the work data is deleted; report: {path}"
    speaker.result(text, output=str(result.pair.target), report=str(path), skipped=result.skipped)


def _tell_lost(result: Result, speaker: Voice) -> None:
    assert result.report is not None
    suffix = result.pair.target.suffix.lower()
    todo = "" if suffix == ".mkv" else "; write .mkv to keep it"
    for lost in result.report["streams_lost"]:
        text = f"{result.pair.source.name}: {lost} can't be held by {suffix[1:]} and was left out{todo}"
        speaker.notice(text)
    for each in result.report.get("converted", ()):
        speaker.notice(f"{result.pair.source.name}: converted {each.replace(': ', ' to ')}")


def _tell_left(job: Swap, speaker: Voice, what: str, code: int) -> None:
    """The command ends too early: say what is left, how to go on, and how to get rid of it."""
    left = job.left()
    again = [each for each in sys.argv[1:] if each != "--resume"]
    text = what
    if left:
        folders = " ".join(shlex.quote(str(path)) for path in left)
        size = sum(f.stat().st_size for path in left for f in path.rglob("*") if f.is_file()) / 1e6
        text += f"; go on with: {shlex.join(['veilfarm', *again, '--resume'])}"
        text += f"; or remove the work data ({size:.0f} MB, it shows faces) with: rm -r {folders}"
    speaker.close()
    speaker.error(text, exit=code, work=[str(path) for path in left])


def _sum_up(results: list[Result], speaker: Voice, job: Swap) -> int:
    """The exit code, and a last line when there was more than one film."""
    codes = [result.exit_code for result in results]
    failed, refused = codes.count(exits.FAILED), codes.count(exits.REFUSED)
    if len(results) > 1:
        text = f"{len(results)} videos: {codes.count(exits.DONE)} done, {failed} failed, {refused} refused"
        speaker.notice(text)
    left = job.left()
    if left:
        folders = " ".join(shlex.quote(str(path)) for path in left)
        speaker.notice(f"work data is left for --resume; remove it with: rm -r {folders}")
    return exits.FAILED if failed else exits.REFUSED if refused else exits.DONE
