"""The preprocessing of raw inputs, from the task through the device to the table."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edgeproof.bench import session as session_run
from edgeproof.bench import verdict
from edgeproof.bench.verdict import VerdictLimits
from edgeproof.config.params import Params
from edgeproof.paths import RECORDS
from edgeproof.records import record_files
from edgeproof.records.record import Record
from edgeproof.records.record_parts import PreprocessingResult
from edgeproof.records.record_schema import build_record_schema
from edgeproof.report import tables
from edgeproof.report.row import Row
from edgeproof.report.rows import read_rows
from tests.support import tiny_task
from tests.support.bench_project import SINGLE_STREAM, build_study, write_project
from tests.support.markdown_tables import read_cells
from tests.support.run_counters import BEFORE, QUIET
from tests.support.verdict_limits import TOLERANT

RAW_INPUTS = """
import time
from edgeproof.core.raw_inputs import RawInputs
def take(raw):
    {body}
    return raw
RAW_INPUTS = RawInputs(take, lambda: [np.zeros((1, 1, 2, 4), np.float32)], "one synthetic sample")
"""


def measure(digits_study: Params, root: Path, plugin_root: Path, raw_inputs: str) -> tuple[Record, Row, str]:
    """Run a session of a task with these raw inputs. Return the record of its profile, its row and its table."""
    write_project(root)
    (plugin_root / "tasks" / "tiny.py").write_text(f"import numpy as np\n{tiny_task.TASK}{raw_inputs}")
    study = build_study(digits_study, all={"single_stream": SINGLE_STREAM}, artifacts={"m": ["fp32"]}, seeds=[4])
    session_run.run_study_session("desk_matrix", study, TOLERANT)
    record = record_files.read(RECORDS / "desk_matrix/matrix/m.fp32/profile.0")
    Draft202012Validator(build_record_schema()).validate(dict(record.content))
    (row,) = read_rows(RECORDS, baseline="m", order={"devices": ["desk"], "models": ["m"], "runtimes": ["matrix"]})
    return record, row, tables.format_study_table([row], study="tiny", baseline="m")


@pytest.fixture
def project(tmp_path: Path, plugin_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.end_to_end
def test_a_preprocessing_that_sleeps_stands_beside_the_latency(
    digits_study: Params, project: Path, plugin_root: Path
) -> None:
    record, row, table = measure(digits_study, project, plugin_root, RAW_INPUTS.format(body="time.sleep(0.005)"))
    assert record.preprocessing is not None
    durations_ns = np.array(record.preprocessing.durations_ns)
    assert durations_ns.min() >= 5_000_000
    assert row.preprocess_p50_ns is not None
    assert row.preprocess_p90_ns is not None
    assert row.preprocess_p50_ns.value == pytest.approx(np.median(durations_ns)) == pytest.approx(5e6, rel=0.5)
    assert row.preprocess_p90_ns.value == pytest.approx(np.percentile(durations_ns, 90))
    assert row.preprocessed == len(durations_ns) >= 100
    # It is no part of the latency, which is far below the time that it sleeps.
    assert row.p50_ns is not None
    assert row.p50_ns.value < 1_000_000
    (cells,) = read_cells(table)
    assert float(cells["preprocessing p50, µs"].split()[0].replace(",", "")) == pytest.approx(5000, rel=0.5)
    assert "preprocessing p90, µs" in cells
    assert cells["preprocessed inputs"] == str(len(durations_ns))
    assert "preprocessed one synthetic sample" in table


@pytest.mark.end_to_end
def test_a_preprocessing_that_fails_leaves_the_row_without_it_and_gives_the_reason(
    digits_study: Params, project: Path, plugin_root: Path
) -> None:
    record, row, table = measure(digits_study, project, plugin_root, RAW_INPUTS.format(body="raise OSError('no lens')"))
    assert record.preprocessing == PreprocessingResult(missing="OSError: no lens")
    assert row.verdict == "valid"
    assert row.p50_ns is not None
    assert row.preprocess_p50_ns is None
    assert "the time of preprocessing is missing: OSError: no lens" in table
    assert not any(name.startswith("preproc") for name in read_cells(table)[0])


@pytest.mark.end_to_end
def test_a_task_without_raw_inputs_has_no_column(digits_study: Params, project: Path, plugin_root: Path) -> None:
    record, row, table = measure(digits_study, project, plugin_root, "")
    assert record.preprocessing is None
    assert "preprocessing" not in record.content
    assert row.preprocess_missing is None
    assert not any(name.startswith("preproc") for name in read_cells(table)[0])
    runners = list((project / ".edgeproof/runners").glob("runner-*.pyz"))
    assert runners
    assert not any("edgeproof/tasks/tiny.py" in zipfile.ZipFile(runner).namelist() for runner in runners)


@pytest.mark.end_to_end
@pytest.mark.parametrize(("disturbed", "attempts"), [(1, 2), (9, session_run.REPEATS + 1)])
def test_a_disturbed_preprocessing_is_repeated_and_its_records_stay(
    digits_study: Params,
    project: Path,
    plugin_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    disturbed: int,
    attempts: int,
) -> None:
    reasons = iter([["others used the processor"]] * disturbed)
    monkeypatch.setattr(verdict, "explain_disturbances", lambda *_: next(reasons, []))
    record, row, table = measure(digits_study, project, plugin_root, RAW_INPUTS.format(body="pass"))
    assert record.is_disturbed
    assert record.verdict == "valid"
    assert record.preprocessing is not None
    assert record.preprocessing.missing == "others used the processor"
    assert len(list((RECORDS / "desk_matrix/matrix/m.fp32").glob("profile.0*"))) == attempts
    assert row.verdict == "valid"
    assert row.repeated == attempts - 1
    if disturbed < attempts:
        assert row.preprocess_missing is None
        assert row.preprocess_p50_ns is not None
    else:
        assert row.preprocess_p50_ns is None
        assert "the time of preprocessing is missing: others used the processor" in table


def test_a_disturbed_preprocessing_is_explained_as_a_disturbed_run_is() -> None:
    report = {
        "durations_ns": [1_000_000] * 100,
        "warm_up": {"steady": True, "spread": 0.0, "duration_ns": 1},
        "counters": {"before": BEFORE, "after": QUIET},
    }
    assert verdict.explain_disturbances(report) == []
    report |= {"counters": {"before": BEFORE, "after": {**QUIET, "run_delay_ns": 10**8}}}
    assert verdict.explain_disturbances(report) == [
        "the process waited for a processor in 10.0% of the run (limit 0.02)"
    ]
    assert verdict.explain_disturbances(report, VerdictLimits(waiting_share=0.2)) == []
    report |= {"warm_up": {"steady": False, "spread": 0.3, "duration_ns": 2 * 10**9}}
    assert verdict.explain_disturbances(report, VerdictLimits(waiting_share=0.2)) == [
        "no steady state in 2.0 s of warm-up: its last blocks differ by 30%"
    ]
