"""Is the file whole, and not locked? Told from the container's own bytes, which say more than a decoder's error."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InputError, NotAVideo, Truncated, Unsupported

_GET_WHOLE = "get the whole file again; to use what is there, repair it first"
_PROTECTED = {b"encv", b"enca", b"drmi", b"drms"}
_MAX_MOOV = 1 << 28  # bytes; a moov of hours of video is some megabytes
_MAX_DEPTH = 8


def check_file(path: Path) -> None:
    """Raises NotAVideo, Truncated, Unsupported or InputError, each with what, why and what to do."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise NotAVideo(f"{path} is a folder", "one film was asked for", "name a video file")
        if not path.is_file():
            raise NotAVideo(f"{path} is not a plain file", "it can't be read twice", "copy it to a file first")
        if size == 0:
            raise NotAVideo(f"{path} is empty", "it has 0 bytes", "copy it again from where it came from")
        with path.open("rb") as file:
            head = file.read(16)
            if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
                _check_mp4(path, file, size)
            elif head[:4] == b"\x1a\x45\xdf\xa3":
                _check_matroska(path, file, size)
            elif head[:4] == b"RIFF":
                _check_riff(path, head, size)
            elif head[:1] == b"\x47":
                _check_transport_stream(path, file)
    except FileNotFoundError as error:
        raise NotAVideo(f"{path} does not exist", "no such file", "check the path") from error
    except PermissionError as error:
        raise InputError(f"{path} can't be read", "no permission", "change its permissions") from error
    except OSError as error:
        raise InputError(f"{path} can't be read", os.strerror(error.errno or 0), "check the disk") from error


def _cut_off(path: Path, missing: str) -> Truncated:
    return Truncated(f"{path} is cut off", missing, _GET_WHOLE)


def _check_mp4(path: Path, file: BinaryIO, size: int) -> None:
    place, moov, fragments = 0, None, False
    while place + 8 <= size:
        file.seek(place)
        kind, header, length = _box(file.read(16), size - place)
        if length < header:
            break  # padding or garbage at the end; what came before counts
        if place + length > size:
            raise _cut_off(path, f"{place + length - size} bytes are missing at its end")
        if kind == b"moov":
            moov = (place + header, length - header)
        fragments = fragments or kind == b"moof"
        place += length
    if moov is None:
        raise _cut_off(path, "its index (moov) is missing; it stands at the end, or recording was broken off")
    file.seek(moov[0])
    for entry in _sample_entries(file.read(min(moov[1], _MAX_MOOV))):
        if entry in _PROTECTED:
            raise Unsupported(
                f"{path} is encrypted (DRM)", f"a track is of the kind {entry.decode()}", "decrypt it first"
            )


def _box(head: bytes, rest: int) -> tuple[bytes, int, int]:
    """Kind, bytes of header, bytes in all."""
    length = int.from_bytes(head[:4], "big")
    if length == 1 and len(head) == 16:
        return head[4:8], 16, int.from_bytes(head[8:16], "big")
    return head[4:8], 8, rest if length == 0 else length


def boxes(file: BinaryIO, size: int, names: tuple[bytes, ...]) -> Iterator[bytes]:
    """What stands in the boxes of an MP4 that are reached by these names, from the top level down."""
    todo = [(0, size, 0)]
    while todo:
        place, end, depth = todo.pop()
        while place + 8 <= end:
            file.seek(place)
            kind, header, length = _box(file.read(16), end - place)
            if length < header:
                break
            if kind == names[depth] and depth + 1 < len(names):
                todo.append((place + header, min(end, place + length), depth + 1))
            elif kind == names[depth]:
                file.seek(place + header)
                yield file.read(min(length - header, _MAX_MOOV))
            place += length


def _sample_entries(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The kinds of the sample entries in a moov box."""
    place = 0
    while place + 8 <= len(data) and depth < _MAX_DEPTH:
        kind, header, length = _box(data[place : place + 16], len(data) - place)
        if length < header:
            return
        body = data[place + header : place + length]
        if kind in (b"trak", b"mdia", b"minf", b"stbl"):
            yield from _sample_entries(body, depth + 1)
        elif kind == b"stsd":
            entry = 8
            while entry + 8 <= len(body):
                yield body[entry + 4 : entry + 8]
                entry += max(8, int.from_bytes(body[entry : entry + 4], "big"))
        place += length


def _check_matroska(path: Path, file: BinaryIO, size: int) -> None:
    file.seek(0)
    head = file.read(1 << 12)
    place = 4
    length, used = _ebml_size(head[place:])
    place += used + (length or 0)
    if head[place : place + 4] != b"\x18\x53\x80\x67":
        if place >= size:
            raise _cut_off(path, "nothing follows its header")
        raise NotAVideo(f"{path} is not a video", "what follows its header isn't Matroska", "check the file")
    length, used = _ebml_size(head[place + 4 :])
    if length is not None and place + 4 + used + length > size:
        raise _cut_off(path, f"{place + 4 + used + length - size} bytes are missing at its end")


def _ebml_size(data: bytes) -> tuple[int | None, int]:
    """An EBML length: the value, None for unknown (a live recording), and the bytes it takes."""
    if not data or data[0] == 0:
        return None, 1
    used = 9 - data[0].bit_length()
    value = int.from_bytes(data[:used], "big") & ((1 << (7 * used)) - 1)
    return (None if value == (1 << (7 * used)) - 1 else value), used


def _check_riff(path: Path, head: bytes, size: int) -> None:
    said = int.from_bytes(head[4:8], "little") + 8
    # 0 and the largest number are left by recorders that never came to write it.
    if head[8:12] == b"AVI " and said > size and 8 < said < 0xFFFFFFF0:
        raise _cut_off(path, f"{said - size} bytes are missing at its end")


def _check_transport_stream(path: Path, file: BinaryIO) -> None:
    file.seek(0)
    data = file.read(188 * 2000)
    packets = [data[i : i + 4] for i in range(0, len(data) - 187, 188)]
    if len(packets) < 10 or any(packet[0] != 0x47 for packet in packets):
        return
    scrambled = sum(packet[3] >> 6 > 1 for packet in packets)
    if 2 * scrambled > len(packets):
        raise Unsupported(f"{path} is encrypted", "its packets are scrambled", "decrypt it first")
