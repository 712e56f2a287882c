"""List the stages of a study before anything runs. Two studies share a stage if its digest is the same in both."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

from pydantic import BaseModel

from edgeproof.config.params import MODEL_STAGES, Params

# Stages that measure or that read measurements. All others are builds.
MEASURING = ("bench", "report")


def list_stages(params: Params) -> dict[str, str]:
    """Return DVC's name of every stage, in an order in which they can run, and a digest of each.

    The digest covers the stage's parameters and everything it is made from. Two points of a sweep that have a stage of
    the same name and digest share it, so it is made once.
    """
    stages = {name: stage for stage in MODEL_STAGES for name in getattr(params, stage)}

    @functools.cache
    def digest_model(name: str) -> str:
        item = params.find_model(name)
        ancestors = [digest_model(source) for source in (item.parent, *item.teachers) if source is not None]
        return _digest(params.task, item, ancestors)

    exports = {f"export@{key}": _digest(item, digest_model(item.model)) for key, item in params.export.items()}
    benches = {
        f"bench@{key}": _digest(item, [exports[f"export@{model}_{item.runtime}"] for model in item.artifacts])
        for key, item in params.bench.items()
    }
    return {
        "prepare": _digest(params.task),
        **{f"{stage}@{name}": digest_model(name) for name, stage in stages.items()},
        **exports,
        **benches,
        "report": _digest(params.report, benches),
    }


def is_build(stage: str) -> bool:
    """Return True for a stage that builds, False for one that measures or reports."""
    return stage.partition("@")[0] not in MEASURING


def is_training(stage: str) -> bool:
    """Return True for a stage that builds, and exports nothing: it prepares data or makes a model."""
    return is_build(stage) and not stage.startswith("export@")


def _digest(*parts: Any) -> str:
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
