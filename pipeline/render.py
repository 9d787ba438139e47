"""Write one chunk: every face replaced or covered, everything else as it was, encoded, and decoded again to check."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from pipeline.ahead import ahead
from pipeline.analyse import ChunkAnalysis, Clock, batch_size, batches
from pipeline.chunk import Chunk
from pipeline.copying.copies import Copies
from pipeline.copying.splice import SplicedWriter
from pipeline.cover import Style
from pipeline.decode import read
from pipeline.draw import Painter, RenderCounts
from pipeline.encode import EncoderSettings, Segment, SegmentWriter, verify_segment
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.identity import NobodyModel
from pipeline.link import Linked
from pipeline.picture import Picture
from pipeline.replace import Replacer
from pipeline.track import Track
from pipeline.witness import Witness

__all__ = ["RenderCounts", "render"]


def render(
    info: VideoInfo,
    index: FrameIndex,
    chunk: Chunk,
    analysis: ChunkAnalysis,
    linked: Linked,
    model: NobodyModel,
    settings: EncoderSettings,
    target: Path,
    *,
    device: torch.device,
    threads: int = 1,
    style: Style = "mosaic",
    found: Sequence[Track] = (),
    progress: Callable[[int], None] | None = None,
    replacer: Replacer | None = None,
    verify: bool = True,
    witness: Witness | None = None,
    lean: int = 0,
    copies: Copies | None = None,
) -> tuple[Segment, RenderCounts]:
    """Writes the chunk to `target`. `found` are what the leak gate added. `witness`, which must have begun, notes every
    picture before it is painted, and sees some before and after the chunk. Without `verify` the segment isn't decoded
    again: for a caller who passes it to the gate, which checks the same. `lean`: as in `analyse`. `copies`: what isn't
    encoded. Raises VerifyError, OutputError."""
    drawing, encoding = Clock(), Clock()
    painter = Painter(chunk, analysis, linked, found, replacer or Replacer(model, device), style, device)
    drawing.lap("smooth")
    start, stop = witness.span if witness is not None else (chunk.start, chunk.stop)
    pictures = read(info, index, chunk.start, stop, lead=chunk.start - start, threads=threads, device=device)
    size = batch_size(info.layout, lean)
    with (
        _writer(info, index, chunk, settings, target, threads, copies) as writer,
        closing(ahead(_drawn(pictures, size, chunk, painter, drawing, witness), size)) as drawn,
    ):
        for picture in drawn:
            encoding.lap("wait")
            writer.write(picture)
            encoding.lap("encode")
            if progress is not None:
                progress(1)
        segment = writer.close()
    if verify:
        verify_segment(segment, index, chunk, threads)
    encoding.lap("verify")
    painter.counts.seconds = drawing.seconds | encoding.seconds
    return segment, painter.counts


def _writer(
    info: VideoInfo,
    index: FrameIndex,
    chunk: Chunk,
    settings: EncoderSettings,
    target: Path,
    threads: int,
    copies: Copies | None,
) -> SegmentWriter:
    if copies is None:
        return SegmentWriter(target, info, settings, threads, chunk.index)
    return SplicedWriter(target, info, index, settings, threads, chunk, copies.groups, copies.sets)


def _drawn(
    pictures: Iterator[Picture], size: int, chunk: Chunk, painter: Painter, clock: Clock, witness: Witness | None
) -> Iterator[Picture]:
    """Decoding and drawing, in a thread of their own; the encoder works in the caller's."""
    for batch in batches(pictures, size):
        clock.lap("decode")
        if witness is not None:
            witness.note(batch)
            clock.lap("look")
        mine = [picture for picture in batch if chunk.start <= picture.number < chunk.stop]
        painter.draw(mine)
        clock.lap("draw")
        yield from mine
        clock.lap("full")
