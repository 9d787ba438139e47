"""Animations as files, picture after picture. Pillow's own writers hold all pictures in memory, and melt equal ones
together."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import OutputError
from pipeline.stills.coding import Pixels, gif_data, paletted, png_chunk, png_data, webp_chunks
from pipeline.stills.reading import Look

Box = tuple[int, int, int, int]
_LONGEST = (1 << 24) - 1  # ms of one picture in WebP


class Movie:
    """An animation that is being written: of `count` pictures of one size. `plays`: how often; 0 for ever. Raises
    OutputError. Of each picture only what differs from the one before is written."""

    def __init__(self, path: Path, kind: str, look: Look, count: int, plays: int, alpha: bool) -> None:
        self._path, self._kind, self._look, self._plays = path, kind, look, plays
        self._count, self._alpha = count, alpha
        self._before: Pixels | None = None
        self._serial = 0
        self._add: Callable[[Pixels, NDArray[np.bool_], Fraction], None]
        self._add = {"gif": self._gif, "webp": self._webp, "png": self._png}[kind]
        try:
            self._file: BinaryIO = path.open("wb")
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> Self:
        self._write({"gif": self._gif_head, "webp": self._webp_head, "png": self._png_head}[self._kind]())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._end()

    def add(self, image: Image.Image, changed: NDArray[np.bool_], delay: Fraction) -> None:
        """The next picture. `changed` (H, W): where it isn't as in the source."""
        self._add(np.asarray(image.convert("RGBA" if self._alpha else "RGB")), changed, delay)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path} can't be written", error.strerror or str(error), "free some space")

    def _end(self) -> None:
        self._write({"gif": b";", "png": png_chunk(b"IEND", b""), "webp": b""}[self._kind])
        if self._kind == "webp":
            size = self._file.tell() - 8
            self._file.seek(4)
            self._write(struct.pack("<I", size))

    def _differs(self, pixels: Pixels, even: bool = False) -> Box:
        """The box in which it differs from the picture before; one pixel, where it doesn't."""
        before, self._before = self._before, pixels
        height, width = pixels.shape[:2]
        if before is None:
            return 0, 0, width, height
        differs = (before != pixels).any(2)
        rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
        if not len(rows):
            return 0, 0, 1, 1
        x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        return (x0 & ~1, y0 & ~1, x1, y1) if even else (x0, y0, x1, y1)

    def _gif_head(self) -> bytes:
        head = b"GIF89a" + struct.pack("<HHBBB", *self._look.size, 0x70, 0, 0)
        if self._plays == 1:
            return head
        return head + b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", max(0, self._plays - 1)) + b"\0"

    def _gif(self, pixels: Pixels, changed: NDArray[np.bool_], delay: Fraction) -> None:
        height, width = pixels.shape[:2]
        # What is transparent shows what was there before: so that has to go, and every picture is a whole one.
        x0, y0, x1, y1 = (0, 0, width, height) if self._alpha else self._differs(pixels)
        part, inside = pixels[y0:y1, x0:x1], changed[y0:y1, x0:x1]
        clear = part[..., 3] < 128 if self._alpha else np.zeros(inside.shape, bool)
        indices, palette, hole = paletted(np.ascontiguousarray(part[..., :3]), inside, clear)
        bits = max(1, (len(palette) // 3 - 1).bit_length())
        flags = (2 if self._alpha else 1) << 2 | (hole is not None)
        self._write(b"!\xf9\x04" + struct.pack("<BHBB", flags, min(round(delay * 100), 65535), hole or 0, 0))
        self._write(b"," + struct.pack("<HHHHB", x0, y0, x1 - x0, y1 - y0, 0x80 | bits - 1))
        self._write(palette.ljust(3 << bits, b"\0") + gif_data(indices))

    def _webp_head(self) -> bytes:
        icc = self._look.icc
        width, height = (struct.pack("<I", side - 1)[:3] for side in self._look.size)
        flags = 0x02 | 0x10 * self._alpha | 0x20 * bool(icc)
        head = b"RIFF\0\0\0\0WEBP" + _riff(b"VP8X", struct.pack("<I", flags) + width + height)
        head += _riff(b"ICCP", icc) if icc else b""
        return head + _riff(b"ANIM", bytes(4) + struct.pack("<H", min(self._plays, 65535)))

    def _webp(self, pixels: Pixels, changed: NDArray[np.bool_], delay: Fraction) -> None:
        x0, y0, x1, y1 = self._differs(pixels, even=True)
        numbers = (x0 // 2, y0 // 2, x1 - x0 - 1, y1 - y0 - 1, min(round(delay * 1000), _LONGEST))
        head = b"".join(struct.pack("<I", number)[:3] for number in numbers)
        chunks = webp_chunks(Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1])), self._look)
        self._write(_riff(b"ANMF", head + b"\x02" + chunks))  # it replaces what was there

    def _png_head(self) -> bytes:
        head = struct.pack(">IIBBBBB", *self._look.size, 8, 6 if self._alpha else 2, 0, 0, 0)
        told = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head)
        told += b"".join(png_chunk(name, data) for name, data in self._look.structure.colour)
        return told + png_chunk(b"acTL", struct.pack(">II", self._count, self._plays))

    def _png(self, pixels: Pixels, changed: NDArray[np.bool_], delay: Fraction) -> None:
        x0, y0, x1, y1 = self._differs(pixels)
        first = not self._serial
        time = delay.limit_denominator(65535)
        control = (self._serial, x1 - x0, y1 - y0, x0, y0, min(time.numerator, 65535), time.denominator, 0, 0)
        self._write(png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", *control)))
        data = png_data(Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1])))
        self._serial += 1
        if first:
            self._write(png_chunk(b"IDAT", data))
            return
        self._write(png_chunk(b"fdAT", struct.pack(">I", self._serial) + data))
        self._serial += 1


def _riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)
