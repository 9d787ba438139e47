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
from pipeline.identity import NobodyModel
from pipeline.link import Linked
from pipeline.render import RenderCounts, render
from pipeline.track import Track
from pipeline.witness import Witness

_ROUNDS = 2  # a second rendering covers what the first left; what that leaves is no matter of covering


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
) -> tuple[Segment, RenderCounts, tuple[gate.GateFinding, ...]]:
    """The segment, what was done, and what the gate found in the first round and had covered in the second. `detector`
    must not be the one that `analyse` used. `progress` counts the first round only. Raises LeakError when the second
    round fails, too: then nothing may be released."""
    found: tuple[Track, ...] = ()
    first: tuple[gate.GateFinding, ...] = ()
    with Witness(info.layout, chunk, linked, detector, device, target.parent) as witness:
        for turn in range(_ROUNDS):
            witness.begin(found)
            segment, counts = render(
                info, index, chunk, analysis, linked, model, settings, target, device=device, threads=threads,
                style=style, found=found, progress=progress if turn == 0 else None, verify=False, witness=witness,
            )  # fmt: skip
            findings = gate.check(info, index, chunk, segment, witness, threads=threads)
            if not findings:
                return segment, counts, first
            first = findings if turn == 0 else first
            found = gate.covers(findings, linked, index)
    target.unlink(missing_ok=True)
    gate.refuse(findings)
    raise AssertionError("unreachable: there were findings")
