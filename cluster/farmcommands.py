"""Subcommands for a farm as a whole: serve, submit, workers, token."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster import exits, log, processes, records
from cluster.common import KNOWN, Json, Store, opened, told, wait_for
from cluster.config import LISTEN, UsageError, moment, pool_settings, project_key
from cluster.desk import Wish
from cluster.inputs import films_below
from cluster.job import Veil
from cluster.localray import LocalPool
from cluster.progress import own_streams
from cluster.raypool import ClusterSettings, RayPool
from cluster.service import Service, ServicePool, read_status
from cluster.steps import PipelineSteps
from cluster.tables import ago, table
from cluster.users import NoSuchUser, NotAllowed, Role, Users
from pipeline import device as devices
from storage import layout
from storage.address import is_object
from storage.objects import StoreError

if TYPE_CHECKING:
    from cluster.front import Front


def serve(
    store: Store,
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
                pool = LocalPool(PipelineSteps(), pool_settings(workers, chosen, gpus))
            else:
                cluster = ClusterSettings(
                    ray, threads, gpu_share, leave_file=str(leave_file) if leave_file else None, most=autoscale
                )
                pool = RayPool(PipelineSteps(), cluster)
            service = Service(front.store, desk.place, pool, front.changed, grace, steady_chunks)
            return _serve(service, pool, front, lambda text: print(text, file=out, flush=True))
        except KNOWN as error:
            return told(error)


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


def submit(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Films: paths, folders, or s3://BUCKET/KEY.")],
    store: Store,
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
    start: Annotated[str | None, typer.Option("--from", help="First moment of the output.")] = None,
    stop: Annotated[str | None, typer.Option("--until", help="Moment at which the output ends.")] = None,
    device: Annotated[str, typer.Option(help="any, cpu or cuda.")] = "any",
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="More goes first.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Most workers at once.")] = None,
    after: Annotated[list[str] | None, typer.Option(metavar="JOB", help="Wait until this job is done.")] = None,
    deadline: Annotated[float | None, typer.Option(metavar="HOURS", help="A hint: done in so many hours.")] = None,
    owner: Annotated[str, typer.Option(help="Whose job it is; owners share the farm fairly.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a film that is there.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; the exit code tells how it was.")] = False,
    as_json: Json = False,
) -> int:
    """Hand films to the farm. Prints the ids of their jobs."""
    try:
        book, desk = opened(store)
        key, mark = None, None
        if seed_key is not None:
            mark, warning = project_key(seed_key)
            key = seed_key.read_bytes()
            if warning:
                print(f"veilfarm: {warning}", file=sys.stderr)
        wish = Wish(
            to=to,
            veil=veil,
            quality=quality,
            codec=codec,
            start=moment(start) if start is not None else None,
            stop=moment(stop) if stop is not None else None,
            device=device,
            overwrite=overwrite,
            owner=owner,
            priority=priority,
            limit=limit,
            deadline=time.time() + deadline * 3600 if deadline is not None else None,
            after=desk.choose(after or ()),
            key_fingerprint=mark,
        )
        if device not in ("any", "cpu", "cuda"):
            raise UsageError(f"--device {device} is unknown", "it is any, cpu or cuda", "give one of these")
        films = _films(inputs)
    except KNOWN as error:
        return told(error)
    code, jobs = exits.DONE, []
    for film in films:
        try:
            jobs.append(desk.submit(film, wish, key, several=len(films) > 1))
            print(json.dumps({"job": jobs[-1], "source": film}) if as_json else f"{jobs[-1]}  {film}")
        except KNOWN as error:
            code = max(code, told(error))
    return max(code, wait_for(book, jobs)) if wait else code


def _films(inputs: Iterable[str]) -> list[str]:
    found = []
    for each in inputs:
        path = Path(each)
        if not is_object(each) and path.is_dir():
            found += [str(film) for film in films_below(path)]
        else:
            found.append(each)
    return found


def workers(
    store: Store,
    drain: Annotated[list[str] | None, typer.Option(metavar="WORKER", help="Give it no more orders.")] = None,
    undrain: Annotated[list[str] | None, typer.Option(metavar="WORKER", help="Give it orders again.")] = None,
    unblock: Annotated[list[str] | None, typer.Option(metavar="WORKER", help="Give it another chance.")] = None,
    as_json: Json = False,
) -> int:
    """Show the workers, as the controller saw them last; take one out, or in again."""
    try:
        book, _ = opened(store)
        for name in drain or ():
            book.mark(layout.drain(name))
        for name in undrain or ():
            book.store.delete(layout.drain(name))
        for name in unblock or ():
            book.mark(layout.unblock(name))
        status = read_status(book.store)
    except KNOWN as error:
        return told(error)
    if status is None:
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


def token(
    user: Annotated[str, typer.Argument(metavar="USER", help="Who gets it. Somebody new is made.")],
    store: Store,
    role: Annotated[Role | None, typer.Option(help="Of somebody new. Default: submitter.")] = None,
    team: Annotated[str, typer.Option(help="Of somebody new: whose jobs they see, too.")] = "",
    days: Annotated[float | None, typer.Option(min=0.001, max=3660, help="When it ends. Default: never.")] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    show: Annotated[bool, typer.Option("--list", help="Show the user's tokens instead of making one.")] = False,
    revoke: Annotated[list[str] | None, typer.Option(metavar="ID", help="End this token of the user.")] = None,
) -> int:
    """Make a token for the HTTP API, and print it this once."""
    try:
        book, _ = opened(store)
        users = Users(book.store)
        if show or revoke:
            return _old_tokens(users, user, tuple(revoke or ()))
        try:
            known = users.user(user)
        except NoSuchUser:
            known = users.add(user, role or Role.SUBMITTER, team)
        if role not in (None, known.role) or team not in ("", known.team):
            why = f"role {known.role}, team {known.team or '-'}"
            raise UsageError(f"there is a user {user} already", why, "leave --role and --team out")
        print(users.issue(user, label, days)[0])
    except (*KNOWN, NoSuchUser, NotAllowed) as error:
        told(error)
        return exits.FAILED if isinstance(error, StoreError) else exits.REFUSED
    return exits.DONE


def _old_tokens(users: Users, user: str, revoke: tuple[str, ...]) -> int:
    """Revoke some, then show all. Raises NoSuchUser."""
    users.user(user)
    for name in revoke:
        if users.token(name).user != user:
            raise NoSuchUser(f"{user} has no token {name}")
        users.revoke(name)
    now = time.time()
    lines = []
    for each in users.tokens(user):
        state = "good" if each.good(now) else "revoked" if each.revoked else "ended"
        ends = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.expires)) if each.expires else "never"
        lines.append((each.id, each.label, ago(each.made), ends, state))
    table(("token", "label", "made", "ends", "state"), lines)
    return exits.DONE


COMMANDS = (serve, submit, workers, token)
