"""Broken films: bits flipped, ends cut off, parts swapped, removed, doubled or blanked. Taken in, indexed and decoded.

    python tests/support/fuzz.py [--inputs 2000] [--seed 1]

Each input goes through a process of its own, with limits of time and memory. It may be used, with what was lost
counted, or refused with one clear line. It may not hang, crash, run out of memory, or end in an error that says
nothing; and what was cut off may not pass for whole.
"""

import argparse
import os
import pickle
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filmgen import Film, ffmpeg, make

from pipeline import video
from pipeline.decode import read
from pipeline.errors import PipelineError

CPU_SECONDS, WALL_SECONDS, BYTES = 30, 120, 2 << 30
FILMS = (
    Film("mp4", "h264", frames=20, gop=8, b_frames=2),
    Film("mov", "hevc", frames=16, gop=8),
    Film("mkv", "h264", frames=20, gop=8, pattern="vfr"),
    Film("webm", "vp9", frames=16, gop=8),
    Film("ts", "h264", frames=20, gop=8),
    Film("mpg", "mpeg2video", frames=24, gop=8),
    Film("avi", "mpeg4", frames=20, gop=8, b_frames=0),
    Film("flv", "h264", frames=20, gop=8, audio="aac"),
    Film("mp4", "av1", frames=16, gop=8),
)
SELF_TIMED = ("mp4", "mov", "mkv", "webm", "avi")  # they say how much there is: a cut can't go unseen


@dataclass(frozen=True)
class Outcome:
    """How one input ended."""

    kind: str  # "used", "refused", "crashed", "hung", "wrong"
    told: str = ""
    frames: int = 0
    damaged: int = 0


def flipped(data: bytearray, rng: random.Random) -> None:
    """Some bits anywhere, or all near one place."""
    near = rng.randrange(len(data)) if rng.random() < 0.5 else None
    for _ in range(rng.choice((1, 4, 16, 64))):
        place = rng.randrange(len(data)) if near is None else min(len(data) - 1, near + rng.randrange(200))
        data[place] ^= 1 << rng.randrange(8)


def headed(data: bytearray, rng: random.Random) -> None:
    """Bytes of the first or the last part, where headers and tables are."""
    span = min(len(data), 3000)
    start = rng.choice((0, len(data) - span))
    for _ in range(rng.choice((1, 3, 10))):
        data[start + rng.randrange(span)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def cut(data: bytearray, rng: random.Random) -> None:
    """Without its end."""
    del data[rng.randrange(len(data)) :]


def swapped(data: bytearray, rng: random.Random) -> None:
    """Two parts change places: boxes of an MP4, or else blocks."""
    parts = _boxes(bytes(data))
    if len(parts) < 3:
        step = rng.choice((188, 512, 2048))
        parts = [(start, min(len(data), start + step)) for start in range(0, len(data), step)]
    if len(parts) < 2:
        return
    (a, b), (c, d) = sorted(rng.sample(parts, 2))
    data[:] = data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _boxes(data: bytes) -> list[tuple[int, int]]:
    """Of the top level of an MP4, and of its moov; [] of another file."""
    if data[4:8] != b"ftyp":
        return []
    found = list[tuple[int, int]]()
    todo = [(0, len(data))]
    while todo:
        place, end = todo.pop()
        while place + 8 <= end:
            size = int.from_bytes(data[place : place + 4], "big")
            if size < 8 or place + size > end:
                break
            found.append((place, place + size))
            if data[place + 4 : place + 8] in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
                todo.append((place + 8, place + size))
            place += size
    # Only such as don't hold one another can change places.
    return [box for box in found if not any(a <= box[0] and box[1] <= b and (a, b) != box for a, b in found)] + [
        box for box in found if any(box[0] == a + 8 for a, _ in found)
    ]


def removed(data: bytearray, rng: random.Random) -> None:
    """A part is missing in the middle."""
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 7, 188, 4000))]


def doubled(data: bytearray, rng: random.Random) -> None:
    """A part comes twice."""
    start = rng.randrange(len(data))
    part = data[start : start + rng.choice((1, 7, 188, 4000))]
    data[start:start] = part


