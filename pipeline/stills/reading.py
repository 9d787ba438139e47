"""The border to Pillow on the reading side: pictures, what belongs to them, and errors in this project's words."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pi_heif
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from pipeline.errors import InputError, Truncated, Unsupported
from pipeline.stills.kinds import HEIC, MAX_SIDE, Kind, kind_of
from pipeline.stills.moving import Structure, structure
from pipeline.stills.trial import stands

# What Pillow raises for damaged files, by format and place.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, AttributeError,
    ZeroDivisionError, MemoryError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
_MODES = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB"}
_ORIENTATION, _GPS, _MAKER_NOTE, _SERIALS = 0x0112, 0x8825, 0x927C, (0xA431, 0xA435, 0xC62F)
_EXIF_PART, _THUMBNAIL = 0x8769, 1
_KNOWN = {  # names of what Pillow finds beside a picture
    "xmp": "XMP",
    "photoshop": "Photoshop's notes (IPTC)",
    "comment": "comment",
    "flashpix": "FlashPix",
    "mp": "",  # told as more pictures
}

pi_heif.register_heif_opener(decode_threads=1)


@dataclass(frozen=True, slots=True)
class Look:
    """What belongs to a picture and is kept, or decides how it is written."""

    size: tuple[int, int]  # upright
    mode: str  # "L", "LA", "RGB" or "RGBA"
    structure: Structure
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    tables: dict[int, list[int]] = field(default_factory=dict)  # JPEG's, of quantisation
    sampling: int = 0  # JPEG's, of colours, as Pillow numbers them: 0 is 4:4:4, 2 is 4:2:0
    progressive: bool = False
    beside: tuple[str, ...] = ()  # what is left out on purpose

    @property
    def alpha(self) -> bool:
        """Whether it may have pixels that aren't opaque."""
        return self.mode.endswith("A")


@contextmanager
def _opened(path: Path, kind: Kind) -> Iterator[Image.Image]:
    """An image whose pixels aren't read yet. Errors in what is done with it become InputErrors."""
    if kind is HEIC and not stands(path):
        raise InputError(f"{path} can't be read", "its decoder fails on it", "get the whole file again")
    bomb = Unsupported(f"{path} is too large", f"more than {MAX_SIDE} pixels on a side are not done", "scale it down")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=kind.decoder) as image:
                if max(image.size) > MAX_SIDE:
                    raise bomb
                yield image
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise bomb from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} can't be read", f"it is no whole {kind.name}", "check the file") from error
    except _DAMAGED as error:
        why = " ".join(str(error).split()) or type(error).__name__
        cut = "truncated" in why.lower() or "premature" in why.lower() or isinstance(error, EOFError)
        what = f"{path} is cut off" if cut else f"{path} can't be read"
        raise (Truncated if cut else InputError)(what, why[:200], "get the whole file again") from error


def checked_kind(path: Path) -> Kind:
    """Raises Unsupported, InputError for what is no picture that can be read."""
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path} is no picture", "its contents are of no kind that is known", "leave it out")
    return kind


def look(path: Path) -> Look:
    """What a file says of itself; its pixels aren't read. Raises InputErrors for what can't be done."""
    kind = checked_kind(path)
    try:
        blocks = structure(path, kind.name)
    except OSError as error:
        raise InputError(f"{path} can't be read", error.strerror or str(error), "check the disk") from error
    with _opened(path, kind) as image:
        bits = _depth(image, path, blocks)
        mode = _MODES.get(image.mode)
        if bits > 8 or mode is None:
            why = f"it has {bits} bits a sample" if bits > 8 else f"its colours are {image.mode}"
            raise Unsupported(f"{path} can't be done", why, "convert it to 8-bit RGB first")
        if not image.info.get("icc_profile") and _wide(image.info.get("nclx_profile")):
            raise Unsupported(f"{path} can't be done", "its colours are no screen's, by numbers", "convert it to sRGB")
        count = int(getattr(image, "n_frames", 1))
        if count - blocks.unplayed != (len(blocks.delays) or 1) and image.format not in ("MPO", "HEIF"):
            raise Unsupported(f"{path} holds {count} pictures", f"a {kind.name} of one is done", "save them one by one")
        if kind.name == "gif" or (kind.name == "png" and blocks.delays):
            mode = "RGBA"  # what isn't covered by any picture of it is transparent
        elif "transparency" in image.info and not mode.endswith("A"):
            mode += "A"
        return Look(
            size=_upright(image),
            mode=mode,
            structure=blocks,
            icc=image.info.get("icc_profile") or b"",
            dpi=_dpi(image.info.get("dpi")),
            tables=dict(getattr(image, "quantization", None) or {}),
            sampling=max(0, JpegImagePlugin.get_sampling(image)) if kind.name == "jpeg" else 0,
            progressive=bool(image.info.get("progressive") or image.info.get("progression")),
            beside=tuple(_beside(image, blocks, count)),
        )


