"""Take a film in: refuse what can't be done, make it seekable where it isn't, and note the time of every frame."""

from array import array
from collections.abc import Callable
from pathlib import Path

import av
import av.container
import av.error
import ffmpeg
import numpy as np

from pipeline import dynamic, planes
from pipeline.cuts import CutFinder
from pipeline.errors import InputError, NotAVideo, OutputError, PipelineError, Truncated, Unsupported
from pipeline.facts import NO_PTS, Bool, FrameIndex, Hdr, Int64, StreamFacts, VideoInfo
from pipeline.intact import check_file
from pipeline.probe import choose, look
from pipeline.process import run_ffmpeg, timeout_for
from pipeline.reading import decoded, has_captions, open_input, video_stream
from pipeline.stills.album import Album
from pipeline.stills.ingest import ingest as ingest_pictures
from pipeline.stills.kinds import is_pictures

__all__ = ["FrameIndex", "Hdr", "StreamFacts", "VideoInfo", "index", "ingest"]

_SEEKABLE = ("mov", "matroska", "nut")  # demuxers that seek exactly; what comes in another container is remuxed
_MIXED = 32  # places by which a time may be out of order: more than any codec's B-frames
_SQUEEZED = 8  # frames in a row without a time of their own, from which on the clock is taken for broken


def ingest(source: Path, work: Path) -> VideoInfo:
    """Look at a film, or at pictures (see `stills`), and refuse what can't be done.

    Where the container can't be sought exactly (MPEG-TS, MPEG-PS, AVI and others), its video stream is copied into
    `work` with the same time stamps, and `info.path` says so. Raises InputErrors, OutputError when the disk is full.
    """
    if is_pictures(source):
        return ingest_pictures(source, work)
    check_file(source)
    with open_input(source) as container:
        stream = choose(container, source)
        number, kind = stream.index, container.format.name
        # NUT has no times below 0, which a broadcast clock that overflows has: move them, decoding times too.
        begin = (stream.start_time or 0) * (stream.time_base or 0)
        moved = 2 - int(begin) if begin < 0 else 0
        again = not kind.startswith(_SEEKABLE) or not _seeks(container, stream)
    if not again:
        return look(source, number, source)
    path = _remux(source, number, work, kind, moved)
    try:
        return look(source, number, path, moved)
    except NotAVideo as error:
        if error.what.startswith(str(source)):
            raise
        why = "not one packet of its video can be read"
        raise Truncated(f"{source} has no picture", why, "check the file") from error