def blanked(data: bytearray, rng: random.Random) -> None:
    """A part is all zeros, as after a copy that broke off."""
    start, length = rng.randrange(len(data)), rng.choice((16, 188, 4000))
    data[start : start + length] = bytes(len(data[start : start + length]))


CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flipped, headed, cut, swapped, removed, doubled, blanked,
)  # fmt: skip


def through(path: Path, work: Path) -> Outcome:
    """Ingest, index and decode."""
    try:
        info = video.ingest(path, work)
        index = video.index(info, threads=1)
        seen = sum(1 for _ in read(info, index, 0, len(index)))
    except PipelineError as error:
        line = str(error)
        clear = "\n" not in line and len(line) < 500 and str(path.name) in line and bool(error.todo)
        return Outcome("refused" if clear else "wrong", line)
    if seen != len(index):
        return Outcome("wrong", f"{seen} of {len(index)} frames were read again")
    return Outcome("used", "", seen, index.damaged)


def apart(path: Path, work: Path) -> Outcome:
    """`through` in a process of its own."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _child(path, work, theirs)
    os.close(theirs)
    data, end = b"", time.monotonic() + WALL_SECONDS
    while select.select([ours], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(ours, 1 << 16)
        if not part:
            break
        data += part
    else:
        os.kill(child, signal.SIGKILL)
    os.close(ours)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hung = number in (signal.SIGKILL, signal.SIGXCPU)
        return Outcome("hung" if hung else "crashed", signal.Signals(number).name)
    outcome: Outcome = pickle.loads(data) if data else Outcome("crashed", f"exit code {os.WEXITSTATUS(status)}")
    return outcome


def _child(path: Path, work: Path, pipe: int) -> None:
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            outcome = through(path, work)
        except BaseException as error:  # noqa: BLE001 whatever it is, it is no clear line
            outcome = Outcome("crashed", f"{type(error).__name__}: {error}"[:300])
        os.write(pipe, pickle.dumps(outcome))
        code = 0
    finally:
        os._exit(code)


def originals(folder: Path) -> list[tuple[Film, bytes]]:
    """The films before anything happens to them; one of them in fragments."""
    made = [(film, make(film, folder / f"{k}.{film.container}")) for k, film in enumerate(FILMS)]
    pieces = folder / "pieces.mp4"
    ffmpeg("-i", made[0][1], "-c", "copy", "-movflags", "frag_keyframe+empty_moov+delay_moov", pieces)
    return [(film, path.read_bytes()) for film, path in [*made, (FILMS[0], pieces)]]


def fuzz(inputs: int, seed: int, told: Callable[[str], None] = print) -> tuple[Counter[tuple[str, str]], int]:
    """(inputs by change and outcome, how many of them are bad)."""
    counts, bad, rng = Counter[tuple[str, str]](), 0, random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="veil-broken-"))
    try:
        films = originals(folder)
        for number in range(inputs):
            film, data = films[number % len(films)]
            change = CHANGES[number // len(films) % len(CHANGES)]
            broken = bytearray(data)
            change(broken, rng)
            path, work = folder / f"broken.{film.container}", folder / "work"
            path.write_bytes(broken)
            outcome = apart(path, work)
            shutil.rmtree(work, ignore_errors=True)
            fewer = outcome.kind == "used" and outcome.frames < film.frames and not outcome.damaged
            if change is cut and fewer and film.container in SELF_TIMED:
                outcome = Outcome("wrong", f"{outcome.frames} of {film.frames} frames pass for all")
            counts[change.__name__, outcome.kind] += 1
            if outcome.kind not in ("used", "refused"):
                bad += 1
                kept = Path(tempfile.gettempdir()) / f"veil-broken-{seed}-{number}.{film.container}"
                kept.write_bytes(broken)
                told(
                    f"{number} {change.__name__} {film.container} {film.codec}: {outcome.kind}, {outcome.told} ({kept})"
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return counts, bad


def main() -> int:
    """Exit code: whether all were used or refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    counts, bad = fuzz(options.inputs, options.seed)
    kinds = ("used", "refused", "wrong", "crashed", "hung")
    print("| change | " + " | ".join(kinds) + " |\n|" + "---|" * (len(kinds) + 1))
    for change in CHANGES:
        print(f"| {change.__name__} | " + " | ".join(str(counts[change.__name__, kind]) for kind in kinds) + " |")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
