"""What is known about a film before its pixels are touched: its streams, and the time of every frame. Numbers only."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import VerifyError
from pipeline.picture import PixelLayout

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

NO_PTS = int(np.iinfo(np.int64).min)  # a frame without a time stamp


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """One stream of the source file."""

    index: int  # its number in the source file
    kind: str  # "video", "audio", "subtitle", "data", "attachment" or "unknown"
    codec: str  # FFmpeg's name; "" where it knows none
    language: str  # ISO 639-2 as the file says it; "" where it says nothing
    title: str
    time_base: Fraction
    disposition: int  # bit mask as in libavformat's AV_DISPOSITION_*
    metadata: tuple[tuple[str, str], ...] = ()  # its own tags
    picture: bool = False  # cover art or a thumbnail: a still picture, not a film
    timecode: bool = False  # QuickTime's timecode track
    chapters: bool = False  # QuickTime's chapter track


@dataclass(frozen=True, slots=True)
class Hdr:
    """Static HDR10 metadata, in the units of SMPTE ST 2086 and CTA-861.3."""

    display: str = ""  # "G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)": 1/50000 and 1/10000 cd/m2, as x265 writes it
    light: tuple[int, int] | None = None  # MaxCLL, MaxFALL in cd/m2


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A film that was looked at and can be done."""

    source: Path  # the file that was handed in
    path: Path  # where its frames are read: the source, or a remux of its video stream with the same time stamps
    format: str  # FFmpeg's name of the source's container
    video_stream: int  # the video stream's number in `path`
    source_stream: int  # and in `source`
    codec: str
    layout: PixelLayout  # how `decode.read` hands pictures out
    source_pix_fmt: str  # FFmpeg's name of what the decoder gives
    time_base: Fraction  # of the video stream in `path`; every pts in the project is in it
    average_rate: Fraction | None
    color_primaries: int  # these four as in ITU-T H.273
    color_trc: int
    colorspace: int
    color_range: int  # 0 unknown, 1 limited, 2 full
    sample_aspect_ratio: Fraction | None
    field_order: str  # "progressive", "tff" or "bff"
    display_matrix: tuple[int, ...] | None  # 9 numbers, as libavformat has them
    hdr: Hdr
    start: Fraction  # seconds: the time of the source's clock at which a player begins
    moved: Fraction  # seconds by which times in `path` are later than in `source`; 0 but for clocks that begin below 0
    streams: tuple[StreamFacts, ...]  # of the source
    metadata: tuple[tuple[str, str], ...]  # the source's own tags
    dynamic_hdr: tuple[str, ...] = ()  # kinds of metadata that change from picture to picture: see `dynamic`
    pictures: bool = False  # made of pictures, see `stills`: `path` is a film of them, an album lies beside it

    def source_time(self, pts: int) -> Fraction:
        """Seconds on the source's own clock."""
        return pts * self.time_base - self.moved

    @property
    def is_hdr(self) -> bool:
        """PQ or HLG transfer."""
        return self.color_trc in (16, 18)


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Every frame that a player would show, in presentation order."""

    pts: Int64  # (N,) strictly increasing, in `time_base`
    durations: Int64  # (N,) until the next frame; the last as its packet says
    keys: Bool  # (N,) decoding can begin here
    corrupt: Bool  # (N,) the decoder had to conceal a part of it
    cuts: tuple[int, ...]  # frame numbers at which a new shot begins; 0 isn't in it
    damaged: int  # frames that the decoder concealed or had to leave out
    time_base: Fraction
    stored: Int64 | None = None  # (N,) pts as the decoder gives them, where some had to be repaired; -2**63 for none
    dynamic_hdr: tuple[str, ...] = ()  # kinds of metadata that change from picture to picture, on any of them
    captions: Bool | None = None  # (N,) which have captions in them (CEA-608, CEA-708); None: none has

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def repaired(self) -> int:
        """How many frames had no time stamp, or the one of the frame before."""
        return 0 if self.stored is None else int(np.count_nonzero(self.stored != self.pts))

    def seconds(self, start: int = 0, stop: int | None = None) -> Fraction:
        """How long the frames [start, stop) are shown."""
        stop = len(self.pts) if stop is None else stop
        return (int(self.pts[stop - 1] + self.durations[stop - 1]) - int(self.pts[start])) * self.time_base

    def pts_sha256(self, start: int, stop: int) -> str:
        """Hash of the time stamps of the frames [start, stop), as 64-bit little-endian integers."""
        return hashlib.sha256(self.pts[start:stop].astype("<i8").tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write to `path`, a .npz file."""
        numbers = [self.damaged, self.time_base.numerator, self.time_base.denominator]
        arrays = {
            "pts": self.pts,
            "durations": self.durations,
            "keys": self.keys,
            "corrupt": self.corrupt,
            "cuts": np.array(self.cuts, np.int64),
            "numbers": np.array(numbers, np.int64),
            "dynamic_hdr": np.array(self.dynamic_hdr, np.str_),
        }
        if self.captions is not None:
            arrays["captions"] = self.captions
        if self.stored is not None:
            arrays["stored"] = self.stored
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @staticmethod
    def load(path: Path) -> "FrameIndex":
        """Read what `save` wrote. Raises VerifyError when the file isn't one."""
        try:
            with np.load(path, allow_pickle=False) as file:
                damaged, numerator, denominator = (int(n) for n in file["numbers"])
                return FrameIndex(
                    file["pts"],
                    file["durations"],
                    file["keys"],
                    file["corrupt"],
                    tuple(int(n) for n in file["cuts"]),
                    damaged,
                    Fraction(numerator, denominator),
                    file.get("stored"),
                    tuple(str(kind) for kind in file.get("dynamic_hdr", ())),
                    file.get("captions"),
                )
        except (OSError, ValueError, KeyError) as error:
            raise VerifyError(f"{path} is not a frame index", str(error), "run the index step again") from error