def _seeks(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Whether a seek to three quarters of the film lands before that time."""
    if not stream.duration:
        return True
    target = (stream.start_time or 0) + stream.duration * 3 // 4
    try:
        container.seek(target, stream=stream)
        packet = next(container.demux(stream), None)
    except av.error.FFmpegError:
        return False
    return packet is not None and packet.dts is not None and packet.dts <= target


def _remux(source: Path, number: int, work: Path, kind: str, moved: int) -> Path:
    """Copy one video stream into a NUT file: it holds any codec in any time base, and has an index."""
    work.mkdir(parents=True, exist_ok=True)
    target = work / "video.nut"
    # AVI has no presentation times, MPEG-PS has them for some pictures only; they follow from the order of decoding.
    # copyinkf: keep what comes before the first keyframe; the decoder judges it.
    options = {"fflags": "+genpts"} if kind in ("avi", "mpeg") else {}
    graph = ffmpeg.input(str(source), copyts=None, itsoffset=moved, **options).output(
        str(target), map=f"0:{number}", c="copy", copyinkf=None, avoid_negative_ts="disabled", f="nut"
    )
    try:
        run_ffmpeg(graph, timeout_for(source))
    except OutputError:
        raise
    except PipelineError as error:
        why = error.why or error.what
        raise InputError(f"{source} can't be remuxed", why, "repair it, or convert it to MP4 first") from error
    return target


def index(info: VideoInfo, progress: Callable[[int], None] | None = None, threads: int = 0) -> FrameIndex:
    """Decode the whole film once and note every frame that a player would show.

    `progress` gets the number of frames so far. Memory: 27 bytes per frame. Raises Unsupported when the picture's size
    changes in the middle or the clock is broken, Truncated when nothing can be decoded.
    """
    stored, durations, keys, corrupt = array("q"), array("q"), bytearray(), bytearray()
    finder, damaged, broken = CutFinder(apart=info.pictures), 0, False
    changing, captions = set[str](), bytearray()
    with open_input(info.path) as container:
        for frame, lost in decoded(container, video_stream(container, info.video_stream), threads):
            damaged += lost + frame.is_corrupt
            # What follows is predicted from the damage, up to the next keyframe, whether the decoder says so or not.
            broken = bool(lost) or frame.is_corrupt or (broken and not frame.key_frame)
            time = frame.pts if frame.pts is not None else frame.dts
            stored.append(NO_PTS if time is None else time)
            durations.append(frame.duration or 0)
            keys.append(frame.key_frame)
            corrupt.append(broken)
            changing |= dynamic.of_frame(frame)
            captions.append(has_captions(frame))
            finder.add(planes.of_frame(planes.in_layout(frame, info.layout)), info.layout.depth)
            if progress is not None:
                progress(len(stored))
    if not stored:
        raise Truncated(f"{info.source} has no picture", "not one frame of it can be decoded", "check the file")
    raw = np.array(stored, np.int64)
    shown = np.array(durations, np.int64)
    pts = repaired(raw, shown, info.source)
    if info.pictures:
        shown[-1] = int(Album.load(info.path.parent).shown(len(pts))[-1] / info.time_base)
    return FrameIndex(
        pts=pts,
        durations=_until_next(pts, shown),
        keys=_bools(keys),
        corrupt=_bools(corrupt),
        cuts=finder.finish(),
        damaged=damaged,
        time_base=info.time_base,
        stored=None if np.array_equal(raw, pts) else raw,
        dynamic_hdr=tuple(sorted(changing)),
        captions=_bools(captions) if any(captions) else None,
    )


def _bools(values: bytearray) -> Bool:
    return np.frombuffer(bytes(values), np.uint8).astype(np.bool_)


def _until_next(pts: Int64, shown: Int64) -> Int64:
    last = int(shown[-1]) or (int(pts[-1] - pts[-2]) if len(pts) > 1 else 1)
    return np.append(np.diff(pts), last)


def _rises(times: Int64) -> bool:
    # Compared, not subtracted: a difference to "no time" overflows.
    return bool(times[0] != NO_PTS and np.all(times[1:] > times[:-1]))


def repaired(raw: Int64, shown: Int64, source: Path) -> Int64:
    """Strictly increasing time stamps.

    Different times that are only out of order (AVI knows no B-frames) are put in order: the decoder's order of pictures
    is right. Else a frame that has none, or not a later one than the frame before, is set to where the frame before
    ends, or earlier where there is no room before the next good one: those without a time share it evenly, so that a
    coarser clock can hold them, too. Raises Unsupported when the clock jumps back.
    """
    if _rises(raw):
        return raw
    order = np.argsort(raw, kind="stable")
    moved = int(np.abs(order - np.arange(len(raw))).max())
    if moved < _MIXED and _rises(raw[order]):
        return raw[order]
    pts, squeezed = raw.copy(), 0
    for i in range(len(pts)):
        before = int(pts[i - 1]) if i else None
        if raw[i] != NO_PTS and (before is None or raw[i] > before):
            squeezed = 0
            continue
        squeezed += 1
        if squeezed > _SQUEEZED or before is None:
            why = f"from frame {i} on, its time stamps are missing or run backwards"
            raise Unsupported(f"the clock of {source} is broken", why, "remux it, or convert it to MP4 first")
        near = raw[i + 1 : i + 2 + _SQUEEZED]
        ahead = next(((k, int(p)) for k, p in enumerate(near, 2) if p > before + 1), None)
        wanted = before + max(1, int(shown[i - 1]))
        pts[i] = wanted if ahead is None else min(wanted, before + max(1, (ahead[1] - before) // ahead[0]))
    return pts
