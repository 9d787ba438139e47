"""Who was found in a film: numbers, times and what became of their faces. No picture of anybody."""

from collections import Counter
from typing import Any

from fastapi import APIRouter, Request, Response

from cluster.api.context import Ctx
from cluster.dashboard.job import STRIPS, WIDTH, JobId, head
from cluster.dashboard.pages import LookingReviewer, Page, drawn
from cluster.dashboard.strip import done_of
from cluster.job import LinkFacts, Step, TrackFacts
from cluster.ledger import Unit

router = APIRouter(route_class=Page, include_in_schema=False)
_MOST = 500  # cards


@router.get("/jobs/{job}/people")
def people(request: Request, ctx: Ctx, user: LookingReviewer, job: JobId) -> Response:
    """The page."""
    row, shown = head(ctx, user, job)
    strip = STRIPS.strip(ctx, row)
    done = done_of(ctx, job, Unit(Step.LINK))
    linked = done.facts if done is not None and isinstance(done.facts, LinkFacts) else None
    first = strip.cells[0].chunk.start if strip.cells else 0
    span = (first, max(1, strip.frames))
    cards = _cards(linked, span, strip.rate) if linked is not None else []
    whole = {"from": first / strip.rate, "to": (first + strip.frames) / strip.rate}
    marks = [
        {"x": _x(cell.chunk.start, span), "width": max(2.0, cell.chunk.frames / span[1] * WIDTH), "cell": cell}
        for cell in strip.cells
        if cell.leaks or cell.failures
    ]
    return drawn(
        request,
        "people.html",
        **shown,
        linked=linked is not None,
        cards=cards[:_MOST],
        count=len(cards),
        width=WIDTH,
        whole=whole,
        marks=marks,
        rate=strip.rate,
    )


def _x(frame: int, span: tuple[int, int]) -> float:
    return round((frame - span[0]) / span[1] * WIDTH, 2)


def _cards(linked: LinkFacts, span: tuple[int, int], rate: float) -> list[dict[str, Any]]:
    """Those who are on screen longest come first."""
    tracks: dict[int, list[TrackFacts]] = {}
    for track in linked.tracks:
        tracks.setdefault(track.person, []).append(track)
    cards = [_card(number, linked.identities.get(str(number), ""), of, span, rate) for number, of in tracks.items()]
    return sorted(cards, key=lambda card: (-card["frames"], card["number"]))


def _card(number: int, identity: str, tracks: list[TrackFacts], span: tuple[int, int], rate: float) -> dict[str, Any]:
    treated: Counter[str] = Counter()
    for track in tracks:
        treated.update(track.treatments)
    total = max(1, treated.total())
    replaced = treated.pop("replace", 0)
    return {
        "number": number,
        "identity": identity,
        "frames": sum(track.frames for track in tracks),
        "seconds": sum(track.frames for track in tracks) / rate,
        "first": min(track.first for track in tracks) / rate,
        "last": max(track.last for track in tracks) / rate,
        "times": len(tracks),
        "smallest": min(track.smallest for track in tracks),
        "largest": max(track.largest for track in tracks),
        "replaced": replaced,
        "share": replaced / total,
        "covered": treated.most_common(),
        "bars": [
            {
                "x": _x(track.first, span),
                "width": round(max(2.0, (track.last - track.first) / span[1] * WIDTH), 2),
                "from": track.first / rate,
                "to": track.last / rate,
                "kind": "replaced" if track.treatments.get("replace", 0) * 2 >= track.frames else "covered",
            }
            for track in sorted(tracks, key=lambda track: track.first)
        ],
    }
