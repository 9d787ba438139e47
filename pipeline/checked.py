"""Render a chunk until the leak gate has nothing to say, or refuse it."""

from collections.abc import Callable
from pathlib import Path

import torch

from pipeline import gate
from pipeline.analysis import ChunkAnalysis
from pipeline.chunk import Chunk
from pipeline.cover import Style
from pipeline.detect import Detector
from pipeline.encode import EncoderSettings, Segment
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.follow import Mesher
from pipeline.identity import NobodyModel
from pipeline.link import Linked
from pipeline.render import RenderCounts, render
from pipeline.track import Track
from pipeline.witness import Witness

ROUNDS = 4  # renderings of a chunk, at most


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
) -> tuple[Segment, RenderCounts, tuple[gate.GateFinding, ...]]:
    """The segment, what was done, and what the gate found and had covered in a round after. `detector` must not be the
    one that `analyse` used; `mesher` may doubt what it sees, see `Witness`. `progress` counts the first round only.
    `within`: the frames of the job, if not all; `lean` as in `analyse`. Raises LeakError when a place fails that is
    covered already, or something still fails after ROUNDS: then nothing may be released."""

    def once(witness: Witness, found: tuple[Track, ...]) -> tuple[Segment, RenderCounts, tuple[gate.GateFinding, ...]]:
        witness.begin(found)
        segment, counts = render(
            info, index, chunk, analysis, linked, model, settings, target, device=device, threads=threads, style=style,
            found=found, progress=None if found else progress, verify=False, witness=witness, lean=lean,
        )  # fmt: skip
        return segment, counts, gate.check(info, index, chunk, segment, witness, threads=threads)

    with Witness(info.layout, index, chunk, linked, detector, device, target.parent, within, mesher) as witness:
        findings, found = list[gate.GateFinding](), tuple[Track, ...]()
        for _ in range(ROUNDS):
            segment, counts, left = once(witness, found)
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
    target.unlink(missing_ok=True)
    gate.refuse(mine)
    raise AssertionError("unreachable: there were findings")
