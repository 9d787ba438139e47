"""Tracklets of all chunks become one course per face and shot: joined, gaps filled, ends extended."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np

from pipeline.analysis import ChunkAnalysis
from pipeline.facts import FrameIndex
from pipeline.track import Floats, Ints, Tracklet, between, overlap, pair, to_box, to_state

SAME_BOX = 0.4  # mean IoU on shared frames from which on two tracklets are one face
EXTEND = 8  # frames a face is covered before its first and after its last sight, less what landmarks carried it
_LEAST_EXTEND = 4
_SURE_WAY = 5  # frames of sight from which on the way that a face has gone tells where it goes on
_SPOILT = 0.2  # of a replaced face that the guess of a brief sight may lie over
_UNSURE = 0.6  # score below which a sight is more likely a hand
_GAP = Fraction(1)  # seconds without sight within a shot over which a face is joined
_GAP_EMBEDDING = 0.6
_SWELL = 0.02  # an extrapolated box grows by this share per frame: it grows less sure
_GOOD_SAMPLE = 0.1  # quality below which a look doesn't tell who it is


@dataclass(frozen=True, slots=True)
class Row:
    """Per-frame facts of one face in one shot. Arrays share n; frames are consecutive."""

    frames: Ints
    boxes: Floats
    presence: Floats
    angles: Floats
    source: Ints  # (n, 2) chunk, tracklet; -1 where filled

    def part(self, which: slice) -> "Row":
        """Some of its frames, without a gap."""
        boxes, presence, angles = self.boxes[which], self.presence[which], self.angles[which]
        return Row(self.frames[which], boxes, presence, angles, self.source[which])


@dataclass(slots=True)
class Chain:
    """Tracklets that are one face within one shot."""

    pieces: list[tuple[ChunkAnalysis, Tracklet]] = field(default_factory=list)

    @property
    def first(self) -> int:
        return min(t.first for _, t in self.pieces)

    @property
    def last(self) -> int:
        return max(t.last for _, t in self.pieces)

    @property
    def score(self) -> float:
        """The highest that the detector gave it."""
        return max(float(t.scores.max()) for _, t in self.pieces)

    def edge(self, end: bool) -> tuple[Floats, Floats]:
        """State and its change per frame at the first or last frame, looking into the chain's own time."""
        _, t = (max if end else min)(self.pieces, key=lambda p: p[1].last if end else p[1].first)
        near = t.boxes[-5:] if end else t.boxes[:5][::-1]
        states = to_state(near)
        slope = (states[-1] - states[0]) / max(1, len(states) - 1)
        return states[-1], np.clip(slope, [-99, -99, -0.03, -0.03], [99, 99, 0.03, 0.03]).astype(np.float32)

    def embedding(self) -> Floats | None:
        samples = [s for _, t in self.pieces for s in t.samples if s.quality >= _GOOD_SAMPLE]
        if not samples:
            return None
        weights = np.array([s.quality for s in samples], np.float32)
        return np.asarray(np.average(np.stack([s.embedding for s in samples]), axis=0, weights=weights), np.float32)


def join(analyses: Sequence[ChunkAnalysis], index: FrameIndex) -> list[Chain]:
    """Chains of all tracklets: over chunk borders by the frames that both chunks saw, then over gaps within a shot."""
    pieces = [(a, t) for a in sorted(analyses, key=lambda a: a.start) for t in a.tracklets]
    pieces.sort(key=lambda p: (p[1].first, p[0].chunk, p[1].id))
    owner = list(range(len(pieces)))

    def root(i: int) -> int:
        while owner[i] != i:
            i = owner[i]
        return i

    live = list[int]()
    for i, (_, tracklet) in enumerate(pieces):
        live = [k for k in live if pieces[k][1].last >= tracklet.first]
        for k in live:
            if _same(pieces[k][1], tracklet):
                owner[root(i)] = root(k)
        live.append(i)
    chains = dict[int, Chain]()
    for i, piece in enumerate(pieces):
        chains.setdefault(root(i), Chain()).pieces.append(piece)
    return _bridge(list(chains.values()), index)


def _same(a: Tracklet, b: Tracklet) -> bool:
    lo, hi = max(a.first, b.first), min(a.last, b.last) + 1
    x, y = a.boxes[lo - a.first : hi - a.first], b.boxes[lo - b.first : hi - b.first]
    return bool(np.mean([overlap(p[None], q[None])[0, 0] for p, q in zip(x, y, strict=True)]) >= SAME_BOX)


