"""Decode a HEIC once in a process of its own: on some broken files its decoder crashes, and takes the process along.

Run as a file, so that nothing but the decoder has to be loaded.
"""

import functools
import subprocess
import sys
from pathlib import Path

from PIL import Image

_SECONDS = 60
_MEMORY = 4 << 30  # bytes of address space: sizes that a broken file tells may be anything


def stands(path: Path) -> bool:
    """Whether the decoder survives the file; whether it likes it, it tells by itself."""
    facts = path.stat()
    return _stands(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _stands(path: Path, _size: int, _changed: int) -> bool:
    command = [sys.executable, "-P", __file__, str(path)]
    try:
        ran = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return ran.returncode == 0


def _decode(path: str) -> None:
    import resource

    import pi_heif

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pi_heif.register_heif_opener(decode_threads=1)
    try:
        with Image.open(path, formats=("HEIF",)) as image:
            image.load()
    except Exception:  # noqa: BLE001  said in full to who opens it next
        return


if __name__ == "__main__":
    _decode(sys.argv[1])
