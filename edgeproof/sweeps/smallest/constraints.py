"""The budget of a search: limits of figures that a user gives, or that a device's card has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeproof.config import cards
from edgeproof.core.errors import ConfigError, suggest_nearest
from edgeproof.statistics.metric import Metric

DEVICE = "device"
# The name of a constraint → the figure of a sweep that it limits, and the factor to the figure's unit. 1 kB is 1000
# bytes and 1 KiB is 1024, as on cards. Another figure takes a line here, and one in sweeps/results.py.
CONSTRAINTS = {
    "size_kb": ("size_bytes", 1e3),
    "size_mb": ("size_bytes", 1e6),
    "parameters": ("parameters", 1.0),
    "macs": ("macs", 1.0),
    "p50_us": ("p50_us", 1.0),
    "p90_us": ("p90_us", 1.0),
    "latency_ms": ("p90_us", 1e3),
    "memory_mb": ("peak_rss_bytes", 1e6),
    "arena_kb": ("arena_bytes", 1e3),
    "flash_kib": ("size_bytes", 1024.0),
    "ram_kib": ("arena_bytes", 1024.0),
}
# Figures that are known before anything is trained.
PROXIES = ("parameters", "macs", "size_bytes")


@dataclass(frozen=True)
class Budget:
    """Limits by the names of figures, the device that they come from, and limits of its card that no figure has."""

    limits: Mapping[str, float]
    device: str | None = None
    unchecked: tuple[str, ...] = ()

    @property
    def proxies(self) -> dict[str, float]:
        """The limits that can be checked before anything is trained."""
        return {name: limit for name, limit in self.limits.items() if name in PROXIES}


def parse_constraints(words: Sequence[str]) -> dict[str, float | str]:
    """Return the names and the values of constraints. Raises ConfigError, also for a name that is given twice."""
    limits: dict[str, float | str] = {}
    for name, value in map(parse_constraint, words):
        if name in limits:
            raise ConfigError(f"--within gives {name} twice, as {limits[name]} and {value}. Give it once.")
        limits[name] = value
    return limits


def parse_constraint(word: str) -> tuple[str, float | str]:
    """Return the name and the value of one constraint, as in size_kb=16, device=pi or pi. Raises ConfigError."""
    name, equals, value = word.partition("=")
    if not equals:
        return DEVICE, word
    if name == DEVICE:
        return name, value
    try:
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--within {word}: '{value}' is not a number. Example: --within size_kb=16") from None


def read_budget(within: Mapping[str, float | str]) -> Budget:
    """Return the limits of constraints. The strictest limit of a figure counts.

    Raises ConfigError for an unknown constraint, a value that is no positive number, and a card without limits.
    """
    limits: dict[str, float] = {}
    unchecked: list[str] = []
    device = within.get(DEVICE)
    given = {name: value for name, value in within.items() if name != DEVICE}
    entries = [(name, value, "") for name, value in given.items()]
    if device is not None:
        card_limits = _read_card(str(device))
        entries += [(name, limit, f" (devices/{device}.yaml)") for name, limit in card_limits.items()]
    for name, value, source in entries:
        if source and name not in CONSTRAINTS:
            unchecked.append(name)
            continue
        figure, factor = _find_figure(name)
        if isinstance(value, str) or not 0 < value < math.inf:
            raise ConfigError(f"{name} must be a number greater than 0 (given: {value}){source}.")
        limits[figure] = min(value * factor, limits.get(figure, math.inf))
    if not limits:
        raise ConfigError("a search needs a budget. Give limits, such as: --within size_kb=16 --within macs=1e6")
    return Budget(limits, None if device is None else str(device), tuple(unchecked))


def read_target(target: float | None, metric: Metric) -> float:
    """Return the quality that is asked for, in natural units, from one in the unit of tables (90 for 90%).

    Raises ConfigError without a target and for one that no model can reach.
    """
    if target is None:
        unit = f" in {metric.unit}" if metric.unit else ""
        raise ConfigError(f"a search needs a target: the {metric.label}{unit} to reach, such as --target 90")
    quality = target / metric.scale
    if not math.isfinite(quality) or (metric.is_proportion and not 0 < quality <= 1):
        raise ConfigError(
            f"target {target:g} cannot be reached: {metric.label} is between 0 and {metric.scale:g} {metric.unit}. "
            "Give it as tables show it."
        )
    return quality


def describe_limits(limits: Mapping[str, float]) -> str:
    """Return limits as text, such as 'size_bytes ≤ 16,000'."""
    return ", ".join(f"{name} ≤ {limit:,.10g}" for name, limit in limits.items())


def _read_card(device: str) -> dict[str, float]:
    budget = cards.read(device).budget
    limits = {} if budget is None else budget.model_dump(exclude_none=True)
    if not limits:
        raise ConfigError(
            f"devices/{device}.yaml has no budget. Add one, such as 'budget: {{size_mb: 0.5, latency_ms: 20}}', or "
            "give limits: --within size_kb=500"
        )
    return limits


def _find_figure(name: str) -> tuple[str, float]:
    if name not in CONSTRAINTS:
        known = [*CONSTRAINTS, DEVICE]
        raise ConfigError(f"unknown constraint '{name}'.{suggest_nearest(name, known)} Known: {', '.join(known)}.")
    return CONSTRAINTS[name]
