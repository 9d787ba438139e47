"""Which files go where: from what was typed to pairs of source and target, each checked before any work begins."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.config import VIDEO_SUFFIXES, Request, UsageError, check_kinds, is_film, output_suffix
from pipeline.errors import InputError, NotAVideo, OutputError, PipelineError
from pipeline.stills.kinds import in_folder, written


@dataclass(frozen=True, slots=True)
class Pair:
    """One film: where it is, and where it goes. `refused` says why nothing can be done with it."""

    source: Path
    target: Path
    refused: PipelineError | None = None

    @property
    def to_folder(self) -> bool:
        """Whether it is a folder of pictures that becomes one."""
        return self.source.is_dir() and not is_film(self.target)


def pairs(inputs: Sequence[Path], output: Path) -> tuple[Pair, ...]:
    """One file: to the file `output`, or into it when it is a folder. Several, or a folder: into the folder `output`,
    under the same names, a folder's tree mirrored; a folder of pictures is a sequence, into a folder or to a film.
    Raises UsageError when that can't be."""
    if len(inputs) == 1 and is_film(output) and not output.is_dir() and _sequence(inputs[0]):
        return (_checked(inputs[0], output),)
    folder = output.is_dir() or len(inputs) > 1 or any(path.is_dir() for path in inputs)
    if not folder:
        return (_checked(inputs[0], output),)
    if output.exists() and not output.is_dir():
        raise UsageError(f"-o {output} is a file", "several films go into a folder", "give a folder")
    found = [_checked(source, output / name) for path in inputs for source, name in _found(path, output, len(inputs))]
    targets: dict[Path, Path] = {}
    for pair in found:
        if (first := targets.setdefault(pair.target, pair.source)) != pair.source:
            why = f"{first} and {pair.source} have the same name"
            raise UsageError(f"two films would become {pair.target}", why, "run them one after the other")
    return tuple(found)


def _sequence(path: Path) -> bool:
    """Whether a folder has no film in it, nor below, and pictures of one size that don't move."""
    from pipeline.stills.reading import is_sequence

    files = in_folder(path) if path.is_dir() else []
    return bool(files) and next(_below(path, path / ".none"), None) is None and is_sequence(files)


def _found(path: Path, output: Path, inputs: int) -> Iterator[tuple[Path, Path]]:
    """(film or pictures, their name below the output folder). A folder without films is a sequence of its pictures, if
    they are of one size; else each is done on its own."""
    if not (path.is_dir() and in_folder(path)) or next(_below(path, output), None) is not None:
        yield from _films(path, output)
    elif _sequence(path):
        yield path, Path(path.name if inputs > 1 else "")
    else:
        yield from ((file, Path(written(file.name))) for file in in_folder(path))


def _films(path: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """(film, its name below the output folder). Raises InputError for a folder without one."""
    if not path.is_dir():
        yield path, Path(path.name).with_suffix(output_suffix(path))
        return
    count = 0
    for count, film in enumerate(_below(path, output), 1):  # noqa: B007
        yield film, film.relative_to(path).with_suffix(output_suffix(film))
    if not count:
        raise InputError(f"{path}: no video in this folder", "no file has a video's extension", "give another folder")


def _below(path: Path, output: Path) -> Iterator[Path]:
    """The films in a folder and those below it, sorted."""
    for folder, folders, files in os.walk(path):
        # Work folders and other hidden ones hold no films of the user's, nor does the output folder if it lies inside.
        folders[:] = [n for n in sorted(folders) if not n.startswith(".") and not _same(Path(folder, n), output)]
        for name in sorted(files):
            film = Path(folder, name)
            if film.suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                yield film


def films_below(folder: Path) -> Iterator[Path]:
    """The films in a folder and those below it, sorted. Raises InputError when there is none."""
    return (film for film, _ in _films(folder, folder / ".no-output"))


def _checked(source: Path, target: Path) -> Pair:
    try:
        _check_source(source)
    except PipelineError as error:
        return Pair(source, target, error)
    return Pair(source, target)


def _check_source(source: Path) -> None:
    if not source.exists():
        raise NotAVideo(f"{source}: no such file", "", "check the path")
    if source.is_dir():
        return
    if not source.is_file():
        raise NotAVideo(f"{source} is no file", "it is a device, a pipe or a socket", "save the film to a file first")
    if source.stat().st_size == 0:
        raise NotAVideo(f"{source} is empty", "it has 0 bytes", "check where it came from")
    if not os.access(source, os.R_OK):
        raise InputError(f"{source} can't be read", "no permission", "check its mode and owner")


def check_target(pair: Pair, sources: Sequence[Path], request: Request) -> None:
    """Refuse to write where it would hurt or can't be done. Raises OutputError, UsageError."""
    target = pair.target
    for source in sources:
        if _same(source, target):
            raise UsageError(f"{target} is an input itself", "the source is never overwritten", "choose another -o")
    check_kinds(pair.source, target)
    if pair.to_folder:
        _check_folder(pair, request)
    elif target.is_dir():
        raise UsageError(f"-o {target} is a folder with the name of the film", "", "choose another -o")
    elif (target.exists() or target.is_symlink()) and not (request.overwrite or request.resume):
        raise UsageError(f"{target} exists", "it would be lost", "choose another -o, or give --overwrite")
    check_writable(target.parent)
    _check_report(pair, sources, request)


def _check_folder(pair: Pair, request: Request) -> None:
    if pair.target.exists() and not pair.target.is_dir():
        raise UsageError(f"-o {pair.target} is a file", "pictures go into a folder", "give a folder")
    names = (written(file.name) for file in in_folder(pair.source))
    taken = next((name for name in names if (pair.target / name).exists()), None)
    if taken is not None and not (request.overwrite or request.resume):
        raise UsageError(f"{pair.target / taken} exists", "it would be lost", "choose another -o, or give --overwrite")


def _check_report(pair: Pair, sources: Sequence[Path], request: Request) -> None:
    """At the end it would be too late: the film would be finished, and its report have no place."""
    path = request.report
    if path is None:
        path = pair.target.with_name(f"{pair.target.name}.report.json")
    others = [*sources, pair.target, *([request.seed_key] if request.seed_key else [])]
    if any(_same(path, other) for other in others):
        raise UsageError(f"--report {path} is another file of this command", "it would be lost", "choose another name")
    if path.exists() and not path.is_file():
        raise UsageError(f"the report can't be {path}", "it is no file", "choose another with --report")
    if not path.parent.is_dir():
        raise UsageError(f"--report {path}: no such folder", "", "make it, or choose another")
    check_writable(path.parent)


def check_writable(folder: Path) -> None:
    """Make the folder where it is missing, and try to write into it. Raises OutputError."""
    probe = folder / f".veilfarm-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        why = error.strerror or str(error)
        raise OutputError(f"can't write into {folder}", why, "choose another folder") from error


def _same(one: Path, other: Path) -> bool:
    """The same file or folder, through links of either kind; also when it isn't there yet."""
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return one.resolve() == other.resolve()