def _bridge(chains: list[Chain], index: FrameIndex) -> list[Chain]:
    """Joins the end of one chain to the start of another after at most a second in the same shot."""
    chains.sort(key=lambda c: c.first)
    starts = [c.first for c in chains]
    reach = int(_GAP / index.time_base)
    rows, columns, costs = list[int](), list[int](), list[float]()
    for i, chain in enumerate(chains):
        last = chain.last
        stop = int(np.searchsorted(index.pts, index.pts[last] + reach, side="right"))
        cut = bisect_right(index.cuts, last)
        stop = min(stop, index.cuts[cut]) if cut < len(index.cuts) else stop
        for k in range(bisect_right(starts, last), bisect_left(starts, stop)):
            cost = _gap_cost(chain, chains[k])
            if cost is not None:
                rows.append(i)
                columns.append(k)
                costs.append(cost)
    if not costs:
        return chains
    names_r, names_c = sorted(set(rows)), sorted(set(columns))
    matrix = np.full((len(names_r), len(names_c)), np.inf, np.float32)
    for i, k, cost in zip(rows, columns, costs, strict=True):
        matrix[bisect_left(names_r, i), bisect_left(names_c, k)] = cost
    follows = {names_c[c]: names_r[r] for r, c in pair(matrix)}
    for k in sorted(follows):  # in order of time: the earlier one has taken in what came before
        before = follows[k]
        while before in follows and not chains[before].pieces:
            before = follows[before]
        chains[before].pieces += chains[k].pieces
        chains[k].pieces = []
    return [c for c in chains if c.pieces]


def _gap_cost(a: Chain, b: Chain) -> float | None:
    gap = b.first - a.last
    (x, vx), (y, vy) = a.edge(end=True), b.edge(end=False)
    travel = (1 - 0.9**gap) / 0.1  # velocities fade over a gap
    size = float(np.exp((x[2:].mean() + y[2:].mean()) / 2))
    ahead, back = x[:2] + vx[:2] * travel - y[:2], y[:2] + vy[:2] * travel - x[:2]
    moved = min(float(np.linalg.norm(v)) for v in (ahead, back, x[:2] - y[:2])) / size
    ratio = abs(float(x[2:].mean() - y[2:].mean()))
    if moved > 0.6 + 0.05 * gap or moved > 2 or ratio > 0.5:
        return None
    left, right = a.embedding(), b.embedding()
    far = float(np.linalg.norm(left - right)) if left is not None and right is not None else 0.4
    return None if far > _GAP_EMBEDDING else moved + ratio + far


def lay_out(chain: Chain, index: FrameIndex, first: int, last: int, size: tuple[int, int]) -> Row:
    """A chain as consecutive frames, gaps filled from both sides, both ends extended within the shot, the frames
    [first, last) of the job and a picture of `size` (width, height)."""
    lo, hi = chain.first, chain.last + 1
    n = hi - lo
    boxes, presence, best = np.full((n, 4), np.nan, np.float32), np.zeros(n, np.float32), np.full(n, -1, np.float32)
    turned, source = np.full((n, 3), np.nan, np.float32), np.full((n, 2), -1, np.int32)
    for analysis, t in chain.pieces:
        # Only the chunk that owns a frame has its landmarks when it is rendered; a neighbour's box is better than none.
        own = (t.frames >= analysis.start) & (t.frames < analysis.stop)
        rank = 2 * own + t.presence + 0.1 * (t.scores > 0)
        mine = np.flatnonzero(rank > best[t.frames - lo])
        at, own = t.frames[mine] - lo, own[mine]
        best[at], boxes[at] = rank[mine], t.boxes[mine]
        presence[at] = np.where(own, t.presence[mine], 0)
        turned[at] = np.where(own[:, None], t.angles[mine], np.nan)
        looked = own & ((t.presence[mine] > 0) | (t.scores[mine] > 0))
        source[at] = np.where(looked[:, None], [analysis.chunk, t.id], -1)
    _fill(boxes)
    row = Row(np.arange(lo, hi, dtype=np.int32), boxes, presence, turned, source)
    return _extend(row, index, first, last, size)


