"""Validation of configuration files: the base class of their models, and one error that lists all problems."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from edgeproof.core.errors import ConfigError, suggest_nearest

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
# The sha256 of a file, or 'md5:…' for a file whose publisher states nothing else.
Checksum = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|md5:[0-9a-f]{32})$")]
Model = TypeVar("Model", bound=BaseModel)
# No number in a configuration is larger: 10^15 bytes are a petabyte, 10^15 ns are eleven days.
MAX_NUMBER = 1e15


class Frozen(BaseModel):
    """Base class of configuration models: immutable, without unknown keys, without conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    # Former names of keys → their names now.
    RENAMED_KEYS: ClassVar[dict[str, str]] = {}


def validate(model: type[Model], content: Any, where: str, max_number: float = MAX_NUMBER) -> Model:
    """Return `content` as a model.

    Raises ConfigError that lists every problem of `where`, the name of its file. A number that is not finite, or that
    is larger than `max_number`, is a problem in every model.
    """
    problems = [f"{key}: {problem}" for key, problem in _list_wrong_numbers(content, max_number)]
    if not problems:
        try:
            return model.model_validate(content)
        except ValidationError as error:
            problems = [_explain_problem(model, detail) for detail in error.errors()]
    listing = "\n".join(f"  - {problem}" for problem in problems)
    raise ConfigError(f"{where} has {len(problems)} problem(s):\n{listing}")


def _list_wrong_numbers(content: Any, max_number: float, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key and the problem of each number in `content` that is not finite or too large."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _list_wrong_numbers(value, max_number, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from _list_wrong_numbers(value, max_number, f"{key}.{index}" if key else str(index))
    elif isinstance(content, float) and not math.isfinite(content):
        yield key, f"Input should be a finite number (given: {content})"
    elif isinstance(content, int | float) and abs(content) > max_number:
        yield key, f"Input should be at most {max_number:,.0f} in size (given: {content!r:.60})"


def _explain_problem(model: type[BaseModel], detail: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"] if part != "__root__")
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key.{_suggest_keys(model, detail['loc'])}"
    if not key:  # a check of the whole model
        return str(detail["msg"]).removeprefix("Value error, ")
    given = "" if detail["type"] == "missing" else f" (given: {detail['input']!r:.60})"
    return f"{key}: {detail['msg']}{given}"


def _suggest_keys(model: type[BaseModel], loc: Sequence[int | str]) -> str:
    """Return the new or the nearest name of an unknown key, and all allowed keys."""
    parent = _find_model(model, loc[:-1])
    if parent is None:
        return ""
    key = str(loc[-1])
    allowed = [field.alias or name for name, field in parent.model_fields.items()]
    renamed = getattr(parent, "RENAMED_KEYS", {}).get(key)
    hint = f" It is now called '{renamed}'." if renamed else suggest_nearest(key, allowed)
    return f"{hint} Allowed: {', '.join(sorted(allowed))}."


def _find_model(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    """Return the model at a location in `model`, or None if there is none."""
    if not loc:
        return model
    field = next((field for name, field in model.model_fields.items() if loc[0] in (name, field.alias)), None)
    annotation: Any = field.annotation if field is not None else None
    if _is_model(annotation):
        return _find_model(annotation, loc[1:])
    # A container: its key or index is the next part of the location.
    items = [item for item in getattr(annotation, "__args__", ()) if _is_model(item)]
    return _find_model(items[-1], loc[2:]) if items else None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
