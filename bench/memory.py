"""Peak memory of the whole command, all its processes together, on a film of one minute and on one of ten.

python bench/memory.py [--minutes 10] [--size 640x512]
"""

import argparse
import sys
from pathlib import Path

from clips import OUT, VIDEOS, talker
from processes import run


def measure(minutes: int, width: int, height: int, videos: Path = VIDEOS) -> list[str]:
    """Lines of a table in Markdown."""
    tools, peaks = Path(sys.executable).parent, []
    lines = [f"{width}x{height}, 25 frames/s", "", "| film | peak MiB | frames/s |", "|---|---|---|"]
    for length in (1, minutes):
        source = talker(videos, 60 * length, width, height)
        done = run([str(tools / "veilfarm"), "swap", str(source), "-o", str(OUT / "memory.mp4"), "--overwrite"])
        if done.code != 0:
            raise SystemExit(f"{length} min failed:\n{done.output[-2000:]}")
        peaks.append(done.peak_mib)
        lines.append(f"| {length} min | {done.peak_mib:.0f} | {60 * length * 25 / done.seconds:.1f} |")
    return [*lines, "", f"the longer film needs {peaks[1] / peaks[0]:.3f} times the memory of the shorter"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--size", default="640x512")
    options = parser.parse_args()
    w, h = (int(v) for v in options.size.split("x"))
    print("\n".join(measure(options.minutes, w, h)))
