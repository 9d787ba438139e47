"""Lists of films that are to be jobs: CSV with a line of names, or JSON lines. Everything that is wrong is told, with
file and line, before anything is done."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster.config import UsageError, moment
from cluster.job import Veil
from cluster.ways.way import Asked
from storage.address import is_object

DEVICES = ("any", "cpu", "cuda")
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")
_MOST = 100_000  # lines


class Wrong(UsageError):
    """Something in a line can't be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One thing that a line may say: the field of Asked, and how it is read. `read` raises ValueError."""

    field: str
    read: Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it is no text")
    return value.strip()


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = value if isinstance(value, int) and not isinstance(value, bool) else _number(int, value)
        if not low <= number <= high:
            raise ValueError(f"it is a whole number from {low} to {high}")
        return int(number)

    return read


def _number(kind: Callable[[str], Any], value: Any) -> Any:
    try:
        return kind(str(value).strip())
    except ValueError:
        raise ValueError("it is no such number") from None


def _hours(value: Any) -> float:
    hours = float(_number(float, value))
    if not 0 <= hours < 1e6 or isinstance(value, bool):
        raise ValueError("it is hours from now, 0 or more")
    return hours


def _truth(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in (*_YES, *_NO):
        raise ValueError("it is true or false")
    return text in _YES


def _one_of(kinds: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if _text(value) not in kinds:
            raise ValueError(f"it is {', '.join(kinds[:-1])} or {kinds[-1]}")
        return _text(value)

    return read


def _time(value: Any) -> str:
    text = _text(str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value)
    moment(text)
    return text


def _several(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(_text(each) for each in value)
    return tuple(_text(value).replace(",", " ").replace(";", " ").split())


COLUMNS = {
    "source": Column("source", _text),
    "to": Column("to", _text),
    "veil": Column("veil", lambda value: Veil(_one_of(tuple(each.value for each in Veil))(value))),
    "quality": Column("quality", lambda value: _text(str(value))),
    "codec": Column("codec", _one_of(("h264", "hevc", "av1"))),
    "drop_dynamic_hdr": Column("drop_dynamic_hdr", _truth),
    "convert_audio": Column("convert_audio", _truth),
    "convert_subtitles": Column("convert_subtitles", _truth),
    "copy_clean": Column("copy_clean", _truth),
    "from": Column("start", _time),
    "until": Column("stop", _time),
    "device": Column("device", _one_of(DEVICES)),
    "priority": Column("priority", _whole(-1000, 1000)),
    "limit": Column("limit", _whole(1, 1_000_000)),
    "deadline": Column("deadline", _hours),
    "after": Column("after", _several),
    "owner": Column("owner", _text),
    "name": Column("name", _text),
    "id": Column("job", lambda value: _text(value).upper()),
    "overwrite": Column("overwrite", _truth),
    "review": Column("review", _truth),
}


def read(path: Path, otherwise: Asked) -> tuple[list[Asked], list[Wrong]]:
    """What each line asks for, and what is wrong with lines. `otherwise`: where a line says nothing. Paths are seen
    from the list's folder. Raises UsageError for a file that is no list."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"--manifest {path} can't be read", error.strerror or str(error), "check the path") from error
    except ValueError as error:
        raise UsageError(f"--manifest {path} isn't UTF-8", str(error), "save it as UTF-8") from error
    rows = _json_lines(path, text) if text.lstrip()[:1] == "{" else _csv_lines(path, text)
    asked: list[Asked] = []
    wrong: list[Wrong] = []
    for number, row in rows:
        if len(asked) + len(wrong) >= _MOST:
            raise UsageError(f"--manifest {path} has more than {_MOST} lines", "", "cut it into several")
        where = f"{path}:{number}"
        try:
            if isinstance(row, str):
                raise Wrong(f"{where}: {row}")
            asked.append(_asked(row, where, path.parent, otherwise))
        except Wrong as error:
            wrong.append(error)
    if not asked and not wrong:
        raise UsageError(f"--manifest {path} names no film", "it has no lines", "check it")
    return asked, wrong


def _asked(row: dict[str, Any], where: str, folder: Path, otherwise: Asked) -> Asked:
    fields: dict[str, Any] = {}
    for name, value in row.items():
        if value is None or value == "":
            continue
        column = COLUMNS.get(name)
        if column is None:
            raise Wrong(f"{where}: {name!r} is unknown", f"known are {', '.join(COLUMNS)}", "correct it")
        try:
            fields[column.field] = column.read(value)
        except UsageError as error:
            raise Wrong(f"{where}: {name}: {error.what}", error.why, error.todo) from error
        except ValueError as error:
            shown = str(value)[:40]
            raise Wrong(f"{where}: {name} can't be {shown!r}", str(error), "correct it") from error
    if not fields.get("source"):
        raise Wrong(f"{where}: source is missing", "", "name a film")
    for name in ("source", "to"):
        if fields.get(name):
            fields[name] = _seen_from(folder, fields[name])
    return dataclasses.replace(otherwise, **fields, where=where, several=False)


def _seen_from(folder: Path, place: str) -> str:
    if is_object(place) or place.startswith(("/", "server:")):
        return place
    return f"{folder / place}{'/' if place.endswith('/') else ''}"


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line numbers, and what stands there or is wrong with it. Raises UsageError without a line of names."""
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise UsageError(f"{path}:1: this is no CSV", str(error), "correct it") from error
    if "source" not in names:
        why = f"its first line names the columns; known are {', '.join(COLUMNS)}"
        raise UsageError(f"{path}:1: there is no column source", why, "add it")
    if len(set(names)) != len(names):
        raise UsageError(f"{path}:1: two columns have one name", "", "rename one")
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield number, f"this is no CSV; {error}"
            return
        if row is None:
            return
        if len(row) > len(names):
            yield number, f"there are {len(row)} values for {len(names)} columns"
        elif any(cell.strip() for cell in row):
            yield number, dict(zip(names, row, strict=False))


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"this is no JSON; {error}"
            continue
        yield number, row if isinstance(row, dict) else "this is no JSON object"
