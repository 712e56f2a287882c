"""Selections: the rows, columns and order of a table. Each one that is saved is a YAML file in conf/reports.

`edgeproof report <name>` writes the table. The README's table is conf/reports/readme.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from edgeproof.config.validation import Frozen, validate
from edgeproof.config.yaml_file import read_yaml
from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError, UnknownNameError, suggest_nearest
from edgeproof.report.figures import FIGURES, FORMER_NAMES

REPORTS = Path("conf/reports")
PARTS = ("device", "runtime", "model", "scheme")
Part = Literal["device", "runtime", "model", "scheme"]
Placement = Literal["complete", "partial"]
Scenario = Literal["accuracy", "SingleStream", "MultiStream", "Offline", "Server"]


class Selection(Frozen):
    """Definition of a table. A list that is left out selects everything of its kind.

    Raises ValueError for unknown figures and for a part that is both in `rows` and in `across`.
    """

    title: str = "Comparison"
    devices: list[str] | None = None
    runtimes: list[str] | None = None
    models: list[str] | None = None
    schemes: list[str] | None = None
    artifacts: list[str] | None = Field(default=None, description="'model scheme' pairs to show")
    placement: Placement | None = Field(
        default=None, description="show artifacts whose operators all run on the expected unit, or whose don't"
    )
    scenarios: list[Scenario] | None = Field(default=None, description="show figures of these scenarios only")
    baseline: str | None = Field(default=None, description="model whose fp32 artifact is the reference")
    rows: list[Part] = Field(default=["device", "model", "runtime", "scheme"], min_length=1)
    across: list[Part] = Field(default=[], description="parts to show side by side")
    columns: list[str] = Field(default=["quality", "size", "p50", "p99", "speed_up", "verdict"], min_length=1)
    sort: list[str] = Field(default=[], description="parts or figures, with a minus for descending order")
    best: bool = Field(default=True, description="mark the best value of each figure among all cells of its device")
    pareto: list[str] = Field(default=["p50", "quality"], description="figures of the Pareto front of each device")
    into: str | None = Field(default=None, description="Markdown file that holds the table between two markers")

    @model_validator(mode="after")
    def _check_names(self) -> Selection:
        duplicates = set(self.rows) & set(self.across)
        if duplicates:
            raise ValueError(f"{', '.join(sorted(duplicates))} can't be both in rows and across")
        for key, names, known in (
            ("columns", self.columns, set(FIGURES)),
            ("pareto", self.pareto, {name for name, figure in FIGURES.items() if figure.better}),
            ("sort", [name.removeprefix("-") for name in self.sort], {*FIGURES, *PARTS}),
        ):
            for name in names:
                if name in FORMER_NAMES:
                    raise ValueError(f"{key} has '{name}', which is now called '{FORMER_NAMES[name]}'")
                if name not in known:
                    raise ValueError(
                        f"{key} has unknown '{name}'.{suggest_nearest(name, known)} Known: {', '.join(sorted(known))}"
                    )
        return self

    @property
    def figures(self) -> list[str]:
        """The figures of its columns, without those of other scenarios than `scenarios`."""
        if self.scenarios is None:
            return list(self.columns)
        return [name for name in self.columns if FIGURES[name].scenario in (None, *self.scenarios)]


def list_names(directory: Path = REPORTS) -> list[str]:
    """Return the names of the saved selections."""
    return sorted(path.stem for path in directory.glob("*.yaml"))


def load(name: str, changes: Mapping[str, Any] | None = None, directory: Path = REPORTS) -> Selection:
    """Return a saved selection with changes.

    Raises UnknownNameError when it does not exist, and ConfigError when it or a change is invalid.
    """
    path = directory / f"{name}.yaml"
    if name not in list_names(directory):
        raise UnknownNameError("report", name, list_names(directory), f"To add one: {path}.")
    content = read_yaml(path)
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path} must hold keys and values, such as 'columns: [p50]'.")
    return validate(Selection, {**(content or {}), **(changes or {})}, str(path))


def save(selection: Selection, name: str, directory: Path = REPORTS) -> Path:
    """Write a selection as conf/reports/<name>.yaml, without its default values. Return the path.

    Raises ConfigError for a name that is not an identifier.
    """
    if not name.isidentifier():
        raise ConfigError(f"a report's name is a word such as 'edge_boards', not '{name}'.")
    content = selection.model_dump(mode="json", exclude_defaults=True)
    path = directory / f"{name}.yaml"
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110))
    return path
