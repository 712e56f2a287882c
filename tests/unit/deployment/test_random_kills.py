"""A few random moments of tests/fault_deployments.py, which runs a hundred of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests import fault_deployments
from tests.fault_deployments import VICTIMS, Victim


@pytest.mark.parametrize(("kind", "victims"), [("fake", VICTIMS), ("ssh", ("device", "host and link"))])
def test_a_kill_at_a_random_moment_leaves_one_verified_version(
    kind: str,
    victims: tuple[Victim, ...],
    bundles: Path,
    tmp_path: Path,
    plugin_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fault_deployments.open_bench(kind, bundles, tmp_path, monkeypatch) as bench:
        fault_deployments.run_moments(bench, len(victims), random.Random(7), victims)
    assert bench.errors == []
    assert bench.counted.total() == len(victims)
