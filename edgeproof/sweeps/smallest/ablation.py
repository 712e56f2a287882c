"""The ablation of a search: from the network's defaults to the winner, one change at a time."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from edgeproof.core.directories import write_text
from edgeproof.report.markdown_text import Column, format_markdown_table
from edgeproof.sweeps.points import ComposedPoint
from edgeproof.sweeps.smallest.choices import Choice

FILE = "ablation.md"
REFERENCE_SCHEME = "fp32"


@dataclass(frozen=True)
class Step:
    """One row: the change from the row before, and the candidate that results."""

    change: str
    choice: Choice


def list_steps(chosen: Choice, defaults: Mapping[str, Any], distillation: Mapping[str, str]) -> list[Step]:
    """Return the steps from the reference to the chosen candidate.

    The reference is the network with its default options, trained without a teacher, unpruned, in fp32.

    Args:
        defaults: the default options of the network.
        distillation: the study's default temperature and hard_weight.
    """
    reference = Choice(chosen.network, (), None, None, "0", REFERENCE_SCHEME)
    steps = [Step("reference: defaults, no teacher, fp32", reference)]

    def add(change: str, **values: Any) -> None:
        following = replace(steps[-1].choice, **values)
        if following != steps[-1].choice:
            steps.append(Step(change, following))

    for name, value in chosen.options:
        if yaml.safe_load(value) != defaults.get(name):
            add(f"{name}={value}", options=(*steps[-1].choice.options, (name, value)))
    if chosen.temperature is not None:
        add("teacher", **distillation)
        add(f"temperature={chosen.temperature}", temperature=chosen.temperature)
        add(f"hard_weight={chosen.hard_weight}", hard_weight=chosen.hard_weight)
    if chosen.mixup is not None and float(chosen.mixup) > 0:
        add(f"mixup={chosen.mixup}", mixup=chosen.mixup)
    if float(chosen.ratio) > 0:
        add(f"ratio={chosen.ratio}", ratio=chosen.ratio)
    add(f"scheme={chosen.scheme}", scheme=chosen.scheme)
    return steps


def write_steps(steps: Sequence[Step], points: Sequence[ComposedPoint], directory: Path) -> str:
    """Write ablation.md with the command of each step. Return a line about it."""
    commands = [shlex.join(["edgeproof", "repro", *point.overrides]) for point in points]
    rows = [(str(number), step.change) for number, step in enumerate(steps)]
    columns = [Column[tuple[str, str]]("step", lambda row: row[0]), Column("change", lambda row: row[1])]
    table = format_markdown_table(rows, columns)
    text = [
        "# Ablation",
        "",
        *table,
        "",
        "Each step has the changes of those before it.",
        "",
        "```sh",
        *commands,
        "```",
        "",
    ]
    write_text(directory / FILE, "\n".join(text))
    return f"Ablation: {len(steps)} steps in {directory / FILE}. To run them too: add --ablation."
