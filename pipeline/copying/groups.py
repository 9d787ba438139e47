"""The groups of pictures of a film: from one IDR picture to the next, whatever their frames show.

Nothing in such a group refers to anything outside of it, and all of it is shown before what follows. So it can be taken
out of its film and put between other groups as it is. Groups that begin with a recovery point (open GOPs) aren't told
from what is before them: they belong to the group of the IDR picture before.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

import av
import numpy as np
from av.container import InputContainer

from pipeline.copying.nal import CODECS, BadStream, Form, ParameterSets, begins_group, in_record, rewritten
from pipeline.encode import EncoderSettings
from pipeline.errors import VerifyError
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.reading import open_input, video_stream

Packet: TypeAlias = "av.Packet[av.VideoStream]"


@dataclass(frozen=True, slots=True)
class Group:
    """Frames [start, stop) of the film, which begin with an IDR picture."""

    start: int
    stop: int
    bytes: int  # of its packets
    whole: bool  # its packets are exactly these frames; else it can't be copied

    @property
    def frames(self) -> int:
        """How many."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a film in order. Frames before the first IDR picture are in none."""

    groups: tuple[Group, ...]
    why_none: str = ""  # why none of them can be copied, if that is so
    sets: bytes = b""  # the source's parameter sets, with start codes
    number: int = 0  # of parameter sets: one that the source doesn't use

    def save(self, path: Path) -> None:
        """Write to `path`, a .npz file."""
        rows = np.array([(g.start, g.stop, g.bytes, g.whole) for g in self.groups], np.int64).reshape(-1, 4)
        head = np.array(json.dumps({"why_none": self.why_none, "sets": self.sets.hex(), "number": self.number}))
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, rows=rows, head=head)

    @staticmethod
    def load(path: Path) -> "Groups":
        """Read what `save` wrote. Raises VerifyError when the file isn't one."""
        try:
            with np.load(path, allow_pickle=False) as file:
                head = json.loads(str(file["head"]))
                rows = tuple(Group(int(a), int(b), int(size), bool(whole)) for a, b, size, whole in file["rows"])
                return Groups(rows, head["why_none"], bytes.fromhex(head["sets"]), head["number"])
        except (OSError, ValueError, KeyError) as error:
            raise VerifyError(f"{path} is not a table of groups", str(error), "run the index step again") from error


def find(info: VideoInfo, index: FrameIndex, settings: EncoderSettings) -> Groups:
    """Reads every packet of the film once, and decodes none. Memory: some bytes per packet of the longest group, and
    per group."""
    if why := _why_none(info, index, settings):
        return Groups((), why)
    sets, groups = ParameterSets(info.codec), list[Group]()
    try:
        with open_input(info.path) as container:
            stream = video_stream(container, info.video_stream)
            form = Form.of(info.codec, stream.codec_context.extradata or b"")
            sets.see(in_record(info.codec, stream.codec_context.extradata or b""))
            for group in _runs(container, stream, form, sets):
                groups.append(group.among(index))
    except BadStream as error:
        return Groups((), f"its packets can't be taken apart: {error}")
    number = sets.free()
    if sets.changed or number is None or not sets.bytes():
        return Groups((), "its parameter sets change on the way" if sets.changed else "its parameter sets are unusual")
    if not any(group.whole for group in groups):
        return Groups((), "it has no IDR picture to begin a copy with")
    return Groups(_apart(groups), "", sets.bytes(), number)


def _why_none(info: VideoInfo, index: FrameIndex, settings: EncoderSettings) -> str:
    """Why the source's packets can't stand between the encoder's; "" where they can."""
    pixels = info.source_pix_fmt.replace("yuvj", "yuv")
    if info.pictures:
        return "it is made of pictures"
    if info.codec not in CODECS:
        return f"its codec is {info.codec}; H.264 and HEVC can be copied"
    if settings.codec != info.codec:
        return f"its codec is {info.codec}, and the output's {settings.codec}"
    if settings.pix_fmt != pixels:
        return f"its pixels are {pixels}, and the output's {settings.pix_fmt}"
    if info.field_order != "progressive":
        return "it is interlaced"
    if info.dynamic_hdr:
        return "its dynamic HDR metadata is to be dropped"
    if index.stored is not None:
        return "its time stamps had to be repaired"
    return ""


