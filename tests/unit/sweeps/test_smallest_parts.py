"""Parts of a search for the smallest model: budgets, targets, halving, proxies, the winner and the ablation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.config import compose
from edgeproof.core.errors import ConfigError
from edgeproof.core.ports import Port
from edgeproof.models import frameworks
from edgeproof.statistics.estimates import Estimate
from edgeproof.statistics.metric import ACCURACY, Metric
from edgeproof.sweeps.points import SweepPoint
from edgeproof.sweeps.results import ResultRow
from edgeproof.sweeps.smallest import ablation, constraints, halving, proxies, winner
from edgeproof.sweeps.smallest.choices import Choice
from edgeproof.sweeps.smallest.proxies import Proxies, Untrained
from tests.support.sweep_points import ROW

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

IMAGES, LOGITS = (Port("image", (1, 8, 8)),), (Port("logits", (10,)),)
EXPORT = {
    "model": "small", "runtime": "onnx", "schemes": ["int8-static"], "seeds": [0], "threads": 1, "packages": {},
    "strip": True,
}  # fmt: skip
PRUNING = {
    "epochs": 4, "batch_size": 64, "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0,
    "ratio": 0.5, "round_to": 2,
}  # fmt: skip


def untrained(width: int = 16, blocks: int = 2, ratio: float | None = None, **export: Any) -> Untrained:
    options = {"width": width, "blocks": blocks, "stem_kernel": [3, 3], "stem_stride": 1, "dropout": 0.0}
    steps = () if ratio is None else (("prune_channels", {**PRUNING, "ratio": ratio}),)
    return Untrained("ds_cnn", options, steps, IMAGES, LOGITS, {**EXPORT, **export})


# --- the budget --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("within", "limits"),
    [
        ({"size_kb": 16.0}, {"size_bytes": 16_000}),
        ({"flash_kib": 2.0, "ram_kib": 1.0, "arena_kb": 3.0}, {"size_bytes": 2048, "arena_bytes": 1024}),
        ({"size_kb": 16.0, "size_mb": 0.001}, {"size_bytes": 1000}),
        ({"latency_ms": 0.2, "p90_us": 500.0, "macs": 1e6}, {"p90_us": 200, "macs": 1e6}),
        ({"memory_mb": 2.0, "p50_us": 3.0, "parameters": 7}, {"peak_rss_bytes": 2e6, "p50_us": 3, "parameters": 7}),
    ],
)
def test_limits_are_in_the_units_of_figures_and_the_strictest_one_counts(
    within: Mapping[str, float], limits: Mapping[str, float]
) -> None:
    assert constraints.read_budget(within).limits == pytest.approx(limits)


def test_a_device_gives_the_budget_of_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("devices").mkdir()
    budget = "{size_mb: 0.02, latency_ms: 5, memory_mb: 3, energy_mj: 1}"
    Path("devices/cam.yaml").write_text(f"transport: local\nthreads: 1\nbudget: {budget}\n")
    Path("devices/free.yaml").write_text("transport: local\nthreads: 1\n")
    given = constraints.read_budget({"device": "cam", "size_kb": 16.0})
    assert given.limits == pytest.approx({"size_bytes": 16_000, "p90_us": 5000, "peak_rss_bytes": 3e6})
    assert (given.device, given.unchecked, given.proxies) == ("cam", ("energy_mj",), {"size_bytes": 16_000})
    with pytest.raises(ConfigError, match=r"devices/free\.yaml has no budget"):
        constraints.read_budget({"device": "free"})
    with pytest.raises(ConfigError, match=r"unknown device 'cma'\. Did you mean 'cam'"):
        constraints.read_budget({"device": "cma"})


@pytest.mark.parametrize(
    ("within", "message"),
    [
        ({"size": 1.0}, "unknown constraint 'size'.*Known: size_kb"),
        ({"size_kb": 0.0}, "size_kb must be a number greater than 0"),
        ({"size_kb": math.inf}, "greater than 0"),
        ({"macs": "many"}, "macs must be a number"),
        ({}, "needs a budget"),
    ],
)
def test_a_wrong_constraint_is_refused(within: Mapping[str, float | str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        constraints.read_budget(within)


def test_a_constraint_on_the_command_line_is_a_limit_or_a_device() -> None:
    words = ("size_kb=16", "macs=1e6", "device=pi", "smart_camera")
    assert [constraints.parse_constraint(word) for word in words] == [
        ("size_kb", 16.0), ("macs", 1e6), ("device", "pi"), ("device", "smart_camera"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="'big' is not a number"):
        constraints.parse_constraint("size_kb=big")


def test_a_target_is_in_the_unit_of_tables() -> None:
    assert constraints.read_target(90.0, ACCURACY) == pytest.approx(0.9)
    assert constraints.read_target(1.4, Metric("RMSE", "mm", better="less")) == 1.4
    for target in (0.0, 101.0, math.nan):
        with pytest.raises(ConfigError, match="accuracy is between 0 and 100 %"):
            constraints.read_target(target, ACCURACY)
    with pytest.raises(ConfigError, match="needs a target"):
        constraints.read_target(None, ACCURACY)


# --- halving -----------------------------------------------------------------------------------------------------

COST = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda pair: (float(pair[0]), float(pair[1])))
COSTS = st.lists(COST, min_size=1, max_size=12)


def test_each_rung_trains_three_times_as_long_and_keeps_a_third() -> None:
    assert halving.plan_epochs(18, 3, 3) == [2, 6, 18]
    assert halving.plan_epochs(4, 3, 3) == [1, 1, 4]
    assert halving.plan_epochs(0, 2, 3) == [0, 0]
    assert [halving.count_survivors(count, 3) for count in (18, 7, 1)] == [6, 3, 1]


@given(COSTS)
def test_fronts_are_those_of_the_definition(costs: list[tuple[float, float]]) -> None:
    """A candidate's front is one more than the highest front of those that dominate it."""

    def rank(index: int) -> int:
        better = [
            other for other in range(len(costs))
            if all(a <= b for a, b in zip(costs[other], costs[index], strict=True)) and costs[other] != costs[index]
        ]  # fmt: skip
        return 1 + max((rank(other) for other in better), default=-1)

    fronts = halving.sort_fronts(costs)
    assert sorted(itertools.chain(*fronts)) == list(range(len(costs)))
    assert [{rank(index) for index in front} for front in fronts] == [{number} for number in range(len(fronts))]


