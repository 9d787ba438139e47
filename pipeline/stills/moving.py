"""GIF, WebP and PNG from their own bytes: how long each picture of an animation is shown, how often it is played, what
is in the file beside pictures, and whether the file is whole. Decoders say none of this exactly."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import Truncated


@dataclass(frozen=True, slots=True)
class Structure:
    """What a file's blocks say."""

    delays: tuple[Fraction, ...] = ()  # seconds; () for a single picture
    plays: int = 1  # 0: for ever
    lossless: bool = True
    depth: int = 8  # bits a sample
    unplayed: bool = False  # PNG: the first picture isn't part of the animation
    colour: tuple[tuple[bytes, bytes], ...] = ()  # PNG's chunks that say what its numbers mean
    beside: tuple[str, ...] = ()  # what else is in it: texts and the like


def structure(path: Path, kind: str) -> Structure:
    """Of a file of this kind; an empty one for kinds that don't move. Raises Truncated."""
    walk = {"gif": _gif, "webp": _webp, "png": _png}.get(kind)
    if walk is None:
        return Structure()
    with path.open("rb") as file:
        try:
            return walk(file)
        except EOFError:
            why = "it ends before its last picture does"
            raise Truncated(f"{path} is cut off", why, "get the whole file again") from None


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """GIF's sub-blocks."""
    while size := _take(file, 1)[0]:
        yield _take(file, size)


def _table(flags: int) -> int:
    """Bytes of GIF's table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif(file: BinaryIO) -> Structure:
    head = _take(file, 13)
    _take(file, _table(head[10]))
    delays, plays, delay, beside = list[Fraction](), 1, Fraction(0), list[str]()
    while (kind := _take(file, 1)) != b";":
        if kind == b",":
            _take(file, _table(_take(file, 9)[8]) + 1)
            for _ in _blocks(file):
                pass
            delays.append(delay)
            delay = Fraction(0)
        elif kind == b"!":
            label, parts = _take(file, 1)[0], list(_blocks(file))
            if label == 0xF9 and parts and len(parts[0]) >= 3:
                delay = Fraction(int.from_bytes(parts[0][1:3], "little"), 100)
            elif label == 0xFF and parts[:1] in ([b"NETSCAPE2.0"], [b"ANIMEXTS1.0"]):
                repeats = int.from_bytes(parts[1][1:3], "little") if len(parts) > 1 else 0
                plays = repeats + 1 if repeats else 0
            elif parts:
                beside.append({0xFE: "comment", 0x01: "text"}.get(label) or _printed(parts[0]))
        elif kind != b"\0":  # padding is seen between blocks
            raise EOFError
    return Structure(tuple(delays) if len(delays) > 1 else (), plays, beside=tuple(beside))


def _printed(name: bytes) -> str:
    text = "".join(chr(c) if 32 < c < 127 else "" for c in name[:11])
    return f"block {text}"


def _webp(file: BinaryIO) -> Structure:
    end = int.from_bytes(_take(file, 12)[4:8], "little") + 8
    delays, plays, lossless = list[Fraction](), 1, True
    while file.tell() + 8 <= end:
        head = _take(file, 8)
        size = int.from_bytes(head[4:], "little")
        after = file.tell() + size + (size & 1)
        if head[:4] == b"ANIM":
            plays = int.from_bytes(_take(file, 6)[4:6], "little")
        elif head[:4] == b"ANMF":
            frame = _take(file, 16)
            delays.append(Fraction(int.from_bytes(frame[12:15], "little"), 1000))
            while file.tell() + 8 <= after:
                inner = _take(file, 8)
                lossless = lossless and inner[:4] != b"VP8 "
                length = int.from_bytes(inner[4:], "little")
                file.seek(length + (length & 1), 1)
        lossless = lossless and head[:4] != b"VP8 "
        file.seek(after - (size & 1) - 1 if size else after)
        if size:
            _take(file, 1)  # it is there
            file.seek(after)
    return Structure(tuple(delays), plays, lossless)


_COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"sBIT")
_PICTURE = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"pHYs", b"bKGD", b"hIST", b"acTL", b"fcTL", b"fdAT")


def _png(file: BinaryIO) -> Structure:
    _take(file, 8)
    delays, plays, depth, moves = list[Fraction](), 1, 8, False
    started = unplayed = False
    colour, beside = list[tuple[bytes, bytes]](), list[str]()
    kind = b""
    while kind != b"IEND":
        size, kind = int.from_bytes(_take(file, 4), "big"), _take(file, 4)
        if kind in (b"IHDR", b"acTL", b"fcTL", *_COLOUR):
            data = _take(file, min(size, 64))
            file.seek(size - len(data), 1)
            if kind == b"IHDR":
                depth = data[8]
            elif kind == b"acTL":
                moves, plays = True, int.from_bytes(data[4:8], "big")
            elif kind == b"fcTL":
                number, unit = (int.from_bytes(data[i : i + 2], "big") for i in (20, 22))
                delays.append(Fraction(number, unit or 100))
            else:
                colour.append((kind, data))
        else:
            unplayed = unplayed or (kind == b"IDAT" and moves and not delays and not started)
            started = started or kind == b"IDAT"
            if kind not in _PICTURE:
                beside.append(f"chunk {kind.decode('latin-1')}")
            file.seek(size, 1)
        _take(file, 4)
    return Structure(tuple(delays) if moves else (), plays, True, depth, unplayed, tuple(colour), tuple(beside))
