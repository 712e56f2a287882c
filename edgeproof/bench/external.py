"""Measure model files that a user brings: export them, run a session on a device, and write a table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeproof.artifacts.child_process import ChildProcess
from edgeproof.artifacts.external import adopt, files, inputs
from edgeproof.artifacts.external.files import AS_IS, ExternalFile
from edgeproof.artifacts.external.inputs import ExternalData
from edgeproof.bench import external_quality, external_results
from edgeproof.bench import session as session_run
from edgeproof.bench.external_results import ExternalResults
from edgeproof.bench.patience import Patience
from edgeproof.bench.subject import Subject
from edgeproof.bench.verdict import DEFAULT_LIMITS, VerdictLimits
from edgeproof.config import cards, compose, packages, runtime_extras
from edgeproof.config.params import BenchParams, ScenarioParams
from edgeproof.config.study import BenchSettings, RuntimeDefinition
from edgeproof.config.validation import validate
from edgeproof.core import plugins
from edgeproof.core.directories import write_atomically
from edgeproof.core.errors import ConfigError, UnknownNameError
from edgeproof.core.file_locks import hold
from edgeproof.devices import device
from edgeproof.paths import WORK
from edgeproof.records.kinds import EXTERNAL_METHOD
from edgeproof.report import interleaved

RESULTS = Path("results/brought")
ARTIFACTS_DIR = WORK / EXTERNAL_METHOD
# The schemes of a model that has none yet, if the user chooses none.
DEFAULT_SCHEMES = ("fp32", "fp16", "int8-dynamic", "int8-static")

Plan = dict[str, dict[ExternalFile, Sequence[str]]]  # runtime → file → schemes


@dataclass(frozen=True)
class BenchOptions:
    """Options of a benchmark of a user's files. An option that is None follows from the files.

    `metric` names the metric of the quality, and `labels` an array of `data` or an .npy file with the targets.
    `interleaved` compares each artifact with the runtime's first one and measures nothing else. `patience` says what to
    do on a busy device; the environment decides if it is None.
    """

    device: str = "local"
    preset: str = "standard"
    scenarios: Sequence[str] = ("single_stream", "offline")
    data: Path | None = None
    labels: str | None = None
    metric: str | None = None
    runtimes: Sequence[str] | None = None
    schemes: Sequence[str] | None = None
    output: str | None = None
    name: str | None = None
    interleaved: bool = False
    patience: Patience | None = None


def measure_files(
    paths: Sequence[Path], options: BenchOptions, limits: VerdictLimits = DEFAULT_LIMITS
) -> ExternalResults:
    """Measure files, write results/brought/<name>, and return the results.

    All options are checked and all files exported before anything is measured. Raises ConfigError for an option or a
    file that does not fit.
    """
    settings = compose.compose_bench_settings(options.preset)
    transport = cards.read(options.device).transport
    external_files = files.open_files(paths)
    name = _choose_name(external_files[0].name, options)
    plan = _plan_artifacts(external_files, settings, options)
    scenarios = _select_scenarios(settings, options.scenarios)
    data = _read_data(options)
    # Two commands with the same name would write the same artifacts and results.
    busy = f"waiting for another 'edgeproof bench' that writes {RESULTS / name}"
    with hold(WORK / "locks" / f"bench-{name}", if_busy=busy):
        sessions = {}
        with ChildProcess() as child:
            for runtime, chosen in plan.items():
                subject = _export_subject(runtime, chosen, data, options, name, child)
                device = {"device": options.device, "transport": transport}
                params = _build_params(runtime, chosen, settings, scenarios, device)
                sessions[f"{options.device}_{runtime}"] = _remove_floor(params, subject), subject
        return _measure_sessions(sessions, name, plan, options, limits)


def _measure_sessions(
    sessions: Mapping[str, tuple[BenchParams, Subject]],
    name: str,
    plan: Plan,
    options: BenchOptions,
    limits: VerdictLimits,
) -> ExternalResults:
    """Run the sessions and write their records and tables."""
    if options.interleaved:
        sessions = {key: _interleave(item, subject) for key, (item, subject) in sessions.items()}
    measured = {
        key: session_run.run(item, subject, limits, options.patience) for key, (item, subject) in sessions.items()
    }
    with write_atomically(RESULTS / name) as out:
        for key, session in measured.items():
            session.store(out / "records" / key)
        if options.interleaved:
            results = external_results.write_interleaved_results(out, RESULTS / name)
        else:
            results = external_results.write_results(
                out,
                RESULTS / name,
                name=name,
                artifacts={file.name: schemes for chosen in plan.values() for file, schemes in chosen.items()},
                device=options.device,
                runtimes=list(plan),
            )
    for session in measured.values():  # only now: an interruption before this must lose no measurement
        session.delete()
    return results


def _read_data(options: BenchOptions) -> ExternalData | None:
    """Read the inputs and targets. Raises ConfigError for an option that needs others, or a metric that is unknown."""
    if options.metric is not None:
        plugins.load("metrics", options.metric)
    if options.data is None:
        if options.labels is not None:
            raise ConfigError("--labels needs --data: nobody knows the labels of random inputs.")
        return None
    return inputs.read_data(options.data, options.labels)


def _choose_name(default: str, options: BenchOptions) -> str:
    """Return the name of the results' directory. Interleaved runs never overwrite the results of other runs."""
    name = options.name or default  # the default is a name that files.open_files() has made
    if options.name is not None and not re.fullmatch(r"[a-z0-9_]+", name):
        raise ConfigError(f"--name '{name}' is invalid. A name holds small letters, digits and _ only.")
    return f"{name}_{external_results.INTERLEAVED_NAME}" if options.interleaved else name


