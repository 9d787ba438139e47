"""Subcommands for a farm as a whole: serve, workers, token."""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster import exits, log, processes, records
from cluster.closing import REVIEW
from cluster.common import KNOWN, Json, on_farm, opened, told
from cluster.config import LISTEN, pool_settings
from cluster.localray import LocalPool
from cluster.progress import own_streams
from cluster.raypool import ClusterSettings, RayPool
from cluster.service import Service, ServicePool
from cluster.steps import PipelineSteps
from cluster.tables import ago, table
from cluster.users import Role
from cluster.ways.way import Way
from pipeline import device as devices

if TYPE_CHECKING:
    from cluster.front import Front


def serve(
    store: Annotated[
        str,
        typer.Option(
            "--store", metavar="PLACE", envvar="VEILFARM_STORE", help="The farm's store: s3://BUCKET/… or a folder."
        ),
    ],
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster: auto, or HOST:PORT. Default: one of its own.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes, without --ray.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, without --ray.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Processors of each worker on CPUs, with --ray.")] = 1,
    gpu_share: Annotated[float, typer.Option(min=0.05, max=1, help="Of a GPU, per worker, with --ray.")] = 1.0,
    leave_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="While a machine has this file, its workers take no orders.")
    ] = None,
    autoscale: Annotated[int | None, typer.Option(min=1, help="Most workers to ask Ray's autoscaler for.")] = None,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that running chunks get when the farm is stopped.")] = 90,
    steady_chunks: Annotated[
        bool, typer.Option("--steady-chunks", help="Cut a film the same way each time, not by measured speed.")
    ] = False,
    review_days: Annotated[
        float, typer.Option(min=0.01, max=366, help="For how long a film is kept that nobody approves.")
    ] = REVIEW / 86400,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help=f"Where the HTTP API listens. Default: {LISTEN}.")
    ] = None,
    no_listen: Annotated[bool, typer.Option("--no-listen", help="No HTTP API.")] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="A folder or s3://BUCKET/… that jobs made by the API may name."),
    ] = None,
    webhook: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Told of every new state of a job, by a signed POST.")
    ] = None,
    webhook_secret: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What webhooks are signed with: 16 bytes or more.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show stacks and the noise of libraries.")] = False,
) -> int:
    """Run the farm: take jobs from the store and do them until somebody ends it. Logs JSON lines to stderr."""
    from cluster.front import Front, front_settings  # a web server, for which no other command has to wait

    with own_streams(debug) as (out, err):
        log.to_stream(err)
        try:
            settings = front_settings(listen, no_listen, webhook or (), webhook_secret, allow or ())
            book, desk = opened(store)
            front = Front(book.store, desk.place, settings)
            pool: ServicePool
            if ray is None:
                chosen, gpus = devices.choose(device)
                processes.adopt_orphans()
                # A broken film may crash a decoder: never in the process that all others depend on.
                pool = LocalPool(PipelineSteps(), pool_settings(workers, chosen, gpus), early=False)
            else:
                cluster = ClusterSettings(
                    ray, threads, gpu_share, leave_file=str(leave_file) if leave_file else None, most=autoscale
                )
                pool = RayPool(PipelineSteps(), cluster)
            service = Service(front.store, desk.place, pool, front.changed, grace, steady_chunks, review_days * 86400)
            return _serve(service, pool, front, lambda text: print(text, file=out, flush=True))
        except KNOWN as error:
            return told(error, err)


def _serve(service: Service, pool: Any, front: "Front", say: Callable[[str], None]) -> int:
    def stop(*_: object) -> None:
        # Ray puts a handler before this one, which aborts the process three seconds after the signal.
        signal.alarm(0)
        service.stop()

    with exits.heard_by(stop):
        try:
            front.start(service, say)
            service.run()
        finally:
            front.close()
            if isinstance(pool, LocalPool):
                pool.leave()
                processes.end_all()
            pool.close()
    return exits.DONE


@on_farm
def workers(
    farm: Way,
    drain: Annotated[list[str] | None, typer.Option(metavar="WORKER", help="Give it no more orders.")] = None,
    undrain: Annotated[list[str] | None, typer.Option(metavar="WORKER", help="Give it orders again.")] = None,
    unblock: Annotated[list[str] | None, typer.Option(metavar="WORKER", help="Give it another chance.")] = None,
    as_json: Json = False,
) -> int:
    """Show the workers, as the controller saw them last; take one out, or in again."""
    for mark, names in (("drain", drain), ("undrain", undrain), ("unblock", unblock)):
        for name in names or ():
            farm.mark(name, mark)
    status = farm.workers()
    if status.at is None:
        print("veilfarm: no controller has worked on this store", file=sys.stderr)
        return exits.FAILED
    if as_json:
        print(json.dumps(records.plain(status), indent=1))
        return exits.DONE
    if time.time() - status.at > 15:
        print(f"veilfarm: the controller ({status.controller}) fell silent {ago(status.at)}", file=sys.stderr)
    lines = [(w.name, w.device, w.state, w.job[-8:], w.unit, f"{w.fps:g}", w.why) for w in status.workers]
    table(("worker", "device", "state", "job", "doing", "frames/s", "why"), lines)
    return exits.DONE


@on_farm
def token(
    farm: Way,
    user: Annotated[str, typer.Argument(metavar="USER", help="Who gets it. Somebody new is made.")],
    role: Annotated[Role | None, typer.Option(help="Of somebody new. Default: submitter.")] = None,
    team: Annotated[str, typer.Option(help="Of somebody new: whose jobs they see, too.")] = "",
    days: Annotated[float | None, typer.Option(min=0.001, max=3660, help="When it ends. Default: never.")] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    show: Annotated[bool, typer.Option("--list", help="Show the user's tokens instead of making one.")] = False,
    revoke: Annotated[list[str] | None, typer.Option(metavar="ID", help="End this token of the user.")] = None,
) -> int:
    """Make a token for the HTTP API, and print it this once."""
    if not show and not revoke:
        print(farm.token(user, role, team, days, label))
        return exits.DONE
    now = time.time()
    lines = []
    for each in farm.tokens(user, revoke or ()):
        good = each.revoked is None and (each.expires is None or now < each.expires)
        state = "good" if good else "revoked" if each.revoked else "ended"
        ends = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.expires)) if each.expires else "never"
        lines.append((each.id, each.label, ago(each.made), ends, state))
    table(("token", "label", "made", "ends", "state"), lines)
    return exits.DONE


COMMANDS = (serve, workers, token)
