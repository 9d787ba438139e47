"""One picture as the bytes of a file, in the format and with the settings of its source."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin

from pipeline.errors import OutputError
from pipeline.stills.reading import Look

Pixels = NDArray[np.uint8]
_JPEG, _WEBP, _AVIF = 95, 92, 90  # quality, where the source has none to go by
_DITHERED = Image.Dither.FLOYDSTEINBERG
_COLOURS = 256  # of a GIF's picture
_FACE_COLOURS = 8  # of its own that a changed place should have at least


def encoded(image: Image.Image, kind: str, look: Look) -> bytes:
    """A whole file. What identifies is in nothing of it: neither EXIF nor texts are written, only the ICC profile, the
    resolution, and PNG's own words about its colours."""
    out = io.BytesIO()
    icc = look.icc or None
    if kind == "jpeg":
        # With the source's tables and sampling, what was not changed falls on the steps on which it already lies: on
        # photos it then differs by 0.01 levels on average, where 4:4:4 of quality 95 makes 0.4.
        how = {"qtables": look.tables} if look.tables else {"quality": _JPEG}
        image.save(out, "JPEG", icc_profile=icc, dpi=look.dpi or (0, 0), subsampling=look.sampling, optimize=True,
                   progressive=look.progressive, **how)  # fmt: skip
    elif kind == "png":
        chunks = PngImagePlugin.PngInfo()
        for name, data in look.structure.colour:
            chunks.add(name, data)
        image.save(out, "PNG", icc_profile=icc, dpi=look.dpi, pnginfo=chunks)
    elif kind == "webp":
        _webp(image, look).save(out, "WEBP", icc_profile=icc or b"", **_webp_options(look))
    elif kind == "gif":
        raise ValueError("a GIF is written by its own writer")
    elif kind == "avif":
        image.save(out, "AVIF", quality=_AVIF, subsampling="4:4:4", icc_profile=icc or b"", exif=b"", xmp=b"")
    else:
        extra = {"compression": "tiff_adobe_deflate", "icc_profile": icc} if kind == "tiff" else {}
        image.save(out, kind.upper(), dpi=look.dpi or (72, 72), **extra)
    return out.getvalue()


def _webp(image: Image.Image, look: Look) -> Image.Image:
    return image.convert("RGBA" if image.mode.endswith("A") else "RGB")


def _webp_options(look: Look) -> dict[str, object]:
    if look.structure.lossless:
        return {"lossless": True, "exact": True, "quality": 60, "method": 4}
    return {"quality": _WEBP, "method": 4, "exact": True}


def webp_chunks(image: Image.Image, look: Look) -> bytes:
    """The chunks of a picture inside of an animation."""
    out = io.BytesIO()
    _webp(image, look).save(out, "WEBP", **_webp_options(look))
    data, place, found = out.getvalue(), 12, b""
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + size + (size & 1)
        if data[place : place + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            found += data[place:end]
        place = end
    return found


def png_chunk(name: bytes, data: bytes) -> bytes:
    """With its length and check sum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_data(image: Image.Image) -> bytes:
    """What stands in IDAT."""
    out = io.BytesIO()
    image.save(out, "PNG")
    data, place, found = out.getvalue(), 8, b""
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"IDAT":
            found += data[place + 8 : place + 8 + size]
        place += size + 12
    return found


def gif_data(indices: Pixels) -> bytes:
    """Indices (h, w) as GIF's compressed blocks, with the size of a code before them."""
    image = Image.fromarray(np.ascontiguousarray(indices), "L")
    out = io.BytesIO()
    out.write(b"\x08")
    ImageFile._save(image, out, [ImageFile._Tile("gif", (0, 0, *image.size), 0, "L")])
    return out.getvalue() + b"\0"


def paletted(rgb: Pixels, changed: NDArray[np.bool_], clear: NDArray[np.bool_]) -> tuple[Pixels, bytes, int | None]:
    """(indices (h, w), palette, index of what is transparent) of a picture (h, w, 3).

    Pixels that aren't `changed` keep their very colours, and changed ones share what is left of the palette: at least
    the others' colours, which mostly hold a face's own. Only where the others alone have too many, all are reduced.
    """
    room = _COLOURS - bool(clear.any())
    packed = (rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(2, dtype=np.uint32)
    fixed = np.unique(packed[~changed & ~clear])
    every = np.unique(packed[~clear])
    if len(every) <= room:
        table, loose = every, np.zeros_like(changed)
    elif len(fixed) <= room:
        loose = changed & ~clear
        more = _quantised(rgb[loose][None], max(room - len(fixed), 1)) if room - len(fixed) >= _FACE_COLOURS else fixed
        table = np.unique(np.concatenate([fixed, more]))[:_COLOURS]
    else:
        loose = ~clear
        table = np.unique(_quantised(rgb, room))
    if not len(table):
        table = np.zeros(1, np.uint32)
    indices = np.searchsorted(table, packed).clip(0, len(table) - 1).astype(np.uint8)
    if loose.any():
        nearest = Image.fromarray(rgb).quantize(palette=_palette_image(table), dither=_DITHERED)
        indices[loose] = np.asarray(nearest)[loose]
    palette = np.stack([table >> 16, table >> 8 & 255, table & 255], 1).astype(np.uint8).tobytes()
    if not clear.any():
        return indices, palette, None
    indices[clear] = len(table)
    return indices, palette + bytes(3), len(table)


def _quantised(rgb: Pixels, count: int) -> NDArray[np.uint32]:
    """At most `count` colours, packed, that stand for those of a picture (h, w, 3)."""
    small = Image.fromarray(np.ascontiguousarray(rgb)).quantize(count, Image.Quantize.MEDIANCUT)
    table = np.array((small.getpalette() or [0, 0, 0])[: 3 * count], np.uint32).reshape(-1, 3)
    return np.asarray((table << np.array([16, 8, 0], np.uint32)).sum(1, dtype=np.uint32))


def _palette_image(table: NDArray[np.uint32]) -> Image.Image:
    image = Image.new("P", (1, 1))
    colours = np.stack([table >> 16, table >> 8 & 255, table & 255], 1).astype(np.uint8)
    # What isn't used repeats the first colour: else it would be black, and taken.
    image.putpalette(np.concatenate([colours, np.repeat(colours[:1], _COLOURS - len(colours), 0)]).tobytes())
    return image


def write_bytes(path: Path, data: bytes) -> None:
    """Raises OutputError."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{path} can't be written", error.strerror or str(error), "free some space") from error
