"""Which files are pictures, told by their first bytes, and which of them can be done. Knows no decoder."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

MAX_SIDE = 8192  # pixels, as of films: see `probe`, which brings PyTorch along
_HEAD = 64  # bytes that tell


@dataclass(frozen=True, slots=True)
class Kind:
    """A format of pictures."""

    name: str
    decoder: tuple[str, ...]  # Pillow's names
    suffixes: tuple[str, ...]  # the first is the usual one
    exact: bool  # what is written is bit for bit what was to be written; WebP: where it is told to
    moves: bool  # it may hold an animation


KINDS = (
    Kind("jpeg", ("JPEG", "MPO"), (".jpg", ".jpeg", ".jpe", ".jfif"), False, False),
    Kind("png", ("PNG",), (".png", ".apng"), True, True),
    Kind("webp", ("WEBP",), (".webp",), True, True),
    Kind("gif", ("GIF",), (".gif",), True, True),
    Kind("tiff", ("TIFF",), (".tif", ".tiff"), True, False),
    Kind("bmp", ("BMP",), (".bmp",), True, False),
    Kind("avif", ("AVIF",), (".avif",), False, False),
)
HEIC = Kind("heic", ("HEIF",), (".heic", ".heif", ".hif"), False, False)  # read, and written as others: no encoder
BY_SUFFIX = {suffix: kind for kind in KINDS for suffix in kind.suffixes}
SUFFIXES = frozenset(BY_SUFFIX)  # that can be written
READ_SUFFIXES = SUFFIXES | frozenset(HEIC.suffixes)
FOLDER = "folder"  # what a sequence of files is called, where others have a kind's name

_BRANDS = {
    b"avif": "avif",
    b"avis": "avif",
    b"heic": "heic",
    b"heix": "heic",
    b"hevc": "heic",
    b"heim": "heic",
    b"heis": "heic",
}
_NAMED = {kind.name: kind for kind in (*KINDS, HEIC)}
_STREAMS = (".mjpeg", ".mjpg")  # many JPEGs in a row, of which Pillow would show one


def kind_of(path: Path) -> Kind | None:
    """What a file says it is. None for what is no picture, or can't be read: whoever opens it then will say why."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    name = _told(head)
    return None if name is None or path.suffix.lower() in _STREAMS else _NAMED[name]


def is_pictures(source: Path) -> bool:
    """Whether a file is a picture or an animation, or a folder has pictures in it."""
    return bool(in_folder(source)) if source.is_dir() else kind_of(source) is not None


def in_folder(folder: Path) -> list[Path]:
    """The pictures that lie in a folder itself, by the numbers in their names: 9 comes before 10."""
    try:
        found = [
            p
            for p in folder.iterdir()
            if p.suffix.lower() in READ_SUFFIXES and not p.name.startswith(".") and p.is_file()
        ]
    except OSError:
        return []
    return sorted(found, key=lambda p: (natural(p.name), p.name))


def written(name: str) -> str:
    """What the picture made of a file of this name is called."""
    path = PurePath(name)
    return str(path.with_suffix(".jpg")) if path.suffix.lower() in HEIC.suffixes else name


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts by numbers in a name."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def _told(head: bytes) -> str | None:
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "bmp"
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(len(head), int.from_bytes(head[:4], "big")), 4))]
        if head[8:12] in (*_BRANDS, b"mif1", b"msf1"):
            return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
    return None
