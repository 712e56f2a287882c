"""Plots and columns of federated models, and tables without them."""

from __future__ import annotations

from pathlib import Path

from edgeproof.report import families, federated_plots, tables
from edgeproof.report.figures import choose_figure
from edgeproof.report.row_data import flatten_row
from tests.support.example_rows import row

CURVE = {"round": [1, 2], "bytes": [2**20, 2**21], "quality": [0.5, 0.75]}
FACTS = {
    "rounds": 2,
    "bytes_up": 3 * 2**20,
    "bytes_down": 2**22,
    "client_quality_mean": 0.7,
    "client_quality_worst_tenth": 0.25,
    "curve": CURVE,
    "rejections": [],
}
ROWS = [row("central"), row("iid", federated=FACTS), row("iid", "int8-static", federated=FACTS)]


def test_each_federated_model_has_one_curve(tmp_path: Path) -> None:
    federated_plots.write_plots(ROWS, tmp_path)
    assert (tmp_path / "federated.csv").read_text().splitlines() == [
        "model,round,bytes,quality",
        "iid,1,1048576,0.5",
        "iid,2,2097152,0.75",
    ]
    texts = {name: (tmp_path / name).read_text() for name in ("quality_rounds.svg", "quality_bytes.svg")}
    assert all("validation accuracy, %" in text and ">iid<" in text for text in texts.values())
    federated_plots.write_plots(ROWS, tmp_path)
    assert {name: (tmp_path / name).read_text() for name in texts} == texts


def test_a_study_without_federated_models_has_no_such_plot(tmp_path: Path) -> None:
    federated_plots.write_plots(ROWS[:1], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_columns_of_federations_are_shown_where_a_row_has_them() -> None:
    with_them = tables.format_study_table(ROWS, study="s", baseline="central")
    heading = next(line for line in with_them.splitlines() if line.startswith("| device"))
    expected = ["rounds", "sent by clients, MiB", "sent to clients, MiB"]
    expected += ["accuracy of clients (mean), %", "accuracy of clients (worst tenth), %"]
    assert [name for name in heading.strip("| ").split(" | ") if name in expected] == expected
    assert "epsilon" not in heading
    cells = next(line for line in with_them.splitlines() if "| iid |" in line).split(" | ")
    assert {"2", "3.0", "4.0", "70.00", "25.00"} <= set(cells)
    without = tables.format_study_table(ROWS[:1], study="s", baseline="central")
    assert not any(f"| {name} |" in without for name in expected)
    text = families.format_families(
        families.build_family_rows(ROWS, {"federated": {"central": None, "iid": "central"}}), study="s"
    )
    assert all(f" {name} |" in text for name in expected)


def test_data_for_programs_has_the_numbers_without_the_curve() -> None:
    columns = {name for name in flatten_row(ROWS[1]) if name.startswith("federated")}
    assert columns == {f"federated_{name}" for name, value in FACTS.items() if isinstance(value, int | float)}
    assert choose_figure("worst_tenth", ROWS).get_number(ROWS[1]) == 25.0