def _depth(image: Image.Image, path: Path, blocks: Structure) -> int:
    """Bits a sample. Pillow reads deeper ones as 8 bits, and says nothing."""
    if image.format == "TIFF":
        said = getattr(image, "tag_v2", {}).get(258, (8,))
        return max(said) if isinstance(said, tuple) else int(said)
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    if image.format == "AVIF":
        with path.open("rb") as file:
            data = file.read(1 << 16)
        at = data.find(b"av1C")
        return 10 if at >= 0 and len(data) > at + 6 and data[at + 6] & 0x40 else 8
    return blocks.depth


def _wide(said: dict[str, Any] | None) -> bool:
    """Whether numbers alone, which no other picture format has, say that colours aren't those of sRGB."""
    if said is None:
        return False
    return said["color_primaries"] not in (0, 1, 2) or said["transfer_characteristics"] in (16, 18)


def _dpi(said: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in said)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e5 and 0 < y < 1e5 else None


def _upright(image: Image.Image) -> tuple[int, int]:
    if image.format == "TIFF":
        image.load()  # which turns it already, for some kinds of it
    turned = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else image.size


def _beside(image: Image.Image, blocks: Structure, count: int) -> Iterator[str]:
    yield from (name for key, name in _KNOWN.items() if name and image.info.get(key))
    if image.format in ("MPO", "HEIF") and count > 1:
        yield f"more pictures in it ({'MPO' if image.format == 'MPO' else 'HEIC'})"
    yield from (name for key, name in _IN_HEIF.items() if image.info.get(key))
    if blocks.unplayed:
        yield "a picture that isn't part of the animation"
    yield from blocks.beside
    exif = image.getexif()
    if image.format == "TIFF":
        yield from (f"TIFF tag {name}" for number, name in _TIFF_TAGS.items() if number in exif)
    if not image.info.get("exif") and image.format != "TIFF":
        return
    if image.info.get("exif"):
        yield "EXIF"
    inner = exif.get_ifd(_EXIF_PART)
    yield from ["EXIF place (GPS)"] * bool(exif.get_ifd(_GPS))
    yield from ["EXIF maker's notes"] * (_MAKER_NOTE in inner)
    yield from ["EXIF serial numbers"] * any(number in inner for number in _SERIALS)
    yield from ["EXIF thumbnail"] * bool(exif.get_ifd(_THUMBNAIL))


_IN_HEIF = {"thumbnails": "thumbnail", "depth_images": "depth map", "aux": "more layers (gain map and the like)"}
_TIFF_TAGS = {270: "description", 271: "make", 272: "model", 305: "software", 306: "date", 315: "artist", 316: "host",
              700: "XMP", 33432: "copyright", 33723: "IPTC", 34377: "Photoshop"}  # fmt: skip


def is_sequence(files: list[Path]) -> bool:
    """Whether these are all of one size and none moves; what can't be read is for ingest to refuse."""
    looks = list[Look]()
    for path in files:
        with suppress(InputError):
            looks.append(look(path))
    return len({each.size for each in looks}) <= 1 and not any(each.structure.delays for each in looks)


def pictures(path: Path, first: int = 0) -> Iterator[Image.Image]:
    """Every picture of a file from number `first` on, upright, as L, LA, RGB or RGBA; of an animation as viewers show
    it. One is held at a time. Raises InputErrors."""
    facts, kind = look(path), checked_kind(path)
    with _opened(path, kind) as image:
        skipped = int(facts.structure.unplayed)
        count = len(facts.structure.delays) or 1
        for number in range(skipped, skipped + count):
            if count > 1 or skipped:
                image.seek(number)
            image.load()
            if number < skipped + first:
                continue
            found = ImageOps.exif_transpose(image) if count == 1 else image.copy()
            found = found.convert(facts.mode) if found.mode != facts.mode else found
            found.info.clear()  # Pillow would write some of it
            if found.size != facts.size:
                why = f"from {facts.size} to {found.size}"
                raise Unsupported(f"{path}: its pictures have several sizes", why, "split it first")
            yield found
