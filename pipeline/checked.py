"""Render a chunk until the leak gate has nothing to say, or refuse it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import torch

from pipeline import gate
from pipeline.analysis import ChunkAnalysis
from pipeline.chunk import Chunk
from pipeline.copying.copies import Copies
from pipeline.cover import Style
from pipeline.decode import read
from pipeline.detect import Detector
from pipeline.encode import EncoderSettings, Segment
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.follow import Mesher
from pipeline.identity import NobodyModel
from pipeline.link import Linked
from pipeline.render import RenderCounts, render
from pipeline.track import Track
from pipeline.witness import Witness

ROUNDS = 4  # renderings of a chunk, at most, for what the gate finds

Rendering: TypeAlias = tuple[Segment, RenderCounts, tuple[gate.GateFinding, ...]]


def render_checked(
    info: VideoInfo,
    index: FrameIndex,
    chunk: Chunk,
    analysis: ChunkAnalysis,
    linked: Linked,
    model: NobodyModel,
    settings: EncoderSettings,
    target: Path,
    *,
    detector: Detector,
    device: torch.device,
    threads: int = 1,
    style: Style = "mosaic",
    progress: Callable[[int], None] | None = None,
    within: tuple[int, int] | None = None,
    mesher: Mesher | None = None,
    lean: int = 0,
    copies: Copies | None = None,
) -> Rendering:
    """The segment, what was done, and what the gate found and had covered in a round after. `detector` must not be the
    one that `analyse` used; `mesher` may doubt what it sees, see `Witness`. `progress` counts the first round only.
    `within`: the frames of the job, if not all; `lean` as in `analyse`. Raises LeakError when a place fails that is
    covered already, or something still fails after ROUNDS: then nothing may be released. `copies`: groups that keep the
    source's bits; where the gate's detector sees anything, they are rendered after all, and taken out of it."""
    begun = False

    def once(witness: Witness, found: tuple[Track, ...]) -> Rendering:
        nonlocal begun
        witness.begin(found, copies.groups if copies is not None else ())
        segment, counts = render(
            info, index, chunk, analysis, linked, model, settings, target, device=device, threads=threads, style=style,
            found=found, progress=None if begun else progress, verify=False, witness=witness, lean=lean, copies=copies,
        )  # fmt: skip
        begun = True
        return segment, counts, gate.check(info, index, chunk, segment, witness, threads=threads)

    with Witness(info.layout, index, chunk, linked, detector, device, target.parent, within, mesher) as witness:
        if copies is not None and copies.groups:
            # Nothing is rendered twice only because there was something to see.
            start, stop = witness.span
            lead = chunk.start - start
            for picture in read(info, index, chunk.start, stop, lead=lead, threads=threads, device=device):
                witness.look(picture)
            copies.hold(witness.sights(), ())
        return _passed(once, witness, linked, index, chunk, target, copies)


def _passed(
    once: Callable[[Witness, tuple[Track, ...]], Rendering],
    witness: Witness,
    linked: Linked,
    index: FrameIndex,
    chunk: Chunk,
    target: Path,
    copies: Copies | None,
) -> Rendering:
    """The rendering that the gate passes."""
    findings, found = list[gate.GateFinding](), tuple[Track, ...]()
    for _ in range(ROUNDS):
        segment, counts, left = once(witness, found)
        # Each turn takes a group out. It hardly ever comes to that: what there is to see was seen before.
        while copies is not None and not copies.hold(witness.sights(), witness.unlike):
            segment, counts, left = once(witness, found)
        if copies is not None:
            copies.prove(witness.digests())
        # What lies beyond the borders is covered on this side once; it doesn't hold the chunk back.
        mine = gate.inside(chunk, left)
        if found and not mine:
            return segment, counts, gate.inside(chunk, findings)
        if gate.covered(mine, found):
            break
        # Another round is encoded anew, and what was just different enough in one may not be in the next.
        findings += mine if found else left
        found = gate.covers(findings, linked, index, chunk)
        if not found:
            return segment, counts, ()
        if copies is not None:
            copies.make_way(found)
    target.unlink(missing_ok=True)
    gate.refuse(mine)
    raise AssertionError("unreachable: there were findings")