def spared(chains: Sequence[Chain], rows: Sequence[Row], replaced: Sequence[np.ndarray]) -> list[slice]:
    """The part of each row that is to stay: all of it, but that what a brief, unsure sight of something is guessed to
    be before and after ends where it would lie over a face that is replaced anyway. Such are hands that pass before a
    face. `replaced` (n,) of each row, where it gets a new face."""
    firsts, lasts = (np.array([row.frames[end] for row in rows], np.int64) for end in (0, -1))
    parts = list[slice]()
    for k, row in enumerate(rows):
        if chains[k].score >= _UNSURE or np.count_nonzero(row.source[:, 0] >= 0) >= _SURE_WAY:
            parts.append(slice(0, len(row.frames)))
            continue
        near = np.flatnonzero((lasts >= row.frames[0]) & (firsts <= row.frames[-1])).tolist()
        parts.append(_spared(row, [(rows[i], replaced[i]) for i in near if i != k]))
    return parts


def _spared(row: Row, others: Sequence[tuple[Row, np.ndarray]]) -> slice:
    seen = np.flatnonzero(row.source[:, 0] >= 0)
    if not len(seen):
        return slice(0, len(row.frames))
    over = np.zeros(len(row.frames), np.bool_)
    for other, fresh in others:
        _, mine, theirs = np.intersect1d(row.frames, other.frames, assume_unique=True, return_indices=True)
        under = _share_under(other.boxes[theirs], row.boxes[mine])
        over[mine] |= fresh[theirs] & (under >= _SPOILT)
    before, after = np.flatnonzero(over[: seen[0]]), np.flatnonzero(over[seen[-1] + 1 :])
    begin = int(before[-1]) + 1 if len(before) else 0
    return slice(begin, int(seen[-1]) + 1 + int(after[0]) if len(after) else len(row.frames))


def _share_under(boxes: Floats, cover: Floats) -> Floats:
    """(n,) how much of each of `boxes` (n, 4) lies under that of `cover` (n, 4)."""
    lo, hi = np.maximum(boxes[:, :2], cover[:, :2]), np.minimum(boxes[:, 2:], cover[:, 2:])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(np.prod(np.clip(hi - lo, 0, None), axis=1) / np.maximum(areas, 1e-6), np.float32)


def _fill(boxes: Floats) -> None:
    have = np.flatnonzero(np.isfinite(boxes[:, 0]))
    for a, b in pairwise(have):
        if b - a > 1:
            boxes[a + 1 : b] = between(boxes[a], boxes[b], int(b - a - 1))


def _extend(row: Row, index: FrameIndex, first: int, last: int, size: tuple[int, int]) -> Row:
    shot = bisect_right(index.cuts, int(row.frames[0]))
    begin = max(first, index.cuts[shot - 1] if shot else 0)
    shot = bisect_right(index.cuts, int(row.frames[-1]))
    end = min(last, index.cuts[shot] if shot < len(index.cuts) else len(index.pts))
    seen = np.flatnonzero(row.source[:, 0] >= 0)
    carried = (int(seen[0]), len(row.frames) - 1 - int(seen[-1])) if len(seen) else (0, 0)
    before = min(max(_LEAST_EXTEND, EXTEND - carried[0]), int(row.frames[0]) - begin)
    after = min(max(_LEAST_EXTEND, EXTEND - carried[1]), end - 1 - int(row.frames[-1]))
    head = _beyond(row.boxes[:5][::-1], max(0, before), size)[::-1]
    tail = _beyond(row.boxes[-5:], max(0, after), size)
    frames = np.arange(row.frames[0] - len(head), row.frames[-1] + 1 + len(tail), dtype=np.int32)
    pads = (len(head), len(tail))
    keep = (frames >= first) & (frames < last)
    return Row(
        frames[keep],
        np.concatenate([head, row.boxes, tail])[keep],
        np.pad(row.presence, pads)[keep],
        np.pad(row.angles, (pads, (0, 0)), constant_values=np.nan)[keep],
        np.pad(row.source, (pads, (0, 0)), constant_values=-1)[keep],
    )


def _beyond(boxes: Floats, count: int, size: tuple[int, int]) -> Floats:
    """Boxes (count or fewer, 4) that go on after the last of `boxes`; they end where the face has left the picture."""
    states = to_state(boxes)
    slope = (states[-1] - states[0]) / max(1, len(states) - 1)
    slope *= ((len(states) - 1) / (_SURE_WAY - 1)) ** 2  # of two or three boxes it is chance
    slope[2:] = 0
    out = list[Floats]()
    for k in range(1, count + 1):
        state = states[-1] + slope * np.float32((1 - 0.8**k) / 0.2)
        state[2:] += np.float32(_SWELL * k)
        box = to_box(state)
        if box[2] <= 0 or box[3] <= 0 or box[0] >= size[0] or box[1] >= size[1]:
            break
        out.append(box)
    return np.stack(out) if out else np.zeros((0, 4), np.float32)
