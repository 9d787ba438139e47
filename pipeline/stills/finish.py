"""Rendered chunks written back as the pictures they were, and held against the source."""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import planes
from pipeline.compare import Comparison
from pipeline.decode import read
from pipeline.encode import Segment
from pipeline.errors import Unsupported, VerifyError
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.kept import MUXERS
from pipeline.reading import decoded, open_input, video_stream
from pipeline.stills import reading
from pipeline.stills.album import Album
from pipeline.stills.coding import encoded, write_bytes
from pipeline.stills.kinds import BY_SUFFIX, Kind
from pipeline.stills.writing import Movie

ARCHIVE = ".zip"  # of a folder's pictures, stored as they are, until they are published
_GIF_COLOURS = 256
_FAR = 4.0  # levels by which what is written with loss may differ on average, where nothing was changed


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as it shall be written."""

    number: int
    path: Path  # the file that it came from
    image: Image.Image
    changed: NDArray[np.bool_]  # (H, W)


def check_target(info: VideoInfo, folder: Path, suffix: str) -> None:
    """Refuse what pictures can't become. `folder` has their album. Raises Unsupported."""
    kind = BY_SUFFIX.get(suffix.lower())
    if not info.pictures:
        if kind is not None:
            raise Unsupported(f"{info.source} is a film", f"it doesn't become {suffix}", "use .mp4, or another film's")
        return
    album = Album.load(folder)
    if to_film(suffix):
        if album.alpha:
            why = "a film has no transparency"
            raise Unsupported(f"{info.source} is transparent in places", why, "use .png, .webp or .gif")
        if not (album.moves or album.names):
            raise Unsupported(f"{info.source} is a picture", f"it doesn't become {suffix}", "use a picture's extension")
    if kind is not None:
        if album.names:
            raise Unsupported(f"{info.source} is a folder", f"it doesn't become one {suffix}", "name a folder, or .mp4")
        if album.moves and not kind.moves:
            raise Unsupported(f"{info.source} moves", f"{suffix} holds one picture", "use .gif, .webp, .png or .mp4")
        if album.alpha and kind.name in ("jpeg", "bmp"):
            raise Unsupported(f"{info.source} is transparent in places", f"{suffix} isn't", "use .png or .webp")


def as_film(info: VideoInfo) -> VideoInfo:
    """Pictures as the film that they became, for whatever reads the source's other streams."""
    return replace(info, source=info.path, format="nut") if info.pictures else info


def stripped(info: VideoInfo) -> tuple[str, ...]:
    """What of pictures is left out on purpose."""
    return Album.load(info.path.parent).stripped


def to_film(suffix: str) -> bool:
    """Whether a file of that kind is a film."""
    return suffix.lower() in MUXERS


def write(
    info: VideoInfo, index: FrameIndex, segments: Sequence[Segment], folder: Path, suffix: str, first: int, last: int
) -> tuple[Path, Comparison]:
    """The pictures [first, last) as one file in `folder`, read again and compared: everything that was not changed is
    as in the source, bit for bit where the format can. A folder's pictures are in an archive. Raises VerifyError,
    OutputError."""
    album = Album.load(info.path.parent)
    target = folder / f"film{ARCHIVE if album.names else suffix}"
    shots = _restored(info, index, segments, album, first, last)
    if album.names:
        _write_folder(shots, target, folder, album.written)
    else:
        _write_file(shots, target, BY_SUFFIX[suffix.lower()], album, first, last)
        _check_file(_restored(info, index, segments, album, first, last), target, album, first, last)
    count = last - first
    return target, Comparison(count, count, True, True, (), album.stripped)


def _restored(
    info: VideoInfo, index: FrameIndex, segments: Sequence[Segment], album: Album, first: int, last: int
) -> Iterator[Shot]:
    """The source's own pixels wherever the rendered frame equals the one that was taken in."""
    rendered = chain.from_iterable(_frames(segment) for segment in sorted(segments, key=lambda s: s.first_pts))
    count = 0
    for before, after, (path, image) in zip(
        read(info, index, first, last), rendered, _originals(info.source, album, first, last), strict=False
    ):
        taken = np.stack([plane.numpy() for plane in before.planes], 2)
        if taken.shape != after.shape or after.shape[:2] != (image.height, image.width):
            raise VerifyError(f"picture {before.number} has another size", str(after.shape), "has the source changed?")
        changed = (taken != after).any(2)
        yield Shot(before.number, path, _mixed(image, after, changed), changed)
        count += 1
    if count != last - first or next(rendered, None) is not None:
        raise VerifyError("the segments are not the pictures", f"{count} of {last - first}", "render them again")


def _frames(segment: Segment) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) Y'CbCr, full range."""
    with open_input(segment.path) as container:
        for frame, lost in decoded(container, video_stream(container, 0), 1):
            name = frame.format.name
            if lost or frame.is_corrupt or name not in ("yuv444p", "yuvj444p"):
                raise VerifyError(f"the segment of chunk {segment.chunk} is wrong", name, "render it again")
            yield np.stack([plane.numpy() for plane in planes.of_frame(frame)], 2)


