"""The description of a quality metric, and the evidence from which a quality and its interval are computed.

Evidence is a dictionary of arrays with a common first axis. A row is the unit that is resampled: a sample, a sound,
a picture. The metrics themselves are in edgeproof/metrics, a file each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Evidence = Mapping[str, Array]
# Maps evidence to a quality. Raises DataError where the quality is undefined.
Compute = Callable[[Evidence], float]

# The key of the evidence of a proportion: whether each unit is right, (N,) bool.
CORRECT = "correct"


@dataclass(frozen=True)
class Metric:
    """The description of a metric, which every table, plot and message uses.

    Attributes:
        label: what tables call it, such as "accuracy" or "mAP@0.5".
        unit: the unit in which it is shown; empty if it has none.
        scale: factor from the computed value to `unit`; 100 for percent.
        digits: digits after the decimal point in `unit`.
        better: direction of better values.
        interval: 'wilson' for a proportion of independent units, 'bootstrap' for anything else.
    """

    label: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 3
    better: Literal["more", "less"] = "more"
    interval: Literal["wilson", "bootstrap"] = "bootstrap"

    @property
    def is_proportion(self) -> bool:
        """True for a share of independent units, whose evidence is whether each of them is right."""
        return self.interval == "wilson"

    @property
    def difference_unit(self) -> str:
        """The unit of a difference of two qualities: points for percent."""
        return "points" if self.unit == "%" else self.unit

    @property
    def worse_side(self) -> Literal["below", "above"]:
        """The side of a quality on which worse ones are."""
        return "below" if self.better == "more" else "above"

    def is_better(self, one: float, two: float) -> bool:
        """Return True if the quality `one` is better than `two`."""
        return one > two if self.better == "more" else one < two

    def meets(self, quality: float, target: float) -> bool:
        """Return True if a quality is at least as good as a target."""
        return quality == target or self.is_better(quality, target)

    def format(self, quality: float) -> str:
        """Return a quality as text with its unit, such as 91.20% or 0.853."""
        text = f"{quality * self.scale:.{self.digits}f}"
        return f"{text}%" if self.unit == "%" else f"{text} {self.unit}".rstrip()

    def format_difference(self, difference: float) -> str:
        """Return the size of a difference of two qualities as text with its unit, such as 1.20 points or 0.012."""
        return f"{abs(difference) * self.scale:.{self.digits}f} {self.difference_unit}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return the description as it is recorded."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Metric:
        """Return a recorded description. Keys that this version does not know are ignored. Raises TypeError."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in content.items() if key in known})


# The name and the description of the metric of earlier versions, whose records, tables and models name none.
ACCURACY_NAME = "accuracy"
ACCURACY = Metric("accuracy", "%", 100.0, 2, "more", "wilson")


def count_units(evidence: Evidence) -> int:
    """Return the number of resampling units. Raises ValueError if arrays differ in it or there is none."""
    counts = {len(array) for array in evidence.values()}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(f"the evidence has {sorted(counts)} rows; every array must have the same number, at least 1")
    return counts.pop()


def select_units(evidence: Evidence, rows: Array) -> dict[str, Array]:
    """Return the evidence of the units with the given indices, which may repeat."""
    return {name: array[rows] for name, array in evidence.items()}
