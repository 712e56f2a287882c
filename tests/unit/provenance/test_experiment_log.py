"""Log a study to a tracker. The trackers are stand-ins with the same functions."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgeproof.cli import exchange, main
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import experiment_log
from edgeproof.report import tables
from tests.support.command_blocks import find_block
from tests.support.example_rows import CONDITIONS, about, row


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with the tables of its committed study 'small', which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/runtimes").mkdir(parents=True)
    (tmp_path / "conf/config.yaml").write_text("defaults:\n  - study: small\n")
    (tmp_path / "params.yaml").write_text("study: small\n")
    rows = [
        row(conditions={**CONDITIONS, "task": "digits"}, preset="quick", p50_ns=about(1e5)),
        row("student", verdict="invalid", reasons=("late",), p50_ns=None, p99_ns=None, quality=None, preset="quick"),
    ]
    tables.write_tables(tmp_path / "results/tables", rows, study="small", baseline="teacher")
    return tmp_path


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    module = ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_dvclive_gets_valid_figures_with_intervals_and_files_and_leaves_git_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics: dict[str, float] = {}
    files: list[Path] = []
    opened: list[dict[str, Any]] = []
    params: dict[str, str] = {}

    @contextlib.contextmanager
    def open_live(**options: Any) -> Iterator[SimpleNamespace]:
        opened.append(options)
        yield SimpleNamespace(
            log_params=params.update,
            log_metric=lambda name, value, plot: metrics.update({name: value}),
            log_artifact=lambda path, copy, cache: files.append(path),
        )

    stand_in(monkeypatch, "dvclive", Live=open_live)
    assert main.run(["log", "--to", "dvclive"]) == 0
    assert opened == [{"dir": "dvclive", "dvcyaml": None, "save_dvc_exp": False}]
    assert params == {"study": "small", "task": "digits", "preset": "quick", "commit": "unknown"}
    place = "local/onnx/teacher/fp32"
    assert metrics[f"{place}/p50_ns"] == pytest.approx(1e5)
    assert metrics[f"{place}/accuracy_low"] == pytest.approx(0.88)
    assert {name for name in metrics if "student" in name} == {"local/onnx/student/fp32/size_bytes"}
    assert [path.name for path in files] == ["params.yaml", "table.csv", "table.json", "table.md"]
    assert "of study 'small' to dvclive: dvclive/" in capsys.readouterr().out


def test_mlflow_gets_one_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, Any] = {}

    @contextlib.contextmanager
    def start_run(run_name: str) -> Iterator[SimpleNamespace]:
        calls["name"] = run_name
        yield SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    stand_in(
        monkeypatch,
        "mlflow",
        start_run=start_run,
        log_params=lambda params: calls.update(params=params),
        log_metrics=lambda metrics: calls.setdefault("metrics", []).append(metrics),
        log_artifact=lambda path, artifact_path: calls.setdefault("files", []).append((path, artifact_path)),
        get_tracking_uri=lambda: "file:mlruns",
    )
    monkeypatch.setattr(experiment_log, "MLFLOW_BATCH", 10)
    log = experiment_log.collect_log(None)
    place = experiment_log.write_log(log, "mlflow")
    assert place == "run r1 at file:mlruns"
    assert calls["name"] == "small"
    assert calls["params"]["task"] == "digits"
    assert [len(batch) for batch in calls["metrics"]] == [10, len(log.metrics) - 10]
    assert ("results/tables/table.json", "tables") in calls["files"]
    assert ("params.yaml", None) in calls["files"]


def test_the_commands_in_docs_publishing_md_log_to_the_tracker_that_they_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str | None, str]] = []
    monkeypatch.setattr(experiment_log, "collect_log", lambda study: SimpleNamespace(study=study, metrics={}, files=[]))
    monkeypatch.setattr(experiment_log, "write_log", lambda log, tracker: written.append((log.study, tracker)))
    for words in find_block("publishing.md", "edgeproof log").list_edgeproof_arguments():
        assert main.run(words) == 0
    assert written == [(None, "dvclive"), ("digits", "mlflow")]


@pytest.mark.parametrize("tracker", exchange.TRACKERS)
def test_a_tracker_that_is_not_installed_is_named_with_the_command_that_installs_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(EdgeproofError, match=f"'{tracker}' is not installed.*python -m pip install {tracker}"):
        main.run(["log", "--to", tracker])


def test_an_error_of_a_tracker_is_one_message(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("no server")

    stand_in(monkeypatch, "dvclive", Live=refuse)
    with pytest.raises(EdgeproofError, match="dvclive did not take the log: RuntimeError: no server"):
        main.run(["log", "--to", "dvclive"])


def test_a_study_that_has_not_run_is_named_with_the_command_that_runs_it(project: Path) -> None:
    with pytest.raises(EdgeproofError, match="Run the study first: edgeproof repro other"):
        main.run(["log", "other", "--to", "dvclive"])


def test_the_command_offers_every_tracker() -> None:
    assert set(exchange.TRACKERS) == set(experiment_log.TRACKERS)
