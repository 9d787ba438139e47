"""Films of every kind that people have, by construction, each carried through the whole way and held against itself.

    python tests/support/corpus.py [--cases 320] [--seed 1]

Hypothesis draws: container, codec, GOP, B-frames, times, sound and its codec, offsets, subtitles, chapters, tags,
rotation, depth of colour, the output's container and codec. For each, `veilfarm verify`'s comparison has to find every
frame's time, every packet of sound and every stream that the output's container can hold.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from carry import carry, numbers
from filmgen import Film, ffmpeg, make
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from pipeline.beside import holds
from pipeline.kept import MUXERS, is_named
from pipeline.verify import verify

CODECS = {
    "mp4": ("h264", "hevc", "av1", "mpeg4"),
    "mov": ("h264", "hevc"),
    "mkv": ("h264", "hevc", "av1", "vp9"),
    "webm": ("vp9", "av1"),
    "ts": ("h264", "hevc", "mpeg2video"),
    "mpg": ("mpeg2video",),
    "avi": ("mpeg4", "h264"),
    "flv": ("h264",),
    "3gp": ("h264", "mpeg4"),
}
SOUND = {
    "mp4": ("aac", "ac3", "libmp3lame", "libopus", "flac"),
    "mov": ("aac", "ac3", "pcm_s16le"),
    "mkv": ("aac", "ac3", "libmp3lame", "libopus", "flac", "pcm_s16le"),
    "webm": ("libopus",),
    "ts": ("mp2", "aac", "ac3", "libmp3lame"),
    "mpg": ("mp2", "ac3"),
    "avi": ("mp2", "libmp3lame", "pcm_s16le", "ac3"),
    "flv": ("aac", "libmp3lame"),
    "3gp": ("aac",),
}
TARGETS = {
    "mp4": ("h264", "hevc", "av1"),
    "mov": ("h264", "hevc"),
    "mkv": ("h264", "hevc", "av1"),
    "ts": ("h264", "hevc"),
}
RICH = ("mp4", "mov", "mkv")  # those that hold what ffmpeg then adds: subtitles, chapters, tags, a rotation
DEEP = {"h264": ("yuv420p10le", "yuv422p"), "hevc": ("yuv420p10le",)}
TEXT = "1\n00:00:00,100 --> 00:00:00,500\nGood morning\n\n2\n00:00:00,600 --> 00:00:00,900\nand good night\n"
TAGS = ";FFMETADATA1\ntitle=A film\ncomment=told twice\n"
CHAPTERS = "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
    for start, end, title in ((0, 300, "First"), (300, 700, "Second"))
)


@dataclass(frozen=True)
class Case:
    """A film, what is added to it, and what it becomes."""

    film: Film
    subtitles: str  # FFmpeg's encoder; "" for none
    chapters: bool
    rotation: int  # degrees
    fragmented: bool
    suffix: str
    codec: str

    @property
    def kind(self) -> str:
        """For a table."""
        return f"{self.film.container} to {self.suffix}"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any of them that can be made."""
    container = draw(st.sampled_from(sorted(CODECS)))
    codec = draw(st.sampled_from(CODECS[container]))
    plain = container in ("avi", "mpg", "flv") or codec in ("mpeg2video", "mpeg4")
    rich = container in RICH and draw(st.booleans())
    suffix = draw(st.sampled_from(sorted(TARGETS)))
    # libavformat guesses times in an MPEG-PS of a few packs, and takes a short MPEG-TS for something else.
    more = 16 * (container == "mpg") + 8 * (suffix == "ts")
    film = Film(
        container=container,
        codec=codec,
        frames=more + draw(st.integers(4, 30)),
        gop=draw(st.sampled_from([1, 4, 9, 100])),
        open_gop=draw(st.booleans()),
        b_frames=draw(st.integers(0, 3)),
        pattern="cfr" if plain else draw(st.sampled_from(["cfr", "ntsc", "vfr"])),
        sound=draw(st.integers(0, 1 if container in ("flv", "3gp") else 3)),
        delay=draw(st.sampled_from([Fraction(0), Fraction(1, 5), Fraction(337, 1000)])),
        pix_fmt=draw(st.sampled_from(("yuv420p", *(DEEP.get(codec, ()) if container in RICH else ())))),
        audio=draw(st.sampled_from(SOUND[container])),
    )
    text = {"mp4": ("mov_text",), "mov": ("mov_text",), "mkv": ("srt", "ass")}.get(container, ("",))
    return Case(
        film,
        draw(st.sampled_from(("", *text))) if rich else "",
        rich and draw(st.booleans()),
        draw(st.sampled_from([0, 90, 180, 270])) if rich else 0,
        rich and container != "mkv" and draw(st.booleans()),
        suffix,
        draw(st.sampled_from(TARGETS[suffix])),
    )


