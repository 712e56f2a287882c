"""Parse JSON objects into frozen dataclasses, field by field, with a check of each type."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Part = TypeVar("Part")
# The accepted types of every field of a dataclass, and whether the field is required.
_FieldTypes = Mapping[str, tuple[tuple[type, ...], bool]]
_FIELD_TYPES: dict[type[Any], _FieldTypes] = {}


def parse_fields(cls: type[Part], content: Mapping[str, Any], place: str = "", **parsed: Any) -> Part:
    """Return a dataclass made from the keys of a JSON object that are its fields. Other keys are ignored.

    Args:
        cls: the dataclass. Lists become tuples; a field without a default must exist.
        content: the object.
        place: the object's place in the document, for messages.
        parsed: fields that the caller has parsed already.

    Raises KeyError for a missing field, TypeError for one of another type.
    """
    if not isinstance(content, Mapping):
        raise TypeError(f"'{place}' is {content!r}, expected an object")
    values = dict(parsed)
    if cls not in _FIELD_TYPES:
        _FIELD_TYPES[cls] = _describe_fields(cls)
    for name, (kinds, required) in _FIELD_TYPES[cls].items():
        path = f"{place}.{name}" if place else name
        if name in values:
            continue
        if name in content:
            values[name] = _check(content[name], kinds, path)
        elif required:
            raise KeyError(path)
    return cls(**values)


def parse_optional(cls: type[Part], content: Mapping[str, Any], name: str) -> Part | None:
    """Return the dataclass made from `content[name]`, or None where it is missing or null."""
    return None if content.get(name) is None else parse_fields(cls, content[name], name)


def _describe_fields(cls: type[Any]) -> _FieldTypes:
    hints = typing.get_type_hints(cls)
    return {
        field.name: (
            _list_types(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
    }


def _list_types(hint: Any) -> tuple[type, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(accepted for member in typing.get_args(hint) for accepted in _list_types(member))
    origin = typing.get_origin(hint) or hint
    return (float, int) if origin is float else (origin,)


def _check(value: Any, kinds: tuple[type, ...], path: str) -> Any:
    if tuple in kinds and isinstance(value, list):
        return tuple(value)
    if not isinstance(value, kinds):
        names = " or ".join("null" if kind is types.NoneType else kind.__name__ for kind in kinds)
        raise TypeError(f"'{path}' is {value!r}, expected {names}")
    return value
