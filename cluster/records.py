"""Frozen dataclasses as JSON and back, checked against their annotations.

What is written: str, int, float, bool, None, Path, Fraction ("30000/1001"), enums (by value), Literals of str, tuples,
dicts with str keys, dataclasses. A record that does not fit its type is refused with the place where it does not.
"""

import dataclasses
import functools
import json
import types
import typing
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, Union, cast

Record = TypeVar("Record")


class BadRecord(ValueError):
    """The JSON text isn't a record of this type."""


class Open:
    """Base of records by others, who may be newer: fields that aren't known are left out, missing ones have their
    default."""

    __slots__ = ()


def dumps(record: object) -> bytes:
    """UTF-8 JSON, indented: people look into these files."""
    return (json.dumps(plain(record), indent=1, ensure_ascii=False) + "\n").encode()


def plain(value: object) -> Any:
    """The same as dicts, lists, strings and numbers. Raises TypeError for what JSON has no form for."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    raise TypeError(f"no JSON form for {type(value).__name__}")


def loads(kind: type[Record], data: bytes) -> Record:
    """The record again. Raises BadRecord."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise BadRecord(f"not JSON: {error}") from error
    return taken(kind, value)


def taken(kind: type[Record], value: Any) -> Record:
    """The record of what JSON made of it. Raises BadRecord."""
    return cast(Record, _read(kind, value, getattr(kind, "__name__", str(kind))))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(typing.get_args(kind), value, where)
    if origin is typing.Literal and isinstance(value, str) and value in typing.get_args(kind):
        return value
    if origin is tuple:
        return _read_tuple(typing.get_args(kind), value, where)
    if origin is dict and isinstance(value, dict):
        item = typing.get_args(kind)[1]
        return {key: _read(item, each, f"{where}[{key}]") for key, each in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _read_dataclass(cast(type, kind), value, where)
    return _read_simple(kind, value, where)


def _read_simple(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is not None and isinstance(kind, type):
        if kind in (str, int, float, bool, type(None)) and type(value) is kind:
            return value
        if issubclass(kind, Enum) or (kind in (Path, Fraction) and isinstance(value, str)):
            try:
                return kind(value)
            except (ValueError, ZeroDivisionError) as error:
                raise BadRecord(f"{where}: {error}") from error
    raise BadRecord(f"{where}: expected {kind}, got {type(value).__name__}")


def _read_dataclass(kind: type, value: dict[str, Any], where: str) -> Any:
    hints = _hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    if issubclass(kind, Open):
        value = {n: each for n, each in value.items() if n in names}
    # What an older version wrote lacks what was added since, which has a default for that.
    names = {n for n in names if n in value or not _has_default(kind, n)}
    if names != value.keys():
        raise BadRecord(f"{where}: expected the fields {sorted(names)}, got {sorted(value)}")
    return kind(**{name: _read(hints[name], value[name], f"{where}.{name}") for name in names})


@functools.cache
def _has_default(kind: type, name: str) -> bool:
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    return not (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)


def _read_tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise BadRecord(f"{where}: expected a list, got {type(value).__name__}")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_read(items[0], each, f"{where}[{i}]") for i, each in enumerate(value))
    if len(items) != len(value):
        raise BadRecord(f"{where}: expected {len(items)} items, got {len(value)}")
    return tuple(_read(item, each, f"{where}[{i}]") for i, (item, each) in enumerate(zip(items, value, strict=True)))


def _read_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    errors = []
    for option in options:
        try:
            return _read(option, value, where)
        except BadRecord as error:
            errors.append(str(error))
    raise BadRecord(errors[0])
