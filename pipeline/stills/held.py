"""Any two files or folders of pictures held against each other, by who doesn't know what was changed in them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.stills import reading
from pipeline.stills.album import Album
from pipeline.stills.kinds import in_folder

Finding = tuple[str, bool, str, tuple[str, ...]]  # name, whether it is well, in words, what it is about


@dataclass(slots=True)
class _Count:
    """What was seen so far."""

    before: int = 0
    after: int = 0
    sizes: list[str] = field(default_factory=list)  # pictures of another size
    clear: list[str] = field(default_factory=list)  # of another transparency
    pixels: int = 0
    same: int = 0
    apart: float = 0.0  # sum of levels


def hold(source: Path, output: Path, album: Album, first: int, last: int) -> Iterator[Finding]:
    """Everything but what faces became: that is told as a share of pixels. Reads both once, one picture at a time.
    Raises InputErrors."""
    names = album.names[first:last]
    before = [source / name for name in names] or [source]
    after = in_folder(output) if output.is_dir() else [output]
    looks, seen = [reading.look(path) for path in before], [reading.look(path) for path in after]
    count = _counted(before, after, first if not names else 0, last - first)
    yield "pictures", count.before == count.after, f"{count.after} of {count.before}", ()
    if names:
        good = list(album.written[first:last]) == [path.name for path in after]
        yield "names", good, "as the source's" if good else "not as the source's", ()
    yield "sizes", not count.sizes, _told(count.sizes, "equal"), tuple(count.sizes)
    if album.moves:
        wanted, found = album.delays[first:last], seen[0].structure.delays or album.delays[first:last][:1]
        good = len(wanted) == len(found) and all(abs(a - b) <= 0.005 for a, b in zip(wanted, found, strict=True))
        yield "times", good, "equal" if good else "not those of the source", ()
        good = len(wanted) < 2 or seen[0].structure.plays == album.plays
        yield "played", good, "as often" if good else "another number of times", ()
    yield "transparency", not count.clear, _told(count.clear, "equal"), tuple(count.clear)
    lost = [a.name for a, one, other in zip(before, looks, seen, strict=False) if one.icc and one.icc != other.icc]
    held = all(path.suffix.lower() not in (".gif", ".bmp") for path in after)
    yield "colour profile", not (lost and held), _told(lost, "the same, or none"), tuple(lost)
    share, mean = count.same / max(1, count.pixels), count.apart / max(1, count.pixels)
    yield "pixels", True, f"{share:.2%} are the same; they differ by {mean:.2f} levels on average", ()
    left = sorted({name for each in seen for name in each.beside})
    yield "nothing that identifies", not left, f"left in: {', '.join(left)}" if left else "nothing", tuple(left)
    yield "left out on purpose", True, ", ".join(album.stripped) or "nothing", album.stripped


def _told(wrong: list[str], well: str) -> str:
    return f"not of {len(wrong)} pictures" if wrong else well


def _counted(before: list[Path], after: list[Path], first: int, most: int) -> _Count:
    count = _Count()
    ours = (picture for path in before for picture in reading.pictures(path, first))
    theirs = (picture for path in after for picture in reading.pictures(path))
    for number, (one, other) in enumerate(zip_longest(ours, theirs)):
        inside = number < most
        count.before += one is not None and inside
        count.after += other is not None
        if one is None or other is None or not inside:
            continue
        if one.size != other.size:
            count.sizes.append(f"picture {first + number}")
            continue
        _compare(one, other, f"picture {first + number}", count)
    return count


def _compare(one: Image.Image, other: Image.Image, name: str, count: _Count) -> None:
    a, b = (np.asarray(image.convert("RGBA")).astype(np.int16) for image in (one, other))
    apart = np.abs(a - b)
    seen = (a[..., 3] > 0) | (b[..., 3] > 0)
    if ((a[..., 3] < 128) != (b[..., 3] < 128)).any():
        count.clear.append(name)
    differs = apart[..., :3].max(2) * seen
    count.pixels += differs.size
    count.same += int((differs == 0).sum())
    count.apart += float((apart[..., :3].mean(2) * seen).sum())