def _originals(source: Path, album: Album, first: int, last: int) -> Iterator[tuple[Path, Image.Image]]:
    if album.names:
        for name in album.names[first:last]:
            yield from ((source / name, image) for image in reading.pictures(source / name))
    else:
        yield from ((source, image) for image in islice(reading.pictures(source, first), last - first))


def _mixed(image: Image.Image, after: NDArray[np.uint8], changed: NDArray[np.bool_]) -> Image.Image:
    if not changed.any():
        return image
    new = Image.fromarray(np.ascontiguousarray(after), "YCbCr")
    mask = Image.fromarray(changed)
    colours = new.getchannel("Y") if image.mode in ("L", "LA") else new.convert("RGB")
    if image.mode.endswith("A"):
        colours.putalpha(image.getchannel("A"))
    out = image.copy()
    out.paste(colours, (0, 0), mask)
    return out


def _write_folder(shots: Iterator[Shot], target: Path, folder: Path, names: Sequence[str]) -> None:
    """Each picture is checked as soon as it is written; one is held at a time."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for shot in shots:
            look = reading.look(shot.path)
            name = names[shot.number]
            kind = BY_SUFFIX[Path(name).suffix.lower()] if name != shot.path.name else reading.checked_kind(shot.path)
            part = folder / f"part{Path(name).suffix}"
            _write_one(shot, part, kind, look, look.alpha)
            _check_picture(shot, next(reading.pictures(part)), kind, look, part)
            archive.write(part, name)
            part.unlink()


def _write_one(shot: Shot, target: Path, kind: Kind, look: reading.Look, alpha: bool) -> None:
    if kind.name == "gif":
        with Movie(target, "gif", look, 1, 1, alpha) as movie:
            movie.add(shot.image, shot.changed, Fraction(0))
    else:
        image = shot.image
        if not alpha and image.mode.endswith("A"):
            image = image.convert(image.mode[:-1])
        write_bytes(target, encoded(image, kind.name, look))


def _write_file(shots: Iterator[Shot], target: Path, kind: Kind, album: Album, first: int, last: int) -> None:
    shot = next(shots)
    look = reading.look(shot.path)
    if not album.moves:
        _write_one(shot, target, kind, look, album.alpha)
        list(shots)  # which tells when there are more
        return
    delays = album.delays[first:last]
    with Movie(target, kind.name, look, len(delays), album.plays, album.alpha) as movie:
        for each, delay in zip(chain([shot], shots), delays, strict=True):
            movie.add(each.image, each.changed, delay)


def _check_file(shots: Iterator[Shot], target: Path, album: Album, first: int, last: int) -> None:
    look, kind = reading.look(target), reading.checked_kind(target)
    wanted = album.delays[first:last] if last - first > 1 or kind.name != "gif" else ()
    tick = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000)}.get(kind.name, Fraction(1, 65535))
    seen = look.structure.delays
    if len(seen) != len(wanted) or any(abs(a - b) > tick / 2 for a, b in zip(seen, wanted, strict=True)):
        raise _wrong(target, "it has other times than its source")
    if len(wanted) > 1 and look.structure.plays != album.plays:
        raise _wrong(target, "it is played another number of times")
    for shot, image in zip(shots, reading.pictures(target), strict=True):
        _check_picture(shot, image, kind, look, target)


def _check_picture(shot: Shot, found: Image.Image, kind: Kind, look: reading.Look, target: Path) -> None:
    """What was not changed is as in the source, and nothing beside the picture is in the file."""
    if found.size != shot.image.size:
        raise _wrong(target, f"picture {shot.number} is {found.size}")
    if beside := reading.look(target).beside:
        raise _wrong(target, f"it holds {', '.join(beside)}")
    wanted, seen = (np.asarray(image.convert("RGBA")).astype(np.int16) for image in (shot.image, found))
    apart = np.abs(wanted - seen)
    same = ~shot.changed
    exact = kind.exact and look.structure.lossless
    if kind.name == "gif":
        clear = wanted[..., 3] < 128
        if (clear != (seen[..., 3] < 128)).any():
            raise _wrong(target, f"picture {shot.number} has another transparency")
        same &= ~clear
        apart = apart[..., :3]
        colours = np.unique(wanted[same][:, :3].astype(np.uint32) @ np.array([65536, 256, 1], np.uint32))
        exact = len(colours) < _GIF_COLOURS
    if exact and apart[same].any():
        raise _wrong(target, f"picture {shot.number} differs where nothing was changed")
    if same.any() and float(apart[same].mean()) > _FAR:
        raise _wrong(target, f"picture {shot.number} differs by {float(apart[same].mean()):.1f} levels")


def _wrong(target: Path, why: str) -> VerifyError:
    return VerifyError(f"{target.name} is not its source's pictures", why, "report this picture")
