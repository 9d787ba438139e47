"""NAL units of H.264 and HEVC: what packets are made of, in the two ways in which containers hold them.

ITU-T H.264 7.3 and annex B, H.265 7.3 and annex B; ISO/IEC 14496-15 for records and lengths. Only types and numbers of
parameter sets are read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

START = b"\0\0\0\1"
_IDR = {"h264": frozenset({5}), "hevc": frozenset({19, 20})}
_SETS = {"h264": (7, 8), "hevc": (32, 33, 34)}  # in the order in which a decoder needs them
_DELIMITER = {"h264": 9, "hevc": 35}
_SEI = {"h264": frozenset({6}), "hevc": frozenset({39, 40})}
_HEADER = {"h264": 1, "hevc": 2}  # bytes
_USER_DATA, _REGISTERED = 5, 4  # SEI payloads with what makers of cameras and programs like to say
_CAPTIONS = bytes([0xB5, 0x00, 0x31]) + b"GA94"  # ATSC A/53 part 4: ITU-T T.35 country, provider, and its identifier
CODECS = tuple(_IDR)
MOST_SETS = 31  # the highest number of a sequence parameter set in H.264


class BadStream(ValueError):
    """Not what its codec's standard says."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a stream's packets hold their units."""

    codec: str  # "h264" or "hevc"
    length: int  # bytes before each unit that say how long it is; 0: start codes

    @staticmethod
    def of(codec: str, extradata: bytes) -> "Form":
        """By the stream's extradata: a record (avcC, hvcC) or parameter sets with start codes."""
        if not _is_record(extradata):
            return Form(codec, 0)
        return Form(codec, (extradata[4 if codec == "h264" else 21] & 3) + 1)

    def units(self, data: bytes) -> Iterator[bytes]:
        """The units of a packet, without what separates them. Raises BadStream."""
        if not self.length:
            yield from _between_starts(data)
            return
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + self.length])
            at += self.length
            if not size or at + size > len(data):
                raise BadStream(f"a unit of {size} bytes in a packet of {len(data)}")
            yield data[at : at + size]
            at += size


def _is_record(extradata: bytes) -> bool:
    return extradata[:1] == b"\1"


def _between_starts(data: bytes) -> Iterator[bytes]:
    at = data.find(b"\0\0\1")
    if at < 0 or data[:at].strip(b"\0"):
        raise BadStream("a packet doesn't begin with a start code")
    while at >= 0:
        following = data.find(b"\0\0\1", at + 3)
        unit = data[at + 3 : following if following >= 0 else len(data)]
        yield unit.rstrip(b"\0")  # zeros belong to the next start code; a unit never ends with one
        at = following


def kind(codec: str, unit: bytes) -> int:
    """Its type."""
    if len(unit) < _HEADER[codec]:
        raise BadStream("a unit without a header")
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def begins_group(codec: str, units: Iterable[bytes]) -> bool:
    """Whether it is an IDR picture: nothing that follows refers to anything before, or is shown before it."""
    return any(kind(codec, unit) in _IDR[codec] for unit in units)


def in_record(codec: str, extradata: bytes) -> list[bytes]:
    """The parameter sets of a stream's extradata. Raises BadStream."""
    if not extradata:
        return []
    if not _is_record(extradata):
        return [unit for unit in _between_starts(extradata) if kind(codec, unit) in _SETS[codec]]
    found, reader = list[bytes](), _Bytes(extradata, 5 if codec == "h264" else 22)
    if codec == "h264":
        for mask in (31, 255):
            found += [reader.take(reader.number(2)) for _ in range(reader.number(1) & mask)]
        return found
    for _ in range(reader.number(1)):
        reader.number(1)
        found += [reader.take(reader.number(2)) for _ in range(reader.number(2))]
    return [unit for unit in found if kind(codec, unit) in _SETS[codec]]


class _Bytes:
    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise BadStream("a record ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))


class ParameterSets:
    """The sets that a stream has shown so far, by type and number."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._sets = dict[tuple[int, int], bytes]()
        self.changed = False  # one came again with other contents

    def see(self, units: Iterable[bytes]) -> None:
        """Takes note of those among a packet's units. Raises BadStream."""
        for unit in units:
            if (found := kind(self._codec, unit)) in _SETS[self._codec]:
                key = (found, _number(self._codec, found, unit))
                self.changed |= self._sets.setdefault(key, unit) != unit

    def bytes(self) -> bytes:
        """All, with start codes, in the order in which a decoder needs them."""
        return b"".join(START + self._sets[key] for key in sorted(self._sets))

    def free(self) -> int | None:
        """The lowest number above 0 that no set has; None where all are used."""
        used = {number for _, number in self._sets}
        return next((number for number in range(1, MOST_SETS + 1) if number not in used), None)


def _number(codec: str, found: int, unit: bytes) -> int:
    """The number of a parameter set. HEVC's sequence sets have theirs after a profile of any length, and are told apart
    by that they come again with the same contents; there is one as a rule."""
    if codec == "hevc":
        return unit[2] >> 4 if found == 32 else _exp_golomb(unit[2:]) if found == 34 else 0
    return _exp_golomb(unit[1:] if found == 8 else unit[4:])


def _exp_golomb(data: bytes) -> int:
    """The unsigned number that the bits begin with. Raises BadStream."""
    head = data[:8]
    bits = "".join(f"{byte:08b}" for byte in head)
    zeros = len(bits) - len(bits.lstrip("0"))
    if 2 * zeros + 1 > len(bits):
        raise BadStream("a number without an end")
    return int(bits[zeros : 2 * zeros + 1], 2) - 1


def rewritten(form: Form, data: bytes, sets: bytes) -> bytes:
    """A packet with start codes, without what its maker said in it. If `sets` are given, these parameter sets stand
    before it (after a delimiter, which has to be first) in the place of its own ones. Slices stay as they are."""
    head, body = b"", list[bytes]()
    for unit in form.units(data):
        found = kind(form.codec, unit)
        if found == _DELIMITER[form.codec]:
            head = START + unit
        elif found in _SEI[form.codec]:
            if kept := _without_user_data(form.codec, unit):
                body.append(START + kept)
        elif not (sets and found in _SETS[form.codec]):
            body.append(START + unit)
    return head + sets + b"".join(body)


def slices(form: Form, data: bytes) -> list[bytes]:
    """A packet's pictures alone: for telling whether two packets hold the same."""
    most = 5 if form.codec == "h264" else 31
    return [unit for unit in form.units(data) if kind(form.codec, unit) <= most]


def _without_user_data(codec: str, unit: bytes) -> bytes:
    """Supplemental information without messages of the kinds in which cameras note where and by what they film; empty
    where nothing is left. Captions stay. One that holds several messages, one of them such, goes as a whole."""
    at, size = _HEADER[codec], _HEADER[codec]
    plain = unit.replace(b"\0\0\3", b"\0\0")
    while at + 1 < len(plain) and plain[at] != 0x80:
        payload, at = _run(plain, at)
        size, at = _run(plain, at)
        said = plain[at : at + size]
        if payload == _USER_DATA or (payload == _REGISTERED and not said.startswith(_CAPTIONS)):
            return b""
        at += size
    return unit


def _run(data: bytes, at: int) -> tuple[int, int]:
    """A number that is written as bytes of 255 and a rest, and where it ends."""
    total = 0
    while at < len(data) and data[at] == 255:
        total, at = total + 255, at + 1
    return total + (data[at] if at < len(data) else 0), at + 1