def build(case: Case, folder: Path) -> Path:
    """The film of a case."""
    source = make(case.film, folder / f"film.{case.film.container}")
    if not (case.subtitles or case.chapters or case.rotation or case.fragmented):
        return source
    rich, text, tags = folder / f"rich{source.suffix}", folder / "text.srt", folder / "tags.txt"
    text.write_text(TEXT)
    tags.write_text(TAGS + (CHAPTERS if case.chapters else ""))
    inputs: list[str | Path] = ["-display_rotation", str(case.rotation)] if case.rotation else []
    inputs += ["-copyts", "-i", source, "-i", tags]
    maps = ["-map", "0", "-map_metadata", "1", "-map_chapters", "1", "-c", "copy"]
    if case.subtitles:
        inputs += ["-i", text]
        maps += ["-map", "2", "-c:s", case.subtitles, "-metadata:s:s:0", "language=spa"]
    if case.fragmented:
        maps += ["-movflags", "frag_keyframe+empty_moov+delay_moov"]
    ffmpeg(*inputs, *maps, rich)
    return rich


def unheld(source: Path, suffix: str) -> int:
    """How many of the source's streams the output's container can't hold."""
    with av.open(source) as container:
        others = [s for s in container.streams if s.type in ("audio", "subtitle", "attachment")]
        muxer = MUXERS[f".{suffix}"]
        names = [s.codec_context.codec.canonical_name if s.codec_context is not None else "" for s in others]
        return sum(not (is_named(muxer, name) and holds(muxer, s)) for name, s in zip(names, others, strict=True))


def judge(case: Case, folder: Path) -> list[str]:
    """What isn't as it must be, one line each."""
    source, target = build(case, folder), folder / f"out.{case.suffix}"
    info, index = carry(source, target, case.codec)
    wrong = [] if numbers(info, index) == list(range(case.film.frames)) else ["other frames than were made"]
    lost = unheld(source, case.suffix)
    for check in verify(source, target, threads=1).checks:
        excused = lost and check.name == "streams" and len(check.items) == lost
        excused = excused or (lost and check.name == "sound" and check.told.startswith("of "))
        excused = excused or (check.name in ("tags", "chapters") and case.suffix == "ts")  # which has neither
        if not check.good and not excused:
            wrong.append(f"{check.name}: {check.told}")
    return wrong


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A folder for one case."""
    folder = Path(tempfile.mkdtemp(prefix="veil-corpus-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Exit code: whether all came out as they went in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    done, bad, seen = Counter[str](), Counter[str](), set[Case]()

    @seed(options.seed)
    @settings(
        max_examples=options.cases, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        database=None,
    )  # fmt: skip
    @given(cases())
    def one(case: Case) -> None:
        if case in seen:
            return
        seen.add(case)
        done[case.kind] += 1
        with place() as folder:
            try:
                wrong = judge(case, folder)
            except Exception as error:  # noqa: BLE001 it is told beside the case
                wrong = [f"{type(error).__name__}: {error}"]
        if wrong:
            bad[case.kind] += 1
            print(f"{case}\n    " + "\n    ".join(wrong), flush=True)

    one()
    print("| from, to | films | not as they were |\n|---|---|---|")
    for kind in sorted(done):
        print(f"| {kind} | {done[kind]} | {bad[kind]} |")
    print(f"| all | {len(seen)} | {bad.total()} |")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