def _plan_artifacts(external_files: Sequence[ExternalFile], settings: BenchSettings, options: BenchOptions) -> Plan:
    """Assign files to runtimes and schemes. Raises ConfigError for an option that no file can follow."""
    runtimes = None if options.runtimes is None else _check_names("runtime", options.runtimes, settings.runtimes)
    known_schemes = {scheme for definition in settings.runtimes.values() for scheme in definition.schemes}
    schemes = None if options.schemes is None else _check_names("scheme", options.schemes, known_schemes)
    if schemes is not None and not any(file.has_schemes for file in external_files):
        raise ConfigError(
            f"{external_files[0].path} is exported already and is measured as it is. Leave out --schemes, or name the "
            "model from which the file was made."
        )
    plan: Plan = {}
    for file in external_files:
        able = file.list_runtimes()
        chosen = file.list_default_runtimes() if runtimes is None else [name for name in runtimes if name in able]
        if not chosen:
            raise ConfigError(f"{file.path} can be run by {', '.join(able)}, and not by {', '.join(runtimes or [])}.")
        for runtime in chosen:
            offered = schemes or [scheme for scheme in DEFAULT_SCHEMES if scheme in settings.runtimes[runtime].schemes]
            plan.setdefault(runtime, {})[file] = offered if file.has_schemes else [AS_IS]
    idle = [runtime for runtime in runtimes or [] if runtime not in plan]
    if idle:
        raise ConfigError(f"no file given can be run by {', '.join(idle)}. Leave it out of --runtimes.")
    for runtime in plan:
        _check_packages(runtime, settings.runtimes[runtime])
    return plan


def _check_packages(runtime: str, definition: RuntimeDefinition) -> None:
    """Raise ConfigError if a device's packages have no version, or are not installed: with the command."""
    packages.pin(definition.device_packages)
    if runtime_extras.find_extra(runtime) is None and not any("==" in name for name in definition.host_packages):
        return
    reason = runtime_extras.explain_absence(runtime, packages.pin(definition.host_packages))
    if reason is not None:
        raise ConfigError(f"the runtime '{runtime}' can't be used: {reason}.")


