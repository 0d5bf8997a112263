"""TOML -> frozen structs, and one clear line when the file is wrong.

Any msgspec struct can be loaded. Unknown keys are refused by a look at the struct's fields, at
every depth, even where the struct itself would let them pass.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from glet.errors import ConfigError

T = TypeVar("T")

_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_AT_PATH = re.compile(r" - at `\$\.?(.*)`$")


def load(path: Path, kind: type[T]) -> T:
    """The file as a `kind`. Raises ConfigError that says file, field and what would be valid."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return decode(text, kind, str(path))


def decode(text: str, kind: type[T], where: str) -> T:
    """Like load(), for text; `where` names its origin in errors."""
    data = _parse(text, where)
    unknown = _unknown_key(msgspec.inspect.type_info(kind), data, "")
    if unknown is not None:
        raise ConfigError(f"{where}: {unknown}")
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_located(str(error))}") from error


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for a name that is none of `valid`: the nearest one, or the list of all."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid are {', '.join(names)}" if names else "there are none"


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{where}: is nested too deeply") from error
    # Not only TOMLDecodeError: a number of 5,000 digits is a plain ValueError.
    except ValueError as error:
        message = str(error)
        at = _AT_LINE.search(message)
        if at is None:
            raise ConfigError(f"{where}: {_one_line(message)}") from error
        line = at[1] or str(text.count("\n") + 1)
        raise ConfigError(f"{where}:{line}: {_one_line(message[: at.start()])}") from error


def _located(message: str) -> str:
    """`Expected `int`, got `str` - at `$.a[0].b`` -> `a[0].b: expected int, got str`."""
    at = _AT_PATH.search(message)
    field = at[1] if at else ""
    what = (message[: at.start()] if at else message).replace("`", "").removeprefix("Object ")
    what = what[:1].lower() + what[1:]
    return _one_line(f"{field}: {what}" if field else what)


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _unknown_key(kind: msgspec.inspect.Type, data: Any, path: str) -> str | None:
    """What is wrong with the first key of `data` that no struct in `kind` knows, or None."""
    if isinstance(kind, msgspec.inspect.StructType) and isinstance(data, dict):
        return _unknown_in_struct(kind, data, path)
    if isinstance(kind, msgspec.inspect.UnionType):
        return _unknown_in_union(kind, data, path)
    if isinstance(kind, msgspec.inspect.DictType) and isinstance(data, dict):
        items = ((f"{path}.{key}".lstrip("."), value) for key, value in data.items())
        return _first(_unknown_key(kind.value_type, value, at) for at, value in items)
    if isinstance(kind, msgspec.inspect.ListType | msgspec.inspect.VarTupleType) and isinstance(
        data, list
    ):
        return _first(
            _unknown_key(kind.item_type, value, f"{path}[{index}]")
            for index, value in enumerate(data)
        )
    return None


def _unknown_in_struct(
    kind: msgspec.inspect.StructType, data: dict[str, Any], path: str
) -> str | None:
    fields = {field.encode_name: field.type for field in kind.fields}
    valid = [*fields, *([kind.tag_field] if kind.tag_field else [])]
    for key in data:
        if key not in valid:
            at = f"in {path}, " if path else ""
            return f"{at}unknown key {key!r}; {nearest(key, valid)}"
    return _first(
        _unknown_key(fields[key], value, f"{path}.{key}".lstrip("."))
        for key, value in data.items()
        if key in fields
    )


def _unknown_in_union(kind: msgspec.inspect.UnionType, data: Any, path: str) -> str | None:
    structs = [part for part in kind.types if isinstance(part, msgspec.inspect.StructType)]
    if isinstance(data, dict) and structs:
        for part in structs:
            if part.tag_field is None or data.get(part.tag_field) == part.tag:
                return _unknown_in_struct(part, data, path)
        return None
    return _first(_unknown_key(part, data, path) for part in kind.types)


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)
