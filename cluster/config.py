"""What a command was asked to do, checked: names into values, and defaults from the machine."""

import hashlib
import hmac
import re
import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cluster import processes
from cluster.job import Encoding, Moment, Veil
from cluster.localray import PoolSettings
from pipeline.errors import PipelineError
from pipeline.stills.kinds import READ_SUFFIXES, SUFFIXES, written


class UsageError(PipelineError):
    """The command line asks for something that can't be."""


@dataclass(frozen=True, slots=True)
class Request:
    """`veilfarm swap`, as it was typed. There is no way in for a face: see the test of the first promise."""

    inputs: tuple[Path, ...]
    output: Path
    veil: Veil = Veil.NOBODY
    seed_key: Path | None = None
    quality: str = "good"
    codec: str | None = None  # None: what the output's container takes best
    drop_dynamic_hdr: bool = False
    convert_audio: bool = False
    convert_subtitles: bool = False
    copy_clean: bool = False
    start: Moment | None = None
    stop: Moment | None = None
    workers: int | None = None  # None: as many as the machine is good for
    device: str = "auto"
    report: Path | None = None
    overwrite: bool = False
    resume: bool = False
    work: Path | None = None


LISTEN = "127.0.0.1:8470"  # where a farm's HTTP API listens unless told otherwise
CODECS = ("h264", "hevc", "av1")
# Help of switches that `swap` and `submit` share.
DROP_DYNAMIC_HDR = "Go on without Dolby Vision's and HDR10+'s metadata. Default: such a film is refused."
CONVERT_AUDIO = "Convert sound that the output can't hold to AAC or Opus. Default: it is left out."
CONVERT_SUBTITLES = "Convert text that the output can't hold to text that it can. Default: it is left out."
COPY_CLEAN = "Keep the source's bits where nobody is seen. A face that nothing finds stays sharp there. Default: no."
# What a name means: CRF above or below the encoder's own default, and the preset; None is the one that
# `EncoderSettings.for_source` finds best for its time.
_QUALITY = {"draft": (7, "superfast"), "good": (0, None), "best": (-3, "medium")}
QUALITIES = tuple(_QUALITY)
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_MOST_CRF = {"h264": 51, "hevc": 51, "av1": 63}

_CONTAINERS = {  # by extension: codecs that it may hold
    ".mp4": CODECS,
    ".m4v": CODECS,
    ".mov": ("h264", "hevc"),
    ".mkv": CODECS,
    ".webm": ("av1",),
}
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".avi"}
    | {".3gp", ".wmv", ".flv", ".ogv", ".mxf"}
)
PICTURE_SUFFIXES = SUFFIXES  # that can be written
PICTURE_SOURCES = READ_SUFFIXES
_DEFAULT_SUFFIX = ".mp4"


def output_suffix(source: Path) -> str:
    """The extension of an output that is named after its source. What can't hold exact times becomes MP4."""
    source = Path(written(source.name))
    return source.suffix if source.suffix.lower() in (*_CONTAINERS, *PICTURE_SUFFIXES) else _DEFAULT_SUFFIX