@dataclass(slots=True)
class _Run:
    """Packets from one IDR picture on."""

    times: list[int]
    size: int = 0
    good: bool = True

    def among(self, index: FrameIndex) -> Group:
        """As frames of the film."""
        times = np.sort(np.array(self.times, np.int64))
        start = int(np.searchsorted(index.pts, times[0]))
        stop = int(np.searchsorted(index.pts, times[-1], "right"))
        first = self.times[0] == times[0]
        whole = self.good and first and np.array_equal(index.pts[start:stop], times)
        return Group(start, stop, self.size, bool(whole))


def _runs(container: InputContainer, stream: av.VideoStream, form: Form, sets: ParameterSets) -> Iterator[_Run]:
    run: _Run | None = None
    for packet in container.demux(stream):
        if not packet.size:
            continue
        units = list(form.units(bytes(packet)))
        sets.see(units)
        if begins_group(form.codec, units):
            if run is not None:
                yield run
            run = _Run([])
        if run is None:
            continue
        bare = packet.pts is None or packet.is_discard or packet.is_corrupt or packet.has_sidedata("new_extradata")
        run.good &= not bare
        run.size += packet.size
        if packet.pts is not None:
            run.times.append(packet.pts)
    if run is not None:
        yield run


def _apart(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Without those that reach into their neighbours, as only a broken film has them: these are no groups."""
    kept = list[Group]()
    for group in groups:
        if group.stop <= group.start:
            continue
        if kept and group.start < kept[-1].stop:
            kept[-1] = replace(kept[-1], stop=max(group.stop, kept[-1].stop), whole=False)
        else:
            kept.append(group)
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Piece:
    """One packet of a group, with start codes."""

    pts: int
    key: bool
    data: bytes


def in_rows(groups: Iterable[Group]) -> list[list[Group]]:
    """Groups in order, those together that follow each other without a gap."""
    rows = list[list[Group]]()
    for group in groups:
        if rows and rows[-1][-1].stop == group.start:
            rows[-1].append(group)
        else:
            rows.append([group])
    return rows


def pieces(info: VideoInfo, index: FrameIndex, row: Sequence[Group], sets: bytes) -> Iterator[Piece]:
    """The packets of groups that follow each other, in order of decoding, the first of each with the parameter sets
    before it. Raises VerifyError when they aren't where the index says."""
    wanted, count = index.pts[row[0].start : row[-1].stop], 0
    starts = {int(index.pts[group.start]) for group in row}
    with open_input(info.path) as container:
        stream = video_stream(container, info.video_stream)
        form = Form.of(info.codec, stream.codec_context.extradata or b"")
        for packet in _from(container, stream, int(wanted[0])):
            if count == len(wanted):
                return
            at = int(np.searchsorted(wanted, cast(int, packet.pts)))
            if packet.pts is None or at == len(wanted) or wanted[at] != packet.pts:
                break
            try:
                data = rewritten(form, bytes(packet), sets if packet.pts in starts else b"")
            except BadStream:
                break
            yield Piece(packet.pts, packet.is_keyframe, data)
            count += 1
    if count < len(wanted):
        what = f"the packets of the frames [{row[0].start}, {row[-1].stop}) of {info.path} are not found"
        why = f"{count} of {len(wanted)} are there"
        raise VerifyError(what, why, "has the file changed? run the index step again")


def _from(container: InputContainer, stream: av.VideoStream, pts: int) -> Iterator[Packet]:
    """Packets from the one that is shown at that time on; none where there isn't any."""
    for seek in (True, False):
        container.seek(pts if seek else int(stream.start_time or 0), stream=stream)
        begun = False
        for packet in container.demux(stream):
            begun = begun or packet.pts == pts
            if begun and packet.size:
                yield packet
            if not begun and seek and packet.dts is not None and packet.dts > pts:
                break  # too late: once more, from the beginning
        if begun:
            return
