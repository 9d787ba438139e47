"""A segment in which encoded pictures and packets of the source take turns.

Each run of encoded pictures comes from an encoder of its own, so it begins with an IDR picture and refers to nothing
outside. In H.264 the encoder's parameter sets have a number that the source doesn't use: both stand in the stream's
head, and neither takes the other's place. x265 can't be given a number: in HEVC the sets take turns, too, and stand
before each run and each copied group.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import av
import numpy as np

from pipeline.chunk import Chunk
from pipeline.copying.groups import Group, in_rows, pieces
from pipeline.copying.nal import START, Form, in_record
from pipeline.encode import EncoderSettings, Packet, SegmentWriter, encoder
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.picture import Picture
from pipeline.reading import open_input, video_stream

_RUNS_AHEAD = 16  # pictures by which decoding may run ahead of showing, in either codec


class SplicedWriter(SegmentWriter):
    """As SegmentWriter, but that pictures of the groups `copies`, in order and within the chunk, aren't encoded: where
    the first of a group comes, the source's packets are written. `sets` are the source's parameter sets."""

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        index: FrameIndex,
        settings: EncoderSettings,
        threads: int,
        chunk: Chunk,
        copies: Sequence[Group],
        sets: bytes,
    ) -> None:
        self._index, self._sets, self._threads = index, sets, threads
        self._rows = {row[0].start: row for row in in_rows(copies)}
        self._until = 0  # frames before this one are in groups that were copied
        self._encoder: av.VideoCodecContext | None = None
        times = index.pts[chunk.start : chunk.stop]
        step = int(times[1] - times[0]) if len(times) > 1 else 1
        # Decoding times, only so that the file can be written: the film gets others.
        self._decoding = np.concatenate([times[0] - step * np.arange(_RUNS_AHEAD, 0, -1), times])
        super().__init__(path, info, settings, threads, chunk.index)

    def _add_stream(self, threads: int) -> av.VideoStream:
        own = encoder(self._info, self._settings).extradata or b""
        with open_input(self._info.path) as container:
            template = video_stream(container, self._info.video_stream)
            stream = self._container.add_stream_from_template(template, opaque=True)
            stream.codec_context.extradata = head(self._settings.codec, own, self._sets)
            stream.time_base = self._info.time_base
            self._container.start_encoding()
        return stream

    def write(self, picture: Picture) -> None:
        """Encode one picture, or copy it."""
        row = self._rows.get(picture.number)
        if row is not None:
            self._until = row[-1].stop
        if picture.number >= self._until:
            super().write(picture)
            return
        self._next(picture)
        if row is not None:
            self._mux(None)
            self._encoder = None
            for piece in pieces(self._info, self._index, row, self._sets):
                packet = cast(Packet, av.Packet(piece.data))
                packet.pts, packet.time_base = piece.pts - self._origin, self._info.time_base
                packet.is_keyframe = piece.key
                self._put(packet)

    def _packets(self, frame: av.VideoFrame | None) -> Iterable[Packet]:
        if self._encoder is None:
            if frame is None:
                return ()
            self._encoder = encoder(self._info, self._settings, self._threads)
        return cast(Iterable[Packet], self._encoder.encode(frame))

    def _put(self, packet: Packet) -> None:
        packet.stream = self._stream
        packet.dts = int(self._decoding[len(self._order)]) - self._origin
        super()._put(packet)


def head(codec: str, encoders: bytes, sources: bytes) -> bytes:
    """What stands in the stream's head. MP4's and Matroska's own say profile and level by the first set: the one that
    asks for more comes first."""
    if codec != "h264":
        return encoders
    form = Form(codec, 0)
    own = b"".join(START + unit for unit in in_record(codec, encoders))
    first = max((sources, own), key=lambda sets: _asks(next(form.units(sets))))
    return first + (own if first is sources else sources)


def _asks(sequence: bytes) -> tuple[int, int]:
    """Profile and level of a sequence parameter set."""
    return sequence[1], sequence[3]
