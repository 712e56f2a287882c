"""Tests of a real A/B test: two artifacts interleaved in several fresh processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeproof.config import compose
from edgeproof.config.params import Params
from edgeproof.core import directories
from edgeproof.farm import ab_test, artifact_cache, history
from edgeproof.farm.ab_test import GOOD, SUSPECT, ABTestSetup
from edgeproof.records import record_files
from tests.support import tiny_task
from tests.support.bench_project import write_project
from tests.support.farm_runs import write_params

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(600)]

WAITING_RUNTIME = (
    tiny_task.RUNTIME
    + """
import time
class Session(Session):
    def __init__(self, artifact_dir, *, threads):
        super().__init__(artifact_dir, threads=threads)
        self._wait_ns = int((artifact_dir / "wait_ns").read_text())
    def invoke(self):
        end = time.perf_counter_ns() + self._wait_ns
        super().invoke()
        while time.perf_counter_ns() < end:
            pass
"""
)


@pytest.fixture
def suspicion(
    plugin_root: Path, tmp_path: Path, digits_study: Params, monkeypatch: pytest.MonkeyPatch
) -> ab_test.Suspicion:
    """Cache two artifacts whose runtime waits for 200 and 300 µs, and suspect the second on a simulated device."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, WAITING_RUNTIME)
    (tmp_path / "devices" / "board.yaml").write_text("transport: fake\nthreads: 1\n")
    monkeypatch.setattr(compose, "read_default_study", lambda: "study")
    write_params(digits_study, "2026-01-02", task="tiny", transport="fake")
    shas = {}
    for name, wait_ns in ((GOOD, 200_000), (SUSPECT, 300_000)):
        with directories.write_atomically(Path("built") / name) as out:
            np.save(out / "matrix.npy", tiny_task.matrix())
            (out / "wait_ns").write_text(str(wait_ns))
            meta = directories.read_meta(Path("artifacts/matrix/m/fp32"))
            directories.write_meta(out, {key: value for key, value in meta.items() if key not in ("files", "schema")})
        artifact_cache.store_artifact(Path("built") / name, "fp32")
        shas[name] = directories.content_sha256(directories.read_meta(Path("built") / name))
    cell = history.HistoryCell("study", "board", "matrix", "m", "fp32", "single_stream")
    good, suspect = (
        history.NightResult(run, [], 1, [], shas[name], {}, None, None, None)
        for run, name in (("2026-01-01", GOOD), ("2026-01-02", SUSPECT))
    )
    return ab_test.Suspicion(cell, good, suspect, good.run, 1.5)


def test_two_artifacts_are_measured_interleaved_in_fresh_processes_and_compared(
    suspicion: ab_test.Suspicion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ab_test, "ROUNDS", 4)

    def run_in_process(setup: ABTestSetup, out: Path) -> None:
        assert ab_test.main([setup.session, "4", *map(str, (setup.study, setup.artifacts, out))]) == 0

    comparison = ab_test.run_ab_test(suspicion, Path("out"), run_in_process)
    assert comparison.verdict == "slower"
    assert comparison.ratio.value == pytest.approx(1.5, rel=0.1)
    assert comparison.processes == (4, 4)
    records = [record.content for record in record_files.read_all(Path("out"))]
    assert [record["scenario"] for record in records] == ["in_turns"] * 4
    assert {record["artifact"]["sha256"] for record in records} == {suspicion.suspect.artifact}
    for record in records:
        ratios = np.log(record["result"]["own_ns"]) - np.log(record["result"]["other_ns"])
        assert record["in_turns"]["log_ratio"] == pytest.approx(float(np.median(ratios)))


def test_the_a_b_test_runs_as_a_process_of_its_own_and_records_every_round(
    suspicion: ab_test.Suspicion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ab_test, "ROUNDS", 3)
    assert ab_test.run_ab_test(suspicion, Path("out")).verdict == "slower"
    rounds = {(record.content["model"], record.content["process"]) for record in record_files.read_all(Path("out"))}
    assert rounds == {(SUSPECT, n) for n in range(3)}
