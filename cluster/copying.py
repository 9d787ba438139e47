"""Groups of pictures that keep the source's bits, as calls into the pipeline: see `steps`. What is asked for with
`Encoding.copy_clean`; without it none of this is called."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cluster.job import ChunkRecord, GroupFacts, Plan, RenderFacts
from cluster.workers import Setup

_GROUPS, _COPIES, _PROOF = "groups.npz", "copies.json", "proof.npz"


def find(info: Any, index: Any, settings: Any, into: Path) -> str:
    """INDEX: the table of groups, and why none of them can be copied; "" where some may be."""
    from pipeline.copying import groups

    found = groups.find(info, index, settings)
    found.save(into / _GROUPS)
    return found.why_none


def starts(setup: Setup) -> list[int]:
    """PLAN: frames at which groups begin or end; none where nothing can be copied."""
    return sorted({edge for group in _groups(setup).groups for edge in (group.start, group.stop)})


def judge(setup: Setup, plan: Plan, analyses: Sequence[Any], linked: Any, into: Path) -> None:
    """LINK and MEND: what becomes of each group."""
    from pipeline.copying import clean

    edges = [plan.first, *(chunk.stop for chunk in plan.chunks)]
    clean.save(clean.judge(_groups(setup), edges, analyses, linked.tracks), into / _COPIES)


def marks(before: Path, after: Path, chunks: Iterable[ChunkRecord]) -> dict[int, tuple[str, str]]:
    """MEND: which groups of each chunk were copied when it was linked, and which are now."""
    from pipeline.copying import clean

    old, new = clean.load(before / _COPIES), clean.load(after / _COPIES)

    def told(verdicts: Any, chunk: ChunkRecord) -> str:
        return " ".join(f"{v.start}-{v.stop}" for v in clean.copied(verdicts, chunk.start, chunk.stop))

    return {chunk.index: (told(old, chunk), told(new, chunk)) for chunk in chunks}


def copies(setup: Setup, chunk: ChunkRecord, linked: Path, settings: Any) -> tuple[Any, Any]:
    """RENDER: what is copied in the chunk, and the encoder's settings that go with it. (None, `settings`) where nothing
    can be copied."""
    from pipeline.copying import clean
    from pipeline.copying.copies import Copies

    found = _groups(setup)
    if found.why_none:
        return None, settings
    verdicts = clean.within(clean.load(linked / _COPIES), chunk.start, chunk.stop)
    return Copies(verdicts, found.sets), dataclasses.replace(settings, sets=found.number)


def kept(copies: Any, index: Any, into: Path) -> tuple[GroupFacts, ...]:
    """RENDER: what became of the chunk's groups; the proof of it goes into the folder."""
    copies.save_proof(into / _PROOF)
    begin = int(index.pts[0])
    return tuple(
        GroupFacts(
            first=v.start,
            last=v.stop,
            time=(int(index.pts[v.start]) - begin) * index.time_base,
            bytes=v.bytes,
            why=v.why,
            score=round(v.score, 3),
            gate=round(v.gate, 3),
        )
        for v in copies.verdicts
    )


def proof(info: Any, plan: Plan, segments: Iterable[tuple[Path, RenderFacts]]) -> Any:
    """STITCH: what looks at the film's frames while it is compared; None where nothing was copied."""
    from pipeline.copying.copies import Proof

    parts = [path.with_name(_PROOF) for path, facts in segments if facts.copied]
    return Proof(info, plan.first, parts) if parts else None


def _groups(setup: Setup) -> Any:
    from pipeline.copying.groups import Groups

    return Groups.load(setup.index / _GROUPS)
