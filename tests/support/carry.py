"""A film through the whole way without touching a pixel: taken in, indexed, cut into chunks, encoded, joined."""

from fractions import Fraction
from pathlib import Path

from filmgen import read_stamp

from pipeline import video
from pipeline.chunk import plan
from pipeline.compare import Comparison, compare
from pipeline.decode import read
from pipeline.encode import EncoderSettings, Segment, SegmentWriter, file_sha256, verify_segment
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.stitch import publish, stitch


def carry(
    source: Path, target: Path, codec: str | None = None, part: tuple[int, int] | None = None, seconds: str = "1/2"
) -> tuple[VideoInfo, FrameIndex]:
    """Ingest to stitch."""
    work = target.parent / f"work-{source.name}"
    info = video.ingest(source, work)
    index = video.index(info, threads=1)
    first, last = part or (0, len(index))
    settings = EncoderSettings.for_source(info, codec=codec, preset="ultrafast")  # type: ignore[arg-type]
    segments = []
    work.mkdir(exist_ok=True)
    for chunk in plan(index, target=Fraction(seconds), first=first, last=last):
        with SegmentWriter(work / f"{chunk.index}.nut", info, settings, 1, chunk=chunk.index) as writer:
            for picture in read(info, index, chunk.start, chunk.stop):
                writer.write(picture)
            segments.append(writer.close())
        verify_segment(segments[-1], index, chunk)
    publish(stitch(info, index, segments, target, first=first, last=last), target)
    return info, index


def run(
    source: Path, target: Path, codec: str | None = None, part: tuple[int, int] | None = None, seconds: str = "1/2"
) -> tuple[VideoInfo, FrameIndex, Comparison]:
    """The same, and the comparison of both files."""
    info, index = carry(source, target, codec, part, seconds)
    first, last = part or (0, len(index))
    return info, index, compare(info, target, index, first, last, threads=1)


def numbers(info: VideoInfo, index: FrameIndex) -> list[int]:
    """Which frame of the generator each frame of the index is."""
    return [read_stamp(p.planes[0], p.layout.depth) for p in read(info, index, 0, len(index))]


def segments_of(source: Path, folder: Path, index: FrameIndex, part: tuple[int, int] | None = None) -> list[Segment]:
    """Those that `carry` left behind for a target in this folder."""
    first, last = part or (0, len(index))
    segments = []
    for chunk in plan(index, target=Fraction(1, 2), first=first, last=last):
        path, pts = folder / f"work-{source.name}" / f"{chunk.index}.nut", index.pts[chunk.start : chunk.stop]
        ends = int(pts[0]), int(pts[-1])
        segments.append(Segment(path, chunk.index, len(pts), *ends, file_sha256(path), path.stat().st_size, 2))
    return segments
