"""What a point will make, before anything runs: its stages, and which of them it shares with other points."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

from pydantic import BaseModel

from edgeproof.config.params import FAMILIES, Params

# Stages that measure or read measurements; all others are builds.
MEASURING = ("bench", "report")


def stages(params: Params) -> dict[str, str]:
    """DVC's name of every stage in an order that works, with a digest of its parameters and of all it is made from.

    Two points with the same name and digest share that stage, so it is made once.
    """
    families = {name: family for family in FAMILIES for name in getattr(params, family)}

    @functools.cache
    def model(name: str) -> str:
        item = params.model(name)
        before = [model(source) for source in (item.parent, *item.teachers) if source is not None]
        return _digest(params.task, item, before)

    exports = {f"export@{key}": _digest(item, model(item.model)) for key, item in params.export.items()}
    benches = {
        f"bench@{key}": _digest(item, [exports[f"export@{model}_{item.runtime}"] for model in item.artifacts])
        for key, item in params.bench.items()
    }
    return {
        "prepare": _digest(params.task),
        **{f"{family}@{name}": model(name) for name, family in families.items()},
        **exports,
        **benches,
        "report": _digest(params.report, benches),
    }


def is_build(stage: str) -> bool:
    """Whether a stage makes something, in contrast to measuring it or telling of it."""
    return stage.partition("@")[0] not in MEASURING


def _digest(*parts: Any) -> str:
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
