"""Measure model files from Python and from the example notebook."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import edgeproof
from edgeproof.bench.bench_session import BenchSession
from edgeproof.core.errors import ConfigError, UnknownNameError
from edgeproof.records.record_schema import build_record_schema
from tests.support.external_files import WEIGHTS, make_samples, write_data, write_onnx
from tests.support.notebooks import read_cells, run_cells
from tests.support.project import ROOT

NOTEBOOK = ROOT / "docs/notebook.ipynb"


@pytest.mark.end_to_end
def test_the_example_notebook_runs(api_project: Path) -> None:
    shown = run_cells(NOTEBOOK)
    table = next(value for value in shown if isinstance(value, edgeproof.Table))
    assert [(row.model, row.verdict) for row in table.rows] == [
        ("all_pixels", "valid"),
        ("half_of_the_pixels", "valid"),
    ]
    assert all(row.quality is not None and row.quality.value > 0.8 for row in table.rows)
    assert "all_pixels" in table._repr_html_()
    assert shown[-3] == "too few processes"
    assert set(shown[-2]["model"]) == {"all_pixels", "half_of_the_pixels"}
    assert "teacher" in shown[-1]


def test_the_notebook_holds_no_output() -> None:
    for cell in read_cells(NOTEBOOK):
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        assert not re.search(r"/(home|root|work|tmp|Users)/", cell["source"])


@pytest.mark.end_to_end
def test_an_interrupted_call_continues_with_the_runs_that_are_missing(
    api_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = BenchSession._measure
    measured: list[str] = []

    def interrupt_third(session: BenchSession, job, order: int) -> None:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measure(session, job, order)
        measured.append(str(job.directory))

    write_onnx(api_project / "linear.onnx")
    x, y = make_samples()
    arguments = {"data": {"x": x, "y": y}, "scenarios": "single_stream", "preset": "quick"}
    monkeypatch.setattr(BenchSession, "_measure", interrupt_third)
    with pytest.raises(KeyboardInterrupt):
        edgeproof.bench("linear.onnx", **arguments)
    assert "interrupted. Finished work is kept: the same call continues." in capsys.readouterr().err
    first = list(measured)
    measured.clear()
    monkeypatch.setattr(
        BenchSession, "_measure", lambda *call: (measure(*call), measured.append(str(call[1].directory)))
    )
    table = edgeproof.bench("linear.onnx", **arguments)
    assert len(first) == 2
    assert measured
    assert not set(first) & set(measured)
    validator = Draft202012Validator(build_record_schema())
    for record in table.records.rglob("record.json"):
        validator.validate(json.loads(record.read_text(encoding="utf-8")))
    assert table.rows[0].quality is not None
    assert table.rows[0].quality.value == pytest.approx(np.mean((x @ WEIGHTS).argmax(1) == y))


def test_an_argument_that_does_not_fit_is_refused_before_anything_is_measured(api_project: Path) -> None:
    write_onnx(api_project / "linear.onnx")
    with pytest.raises(UnknownNameError, match=r"unknown preset 'quik'\. Did you mean 'quick'"):
        edgeproof.bench("linear.onnx", preset="quik")
    with pytest.raises(ConfigError, match=r"no\.onnx"):
        edgeproof.bench("no.onnx")
    with pytest.raises(ConfigError, match=r"data\['x'\] holds Python objects"):
        edgeproof.bench("linear.onnx", data={"x": np.array([{}], object)})
    with pytest.raises(UnknownNameError, match="unknown runtime 'onx'"):
        edgeproof.bench("linear.onnx", data=write_data(api_project / "data.npz"), runtimes="onx")
    assert not (api_project / "results").exists()


def test_a_call_outside_of_a_project_says_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is not an edgeproof project"):
        edgeproof.bench("linear.onnx")


def test_a_call_leaves_the_environment_as_it_was(api_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENVINO_TELEMETRY_DISABLE", "mine")
    monkeypatch.delenv("NNCF_TELEMETRY_DISABLE", raising=False)
    before = dict(os.environ)
    with pytest.raises(ConfigError):
        edgeproof.bench("no.onnx")
    assert dict(os.environ) == before
