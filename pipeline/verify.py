"""Hold any two films against each other: what must be the same, what was left out on purpose, what is lost."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipeline import kept, video
from pipeline.compare import Comparison, compare
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.intact import check_file
from pipeline.probe import STILL, choose
from pipeline.reading import open_input
from pipeline.stills.album import Album
from pipeline.stills.finish import as_film
from pipeline.stills.held import hold
from pipeline.stills.kinds import is_pictures

Tags = tuple[tuple[str, str], ...]

_CHAPTER = Fraction(1, 500)  # seconds: containers count milliseconds, and round begin and shift


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was held against the source. `told`: one line; `items`: what it is about, if that has names."""

    name: str
    good: bool
    told: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """All of them."""

    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        """Whether nothing is lost, and nothing that identifies people was left in."""
        return all(check.good for check in self.checks)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What a file holds beside pictures and sound."""

    tags: Tags
    stream_tags: Tags  # of all streams
    chapters: tuple[tuple[str, Fraction], ...]  # their titles, and the seconds at which they begin
    timecode: str  # of the first frame; "" for none
    pictures: int  # cover art and thumbnails
    videos: int


def verify(
    source: Path, output: Path, span: Callable[[FrameIndex], tuple[int, int]] | None = None, threads: int = 0
) -> Verified:
    """Compare; decodes both films once. `span`: which frames [first, last) of the source `output` has; None: all.
    Raises InputErrors for what is no film."""
    with tempfile.TemporaryDirectory(prefix="veil-verify-") as work:
        info = video.ingest(source, Path(work))
        if not (info.pictures and is_pictures(output)):
            _check_output(output)
        index = video.index(info, threads=threads)
        first, last = span(index) if span is not None else (0, len(index))
        if info.pictures and is_pictures(output):
            album = Album.load(info.path.parent)
            return Verified(tuple(Check(*each) for each in hold(source, output, album, first, last)))
        info = as_film(info)
        found = compare(info, output, index, first, last, threads)
        before, after = _beside(info.source), _beside(output)
    whole = (first, last) == (0, len(index))
    return Verified(
        (
            *_pictures(found),
            _sound(found, info),
            _streams(found),
            _contents(found),
            *_converted(found),
            _tags(before, after),
            *([_chapters(before, after, found.shift), _timecode(before, after)] if whole else []),
            _left_in(after),
            Check("left out on purpose", True, _told(found.stripped), found.stripped),
        )
    )


def _check_output(output: Path) -> None:
    check_file(output)
    with open_input(output) as container:
        choose(container, output)


def _pictures(found: Comparison) -> tuple[Check, ...]:
    frames = found.frames_in == found.frames_out
    rounding = f" within {float(found.rounding) * 1000:g} ms, a tick of the output's clock" if found.rounding else ""
    shift = f", all moved by {float(found.shift):g} s" if found.shift else ""
    times = f"equal{rounding}{shift}" if found.pts_equal else "not those of the source"
    damaged = f"{found.damaged_out} frames are damaged" if found.damaged_out else "without fault"
    return (
        Check("frames", frames, f"{found.frames_out} of {found.frames_in}"),
        Check("frame times", found.pts_equal, times),
        Check("decodes", not found.damaged_out, damaged),
    )


def _sound(found: Comparison, info: VideoInfo) -> Check:
    tracks = sum(stream.kind == "audio" for stream in info.streams)
    if not tracks:
        return Check("sound", True, "there is none")
    if found.sound_changed:
        return Check("sound", False, "not the packets, or not the times, of the source")
    if not found.audio_equal and found.converted and not any(" audio " in lost for lost in found.streams_lost):
        return Check("sound", True, f"of {tracks} tracks, {len(found.converted)} of another kind")
    if not found.audio_equal:
        return Check("sound", False, f"of {tracks} tracks not all are there")
    return Check("sound", True, f"every packet of {tracks} track{'s' if tracks > 1 else ''} is the same")


def _streams(found: Comparison) -> Check:
    return Check(
        "streams",
        not found.streams_lost,
        _told(found.streams_lost, "lost: ") if found.streams_lost else "all are there",
        found.streams_lost,
    )


def _converted(found: Comparison) -> tuple[Check, ...]:
    told = _told(found.converted)
    return (Check("of another kind", True, told, found.converted),) if found.converted else ()


def _contents(found: Comparison) -> Check:
    """Of subtitles, data and attachments, and of what was converted."""
    changed = tuple(name for name in found.changed if " audio " not in name or name in _became(found))
    told = _told(changed, "not as in the source: ") if changed else "those of the source, at its times"
    return Check("contents of streams", not changed, told, changed)


def _became(found: Comparison) -> set[str]:
    return {each.split(":")[0] for each in found.converted}


def _beside(path: Path) -> _Beside:
    with open_input(path) as container:
        films = [s for s in container.streams if s.type == "video"]
        stills = sum(bool(int(s.disposition) & STILL) for s in films)
        chapters = tuple(
            (str(each["metadata"].get("title", "")), each["start"] * Fraction(each["time_base"] or 0))
            for each in container.chapters()
        )
        tagged = (container.metadata, *(stream.metadata for stream in container.streams))
        every = (each for tags in tagged for each in tags.items())
        timecode = next((value for key, value in every if key.lower() == "timecode"), "")
        of_streams = tuple(tag for stream in container.streams for tag in stream.metadata.items())
        return _Beside(tuple(container.metadata.items()), of_streams, chapters, timecode, stills, len(films) - stills)


def _tags(before: _Beside, after: _Beside) -> Check:
    """Names of tags are compared in any case: Matroska has capitals."""
    there = {name.lower(): value for name, value in after.tags}
    wanted = kept.tags(before.tags)
    lost = tuple(name for name, value in wanted.items() if not _same(there.get(name.lower()), value))
    told = _told(lost, "lost: ") if lost else f"all {len(wanted)} are there" if wanted else "there are none"
    return Check("tags", not lost, told, lost)


def _same(value: str | None, wanted: str) -> bool:
    """Containers spell times with more or fewer digits."""
    one, other = (text.strip().removesuffix("Z").rstrip("0.") for text in (value or "", wanted))
    return value is not None and one == other


def _chapters(before: _Beside, after: _Beside, shift: Fraction) -> Check:
    good = len(before.chapters) == len(after.chapters) and all(
        title == other and abs(start + shift - begin) <= _CHAPTER
        for (title, start), (other, begin) in zip(before.chapters, after.chapters, strict=True)
    )
    told = f"all {len(before.chapters)} are there" if before.chapters else "there are none"
    other = f"{len(after.chapters)} of {len(before.chapters)}, or other names or times"
    return Check("chapters", good, told if good else other)


def _timecode(before: _Beside, after: _Beside) -> Check:
    good = before.timecode.replace(";", ":") == after.timecode.replace(";", ":")
    told = before.timecode or "there is none"
    return Check("timecode", good, told if good else f"{after.timecode or 'none'} instead of {told}")


def _left_in(after: _Beside) -> Check:
    found = [f"tag {name}" for name in kept.stripped_tags(after.tags)]
    found += [f"tag {name} of a stream" for name in kept.stripped_tags(after.stream_tags)]
    found += [f"{after.pictures} pictures"] if after.pictures else []
    found += [f"{after.videos - 1} more videos"] if after.videos > 1 else []
    told = _told(found, "left in: ") if found else "none was left in"
    return Check("what identifies", not found, told, tuple(found))


def _told(names: Iterable[str], before: str = "") -> str:
    text = ", ".join(names)
    return f"{before}{text}" if text else "nothing"
