"""Who is in a film, as far as that may be known when what shows them is deleted: numbers, times and boxes. Knows the
pipeline's types, as `steps` does."""

from collections.abc import Iterable
from typing import Any

from cluster.job import LinkFacts, TrackFacts


def link_facts(linked: Any, analyses: Iterable[Any]) -> LinkFacts:
    """Of a Linked. `analyses`: the chunks that it was made of, for the frames that show a face well."""
    looks = {(a.chunk, t.id): [(s.quality, s.frame) for s in t.samples] for a in analyses for t in a.tracklets}
    identities = {str(p.id): p.identity.name for p in linked.people if p.identity is not None}
    return LinkFacts(len(linked.people), identities, tuple(_track(track, looks) for track in linked.tracks))


def _track(track: Any, looks: dict[tuple[int, int], list[tuple[float, int]]]) -> TrackFacts:
    from pipeline.track import Treatment

    sides = (track.boxes[:, 2:] - track.boxes[:, :2]).max(1)
    counts = {t.name.lower(): int((track.treatment == t).sum()) for t in Treatment}
    seen = (track.tracklet_of[:, 0] >= 0).nonzero()[0]
    best = _best(track, sides, looks)
    x0, y0, x1, y1 = track.boxes[best]
    return TrackFacts(
        id=int(track.id),
        person=int(track.person),
        first=int(track.frames[0]),
        last=int(track.frames[-1]) + 1,
        frames=len(track.frames),
        smallest=round(float(sides.min())),
        largest=round(float(sides.max())),
        treatments={name: count for name, count in counts.items() if count},
        seen=(int(track.frames[seen[0]]), int(track.frames[seen[-1]]) + 1) if len(seen) else (0, 0),
        best=int(track.frames[best]),
        best_box=(round(float(x0)), round(float(y0)), round(float(x1)), round(float(y1))),
    )


def _best(track: Any, sides: Any, looks: dict[tuple[int, int], list[tuple[float, int]]]) -> int:
    """Row of the frame that shows the face best: where it is replaced, if it is anywhere; of those frames a good look,
    if there is one, or else the largest face that was seen."""
    from pipeline.track import Treatment

    replaced, first = track.treatment == Treatment.REPLACE, int(track.frames[0])
    pieces = {(int(chunk), int(number)) for chunk, number in track.tracklet_of.tolist()}
    good = sorted(look for piece in pieces for look in looks.get(piece, ()) if 0 <= look[1] - first < len(replaced))
    shown = [frame - first for _, frame in good if replaced[frame - first] or not replaced.any()]
    if shown:
        return shown[-1]
    return int((sides + 1e6 * replaced + 1e5 * (track.tracklet_of[:, 0] >= 0)).argmax())
