"""Whose turn it is, and on which worker: pure functions of what is known now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.job import PER_CHUNK, Step


@dataclass(frozen=True, slots=True)
class Claim:
    """What one job wants of the workers."""

    job: str
    owner: str
    priority: int  # more goes first
    running: int  # orders of it that are out
    limit: int | None  # most orders at once; None: no limit
    deadline: float | None = None  # Unix time at which it should be done; a hint


def turns(claims: Iterable[Claim], running: Mapping[str, int]) -> list[Claim]:
    """The claims that may get a worker, the best first: by priority; among equals the owner who has the fewest orders
    out (`running` by owner, of all jobs), then the nearest deadline, then the oldest job."""
    open_to = [claim for claim in claims if claim.limit is None or claim.running < claim.limit]
    far = float("inf")
    return sorted(
        open_to,
        key=lambda c: (-c.priority, running.get(c.owner, 0), far if c.deadline is None else c.deadline, c.job),
    )


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker, as the scheduler sees it."""

    name: str
    free: bool
    device: str = "cpu"  # "cpu" or "cuda"


def choose(
    seats: Iterable[Seat], step: Step, device: str, blocked: frozenset[str], failed_on: frozenset[str]
) -> Seat | None:
    """The seat for a unit of a step; None where none is free that may take it.

    `device` of the job: "cpu", "cuda" or "any"; it holds for the steps that see pictures. A worker that has failed this
    unit before gets it again only if there is no other at all. What has many pixels goes to GPUs first, everything else
    to CPUs.
    """
    any_will_do = device == "any" or step not in PER_CHUNK
    able = [seat for seat in seats if seat.name not in blocked and (any_will_do or seat.device == device)]
    others = [seat for seat in able if seat.name not in failed_on]
    free = [seat for seat in others or able if seat.free]
    liked = "cuda" if step in PER_CHUNK else "cpu"
    return min(free, key=lambda seat: (seat.device != liked, seat.name), default=None)
