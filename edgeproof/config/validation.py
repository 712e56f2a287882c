"""The base of every checked model of configuration, and one error that lists all problems of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from edgeproof.core.errors import ConfigError, suggest_nearest

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Model = TypeVar("Model", bound=BaseModel)


class Frozen(BaseModel):
    """Immutable, strict about unknown keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def validate(model: type[Model], content: Any, where: str) -> Model:
    """Validate `content` or raise one ConfigError that lists every problem in `where`."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  - {_problem(model, detail)}" for detail in error.errors())
        raise ConfigError(f"{where} has {error.error_count()} problem(s):\n{problems}") from None


def _problem(model: type[BaseModel], detail: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"] if part != "__root__")
    if detail["type"] == "extra_forbidden":
        allowed = _fields_at(model, detail["loc"][:-1])
        hint = suggest_nearest(str(detail["loc"][-1]), allowed)
        listing = f" Allowed: {', '.join(sorted(allowed))}." if allowed else ""
        return f"{key}: unknown key.{hint}{listing}"
    if not key:  # the whole of it disagrees
        return str(detail["msg"]).removeprefix("Value error, ")
    given = "" if detail["type"] == "missing" else f" (given: {detail['input']!r:.60})"
    return f"{key}: {detail['msg']}{given}"


def _fields_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys allowed at a place in the model, for near misses."""
    current: Any = model
    for part in loc:
        fields = getattr(current, "model_fields", None)
        if fields is None:
            return []
        found = next((f for name, f in fields.items() if part in (name, f.alias)), None)
        annotation = found.annotation if found is not None else None
        arguments = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        if annotation is not None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
            current = annotation
        elif arguments:
            return _fields_at(arguments[-1], loc[loc.index(part) + 2 :])
        else:
            return []
    return [field.alias or name for name, field in current.model_fields.items()]
