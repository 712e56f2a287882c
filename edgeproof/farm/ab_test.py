"""The A/B test of a suspected slowdown: tonight's artifact and the last good one, interleaved on the same device.

It runs as a process of its own, in the directory in which the study was built:
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
from edgeproof.core import layouts
from edgeproof.core.described_tasks import load_task, locate_definition
from edgeproof.core.directories import read_meta
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.data import preparation
from edgeproof.data.samples import Samples
from edgeproof.farm import artifact_cache, engines, leases, quarantine, session
from edgeproof.farm.history import HistoryCell, NightResult
from edgeproof.paths import DATA, name_artifact
from edgeproof.records import record_files
from edgeproof.records.session_trust import SessionTrust
from edgeproof.report import interleaved
from edgeproof.statistics.change_points import SMALLEST_STEP
from edgeproof.statistics.comparison import Comparison
from edgeproof.study import repro

# Names of the two artifacts, as models of the session.
GOOD = "good"
SUSPECT = "suspect"
ROUNDS = interleaved.ROUNDS
MAX_REASONS_CHARACTERS = 300


class ABTestError(EdgeproofError):
    """The A/B test could not run. The message says why."""


@dataclass(frozen=True)
class Suspicion:
    """A cell that got slower.

    Attributes:
        good: the last night of the old level.
        suspect: the night on which the slowdown was detected.
        since: the run that starts the new level.
        ratio: the new level's duration divided by that of the old level.
    """

    cell: HistoryCell
    good: NightResult
    suspect: NightResult
    since: str
    ratio: float


@dataclass(frozen=True)
class ABTestSetup:
    """The session, study and artifacts of an A/B test.

    Attributes:
        session: key of the study's session.
        study: path of the study's params.yaml.
        artifacts: directory that holds good/<scheme> and suspect/<scheme>.
        built: directory in which the study was built.
    """

    session: str
    study: Path
    artifacts: Path
    built: Path


# Runs the test and writes its records into a directory. Tests replace it.
ABTestRunner = Callable[[ABTestSetup, Path], None]


def run_ab_test(suspicion: Suspicion, out: Path, runner: ABTestRunner | None = None) -> Comparison:
    """Measure both artifacts interleaved in several processes, write the records to `out`, and compare them.

    Raises ABTestError when the test cannot run or has too few valid rounds.
    """
    cell = suspicion.cell
    try:
        if (quarantined := quarantine.find(cell.device)) is not None:
            raise ABTestError(str(quarantined))
        study_file = (engines.FARM / suspicion.suspect.run / engines.PARAMS).resolve()
        study = params_file.read_params(study_file)
        with tempfile.TemporaryDirectory() as scratch, leases.hold(cell.device, f"A/B test of {cell}"):
            for name, night in ((GOOD, suspicion.good), (SUSPECT, suspicion.suspect)):
                shutil.copytree(artifact_cache.find(night.artifact, cell.scheme), Path(scratch, name, cell.scheme))
            setup = ABTestSetup(_find_session(study, cell), study_file, Path(scratch), repro.locate_study(study))
            (runner or _run_as_process)(setup, out)
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


def _run_as_process(setup: ABTestSetup, out: Path) -> None:
    command = [sys.executable, "-m", "edgeproof.farm.ab_test", setup.session, str(ROUNDS)]
    command += [str(path.resolve()) for path in (setup.study, setup.artifacts, out)]
    process = subprocess.run(command, cwd=setup.built, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if process.returncode != 0:
        reason = engines.extract_error(process.stderr) or f"exit code {process.returncode}"
        raise ABTestError(f"the A/B test failed: {reason}")


def _compare_records(out: Path) -> Comparison:
    records = list(record_files.read_all(out, trust=SessionTrust(None, {})))  # this process has just measured them
    comparison = next(iter(interleaved.compare_interleaved(records, margin=SMALLEST_STEP).values()), None)
    if comparison is None or comparison.verdict == "too few processes":
        reasons = "; ".join(dict.fromkeys(reason for record in records for reason in record.reasons))
        rounds = 0 if comparison is None else comparison.processes[0]
        raise ABTestError(f"only {rounds} of {ROUNDS} rounds were valid: {reasons[:MAX_REASONS_CHARACTERS]}")
    return comparison


def make_session_params(item: BenchParams, scheme: str, rounds: int) -> BenchParams:
    """Return a session that only measures the two artifacts interleaved, with one process for each round."""
    changes = {
        "artifacts": {GOOD: [scheme], SUSPECT: [scheme]},
        "seeds": item.seeds[:1],
        "against": {SUSPECT: {scheme: [GOOD, scheme]}},
    }
    return item.model_copy(update={**changes, **interleaved.measure_only_interleaved(rounds)})


def load_subject(item: BenchParams, study: Params, artifacts: Path) -> Subject:
    """Return the subject: the two artifacts over the task's test split, without labels, so outputs are not scored."""
    task = study.task.name
    inputs, _ = preparation.load_split(task, "test")
    samples = {}
    for model, schemes in item.artifacts.items():
        meta = read_meta(artifacts / model / name_artifact(schemes[0], item.seeds, item.seeds[0]))
        is_channels_last = meta.get(layouts.LAYOUT) == layouts.CHANNELS_LAST
        samples[model] = Samples(layouts.move_channels_last(inputs) if is_channels_last else inputs, None)
    return Subject(
        study=study.study,
        task=task,
        artifacts=artifacts,
        samples=samples,
        quality=None,
        scorers=(locate_definition(task, DATA / task),),
        postprocessing=task if hasattr(load_task(task, DATA / task), "postprocess") else None,
    )


def main(argv: Sequence[str]) -> int:
    """Run the A/B test and return the exit code."""
    session_key, rounds, study_file, artifacts, out = argv
    study = params_file.read_params(Path(study_file))
    schemes = [path.name for path in Path(artifacts, GOOD).iterdir()]
    if session_key not in study.bench or len(schemes) != 1:
        raise ConfigError(f"{study_file} must have a session '{session_key}', and {artifacts} exactly one scheme.")
    item = make_session_params(study.bench[session_key], schemes[0], int(rounds))
    return session.run_session(item, load_subject(item, study, Path(artifacts)), Path(out))


if __name__ == "__main__":
    entry.run(lambda: main(sys.argv[1:]))
