"""The limits of a deployment: what a card's budget allows, and which of it a short measurement can check."""

from __future__ import annotations

from edgeproof.config.cards import Card
from edgeproof.core.errors import ConfigError
from edgeproof.deployed.trial import TrialSettings
from edgeproof.deployment.device_program import MEASURE_S
from edgeproof.deployment.package import Package

CHECKED_LIMITS = ("size_mb", "latency_ms", "memory_mb")


def choose_settings(card: Card) -> TrialSettings:
    """Return how to try a version on a device. The latency of an emulator means nothing, so it has no limit."""
    budget = card.budget
    return TrialSettings(
        threads=card.threads,
        cores=card.cores,
        timeout_s=float(card.timeout_s),
        measure_s=MEASURE_S,
        latency_ms=None if budget is None or card.emulated else budget.latency_ms,
        memory_mb=None if budget is None else budget.memory_mb,
    )


def check_card(name: str, card: Card, *, without_budget: bool) -> None:
    """Raise ConfigError if nothing can run on a device, or if its card has no limit that a deployment can check."""
    if card.npu is not None:
        raise ConfigError(f"'{name}' is an estimate of {card.npu}: nothing runs there.")
    checked = [limit for limit in CHECKED_LIMITS if not (card.emulated and limit == "latency_ms")]
    if without_budget or any(getattr(card.budget, limit, None) is not None for limit in checked):
        return
    lack = "has no budget" if card.budget is None else "has no limit that a deployment can measure"
    raise ConfigError(
        f"the card of '{name}' {lack}. Add one to devices/{name}.yaml, such as 'budget: {{size_mb: 20}}' "
        f"({', '.join(checked)}), or pass --without-budget."
    )


def find_size_problem(card: Card, package: Package) -> str | None:
    """Return the reason why an artifact is larger than its device's budget, or None."""
    limit_mb = None if card.budget is None else card.budget.size_mb
    size_mb = package.artifact_bytes / 1e6
    return None if limit_mb is None or size_mb <= limit_mb else f"size is {size_mb:.4g} MB (limit {limit_mb:g})"