@given(COSTS, st.integers(1, 12))
def test_halving_keeps_no_candidate_of_a_later_front_than_one_that_it_drops(
    costs: list[tuple[float, float]], count: int
) -> None:
    ranks = {index: rank for rank, front in enumerate(halving.sort_fronts(costs)) for index in front}
    kept = halving.select(costs, count)
    dropped = set(ranks) - set(kept)
    assert len(kept) == min(count, len(costs))
    for one, other in itertools.product(kept, dropped):
        assert (ranks[one], costs[one], one) < (ranks[other], costs[other], other)


# --- proxies -----------------------------------------------------------------------------------------------------


def test_counts_are_those_of_the_formulas_of_a_ds_cnn() -> None:
    """Stem 3×3, then depthwise 3×3 and pointwise 1×1 on 8×8 positions, each with two parameters of normalization."""
    counted = proxies.examine(untrained(width=16, blocks=2), {"size_bytes": 1e9})
    stem, block = 9 * 16, 9 * 16 + 16 * 16
    normalizations = 2 * 16 * (1 + 2 * 2)
    assert counted.parameters == stem + 2 * block + normalizations + 16 * 10 + 10
    assert counted.macs == 64 * (stem + 2 * block) + 16 * 10


@pytest.mark.parametrize("ratio", [None, 0.5])
def test_proxies_equal_the_figures_of_the_trained_and_exported_model(ratio: float | None, tmp_path: Path) -> None:
    """Other weights give the same counts, and a file of the same size."""
    from edgeproof.core import plugins

    candidate = untrained(ratio=ratio)
    predicted = proxies.examine(candidate, {"size_bytes": 1e9})
    torch.manual_seed(5)
    module = plugins.load("networks", "ds_cnn").build(IMAGES, LOGITS, **candidate.network_options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    if ratio is not None:
        task = proxies._make_empty_task(candidate, 1)
        module = plugins.load("methods", "prune_channels").apply(module, task, **{**PRUNING, "epochs": 0})
    facts = frameworks.compute_facts(module.eval(), IMAGES)
    assert (predicted.parameters, predicted.macs) == (facts.parameters, facts.macs)
    runtime = plugins.load("runtimes", "onnx")
    for name in ("full", "stripped"):
        (tmp_path / name).mkdir()
    runtime.export(module, (torch.rand(16, 1, 8, 8).numpy(),), "int8-static", tmp_path / "full")
    runtime.strip(tmp_path / "full", tmp_path / "stripped")
    size = (tmp_path / "stripped" / "model.onnx").stat().st_size
    assert predicted.size_bytes == pytest.approx(size, rel=0.02)


def test_a_candidate_over_a_limit_of_counts_is_not_exported() -> None:
    assert proxies.examine(untrained(), {"macs": 10.0, "size_bytes": 1e9}).size_bytes is None
    assert proxies.examine(untrained(), {"macs": 1e9}).size_bytes is not None


def test_a_candidate_that_cannot_be_built_or_exported_has_a_reason() -> None:
    assert "no scheme 'int3'" in proxies.examine(untrained(schemes=["int3"]), {}).reason
    text = replace(untrained(), inputs=(Port("tokens", (7,), "int64"),))
    assert "does not take the task's inputs" in proxies.examine(text, {}).reason


def test_an_examiner_reads_known_figures_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Untrained] = []

    def examine(self: proxies.Examiner, candidate: Untrained, limits: Mapping[str, float]) -> Proxies:
        calls.append(candidate)
        return Proxies(5, 7, 100)

    monkeypatch.setattr(proxies.Examiner, "_examine", examine)
    for _ in range(2):
        with proxies.Examiner(tmp_path / "proxies.json") as examiner:
            assert examiner(untrained(), {"macs": 10}) == Proxies(5, 7, 100)
    assert len(calls) == 1
    (tmp_path / "proxies.json").write_text("damaged")
    with proxies.Examiner(tmp_path / "proxies.json") as examiner:
        examiner(untrained(), {"macs": 10})
    assert len(calls) == 2


