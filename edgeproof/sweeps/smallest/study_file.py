"""Write the chosen point as a study of its own, conf/study/<name>.yaml, and check that it makes the same stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from edgeproof.config import compose, params_file
from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.sweeps.points import SweepPoint
from edgeproof.sweeps.smallest.choices import FLOOR
from edgeproof.sweeps.store import SweepStore

STUDIES = Path("conf/study")
MARK = "# Chosen by a search:"
# Keys of a study that its file has only if they differ from their defaults.
OPTIONAL_KEYS = {"seeds": [], "strip": False, "scheme": None}
BENCH_KEYS = ("devices", "runtimes", "session", "interleaved", "every", "final", "baseline")


def refuse_foreign_file(name: str) -> None:
    """Raise ConfigError if a study of this name exists that no search has written."""
    if name in compose.list_studies() and not is_written_by_search(name):
        raise ConfigError(f"study '{name}' exists and was not written by a search. Choose another name with --save-as.")


def is_written_by_search(name: str) -> bool:
    """Return True if this project has a study of this name that a search has written."""
    path = STUDIES / f"{name}.yaml"
    return path.is_file() and MARK in path.read_text("utf-8", "replace")


def write_chosen_study(name: str, point: SweepPoint, store: SweepStore) -> Path:
    """Write a finished point as a study, print how to rebuild it, and return its path.

    Raises ConfigError, and leaves the directory as it was, if the study would not make the same stages.
    """
    refuse_foreign_file(name)
    path = STUDIES / f"{name}.yaml"
    before = path.read_bytes() if path.is_file() else None
    write_text(path, format_study(name, point.overrides))
    expected = store.load_params(point.digest).model_copy(update={"study": name})
    try:
        if params_file.dump_params(compose.compose(name)) != params_file.dump_params(expected):
            raise ConfigError(
                f"the point can't be written as a study of its own, because it overrides definitions that studies "
                f"share. Run it with: edgeproof repro {' '.join(point.overrides)}"
            )
    except EdgeproofError:
        path.unlink() if before is None else path.write_bytes(before)
        raise
    print(f"Study: {path}. To build and measure it again: edgeproof repro {name}")
    return path


def format_study(name: str, overrides: Sequence[str]) -> str:
    """Return the YAML of a study that is composed from overrides, without interpolations: equal points, equal text."""
    content = compose.compose_content(overrides)
    bench, task = content["bench"], content["task"]
    floor = content["tasks"][task].get(FLOOR)
    study: dict[str, Any] = {
        "defaults": [{"override /preset": bench["preset"]}],
        "study": name,
        **{key: content[key] for key in ("task", "seed", "threads")},
        **{key: content[key] for key, default in OPTIONAL_KEYS.items() if content.get(key, default) != default},
        **({} if floor is None else {"tasks": {task: {FLOOR: floor}}}),
        "models": {model: _drop_nulls(entry) for model, entry in content["models"].items()},
        "bench": {key: bench[key] for key in BENCH_KEYS if key in bench},
    }
    body = yaml.safe_dump(study, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    return f"# @package _global_\n{MARK} edgeproof repro {' '.join(overrides)}\n{body}"


def _drop_nulls(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}
