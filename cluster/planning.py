"""How long chunks are, and where they begin: see `steps`."""

from fractions import Fraction
from typing import Any

from cluster import copying
from cluster.workers import Setup

_LONGEST_CHUNK = 12  # seconds; a chunk is what a crash costs, and what a worker holds landmarks of
_SHORTEST_CHUNK = 1
_MOST_FRAMES = 400  # of a chunk: smoothing needs memory by frames, not by seconds
_ROUNDS = 2  # every worker gets at least this many chunks, so that one slow chunk doesn't keep the others waiting
_SHORTER = 8  # times shorter than what keeps a worker busy long enough may chunks be, for every worker to get some


def chunk_seconds(duration: Fraction, sharers: int, rate: Fraction | None = None) -> Fraction:
    """The length of even chunks: as long as may be, yet the same number for each worker. `rate`: frames a second, where
    it is known."""
    longest = min(Fraction(_LONGEST_CHUNK), _MOST_FRAMES / rate) if rate else Fraction(_LONGEST_CHUNK)
    rounds = max(_ROUNDS, -(-duration // (sharers * longest)))
    return max(min(longest, Fraction(_SHORTEST_CHUNK)), duration / (sharers * rounds))


def chunks(setup: Setup, info: Any, index: Any, first: int, last: int, sharers: int) -> Any:
    """The chunks of the frames [first, last), shared among so many workers. Where groups of pictures may be copied they
    begin as these do."""
    from pipeline import chunk

    duration = index.seconds(first, last)
    if setup.chunk_frames is None:
        target = chunk_seconds(duration, sharers, info.average_rate)
    else:
        longest = duration * min(setup.chunk_frames, _MOST_FRAMES) / (last - first)
        target = min(longest, max(duration / (sharers * _ROUNDS), longest / _SHORTER))
    starts = copying.starts(setup) if setup.spec.encoding.copy_clean else ()
    if starts:
        return chunk.plan_whole(index, starts, target=target, most=_MOST_FRAMES, first=first, last=last)
    return chunk.plan(index, target=target, first=first, last=last)
