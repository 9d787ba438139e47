"""Frames per second of a whole command on a 1080p talking head, beside deface 1.5 with its default options.

    python bench/speed.py [--seconds 20] [--runs 3]

Both get the same film and both write H.264; deface drops the sound by default, Veilfarm keeps it. The commands take
turns, and the ratio is taken pair by pair: the machines are shared.
"""

import argparse
import statistics
import sys
from pathlib import Path

from clips import OUT, VIDEOS, talker
from processes import Run, run


def commands(source: Path) -> dict[str, list[str]]:
    """By name."""
    tools = Path(sys.executable).parent
    ours, peer = OUT / "speed_veilfarm.mp4", OUT / "speed_deface.mp4"
    return {
        "veilfarm": [str(tools / "veilfarm"), "swap", str(source), "-o", str(ours), "--overwrite"],
        "deface": [str(tools / "deface"), str(source), "-o", str(peer)],
    }


def measure(seconds: int, runs: int, videos: Path = VIDEOS) -> list[str]:
    """Lines of a table in Markdown."""
    source = talker(videos, seconds, 1920, 1080)
    frames = seconds * 25
    results: dict[str, list[Run]] = {name: [] for name in commands(source)}
    for _ in range(runs):
        for name, command in commands(source).items():
            done = run(command)
            if done.code != 0:
                raise SystemExit(f"{name} failed:\n{done.output[-2000:]}")
            results[name].append(done)
    lines = [
        f"1920x1080, {frames} frames, whole process, {runs} run(s), median",
        "",
        "| | frames/s | CPU ms/frame | peak MiB |",
        "|---|---|---|---|",
    ]
    for name, done in results.items():
        rate = frames / statistics.median(r.seconds for r in done)
        cpu = 1000 * statistics.median(r.cpu_seconds for r in done) / frames
        lines.append(f"| {name} | {rate:.2f} | {cpu:.0f} | {statistics.median(r.peak_mib for r in done):.0f} |")
    pairs = [d.seconds / v.seconds for v, d in zip(results["veilfarm"], results["deface"], strict=True)]
    lines += [
        "",
        f"times deface's frames per second: {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})",
    ]
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print("\n".join(measure(options.seconds, options.runs)))