def _select_scenarios(settings: BenchSettings, names: Sequence[str]) -> dict[str, ScenarioParams]:
    """Return the chosen scenarios. The single-stream one comes first, because others derive their load from it."""
    chosen = {name: settings.scenarios[name] for name in _check_names("scenario", names, settings.scenarios)}
    single = [name for name, scenario in chosen.items() if scenario.scenario == "SingleStream"]
    if not single:
        raise ConfigError("--scenarios must name a SingleStream scenario (single_stream).")
    return {single[0]: chosen[single[0]], **chosen}


def _check_names(kind: str, names: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return the names without repetitions. Raises UnknownNameError for a name that is not known."""
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known, "'edgeproof list' shows what exists.")
    return list(dict.fromkeys(names))


def _export_subject(
    runtime: str,
    chosen: Mapping[ExternalFile, Sequence[str]],
    data: ExternalData | None,
    options: BenchOptions,
    name: str,
    child: ChildProcess,
) -> Subject:
    """Export each file for the runtime in `child`, and return the subject of the runtime's session."""
    root = ARTIFACTS_DIR / name / runtime
    samples = {
        file.name: adopt.build_artifacts(
            file, runtime, schemes, data=data, output=options.output, out_dir=root / file.name, call=child.call
        )
        for file, schemes in chosen.items()
    }
    quality = external_quality.choose_quality(
        options.metric,
        next(iter(samples.values())).targets,
        [root / file.name for file in chosen],
        scores_first=options.output is not None,
    )
    scorers = external_quality.list_scorers(quality)
    return Subject(name, adopt.name_task(data), root, samples, quality=quality, scorers=scorers)


def _build_params(
    runtime: str,
    chosen: Mapping[ExternalFile, Sequence[str]],
    settings: BenchSettings,
    scenarios: Mapping[str, ScenarioParams],
    device: Mapping[str, str],
) -> BenchParams:
    """Return the parameters of a session like a study's: the first scenario in every round, the others once."""
    artifacts = {file.name: list(schemes) for file, schemes in chosen.items()}
    described = {name: scenario.model_dump(mode="json") for name, scenario in scenarios.items()}
    device_packages = [*settings.runtimes[runtime].device_packages, "mlcommons-loadgen", "numpy"]
    content = {
        **settings.bench.model_dump(mode="json"),
        **device,
        "runtime": runtime,
        "session": 1,
        "seed": 0,
        "artifacts": artifacts,
        "seeds": [0],
        "final": artifacts,
        "every": dict([next(iter(described.items()))]),
        "all": described,
        "quality_target": 0.0,
        "packages": packages.pin(device_packages),
    }
    return validate(BenchParams, content, "the session")


def _remove_floor(item: BenchParams, subject: Subject) -> BenchParams:
    """Return the session without a limit of the quality: that of a user's file is shown and never refused."""
    is_error = subject.quality is not None and subject.quality.metric.better == "less"
    return item.model_copy(update={"quality_target": math.inf if is_error else -math.inf, "quality_floor": None})


def _interleave(item: BenchParams, subject: Subject) -> tuple[BenchParams, Subject]:
    """Return the session that interleaves the first artifact with each other one. Raises ConfigError for only one."""
    card = device.read_card(item.device, item.runtime)
    if card.emulated or card.npu is not None:
        raise ConfigError(
            f"--interleaved compares times, and the times of '{item.device}' are not measured. Name another --device."
        )
    artifacts = [(model, scheme) for model, schemes in item.artifacts.items() for scheme in schemes]
    if len(artifacts) < 2:
        raise ConfigError(
            f"--interleaved compares two or more artifacts, and {item.runtime} has only {artifacts[0][0]}. "
            "Name another file."
        )
    against: dict[str, dict[str, list[str]]] = {}
    for model, scheme in artifacts[1:]:
        against.setdefault(model, {})[scheme] = list(artifacts[0])
    unlabelled = {model: replace(samples, targets=None) for model, samples in subject.samples.items()}
    changes = {"against": against, **interleaved.measure_only_interleaved(interleaved.ROUNDS)}
    return item.model_copy(update=changes), replace(subject, samples=unlabelled)
