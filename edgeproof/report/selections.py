"""Which table: what is compared, what its lines and columns are, how it is sorted. One YAML in conf/reports each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from edgeproof.config.validation import Frozen, validate
from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError, UnknownNameError, suggest_nearest
from edgeproof.report.figures import FIGURES

REPORTS = Path("conf/reports")
PARTS = ("device", "runtime", "model", "scheme")
Part = Literal["device", "runtime", "model", "scheme"]
Scenario = Literal["accuracy", "SingleStream", "MultiStream", "Offline", "Server"]


class Selection(Frozen):
    """A table. What a list leaves out is all of its kind; names that nothing was measured for are not found."""

    title: str = "Comparison"
    devices: list[str] | None = None
    runtimes: list[str] | None = None
    models: list[str] | None = None
    schemes: list[str] | None = None
    artifacts: list[str] | None = Field(default=None, description="'model scheme' pairs to show")
    scenarios: list[Scenario] | None = Field(default=None, description="figures of other scenarios are left out")
    baseline: str | None = Field(default=None, description="the model whose fp32 others are compared with")
    rows: list[Part] = Field(default=["device", "model", "runtime", "scheme"], min_length=1)
    across: list[Part] = Field(default=[], description="parts that stand side by side instead of one below another")
    columns: list[str] = Field(default=["accuracy", "size", "p50", "p99", "speed_up", "verdict"], min_length=1)
    sort: list[str] = Field(default=[], description="parts or figures, a minus before what should fall")
    best: bool = Field(default=True, description="mark the best value of each figure on each device")
    pareto: list[str] = Field(default=["p50", "accuracy"], description="figures of which no other is better in all")
    into: str | None = Field(default=None, description="a Markdown file that holds the table between its markers")

    @model_validator(mode="after")
    def _known(self) -> Selection:
        twice = set(self.rows) & set(self.across)
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} can't be both in rows and across")
        for key, names, known in (
            ("columns", self.columns, set(FIGURES)),
            ("pareto", self.pareto, {name for name, figure in FIGURES.items() if figure.better}),
            ("sort", [name.removeprefix("-") for name in self.sort], {*FIGURES, *PARTS}),
        ):
            for name in names:
                if name not in known:
                    raise ValueError(
                        f"{key} has unknown '{name}'.{suggest_nearest(name, known)} Known: {', '.join(sorted(known))}"
                    )
        return self

    @property
    def shown(self) -> list[str]:
        """The figures of its columns, without those of scenarios that were not asked for."""
        if self.scenarios is None:
            return list(self.columns)
        return [name for name in self.columns if FIGURES[name].scenario in (None, *self.scenarios)]


def list_names(directory: Path = REPORTS) -> list[str]:
    """The saved selections."""
    return sorted(path.stem for path in directory.glob("*.yaml"))


def load(name: str, changes: Mapping[str, Any] | None = None, directory: Path = REPORTS) -> Selection:
    """A saved selection with changes. Raises UnknownNameError or ConfigError."""
    path = directory / f"{name}.yaml"
    if name not in list_names(directory):
        raise UnknownNameError("report", name, list_names(directory), f"To add one: {path}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path} must hold keys and values, such as 'columns: [p50]'.")
    return validate(Selection, {**(content or {}), **(changes or {})}, str(path))


def save(selection: Selection, name: str, directory: Path = REPORTS) -> Path:
    """Write a selection as conf/reports/<name>.yaml: what differs from the defaults, and nothing else."""
    if not name.isidentifier():
        raise ConfigError(f"a report's name is a word such as 'edge_boards', not '{name}'.")
    told = selection.model_dump(mode="json", exclude_defaults=True)
    path = directory / f"{name}.yaml"
    write_text(path, yaml.safe_dump(told, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110))
    return path