# --- the winner --------------------------------------------------------------------------------------------------


def row(size_bytes: int, quality: float) -> ResultRow:
    table_row = replace(ROW, size_bytes=size_bytes, quality=Estimate(quality, 0.0, 1.0))
    return ResultRow(SweepPoint((), f"{size_bytes}"), "finished", table_row=table_row)


def test_the_winner_is_the_smallest_row_within_the_limits_that_meets_the_target() -> None:
    rows = [row(900, 0.95), row(300, 0.89), row(500, 0.91), row(500, 0.93), row(2000, 0.99)]
    assert winner.find_winner(rows, {"size_bytes": 1000}, 0.9) is rows[3]
    assert winner.find_winner(rows, {"size_bytes": 1000}, 0.98) is None
    assert winner.find_winner(rows, {"size_bytes": 100}, 0.9) is None


def test_a_missed_target_or_budget_is_answered_with_the_nearest_row() -> None:
    rows = [row(900, 0.85), row(300, 0.5)]
    text = winner.explain_miss(rows, {"size_bytes": 1000}, 0.9, ACCURACY)
    assert "No measured point reaches 90.00%. The best one within the budget reaches 85.00% (point 900)" in text
    text = winner.explain_miss(rows, {"size_bytes": 200}, 0.9, ACCURACY)
    assert "The nearest one, 300, exceeds size_bytes by 50%" in text


# --- choices and the ablation ------------------------------------------------------------------------------------

CHOSEN = Choice("ds_cnn", (("width", "16"), ("blocks", "4")), "8.0", "0.3", "0.25", "int8-static")


def test_the_ablation_has_one_change_a_row_from_the_defaults_to_the_winner() -> None:
    defaults = {"width": 64, "blocks": 4}
    steps = ablation.list_steps(CHOSEN, defaults, {"temperature": "4.0", "hard_weight": "0.3"})
    assert [step.change for step in steps] == [
        "reference: defaults, no teacher, fp32", "width=16", "teacher", "temperature=8.0", "ratio=0.25",
        "scheme=int8-static",
    ]  # fmt: skip
    assert steps[0].choice == Choice("ds_cnn", (), None, None, "0", "fp32")
    assert replace(steps[-1].choice, options=CHOSEN.options) == CHOSEN
    mixed = ablation.list_steps(replace(CHOSEN, mixup="0.2"), defaults, {"temperature": "4.0", "hard_weight": "0.3"})
    assert next(step.change for step in mixed if step not in steps) == "mixup=0.2"


@pytest.mark.parametrize(
    "chosen",
    [
        CHOSEN,
        replace(CHOSEN, temperature=None, hard_weight=None),
        replace(CHOSEN, mixup="0.2"),
        replace(CHOSEN, ratio="0"),
        replace(CHOSEN, scheme="int4-static"),
        replace(CHOSEN, scheme="int4-static", ratio="0"),
    ],
)
def test_a_choice_composes_to_a_study_with_one_final_artifact(chosen: Choice) -> None:
    params = compose.compose(None, ["study=smallest", "bench.runtimes=[tflite]", *chosen.list_overrides()])
    assert params.report.final == {chosen.final_model: [chosen.scheme]}
    trained_for_4_bits = {"rounded": chosen.chain[-2]} if chosen.scheme == "int4-static" else {}
    assert {name: params.find_model(name).parent for name in params.quantize} == trained_for_4_bits
    assert ("small" in params.prune) == (chosen.ratio != "0")
    student = params.find_model("student")
    assert student.network_options["width"] == 16
    assert student.options["mixup"] == float(chosen.mixup or 0)
    teachers = ["teacher"] if chosen.temperature else []
    assert [params.find_model(name).teachers for name in chosen.chain] == [teachers] * len(chosen.chain)
    described = proxies.describe_untrained(params)
    methods = ["prune_channels"] * ("small" in params.prune) + ["round_weights"] * ("rounded" in params.quantize)
    assert [name for name, _ in described.steps] == methods
    assert described.export["strip"] is True
