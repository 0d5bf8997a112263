"""TOML or JSON -> frozen structs, and one clear line when the file is wrong.

Any msgspec struct can be loaded. Unknown keys are refused by a look at the struct's fields, at
every depth, even where the struct itself would let them pass.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from glet.errors import ConfigError

T = TypeVar("T")

QUOTED = 60
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_AT_PATH = re.compile(r" - at `\$\.?(.*)`$")


def load(path: Path, kind: type[T]) -> T:
    """The file as a `kind`. Raises ConfigError that says file, field and what would be valid."""
    return decode(read_text(path), kind, str(path))


def read_text(path: Path) -> str:
    """The text of a file that a user named. Raises ConfigError when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def decode(text: str, kind: type[T], where: str) -> T:
    """Like load(), for text; `where` names its origin in errors."""
    return _convert(_parse(text, where), kind, where)


def decode_json(text: str, kind: type[T], where: str) -> T:
    """Like decode(), for JSON; what is no JSON is named as `where:line:column`."""
    return _convert(_parse_json(text, where), kind, where)


def _convert(data: Any, kind: type[T], where: str) -> T:
    misnamed = _misnamed(msgspec.inspect.type_info(kind), data, "")
    if misnamed is not None:
        raise ConfigError(f"{where}: {misnamed}")
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
            raise ConfigError(f"{where}: {one_line(message)}") from error
        lines = text.splitlines() or [""]
        number = int(at[1] or text.count("\n") + 1)
        what = one_line(message[: at.start()])
        quoted = lines[min(number, len(lines)) - 1].strip()[:QUOTED]
        raise ConfigError(f"{where}:{number}: {what} in {quoted!r}") from error


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_table, parse_constant=_no_number)
    except RecursionError as error:
        raise ConfigError(f"{where}: is nested too deeply") from error
    except json.JSONDecodeError as error:
        at = f"{where}:{error.lineno}:{error.colno}"
        raise ConfigError(f"{at}: {one_line(error.msg)}") from error
    # A number of 5,000 digits, or what the two functions below refuse.
    except ValueError as error:
        raise ConfigError(f"{where}: {one_line(str(error))}") from error


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"key {key!r} is there twice")
        table[key] = value
    return table


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number that can be used")


def _located(message: str) -> str:
    """`Expected `int`, got `str` - at `$.a[0].b`` -> `a[0].b: expected int, got str`."""
    at = _AT_PATH.search(message)
    field = at[1] if at else ""
    what = (message[: at.start()] if at else message).replace("`", "").removeprefix("Object ")
    what = what[:1].lower() + what[1:]
    return one_line(f"{field}: {what}" if field else what)


def one_line(message: str) -> str:
    """The same in one line, also where a terminal would break it."""
    return " ".join(message.split())


def _misnamed(kind: msgspec.inspect.Type, data: Any, path: str) -> str | None:
    """What is wrong with the first key or choice of `data` that `kind` does not know, or None."""
    match kind:
        case msgspec.inspect.StructType() if isinstance(data, dict):
            return _misnamed_in_struct(kind, data, path)
        case msgspec.inspect.UnionType():
            return _misnamed_in_union(kind, data, path)
        case msgspec.inspect.DictType() if isinstance(data, dict):
            tables = ((f"{path}.{key}".lstrip("."), value) for key, value in data.items())
            return _first(_misnamed(kind.value_type, value, at) for at, value in tables)
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType() if isinstance(data, list):
            items = enumerate(data)
            return _first(_misnamed(kind.item_type, item, f"{path}[{i}]") for i, item in items)
        case msgspec.inspect.LiteralType() if isinstance(data, str) and data not in kind.values:
            return _no_choice(path, data, kind.values)
    return None


def _misnamed_in_struct(
    kind: msgspec.inspect.StructType, data: dict[str, Any], path: str
) -> str | None:
    fields = {field.encode_name: field.type for field in kind.fields}
    valid = [*fields, *([kind.tag_field] if kind.tag_field else [])]
    for key in data:
        if key not in valid:
            at = f"in {path}, " if path else ""
            return f"{at}unknown key {key!r}; {nearest(key, valid)}"
    return _first(
        _misnamed(fields[key], value, f"{path}.{key}".lstrip("."))
        for key, value in data.items()
        if key in fields
    )


def _misnamed_in_union(kind: msgspec.inspect.UnionType, data: Any, path: str) -> str | None:
    if not isinstance(data, dict):
        return _first(_misnamed(part, data, path) for part in kind.types)
    structs = [part for part in kind.types if isinstance(part, msgspec.inspect.StructType)]
    for part in structs:
        if part.tag_field is None or data.get(part.tag_field) == part.tag:
            return _misnamed_in_struct(part, data, path)
    field = structs[0].tag_field if structs else None
    tag = data.get(field) if field else None
    if isinstance(tag, str):
        return _no_choice(f"{path}.{field}".lstrip("."), tag, [part.tag for part in structs])
    return None


def _no_choice(path: str, value: str, choices: Iterable[Any]) -> str:
    return f"{path}: {value!r} is none of {', '.join(sorted(map(str, choices)))}"


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)
