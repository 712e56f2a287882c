"""The space of a search: for each key a numeric range or a choice of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import optuna

SIGNIFICANT_DIGITS = 4


@dataclass(frozen=True)
class RangeAxis:
    """Numbers from `low` to `high`, both included.

    Attributes:
        step: distance between neighbouring values, or None for a continuous range.
        is_logarithmic: whether values are drawn from a logarithmic scale.
        is_integer: whether values are integers.
    """

    low: float
    high: float
    step: float | None
    is_logarithmic: bool
    is_integer: bool

    def suggest(self, trial: optuna.Trial, key: str) -> str:
        """Let the trial choose a value. Return it as an override writes it."""
        if self.is_integer:
            step = int(self.step or 1)
            return str(trial.suggest_int(key, int(self.low), int(self.high), step=step, log=self.is_logarithmic))
        value = trial.suggest_float(key, self.low, self.high, step=self.step, log=self.is_logarithmic)
        return f"{value:.{SIGNIFICANT_DIGITS}g}"

    def list_probe_values(self) -> list[str]:
        """Return values that a study must accept: both ends, and for a continuous range a fraction between them."""
        if self.is_integer:
            return [str(int(self.low)), str(int(self.high))]
        between = [] if self.step else [(self.low + self.high) / 2 + (self.high - self.low) / 16]
        return [f"{value:.{SIGNIFICANT_DIGITS}g}" for value in (self.low, self.high, *between)]


@dataclass(frozen=True)
class ChoiceAxis:
    """One of several values, as overrides write them."""

    values: tuple[str, ...]

    def suggest(self, trial: optuna.Trial, key: str) -> str:
        """Let the trial choose a value."""
        value: str = trial.suggest_categorical(key, self.values)
        return value

    def list_probe_values(self) -> list[str]:
        """Return all values, since a study must accept each of them."""
        return list(self.values)


SearchSpace = Mapping[str, RangeAxis | ChoiceAxis]
