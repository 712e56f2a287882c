"""A user's own data for tests: folders of pictures, .npz files and CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeproof.config.params import TaskParams
from edgeproof.core import plugins
from edgeproof.data.own_data import PreparedData

COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


def write_pictures(root: Path, counts: Mapping[str, int], *, size: tuple[int, int] = (6, 8), seed: int = 0) -> Path:
    """Write PNG files of noise around a colour: `counts` maps a folder, such as 'train/red', to its pictures."""
    random = np.random.default_rng(seed)
    for folder, count in counts.items():
        base = np.array(COLOURS.get(folder.rpartition("/")[2], (120, 120, 120)))
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.clip(base + random.normal(0, 30, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    return root


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write a CSV file with a line of names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_kind(kind: str, path: Path, *, seed: int = 0, **options: Any) -> PreparedData:
    """Read a user's data with a kind, as the task 'mine'."""
    plugin = plugins.load("task_kinds", kind)
    prepared: PreparedData = plugin.read("mine", plugin.Options(path=str(path), **options), seed=seed)
    return prepared


def make_params(kind: str, path: Path, **options: Any) -> TaskParams:
    """Return the params of the task 'mine' of a kind."""
    plugin = plugins.load("task_kinds", kind)
    chosen = plugin.Options(path=str(path), **options)
    return TaskParams(
        name="mine",
        kind=kind,
        options=chosen.model_dump(mode="json"),
        depends_on=str(path),
        quality_target=0.5,
        metric=plugin.find_metric(chosen),
        seed=0,
    )