def encoding(
    quality: str,
    codec: str | None,
    target: Path,
    drop_dynamic_hdr: bool = False,
    convert_audio: bool = False,
    convert_subtitles: bool = False,
    copy_clean: bool = False,
) -> Encoding:
    """Encoder settings for a quality, which is a name or "CRF" or "CRF:preset". Raises UsageError."""
    known = " ".join((*_CONTAINERS, *sorted(PICTURE_SUFFIXES)))
    if target.suffix.lower() in PICTURE_SUFFIXES:
        return pictures(codec)
    codecs = _CONTAINERS.get(target.suffix.lower())
    if codecs is None:
        raise UsageError(f"{target}: can't write this kind of file", f"known are {known}", "choose one of them")
    if codec is not None and codec not in codecs:
        why = f"{target.suffix} takes {', '.join(codecs)}"
        raise UsageError(f"--codec {codec} doesn't go into {target.name}", why, "change one of the two")
    if codec is None and len(codecs) == 1:
        codec = codecs[0]
    if quality in _QUALITY:
        offset, preset = _QUALITY[quality]
        return Encoding(codec, None, offset, preset, drop_dynamic_hdr, convert_audio, convert_subtitles, copy_clean)
    match = re.fullmatch(r"(\d{1,2})(?::(\w+))?", quality)
    if match is None:
        names = ", ".join(QUALITIES)
        raise UsageError(f"--quality {quality} is unknown", f"it is {names}, a CRF, or CRF:preset", "give one of these")
    most = _MOST_CRF[codec or "h264"]
    if not 1 <= int(match[1]) <= most:
        raise UsageError(f"--quality {quality}: no such CRF", f"{codec or 'the codec'} takes 1 to {most}", "give one")
    preset = match[2]
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"--quality {quality}: no such preset", f"known are {' '.join(PRESETS)}", "choose one of them")
    return Encoding(codec, int(match[1]), 0, preset, drop_dynamic_hdr, convert_audio, convert_subtitles, copy_clean)


def pictures(codec: str | None) -> Encoding:
    """Of pictures that become pictures: nothing is lost on the way. Raises UsageError."""
    if codec is not None:
        raise UsageError(f"--codec {codec} is for films", "pictures become pictures", "leave it out")
    return Encoding(None, None, 0, None)


def check_kinds(source: Path, target: Path) -> None:
    """A film doesn't become a picture; what its name doesn't tell is told at ingest. Raises UsageError."""
    if source.suffix.lower() in VIDEO_SUFFIXES and target.suffix.lower() in PICTURE_SUFFIXES:
        why = f"{source.name} is a film, and {target.suffix} holds pictures"
        raise UsageError(f"{target}: can't write this kind of file", why, "use .mp4, or another film's")


def is_film(name: Path) -> bool:
    """Whether a file of this name would be a film that can be written."""
    return name.suffix.lower() in _CONTAINERS


def moment(text: str) -> Moment:
    """A time ("12.5", "1:02:03.25") or a frame number ("120f"). Raises UsageError."""
    if match := re.fullmatch(r"(\d+)f", text):
        return Moment(None, int(match[1]))
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)", text)
    if match is None:
        why = "it is seconds, [H:]MM:SS.mmm, or a frame as in 120f"
        raise UsageError(f"{text!r} is no time", why, "give one of these")
    hours, minutes, seconds = int(match[1] or 0), int(match[2] or 0), Fraction(match[3])
    return Moment((hours * 60 + minutes) * 60 + seconds, None)


KEY_BYTES = 16  # the fewest that a project key may have


def project_key(path: Path) -> tuple[str, str | None]:
    """(fingerprint, warning) of the key in a file. The key itself is read again by the worker that needs it.
    Raises UsageError."""
    todo = "make one with: head -c 32 /dev/urandom > KEYFILE"
    try:
        key, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise UsageError(f"--seed-key {path} can't be read", error.strerror or str(error), todo) from error
    if len(key) < KEY_BYTES:
        raise UsageError(f"--seed-key {path} is too short", f"it has {len(key)} bytes, {KEY_BYTES} are needed", todo)
    fingerprint = hmac.new(key, b"veilfarm: which project key is this", hashlib.sha256).hexdigest()[:16]
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return fingerprint, f"others can read the key {path}; protect it with: chmod 600 {path}"
    return fingerprint, None


_WORKER_BYTES = 2 * 1024**3  # what a worker may need at 4K: the networks, and a bounded number of pictures
_CORES_PER_GPU_WORKER = 4  # the encoder's share; H100 and H200 have none of their own


def pool_settings(workers: int | None, device: str, gpus: int) -> PoolSettings:
    """Workers and threads for this machine. On CPUs one worker per core, as far as the memory goes."""
    cores = processes.cores()
    if workers is None:
        most = max(1, processes.memory() // _WORKER_BYTES)
        workers = max(1, cores // _CORES_PER_GPU_WORKER) if device == "cuda" else min(cores, most)
    return PoolSettings(workers, max(1, cores // workers), gpus if device == "cuda" else 0)
