"""What a job is: its specification, its steps, and the facts that each step leaves behind. Plain records, no behaviour.

Every record is written as JSON into the job's folder; see `ledger`. No field takes a face, a photo, a recognition
vector or a name to put in: a face comes from a seed, and `tests/unit/test_promise.py` holds the list of fields.
"""

import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from stat import S_ISDIR

from pipeline.stills.kinds import in_folder

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Step(StrEnum):
    """The steps of a job, in order. ANALYSE and RENDER are one unit per chunk, the others one per film."""

    INGEST = "ingest"
    INDEX = "index"
    PLAN = "plan"
    ANALYSE = "analyse"
    LINK = "link"
    MEND = "mend"  # only of a job with edits of reviewers: applies them to what was linked
    RENDER = "render"
    STITCH = "stitch"
    PUBLISH = "publish"  # not of a job whose submitter takes the film itself


PER_CHUNK = frozenset({Step.ANALYSE, Step.RENDER})
EDITED = frozenset({Step.MEND, Step.RENDER, Step.STITCH})  # steps whose outcome depends on reviewers' edits


class Veil(StrEnum):
    """What a face becomes."""

    NOBODY = "nobody"
    MOSAIC = "mosaic"
    SOLID = "solid"


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the film: a time from the first frame on, or a frame number from 0. One of the two is None."""

    seconds: Fraction | None
    frame: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """Which file or object it is; a changed one is another source."""

    place: str  # an absolute path, or "s3://bucket/key"
    bytes: int
    version: str  # a file's time of change in ns; an object's etag; of a folder, a hash over its pictures' facts

    @property
    def name(self) -> str:
        """The last part of its place."""
        return self.place.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the encoder is asked for. What is left open is settled by the source, once for the whole film."""

    codec: str | None  # "h264", "hevc" or "av1"; None: H.264, or HEVC where the source needs it
    crf: int | None  # None: the encoder's default here
    crf_offset: int  # added to that default
    preset: str | None  # x264's names, for every encoder; None: the default here
    drop_dynamic_hdr: bool = False  # go on without the metadata of Dolby Vision and HDR10+
    convert_audio: bool = False  # sound that the output's container can't hold; else it is left out
    convert_subtitles: bool = False  # and subtitles that are text
    copy_clean: bool = False  # groups of pictures in which nobody is seen keep the source's bits


@dataclass(frozen=True, slots=True)
class Publish:
    """What the farm does with a finished film."""

    name: str  # of the film, for people
    overwrite: bool  # whether one that is at the target may be replaced


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What was asked for. Written once; `--resume` goes on only with the same one."""

    source: Source
    target: str  # an absolute path or "s3://bucket/key"; "": it stays in the farm's store
    veil: Veil
    encoding: Encoding
    start: Moment | None  # the first frame of the output; None: the film's first
    stop: Moment | None  # the frame after the last one; None: to the end
    device: str  # "cpu", "cuda", or "any": whatever a worker has
    key_fingerprint: str | None  # tells one project key from another, and nothing about it; None: the job's own secret
    made_by: str = ""  # program and models; work of one is never mixed with work of another
    publish: Publish | None = None  # None: the submitter takes the film out of the ledger
    version: int = 2

    @property
    def suffix(self) -> str:
        """What kind of file the output is: ".mp4"."""
        name = self.target or (self.publish.name if self.publish else "")
        return PurePosixPath(name).suffix


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One stream of the source, as the report tells it."""

    index: int
    kind: str
    codec: str
    language: str


@dataclass(frozen=True, slots=True)
class SurveyFacts:
    """What a look at a few pictures of the film showed, for an estimate of its cost."""

    frames: int  # of the film, about; 0 where its container doesn't tell
    looked: int  # pictures
    sides: tuple[int, ...]  # px, the longer side of each face on them


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """INGEST: what the source is."""

    sha256: str
    container: str
    codec: str
    pix_fmt: str
    width: int
    height: int
    rotation: int
    frame_rate: Fraction | None
    streams: tuple[StreamRecord, ...]
    survey: SurveyFacts | None = None  # None: nobody looked


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """INDEX: what one linear decode showed."""

    frames: int
    duration: Fraction  # seconds, of all frames
    shots: int
    damaged: int  # frames that the decoder had to conceal
    uncopied: str = ""  # why no group of pictures can be copied; "": some may be, or nobody asked


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """Frames [start, stop) of the film. `pts_sha256` is over their presentation times."""

    index: int
    start: int
    stop: int
    first_pts: int
    end_pts: int
    pts_sha256: str

    @property
    def frames(self) -> int:
        """How many frames."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Plan:
    """PLAN: frames [first, last) become the output, in these chunks."""

    first: int
    last: int
    chunks: tuple[ChunkRecord, ...]

    @property
    def frames(self) -> int:
        """How many frames the output has."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class AnalysisFacts:
    """ANALYSE: what was found in one chunk."""

    tracklets: int
    damaged: int  # frames that the decoder had to conceal
    stages: dict[str, float]  # seconds by stage
    faces: int = 0  # on all frames together


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """One face over a stretch of frames, and what is to become of it."""

    id: int
    person: int
    first: int  # frame numbers of the film, half-open
    last: int
    frames: int
    smallest: int  # longer side of its box, whole pixels
    largest: int
    treatments: dict[str, int]  # frames by treatment: "replace", "cover_small", …
    seen: tuple[int, int] = (0, 0)  # [first, last) between the first and the last sight: the ends are guessed
    best: int = -1  # the frame that shows it best; -1 where that isn't known
    best_box: tuple[int, int, int, int] = (0, 0, 0, 0)  # xyxy px of the coded picture, there


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """LINK: who is in the film. A person is a number here, and their new face a public seed id."""

    people: int
    identities: dict[str, str]  # person number -> seed id
    tracks: tuple[TrackFacts, ...]


