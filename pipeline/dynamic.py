"""HDR metadata that changes from picture to picture: Dolby Vision and HDR10+.

Both describe the picture they come with, and no encoder here writes them as they were. So a film that has them is
refused, unless whoever asks can do without: what is left is the base picture, which HDR10 and HLG screens show anyway.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
import av.container
from av.sidedata.sidedata import SideDataContainer, Type

from pipeline.errors import Unsupported
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.intact import boxes
from pipeline.reading import decoded

DOLBY, HDR10_PLUS, VIVID = "Dolby Vision", "HDR10+", "HDR Vivid"
_KINDS = {
    Type.DOVI_RPU_BUFFER: DOLBY,
    Type.DOVI_METADATA: DOLBY,
    Type.DYNAMIC_HDR_PLUS: HDR10_PLUS,
    Type.DYNAMIC_HDR_VIVID: VIVID,
}
_CONFIGURATION = (b"dvcC", b"dvvC", b"dvwC")  # of Dolby Vision in MP4 and, with the same names, in Matroska
_CODECS = ("hevc", "av1", "vp9", "h264", "vvc")  # whose pictures may have such metadata
_FRAMES = 10  # at the start that are looked at before the film is indexed, which looks at all
_HEAD = 1 << 20  # bytes of a Matroska file in which its tracks are described
_CLUSTER = b"\x1f\x43\xb6\x75"


def found(container: av.container.InputContainer, stream: av.VideoStream, source: Path) -> tuple[str, ...]:
    """Which kinds the film has; frames are read from `container`, which stands at its start."""
    kinds = {DOLBY} if _configured(source) else set[str]()
    if stream.codec_context.codec.canonical_name in _CODECS:
        for frame, _ in itertools.islice(decoded(container, stream, 1), _FRAMES):
            kinds |= of_frame(frame)
    return tuple(sorted(kinds))


def of_frame(frame: av.VideoFrame) -> set[str]:
    """Which kinds this picture has."""
    data = cast(SideDataContainer, frame.side_data)
    return {name for kind, name in _KINDS.items() if data.get(kind) is not None}


def with_late(info: VideoInfo, index: FrameIndex) -> VideoInfo:
    """The facts of the film with the kinds that its later pictures have, too."""
    return dataclasses.replace(info, dynamic_hdr=tuple(sorted({*info.dynamic_hdr, *index.dynamic_hdr})))


def _configured(source: Path) -> bool:
    """Whether the file says that it has Dolby Vision, which the pictures themselves may not."""
    with source.open("rb") as file:
        head = file.read(16)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            tracks = file.read(_HEAD).split(_CLUSTER)[0]
            return any(name in tracks for name in _CONFIGURATION)
        if head[4:8] not in (b"ftyp", b"moov"):
            return False
    return any(name in entries for entries in _entries(source) for name in _CONFIGURATION)


def _entries(source: Path) -> Iterator[bytes]:
    """The descriptions of an MP4's tracks."""
    with source.open("rb") as file:
        yield from boxes(file, source.stat().st_size, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"))


def check(info: VideoInfo, drop: bool) -> None:
    """Raises Unsupported for a film that would lose such metadata, unless it shall be dropped and can."""
    if not info.dynamic_hdr:
        return
    names = " and ".join(info.dynamic_hdr)
    if not drop:
        why = f"how {names} wants each scene shown would be lost, and the base picture kept"
        raise Unsupported(f"{info.source} has {names}", why, "give --drop-dynamic-hdr to go on without it")
    if DOLBY in info.dynamic_hdr and info.color_trc == 2:
        # Profile 5: colours in IPT, which nothing but the metadata tells how to show.
        why = "its base picture has colours that only Dolby Vision can show"
        raise Unsupported(f"{info.source} has Dolby Vision alone", why, "convert it to HDR10 first")


def told(info: VideoInfo) -> tuple[str, ...]:
    """Lines of the report."""
    return tuple(f"{name} metadata of each scene: this picture has other ones" for name in info.dynamic_hdr)
