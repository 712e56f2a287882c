"""A suspicion is confirmed by real runs: two artifacts in turns, in several fresh processes."""

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
from tests.unit.bench.test_session import write_project
from tests.unit.conftest import digits_study, plugin_root
from tests.unit.farm.test_history import params_of

__all__ = ["digits_study", "plugin_root"]

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(600)]

WAITING = (
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
    """Two kept artifacts of a runtime that waits, 200 and 300 µs, on a device that this machine plays."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, WAITING)
    (tmp_path / "devices" / "board.yaml").write_text("transport: fake\nthreads: 1\n")
    monkeypatch.setattr(compose, "read_default_study", lambda: "study")
    params_of(digits_study, "2026-01-02", task="tiny", transport="fake")
    shas = {}
    for name, wait_ns in ((GOOD, 200_000), (SUSPECT, 300_000)):
        with directories.write_atomically(Path("built") / name) as out:
            np.save(out / "matrix.npy", tiny_task.matrix())
            (out / "wait_ns").write_text(str(wait_ns))
            meta = directories.read_meta(Path("artifacts/matrix/m/fp32"))
            directories.write_meta(out, {key: of for key, of in meta.items() if key not in ("files", "schema")})
        artifact_cache.store_artifact(Path("built") / name, "fp32")
        shas[name] = directories.content_sha256(directories.read_meta(Path("built") / name))
    cell = history.HistoryCell("study", "board", "matrix", "m", "fp32", "single_stream")
    good, suspect = (
        history.NightResult(run, [], 1, [], shas[name], {}, None, None, None)
        for run, name in (("2026-01-01", GOOD), ("2026-01-02", SUSPECT))
    )
    return ab_test.Suspicion(cell, good, suspect, good.run, 1.5)


def test_two_artifacts_take_turns_in_fresh_processes_and_are_compared(
    suspicion: ab_test.Suspicion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ab_test, "ROUNDS", 4)

    def here(pair: ABTestSetup, out: Path) -> None:
        assert ab_test.main([pair.session, "4", *map(str, (pair.study, pair.artifacts, out))]) == 0

    comparison = ab_test.run_ab_test(suspicion, Path("out"), here)
    assert comparison.verdict == "slower"
    assert comparison.ratio.value == pytest.approx(1.5, rel=0.1)
    assert comparison.processes == (4, 4)
    measured = [record.content for record in record_files.read_all(Path("out"))]
    assert [of["scenario"] for of in measured] == ["in_turns"] * 4
    assert {of["artifact"]["sha256"] for of in measured} == {suspicion.suspect.artifact}
    for of in measured:
        ratios = np.log(of["result"]["own_ns"]) - np.log(of["result"]["other_ns"])
        assert of["in_turns"]["log_ratio"] == pytest.approx(float(np.median(ratios)))


def test_the_a_b_is_a_process_of_its_own_that_leaves_every_round(
    suspicion: ab_test.Suspicion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ab_test, "ROUNDS", 3)
    assert ab_test.run_ab_test(suspicion, Path("out")).verdict == "slower"
    rounds = {(record.content["model"], record.content["process"]) for record in record_files.read_all(Path("out"))}
    assert rounds == {(SUSPECT, n) for n in range(3)}
