"""All benchmarks of the main job, one after the other; tables go to the screen and to bench/out/results.md.

    python bench/run.py [speed] [left] [privacy] [recall] [memory]

deface, the peer, is installed by the extra `bench`: `.venv/bin/pip install -e .[bench]` (`make bench` does it). The
part `privacy` fetches two networks with npm.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = {
    "speed": ["speed.py"],
    "left": ["left.py"],
    "privacy": ["privacy"],
    "recall": ["recall.py", str(HERE.parent.parent / "shared" / "data" / "videos")],
    "memory": ["memory.py"],
}


def main(names: list[str]) -> int:
    """0 when every part ran and reached what it must."""
    unknown = [n for n in names if n not in PARTS]
    if unknown:
        print(f"bench: no part is called {unknown[0]}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    (HERE / "out").mkdir(exist_ok=True)
    failed = 0
    with (HERE / "out" / "results.md").open("w", encoding="utf-8") as results:
        for name in names or list(PARTS):
            script, *arguments = PARTS[name]
            done = subprocess.run(
                [sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True, check=False
            )
            text = f"## {name}\n\n{done.stdout}\n"
            print(text, flush=True)
            results.write(text)
            results.flush()
            failed += done.returncode != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
