"""Sessions of the runtimes that are extras: answers are scored, and what can't be measured is a row with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeproof.artifacts import isolation
from edgeproof.bench.bench_session import BenchSession
from edgeproof.config import packages, runtime_extras
from edgeproof.config.params import ExportParams, Params
from edgeproof.core import plugins
from edgeproof.core.ports import Port
from edgeproof.models import model_files
from edgeproof.paths import RECORDS
from edgeproof.records.record import Record
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from tests.support import tiny_task
from tests.support.absent_runtimes import ROOT, cannot_run, is_absent, read_packages
from tests.support.bench_project import SINGLE_STREAM, open_session, write_project

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("restore_torch_settings")]

NETWORK = """
from torch import nn
def build(inputs, outputs): return nn.Sequential(nn.Flatten(), nn.Linear(8, outputs[0].size, bias=False))
"""
EXTRAS = [name for name in plugins.list_names("runtimes") if runtime_extras.find_extra(name) is not None]


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with the trained model 'm' of the tiny task, a matrix, and its data."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    tiny_task.write_plugins(plugin_root)
    (plugin_root / "networks" / "flat.py").write_text(NETWORK)
    ports = (Port("image", tiny_task.INPUT_SHAPE),), (Port("logits", (tiny_task.CLASSES,)),)
    spec = model_files.NetworkSpec("flat", {}, *ports)
    module = spec.build()
    with torch.no_grad():
        module[1].weight.copy_(torch.from_numpy(tiny_task.matrix()))
    unknown = ("task", "validation_quality", "data_sha256")
    facts = {"name": "m", "seed": 0, "method": "train", "options": {}, "lineage": {}, **dict.fromkeys(unknown)}
    model_files.save(module, spec, facts, Path("models/m"))
    return tmp_path


def export(runtime: str, versions: dict[str, str]) -> None:
    item = {"model": "m", "runtime": runtime, "schemes": ["fp32"], "seeds": [0], "threads": 1, "packages": versions}
    isolation.export(ExportParams.model_validate(item), "tiny")


def measure(digits_study: Params, runtime: str, versions: dict[str, str]) -> tuple[list[Record], Row]:
    """Export the model, run a session of it, and return the records and the row of the artifact."""
    export(runtime, versions)
    changes: dict[str, Any] = {"runtime": runtime, "artifacts": {"m": ["fp32"]}, "seeds": [0], "packages": versions}
    scenarios = {"every": {"single_stream": SINGLE_STREAM}, "all": {"single_stream": SINGLE_STREAM}, "final": {}}
    session: BenchSession = open_session(digits_study, **changes, **scenarios)
    records = [session.measure(job, order) for order, job in enumerate(session.plan())]
    session.finish(RECORDS / f"desk_{runtime}")
    order = {"devices": ["desk"], "models": ["m"], "runtimes": [runtime]}
    (row,) = read_rows(RECORDS, baseline="m", order=order)
    return records, row


@pytest.mark.parametrize("runtime", EXTRAS)
def test_a_session_scores_the_answers_or_says_why_it_measures_nothing(
    runtime: str, project: Path, digits_study: Params
) -> None:
    versions = packages.pin(read_packages(runtime), ROOT / packages.LOCK)
    _, row = measure(digits_study, runtime, versions)
    module = plugins.load("runtimes", runtime)
    if is_absent(runtime) or cannot_run(runtime):
        assert row.verdict == "unsupported"
        assert len(row.reasons) == 1
        assert row.size_bytes is None or row.size_bytes > 0
        return
    assert row.verdict == "valid", row.reasons
    assert row.quality is not None
    assert row.quality.value == pytest.approx(0.8)  # the labels are those of the matrix, four times out of five
    if getattr(module, "TIMED", True):
        assert row.p50_ns is not None
        assert row.emulated is None
    else:
        assert row.p50_ns is row.speed_up is None
        assert row.emulated is not None
        assert row.arena_bytes is not None
        assert 8 * 4 < row.arena_bytes < 10_000


def test_a_runtime_that_was_removed_after_the_export_is_a_row_with_the_command(
    project: Path, digits_study: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "mnn 3.6.1 is not installed. Install the runtime: pip install 'edgeproof[mnn]'"
    monkeypatch.setattr(runtime_extras, "explain_absence", lambda runtime, versions: reason)
    records, row = measure(digits_study, "mnn", {"mnn": "3.6.1"})
    assert [record.verdict for record in records] == ["unsupported"]
    assert (row.verdict, row.reasons) == ("unsupported", (reason,))
    assert np.all([path.suffix != ".mnn" for path in Path("artifacts/mnn").rglob("*")])
