"""What of a source goes into the output beside its pictures, and what is left out because it identifies someone."""

import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from pipeline.errors import OutputError
from pipeline.facts import StreamFacts, VideoInfo

# FFmpeg's muxer for each kind of file that can be written.
MUXERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
}
_HOLDS = {"webm": ("av1",), "mov": ("h264", "hevc"), "mpegts": ("h264", "hevc")}  # video codecs, where not all three
# What MPEG-TS says the kind of. Its muxer takes anything, and then nobody knows any more what it is.
# fmt: off
_NAMED_IN_TS = frozenset({
    "mp1", "mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "opus", "s302m", "dvb_subtitle",
    "dvb_teletext", "scte_35",
})
# fmt: on
# QuickTime numbers languages; FFmpeg finds the number by one spelling of ISO 639-2 only, and it is one or the other's.
# fmt: off
_IN_MOV = {
    "deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb", "mkd": "mac",
    "hye": "arm", "kat": "geo", "fas": "per", "mya": "bur", "msa": "may", "bod": "tib", "eus": "baq", "cym": "wel",
    "rum": "ron", "cze": "ces", "slo": "slk", "fre": "fra",
}
# fmt: on
_OWN_CLOCK = ("mov", "matroska", "nut")  # containers whose times begin where the author says

# Where it was taken, on what very device, by and of whom: in QuickTime, Android, EXIF, XMP and Matroska spellings.
_IDENTIFIES = re.compile(
    r"location|gps|xyz|latitude|longitude|altitude|geo.?tag|maker.?note|thumbnail|cover|covr|picture|artwork|serial"
    r"|content\.identifier"
    r"|umid|\buid\b|_uid\b"  # of MXF: with the camera's network address, the day and the clip in them
    r"|camera\.identifier|device\.?id|face|person|xmp|exif",
    re.IGNORECASE,
)
# Said anew by the muxer, or true of the source's own bytes only.
_STALE = re.compile(
    r"major_brand|minor_version|compatible_brands|encoder|duration|bps|number_of_|_statistics_|vendor_id|source_id"
    r"|handler_vendor|timecode_rate|alpha_mode",
    re.IGNORECASE,
)
_KEPT_DATA = ("scte_35",)  # data without places or people in it
_FONT = re.compile(
    r"font/|application/.*(font|truetype|opentype)", re.IGNORECASE
)  # of attachments, only these are kept


def muxer_for(target: Path, codec: str) -> str:
    """FFmpeg's name of the container. Raises OutputError where the name's ending or the codec doesn't fit."""
    suffix = target.suffix.lower()
    muxer = MUXERS.get(suffix)
    if muxer is None:
        endings = ", ".join(MUXERS)
        raise OutputError(
            f"{target} can't be written", f"{suffix or 'no ending'} is no kind of output", f"use {endings}"
        )
    if codec not in _HOLDS.get(muxer, (codec,)):
        holds = " or ".join(_HOLDS[muxer])
        raise OutputError(f"{target} can't be written", f"{suffix} can't hold {codec}", f"use --codec {holds}, or .mp4")
    return muxer


def is_named(muxer: str, codec: str) -> bool:
    """Whether a stream of this codec is still known for what it is in the container."""
    return muxer != "mpegts" or codec in _NAMED_IN_TS


def why_stripped(stream: StreamFacts, info: VideoInfo) -> str:
    """Why a stream is left out on purpose; "" for one that is kept."""
    if stream.index == info.source_stream:
        return ""
    if stream.picture:
        return "cover art or thumbnail: it may show a face"
    if stream.kind == "video":
        return "another video: its faces would be seen"
    if stream.kind == "attachment" and not _FONT.match(dict(stream.metadata).get("mimetype", "")):
        return "an attachment: it may show a face"
    if stream.kind == "data" and stream.codec not in _KEPT_DATA and not is_rewritten(stream, info):
        return "a data track: it may say where it was filmed"
    if stream.kind == "unknown":
        return "nothing is known of it"
    return ""


def is_rewritten(stream: StreamFacts, info: VideoInfo) -> bool:
    """A track that the muxer makes anew from tags: chapters and QuickTime's timecode."""
    return stream.kind == "data" and info.format.startswith("mov") and (stream.timecode or stream.chapters)


def is_copied(stream: StreamFacts, info: VideoInfo) -> bool:
    """Whether its packets go into the output as they are."""
    return stream.index != info.source_stream and not why_stripped(stream, info) and not is_rewritten(stream, info)


def tags(metadata: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The tags that are kept."""
    return {k: v for k, v in metadata if not _IDENTIFIES.search(k) and not _STALE.search(k)}


def stream_tags(metadata: Iterable[tuple[str, str]], muxer: str) -> dict[str, str]:
    """The tags of a stream that are kept, as the container has to be told them."""
    found = tags(metadata)
    if muxer == "mov" and "language" in found:
        found["language"] = _IN_MOV.get(found["language"], found["language"])
    return found


def stripped_tags(metadata: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Names of the tags that are left out because they identify someone."""
    return tuple(k for k, _ in metadata if _IDENTIFIES.search(k))


def shift(info: VideoInfo, pts: int, whole: bool) -> Fraction:
    """Seconds to add to every time of the source.

    0 for a whole film in a container with a clock of its own, if its first frame, at `pts`, isn't shown before 0. A
    broadcast clock (MPEG-TS, MPEG-PS) begins anywhere, and the output at 0. A part begins at 0 with its first frame.
    """
    first = info.source_time(pts)
    if not whole:
        return -first
    if info.format.startswith(_OWN_CLOCK):
        return max(Fraction(0), -first)
    return -(info.start // info.time_base) * info.time_base
