"""Whose turn it is, and on which worker: by what is known now, and nothing else."""

import heapq
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
    return sorted(open_to, key=lambda c: (-c.priority, running.get(c.owner, 0), *_place(c)))


def _place(claim: Claim) -> tuple[float, str]:
    """Where it stands among those of its owner and priority."""
    return float("inf") if claim.deadline is None else claim.deadline, claim.job


class Line:
    """Many jobs that wait. The first by the order of `turns` is found without looking at all of them: as many steps as
    there are owners, whatever the number of jobs. Limits aren't looked at."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        # By priority and owner. What was taken out or has changed stays in the heaps until it comes up.
        self._heaps: dict[int, dict[str, list[tuple[float, str]]]] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def __contains__(self, job: str) -> bool:
        return job in self._claims

    def put(self, claim: Claim) -> None:
        """Let it wait; one of the same job that waits already is replaced."""
        if self._claims.get(claim.job) != claim:
            self._claims[claim.job] = claim
            heapq.heappush(self._heaps.setdefault(claim.priority, {}).setdefault(claim.owner, []), _place(claim))

    def remove(self, job: str) -> None:
        """It doesn't wait any more, if it did."""
        self._claims.pop(job, None)

    def clear(self) -> None:
        """Nobody waits."""
        self._claims.clear()
        self._heaps.clear()

    def first(self, running: Mapping[str, int]) -> Claim | None:
        """Whose turn it is; `running` by owner, as for `turns`. It stays in the line."""
        for priority in sorted(self._heaps, reverse=True):
            owners = self._heaps[priority]
            for owner in [owner for owner, heap in owners.items() if not self._settled(priority, owner, heap)]:
                del owners[owner]
            if owners:
                best = min(owners, key=lambda owner: (running.get(owner, 0), owners[owner][0]))
                return self._claims[owners[best][0][1]]
            del self._heaps[priority]
        return None

    def _settled(self, priority: int, owner: str, heap: list[tuple[float, str]]) -> bool:
        """Take off the top what isn't true any more. False when nothing is left."""
        while heap:
            claim = self._claims.get(heap[0][1])
            if claim is not None and (claim.priority, claim.owner, _place(claim)) == (priority, owner, heap[0]):
                return True
            heapq.heappop(heap)
        return False


class Waiting:
    """Who waits for whom."""

    def __init__(self) -> None:
        self._followers: dict[str, set[str]] = {}
        self.check: dict[str, None] = {}
        """Jobs of which one that they wait for has changed, in the order in which that came up."""

    def follow(self, job: str, others: Iterable[str]) -> None:
        """It waits for the others from now on."""
        for other in others:
            self._followers.setdefault(other, set()).add(job)
        self.check[job] = None

    def leave(self, job: str, others: Iterable[str]) -> None:
        """It waits for them no more."""
        for other in others:
            followers = self._followers.get(other, set())
            followers.discard(job)
            if not followers:
                self._followers.pop(other, None)
        self.check.pop(job, None)

    def changed(self, other: str) -> None:
        """Those that wait for it have to be looked at."""
        self.check.update(dict.fromkeys(sorted(self._followers.get(other, ()))))


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
    unit before gets it again only if there is no other at all, and one that is taken out (`blocked`) gets any only if
    all are: then the fault isn't theirs, but a disk's that they share, and nobody else would do it.

    What has many pixels goes to GPUs first, everything else to CPUs.
    """
    any_will_do = device == "any" or step not in PER_CHUNK
    fit = [seat for seat in seats if any_will_do or seat.device == device]
    able = [seat for seat in fit if seat.name not in blocked] or fit
    others = [seat for seat in able if seat.name not in failed_on]
    free = [seat for seat in others or able if seat.free]
    liked = "cuda" if step in PER_CHUNK else "cpu"
    return min(free, key=lambda seat: (seat.device != liked, seat.name), default=None)
