"""HEIC files by construction (ISO/IEC 23008-12): tiles, a turn and profiles as phones write them."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

EXIF_ITEM = 100


@dataclass(frozen=True)
class Heic:
    """What to make of a picture."""

    tiles: tuple[int, int] = (1, 1)  # columns and rows; more than one is a grid
    turns: int = 0  # quarters against the clock by which viewers turn it
    depth: int = 8
    icc: bytes = b""
    numbers: tuple[int, int, int] | None = None  # primaries, transfer and matrix, as H.273 has them
    exif: bytes = b""
    more: bool = False  # a second picture beside it


def _box(name: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I", len(data) + 8) + name + data


def _full(name: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags), *parts)


def _coded(image: Image.Image, depth: int) -> tuple[bytes, bytes]:
    """(decoder's configuration, the picture) in HEVC, 4:4:4, next to no loss."""
    encoder = av.CodecContext.create("libx265", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = *image.size, "yuv444p" if depth == 8 else "yuv444p10le"
    encoder.time_base = Fraction(1, 25)
    params = "log-level=none:pools=none:info=0:repeat-headers=1:range=full:colormatrix=bt709"
    encoder.options = {"crf": "2", "x265-params": params}
    frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
    frame = frame.reformat(format=encoder.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.JPEG)
    data = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    units = [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]
    sets = {kind: unit for unit in units if (kind := unit[0] >> 1 & 63) in (32, 33, 34)}
    slices = b"".join(struct.pack(">I", len(unit)) + unit for unit in units if unit[0] >> 1 & 63 < 32)
    profile = sets[33].replace(b"\0\0\3", b"\0\0")[3:15]
    head = (
        b"\1"
        + profile
        + struct.pack(">HBBBBHBB", 0xF000, 0xFC, 0xFF, 0xF8 | depth - 8, 0xF8 | depth - 8, 0, 0x0F, len(sets))
    )
    arrays = (struct.pack(">BHH", 0x80 | kind, 1, len(unit)) + unit for kind, unit in sets.items())
    return head + b"".join(arrays), slices


def write(image: Image.Image, path: Path, how: Heic = Heic()) -> Path:
    """Write `image`; with tiles, its sides are cut into equal ones."""
    columns, rows = how.tiles
    width, height = image.width // columns, image.height // rows
    cells = [(x * width, y * height) for y in range(rows) for x in range(columns)]
    coded = [_coded(image.crop((x, y, x + width, y + height)), how.depth) for x, y in cells]
    grid = len(cells) > 1
    items = [(n, b"hvc1", data) for n, (_, data) in enumerate(coded, 1)]
    first = len(items) + 1 if grid else 1
    if grid:
        canvas = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width * columns, height * rows)
        items.append((first, b"grid", canvas))
    if how.more:
        items.append((90, b"hvc1", coded[0][1]))
    if how.exif:
        items.append((EXIF_ITEM, b"Exif", bytes(4) + how.exif))
    path.write_bytes(_file(items, first, coded[0][0], (width, height), (width * columns, height * rows), how))
    return path


def _file(
    items: list[tuple[int, bytes, bytes]],
    first: int,
    configuration: bytes,
    tile: tuple[int, int],
    whole: tuple[int, int],
    how: Heic,
) -> bytes:
    colour = [_box(b"colr", b"prof", how.icc)] if how.icc else []
    numbers = how.numbers or (1, 13, 1)
    colour += [_box(b"colr", b"nclx", struct.pack(">HHHB", *numbers, 0x80))] if how.numbers or not how.icc else []
    depth = _full(b"pixi", 0, 0, bytes([3, *[how.depth] * 3]))
    sizes = [_full(b"ispe", 0, 0, struct.pack(">II", *size)) for size in (tile, whole)]
    shared = [_box(b"hvcC", configuration), *sizes, depth, *colour, _box(b"irot", bytes([how.turns]))]
    own = list(range(5, 5 + len(colour)))
    links = b""
    pictures = [item for item in items if item[1] != b"Exif"]
    for number, kind, _ in pictures:
        named = [3] if kind == b"grid" else [0x81, 2]
        named += [4, *own] + ([0x80 | 5 + len(colour)] if number == first else [])
        links += struct.pack(">HB", number, len(named)) + bytes(named)
    properties = _box(b"iprp", _box(b"ipco", *shared), _full(b"ipma", 0, 0, struct.pack(">I", len(pictures)), links))
    entries = [
        _full(b"infe", 2, int(kind == b"hvc1" and number < first), struct.pack(">HH", number, 0), kind, b"\0")
        for number, kind, _ in items
    ]
    info = _full(b"iinf", 0, 0, struct.pack(">H", len(entries)), *entries)
    tiles = [number for number, kind, _ in items if kind == b"hvc1" and number < first]
    references = [_box(b"dimg", struct.pack(f">HH{len(tiles)}H", first, len(tiles), *tiles))] if tiles else []
    references += [_box(b"cdsc", struct.pack(">HHH", EXIF_ITEM, 1, first))] if how.exif else []
    linked = [_full(b"iref", 0, 0, *references)] if references else []
    handler = _full(b"hdlr", 0, 0, bytes(4), b"pict", bytes(12), b"\0")
    head = _box(b"ftyp", b"heic", bytes(4), b"mif1heic")

    def meta(begin: int) -> bytes:
        places, at = b"", begin
        for number, _, data in items:
            places += struct.pack(">HHHII", number, 0, 1, at, len(data))
            at += len(data)
        located = _full(b"iloc", 0, 0, b"\x44\0", struct.pack(">H", len(items)), places)
        primary = _full(b"pitm", 0, 0, struct.pack(">H", first))
        return _full(b"meta", 0, 0, handler, primary, located, info, *linked, properties)

    begin = len(head) + len(meta(0)) + 8
    return head + meta(begin) + _box(b"mdat", *(data for _, _, data in items))
