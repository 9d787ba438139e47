"""Where originals may be read, and that each look at one is written down first."""

import logging
from pathlib import Path

from cluster.api.context import Context
from cluster.api.problems import Problem
from cluster.book import Entry
from cluster.job import JobSpec
from cluster.users import User
from storage import layout
from storage.address import is_object

_LOG = logging.getLogger(__name__)


def check(ctx: Context, spec: JobSpec) -> None:
    """Raises Problem when the original isn't in an allowed place, or is gone."""
    place = spec.source.place
    # Films that were brought are noted by their real path, and the store may be named by another one.
    own = ctx.desk.place if is_object(ctx.desk.place) else str(Path(ctx.desk.place).resolve())
    folder = layout.upload_of(place)
    if not (folder and place.startswith(f"{own}/{folder}/")):
        ctx.allowed.checked(place)
    if not is_object(place) and not Path(place).is_file():
        raise Problem(404, "the original isn't where it was")


def note(ctx: Context, user: User, job: str, what: str = "the original") -> None:
    """Write down that somebody looks. A look that can't be noted isn't granted. Raises StoreError."""
    ctx.book.note(job, Entry(ctx.book.clock(), user.name, f"looked at {what}"))
    _LOG.info("%s looks at %s of job %s", user.name, what, job, extra={"job": job, "user": user.name})
