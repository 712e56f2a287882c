"""Is a suspected regression real? Tonight's artifact against the last good one, in turns on the same device.

As a process of its own, in the directory in which the study was built:
python -m edgeproof.farm.ab_test SESSION ROUNDS PARAMS ARTIFACTS OUT
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof import entry
from edgeproof.bench.subject import Subject
from edgeproof.config import params_file
from edgeproof.config.params import BenchParams, Params
from edgeproof.core import plugins
from edgeproof.core.directories import read_meta
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.data import layouts, preparation
from edgeproof.data.samples import Samples
from edgeproof.farm import artifact_cache, engines, leases, quarantine, session
from edgeproof.farm.history import HistoryCell, NightResult
from edgeproof.paths import name_artifact
from edgeproof.records import record_files
from edgeproof.report import interleaved
from edgeproof.statistics.comparison import Comparison
from edgeproof.statistics.segmentation import SMALLEST_STEP
from edgeproof.study import repro

GOOD = "good"
SUSPECT = "suspect"
ROUNDS = interleaved.ROUNDS


class ABTestError(EdgeproofError):
    """No A/B could be made; the message is why."""


@dataclass(frozen=True)
class Suspicion:
    """A cell that got slower: the last night of the old level, tonight, the first night of the new one, by how much."""

    cell: HistoryCell
    good: NightResult
    suspect: NightResult
    since: str
    ratio: float


@dataclass(frozen=True)
class ABTestSetup:
    """What an A/B runs: a session of a study, and a directory with <good|suspect>/<scheme>."""

    session: str
    study: Path
    artifacts: Path
    built: Path


ABTestRunner = Callable[[ABTestSetup, Path], None]


def run_ab_test(suspicion: Suspicion, out: Path, measure: ABTestRunner | None = None) -> Comparison:
    """Let both artifacts take turns in several processes, leave the records in `out`, and compare them.

    Raises Unconfirmable where that can't be done.
    """
    cell = suspicion.cell
    try:
        if (sentence := quarantine.find(cell.device)) is not None:
            raise ABTestError(str(sentence))
        study_file = (engines.FARM / suspicion.suspect.run / engines.PARAMS).resolve()
        study = params_file.read_params(study_file)
        with tempfile.TemporaryDirectory() as scratch, leases.hold(cell.device, f"confirming {cell}"):
            for name, night in ((GOOD, suspicion.good), (SUSPECT, suspicion.suspect)):
                shutil.copytree(artifact_cache.find(night.artifact, cell.scheme), Path(scratch, name, cell.scheme))
            pair = ABTestSetup(_find_session(study, cell), study_file, Path(scratch), repro.locate_study(study))
            (measure or _run_as_process)(pair, out)
    except ABTestError:
        raise
    except EdgeproofError as error:
        raise ABTestError(str(error)) from None
    return _compare_records(out)


def _find_session(study: Params, cell: HistoryCell) -> str:
    for key, item in study.bench.items():
        if (item.device, item.runtime) == (cell.device, cell.runtime) and cell.scenario in item.all:
            return key
    raise ABTestError(f"the run has no session of '{cell.runtime}' on '{cell.device}'")


def _run_as_process(pair: ABTestSetup, out: Path) -> None:
    command = [sys.executable, "-m", "edgeproof.farm.ab_test", pair.session, str(ROUNDS)]
    command += [str(path.resolve()) for path in (pair.study, pair.artifacts, out)]
    ended = subprocess.run(command, cwd=pair.built, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if ended.returncode != 0:
        raise ABTestError(f"the A/B failed: {engines.extract_error(ended.stderr) or f'exit code {ended.returncode}'}")


def _compare_records(out: Path) -> Comparison:
    found = list(record_files.read_all(out))
    comparison = next(iter(interleaved.compare_interleaved(found, margin=SMALLEST_STEP).values()), None)
    if comparison is None or comparison.verdict == "too few processes":
        reasons = dict.fromkeys(reason for record in found for reason in record.reasons)
        rounds = 0 if comparison is None else comparison.processes[0]
        raise ABTestError(f"of {ROUNDS} rounds only {rounds} were valid: {'; '.join(reasons)[:300]}")
    return comparison


def make_session_params(item: BenchParams, scheme: str, rounds: int) -> BenchParams:
    """A session in which nothing is done but that the two take turns, a process a round."""
    artifacts = {GOOD: [scheme], SUSPECT: [scheme]}
    of_two = {"artifacts": artifacts, "seeds": item.seeds[:1], "against": {SUSPECT: {scheme: [GOOD, scheme]}}}
    return item.model_copy(update={**of_two, **interleaved.measure_only_interleaved(rounds)})


def load_subject(item: BenchParams, study: Params, artifacts: Path) -> Subject:
    """The two artifacts over the task's test split; what they answer is not scored again."""
    task = study.task.name
    inputs, _ = preparation.load_split(task, "test")
    samples = {}
    for model, schemes in item.artifacts.items():
        meta = read_meta(artifacts / model / name_artifact(schemes[0], item.seeds, item.seeds[0]))
        last = meta.get(layouts.LAYOUT) == layouts.CHANNELS_LAST
        samples[model] = Samples(layouts.move_channels_last(inputs) if last else inputs, None)
    return Subject(
        study=study.study,
        task=task,
        artifacts=artifacts,
        samples=samples,
        score=plugins.load("tasks", task).score,
        scorer=plugins.find_source("tasks", task),
    )


def main(argv: Sequence[str]) -> int:
    """Run the A/B; returns the exit code."""
    key, rounds, given, artifacts, out = argv
    study = params_file.read_params(Path(given))
    schemes = [path.name for path in Path(artifacts, GOOD).iterdir()]
    if key not in study.bench or len(schemes) != 1:
        raise ConfigError(f"{given} has no session '{key}', or {artifacts} not one scheme.")
    item = make_session_params(study.bench[key], schemes[0], int(rounds))
    return session.run_session(item, load_subject(item, study, Path(artifacts)), Path(out))


if __name__ == "__main__":
    entry.run(lambda: main(sys.argv[1:]))
