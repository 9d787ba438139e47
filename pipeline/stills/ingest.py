"""Pictures become a film without loss, which the steps after know how to do, and an album to write them back from."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from math import lcm
from pathlib import Path

import av
import av.error
import numpy as np
from PIL import Image

from pipeline.encode import output_error
from pipeline.errors import InputError, Unsupported
from pipeline.facts import VideoInfo
from pipeline.probe import look as look_at_film
from pipeline.stills import reading
from pipeline.stills.album import Album
from pipeline.stills.kinds import FOLDER, in_folder, written

FILM = "pictures.nut"
_FINEST = 90_000  # ticks a second, at most
_FULL, _BT601, _BT709, _SRGB = 2, 5, 1, 13  # H.273; JPEG's matrix


def ingest(source: Path, work: Path) -> VideoInfo:
    """Look at a picture, an animation, or a folder of pictures of one size, and write their film and album into `work`.
    Memory: one picture. Raises InputErrors, OutputError."""
    files = in_folder(source) if source.is_dir() else [source]
    looks = [reading.look(path) for path in files]
    for path, each in zip(files, looks, strict=True):
        if each.size != looks[0].size:
            why = f"it is {_by(each.size)}, and {files[0].name} is {_by(looks[0].size)}"
            raise Unsupported(f"{path} has another size", why, "a sequence is of one size; do it on its own")
        if each.structure.delays and len(files) > 1:
            raise Unsupported(f"{path} moves", "a sequence is of single pictures", "do it on its own")
        if each.alpha and len(files) > 1 and written(path.name) != path.name:
            raise Unsupported(f"{path} may be transparent", "it would become JPEG, which isn't", "do it on its own")
    blocks = looks[0].structure
    kind = FOLDER if source.is_dir() else reading.checked_kind(source).name
    names = tuple(path.name for path in files) if source.is_dir() else ()
    album = Album(kind, names, blocks.delays, blocks.plays, False, _stripped(looks))
    work.mkdir(parents=True, exist_ok=True)
    shown = album.shown(len(files))
    base = Fraction(1, min(_FINEST, lcm(*(delay.denominator for delay in shown))))
    alpha = _write(files, work / FILM, looks[0].size, [max(1, round(delay / base)) for delay in shown], base)
    replace(album, alpha=alpha).save(work)
    return _info(source, work / FILM, kind, looks[0].mode, Fraction(len(shown)) / sum(shown))


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _stripped(looks: list[reading.Look]) -> tuple[str, ...]:
    counted = Counter(name for each in looks for name in dict.fromkeys(each.beside))
    return tuple(name if len(looks) == 1 else f"{name} of {count} pictures" for name, count in counted.items())


def _pictures(files: list[Path]) -> Iterator[Image.Image]:
    for path in files:
        yield from reading.pictures(path)


def _write(files: list[Path], path: Path, size: tuple[int, int], ticks: list[int], base: Fraction) -> bool:
    """The film. Returns whether some pixel of it isn't opaque."""
    alpha = False
    try:
        out = av.open(path, "w", format="nut", container_options={"avoid_negative_ts": "disabled"})
        with out:
            stream = out.add_stream("ffv1", rate=25, options={"slicecrc": "1", "threads": "1"})
            assert isinstance(stream, av.VideoStream)
            context = stream.codec_context
            context.width, context.height, context.pix_fmt = *size, "yuv444p"
            context.time_base = stream.time_base = base
            now = 0
            for picture, length in zip(_pictures(files), ticks, strict=True):
                alpha = alpha or _clear(picture)
                samples = np.asarray(_opaque(picture).convert("YCbCr")).transpose(2, 0, 1)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format="yuv444p")
                frame.pts, frame.time_base = now, base
                out.mux(stream.encode(frame))
                now += length
            out.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        with suppress(OSError):
            path.unlink()
        raise output_error(error, path) from error
    except ValueError as error:
        raise InputError(f"{files[0].parent} has changed", "other pictures are in it", "begin again") from error
    return alpha


def _opaque(picture: Image.Image) -> Image.Image:
    """Without alpha. Transparent pixels keep their colours: those may show a face, too, to who takes the alpha away."""
    return picture.convert("L" if picture.mode in ("L", "LA") else "RGB")


def _clear(picture: Image.Image) -> bool:
    return picture.mode.endswith("A") and picture.getchannel("A").getextrema() != (255, 255)


def _info(source: Path, film: Path, kind: str, mode: str, rate: Fraction) -> VideoInfo:
    """As of a film, but that it is made of pictures. What FFV1 doesn't say is said here."""
    info = look_at_film(film, 0, film)
    return replace(
        info,
        source=source,
        format=kind,
        codec=kind,
        layout=replace(info.layout, matrix="bt601", full_range=True),
        source_pix_fmt=mode.lower(),
        average_rate=rate,
        color_primaries=_BT709,
        color_trc=_SRGB,
        colorspace=_BT601,
        color_range=_FULL,
        streams=tuple(replace(each, codec=kind, metadata=()) for each in info.streams),
        metadata=(),
        pictures=True,
    )
