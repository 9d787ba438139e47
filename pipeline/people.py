"""Which tracks are the same person: agglomerative clustering of embeddings, average linkage, cautious."""

import numpy as np
from numpy.typing import NDArray

SAME = 0.5  # mean distance of two people's looks below which they are one; the recogniser's own threshold is 0.6
_BLOCK = 1500  # tracks clustered at once: distances need the square of it

Spans = list[tuple[int, int]]


def cluster(embeddings: NDArray[np.float32], spans: list[Spans], same: float = SAME) -> NDArray[np.int64]:
    """A label per item, from 0 in order of first item. `embeddings` (n, d), NaN where there is none: such an item stays
    alone. `spans[i]` are the frames [first, last] at which item i is seen; items seen at the same time are never
    merged, since nobody is in two places. More than _BLOCK items are clustered in blocks, then the blocks' clusters."""
    n = len(embeddings)
    labels = np.arange(n)
    if n > _BLOCK:
        means, joined, group = list[NDArray[np.float32]](), list[Spans](), np.zeros(n, np.int64)
        for start in range(0, n, _BLOCK):
            block = cluster(embeddings[start : start + _BLOCK], spans[start : start + _BLOCK], same)
            for label in range(int(block.max()) + 1):
                members = start + np.flatnonzero(block == label)
                group[members] = len(means)
                means.append(embeddings[members].mean(0))
                joined.append(sorted(s for m in members for s in spans[m]))
        if len(means) == n:
            return labels
        return _ordered(cluster(np.stack(means), joined, same)[group])
    known = np.flatnonzero(np.isfinite(embeddings).all(1))
    labels[known] = known[_agglomerate(embeddings[known], [spans[i] for i in known], same)]
    return _ordered(labels)


def _agglomerate(embeddings: NDArray[np.float32], spans: list[Spans], same: float) -> NDArray[np.int64]:
    """For each item, the index of an item that stands for its cluster."""
    n = len(embeddings)
    owner = np.arange(n)
    if n < 2:
        return owner
    square = (embeddings**2).sum(1)
    distance = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * embeddings @ embeddings.T, 0)).astype(np.float64)
    np.fill_diagonal(distance, np.inf)
    spans, size = [sorted(s) for s in spans], np.ones(n)
    for i in range(n):
        for j in range(i):
            if distance[i, j] < same and _meet(spans[i], spans[j]):
                distance[i, j] = distance[j, i] = np.inf
    nearest = distance.argmin(1)
    while True:
        i = int(np.argmin(distance[np.arange(n), nearest]))
        j = int(nearest[i])
        if not distance[i, j] < same:
            return owner
        if _meet(spans[i], spans[j]):
            distance[i, j] = distance[j, i] = np.inf
            nearest[i], nearest[j] = distance[i].argmin(), distance[j].argmin()
            continue
        # Lance and Williams, 1967; an infinite distance (seen together) stays infinite.
        merged = (size[i] * distance[i] + size[j] * distance[j]) / (size[i] + size[j])
        merged[[i, j]] = np.inf
        distance[i], distance[:, i] = merged, merged
        distance[j], distance[:, j] = np.inf, np.inf
        size[i] += size[j]
        spans[i] = sorted(spans[i] + spans[j])
        owner[owner == j] = i
        stale = (nearest == i) | (nearest == j)
        stale[i] = True
        nearest[stale] = distance[stale].argmin(1)
        closer = merged < distance[np.arange(n), nearest]
        nearest[closer] = i


def _meet(a: Spans, b: Spans) -> bool:
    """Whether two sorted lists of closed spans share a frame."""
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i][1] < b[j][0]:
            i += 1
        elif b[j][1] < a[i][0]:
            j += 1
        else:
            return True
    return False


def _ordered(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same partition, numbered by first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse], np.int64)
