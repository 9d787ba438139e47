"""Put metadata into films by hand that no encoder here writes."""

from pathlib import Path

import av

_TO_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


def _bits(*fields: tuple[int, int]) -> bytes:
    """(value, how many bits) one after the other, the rest of the last byte 0."""
    text = "".join(f"{value:0{size}b}" for value, size in fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def _escaped(data: bytes) -> bytes:
    """With the bytes that keep a start code from showing in a NAL unit (ITU-T H.265, 7.4.2)."""
    out = bytearray()
    for byte in data:
        if len(out) > 1 and out[-1] == out[-2] == 0 and byte < 4:
            out.append(3)
        out.append(byte)
    return bytes(out)


def hdr10_plus(number: int) -> bytes:
    """An SEI NAL unit of HEVC with one window of SMPTE ST 2094-40."""
    window = [(1, 2), (400, 27), (0, 1), *[(3000 + number, 17)] * 3, (500, 17), (0, 4), (7, 10), (0, 1), (0, 1), (0, 1)]
    payload = b"\xb5\x00\x3c\x00\x01\x04\x01" + _bits(*window)
    return b"\0\0\0\1\x4e\x01" + _escaped(bytes([4, len(payload)]) + payload + b"\x80")


def with_messages(plain: Path, target: Path, first: int = 0) -> Path:
    """A copy of an MPEG-TS with HEVC, with such a message before each picture's first slice, from packet `first` on."""
    with av.open(plain) as before, av.open(target, "w", format="mpegts") as after:
        stream = after.add_stream_from_template(before.streams.video[0], opaque=True)
        for number, packet in enumerate(p for p in before.demux(video=0) if p.size):
            data, place = bytes(packet), 0
            while not ((data[place : place + 3] == b"\0\0\1") and (data[place + 3] >> 1 & 63) < 32):
                place += 1
            message = hdr10_plus(number)[1:] if number >= first else b""
            new = av.Packet(data[:place] + message + data[place:])
            new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
            new.is_keyframe, new.stream = packet.is_keyframe, stream
            after.mux(new)
    return target


def with_dolby(plain: Path, target: Path, profile: int = 8) -> Path:
    """A copy of an MP4 whose moov stands at its end, with a box that says Dolby Vision in its first track."""
    data = bytearray(plain.read_bytes())
    record = bytes([1, 0, profile << 1, (6 << 3) | 5, 1 << 4]) + bytes(19)
    box = (8 + len(record)).to_bytes(4, "big") + b"dvcC" + record
    place, end, path = 0, len(data), []
    for name in _TO_ENTRY:
        while data[place + 4 : place + 8] != name:
            place += int.from_bytes(data[place : place + 4], "big")
            assert place < end
        path.append(place)
        place += 16 if name == b"stsd" else 8
    path.append(place)  # the entry itself
    tail = place + int.from_bytes(data[place : place + 4], "big")
    for at in path:
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + len(box)).to_bytes(4, "big")
    target.write_bytes(data[:tail] + box + data[tail:])
    return target