@dataclass(frozen=True, slots=True)
class MendFacts:
    """MEND: what was linked, with the edits of reviewers, and which chunks that changes. What isn't changed has the
    edition "": it stays as it was rendered before any edit."""

    linked: LinkFacts
    renders: dict[str, str]  # chunk number -> edition, of those that are changed
    film: str  # edition of the stitched film
    lost: dict[str, int]  # track of a box that was drawn -> how many frames it could be followed


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A group of pictures, as far as it lies in one chunk, and what became of it."""

    first: int  # frame numbers of the film, half-open
    last: int
    time: Fraction  # seconds from the film's first frame to its own
    bytes: int  # of the source's packets
    why: str  # why it was rendered, see `pipeline.copying.clean`; "": it was copied
    score: float  # the highest that the detector gave anything in it
    gate: float  # and that of the leak gate, in it or beside it


@dataclass(frozen=True, slots=True)
class RenderFacts:
    """RENDER: one segment."""

    segment: str  # file name in the unit's folder
    frames: int
    first_pts: int
    last_pts: int
    sha256: str
    bytes: int
    delay: int  # frames by which decoding runs ahead of showing
    encoder: str  # codec, pixel format, CRF and preset, for people
    treated: dict[str, int]  # face frames by treatment: "replace", "cover_small", …
    failures: dict[str, int]  # face frames that were covered because replacing failed, by class of error
    leaks: int  # places that the leak gate found in a first rendering, and that are covered in this one
    stages: dict[str, float]  # seconds by stage
    groups: tuple[GroupFacts, ...] = ()  # where clean ones are copied

    @property
    def copied(self) -> tuple[GroupFacts, ...]:
        """The groups that were."""
        return tuple(group for group in self.groups if not group.why)


@dataclass(frozen=True, slots=True)
class StitchFacts:
    """STITCH: the finished film, compared with its source."""

    film: str  # file name in the unit's folder
    sha256: str
    bytes: int
    frames_in: int
    frames_out: int
    pts_equal: bool
    audio_equal: bool
    rounding: Fraction  # seconds: a tick of the output's clock, where it can't hold the source's times exactly
    streams_lost: tuple[str, ...]
    stripped: tuple[str, ...]
    converted: tuple[str, ...] = ()  # sound, and what it became


@dataclass(frozen=True, slots=True)
class PublishFacts:
    """PUBLISH: where the film and its report are."""

    film: str  # a place: an absolute path, or "s3://bucket/key"; of the store's own, a key
    report: str
    bytes: int


Facts = (
    SourceFacts | IndexFacts | Plan | AnalysisFacts | LinkFacts | MendFacts | RenderFacts | StitchFacts | PublishFacts
)

FACTS: dict[Step, type[Facts]] = {
    Step.INGEST: SourceFacts,
    Step.INDEX: IndexFacts,
    Step.PLAN: Plan,
    Step.ANALYSE: AnalysisFacts,
    Step.LINK: LinkFacts,
    Step.MEND: MendFacts,
    Step.RENDER: RenderFacts,
    Step.STITCH: StitchFacts,
    Step.PUBLISH: PublishFacts,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try failed. `cause` is the class of the error; `trace` is shown with --debug only."""

    cause: str
    what: str
    why: str
    todo: str
    trace: str
    worker: str = ""  # on which the try ran

    @property
    def line(self) -> str:
        """One line for a person."""
        return "; ".join(part for part in (self.what, self.why, self.todo) if part)


def new_id() -> str:
    """A ULID: sorts by time of birth, never the same twice."""
    return _id(time.time_ns() // 1_000_000 << 80 | secrets.randbits(80))


def id_after(moment: float) -> str:
    """What sorts after every id that was made until then: Unix time."""
    return _id((int(moment * 1000) + 1) << 80)


def born(name: str) -> float:
    """When an id was made: Unix time. 0 for what is none."""
    number = 0
    for letter in name[:10]:
        if letter not in _CROCKFORD:
            return 0.0
        number = number << 5 | _CROCKFORD.index(letter)
    return number / 1000


def _id(number: int) -> str:
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def source_of(path: Path) -> Source:
    """The file's facts as they are now; of a folder, those of its pictures. Raises OSError."""
    stat = os.stat(path)
    if S_ISDIR(stat.st_mode):
        each = [(file.name, file.stat()) for file in in_folder(path)]
        told = "\n".join(f"{found.st_size} {found.st_mtime_ns} {name}" for name, found in each)
        version = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return Source(str(path.resolve()), sum(found.st_size for _, found in each), version)
    return Source(str(path.resolve()), stat.st_size, str(stat.st_mtime_ns))
